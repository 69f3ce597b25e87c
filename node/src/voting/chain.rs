//! What the commands of elections ask a node, and how they submit.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use quorate::{ChainId, Timestamp, TransactionId};
use quorate_ballot::record::{Draft, Manifest, Receipt, Transaction, transaction_id};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    exit::Failure,
    output,
    rpc::{Rpc, RpcError, bytes_of},
    voting::files::{Hex, read_file, write_file},
};

/// How long a transaction is waited for.
const FINAL_WITHIN: Duration = Duration::from_secs(120);

/// Time between two looks.
const POLL: Duration = Duration::from_millis(100);

/// The kind of a transaction's file.
const TRANSACTION_KIND: &str = "transaction/1";

/// To whom a transaction goes.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// A node's RPC address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub rpc: String,
    /// Write the transaction to a file instead of submitting it; `quorate election send FILE` does that later, anywhere
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A transaction in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionFile {
    quorate: String,
    /// Its kind in a word.
    pub kind: String,
    /// Its id.
    pub id: Hex<32>,
    /// Its bytes, hexadecimal.
    pub bytes: String,
}

impl TransactionFile {
    fn new(transaction: &Transaction, bytes: &[u8]) -> Self {
        Self {
            quorate: TRANSACTION_KIND.into(),
            kind: transaction.body.kind().name().into(),
            id: Hex(transaction_id(bytes)),
            bytes: format!("0x{}", hex::encode(bytes)),
        }
    }

    /// Reads a file; the transaction must be one.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn load(path: &std::path::Path) -> Result<Transaction, Failure> {
        let file: Self = read_file(path, TRANSACTION_KIND)?;
        let bytes = hex::decode(file.bytes.trim_start_matches("0x")).unwrap_or_default();
        Transaction::decode(&bytes).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
    }
}

/// What became of a transaction.
#[derive(Debug, Clone)]
pub enum Sent {
    /// Written to the file that was asked for.
    File(PathBuf),
    /// In a final block.
    Final {
        /// Its id.
        id: TransactionId,
        /// The block.
        height: u64,
        /// What it did.
        receipt: Box<Receipt>,
    },
}

impl Sent {
    /// Tells what became of it; `what` says what it is for.
    ///
    /// # Errors
    ///
    /// [`Failure`] when stdout is gone.
    pub fn tell(&self, json: bool, what: &str, fields: &Value) -> Result<(), Failure> {
        let mut all = fields.as_object().cloned().unwrap_or_default();
        match self {
            Sent::File(path) => {
                all.insert("file".into(), json!(path));
                if json { output::json(&all) } else { output::line(&format!("{what}: written to {}", path.display())) }
            }
            Sent::Final { id, height, .. } => {
                all.insert("transaction_id".into(), json!(id));
                all.insert("height".into(), json!(height));
                if json {
                    output::json(&all)
                } else {
                    output::line(&format!("{what}: final in block {height} (transaction {id})"))
                }
            }
        }
    }
}

/// A node whose chain has elections.
pub struct Elections {
    rpc: Rpc,
}

impl Elections {
    /// The node at `url`.
    ///
    /// # Errors
    ///
    /// [`Failure`] for what is no address.
    pub fn at(url: &str) -> Result<Self, Failure> {
        Ok(Self { rpc: Rpc::new(url)? })
    }

    fn unlike(&self, what: &str) -> Failure {
        RpcError::NotRpc { url: self.rpc.url().into(), what: what.into() }.into()
    }

