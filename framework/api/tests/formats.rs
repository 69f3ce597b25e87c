//! The golden vectors: a change of these bytes or hashes is a change of a format.
//!
//! `vectors/generate.py` made them from the documented layouts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use quorate::{
    Block, Bytes, ChainId, Genesis, Hash, Header, Height, Receipt, Round, ValidatorSet, borsh,
    consensus::{Guard, SignRequest},
    merkle,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/formats.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}

fn hash(value: &Value) -> Hash {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn a_header() {
    let vector = &vectors()["header"];
    let header: Header = borsh::from_slice(&bytes(&vector["bytes"])).unwrap();
    assert_eq!(header.encode(), bytes(&vector["bytes"]));
    assert_eq!(header.hash(), hash(&vector["hash"]));
    assert_eq!(serde_json::to_value(&header).unwrap(), vector["json"]);
    assert_eq!(serde_json::from_value::<Header>(vector["json"].clone()).unwrap(), header);
}

#[test]
fn a_block() {
    let vectors = vectors();
    let vector = &vectors["block"];
    let list =
        |name: &str| -> Vec<Bytes> { vector[name].as_array().unwrap().iter().map(|item| bytes(item).into()).collect() };
    let (transactions, evidence) = (list("transactions"), list("evidence"));
    let block = Block::decode(bytes(&vector["bytes"]).into()).unwrap();
    assert_eq!((block.transactions(), block.evidence()), (&transactions[..], &evidence[..]));
    assert_eq!(block.hash(), hash(&vectors["header"]["hash"]));
    let mut header = block.header().clone();
    (header.tx_root, header.evidence_root) = (Hash::ZERO, Hash::ZERO);
    let made = Block::new(header, &transactions, &evidence).unwrap();
    assert_eq!(made.encoded()[..], bytes(&vector["bytes"]));
}

#[test]
fn a_receipt() {
    let vectors = vectors();
    let vector = &vectors["receipt"];
    let receipt: Receipt = borsh::from_slice(&bytes(&vector["bytes"])).unwrap();
    assert_eq!(borsh::to_vec(&receipt).unwrap(), bytes(&vector["bytes"]));
    assert_eq!(serde_json::to_value(&receipt).unwrap(), vector["json"]);
    assert_eq!(serde_json::from_value::<Receipt>(vector["json"].clone()).unwrap(), receipt);
    assert_eq!(receipt.transaction_path.root(merkle::leaf(&receipt.transaction)), Some(receipt.header.tx_root));
    assert_eq!(receipt.outcome_path.root(merkle::leaf(&receipt.outcome)), Some(receipt.header.receipts_root));
    assert_eq!(receipt.block_hash, hash(&vectors["header"]["hash"]));
}

#[test]
fn a_set_of_validators() {
    let vector = &vectors()["validators"];
    let set: ValidatorSet = borsh::from_slice(&bytes(&vector["bytes"])).unwrap();
    assert_eq!(borsh::to_vec(&set).unwrap(), bytes(&vector["bytes"]));
    assert_eq!(set.hash(), hash(&vector["hash"]));
    assert_eq!(serde_json::to_value(&set).unwrap(), vector["json"]);
    assert_eq!(serde_json::from_value::<ValidatorSet>(vector["json"].clone()).unwrap(), set);
}

#[test]
fn a_genesis() {
    let vectors = vectors();
    let vector = &vectors["genesis"];
    let genesis = Genesis::parse("genesis.toml", vector["text"].as_str().unwrap()).unwrap();
    assert_eq!(genesis.time().0, vector["time"].as_u64().unwrap());
    assert_eq!(genesis.validators().hash(), hash(&vectors["validators"]["hash"]));
    assert_eq!(Hash::of(&[&bytes(&vector["canonical"])]), hash(&vector["chain_id"]));
    assert_eq!(genesis.chain_id().as_bytes(), hash(&vector["chain_id"]).as_bytes());
}

#[test]
fn merkle_roots() {
    let vectors = vectors();
    let roots = vectors["merkle_roots"].as_array().unwrap();
    let leaves: Vec<Hash> = (0..).take(roots.len()).map(|at: u8| merkle::leaf(&[at])).collect();
    for (count, expected) in roots.iter().enumerate() {
        assert_eq!(merkle::root(&leaves[..count]), hash(expected), "{count} leaves");
    }
}

#[test]
fn what_validators_sign() {
    let vector = &vectors()["sign_request"];
    let chain_id = ChainId::new(*hash(&vector["chain_id"]).as_bytes());
    let request = SignRequest {
        guard: Guard {
            height: Height(vector["height"].as_u64().unwrap()),
            round: Round(vector["round"].as_u64().unwrap().try_into().unwrap()),
            ..Guard::default()
        },
        kind: vector["kind"].as_u64().unwrap().try_into().unwrap(),
        body: bytes(&vector["body"]),
    };
    assert_eq!(request.sign_bytes(&chain_id), bytes(&vector["bytes"]));
    assert_eq!(request.digest(&chain_id), hash(&vector["digest"]));
}
