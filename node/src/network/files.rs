//! Writing a network into a directory: all of it or, after a kill, nothing that the next start would take for a network.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    exit::{Exit, Failure},
    network::{self, Plan, node_files::SCHEMA_FILE},
};

/// The operator's secret.
pub const ADMIN_TOKEN: &str = "admin.token";

/// Stands in a directory while its files are being written.
const INCOMPLETE: &str = ".incomplete";

/// Held by whoever writes or runs the network in a directory.
const LOCK: &str = ".lock";

/// Where keys, chains and logs are.
const FOLDERS: [&str; 3] = ["keys", "data", "logs"];

/// By these a network is known.
const LANDMARKS: [&str; 4] = ["genesis.toml", "bootnode.toml", "validator-1.toml", "keys"];

/// The files of a network that hold no secret: name and text, in the order in which they are written.
pub type Files = Vec<(String, String)>;

/// Renders every file of a network but keys and token.
pub fn render(plan: &Plan) -> Files {
    let mut files = vec![
        (SCHEMA_FILE.to_owned(), crate::commands::config::schema_text()),
        ("bootnode.toml".to_owned(), network::bootnode(plan)),
    ];
    for (member, index) in plan.validators.iter().zip(0u16..) {
        files.push((format!("{}.toml", member.name), network::validator(plan, index, member)));
    }
    files.push(("backend.toml".to_owned(), network::backend(plan)));
    files.push(("genesis.toml".to_owned(), network::genesis(plan)));
    files
}

/// Whether `directory` holds a complete network.
pub fn is_network(directory: &Path) -> bool {
    directory.join("genesis.toml").exists() && !directory.join(INCOMPLETE).exists()
}

/// A directory which this process alone writes to and runs nodes from.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes `path` if needed and locks it.
    ///
    /// # Errors
    ///
    /// [`Exit::Locked`] when another process has it; [`Exit::Disk`].
    pub fn lock(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::disk(path.display(), &error);
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let name = path.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&name);
        let file = file.map_err(|error| Failure::disk(name.display(), &error))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Failure::new(Exit::Locked, format!("{}: in use by another quorate devnet or init", path.display())))
            }
            Err(error) => Err(Failure::disk(name.display(), &error.into())),
        }
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds a complete network.
    pub fn is_network(&self) -> bool {
        is_network(&self.path)
    }

    /// What is there of a network, complete or not.
    fn remains(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries = fs::read_dir(&self.path).map_err(|error| Failure::disk(self.path.display(), &error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Failure::disk(self.path.display(), &error))?;
            if entry.file_name().to_str().is_some_and(of_a_network) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// Removes a network: its files, keys, chains and logs, nothing else.
    ///
    /// # Errors
    ///
    /// [`Exit::Failed`] when what is there does not look like a network made here: somebody's folder `data` stays. [`Exit::Disk`].
    pub fn clear(&self) -> Result<(), Failure> {
        let remains = self.remains()?;
        let made_here =
            self.path.join(INCOMPLETE).exists() || LANDMARKS.iter().all(|name| self.path.join(name).exists());
        if let (Some(first), false) = (remains.first(), made_here) {
            return Err(Failure::failed(format!(
                "{} exists, but {} holds no network made by quorate; nothing is removed, choose another --dir",
                first.display(),
                self.path.display()
            )));
        }
        for path in remains {
            let is_folder = path.is_dir() && !path.is_symlink();
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| Failure::disk(path.display(), &error))?;
        }
        Ok(())
    }

    /// Writes a network: what `make` gives, and the operator's token. What a killed `init` left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`Exit::Failed`] when there is a network, or part of one that no `init` left; [`Exit::Disk`]; what making keys gives.
    pub fn write(&self, admin_token: bool, make: impl FnOnce(&Path) -> Result<Files, Failure>) -> Result<(), Failure> {
        let marker = self.path.join(INCOMPLETE);
        if marker.exists() {
            self.clear()?;
        } else if let Some(first) = self.remains()?.first() {
            return Err(Failure::failed(format!(
                "{}: holds a network already ({} exists); choose another --dir",
                self.path.display(),
                first.file_name().unwrap_or_default().to_string_lossy()
            )));
        }
        write_new(&marker, b"", 0o600)?;
        for folder in FOLDERS {
            let path = self.path.join(folder);
            fs::create_dir_all(&path).map_err(|error| Failure::disk(path.display(), &error))?;
        }
        for (name, text) in make(&self.path)? {
            write_new(&self.path.join(name), text.as_bytes(), 0o644)?;
        }
        if admin_token {
            write_new(&self.path.join(ADMIN_TOKEN), token()?.as_bytes(), 0o600)?;
        }
        sync_directory(&self.path)?;
        fs::remove_file(&marker).map_err(|error| Failure::disk(marker.display(), &error))?;
        sync_directory(&self.path)
    }
}

/// Whether a network has a file or folder of this name.
fn of_a_network(name: &str) -> bool {
    let numbered = name.strip_prefix("validator-").and_then(|rest| rest.strip_suffix(".toml"));
    FOLDERS.contains(&name)
        || [ADMIN_TOKEN, INCOMPLETE, SCHEMA_FILE, "genesis.toml", "bootnode.toml", "backend.toml", "nodes.json"]
            .contains(&name)
        || numbered.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writes a file that must not exist, durably.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| Failure::disk(path.display(), &error))
}

fn sync_directory(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| Failure::disk(path.display(), &error))
}

/// Thirty-two random bytes in hexadecimal.
fn token() -> Result<String, Failure> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    Ok(format!("{}\n", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        ["validator-1.toml", "bootnode.toml", "genesis.toml"].map(|name| (name.into(), text.into())).into()
    }

    #[test]
    fn a_network_is_written_once_and_cleared_without_touching_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        fs::write(folder.path().join("validator-x.toml"), "mine").unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        directory.write(true, |_| Ok(files("one"))).unwrap();
        assert!(directory.is_network());
        assert_eq!(directory.write(true, |_| Ok(files("two"))).unwrap_err().exit, Exit::Failed);
        directory.clear().unwrap();
        assert!(!directory.is_network());
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".lock", "notes.txt", "validator-x.toml"]);
    }

    #[test]
    fn what_a_killed_init_left_is_no_network_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        let killed = directory.write(true, |path| {
            write_new(&path.join("genesis.toml"), b"half", 0o644)?;
            Err(Failure::failed("killed"))
        });
        assert!(killed.is_err());
        assert!(!directory.is_network());
        directory.write(true, |_| Ok(files("whole"))).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("genesis.toml")).unwrap(), "whole");
    }

    #[test]
    fn somebodys_folders_are_not_cleared() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("genesis.toml"), "mine").unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        assert_eq!(directory.clear().unwrap_err().exit, Exit::Failed);
        assert!(folder.path().join("data").exists() && folder.path().join("genesis.toml").exists());
    }

    #[test]
    fn keys_without_a_genesis_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("keys")).unwrap();
        let directory = Directory::lock(folder.path()).unwrap();
        assert!(directory.write(true, |_| Ok(files("x"))).unwrap_err().message.contains("keys exists"));
    }

    #[test]
    fn two_processes_do_not_share_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let held = Directory::lock(folder.path()).unwrap();
        assert_eq!(Directory::lock(folder.path()).unwrap_err().exit, Exit::Locked);
        drop(held);
        assert!(Directory::lock(folder.path()).is_ok());
    }
}
