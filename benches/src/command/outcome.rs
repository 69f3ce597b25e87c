//! What a load showed, for programs and people.

use std::fmt;

use serde::Serialize;

/// What one validator used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeUse {
    /// Which.
    pub name: String,
    /// Of one core, in user and kernel mode.
    pub cpu_percent: f64,
    /// The highest resident memory that was seen.
    pub rss_mib_max: f64,
    /// To disk.
    pub written_mib: f64,
    /// Made final meanwhile.
    pub blocks: u64,
    /// Waits for the disk of a block, by the node's counters and what its store's format says of a commit; none of a store that is not known here, and
    /// without blocks.
    pub fsyncs_per_block: Option<f64>,
}

/// One rate of a saturation search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Offered, a second.
    pub rate: f64,
    /// Made final, a second.
    pub final_per_s: f64,
    /// From the intended start to final.
    pub p50_ms: f64,
    /// From the intended start to final.
    pub p99_ms: f64,
    /// How much more was due and not yet final with each second.
    pub backlog_grew_per_s: f64,
    /// Refused, never handed in, or never final.
    pub lost: usize,
    /// Whether it was kept up with.
    pub kept_up: bool,
}

/// A load from before one validator was stopped until that one has all blocks again. What stands beside it in the outcome is of the others, from the kill on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stopped {
    /// Which.
    pub name: String,
    /// Final a second while it ran; the load went to the others then too.
    pub before_per_s: f64,
    /// Final a second from the moment at which it was killed.
    pub after_per_s: f64,
    /// The second in parts of the first.
    pub after_of_before: f64,
    /// To final while it ran.
    pub before_p50_ms: f64,
    /// The same.
    pub before_p99_ms: f64,
    /// The longest time to final while it ran.
    pub before_max_ms: f64,
    /// Blocks made without it.
    pub missed_blocks: u64,
    /// Seconds from its start again until it had all blocks.
    pub caught_up_s: f64,
    /// Blocks a second, from the first look at its height on.
    pub caught_up_blocks_per_s: f64,
    /// Transactions a second, by the mean of those in a block made without it; none where none was made while figures were taken.
    pub caught_up_per_s: Option<f64>,
}

/// What a load showed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Outcome {
    /// `closed`, `open` or `saturate`.
    pub mode: &'static str,
    /// `kv` or `ballots`.
    pub kind: &'static str,
    /// How many validators.
    pub validators: usize,
    /// The store of the first validator, where its file names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<usize>,
    /// Of an open loop, transactions a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// For how long figures were taken.
    pub seconds: f64,
    /// Bytes of a transaction.
    pub transaction_bytes: usize,
    /// Transactions that became final in that time.
    pub finals: usize,
    /// Of them, a second.
    pub final_per_s: f64,
    /// Taken by a validator in that time, a second.
    pub accepted_per_s: f64,
    /// From submission (of an open loop: from when it was due) until a validator has taken it.
    pub accepted_p50_ms: f64,
    /// The same, of the slowest hundredth.
    pub accepted_p99_ms: f64,
    /// From submission (of an open loop: from when it was due) until the first validator tells of the final block.
    pub p50_ms: f64,
    /// The same.
    pub p90_ms: f64,
    /// The same.
    pub p99_ms: f64,
    /// The same.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How much more was due and not yet final with each second; about 0 where a network keeps up.
    pub backlog_grew_per_s: f64,
    /// Handed in and not final at the end of the wait for the rest; their latencies are the time until then.
    pub unfinished: usize,
    /// Of an open loop: due in time and not handed in, even some time after; their latencies are the time until the end of the wait.
    pub unsent: usize,
    /// Refused, such as by a full pool; they have no latency.
    pub refused: usize,
    /// The highest memory of a validator.
    pub rss_mib_max: f64,
    /// Mean of the validators, where it is known of all.
    pub fsyncs_per_block: Option<f64>,
    /// Mean transactions in a block of the first validator.
    pub transactions_per_block: f64,
    /// Each validator.
    pub nodes: Vec<NodeUse>,
    /// Where one validator was stopped meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Of a saturation search: every rate that was tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Of a saturation search: the highest rate that was kept up with, where one was.
    pub knee_per_s: Option<f64>,
    /// Of a saturation search: at which rate it ended before its end, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Latencies in milliseconds at each hundredth, for a plot.
    #[serde(skip)]
    pub curve: Vec<f64>,
}

