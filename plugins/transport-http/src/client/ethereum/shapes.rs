//! How blocks, transactions and receipts look to this face's clients.

use quorate::{
    ChainId, Genesis, Hash, Height, PublicKey, Round, Timestamp, TransactionId, block::BLOCK_TRANSACTIONS_MAX,
    node::FinalBlock,
};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use crate::client::{
    hexadecimal::{HexBytes, Quantity},
    shapes::Certificate,
};

/// What every transaction is said to use: the price of a plain transfer.
pub(super) const GAS: u64 = 21_000;

/// What every block is said to have room for: the largest possible block.
const GAS_LIMIT: u64 = GAS * BLOCK_TRANSACTIONS_MAX as u64;

/// Keccak-256 of the RLP of an empty trie; clients take it for "no transactions".
const EMPTY_ROOT: &str = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";

/// Keccak-256 of the RLP of an empty list of uncles.
const NO_UNCLES: &str = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347";

/// A bloom filter of 256 bytes in which nothing is.
const ZERO_BLOOM: &str = {
    const TEXT: [u8; 514] = {
        let mut text = [b'0'; 514];
        if let Some(second) = text.split_at_mut(1).1.first_mut() {
            *second = b'x';
        }
        text
    };
    match std::str::from_utf8(&TEXT) {
        Ok(text) => text,
        Err(_) => "",
    }
};

const BLOCK_NONCE: &str = "0x0000000000000000";

/// The chain's number: the first 31 bits of its id, and never 0. Clients and wallets want it small.
pub(super) fn chain_number(chain_id: ChainId) -> u64 {
    let [a, b, c, d, ..] = *chain_id.as_bytes();
    u64::from(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff).max(1)
}

/// Twenty bytes that stand for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address([u8; 20]);

impl Address {
    const ZERO: Self = Self([0; 20]);

    fn first_of(bytes: &[u8; 32]) -> Self {
        let mut address = [0; 20];
        for (to, from) in address.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(address)
    }

    /// Of a node: the first bytes of its key.
    pub(super) fn of_key(key: &PublicKey) -> Self {
        Self::first_of(key.as_bytes())
    }

    /// Of a transaction's sender, whom only the application knows: the first bytes of the id. So each has its own, and no client
    /// takes one transaction for the replacement of another.
    fn of_sender(id: &TransactionId) -> Self {
        Self::first_of(id.as_bytes())
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HexBytes(&self.0).serialize(serializer)
    }
}

fn seconds(time: Timestamp) -> Quantity {
    Quantity(time.0 / 1000)
}

/// A root that is [`EMPTY_ROOT`] exactly when nothing is under it.
fn root(hash: Hash, count: usize) -> String {
    if count == 0 { EMPTY_ROOT.to_owned() } else { hash.to_string() }
}

/// A block.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    number: Quantity,
    hash: Hash,
    parent_hash: Hash,
    nonce: &'static str,
    sha3_uncles: &'static str,
    logs_bloom: &'static str,
    transactions_root: String,
    state_root: Hash,
    receipts_root: String,
    miner: Address,
    difficulty: Quantity,
    total_difficulty: Quantity,
    extra_data: &'static str,
    size: Quantity,
    gas_limit: Quantity,
    gas_used: Quantity,
    timestamp: Quantity,
    mix_hash: Hash,
    base_fee_per_gas: Quantity,
    uncles: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<Transactions<'a>>,
    // Our own fields, which ride beside.
    proposer: Option<&'a str>,
    round: Option<Round>,
    timestamp_ms: Timestamp,
    quorum_certificate: Option<Certificate>,
}

/// A block's transactions.
#[derive(Debug)]
enum Transactions<'a> {
    None,
    Ids(&'a [TransactionId]),
    Full(&'a FinalBlock),
}

impl Serialize for Transactions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_seq(Some(0))?.end(),
            Self::Ids(ids) => ids.serialize(serializer),
            Self::Full(block) => serializer
                .collect_seq((0..block.transaction_ids.len()).filter_map(|at| Transaction::in_block(block, at as u64))),
        }
    }
}

