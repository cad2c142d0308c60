//! What `/logs/*` asks of the process that holds the logs.

use bytes::Bytes;
use std::fmt;
use tokio::sync::mpsc;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMode {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Lines of the log as they are written, until it is dropped.
pub struct LogStream {
    /// The lines. Bounded: those that a slow reader has no room for are left out.
    pub lines: mpsc::Receiver<Bytes>,
    /// Ends the stream when it is dropped.
    pub guard: Box<dyn Send + Sync>,
}

impl fmt::Debug for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStream").finish_non_exhaustive()
    }
}

/// The logs of a process.
pub trait LogControl: fmt::Debug + Send + Sync + 'static {
    /// Whether a text says what is logged: a level, or modules with levels.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, target: &str) -> Result<(), String>;
    /// Begins to stream what `target` chooses; `None` while another stream is open.
    fn open(&self, target: &str, mode: LogMode) -> Option<LogStream>;
    /// Ends the open stream, if there is one.
    fn close(&self);
    /// Changes what is written to standard error.
    fn set_stderr(&self, target: &str);
}
