//! A progress bar on stderr for work of more than two seconds, if stderr is a terminal.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this shows nothing.
const SHOW_AFTER: Duration = Duration::from_secs(2);

/// Counts steps of a work, and shows them once it takes long.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    what: &'static str,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    done: u64,
    terminal: bool,
}

impl Progress {
    /// Begins a work of `total` steps, if that is known; `what` names one step in the plural.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { begun: Instant::now(), what, total, bar: None, done: 0, terminal }
    }

    /// Counts one step.
    pub fn step(&mut self) {
        self.done += 1;
        if !self.terminal {
            return;
        }
        if self.bar.is_none() && self.begun.elapsed() >= SHOW_AFTER {
            self.bar = Some(self.show());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// Whether a person sees it.
    pub fn is_shown(&self) -> bool {
        self.terminal
    }

    fn show(&self) -> ProgressBar {
        let bar = match self.total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match self.total {
            Some(_) => "{bar:32} {pos}/{len} {msg} ({per_sec}, {eta} left)",
            None => "{spinner} {pos} {msg} ({per_sec})",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_message(self.what);
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
