//! A chain as one file: its bytes (`docs/export-format.md`), a writer and a reader that trusts no length.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use quorate::{Bytes, block::BLOCK_BYTES_MAX, consensus::PROOF_BYTES_MAX, genesis::GENESIS_BYTES_MAX};
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, Failure};

/// The first bytes of an export.
pub const MAGIC: &[u8; 17] = b"quorate-export-1\n";

/// Why a file is not an export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The medium failed.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ends where more is needed.
    #[error("{path}: cut short at byte {at}, in {what}")]
    CutShort {
        /// Which file.
        path: PathBuf,
        /// Where the incomplete part begins.
        at: u64,
        /// Which part.
        what: &'static str,
    },
    /// Its bytes are not those of an export.
    #[error("{path}: at byte {at}: {what}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is there, and what should be.
        what: String,
    },
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match &error {
            ArchiveError::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) =>
            {
                Failure::failed(error.to_string())
            }
            ArchiveError::Io { .. } => Failure::new(Exit::Disk, error.to_string()),
            _ => Failure::new(Exit::Damaged, error.to_string()),
        }
    }
}

/// Writes an export under a temporary name; it gets its own name when it is complete and on the medium.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    hasher: Sha256,
    blocks: u64,
    finished: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = std::fs::remove_file(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "incomplete export could not be removed");
        }
    }
}

impl Writer {
    /// Begins an export at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Io`].
    pub fn create(path: &Path, genesis: &str) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { path: path.into(), source };
        if path.exists() {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "exists; choose another name")));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let temporary = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary).map_err(failed)?;
        let out = BufWriter::new(file);
        let mut writer = Self { path: path.into(), temporary, out, hasher: Sha256::new(), blocks: 0, finished: false };
        writer.put(MAGIC)?;
        writer.put_sized(genesis.as_bytes())?;
        Ok(writer)
    }

    /// Appends the next block with its proof.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Io`].
    pub fn block(&mut self, block: &[u8], proof: &[u8]) -> Result<(), ArchiveError> {
        self.put_sized(block)?;
        self.put_sized(proof)?;
        self.blocks += 1;
        Ok(())
    }

    /// Completes the file and makes it durable; returns how many blocks it has.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Io`].
    pub fn finish(mut self) -> Result<u64, ArchiveError> {
        self.put(&0u32.to_le_bytes())?;
        self.put(&self.blocks.to_le_bytes())?;
        let digest: [u8; 32] = self.hasher.clone().finalize().into();
        let failed = |source| ArchiveError::Io { path: self.path.clone(), source };
        self.out.write_all(&digest).and_then(|()| self.out.flush()).map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(&self.temporary, &self.path).map_err(failed)?;
        self.finished = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(self.blocks)
    }

    fn put_sized(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.put(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(|source| ArchiveError::Io { path: self.path.clone(), source })
    }
}

/// Reads an export block by block. The digest is known to be right only when [`Reader::next_block`] returned `None`.
pub struct Reader<R> {
    path: PathBuf,
    input: R,
    hasher: Sha256,
    at: u64,
    genesis: String,
    blocks: u64,
    ended: bool,
}

impl Reader<BufReader<File>> {
    /// Opens an export and reads its genesis.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(|source| ArchiveError::Io { path: path.into(), source })?;
        Self::new(path, BufReader::with_capacity(1 << 20, file))
    }
}

