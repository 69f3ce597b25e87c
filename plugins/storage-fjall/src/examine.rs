//! What is looked at in fjall's files before fjall opens them.
//!
//! fjall checks what it reads, but not everything before it acts on it: it takes counts and lengths for granted and asks for as much
//! memory, or asserts what it expects while it holds locks, and both end the process; it does not compare the list of a tree's
//! tables with the checksum that it keeps of it, so that tables could be forgotten; it removes a tree that has no such list; and a
//! batch's sequence number is under no checksum. Here such files are damage. (Formats: fjall's and lsm-tree's 3, sfa's 1.)

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use quorate::storage::{KEY_BYTES_MAX, StorageError, VALUE_BYTES_MAX};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    count,
    failure::from_io,
    record::{CHECKSUM_BYTES, COUNT_KEY},
};

/// Bytes of a list of tables at most: a table has some forty in it.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// The end of an archive: magic, version, kind of checksum, checksum, place and length of the list of sections.
const TRAILER_BYTES: u64 = 4 + 1 + 1 + 16 + 8 + 8;

/// A section in the list at least: place, length, length of its name.
const SECTION_BYTES_MIN: u64 = 8 + 8 + 2;

// Tags of a journal's entries.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

type Found = Result<(), Bad>;

/// What is wrong with a file.
enum Bad {
    Io(io::Error),
    What(&'static str),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Looks at the files of fjall's folder `tree`; changes nothing.
pub(crate) fn examine(tree: &Path) -> Result<(), StorageError> {
    for path in entries(tree)? {
        if path.extension().is_some_and(|extension| extension == "jnl") {
            said(&path, journal(&path))?;
        }
    }
    let keyspaces = entries(&tree.join("keyspaces"))?;
    if keyspaces.is_empty() {
        return Err(StorageError::Damaged("there are no keyspaces".into()));
    }
    for keyspace in keyspaces.iter().filter(|path| path.is_dir()) {
        said(&keyspace.join("current"), tables(keyspace))?;
        let tables = keyspace.join("tables");
        if tables.is_dir() {
            for table in entries(&tables)? {
                said(&table, archive(&table))?;
            }
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let list = || fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    list().map_err(|error| from_io("look at chain.fjall", error))
}

fn said(path: &Path, found: Found) -> Result<(), StorageError> {
    found.map_err(|bad| match bad {
        Bad::Io(error) => {
            from_io("look at chain.fjall", io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        }
        Bad::What(what) => StorageError::Damaged(format!("{}: {what}", path.display())),
    })
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The list of tables which `current` names is there, and is what `current` says.
fn tables(keyspace: &Path) -> Found {
    let current = fs::read(keyspace.join("current"))?;
    let mut reader = current.as_slice();
    let number = u64::from_le_bytes(array(&mut reader)?);
    let checksum = u128::from_le_bytes(array(&mut reader)?);
    if reader != [0] {
        return Err(Bad::What("it does not end with the kind of its checksum"));
    }
    let path = keyspace.join(format!("v{number}"));
    if fs::metadata(&path)?.len() > LIST_BYTES_MAX {
        return Err(Bad::What("its list of tables is too long"));
    }
    if xxh3_128(&fs::read(&path)?) != checksum {
        return Err(Bad::What("its list of tables has a wrong checksum"));
    }
    archive(&path)
}

/// The list of sections at an archive's end has as many as there is room for.
fn archive(path: &Path) -> Found {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let at = len.checked_sub(TRAILER_BYTES).ok_or(Bad::What("it is too short"))?;
    file.seek(SeekFrom::Start(at))?;
    let mut reader = BufReader::new(&file);
    if array(&mut reader)? != *b"SFA!" {
        return Err(Bad::What("its end is not an archive's"));
    }
    let _version_and_checksum: [u8; 18] = array(&mut reader)?;
    let list_at = u64::from_le_bytes(array(&mut reader)?);
    let room = at.checked_sub(list_at).ok_or(Bad::What("its list of sections is not in it"))?;
    file.seek(SeekFrom::Start(list_at))?;
    let mut reader = BufReader::new(&file);
    if array(&mut reader)? != *b"TOC!" {
        return Err(Bad::What("it has no list of sections"));
    }
    let count = u64::from(u32::from_le_bytes(array(&mut reader)?));
    if count.saturating_mul(SECTION_BYTES_MIN) > room {
        return Err(Bad::What("its list of sections is longer than it"));
    }
    Ok(())
}

/// The numbers of a journal's last whole batch.
#[derive(Default)]
struct Walk {
    sequence: Option<u64>,
    commit: Option<u64>,
}

/// No entry claims more bytes than this store ever writes, fjall's sequence numbers ascend, and this store's numbers of commits have
/// no gap. What does not decode ends the walk: a crash leaves that, and fjall cuts it.
fn journal(path: &Path) -> Found {
    let mut reader = BufReader::new(File::open(path)?);
    let mut walk = Walk::default();
    loop {
        match entry(&mut reader, &mut walk) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Bad::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(bad) => return Err(bad),
        }
    }
}

/// Passes over an entry; says whether it was one.
fn entry(reader: &mut BufReader<File>, walk: &mut Walk) -> Result<bool, Bad> {
    let [tag] = array(reader)?;
    match tag {
        START => {
            let _items: [u8; 4] = array(reader)?;
            let sequence = u64::from_le_bytes(array(reader)?);
            if walk.sequence.replace(sequence).is_some_and(|before| before >= sequence) {
                return Err(Bad::What("its sequence numbers do not ascend"));
            }
        }
        END => reader.seek_relative(8 + 4)?,
        CLEAR => reader.seek_relative(8)?,
        ITEM => item(reader, walk)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn item(reader: &mut BufReader<File>, walk: &mut Walk) -> Found {
    let [_kind, compression] = array(reader)?;
    if compression != 0 {
        return Err(Bad::What("an entry says that it is compressed"));
    }
    let _keyspace: [u8; 8] = array(reader)?;
    let key = usize::from(u16::from_le_bytes(array(reader)?));
    let lengths: [[u8; 4]; 2] = [array(reader)?, array(reader)?];
    let [value, on_disk] = lengths.map(u32::from_le_bytes);
    let value_max = u32::try_from(VALUE_BYTES_MAX + CHECKSUM_BYTES).unwrap_or(u32::MAX);
    if key == 0 || key > KEY_BYTES_MAX + 1 || value > value_max || value != on_disk {
        return Err(Bad::What("an entry is longer than any that is written"));
    }
    if key > COUNT_KEY.len() {
        let skipped = i64::try_from(key).unwrap_or(i64::MAX).saturating_add(i64::from(value));
        return Ok(reader.seek_relative(skipped)?);
    }
    let mut stored = vec![0; key + usize::try_from(value).unwrap_or(0)];
    reader.read_exact(&mut stored)?;
    let number = stored.strip_prefix(COUNT_KEY).and_then(|number| count::decoded("it", number).ok());
    let number = number.ok_or(Bad::What("a commit has no number"))?;
    match walk.commit.replace(number) {
        Some(before) if before.checked_add(1) != Some(number) => Err(Bad::What("a commit is missing between others")),
        _ => Ok(()),
    }
}
