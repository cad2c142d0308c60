//! Tells all who listen that something changed, in the order in which they began to wait: so that a
//! simulation comes to the same end every time. (Tokio's `watch` wakes in an order of its own.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// A bell; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    count: AtomicU64,
    rung: Notify,
}

/// Hears a bell, also when it rang while nobody waited.
#[derive(Debug)]
pub struct Listener {
    bell: Bell,
    heard: u64,
}

impl Bell {
    /// Something changed.
    pub fn ring(&self) {
        self.inner.count.fetch_add(1, Ordering::AcqRel);
        self.inner.rung.notify_waiters();
    }

    /// Hears what rings from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener {
            bell: self.clone(),
            heard: self.inner.count.load(Ordering::Acquire),
        }
    }
}

impl Listener {
    /// Returns when the bell has rung since this returned last.
    pub async fn changed(&mut self) {
        loop {
            let rung = self.bell.inner.rung.notified();
            tokio::pin!(rung);
            // Before the count is read: what rings meanwhile is heard.
            rung.as_mut().enable();
            let count = self.bell.inner.count.load(Ordering::Acquire);
            if count != self.heard {
                self.heard = count;
                return;
            }
            rung.await;
        }
    }

    /// What happened before was not heard.
    pub fn mark_changed(&mut self) {
        self.heard = self.heard.wrapping_sub(1);
    }
}
