//! `quorate kv`: signs, submits and reads key-value transactions.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use quorate::{Bytes, ChainId, Hash, PublicKey, TransactionId};
use quorate_kernel::key::NodeKey;
use quorate_kv::{KEY_BYTES_MAX, Put, VALUE_BYTES_CAP};
use serde_json::{Value, json};

use crate::{
    commands::init::key_failure,
    exit::Failure,
    output,
    rpc::{Rpc, RpcError, block_on},
    source::read_genesis,
};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  quorate kv put --rpc http://127.0.0.1:8001 --key-seed alice --wait greeting hello
  quorate kv get --rpc http://127.0.0.1:8001 --key-seed alice greeting
  quorate kv sign --key-seed alice --genesis devnet/genesis.toml --nonce 0 greeting hello

Every signer has keys and a sequence of its own: nonces count from 0 without gaps.";

const SIGN_EXAMPLES: &str = "\
Example, submitting with curl:
  TX=$(quorate kv sign --key-seed alice --genesis devnet/genesis.toml --nonce 0 greeting hello)
  curl -s http://127.0.0.1:8001 -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"quorate_submit\",\"params\":[\"'$TX'\"]}'";

/// How long `--wait` waits.
const FINAL_WITHIN: Duration = Duration::from_secs(120);

/// Time between two looks at a transaction.
const FINAL_POLL: Duration = Duration::from_millis(100);

/// Options of `kv`.
#[derive(Debug, Clone, Args)]
pub struct KvArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KvCommand,
}

/// What to do with key-value transactions.
#[derive(Debug, Clone, Subcommand)]
pub enum KvCommand {
    /// Print a signed transaction as 0x hexadecimal, without any node
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Sign a transaction and submit it to a node
    #[command(after_help = "Example:\n  quorate kv put --key-seed alice --wait greeting hello")]
    Put(PutArgs),
    /// Ask a node for the value of a signer's key
    #[command(after_help = "Example:\n  quorate kv get --key-seed alice greeting")]
    Get(GetArgs),
}

/// Who signs.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct SignerArgs {
    /// Any text: its hash is the key. For trials; whoever knows the text can sign
    #[arg(long, value_name = "TEXT")]
    pub key_seed: Option<String>,
    /// A key file, made by `quorate key new`
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// Which network.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct ChainArgs {
    /// The network's genesis
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// The network's chain id, 0x and 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub chain_id: Option<ChainId>,
}

/// What to write.
#[derive(Debug, Clone, Args)]
pub struct WriteArgs {
    /// The key, 1 to 64 bytes
    #[arg(id = "written", value_name = "KEY")]
    pub key: String,
    /// The value
    #[arg(value_name = "VALUE")]
    pub value: String,
}

/// Options of `kv sign`.
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// Who signs.
    #[command(flatten)]
    pub signer: SignerArgs,
    /// Which network.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// The signer's sequence number, from 0
    #[arg(long, value_name = "N")]
    pub nonce: u64,
    /// What to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Options of `kv put`.
