//! `quorate verify receipt`: whether one transaction is final, with nothing but genesis.

use std::path::PathBuf;

use clap::Args;
use quorate::Receipt;
use serde_json::{Value, json};

use crate::{audit::PoaRules, bundled, exit::Failure, output, source::read_genesis};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Example:
  curl -s http://127.0.0.1:8001 -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"quorate_receipt\",\"params\":[\"0x..\"]}' > receipt.json
  quorate verify receipt receipt.json --genesis genesis.toml

FILE holds a receipt, an object with the key `receipt`, or the node's whole answer. Exits with 1 when it proves nothing.";

/// Bytes of a receipt's file at most.
const RECEIPT_FILE_BYTES_MAX: u64 = 16 << 20;

/// Options of `verify receipt`.
#[derive(Debug, Clone, Args)]
pub struct ReceiptArgs {
    /// The receipt, as JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The genesis to trust
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &ReceiptArgs) -> Result<(), Failure> {
    let genesis = read_genesis(&args.genesis)?;
    let file = args.file.display();
    let size = std::fs::metadata(&args.file).map_err(|error| Failure::reading(&file, &error))?.len();
    if size > RECEIPT_FILE_BYTES_MAX {
        return Err(Failure::failed(format!("{file}: has {size} bytes; the limit is {RECEIPT_FILE_BYTES_MAX}")));
    }
    let text = std::fs::read(&args.file).map_err(|error| Failure::reading(&file, &error))?;
    let receipt = parse(&text).map_err(|why| Failure::failed(format!("{file}: {why}")))?;
    let rules = bundled::rules(&genesis)?;
    let proves_nothing = |why: String| Failure::failed(format!("{file}: the receipt proves nothing: {why}"));
    let transaction_id = |bytes: &[u8]| rules.application.transaction_id(bytes);
    receipt
        .verify(&genesis.chain_id(), genesis.validators(), rules.finality.as_ref(), &transaction_id)
        .map_err(|error| proves_nothing(error.to_string()))?;
    if genesis.consensus_plugin() == "poa" {
        let certificate =
            rules.finality.certificate(&receipt.proof).map_err(|error| proves_nothing(error.to_string()))?;
        PoaRules::of(&genesis)
            .and_then(|poa| poa.check_certificate(&receipt.header, &certificate, genesis.validators()))
            .map_err(proves_nothing)?;
    }
    if args.json {
        return output::json(&json!({
            "valid": true,
            "transaction_id": receipt.transaction_id,
            "chain_id": genesis.chain_id(),
            "height": receipt.header.height,
            "block_hash": receipt.block_hash,
            "index": receipt.transaction_path.index,
        }));
    }
    output::line(&format!(
        "valid: transaction {} is final\nblock  {} {}\nplace  {} of {}\nchain  {} {}",
        receipt.transaction_id,
        receipt.header.height,
        receipt.block_hash,
        receipt.transaction_path.index + 1,
        receipt.transaction_path.leaves,
        genesis.chain_name(),
        genesis.chain_id(),
    ))
}

/// Finds the receipt: bare, under `receipt`, or inside a JSON-RPC response.
fn parse(text: &[u8]) -> Result<Receipt, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(format!("is a node's refusal, not a receipt: {error}"));
    }
    let inner = value.get("result").unwrap_or(&value);
    let receipt = inner.get("receipt").unwrap_or(inner);
    if receipt.is_null() || receipt.get("header").is_none() {
        return match inner.get("status").and_then(Value::as_str) {
            Some(status) => Err(format!("holds no receipt: the transaction is {status}")),
            None => Err("holds no receipt: the node did not know the transaction, or this is something else".into()),
        };
    }
    serde_json::from_value(receipt.clone()).map_err(|error| format!("is no receipt: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_receipt_says_why() {
        let why = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert!(why("nonsense").contains("not JSON"));
        assert!(why(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).contains("did not know"));
        assert!(why(r#"{"result":{"status":"pending"}}"#).contains("pending"));
        assert!(why(r#"{"error":{"code":-32601}}"#).contains("refusal"));
    }
}
