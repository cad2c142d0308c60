//! How fast a copy may go: below the rates that are configured, and resting while searches feel it.
//!
//! What searches feel is told apart by what is under way while they run: one in whose time no copy
//! worked is *quiet* and says what is usual; the others are compared with it (see
//! [`miroir_core::reads::strain`]). How much a copy rests follows from that
//! ([`miroir_core::rebalance::duty`]).

use super::CopyConfig;
use crate::state::Shared;
use miroir_core::id::NodeId;
use miroir_core::rebalance::duty::{Duty, Mood, Next};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What copies do at the moment, over all nodes and indexes.
#[derive(Debug, Default)]
pub(crate) struct Toil {
    at_work: AtomicU64,
    at_rest: AtomicU64,
    /// How often work was begun.
    begun: AtomicU64,
}

/// How it stood when a search began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToilMark {
    begun: u64,
    is_quiet: bool,
}

impl Toil {
    pub(crate) fn mark(&self) -> ToilMark {
        ToilMark {
            begun: self.begun.load(Relaxed),
            is_quiet: self.at_work.load(Relaxed) == 0,
        }
    }

    /// Nothing was copied since then.
    pub(crate) fn is_quiet_since(&self, mark: ToilMark) -> bool {
        mark.is_quiet && self.begun.load(Relaxed) == mark.begun
    }

    /// Copies that work, and such that rest because searches felt them.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.at_work.load(Relaxed), self.at_rest.load(Relaxed))
    }
}

/// One who copies, at work or at rest, until dropped.
struct Shift {
    toil: Arc<Toil>,
    is_rest: bool,
}

impl Shift {
    fn begin(toil: &Arc<Toil>, is_rest: bool) -> Self {
        if !is_rest {
            toil.begun.fetch_add(1, Relaxed);
        }
        let shift = Self {
            toil: toil.clone(),
            is_rest,
        };
        shift.counter().fetch_add(1, Relaxed);
        shift
    }

    fn counter(&self) -> &AtomicU64 {
        match self.is_rest {
            true => &self.toil.at_rest,
            false => &self.toil.at_work,
        }
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Relaxed);
    }
}

/// The pace of one who copies.
#[derive(Default)]
pub(crate) struct Pace {
    /// No sooner than this does the next piece go.
    free_at: Duration,
    duty: Duty,
    shift: Option<Shift>,
    /// The nodes at which it may be felt.
    nodes: BTreeSet<NodeId>,
}

impl Pace {
    /// Notes what was moved at `now`, and returns how long to wait before more is, so that the mean
    /// stays below the configured rates.
    pub(super) fn note(
        &mut self,
        config: &CopyConfig,
        now: Duration,
        documents: u64,
        bytes: u64,
    ) -> Duration {
        let seconds = |amount: u64, rate: u64| match rate {
            0 => Duration::ZERO,
            rate => Duration::from_micros(
                amount
                    .saturating_mul(1_000_000)
                    .checked_div(rate)
                    .unwrap_or(0),
            ),
        };
        let cost = seconds(documents, config.documents_per_second)
            .max(seconds(bytes, config.bytes_per_second));
        self.free_at = self.free_at.max(now) + cost;
        self.free_at.saturating_sub(now)
    }

    /// What follows is felt by those who search at these nodes.
    pub(crate) fn watch<'a>(&mut self, nodes: impl IntoIterator<Item = &'a NodeId>) {
        let nodes: BTreeSet<NodeId> = nodes.into_iter().cloned().collect();
        self.nodes = nodes;
    }

    /// It asks whether the nodes are level before it goes on.
    pub(crate) fn asks_level(&self, shared: &Shared) -> bool {
        matches!(self.duty, Duty::Working { .. }) && self.mood(shared) != Mood::Alone
    }

    /// Asked before each piece of work; how long to wait before it is asked again, if now is not the
    /// time. `is_level`: the nodes have taken in what they were sent.
    pub(crate) fn hold(&mut self, shared: &Shared, is_level: bool) -> Option<Duration> {
        let now = shared.ports.clock.monotonic();
        let share = shared.config.copy.copy_share;
        let (duty, next) = self.duty.step(now, self.mood(shared), is_level, share);
        self.duty = duty;
        let is_rest = match duty {
            Duty::Idle => return None,
            Duty::Working { .. } => false,
            Duty::Resting { .. } => true,
        };
        if self
            .shift
            .as_ref()
            .is_none_or(|shift| shift.is_rest != is_rest)
        {
            self.shift = None;
            self.shift = Some(Shift::begin(&shared.toil, is_rest));
        }
        match next {
            Next::Work => None,
            Next::Wait(wait) => Some(wait),
        }
    }

    /// It rests because searches felt it.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.duty, Duty::Resting { .. })
    }

    /// There is nothing to do, for now.
    pub(crate) fn pause(&mut self) {
        self.shift = None;
    }

    fn mood(&self, shared: &Shared) -> Mood {
        let now = shared.ports.clock.monotonic();
        let moods = self
            .nodes
            .iter()
            .map(|node| shared.reads.node(node).mood(now));
        moods.max().unwrap_or(Mood::Alone)
    }
}

/// Notes what was read at a node, and waits as long as the pace asks for.
pub(crate) async fn rest(shared: &Shared, pace: &mut Pace, documents: u64, bytes: u64) {
    let now = shared.ports.clock.monotonic();
    let mut wait = pace.note(&shared.config.copy, now, documents, bytes);
    loop {
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = shared.ports.clock.sleep(wait) => {}
            }
        }
        // What was read is all that it did.
        match pace.hold(shared, true) {
            Some(more) => wait = more,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_slower_of_the_two_rates() {
        let config = CopyConfig {
            documents_per_second: 100,
            bytes_per_second: 1000,
            ..CopyConfig::default()
        };
        let mut pace = Pace::default();
        let now = Duration::from_secs(10);
        assert_eq!(pace.note(&config, now, 100, 10), Duration::from_secs(1));
        assert_eq!(pace.note(&config, now, 0, 2000), Duration::from_secs(3));
        let later = Duration::from_secs(60);
        assert_eq!(pace.note(&config, later, 0, 0), Duration::ZERO);
    }
}
