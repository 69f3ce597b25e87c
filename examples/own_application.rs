//! A node with an application of one's own: accounts that transfer units to each other, on three validators.
//!
//! An application is a pure function of the chain: no clock, no randomness, no state between calls, no order that two machines could
//! see differently. What it keeps goes through [`StateRead`] and [`StateWrite`]; the kernel commits it with the block or drops it.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    Application, Bytes, ChainId, Genesis, Hash, PublicKey, Settings, Signature, Timestamp,
    application::{Admission, BlockContext, ExecuteError, Mode, Outcome, QueryError, Rejection, StateRead, StateWrite},
    borsh::{self, BorshDeserialize, BorshSerialize},
    plugin::{ApplicationPlugin, Descriptor, SetupError},
    storage::StorageError,
};
use quorate_examples::{Folder, PATIENCE};
use quorate_kernel::{Registry, Running};
use quorate_poa::PoaPlugin;
use quorate_testkit::memory::{Hub, MemoryDiscoveryPlugin, MemoryStoragePlugin, MemoryTransportPlugin};

/// A transaction: 144 bytes, no more and no less, so that one transfer has one encoding.
#[derive(BorshSerialize, BorshDeserialize)]
#[borsh(crate = "quorate::borsh")]
struct Transfer {
    from: PublicKey,
    to: PublicKey,
    amount: u64,
    /// How many transfers of `from` came before: none can be carried out twice, and their order is the sender's.
    sequence: u64,
    /// Over the chain and everything above: what is signed for one network is worth nothing on another.
    signature: Signature,
}

/// What is kept of an account, under its key.
#[derive(Default, BorshSerialize, BorshDeserialize)]
#[borsh(crate = "quorate::borsh")]
struct Account {
    balance: u64,
    sent: u64,
}

/// Where the hash is kept. Accounts have keys of 32 bytes, so this is none of them.
const HASH: &[u8] = b"hash";

/// `[application]` of genesis: who has all units in the beginning, and how many.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    treasury: PublicKey,
    supply: u64,
}

struct Ledger {
    chain_id: ChainId,
    shared: Shared,
}

impl Transfer {
    fn decode(bytes: &[u8]) -> Result<Self, Rejection> {
        Self::try_from_slice(bytes).map_err(|error| Rejection::Malformed(error.to_string()))
    }

    fn signed_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        let Self { from, to, amount, sequence, signature: _ } = self;
        let tag: &[u8] = b"quorate/example-transfer/1\0";
        [tag, chain_id.as_bytes(), from.as_bytes(), to.as_bytes(), &amount.to_le_bytes(), &sequence.to_le_bytes()]
            .concat()
    }

    fn sign(chain_id: &ChainId, from: &SigningKey, to: PublicKey, amount: u64, sequence: u64) -> Bytes {
        let (from_key, signature) = (PublicKey::new(from.verifying_key().to_bytes()), Signature::new([0; 64]));
        let mut transfer = Self { from: from_key, to, amount, sequence, signature };
        transfer.signature = Signature::new(from.sign(&transfer.signed_bytes(chain_id)).to_bytes());
        borsh::to_vec(&transfer).unwrap_or_default().into()
    }
}

fn account(state: &(impl StateRead + ?Sized), key: &PublicKey) -> Result<Account, StorageError> {
    let Some(bytes) = state.get(key.as_bytes())? else { return Ok(Account::default()) };
    // What is stored was written here: anything else is the disk's fault, and stops the node rather than the chain.
    Account::try_from_slice(&bytes).map_err(|error| StorageError::Damaged(format!("account {key}: {error}")))
}

/// Writes an account, and takes the write into the hash: validators whose states differ can't agree on the next block.
fn set_account(state: &mut dyn StateWrite, key: &PublicKey, account: &Account) -> Result<(), StorageError> {
    let value = borsh::to_vec(account).unwrap_or_default();
    state.put(key.as_bytes(), &value);
    let before = state.get(HASH)?.unwrap_or_default();
    state.put(HASH, Hash::of(&[&before, key.as_bytes(), &value]).as_bytes());
    Ok(())
}

