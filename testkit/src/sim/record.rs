//! What a run leaves behind: its trace, its counters, and the first violation.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// Lines of a timeline at most; of a longer one the beginning is left out, and what is said while nothing happens.
pub const TIMELINE_LINES_MAX: usize = 5000;

/// Marks of a drawing at most; as for lines.
pub const MARKS_MAX: usize = 5000;

/// Entries that are kept after the last final block or fault; of what follows only the end is.
const AFTER_TURN_MAX: usize = 1500;

/// Entries of that end at most.
const QUIET_MAX: usize = 500;

/// One thing to be drawn. A lane is the place of a process in [`Run::lanes`]; times are in microseconds of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A process started.
    Up {
        /// When.
        at_us: u64,
        /// Which.
        lane: usize,
    },
    /// A process died.
    Down {
        /// When.
        at_us: u64,
        /// Which.
        lane: usize,
    },
    /// A process was not scheduled.
    Suspended {
        /// From when.
        at_us: u64,
        /// Until when.
        until_us: u64,
        /// Which.
        lane: usize,
    },
    /// A message of the consensus arrived.
    Message {
        /// When it was sent.
        sent_us: u64,
        /// By which process.
        from: usize,
        /// When it arrived.
        at_us: u64,
        /// At which process.
        to: usize,
        /// What it says.
        words: String,
    },
    /// A message of the consensus was lost on its way.
    Lost {
        /// When it was sent.
        at_us: u64,
        /// By which process.
        from: usize,
        /// To which process; none behind which an adversary stands.
        to: Option<usize>,
        /// What it says.
        words: String,
    },
    /// Something was signed, or refused.
    Signed {
        /// When.
        at_us: u64,
        /// By which process.
        lane: usize,
        /// What.
        words: String,
        /// Whether the signer refused.
        refused: bool,
    },
    /// A block became final.
    Committed {
        /// When.
        at_us: u64,
        /// At which process.
        lane: usize,
        /// Its height.
        height: u64,
        /// The first bytes of its hash, in hex.
        hash: String,
        /// Whether a peer gave it.
        by_catch_up: bool,
    },
    /// A fault began.
    Fault {
        /// When.
        at_us: u64,
        /// When it ends; [`NEVER`](super::plan::NEVER) for one that is not healed.
        until_us: u64,
        /// Which processes it hits.
        lanes: Vec<usize>,
        /// What it is.
        words: String,
    },
    /// Something about the whole network.
    Note {
        /// When.
        at_us: u64,
        /// What.
        words: String,
    },
    /// An invariant was broken.
    Violation {
        /// When.
        at_us: u64,
        /// Which, and how.
        words: String,
    },
}

/// The hash over everything that happened, and the story when it is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Story<String>>,
    marks: Story<Mark>,
    line_turns: bool,
    mark_turns: bool,
}

/// A story of which the end is kept, and the last turn that it took: a network that is stuck says the same for long, and how it came to be
/// stuck was before.
#[derive(Debug, Clone)]
struct Story<T> {
    max: usize,
    kept: VecDeque<T>,
    since_turn: usize,
    quiet: VecDeque<T>,
    left_out: usize,
}

impl<T> Story<T> {
    fn new(max: usize) -> Self {
        Self { max, kept: VecDeque::new(), since_turn: 0, quiet: VecDeque::new(), left_out: 0 }
    }

    fn add(&mut self, entry: T, words: fn(usize) -> Option<T>, is_turn: bool) {
        if is_turn {
            self.settle(words);
        }
        self.since_turn += 1;
        if self.since_turn <= AFTER_TURN_MAX {
            return self.keep(entry);
        }
        if self.quiet.len() >= QUIET_MAX {
            self.quiet.pop_front();
            self.left_out += 1;
        }
        self.quiet.push_back(entry);
    }

    fn keep(&mut self, entry: T) {
        if self.kept.len() >= self.max {
            self.kept.pop_front();
        }
        self.kept.push_back(entry);
    }

    /// Goes on after a quiet time.
    fn settle(&mut self, words: fn(usize) -> Option<T>) {
        if self.left_out > 0
            && let Some(entry) = words(self.left_out)
        {
            self.keep(entry);
        }
        for entry in std::mem::take(&mut self.quiet) {
            self.keep(entry);
        }
        (self.since_turn, self.left_out) = (0, 0);
    }

