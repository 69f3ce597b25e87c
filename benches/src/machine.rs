//! The machine and how busy it is: what a figure can't be read without.

use std::fs;

use serde::Serialize;

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// What the processor calls itself.
    pub(crate) processor: String,
    pub(crate) system: String,
    /// Seconds since 1970 at the start of the run.
    pub(crate) unix_time_s: u64,
    /// Processes that ran or wanted to, on average over a minute, before the run.
    pub(crate) load_before: Option<f64>,
    /// The same after it; the run's own load is in it.
    pub(crate) load_after: Option<f64>,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            cores: cores(),
            processor: processor().unwrap_or_else(|| "unknown".into()),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            unix_time_s: since.as_secs(),
            load_before: load(),
            load_after: None,
        }
    }

    pub(crate) fn finished(&mut self) {
        self.load_after = load();
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
