//! What the moments of a load's transactions say: how many became final, after how long, and whether ever more had to wait.

use crate::report::sorted;

/// One transaction's moments, in microseconds since the load began; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When it was submitted; of an open loop, when it should have been.
    pub(crate) due: u64,
    /// When a validator had taken it.
    pub(crate) accepted: u64,
    /// When the first validator told of its block.
    pub(crate) done: u64,
    /// Whether a validator refused it.
    pub(crate) refused: bool,
}

/// The window of which figures are taken, and the end of the wait for the rest after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) end: u64,
}

impl Window {
    fn has(&self, moment: u64) -> bool {
        moment > self.from && moment <= self.to
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tally {
    /// Milliseconds from due to final, in ascending order.
    pub(crate) to_final: Vec<f64>,
    /// Milliseconds from due to taken, in ascending order.
    pub(crate) to_accepted: Vec<f64>,
    /// Final in the window.
    pub(crate) finals: usize,
    /// Taken in the window.
    pub(crate) accepted: usize,
    /// Taken and never final.
    pub(crate) unfinished: usize,
    /// Due before the window's end and never handed in.
    pub(crate) unsent: usize,
    /// Refused.
    pub(crate) refused: usize,
    /// How much what is due and not final grew, a second.
    pub(crate) backlog_grew_per_s: f64,
}

impl Tally {
    /// Every transaction that was due in the window counts, however late it came; one that never did has waited until the end at least. A refused one
    /// is counted and has no latency: whoever sent it knows at once.
    pub(crate) fn of(all: impl Iterator<Item = Times>, window: Window) -> Self {
        let mut tally = Self::default();
        let middle = window.from.midpoint(window.to);
        // Sums of what was due and not final at each moment, over the first half of the window and over the second.
        let (mut first, mut second) = (0.0, 0.0);
        for Times { due, accepted, done, refused } in all.filter(|one| one.due > 0 && one.due <= window.to) {
            tally.refused += usize::from(refused);
            if refused {
                continue;
            }
            tally.accepted += usize::from(window.has(accepted));
            tally.finals += usize::from(window.has(done));
            tally.unfinished += usize::from(accepted > 0 && done == 0);
            tally.unsent += usize::from(accepted == 0);
            let or_end = |moment: u64| if moment == 0 { window.end } else { moment };
            if window.has(due) {
                tally.to_accepted.push(or_end(accepted).saturating_sub(due) as f64 / 1000.0);
                tally.to_final.push(or_end(done).saturating_sub(due) as f64 / 1000.0);
            }
            let open = |from: u64, to: u64| or_end(done).min(to).saturating_sub(due.max(from)) as f64;
            first += open(window.from, middle);
            second += open(middle, window.to);
        }
        // Means of the halves, not two moments: what is open goes up and down with each block.
        let half = (window.to.saturating_sub(window.from) as f64 / 2.0).max(1.0);
        tally.backlog_grew_per_s = (second - first) / half / (half / 1e6);
        (tally.to_final, tally.to_accepted) = (sorted(&tally.to_final), sorted(&tally.to_accepted));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// From one second to three, then two more of waiting for the rest.
    const WINDOW: Window = Window { from: SECOND, to: 3 * SECOND, end: 5 * SECOND };

    /// Due every millisecond of three seconds; `done` says when each is final.
    fn load(done: impl Fn(u64) -> u64) -> Tally {
        let one = |number: u64| {
            let due = number * 1000 + 1;
            Times { due, accepted: due + 1, done: done(due), refused: false }
        };
        Tally::of((0..3000).map(one), WINDOW)
    }

    #[test]
    fn what_is_final_soon_does_not_wait_ever_longer() {
        let tally = load(|due| due + 5_000);
        assert!((1990..=2010).contains(&tally.finals), "{tally:?}");
        assert!(tally.backlog_grew_per_s.abs() < 1.0, "{}", tally.backlog_grew_per_s);
        assert_eq!((tally.unfinished, tally.unsent, tally.to_final.last().copied()), (0, 0, Some(5.0)));
    }

    /// Blocks every 400 ms: what waits goes up and down with them, and does not grow.
    #[test]
    fn waiting_for_slow_blocks_is_no_growing() {
        let tally = load(|due| due.next_multiple_of(SECOND / 5) + SECOND / 5);
        assert!(tally.backlog_grew_per_s.abs() < 10.0, "{}", tally.backlog_grew_per_s);
    }

    /// Half of what comes is done: the other half waits, 500 more each second, although all is final in the end.
    #[test]
    fn an_overload_grows_by_what_is_not_done() {
        let tally = load(|due| due * 2);
        assert!((tally.backlog_grew_per_s - 500.0).abs() < 5.0, "{}", tally.backlog_grew_per_s);
        assert_eq!(tally.unfinished, 0);
    }

    #[test]
    fn one_that_never_came_has_waited_until_the_end() {
        let due = 2 * SECOND;
        let taken = Times { due, accepted: due + 1000, done: 0, refused: false };
        let unsent = Times { due: due + 1000, ..Times::default() };
        let refused = Times { due, refused: true, ..Times::default() };
        let later = Times { due: 3 * SECOND + 1, ..Times::default() };
        let tally = Tally::of([taken, unsent, refused, later, Times::default()].into_iter(), WINDOW);
        assert_eq!((tally.unfinished, tally.unsent, tally.refused), (1, 1, 1));
        assert_eq!(tally.to_final, [2999.0, 3000.0]);
        assert_eq!(tally.to_accepted, [1.0, 2999.0]);
        assert_eq!(Tally::of(std::iter::empty(), WINDOW), Tally::default());
    }
}
