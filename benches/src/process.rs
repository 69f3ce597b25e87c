//! What Linux tells of a process: memory and CPU time.

use std::{fs, time::Duration};

/// Ticks a second in `/proc/PID/stat`: `USER_HZ`, which is 100 on every architecture that Linux keeps stable for programs.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages of the program's file and of libraries counted whole.
    pub(crate) rss_kib: u64,
    /// Resident, each shared page divided by how many share it.
    pub(crate) pss_kib: u64,
    /// Resident and of this process alone, not of a file: heap and stacks.
    pub(crate) anonymous_kib: u64,
}

/// The memory of a process; `None` where there is no `/proc`.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(Memory {
        rss_kib: kib(&status, "VmRSS:")?,
        pss_kib: kib(&rollup, "Pss:")?,
        anonymous_kib: kib(&status, "RssAnon:")?,
    })
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU time of all threads of a process so far, in user and kernel mode.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; after it, `utime` and `stime` are the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.rss_kib > 0 && memory.pss_kib > 0 && memory.anonymous_kib <= memory.rss_kib, "{memory:?}");
        assert!(cpu(std::process::id()).is_some());
    }
}