impl Outcome {
    /// Refused, never handed in, or never final.
    pub(crate) fn lost(&self) -> usize {
        self.refused + self.unsent + self.unfinished
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.clients, self.rate) {
            (Some(clients), _) => format!("{clients} clients, each hands in the next when the one before is final"),
            (_, Some(rate)) => format!("{rate:.0} a second, whether the network keeps up or not"),
            _ => "rising rates".into(),
        };
        let store = self.storage.as_ref().map_or(String::new(), |name| format!(" with {name}"));
        writeln!(
            f,
            "{} validators{store}, {} of {} bytes, {how}, {:.1} s",
            self.validators, self.kind, self.transaction_bytes, self.seconds
        )?;
        if let Some(stopped) = &self.stopped {
            writeln!(
                f,
                "before     {:>9.0} /s   p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms; the load went to the same {} validators",
                stopped.before_per_s,
                stopped.before_p50_ms,
                stopped.before_p99_ms,
                stopped.before_max_ms,
                self.nodes.len()
            )?;
            writeln!(
                f,
                "{} is killed: what follows is of the others from then on, {:.2} of the rate before",
                stopped.name, stopped.after_of_before
            )?;
        }
        writeln!(
            f,
            "final      {:>9.0} /s   {} in all, {:.1} in a block",
            self.final_per_s, self.finals, self.transactions_per_block
        )?;
        writeln!(
            f,
            "accepted   {:>9.0} /s   p50 {:.2} ms, p99 {:.2} ms",
            self.accepted_per_s, self.accepted_p50_ms, self.accepted_p99_ms
        )?;
        writeln!(
            f,
            "to final   p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.1} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms
        )?;
        if self.unfinished > 0 || self.unsent > 0 || self.refused > 0 {
            writeln!(
                f,
                "not final  {} at the end, {} refused, {} due and never handed in",
                self.unfinished, self.refused, self.unsent
            )?;
        }
        for node in &self.nodes {
            let fsyncs = node.fsyncs_per_block.map_or("?".into(), |count| format!("{count:.1}"));
            writeln!(
                f,
                "{:<12} CPU {:>4.0} %   memory {:>6.1} MiB   written {:>7.1} MiB   {fsyncs} fsyncs a block",
                node.name, node.cpu_percent, node.rss_mib_max, node.written_mib
            )?;
        }
        if let Some(stopped) = &self.stopped {
            writeln!(
                f,
                "{} starts again: caught up with {} blocks after {:.2} s, at {:.0} blocks /s, {} transactions /s",
                stopped.name,
                stopped.missed_blocks,
                stopped.caught_up_s,
                stopped.caught_up_blocks_per_s,
                stopped.caught_up_per_s.map_or("?".into(), |rate| format!("{rate:.0}"))
            )?;
        }
        for step in &self.steps {
            let word = if step.kept_up { "kept up" } else { "not kept up" };
            let grew = format!("backlog {:+.0} a second, {} lost", step.backlog_grew_per_s, step.lost);
            writeln!(
                f,
                "{:>9.0} /s offered: {:>9.0} /s final, p50 {:.1} ms, p99 {:.1} ms, {grew}: {word}",
                step.rate, step.final_per_s, step.p50_ms, step.p99_ms
            )?;
        }
        if !self.steps.is_empty() {
            let knee = self.knee_per_s.map_or("none of these".into(), |knee| format!("{knee:.0} /s"));
            writeln!(f, "the highest rate that is kept up with: {knee}")?;
        }
        if let Some(failed) = &self.failed {
            writeln!(f, "the search ended {failed}")?;
        }
        Ok(())
    }
}