fn app_hash(state: &dyn StateRead) -> Result<Hash, StorageError> {
    let stored = state.get(HASH)?.unwrap_or_default();
    stored.as_ref().try_into().map(Hash::new).map_err(|_| StorageError::Damaged("the hash has not 32 bytes".into()))
}

/// Carries out one transfer: its receipt, or why it is not allowed. Nothing is written before that is decided.
fn apply(state: &mut dyn StateWrite, bytes: &[u8]) -> Result<Result<&'static str, Rejection>, StorageError> {
    let transfer = match Transfer::decode(bytes) {
        Ok(transfer) => transfer,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let mut from = account(state, &transfer.from)?;
    if transfer.sequence != from.sent {
        let message = format!("sequence is {}; the next of this account is {}", transfer.sequence, from.sent);
        return Ok(Err(Rejection::NotAllowed(message)));
    }
    from.sent += 1;
    let Some(rest) = from.balance.checked_sub(transfer.amount) else {
        // It takes its place in the sender's order, and its receipt says that nothing moved. Were it refused, it would come back.
        set_account(state, &transfer.from, &from)?;
        return Ok(Ok("not covered"));
    };
    from.balance = rest;
    set_account(state, &transfer.from, &from)?;
    // Read after that write: the two may be one account.
    let mut to = account(state, &transfer.to)?;
    to.balance += transfer.amount; // never more than the supply
    set_account(state, &transfer.to, &to)?;
    Ok(Ok("done"))
}

impl Application for Ledger {
    fn genesis(&self, state: &mut dyn StateWrite) -> Result<Hash, StorageError> {
        set_account(state, &self.shared.treasury, &Account { balance: self.shared.supply, sent: 0 })?;
        app_hash(state)
    }

    fn verify(&self, _: &dyn StateRead, transactions: &[Bytes]) -> Vec<Result<(), Rejection>> {
        // The costly part, once for each transaction on each node; `quorate::signature::verify_batch` would do it sooner.
        let verify = |bytes: &Bytes| {
            let transfer = Transfer::decode(bytes)?;
            let signed = transfer.from.verifies(&transfer.signed_bytes(&self.chain_id), &transfer.signature);
            signed.then_some(()).ok_or_else(|| Rejection::NotAuthentic("not signed by `from` for this chain".into()))
        };
        transactions.iter().map(verify).collect()
    }

    fn check(&self, state: &dyn StateRead, _: Timestamp, transaction: &[u8]) -> Result<Admission, Rejection> {
        // For the pool. What a later state may allow is let in: a sequence ahead waits, and a balance may yet arrive.
        let Transfer { from, sequence, .. } = Transfer::decode(transaction)?;
        let next_sequence = account(state, &from)?.sent;
        if sequence < next_sequence {
            return Err(Rejection::NotAllowed(format!("sequence {sequence} is used; the next is {next_sequence}")));
        }
        let sender = Bytes::copy_from_slice(from.as_bytes());
        Ok(Admission { sender, sequence, next_sequence, conflict_keys: Vec::new() })
    }

    fn execute(&self, state: &mut dyn StateWrite, block: &BlockContext<'_>) -> Result<Outcome, ExecuteError> {
        let mut outcome = Outcome::default();
        for (index, transaction) in block.transactions.iter().enumerate() {
            match (apply(state, transaction)?, block.mode) {
                (Ok(receipt), _) => outcome.receipts.push(receipt.into()),
                // Who makes a block leaves out what does not fit; who is given one with such a transaction votes against it.
                (Err(rejection), Mode::Build) => outcome.left_out.push((index, rejection)),
                (Err(rejection), Mode::Apply) => return Err(ExecuteError::Invalid { index, rejection }),
            }
        }
        outcome.app_hash = app_hash(state)?;
        Ok(outcome)
    }

    fn query(&self, state: &dyn StateRead, path: &str, params: &[u8]) -> Result<Vec<u8>, QueryError> {
        if path != "account" {
            return Err(QueryError::UnknownPath { path: path.into(), known: "account".into() });
        }
        let key: PublicKey = serde_json::from_slice(params)
            .map_err(|error| QueryError::BadParams(format!("params must be an account's public key: {error}")))?;
        let Account { balance, sent } = account(state, &key)?;
        Ok(serde_json::json!({ "balance": balance, "sent": sent }).to_string().into_bytes())
    }
}