impl<'a> Block<'a> {
    /// With its transactions, or their ids.
    pub(super) fn of(block: &'a FinalBlock, full: bool) -> Self {
        let transactions = if full { Transactions::Full(block) } else { Transactions::Ids(&block.transaction_ids) };
        Self { transactions: Some(transactions), ..Self::header(block) }
    }

    /// Without transactions.
    pub(super) fn header(block: &'a FinalBlock) -> Self {
        let header = block.block.header();
        let count = block.transaction_ids.len();
        Self {
            number: Quantity(header.height.0),
            hash: block.block.hash(),
            parent_hash: header.parent_hash,
            transactions_root: root(header.tx_root, count),
            state_root: header.app_hash,
            receipts_root: root(header.receipts_root, count),
            miner: Address::of_key(&block.creator_key),
            size: Quantity(block.block.encoded().len() as u64),
            gas_used: Quantity(GAS * count as u64),
            timestamp: seconds(header.time),
            transactions: None,
            proposer: Some(&block.creator),
            round: Some(block.certificate.round),
            timestamp_ms: header.time,
            quorum_certificate: Some(Certificate::of(&block.certificate)),
            ..Self::blank()
        }
    }

    /// The place before block 1: its hash is the chain's id, which block 1 names as its parent.
    pub(super) fn genesis(genesis: &Genesis) -> Self {
        Self {
            hash: Hash::new(*genesis.chain_id().as_bytes()),
            timestamp: seconds(genesis.time()),
            timestamp_ms: genesis.time(),
            transactions: Some(Transactions::None),
            ..Self::blank()
        }
    }

    fn blank() -> Self {
        Self {
            number: Quantity(Height::GENESIS.0),
            hash: Hash::ZERO,
            parent_hash: Hash::ZERO,
            nonce: BLOCK_NONCE,
            sha3_uncles: NO_UNCLES,
            logs_bloom: ZERO_BLOOM,
            transactions_root: EMPTY_ROOT.to_owned(),
            state_root: Hash::ZERO,
            receipts_root: EMPTY_ROOT.to_owned(),
            miner: Address::ZERO,
            difficulty: Quantity(0),
            total_difficulty: Quantity(0),
            extra_data: "0x",
            size: Quantity(0),
            gas_limit: Quantity(GAS_LIMIT),
            gas_used: Quantity(0),
            timestamp: Quantity(0),
            mix_hash: Hash::ZERO,
            base_fee_per_gas: Quantity(0),
            uncles: [],
            transactions: None,
            proposer: None,
            round: None,
            timestamp_ms: Timestamp(0),
            quorum_certificate: None,
        }
    }
}

/// Where a transaction is mined.
#[derive(Debug, Clone, Copy)]
struct Mined {
    block_hash: Hash,
    height: Height,
    index: u64,
    time: Timestamp,
}

/// A transaction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction<'a> {
    block_hash: Option<Hash>,
    block_number: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_timestamp: Option<Quantity>,
    transaction_index: Option<Quantity>,
    hash: TransactionId,
    from: Address,
    to: Address,
    chain_id: Quantity,
    #[serde(rename = "type")]
    kind: Quantity,
    /// Above the count of every sender's transactions, which is 0: clients that look for a replacement stop there.
    nonce: Quantity,
    gas: Quantity,
    gas_price: Quantity,
    value: Quantity,
    input: HexBytes<'a>,
    v: Quantity,
    r: Quantity,
    s: Quantity,
}

