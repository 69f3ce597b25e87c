//! One node of the network as a process of its own: started, watched, stopped.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::AsyncReadExt as _,
    process::{ChildStderr, Command},
    sync::{mpsc, watch},
};

use crate::{
    devnet::{
        log_file::{Lines, LogFile, is_alarming},
        member::Member,
    },
    exit::Failure,
    logging::LogFormat,
};

/// Orders that may wait for one child.
const ORDERS_MAX: usize = 4;

/// What a child is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGTERM: stop gracefully.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// How children are started.
#[derive(Debug, Clone)]
pub(crate) struct Spawning<'a> {
    /// The binary.
    pub(crate) program: &'a Path,
    /// Where logs go.
    pub(crate) logs: &'a Path,
    /// Of the children's logs.
    pub(crate) log_format: LogFormat,
    /// Of the children's logs, when given.
    pub(crate) log_level: Option<&'a str>,
}

/// A started node.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) member: Member,
    pub(crate) pid: u32,
    orders: mpsc::Sender<Order>,
    ended: watch::Receiver<Option<ExitStatus>>,
    lines: Arc<Mutex<Lines>>,
}

impl Child {
    /// Starts `quorate run` for `member`.
    ///
    /// The child holds the reading end of a pipe whose writing end lives in this process: when this process dies, however, the child
    /// sees the end of its input and stops. It has a process group of its own, so that Ctrl-C at the terminal reaches this process only.
    pub(crate) fn spawn(member: Member, how: &Spawning<'_>) -> Result<Self, Failure> {
        let log_path = how.logs.join(format!("{}.log", member.name));
        let log = LogFile::open(&log_path).map_err(|error| Failure::disk(log_path.display(), &error))?;
        let mut command = Command::new(how.program);
        command.arg("run").arg("--config").arg(&member.config).args([
            "--stop-on-stdin-close",
            "--log-format",
            how.log_format.as_str(),
        ]);
        if let Some(level) = how.log_level {
            command.args(["--log-level", level]);
        }
        // An override meant for one node would reach all.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("QUORATE__")) {
            command.env_remove(key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut process = command
            .spawn()
            .map_err(|error| Failure::failed(format!("{} could not be started: {error}", member.name)))?;
        let pid = process.id().unwrap_or_default();
        let lines = Arc::new(Mutex::new(Lines::default()));
        if let Some(stderr) = process.stderr.take() {
            tokio::spawn(pump(stderr, log, Arc::clone(&lines), member.name.clone(), how.log_format));
        }
        let (orders, orders_rx) = mpsc::channel(ORDERS_MAX);
        let (ended_tx, ended) = watch::channel(None);
        tokio::spawn(supervise(process, orders_rx, ended_tx));
        Ok(Self { member, pid, orders, ended, lines })
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.clone();
        // An error means that its supervisor is gone: then it has ended too.
        async move { drop(ended.wait_for(Option::is_some).await) }
    }

    /// Gives an order; one that has ended takes none.
    pub(crate) fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            // Full: orders wait there already. Closed: it has ended.
            tracing::debug!(node = self.member.name, ?order, "order not needed");
        }
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).tail()
    }
}

/// Owns the process until it has ended, so that no signal reaches another process with a reused number.
async fn supervise(
    mut process: tokio::process::Child,
    mut orders: mpsc::Receiver<Order>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    // Kept open for as long as this process lives; taken, because waiting would close it.
    let _stdin = process.stdin.take();
    let status = loop {
        tokio::select! {
            status = process.wait() => break status,
            Some(order) = orders.recv() => {
                let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
                let signal = match order {
                    Order::Terminate => Signal::TERM,
                    Order::Kill => Signal::KILL,
                };
                if let Some(pid) = pid
                    && let Err(error) = kill_process(pid, signal)
                {
                    tracing::warn!(pid = pid.as_raw_nonzero().get(), %error, "node could not be signalled");
                }
            }
        }
    };
    let status =
        status.inspect_err(|error| tracing::error!(%error, "node could not be waited for")).unwrap_or_default();
    ended.send_replace(Some(status));
}

/// Copies a child's log to its file and shows what is alarming; never leaves the child waiting for a reader.
async fn pump(mut stderr: ChildStderr, mut log: LogFile, lines: Arc<Mutex<Lines>>, name: String, format: LogFormat) {
    let mut buffer = vec![0u8; 8 << 10];
    let mut failing = false;
    while let Ok(read) = stderr.read(&mut buffer).await {
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return;
        }
        let written = log.write(piece);
        if let (Err(error), false) = (&written, failing) {
            tracing::warn!(node = name, %error, "log could not be written; lines are lost");
        }
        failing = written.is_err();
        let complete = lines.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        for line in complete.iter().filter(|line| is_alarming(line)) {
            match format {
                LogFormat::Pretty => crate::output::note(&format!("{name} | {line}")),
                LogFormat::Json => tracing::warn!(node = name, line, "node warned"),
            }
        }
    }
}

/// An exit status for people: `was killed by signal 9`, `exited with code 78`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(0)) => "stopped".to_owned(),
        (None, code) => format!("exited with code {}", code.unwrap_or(-1)),
    }
}
