//! A library file: looked at, pinned, loaded once for good, and what it declares.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use quorate::{
    Hash,
    plugin::{
        ApplicationPlugin, ConsensusPlugin, Descriptor, DiscoveryPlugin, ServicePlugin, StoragePlugin, TransportPlugin,
    },
};

use super::{
    call::{SETUP_WAIT, within},
    declared::{self, Declared},
    elf,
    error::{LoadError, LoadErrorKind},
};
use crate::slot::Slot;

/// Libraries in one process at most.
pub const LIBRARIES_MAX: usize = 64;

/// Bytes of a library's file at most.
pub const LIBRARY_BYTES_MAX: u64 = 2 << 30;

/// A plugin, ready to be used like a bundled one.
#[derive(Clone)]
#[non_exhaustive]
pub enum Provided {
    /// Which block is next.
    Consensus(Arc<dyn ConsensusPlugin>),
    /// Keys and values.
    Storage(Arc<dyn StoragePlugin>),
    /// What transactions mean.
    Application(Arc<dyn ApplicationPlugin>),
    /// Messages.
    Transport(Arc<dyn TransportPlugin>),
    /// Peers.
    Discovery(Arc<dyn DiscoveryPlugin>),
    /// What runs beside.
    Service(Arc<dyn ServicePlugin>),
}

impl Provided {
    /// The slot it is for.
    pub fn slot(&self) -> Slot {
        match self {
            Self::Consensus(_) => Slot::Consensus,
            Self::Storage(_) => Slot::Storage,
            Self::Application(_) => Slot::Application,
            Self::Transport(_) => Slot::Transport,
            Self::Discovery(_) => Slot::Discovery,
            Self::Service(_) => Slot::Service,
        }
    }

    /// What it says of itself.
    pub fn descriptor(&self) -> Descriptor {
        match self {
            Self::Consensus(plugin) => plugin.descriptor(),
            Self::Storage(plugin) => plugin.descriptor(),
            Self::Application(plugin) => plugin.descriptor(),
            Self::Transport(plugin) => plugin.descriptor(),
            Self::Discovery(plugin) => plugin.descriptor(),
            Self::Service(plugin) => plugin.descriptor(),
        }
    }
}

/// A library, loaded.
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of its bytes when it was loaded.
    pub sha256: Hash,
    /// Its ABI, major and minor.
    pub abi: (u32, u32),
    /// What built it.
    pub build: String,
    /// Its plugins.
    pub plugins: Vec<Provided>,
    identity: Identity,
}

impl Library {
    /// The plugin of a slot by its name; `file` names the library in the error.
    ///
    /// # Errors
    ///
    /// [`LoadErrorKind::WrongSlot`] or [`LoadErrorKind::NoSuchPlugin`].
    pub fn plugin(&self, file: &str, slot: Slot, name: &str) -> Result<Provided, LoadError> {
        let of_slot = |plugin: &&Provided| plugin.slot() == slot;
        if let Some(found) = self.plugins.iter().filter(of_slot).find(|plugin| plugin.descriptor().name == name) {
            return Ok(found.clone());
        }
        let words = |plugin: &Provided| format!("{} plugin `{}`", plugin.slot(), plugin.descriptor().name);
        let provides = self.plugins.iter().map(words).collect::<Vec<_>>().join(", ");
        let kind = if self.plugins.iter().any(|plugin| plugin.slot() == slot) {
            LoadErrorKind::NoSuchPlugin { provides, slot, wanted: name.into() }
        } else {
            LoadErrorKind::WrongSlot { provides, slot }
        };
        Err(LoadError { file: file.into(), kind })
    }
}

/// Every library of this process. They are never unloaded: their threads and statics live on.
static LOADED: Mutex<Loaded> = Mutex::new(Loaded { libraries: Vec::new(), opened: Vec::new() });

struct Loaded {
    libraries: Vec<Arc<Library>>,
    /// What the system's loader has under a path, or was asked for: it would give the same again, whatever the file is by now.
    opened: Vec<(PathBuf, Identity)>,
}

/// Which file it is, whatever its name, and what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    sha256: Hash,
}

/// Loads the library at `path`, once a process; `file` names it in messages. With `pin` its bytes must have that SHA-256.
///
/// The pin keeps the wrong file from being loaded by mistake. It does not protect from somebody who can write to the file while it is
/// loaded.
///
/// # Errors
///
/// [`LoadError`] names the file, what was found and what was expected.
pub fn load(path: &Path, file: &str, pin: Option<&Hash>) -> Result<Arc<Library>, LoadError> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    try_load(&mut loaded, path, file, pin).map_err(|kind| LoadError { file: file.into(), kind })
}

fn try_load(loaded: &mut Loaded, path: &Path, file: &str, pin: Option<&Hash>) -> Result<Arc<Library>, LoadErrorKind> {
    let path = path.canonicalize().map_err(unreadable)?;
    let (bytes, identity) = read(&path)?;
    let Identity { inode, sha256, .. } = identity;
    if let Some(expected) = pin.filter(|pin| **pin != sha256) {
        return Err(LoadErrorKind::WrongHash { found: sha256, expected: *expected });
    }
    if let Some(known) = loaded.libraries.iter().find(|known| known.identity == identity) {
        return Ok(Arc::clone(known));
    }
    let same_file = |other: &Identity| (other.device, other.inode) == (identity.device, identity.inode);
    if loaded.opened.iter().any(|(known, other)| (*known == path || same_file(other)) && *other != identity) {
        return Err(LoadErrorKind::Changed);
    }
    if loaded.opened.len() >= LIBRARIES_MAX {
        return Err(LoadErrorKind::Malformed(format!("more than {LIBRARIES_MAX} libraries in one process")));
    }
    if cfg!(not(target_vendor = "apple")) {
        elf::check(&bytes)?;
    }
    drop(bytes);
    if !loaded.opened.iter().any(|(known, _)| *known == path) {
        loaded.opened.push((path.clone(), identity));
    }
    let (opened, name) = (path.clone(), file.to_owned());
    let declared =
        within(&format_args!("library `{file}`"), "load", SETUP_WAIT, move || declared::open(&opened, &name))
            .map_err(LoadErrorKind::Fault)?;
    if matches!(declared, Err(LoadErrorKind::Refused(_))) {
        // The system's loader kept nothing of it, and once it is removed its inode may be another file's.
        loaded.opened.retain(|(known, _)| *known != path);
    }
    let Declared { abi, build, plugins } = declared?;
    tracing::info!(
        library = file, path = %path.display(), inode, %sha256, abi = format!("{}.{}", abi.0, abi.1), build,
        plugins = plugins.len(), "plugin library loaded"
    );
    if read(&path)?.1 != identity {
        return Err(LoadErrorKind::Changed);
    }
    let library = Arc::new(Library { path, sha256, abi, build, plugins, identity });
    loaded.libraries.push(Arc::clone(&library));
    Ok(library)
}

fn unreadable(error: std::io::Error) -> LoadErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => LoadErrorKind::NotFound,
        _ => LoadErrorKind::Unreadable(error),
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, Identity), LoadErrorKind> {
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(LoadErrorKind::NotALibrary);
    }
    if about.len() > LIBRARY_BYTES_MAX {
        return Err(LoadErrorKind::TooLarge { found: about.len(), limit: LIBRARY_BYTES_MAX });
    }
    let mut bytes = Vec::new();
    file.take(LIBRARY_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let identity = Identity { device: about.dev(), inode: about.ino(), sha256: Hash::of(&[&bytes]) };
    Ok((bytes, identity))
}
