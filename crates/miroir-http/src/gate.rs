//! Lets so many in at once, lets so many wait, and turns the rest away.
//!
//! What a proxy over its nodes can do at once is bounded; beyond it, taking more work only makes all
//! of it late. So searches pass a gate as they do on a node, with a node's refusal: 503 and the time
//! after which to come back. Who waits is let in in the order of coming, and a client that goes
//! away leaves the queue at once.

use crate::error::ApiError;
use miroir_api::error::{Code, ResponseError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many pass a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// How many are let in at once, at least 1.
    pub inside_max: usize,
    /// How many wait at most; with 0 one is turned away as soon as nobody more is let in.
    pub waiting_max: usize,
    /// How long one waits at most.
    pub wait_max: Duration,
}

impl GateLimits {
    /// The queue of a Meilisearch.
    pub const WAITING_MAX_DEFAULT: usize = 1_000;
    /// The patience of a Meilisearch.
    pub const WAIT_MAX_DEFAULT: Duration = Duration::from_secs(60);
    /// The searches a node does at once for each of its cores. A search through Miroir spends its
    /// time on nodes, so each node is counted, as if its machine were like this one; the proxy's own
    /// part is counted as one node more.
    const SEARCHES_PER_CORE: usize = 4;
    /// No fewer than this: a search that waits for its nodes costs the proxy little but memory.
    const SEARCHES_MIN: usize = 64;

    /// Limits for searches on a machine with so many cores over so many nodes.
    #[must_use]
    pub fn for_searches(core_count: usize, node_count: usize) -> Self {
        let machines = node_count.saturating_add(1);
        let inside = Self::SEARCHES_PER_CORE
            .saturating_mul(core_count)
            .saturating_mul(machines);
        Self {
            inside_max: inside.clamp(Self::SEARCHES_MIN, Semaphore::MAX_PERMITS),
            waiting_max: Self::WAITING_MAX_DEFAULT,
            wait_max: Self::WAIT_MAX_DEFAULT,
        }
    }

    /// Limits for payloads being taken in: each may hold a document in memory and a file on disk.
    pub const UPLOADS: Self = Self {
        inside_max: 64,
        waiting_max: Self::WAITING_MAX_DEFAULT,
        wait_max: Self::WAIT_MAX_DEFAULT,
    };

    /// Limits for large JSON bodies, which stand in memory as a whole.
    pub const LARGE_BODIES: Self = Self {
        inside_max: 8,
        waiting_max: Self::WAITING_MAX_DEFAULT,
        wait_max: Self::WAIT_MAX_DEFAULT,
    };
}

/// A gate.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    limits: GateLimits,
    /// What is done inside, for the refusal: `search requests`.
    what: &'static str,
}

/// The right to be inside; leaving is dropping it.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Gate {
    pub(crate) fn new(limits: GateLimits, what: &'static str) -> Self {
        let inside_max = limits.inside_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(inside_max)),
            waiting: AtomicUsize::new(0),
            limits,
            what,
        }
    }

    /// Waits to be let in.
    ///
    /// # Errors
    /// Too many wait already, or it took too long.
    pub(crate) async fn enter(&self) -> Result<Place, ApiError> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Place(permit));
        }
        let Some(_waiter) = Waiter::new(&self.waiting, self.limits.waiting_max) else {
            return Err(self.refusal());
        };
        let permit = self.places.clone().acquire_owned();
        match tokio::time::timeout(self.limits.wait_max, permit).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            // It took too long; closed it is never.
            _ => Err(self.refusal()),
        }
    }

    /// How many are inside, and how many wait.
    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let free = self.places.available_permits();
        let inside = self.limits.inside_max - free;
        (inside, self.waiting.load(Ordering::Relaxed))
    }

    fn refusal(&self) -> ApiError {
        let Self { what, limits, .. } = self;
        ApiError(ResponseError::new(
            Code::TooManySearchRequests,
            format!(
                "Too many {what} running at the same time: {}. Retry after 10s.",
                limits.waiting_max
            ),
        ))
    }
}

/// One that waits, counted until dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let one_more = |count: usize| (count < max).then_some(count + 1);
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(inside_max: usize, waiting_max: usize) -> Arc<Gate> {
        let limits = GateLimits {
            inside_max,
            waiting_max,
            wait_max: Duration::from_secs(60),
        };
        Arc::new(Gate::new(limits, "search requests"))
    }

    fn code(result: Result<Place, ApiError>) -> (u16, String) {
        let error = result.expect_err("it is turned away").0;
        (error.status(), error.message)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_one_too_many_is_told_when_to_come_back() {
        let gate = gate(1, 1);
        let first = gate.enter().await.expect("there is a place");
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await }
        });
        while gate.counts().1 == 0 {
            tokio::task::yield_now().await;
        }
        let (status, message) = code(gate.enter().await);
        assert_eq!(status, 503);
        assert_eq!(
            message,
            "Too many search requests running at the same time: 1. Retry after 10s."
        );
        drop(first);
        let second = second.await.expect("no panic").expect("its turn came");
        assert_eq!(gate.counts(), (1, 0));
        drop(second);
        assert_eq!(gate.counts(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_queue_nobody_waits() {
        let gate = gate(1, 0);
        let _inside = gate.enter().await.expect("there is a place");
        assert_eq!(code(gate.enter().await).0, 503);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let gate = gate(1, 5);
        let _inside = gate.enter().await.expect("there is a place");
        let start = tokio::time::Instant::now();
        assert_eq!(code(gate.enter().await).0, 503);
        assert_eq!(start.elapsed().as_secs(), 60);
        assert_eq!(gate.counts(), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_the_queue() {
        let gate = gate(1, 1);
        let _inside = gate.enter().await.expect("there is a place");
        let second = Duration::from_secs(1);
        let impatient = tokio::time::timeout(second, gate.enter()).await;
        assert!(impatient.is_err());
        assert_eq!(gate.counts(), (1, 0));
    }

    #[test]
    fn more_cores_and_more_nodes_do_more_at_once() {
        let inside = |cores, nodes| GateLimits::for_searches(cores, nodes).inside_max;
        assert_eq!(inside(1, 1), 64);
        assert_eq!(inside(8, 3), 128);
        assert_eq!(inside(16, 20), 1344);
        assert_eq!(inside(usize::MAX, 1), Semaphore::MAX_PERMITS);
    }
}