impl<'a> Transaction<'a> {
    fn new(chain_id: ChainId, id: TransactionId, bytes: &'a [u8], mined: Option<Mined>) -> Self {
        Self {
            block_hash: mined.map(|mined| mined.block_hash),
            block_number: mined.map(|mined| Quantity(mined.height.0)),
            block_timestamp: mined.map(|mined| seconds(mined.time)),
            transaction_index: mined.map(|mined| Quantity(mined.index)),
            hash: id,
            from: Address::of_sender(&id),
            to: Address::ZERO,
            chain_id: Quantity(chain_number(chain_id)),
            kind: Quantity(0),
            nonce: Quantity(1),
            gas: Quantity(GAS),
            gas_price: Quantity(0),
            value: Quantity(0),
            input: HexBytes(bytes),
            v: Quantity(0),
            r: Quantity(0),
            s: Quantity(0),
        }
    }

    /// One that waits.
    pub(super) fn pending(chain_id: ChainId, id: TransactionId, bytes: &'a [u8]) -> Self {
        Self::new(chain_id, id, bytes, None)
    }

    /// A final one.
    pub(super) fn of_receipt(receipt: &'a quorate::Receipt) -> Self {
        let mined = mined(receipt);
        Self::new(receipt.header.chain_id, receipt.transaction_id, &receipt.transaction, Some(mined))
    }

    /// The one at `index`, if there is one.
    pub(super) fn in_block(block: &'a FinalBlock, index: u64) -> Option<Self> {
        let at = usize::try_from(index).ok()?;
        let header = block.block.header();
        let mined = Mined { block_hash: block.block.hash(), height: header.height, index, time: header.time };
        let (id, bytes) = (block.transaction_ids.get(at)?, block.block.transactions().get(at)?);
        Some(Self::new(header.chain_id, *id, bytes, Some(mined)))
    }
}

fn mined(receipt: &quorate::Receipt) -> Mined {
    Mined {
        block_hash: receipt.block_hash,
        height: receipt.header.height,
        index: receipt.transaction_path.index.into(),
        time: receipt.header.time,
    }
}

/// A receipt.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    transaction_hash: TransactionId,
    transaction_index: Quantity,
    block_hash: Hash,
    block_number: Quantity,
    block_timestamp: Quantity,
    from: Address,
    to: Address,
    contract_address: Option<Address>,
    #[serde(rename = "type")]
    kind: Quantity,
    status: Quantity,
    gas_used: Quantity,
    cumulative_gas_used: Quantity,
    effective_gas_price: Quantity,
    logs: [(); 0],
    logs_bloom: &'static str,
}

impl Receipt {
    fn new(id: TransactionId, mined: Mined) -> Self {
        Self {
            transaction_hash: id,
            transaction_index: Quantity(mined.index),
            block_hash: mined.block_hash,
            block_number: Quantity(mined.height.0),
            block_timestamp: seconds(mined.time),
            from: Address::of_sender(&id),
            to: Address::ZERO,
            contract_address: None,
            kind: Quantity(0),
            status: Quantity(1),
            gas_used: Quantity(GAS),
            cumulative_gas_used: Quantity(GAS.saturating_mul(mined.index.saturating_add(1))),
            effective_gas_price: Quantity(0),
            logs: [],
            logs_bloom: ZERO_BLOOM,
        }
    }

    /// Of a final transaction.
    pub(super) fn of(receipt: &quorate::Receipt) -> Self {
        Self::new(receipt.transaction_id, mined(receipt))
    }
}

/// The receipts of a block's transactions.
#[derive(Debug)]
pub(super) struct Receipts<'a>(pub(super) &'a FinalBlock);

impl Serialize for Receipts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let header = self.0.block.header();
        let (block_hash, height, time) = (self.0.block.hash(), header.height, header.time);
        serializer.collect_seq(
            self.0
                .transaction_ids
                .iter()
                .zip(0..)
                .map(|(id, index)| Receipt::new(*id, Mined { block_hash, height, index, time })),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bloom_has_256_zero_bytes() {
        assert_eq!(ZERO_BLOOM, format!("0x{}", "00".repeat(256)));
    }

    #[test]
    fn the_chain_number_is_small_and_never_zero() {
        assert_eq!(chain_number(ChainId::new([0; 32])), 1);
        assert_eq!(chain_number(ChainId::new([0xff; 32])), 0x7fff_ffff);
    }
}
