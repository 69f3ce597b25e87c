//! A node's log in a file of bounded size, and the lines of it that people should see at once.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Bytes of a log at most; then it becomes `NAME.log.1`, and a new one begins.
const LOG_BYTES_MAX: u64 = 32 << 20;

/// Bytes of a line which are looked at.
const LINE_BYTES_MAX: usize = 4096;

/// Last lines that are remembered.
const TAIL_LINES: usize = 12;

/// A log file which starts over when it is full.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
    limit: u64,
}

impl LogFile {
    /// Opens the log at `path`, appending to what is there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, LOG_BYTES_MAX)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.into(), file, written, limit })
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written >= self.limit {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *self = Self::with_limit(&self.path, self.limit)?;
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Puts lines together from pieces, each cut to [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    /// Takes the next piece and returns the lines which it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n");
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend(text.unwrap_or(part).iter().take(room));
            if text.is_some() {
                let line = String::from_utf8_lossy(&self.partial).into_owned();
                self.partial.clear();
                if self.tail.len() == TAIL_LINES {
                    self.tail.pop_front();
                }
                self.tail.push_back(line.clone());
                complete.push(line);
            }
        }
        complete
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

/// Whether a log line, pretty or JSON, is a warning or an error.
pub(crate) fn is_alarming(line: &str) -> bool {
    if line.starts_with('{') {
        return line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
    }
    matches!(line.split_whitespace().nth(1), Some("WARN" | "ERROR")) || line.starts_with("error:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_begins_anew_and_keeps_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = LogFile::with_limit(&path, 10).unwrap();
        for line in ["first line\n", "second line\n", "third line\n"] {
            log.write(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third line\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("a.log.1")).unwrap(), "second line\n");
    }

    #[test]
    fn lines_are_put_together_and_bounded() {
        let mut lines = Lines::default();
        assert!(lines.push(b"one ").is_empty());
        assert_eq!(lines.push(b"line\ntwo\nthr"), ["one line", "two"]);
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        assert!(lines.push(&long).is_empty());
        assert_eq!(lines.push(b"\n").first().map(String::len), Some(LINE_BYTES_MAX));
        for _ in 0..100 {
            lines.push(b"again\n");
        }
        assert_eq!(lines.tail().len(), TAIL_LINES);
    }

    #[test]
    fn warnings_and_errors_are_alarming_in_both_formats() {
        assert!(is_alarming("2026-01-01T00:00:00.000000Z  WARN quorate_kernel: peer dropped"));
        assert!(is_alarming("{\"timestamp\":\"x\",\"level\":\"ERROR\",\"message\":\"m\"}"));
        assert!(is_alarming("error: no such file"));
        assert!(!is_alarming("2026-01-01T00:00:00.000000Z  INFO quorate_kernel: no ERROR here"));
    }
}