impl<R: Read> Reader<R> {
    /// Reads an export from `input`; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub fn new(path: &Path, input: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            path: path.into(),
            input,
            hasher: Sha256::new(),
            at: 0,
            genesis: String::new(),
            blocks: 0,
            ended: false,
        };
        if reader.take(MAGIC.len(), "the first line")? != MAGIC.as_slice() {
            return Err(reader.malformed(0, "the first line is not `quorate-export-1`; this is no export"));
        }
        let begin = reader.at;
        let genesis = reader.take_sized("genesis", GENESIS_BYTES_MAX)?;
        reader.genesis =
            String::from_utf8(genesis.to_vec()).map_err(|_| reader.malformed(begin, "genesis is not UTF-8"))?;
        Ok(reader)
    }

    /// The genesis file's text.
    pub fn genesis(&self) -> &str {
        &self.genesis
    }

    /// The next block with its proof, as bytes; `None` after the last, when the count and the digest are right.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub fn next_block(&mut self) -> Result<Option<(Bytes, Bytes)>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let block = self.take_sized("a block", BLOCK_BYTES_MAX)?;
        if block.is_empty() {
            self.end()?;
            self.ended = true;
            return Ok(None);
        }
        let proof = self.take_sized("a proof", PROOF_BYTES_MAX)?;
        self.blocks += 1;
        Ok(Some((block, proof)))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let begin = self.at;
        let count = self.take(8, "the count of blocks")?;
        if count != self.blocks.to_le_bytes().as_slice() {
            return Err(self.malformed(begin, format!("the count of blocks is wrong; {} were read", self.blocks)));
        }
        let computed: [u8; 32] = self.hasher.clone().finalize().into();
        let begin = self.at;
        if self.take(computed.len(), "the digest")? != computed.as_slice() {
            return Err(self.malformed(begin, "the SHA-256 digest does not match: the file was changed"));
        }
        let begin = self.at;
        match self.take(1, "") {
            Err(ArchiveError::CutShort { .. }) => Ok(()),
            Ok(_) => Err(self.malformed(begin, "bytes follow the digest")),
            Err(error) => Err(error),
        }
    }

    fn take_sized(&mut self, what: &'static str, limit: usize) -> Result<Bytes, ArchiveError> {
        let begin = self.at;
        let raw = self.take(4, what)?;
        let len = <[u8; 4]>::try_from(raw.as_ref()).map_or(usize::MAX, |raw| u32::from_le_bytes(raw) as usize);
        if len > limit {
            return Err(self.malformed(begin, format!("{what} of {len} bytes; the limit is {limit}")));
        }
        self.take(len, what)
    }

    /// Reads exactly `len` bytes; memory grows with what is there, not with what a length claims.
    fn take(&mut self, len: usize, what: &'static str) -> Result<Bytes, ArchiveError> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(len as u64).read_to_end(&mut bytes);
        let read = read.map_err(|source| ArchiveError::Io { path: self.path.clone(), source })?;
        if read < len {
            return Err(ArchiveError::CutShort { path: self.path.clone(), at: self.at, what });
        }
        self.hasher.update(&bytes);
        self.at += len as u64;
        Ok(bytes.into())
    }

    fn malformed(&self, at: u64, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Malformed { path: self.path.clone(), at, what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> Result<(String, Vec<(Bytes, Bytes)>), ArchiveError> {
        let mut reader = Reader::new(Path::new("x"), bytes)?;
        let mut blocks = Vec::new();
        while let Some(one) = reader.next_block()? {
            blocks.push(one);
        }
        Ok((reader.genesis().to_owned(), blocks))
    }

    fn sample() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain");
        let mut writer = Writer::create(&path, "genesis").unwrap();
        writer.block(b"block one", b"proof").unwrap();
        writer.block(b"block two", b"").unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        assert!(Writer::create(&path, "again").is_err());
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn an_export_reads_back_as_it_was_written() {
        let (genesis, blocks) = read_all(&sample()).unwrap();
        assert_eq!(genesis, "genesis");
        let expected = [("block one", "proof"), ("block two", "")].map(|(b, p)| (Bytes::from(b), Bytes::from(p)));
        assert_eq!(blocks, expected);
    }

    #[test]
    fn an_export_that_is_not_finished_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&directory.path().join("chain"), "genesis").unwrap();
        writer.block(b"block", b"proof").unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_appended_byte_is_refused() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(read_all(&good[..len]).is_err(), "cut at {len}");
        }
        let mut long = good;
        long.push(0);
        assert!(read_all(&long).is_err());
    }
}