    fn finish(mut self, words: fn(usize) -> Option<T>) -> Vec<T> {
        self.settle(words);
        self.kept.into()
    }
}

fn left_out(count: usize) -> Option<String> {
    Some(format!("        ... {count} more lines, in which nothing became final and no fault began"))
}

impl Trace {
    pub(crate) fn new(told: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: told.then(|| Story::new(TIMELINE_LINES_MAX)),
            marks: Story::new(MARKS_MAX),
            line_turns: false,
            mark_turns: false,
        }
    }

    /// Mixes numbers into the hash (FNV-1a over 64-bit words).
    pub(crate) fn mix(&mut self, words: &[u64]) {
        for word in words {
            self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.mix(&[u64::from_le_bytes(word)]);
        }
        self.mix(&[bytes.len() as u64]);
    }

    pub(crate) fn is_told(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds a line, made only when somebody wants it.
    pub(crate) fn tell(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let line = format!("{:>7}.{:03} {}", now_us / 1000, now_us % 1000, line());
            lines.add(line, left_out, std::mem::take(&mut self.line_turns));
        }
    }

    /// What comes next is a turn of the story: a final block, or a fault.
    pub(crate) fn turn(&mut self) {
        (self.line_turns, self.mark_turns) = (true, true);
    }

    /// Adds a mark, made only when somebody wants it.
    pub(crate) fn mark(&mut self, mark: impl FnOnce() -> Mark) {
        if self.lines.is_some() {
            self.marks.add(mark(), |_| None, std::mem::take(&mut self.mark_turns));
        }
    }

    /// The hash alone.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn finish(self) -> (u64, Vec<String>, Vec<Mark>) {
        let lines = self.lines.map(|lines| lines.finish(left_out));
        (self.hash, lines.unwrap_or_default(), self.marks.finish(|_| None))
    }
}

/// How often each interesting thing was met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// One more of `what`.
    pub fn met(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// So many more of `what`.
    pub fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Coverage) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    /// How often `what` was met.
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Everything that was met, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// Which of `wanted` were not met.
    pub fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().copied().filter(|what| self.count(what) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>12}  {what}")?;
        }
        Ok(())
    }
}

/// What should never happen and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant, by its name: `S1 agreement`.
    pub invariant: &'static str,
    /// What happened.
    pub detail: String,
    /// When, in microseconds of the run.
    pub at_us: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violated at {} ms: {}", self.invariant, self.at_us / 1000, self.detail)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The first violation.
    pub violation: Option<Violation>,
    /// Over everything that happened: the same for the same seed (F1).
    pub trace_hash: u64,
    /// What was met.
    pub coverage: Coverage,
    /// The highest final block.
    pub height: u64,
    /// How long it took on the virtual clock, in milliseconds.
    pub virtual_ms: u64,
    /// Steps of engines.
    pub steps: u64,
    /// The story, when it was asked for.
    pub timeline: Vec<String>,
    /// The processes by name, for [`Mark`]s.
    pub lanes: Vec<String>,
    /// What a drawing shows, when the story was asked for.
    pub marks: Vec<Mark>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_stuck_for_long_is_told_from_where_it_got_stuck() {
        let mut trace = Trace::new(true);
        for at in 0..9_000u64 {
            trace.tell(at, || format!("before {at}"));
        }
        trace.turn();
        for at in 0..90_000u64 {
            trace.tell(at, || format!("after {at}."));
            trace.mark(|| Mark::Up { at_us: at, lane: 0 });
        }
        let (_, lines, marks) = trace.finish();
        assert!(lines.len() <= TIMELINE_LINES_MAX, "{}", lines.len());
        for expected in ["before 8999", "after 0.", "after 1000.", "... 88000 more lines", "after 89999."] {
            assert!(lines.iter().any(|line| line.contains(expected)), "{expected}");
        }
        assert!(!lines.iter().any(|line| line.contains("before 5000") || line.contains("after 50000.")));
        assert_eq!(marks.first(), Some(&Mark::Up { at_us: 0, lane: 0 }));
        assert_eq!(marks.last(), Some(&Mark::Up { at_us: 89_999, lane: 0 }));
    }
}
