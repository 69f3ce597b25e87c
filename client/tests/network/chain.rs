//! A small chain in memory: real blocks of `kv` transactions, made final by the certificates of `poa` with three validators.

use std::sync::{Arc, Mutex};

use ed25519_dalek::{Signer as _, SigningKey};
use quorate::{
    Application, Block, Bytes, FinalityProof, Genesis, Hash, Header, Height, PublicKey, Receipt, Round, Signature,
    Timestamp, TransactionId, ValidatorIndex,
    block::BLOCK_VERSION,
    borsh,
    consensus::Context,
    merkle,
    plugin::{ApplicationPlugin as _, ConsensusPlugin as _},
    service::Rules,
};
use quorate_kv::{KvPlugin, Put};
use quorate_poa::{PoaPlugin, QuorumCertificate, VoteKind, vote_request};
use serde_json::{Value, json};

/// Validators of genesis; two are a quorum.
pub(crate) const VALIDATORS: usize = 3;

/// The name which genesis has for a validator.
pub(crate) fn name(at: usize) -> String {
    format!("validator-{}", at + 1)
}

fn key(at: usize) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(at + 1).unwrap(); 32])
}

/// The key of a validator.
pub(crate) fn public_key(at: usize) -> PublicKey {
    PublicKey::new(key(at).verifying_key().to_bytes())
}

/// A final block.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) block: Block,
    pub(crate) outcomes: Vec<Bytes>,
    pub(crate) proof: Bytes,
}

impl Sealed {
    /// As `quorate_blockRange` shows it.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "height": self.block.height(),
            "block": format!("0x{}", hex::encode(self.block.encoded())),
            "proof": format!("0x{}", hex::encode(&self.proof)),
        })
    }
}

/// The chain.
pub(crate) struct Chain {
    pub(crate) rules: Rules,
    blocks: Mutex<Vec<Sealed>>,
}

impl Chain {
    /// Genesis alone.
    pub(crate) fn new(chain_name: &str) -> Arc<Self> {
        let mut text = format!(
            "chain_name = \"{chain_name}\"\ngenesis_time = 2026-01-01T00:00:00Z\n\
             [consensus]\nplugin = \"poa\"\nfault_model = \"byzantine-sync\"\nblock_interval_ms = 0\n\
             block_transactions_max = 100\nblock_bytes_max = 1048576\ndelta_ms = 100\nempty_blocks = \"never\"\n\
             [application]\nplugin = \"kv\"\nvalue_bytes_max = 1024\n"
        );
        for at in 0..VALIDATORS {
            text.push_str(&format!("[[validator]]\nname = \"{}\"\npublic_key = \"{}\"\n", name(at), public_key(at)));
        }
        let genesis = Genesis::parse("genesis.toml", &text).unwrap();
        let finality: Arc<dyn FinalityProof> = PoaPlugin.proof(&Context::of(&genesis)).unwrap();
        let own = quorate::Settings::from_text("");
        let application: Arc<dyn Application> =
            KvPlugin.build(genesis.chain_id(), &genesis.application_settings(), &own).unwrap();
        Arc::new(Self { rules: Rules { genesis: Arc::new(genesis), finality, application }, blocks: Mutex::default() })
    }

    /// A write of the signer `seed`, its `nonce`th.
    pub(crate) fn put(&self, seed: u8, nonce: u64) -> Bytes {
        Put::sign(&[seed; 32], &self.rules.genesis.chain_id(), nonce, b"key", format!("value {nonce}").as_bytes())
    }

    /// The id of a transaction.
    pub(crate) fn id(&self, transaction: &[u8]) -> TransactionId {
        self.rules.application.transaction_id(transaction)
    }

    pub(crate) fn height(&self) -> usize {
        self.blocks.lock().unwrap().len()
    }

    pub(crate) fn blocks(&self) -> Vec<Sealed> {
        self.blocks.lock().unwrap().clone()
    }

    /// The hash at a height; at 0 that of genesis.
    pub(crate) fn hash(&self, height: usize) -> Hash {
        match height.checked_sub(1) {
            Some(at) => self.blocks.lock().unwrap()[at].block.hash(),
            None => Hash::new(*self.rules.genesis.chain_id().as_bytes()),
        }
    }