    /// The chain.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn chain_id(&self) -> Result<ChainId, Failure> {
        let status = self.rpc.call("quorate_status", json!([])).await?;
        let text = status.get("chain_id").and_then(Value::as_str);
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.unlike("a status without chain id"))
    }

    /// Asks the application.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn query(&self, path: &str, params: Value) -> Result<Value, Failure> {
        Ok(self.rpc.call("quorate_query", json!([path, params])).await?)
    }

    /// A draft, which must hash to its id.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn draft(&self, id: &Hex<32>) -> Result<([u8; 32], Draft), Failure> {
        let answer = self.query("draft", json!({ "id": id })).await?;
        let bytes = answer.get("bytes").and_then(bytes_of).ok_or_else(|| self.unlike("a draft without bytes"))?;
        let draft = Draft::decode(&bytes).map_err(|error| self.unlike(&format!("a draft that is none: {error}")))?;
        let hash = draft.hash();
        let named = answer.get("draft").and_then(bytes_of);
        if named.as_deref() != Some(hash.as_slice()) {
            return Err(self.unlike("a draft that does not hash to its id"));
        }
        Ok((hash, draft))
    }

    /// An election's manifest, which must hash to its id; `id` may be the draft's.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn manifest(&self, id: &Hex<32>) -> Result<Manifest, Failure> {
        let answer = self.query("manifest", json!({ "id": id })).await?;
        let bytes = answer.get("bytes").and_then(bytes_of).ok_or_else(|| self.unlike("a manifest without bytes"))?;
        let manifest =
            Manifest::decode(&bytes).map_err(|error| self.unlike(&format!("a manifest that is none: {error}")))?;
        if manifest.eid() != id.0 && manifest.draft.hash() != id.0 {
            return Err(self.unlike("a manifest that does not hash to the election's id: do not trust this node"));
        }
        Ok(manifest)
    }

    /// Submits a transaction and waits until it is final; the same again is the same transaction.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the node's reason.
    pub async fn submit(&self, transaction: &Transaction) -> Result<Sent, Failure> {
        let bytes = transaction.encode();
        let id = TransactionId::new(transaction_id(&bytes));
        let submission = json!([format!("0x{}", hex::encode(&bytes))]);
        self.rpc.call("quorate_submit", submission.clone()).await?;
        let deadline = tokio::time::Instant::now() + FINAL_WITHIN;
        loop {
            let answer = self.rpc.call("quorate_receipt", json!([id])).await?;
            if answer.get("status").and_then(Value::as_str) == Some("final") {
                return self.done(id, &answer);
            }
            if answer.is_null() {
                // Dropped from the pool: handed in again, it is refused with the reason, or taken up again.
                self.rpc.call("quorate_submit", submission.clone()).await?;
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Failure::failed(format!(
                    "{id} was not final within {} s; it may become so: do the same again, it counts once",
                    FINAL_WITHIN.as_secs()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn done(&self, id: TransactionId, answer: &Value) -> Result<Sent, Failure> {
        let height = answer.pointer("/receipt/header/height");
        let result = answer.pointer("/receipt/outcome").and_then(bytes_of);
        let receipt = result.and_then(|bytes| Receipt::decode(&bytes).ok());
        match (height.and_then(Value::as_u64), receipt) {
            (Some(height), Some(receipt)) => Ok(Sent::Final { id, height, receipt: Box::new(receipt) }),
            _ => {
                Err(self.unlike("a receipt that is none of an election; is this a network of the application voting?"))
            }
        }
    }

    /// The whole answer to `quorate_receipt`.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn receipt(&self, id: &TransactionId) -> Result<Value, Failure> {
        Ok(self.rpc.call("quorate_receipt", json!([id])).await?)
    }
}

impl SubmitArgs {
    /// Submits, or writes the file that is asked for.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn send(&self, transaction: &Transaction) -> Result<Sent, Failure> {
        match &self.out {
            Some(path) => {
                write_file(path, &TransactionFile::new(transaction, &transaction.encode()))?;
                Ok(Sent::File(path.clone()))
            }
            None => self.elections()?.submit(transaction).await,
        }
    }

    /// The node.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn elections(&self) -> Result<Elections, Failure> {
        Elections::at(&self.rpc)
    }
}

/// A moment in UTC, for people.
pub fn at_ms(ms: u64) -> String {
    Timestamp(ms).utc()
}
