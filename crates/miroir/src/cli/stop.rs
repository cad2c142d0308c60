//! The wish of the person or the system that the process ends, or reads its configuration again.

use anyhow::Context;

/// The signals that ask a process to end: Ctrl-C, SIGTERM, and the end of its terminal.
///
/// They are watched from [`StopSignals::new`] on: one that comes while nobody waits is not lost.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignals {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let watch = |kind| signal(kind).context("signals cannot be watched");
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    /// Returns at the next signal.
    pub(super) async fn asked(&mut self) {
        self.next().await;
    }

    /// The next signal: whether it is SIGHUP, by which a process without a terminal is asked to read
    /// its configuration again.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::HangUp,
        }
    }
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end.
    Stop,
    /// The terminal is gone, or the configuration is to be read again.
    HangUp,
}

/// Ctrl-C, on systems without signals.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct StopSignals;

#[cfg(not(unix))]
impl StopSignals {
    /// Begins to watch.
    ///
    /// # Errors
    /// Never here.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self)
    }

    /// Returns at the next Ctrl-C.
    pub(super) async fn asked(&mut self) {
        if tokio::signal::ctrl_c()
            .await
            .context("Ctrl-C cannot be watched")
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// As [`Self::asked`].
    pub(super) async fn next(&mut self) -> Asked {
        self.asked().await;
        Asked::Stop
    }
}