    /// A block at `height`, on the chain's own one below, signed by these validators; not appended.
    pub(crate) fn seal(&self, height: usize, transactions: &[Bytes], signers: &[usize]) -> Sealed {
        let outcomes: Vec<Bytes> =
            transactions.iter().map(|one| Bytes::copy_from_slice(self.id(one).as_bytes())).collect();
        let leaves: Vec<Hash> = outcomes.iter().map(|one| merkle::leaf(one)).collect();
        let genesis = &self.rules.genesis;
        let header = Header {
            version: BLOCK_VERSION,
            chain_id: genesis.chain_id(),
            height: Height(height as u64),
            parent_hash: self.hash(height - 1),
            time: Timestamp(genesis.time().0 + 1000 * height as u64),
            creator: ValidatorIndex(0),
            created_round: Round(0),
            tx_root: Hash::ZERO,
            evidence_root: Hash::ZERO,
            app_hash: Hash::of(&[b"state"]),
            receipts_root: merkle::root(&leaves),
            validators_hash: genesis.validators().hash(),
            next_validators_hash: genesis.validators().hash(),
        };
        self.sign(Block::new(header, transactions, &[]).unwrap(), outcomes, signers)
    }

    /// The certificate of these validators for a block.
    pub(crate) fn sign(&self, block: Block, outcomes: Vec<Bytes>, signers: &[usize]) -> Sealed {
        let request = vote_request(VoteKind::Commit, block.height(), Round(0), &block.hash());
        let message = request.sign_bytes(&self.rules.genesis.chain_id());
        let signature = |at: &usize| {
            (ValidatorIndex(u16::try_from(*at).unwrap()), Signature::new(key(*at).sign(&message).to_bytes()))
        };
        let certificate = QuorumCertificate {
            kind: VoteKind::Commit,
            height: block.height(),
            round: Round(0),
            block_hash: block.hash(),
            signatures: signers.iter().map(signature).collect(),
        };
        Sealed { block, outcomes, proof: borsh::to_vec(&certificate).unwrap().into() }
    }

    /// Appends a block, and gives its height.
    pub(crate) fn append(&self, transactions: &[Bytes]) -> usize {
        let height = self.height() + 1;
        let sealed = self.seal(height, transactions, &[0, 2]);
        self.blocks.lock().unwrap().push(sealed);
        height
    }

    /// Appends blocks of one transaction each, and gives these.
    pub(crate) fn grow(&self, seed: u8, blocks: u64) -> Vec<Bytes> {
        let transactions: Vec<Bytes> = (0..blocks).map(|nonce| self.put(seed, nonce)).collect();
        for one in &transactions {
            self.append(std::slice::from_ref(one));
        }
        transactions
    }

    /// The receipt of a transaction in the first `height` blocks.
    pub(crate) fn receipt(&self, id: &TransactionId, height: usize) -> Option<Receipt> {
        let blocks = self.blocks.lock().unwrap();
        blocks.iter().take(height).find_map(|sealed| self.receipt_in(sealed, id))
    }

    /// The receipt of a transaction in a block.
    pub(crate) fn receipt_in(&self, sealed: &Sealed, id: &TransactionId) -> Option<Receipt> {
        let transactions = sealed.block.transactions();
        let at = transactions.iter().position(|one| self.id(one) == *id)?;
        let outcomes: Vec<Hash> = sealed.outcomes.iter().map(|one| merkle::leaf(one)).collect();
        Some(Receipt {
            transaction_id: *id,
            transaction: transactions[at].clone(),
            transaction_path: merkle::path(&sealed.block.transaction_leaves(), at)?,
            outcome: sealed.outcomes[at].clone(),
            outcome_path: merkle::path(&outcomes, at)?,
            header: sealed.block.header().clone(),
            block_hash: sealed.block.hash(),
            validators: self.rules.genesis.validators().clone(),
            proof: sealed.proof.clone(),
        })
    }
}
