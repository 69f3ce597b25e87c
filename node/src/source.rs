//! Where a chain is read from: an export, a data directory, or a node.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use quorate::{Bytes, Genesis, Height, Settings, Storage, plugin::SetupError, storage::Snapshot};
use quorate_kernel::layout::ChainReader;
use serde_json::{Value, json};

use crate::{
    archive::Reader,
    bundled,
    exit::{Exit, Failure},
    rpc::{Rpc, RpcError, bytes_of},
};

/// Bytes of blocks which one request asks a node for.
const PAGE_BYTES: u32 = 8 << 20;

/// A chain that is read block by block from the first.
pub trait Source {
    /// The genesis text which the source says is its chain's.
    fn genesis(&self) -> &str;

    /// How many blocks there are, if the source says so.
    fn blocks(&self) -> Option<u64>;

    /// The next block and its proof, as bytes, unchecked; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the source can't be read.
    fn next_block(&mut self) -> Result<Option<(Bytes, Bytes)>, Failure>;
}

/// An export.
pub struct FileSource(Reader<BufReader<File>>);

impl FileSource {
    /// Opens the export at `path`.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self(Reader::open(path)?))
    }
}

impl Source for FileSource {
    fn genesis(&self) -> &str {
        self.0.genesis()
    }

    fn blocks(&self) -> Option<u64> {
        None
    }

    fn next_block(&mut self) -> Result<Option<(Bytes, Bytes)>, Failure> {
        Ok(self.0.next_block()?)
    }
}

/// The store of a node that does not run.
pub struct DirectorySource {
    directory: PathBuf,
    snapshot: Box<dyn Snapshot>,
    /// Held because a snapshot does not outlive its store.
    _storage: Arc<dyn Storage>,
    genesis: String,
    tip: Height,
    next: Height,
}

impl DirectorySource {
    /// Opens the store in a node's `data_dir`.
    ///
    /// # Errors
    ///
    /// [`Exit::Failed`] when there is none, or not from its first block on, [`Exit::Locked`] when a node uses it, [`Exit::Damaged`], [`Exit::Disk`].
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let nothing = || Failure::failed(format!("{}: holds no chain; give a node's data_dir", directory.display()));
        // Opening would make a store where there is none.
        let mut entries =
            std::fs::read_dir(directory).map_err(|error| Failure::reading(directory.display(), &error))?;
        if !entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_file())) {
            return Err(nothing());
        }
        let storage = open_storage(directory)?;
        let snapshot = storage.snapshot()?;
        let chain = ChainReader(snapshot.as_ref());
        let (Some(tip), Some(genesis)) = (chain.tip()?, chain.genesis()?) else { return Err(nothing()) };
        has_all(&directory.display().to_string(), chain.blocks_from()?.0, tip.height.0)?;
        Ok(Self { directory: directory.into(), snapshot, _storage: storage, genesis, tip: tip.height, next: Height(1) })
    }
}

/// A chain is read from its first block on, and a node that keeps only the last blocks has removed those before.
fn has_all(place: &str, blocks_from: u64, tip: u64) -> Result<(), Failure> {
    if blocks_from <= 1 {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{place}: has blocks {blocks_from} to {tip}; those before were removed (keep_blocks), and a chain is read from block 1 on: ask a node that keeps all"
    )))
}

/// Opens, or makes, the store in a node's `data_dir` with default settings.
///
/// # Errors
///
/// [`Failure`].
pub fn open_storage(directory: &Path) -> Result<Arc<dyn Storage>, Failure> {
    let plugin = bundled::storage(directory)?;
    plugin.open(&Settings::from_text(""), directory).map_err(|error| {
        let failure = not_opened(error, directory);
        match failure.exit {
            Exit::Locked => {
                let message = format!("{}; a running node is asked with --rpc instead", failure.message);
                Failure { message, ..failure }
            }
            _ => failure,
        }
    })
}

/// Why a store is not opened; the message of [`Exit::Locked`] names its file already.
pub fn not_opened(error: SetupError, directory: &Path) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        Exit::Locked => failure,
        _ => failure.within(directory.display()),
    }
}

impl Source for DirectorySource {
    fn genesis(&self) -> &str {
        &self.genesis
    }

    fn blocks(&self) -> Option<u64> {
        Some(self.tip.0)
    }

