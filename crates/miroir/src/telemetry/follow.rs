//! The log's second way out: to whoever follows it over `/logs/stream`.
//!
//! Two layers stand ready from the start, one for each form of lines, and both filter everything
//! out while nobody follows. At most one stream is open.

use bytes::Bytes;
use miroir_http::{LogMode, LogStream};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry, reload};

/// Lines that wait for a slow reader; more are left out.
const LINES_MAX: usize = 4096;

/// A layer of the log, whatever its form.
pub(super) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The open stream, if there is one, and the number of streams so far.
#[derive(Debug, Default)]
struct Slot {
    open: Option<mpsc::Sender<Bytes>>,
    count: u64,
}

/// Opens and closes the stream; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    slot: Arc<Mutex<Slot>>,
    human: reload::Handle<Targets, Registry>,
    json: reload::Handle<Targets, Registry>,
}

impl Follower {
    /// The follower and its layers.
    pub(super) fn new() -> (Self, [AnyLayer; 2]) {
        let slot: Arc<Mutex<Slot>> = Arc::default();
        let (human_filter, human) = reload::Layer::new(Targets::new());
        let (json_filter, json) = reload::Layer::new(Targets::new());
        let to_human = slot.clone();
        let human_layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || Writer(to_human.clone()))
            .with_filter(human_filter)
            .boxed();
        let to_json = slot.clone();
        let json_layer = tracing_subscriber::fmt::layer()
            .json()
            .with_writer(move || Writer(to_json.clone()))
            .with_filter(json_filter)
            .boxed();
        let follower = Self { slot, human, json };
        (follower, [human_layer, json_layer])
    }

    /// Begins a stream; `None` while one is open.
    pub(super) fn open(&self, targets: Targets, mode: LogMode) -> Option<LogStream> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let count = {
            let mut slot = lock(&self.slot);
            if slot.open.is_some() {
                return None;
            }
            slot.open = Some(sender);
            slot.count += 1;
            slot.count
        };
        let filter = match mode {
            LogMode::Human => &self.human,
            LogMode::Json => &self.json,
        };
        // Fails only if the layers are gone, and they live as long as the process.
        let _ = filter.reload(targets);
        let follower = self.clone();
        let guard = Box::new(Guard { follower, count });
        Some(LogStream { lines, guard })
    }

    /// Ends the open stream.
    pub(super) fn close(&self) {
        // The filters first, and without the lock: what is logged meanwhile takes it.
        for filter in [&self.human, &self.json] {
            let _ = filter.reload(Targets::new());
        }
        lock(&self.slot).open = None;
    }
}

/// Ends its own stream and no later one.
struct Guard {
    follower: Follower,
    count: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let is_open = {
            let slot = lock(&self.follower.slot);
            slot.open.is_some() && slot.count == self.count
        };
        if is_open {
            self.follower.close();
        }
    }
}

struct Writer(Arc<Mutex<Slot>>);

impl io::Write for Writer {
    /// A line comes in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(open) = &lock(&self.0).open {
            // Logging never waits: a reader that is too slow misses lines.
            let _ = open.try_send(Bytes::copy_from_slice(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panic elsewhere leaves nothing half done here.
fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn targets(text: &str) -> Targets {
        text.parse().expect("a target")
    }

    #[test]
    fn one_at_a_time_follows_the_lines_it_chose() {
        let (follower, layers) = Follower::new();
        let layers: Vec<AnyLayer> = layers.into();
        let subscriber = tracing_subscriber::registry().with(layers);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("nobody follows");
            let stream = follower.open(targets("warn"), LogMode::Json);
            let mut stream = stream.expect("the first");
            assert!(follower.open(targets("warn"), LogMode::Human).is_none());
            tracing::info!("too small");
            tracing::warn!(answer = 42, "seen");
            let line = stream.lines.try_recv().expect("a line");
            let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!(line["fields"]["message"], "seen");
            assert_eq!(line["fields"]["answer"], 42);
            assert!(stream.lines.try_recv().is_err());
            drop(stream);

            let mut stream = follower
                .open(targets("info"), LogMode::Human)
                .expect("it is free again");
            tracing::info!("for people");
            let line = stream.lines.try_recv().expect("a line");
            assert!(String::from_utf8_lossy(&line).contains("for people"));
            follower.close();
            tracing::info!("nobody follows again");
            assert!(stream.lines.blocking_recv().is_none());
            let next = follower.open(targets("info"), LogMode::Human);
            drop(stream);
            assert!(next.is_some());
            tracing::info!("for the next");
            assert!(next.expect("a stream").lines.try_recv().is_ok());
        });
    }
}
