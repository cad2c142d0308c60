//! One virtual time over all lives of a proxy, and the point at which a life ends by a crash.

use async_trait::async_trait;
use miroir_engine::port::{Clock, Timestamp};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When the world begins, in seconds since 1970.
const EPOCH_SECONDS: u64 = 1_750_000_000;

/// The time since the world began. Each life has a runtime, and so a clock, of its own; this adds
/// them up.
#[derive(Debug, Default)]
pub struct SimTime {
    before: Mutex<Duration>,
    since: Mutex<Option<Instant>>,
}

impl SimTime {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Duration {
        let in_this_life = self
            .since
            .lock()
            .map_or(Duration::ZERO, |since| since.elapsed());
        *self.before.lock() + in_this_life
    }

    /// A life begins on this runtime.
    pub fn begin(&self) {
        *self.since.lock() = Some(Instant::now());
    }

    /// It has ended.
    pub fn end(&self) {
        let now = self.now();
        *self.before.lock() = now;
        *self.since.lock() = None;
    }
}

/// The engine's clock.
pub(crate) struct SimClock(pub(crate) Arc<SimTime>);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS) + self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Kills the proxy at the n-th crossing between it and the world: before or after a call to the
/// store, to the payloads or to a node, or at a step of the write path. What the engine does between
/// two crossings nobody but itself can know, so these are all the moments there are.
#[derive(Debug, Default)]
pub struct CrashPoint {
    left: AtomicU64,
    has_come: AtomicBool,
    reached: Notify,
}

impl CrashPoint {
    /// Sets it so many crossings ahead; `u64::MAX` is never.
    pub fn set(&self, crossings: u64) {
        self.left.store(crossings, Ordering::Relaxed);
        self.has_come.store(false, Ordering::Relaxed);
    }

    /// Passes a crossing, or never returns.
    pub async fn cross(&self) {
        if !self.has_come.load(Ordering::Relaxed) {
            let left = self.left.load(Ordering::Relaxed);
            if left > 0 {
                self.left.store(left - 1, Ordering::Relaxed);
                return;
            }
            self.has_come.store(true, Ordering::Relaxed);
            self.reached.notify_one();
        }
        std::future::pending::<()>().await;
    }

    /// Returns when it has come.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }
}