    fn next_block(&mut self) -> Result<Option<(Bytes, Bytes)>, Failure> {
        if self.next > self.tip {
            return Ok(None);
        }
        let stored = ChainReader(self.snapshot.as_ref()).block(self.next)?.ok_or_else(|| {
            let what = format!("{}: block {} of {} is missing", self.directory.display(), self.next, self.tip);
            Failure::new(Exit::Damaged, what)
        })?;
        self.next = self.next.next();
        Ok(Some((stored.block.encoded().clone(), stored.proof)))
    }
}

/// A running node, asked for as many blocks as it had when asking began.
pub struct RpcSource {
    runtime: tokio::runtime::Runtime,
    rpc: Rpc,
    genesis: String,
    tip: u64,
    next: u64,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
}

impl RpcSource {
    /// Asks the node at `url` for its genesis and height.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub fn open(url: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("the runtime can't be started: {error}")))?;
        let rpc = Rpc::new(url)?;
        let genesis = runtime.block_on(rpc.call("quorate_genesis", json!([])))?;
        let genesis = genesis.as_str().or_else(|| genesis.get("toml").and_then(Value::as_str));
        let genesis = genesis.ok_or_else(|| not_rpc(&rpc, "a genesis that is no text"))?.to_owned();
        let status = runtime.block_on(rpc.call("quorate_status", json!([])))?;
        let tip = status.get("height").and_then(Value::as_u64);
        let tip = tip.ok_or_else(|| not_rpc(&rpc, "a status without height"))?;
        has_all(rpc.url(), status.get("blocks_from").and_then(Value::as_u64).unwrap_or(1), tip)?;
        Ok(Self { runtime, rpc, genesis, tip, next: 1, page: Vec::new().into_iter() })
    }
}

fn not_rpc(rpc: &Rpc, what: &str) -> Failure {
    RpcError::NotRpc { url: rpc.url().to_owned(), what: what.to_owned() }.into()
}

impl Source for RpcSource {
    fn genesis(&self) -> &str {
        &self.genesis
    }

    fn blocks(&self) -> Option<u64> {
        Some(self.tip)
    }

    fn next_block(&mut self) -> Result<Option<(Bytes, Bytes)>, Failure> {
        if self.next > self.tip {
            return Ok(None);
        }
        if self.page.len() == 0 {
            let params = json!([self.next, PAGE_BYTES]);
            let answer = self.runtime.block_on(self.rpc.call("quorate_blockRange", params))?;
            let blocks = answer.get("blocks").and_then(Value::as_array);
            let page = blocks.map(|blocks| blocks.iter().map(pair).collect::<Option<Vec<_>>>());
            let page = page.flatten().ok_or_else(|| not_rpc(&self.rpc, "blocks in another form"))?;
            self.page = page.into_iter();
        }
        self.next += 1;
        let missing = || {
            let (height, tip) = (self.next - 1, self.tip);
            Failure::failed(format!("{}: gave no block {height}, though its height is {tip}", self.rpc.url()))
        };
        self.page.next().map(Some).ok_or_else(missing)
    }
}

fn pair(value: &Value) -> Option<(Bytes, Bytes)> {
    Some((bytes_of(value.get("block")?)?.into(), bytes_of(value.get("proof")?)?.into()))
}

/// Reads a genesis file.
///
/// # Errors
///
/// [`Exit::Config`] with every error in it.
pub fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::reading(path.display(), &error))?;
    Ok(Genesis::parse(&path.display().to_string(), &text)?)
}

/// The genesis to judge a source by: the one that is given, which must be the source's, or the source's own.
///
/// # Errors
///
/// [`Exit::Config`] for a bad genesis, [`Exit::Failed`] for the genesis of another chain.
pub fn genesis_of(source: &dyn Source, given: Option<&Path>) -> Result<Genesis, Failure> {
    let own = Genesis::parse("genesis of the source", source.genesis());
    let Some(path) = given else { return Ok(own?) };
    let given = read_genesis(path)?;
    let own = own.map_err(|errors| Failure::from(errors).exiting(Exit::Damaged))?;
    if own.chain_id() != given.chain_id() {
        return Err(Failure::failed(format!(
            "the source is of chain {} ({}), {} is of chain {} ({})",
            own.chain_id(),
            own.chain_name(),
            path.display(),
            given.chain_id(),
            given.chain_name()
        )));
    }
    Ok(given)
}