/// What `plugin = "transfers"` stands for.
struct LedgerPlugin;

/// The node's own table: nothing, and what is there is an error with its place.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {}

impl ApplicationPlugin for LedgerPlugin {
    fn descriptor(&self) -> Descriptor {
        let (summary, example) = ("accounts that transfer units", "# treasury = \"0x...\"\n# supply = 1000\n");
        Descriptor::new("transfers", "1.0.0", summary).with_example(example)
    }

    fn check(&self, shared: &Settings, own: &Settings) -> Result<(), SetupError> {
        shared.parse::<Shared>()?;
        own.parse::<Own>()?;
        Ok(())
    }

    fn build(&self, chain_id: ChainId, shared: &Settings, own: &Settings) -> Result<Arc<dyn Application>, SetupError> {
        self.check(shared, own)?;
        Ok(Arc::new(Ledger { chain_id, shared: shared.parse()? }))
    }
}

const CONSENSUS: &str = r#"
[consensus]
plugin = "poa"
fault_model = "crash"
block_interval_ms = 0
block_transactions_max = 100
block_bytes_max = 1048576
delta_ms = 50
empty_blocks = "never"
timeout_ms_max = 30000
"#;

const SLOTS: &str = r#"
consensus = { plugin = "poa" }
storage = { plugin = "memory" }
transport = { plugin = "memory" }
discovery = { plugin = "memory" }
application = { plugin = "transfers" }
"#;

const NAMES: [&str; 3] = ["validator-1", "validator-2", "validator-3"];

#[tokio::main]
async fn main() -> quorate_examples::Result<()> {
    let (alice, bob) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let [alice_key, bob_key] = [&alice, &bob].map(|key| PublicKey::new(key.verifying_key().to_bytes()));
    let application = format!("application = {{ plugin = \"transfers\", treasury = \"{alice_key}\", supply = 1000 }}");
    let folder = Folder::new(&(application + CONSENSUS), &NAMES)?;
    let hub = Hub::new();
    let registry = Registry::new()
        .with_consensus(PoaPlugin)
        .with_storage(MemoryStoragePlugin::new())
        .with_transport(MemoryTransportPlugin::new(&hub))
        .with_discovery(MemoryDiscoveryPlugin::new(&hub))
        .with_application(LedgerPlugin);
    let nodes: Vec<Running> =
        NAMES.iter().map(|name| folder.start(name, SLOTS, &registry)).collect::<quorate_examples::Result<_>>()?;
    let [node, ..] = nodes.as_slice() else { return Err("no validator".into()) };

    let text = std::fs::read_to_string(folder.path().join("genesis.toml"))?;
    let chain_id = Genesis::parse("genesis.toml", &text).map_err(SetupError::from)?.chain_id();
    let forged = Transfer::sign(&ChainId::new([0; 32]), &alice, bob_key, 1, 0);
    match node.handle().submit(forged).await {
        Ok(_) => return Err("a transfer that was signed for another chain was taken".into()),
        Err(error) => println!("signed for another chain: {error}"),
    }
    for (what, from, to, amount, sequence) in [
        ("alice to bob, 300", &alice, bob_key, 300, 0),
        ("bob to alice, 301", &bob, alice_key, 301, 0),
        ("bob to alice, 100", &bob, alice_key, 100, 1),
    ] {
        let id = node.handle().submit(Transfer::sign(&chain_id, from, to, amount, sequence)).await?;
        let mut outcome = Bytes::new();
        for node in &nodes {
            outcome = tokio::time::timeout(PATIENCE, node.until_final(id)).await??.outcome;
        }
        println!("{what}: {}, final at all three", String::from_utf8_lossy(&outcome));
    }
    for (name, key) in [("alice", alice_key), ("bob", bob_key)] {
        let answer = node.handle().query("account", serde_json::to_vec(&key)?).await?;
        println!("{name}: {}", String::from_utf8_lossy(&answer));
    }
    for node in nodes {
        node.stop().await;
    }
    Ok(())
}
