//! Files that can be carried by hand: JSON, each with a field `quorate` that says what it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _};
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Bytes of a file at most: a roll of 100,000 voters has some 30 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Bytes, in text `0x` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> std::fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl<const N: usize> std::str::FromStr for Hex<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
            .map_err(|_| format!("expected 0x and {} hexadecimal digits", 2 * N))?;
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reads a file of the kind `kind`, such as `ballot/1`.
///
/// # Errors
///
/// [`Exit::Failed`] with the file's name and what is wrong with it.
pub fn read_file<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<T, Failure> {
    let name = path.display();
    let length = fs::metadata(path).map_err(|error| Failure::reading(&name, &error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::failed(format!("{name} has {length} bytes; the limit is {FILE_BYTES_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::reading(&name, &error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Failure::failed(format!("{name} is not JSON: {error}")))?;
    match value.get("quorate").and_then(Value::as_str) {
        Some(found) if found == kind => {}
        Some(found) => {
            return Err(Failure::failed(format!(
                "{name} is a file of the kind `{found}`; one of the kind `{kind}` is needed here"
            )));
        }
        None => {
            return Err(Failure::failed(format!(
                "{name} is no file of quorate's elections: it has no field `quorate`"
            )));
        }
    }
    serde_json::from_value(value).map_err(|error| Failure::failed(format!("{name}: {error}")))
}

fn text_of<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Failure::failed(format!("the file could not be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a file whole or not at all; replaces one that is there when `replace`.
fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> io::Result<()> {
    if !replace && path.exists() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let message = format!("{} exists; it is not overwritten, choose another name", path.display());
        return Failure::new(Exit::Failed, message);
    }
    Failure::disk(path.display(), error)
}

/// Writes a file that anybody may read; what was there is replaced.
///
/// # Errors
///
/// [`Exit::Disk`].
pub fn write_file<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    write(path, &text_of(value)?, 0o644, true).map_err(|error| failed(path, &error))
}

/// Writes a file that only its owner may read (mode 0600); `replace` says whether one may be there.
///
/// # Errors
///
/// [`Exit::Failed`] when there is one, [`Exit::Disk`].
pub fn write_secret_file<T: Serialize>(path: &Path, value: &T, replace: bool) -> Result<(), Failure> {
    write(path, &text_of(value)?, 0o600, replace).map_err(|error| failed(path, &error))
}
