//! Payload files that nothing names any more.
//!
//! Every file has one owner: an entry of the log, a batch, or the state of a copy. Whoever takes the
//! name of a file out of the store, durably, discards the file; whoever made one and finds that its
//! name was not stored does so too. What cannot be removed at once, since the disk fails or nobody is
//! there to wait for it, is noted here and removed when it can be. A crash in between leaves files to
//! the sweep of the next start.

use crate::port::PayloadRef;
use crate::state::Shared;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Before files that could not be removed are tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Files to be removed.
#[derive(Debug, Default)]
pub(crate) struct Litter {
    files: Mutex<Vec<PayloadRef>>,
    came: Notify,
}

impl Litter {
    /// Has files removed later.
    pub(crate) fn note(&self, files: impl IntoIterator<Item = PayloadRef>) {
        self.files.lock().extend(files);
        self.came.notify_one();
    }
}

impl Shared {
    /// Removes files that nothing names any more, now or later.
    pub(crate) async fn discard(&self, files: &[PayloadRef]) {
        if files.is_empty() {
            return;
        }
        if let Err(error) = self.ports.payloads.remove(files).await {
            tracing::warn!(%error, "payload files could not be removed; trying again");
            self.litter.note(files.iter().cloned());
        }
    }
}

/// A file that is not named in the store yet. Unless it is kept, it is discarded with this: also when
/// whoever was to name it is given up by its caller.
pub(crate) struct Unnamed<'a> {
    shared: &'a Shared,
    file: Option<PayloadRef>,
}

impl<'a> Unnamed<'a> {
    pub(crate) fn new(shared: &'a Shared, file: Option<PayloadRef>) -> Self {
        Self { shared, file }
    }

    /// From now on the store may name it.
    pub(crate) fn keep(mut self) -> Option<PayloadRef> {
        self.file.take()
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.shared.litter.note([file]);
        }
    }
}

/// Removes what is noted, until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let came = shared.litter.came.notified();
        let files = std::mem::take(&mut *shared.litter.files.lock());
        if files.is_empty() {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = came => {}
            }
            continue;
        }
        if let Err(error) = shared.ports.payloads.remove(&files).await {
            tracing::debug!(%error, "payload files cannot be removed yet");
            shared.litter.files.lock().extend(files);
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = shared.ports.clock.sleep(RETRY_DELAY) => {}
            }
        }
    }
}
