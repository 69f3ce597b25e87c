//! `quorate verify receipt`: whether one transaction is final, with nothing but genesis.

use std::path::PathBuf;

use clap::Args;
use quorate::{Genesis, Hash, Receipt, consensus::Certificate};
use serde_json::{Map, Value, json};

use crate::{
    audit::PoaRules,
    bundled::{self, Rules},
    exit::Failure,
    libraries::LibraryArgs,
    output,
    source::read_genesis,
};

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
    /// Where the chain's plugins are, if not here.
    #[command(flatten)]
    pub libraries: LibraryArgs,
    /// The tracker of a ballot, as the voter noted it before casting
    #[arg(long, value_name = "HEX")]
    pub tracker: Option<Hash>,
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
    let rules = bundled::rules(&genesis, &args.libraries)?;
    let receipt = check(&text, &genesis, &rules).map_err(|why| Failure::failed(format!("{file}: {why}")))?;
    let cast = ballot(&receipt, &genesis).map_err(|why| Failure::failed(format!("{file}: {why}")))?;
    if let Some(noted) = &args.tracker {
        let found = cast.as_ref().map(|cast| cast.tracker);
        if found != Some(*noted) {
            let found = found.map_or_else(|| "no ballot".into(), |tracker| format!("the ballot {tracker}"));
            return Err(Failure::failed(format!("{file}: the receipt is of {found}, not of {noted}, which was noted")));
        }
    }
    if args.json {
        return output::json(&json!({
            "ballot": cast,
            "valid": true,
            "transaction_id": receipt.transaction_id,
            "chain_id": genesis.chain_id(),
            "height": receipt.header.height,
            "block_hash": receipt.block_hash,
            "index": receipt.transaction_path.index,
        }));
    }
    let cast = cast.map_or_else(String::new, |cast| {
        format!("\nballot {}\n       number {} of election {}", cast.tracker, cast.number, cast.eid)
    });
    output::line(&format!(
        "valid: transaction {} is final\nblock  {} {}\nplace  {} of {}\nchain  {} {}{cast}",
        receipt.transaction_id,
        receipt.header.height,
        receipt.block_hash,
        receipt.transaction_path.index + 1,
        receipt.transaction_path.leaves,
        genesis.chain_name(),
        genesis.chain_id(),
    ))
}

/// What a receipt says of a ballot: which it is, and that it is counted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Cast {
    eid: Hash,
    tracker: Hash,
    /// In the order of counting, from 1.
    number: u32,
    credential: u32,
}

/// The ballot of a receipt, if it is of one: its tracker recomputed, and equal to the one that the block commits to.
fn ballot(receipt: &Receipt, genesis: &Genesis) -> Result<Option<Cast>, String> {
    use quorate_ballot::{ballot, record};
    if genesis.application_plugin() != "voting" {
        return Ok(None);
    }
    let transaction = record::Transaction::decode(&receipt.transaction).map_err(|error| error.to_string())?;
    let record::Body::Ballot(bytes) = transaction.body else { return Ok(None) };
    let said = record::Receipt::decode(&receipt.outcome).map_err(|error| error.to_string())?;
    let record::Receipt::Ballot { eid, number, credential, tracker } = said else {
        return Err("the outcome is not that of a ballot".into());
    };
    let body = bytes.len().checked_sub(quorate_ballot::schnorr::SIGNATURE_BYTES).and_then(|len| bytes.get(..len));
    let head = ballot::BallotHead::read(&bytes).map_err(|error| error.to_string())?;
    let right = body.map(ballot::tracker);
    if right != Some(tracker) || head.eid != eid || head.index != credential {
        return Err("the outcome is of another ballot than the transaction".into());
    }
    Ok(Some(Cast { eid: Hash::new(eid), tracker: Hash::new(tracker), number, credential }))
}

/// Checks a receipt in JSON: bare, under `receipt`, or a node's whole answer. Everything in the text counts but the answer's `id`, which
/// is the client's own: a field beside the receipt must agree with it, and a value is written as nodes write it.
///
/// # Errors
///
/// Why it proves nothing.
pub fn check(text: &[u8], genesis: &Genesis, rules: &Rules) -> Result<Receipt, String> {
    let (receipt, beside) = parse(text)?;
    let proves_nothing = |why: String| format!("the receipt proves nothing: {why}");
    let transaction_id = |bytes: &[u8]| rules.application.transaction_id(bytes);
    receipt
        .verify(&genesis.chain_id(), genesis.validators(), rules.finality.as_ref(), &transaction_id)
        .map_err(|error| proves_nothing(error.to_string()))?;
    let certificate = rules.finality.certificate(&receipt.proof).map_err(|error| proves_nothing(error.to_string()))?;
    if genesis.consensus_plugin() == "poa" {
        PoaRules::of(genesis)
            .and_then(|poa| poa.check_certificate(&receipt.header, &certificate, genesis.validators()))
            .map_err(proves_nothing)?;
    }
    agree(&beside, &receipt, &certificate)?;
    Ok(receipt)
}

/// Finds the receipt, and what stands beside it.
fn parse(text: &[u8]) -> Result<(Receipt, Map<String, Value>), String> {
    let mut value: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(format!("is a node's refusal, not a receipt: {error}"));
    }
    if let Some(inner) = value.as_object_mut().and_then(|answer| answer.remove("result")) {
        envelope(&value)?;
        value = inner;
    }
    let mut beside = Map::new();
    if let Some(object) = value.as_object_mut()
        && let Some(receipt) = object.remove("receipt")
    {
        beside = std::mem::take(object);
        value = receipt;
    }
    if value.get("header").is_none() {
        return match value.get("status").and_then(Value::as_str) {
            Some(status) => Err(format!("holds no receipt: the transaction is {status}")),
            None => Err("holds no receipt: the node did not know the transaction, or this is something else".into()),
        };
    }
    let receipt: Receipt = serde_json::from_value(value.clone()).map_err(|error| format!("is no receipt: {error}"))?;
    if json!(receipt) != value {
        return Err(
            "is no receipt as nodes write it: digits are small letters after `0x`, and no other keys are there".into(),
        );
    }
    Ok((receipt, beside))
}

/// Checks what is left of a JSON-RPC answer without its result.
fn envelope(answer: &Value) -> Result<(), String> {
    for (key, value) in answer.as_object().into_iter().flatten() {
        let fine = match key.as_str() {
            "jsonrpc" => value == "2.0",
            "id" => true,
            "error" => value.is_null(),
            _ => false,
        };
        if !fine {
            return Err(format!("is no JSON-RPC 2.0 answer: `{key}` is {value}"));
        }
    }
    Ok(())
}

/// Checks that what a node says beside a receipt is what the receipt says.
fn agree(beside: &Map<String, Value>, receipt: &Receipt, certificate: &Certificate) -> Result<(), String> {
    let signatures = certificate.signatures.iter();
    let signatures: Vec<Value> =
        signatures.map(|(validator, signature)| json!({"validator": validator, "signature": signature})).collect();
    let proven = json!({
        "status": "final",
        "transaction_id": receipt.transaction_id,
        "block_number": receipt.header.height,
        "block_hash": receipt.block_hash,
        "index": receipt.transaction_path.index,
        "time": receipt.header.time,
        "certificate": {"round": certificate.round, "signatures": signatures},
    });
    for (key, said) in beside {
        match proven.get(key) {
            Some(proven) if proven == said => {}
            Some(proven) => return Err(format!("`{key}` beside the receipt is {said}, the receipt proves {proven}")),
            None => return Err(format!("`{key}` beside the receipt is nothing that the receipt proves")),
        }
    }
    Ok(())
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
