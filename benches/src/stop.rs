//! When a run must end: at its deadline, or when the user wants no more.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::BenchError;

/// How long to wait between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The end of a run, shared by all its threads.
#[derive(Debug, Clone)]
pub struct Stop {
    wanted: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    /// Everything ends `after` from now at the latest.
    pub fn after(after: Duration) -> Self {
        Self { wanted: Arc::default(), deadline: Instant::now() + after }
    }

    /// Ends the run as soon as its threads look.
    pub fn now(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Ends the run at Ctrl-C and SIGTERM, in order: nodes first, then their files.
    ///
    /// # Errors
    ///
    /// When signals can't be received here.
    pub fn on_signals(&self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let stop = self.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            stop.now();
        });
        Ok(())
    }

    /// Goes on, or says why not.
    pub(crate) fn check(&self, what: &str) -> Result<(), BenchError> {
        if self.wanted.load(Ordering::Relaxed) {
            return Err(BenchError::Stopped);
        }
        if Instant::now() >= self.deadline {
            return Err(BenchError::TimedOut { what: what.into() });
        }
        Ok(())
    }

    /// Waits until `look` finds something.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, BenchError>,
    ) -> Result<T, BenchError> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.check(what)?;
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