#[derive(Debug, Clone, Args)]
pub struct PutArgs {
    /// The node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Who signs.
    #[command(flatten)]
    pub signer: SignerArgs,
    /// Which network; the node is asked when neither is given.
    #[command(flatten)]
    pub chain: ChainArgs,
    /// The signer's sequence number [default: the next after what is final, as the node says]
    #[arg(long, value_name = "N")]
    pub nonce: Option<u64>,
    /// Wait until the transaction is final, two minutes at most
    #[arg(long)]
    pub wait: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Options of `kv get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// The node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Whose key.
    #[command(flatten)]
    pub signer: OwnerArgs,
    /// The key
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Whose keys.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct OwnerArgs {
    /// The text that was given for signing
    #[arg(long, value_name = "TEXT")]
    pub key_seed: Option<String>,
    /// The key file that signed
    #[arg(id = "key_file", long = "key", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The public key that signed, 0x and 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub signer: Option<PublicKey>,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &KvArgs) -> Result<(), Failure> {
    match &args.command {
        KvCommand::Sign(args) => {
            let missing = || Failure::usage("give --genesis or --chain-id: a signature is for one network");
            let chain_id = args.chain.chain_id()?.ok_or_else(missing)?;
            let transaction = args.write.sign(&args.signer, &chain_id, args.nonce)?;
            output::line(&hex_of(&transaction))
        }
        KvCommand::Put(args) => block_on(put(args)),
        KvCommand::Get(args) => block_on(get(args)),
    }
}

impl SignerArgs {
    fn seed(&self) -> Result<[u8; 32], Failure> {
        seed_of(self.key_seed.as_deref(), self.key.as_deref())
    }
}

fn seed_of(text: Option<&str>, file: Option<&std::path::Path>) -> Result<[u8; 32], Failure> {
    match (text, file) {
        (Some(text), _) => Ok(*Hash::of(&[b"quorate kv seed: ", text.as_bytes()]).as_bytes()),
        (_, Some(path)) => Ok(*NodeKey::load(path).map_err(key_failure)?.seed()),
        _ => Err(Failure::usage("give --key-seed or --key")),
    }
}

impl ChainArgs {
    fn chain_id(&self) -> Result<Option<ChainId>, Failure> {
        match &self.genesis {
            Some(path) => Ok(Some(read_genesis(path)?.chain_id())),
            None => Ok(self.chain_id),
        }
    }
}

impl WriteArgs {
    fn sign(&self, signer: &SignerArgs, chain_id: &ChainId, nonce: u64) -> Result<Bytes, Failure> {
        let lengths = [("KEY", self.key.len(), 1, KEY_BYTES_MAX), ("VALUE", self.value.len(), 0, VALUE_BYTES_CAP)];
        for (what, len, least, most) in lengths {
            if !(least..=most).contains(&len) {
                return Err(Failure::usage(format!("{what} has {len} bytes; it must have {least} to {most}")));
            }
        }
        Ok(Put::sign(&signer.seed()?, chain_id, nonce, self.key.as_bytes(), self.value.as_bytes()))
    }
}

fn hex_of(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

async fn put(args: &PutArgs) -> Result<(), Failure> {
    let rpc = Rpc::new(&args.rpc)?;
    let unlike = |what: &str| Failure::from(RpcError::NotRpc { url: rpc.url().into(), what: what.into() });
    let chain_id = match args.chain.chain_id()? {
        Some(chain_id) => chain_id,
        None => {
            let status = rpc.call("quorate_status", json!([])).await?;
            let text = status.get("chain_id").and_then(Value::as_str);
            text.and_then(|text| text.parse().ok()).ok_or_else(|| unlike("a status without chain id"))?
        }
    };
    let nonce = match args.nonce {
        Some(nonce) => nonce,
        None => {
            let signer = Put::signer(&args.signer.seed()?);
            let answer = rpc.call("quorate_query", json!(["nonce", {"signer": signer}])).await?;
            let next = answer.get("nonce").and_then(Value::as_u64);
            next.ok_or_else(|| unlike("no nonce; is this a network of the application kv?"))?
        }
    };
    let transaction = args.write.sign(&args.signer, &chain_id, nonce)?;
    let id = rpc.call("quorate_submit", json!([hex_of(&transaction)])).await?;
    let id = id.as_str().or_else(|| id.get("id").and_then(Value::as_str));
    let id: TransactionId = id.and_then(|id| id.parse().ok()).ok_or_else(|| unlike("no transaction id"))?;
    let height = if args.wait { Some(wait_until_final(&rpc, &id).await?) } else { None };
    let status = if height.is_some() { "final" } else { "pending" };
    if args.json {
        return output::json(&json!({"id": id, "nonce": nonce, "status": status, "height": height}));
    }
    output::line(&match height {
        Some(height) => format!("{id} is final in block {height}"),
        None => format!("{id} is pending; ask with quorate_receipt, or use --wait"),
    })
}

/// Waits for finality; returns the block's height.
async fn wait_until_final(rpc: &Rpc, id: &TransactionId) -> Result<u64, Failure> {
    let deadline = tokio::time::Instant::now() + FINAL_WITHIN;
    loop {
        let answer = rpc.call("quorate_receipt", json!([id])).await?;
        if answer.get("status").and_then(Value::as_str) == Some("final") {
            let height = answer.pointer("/receipt/header/height").or_else(|| answer.pointer("/header/height"));
            return Ok(height.and_then(Value::as_u64).unwrap_or_default());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Failure::failed(format!(
                "{id} was not final within {} s; it may become so: ask again with the same id, and look at `quorate status`",
                FINAL_WITHIN.as_secs()
            )));
        }
        tokio::time::sleep(FINAL_POLL).await;
    }
}

async fn get(args: &GetArgs) -> Result<(), Failure> {
    let rpc = Rpc::new(&args.rpc)?;
    let signer = match args.signer.signer {
        Some(signer) => signer,
        None => Put::signer(&seed_of(args.signer.key_seed.as_deref(), args.signer.key_file.as_deref())?),
    };
    let answer =
        rpc.call("quorate_query", json!(["get", {"signer": signer, "key": hex_of(args.key.as_bytes())}])).await?;
    let value = answer.get("value").and_then(crate::rpc::bytes_of);
    if args.json {
        return output::json(&json!({"signer": signer, "key": args.key, "value": answer.get("value")}));
    }
    match value {
        Some(value) => output::line(&String::from_utf8_lossy(&value)),
        None => Err(Failure::failed(format!("{signer} has no key `{}` in a final block", args.key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeds_public_key_is_the_one_that_signs() {
        let seed = seed_of(Some("alice"), None).unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        assert_eq!(Put::signer(&seed), PublicKey::new(key));
        assert_ne!(seed, seed_of(Some("bob"), None).unwrap());
    }
}
