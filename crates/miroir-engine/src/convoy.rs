//! Writes wait a little for a node that comes back, so that it gets level.
//!
//! A node that was away applies what it missed while new batches come. Where the others work as
//! fast as it does, and writes never pause, it would stay behind by the same number of batches for
//! ever. So, while it goes on, each batch that it applies gives leave for a part of a new one: with a
//! share of 50 the dispatcher makes one new batch of its indexes for two that the node applied.
//!
//! Laws:
//! - A node that was behind by *n* batches when it began to go on is level when `n + 2 × CREDIT_MAX`
//!   new ones were made at most, at a share of 50.
//! - Nothing waits for a node that does not go on: one that does not answer, that fails what it is
//!   sent, or that has ended nothing for ten seconds.
//! - Nothing is refused. What waits travels together when it is its turn.

use miroir_core::id::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node that has ended nothing for so long is not waited for, until it ends something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Leave that is saved up, in new batches: what an index may have in flight. A node ends what it has
/// grouped at one moment, and the others are not to stand idle until it ends the next group.
const CREDIT_MAX: u64 = 64;
/// A new batch costs so much of the credit, in which a share is counted in percent.
const COST: u64 = 100;

/// The shares that may be configured. At 100 nothing is slowed.
pub const SHARES: std::ops::RangeInclusive<u32> = 1..=100;

#[derive(Debug, Clone, Default)]
struct Follower {
    credit: u64,
    went_on_at: Option<Duration>,
    /// When something last had to wait for it.
    held_at: Option<Duration>,
}

/// Nodes that come back, and what leave they gave.
#[derive(Debug)]
pub(crate) struct Convoy {
    share: u64,
    followers: Mutex<BTreeMap<NodeId, Follower>>,
    /// How often something had to wait, by node, since the start.
    holds: Mutex<BTreeMap<NodeId, u64>>,
}

impl Convoy {
    pub(crate) fn new(share: u32) -> Self {
        Self {
            share: u64::from(share),
            followers: Mutex::default(),
            holds: Mutex::default(),
        }
    }

    /// A new batch for a node that comes back need not wait. The node is followed from now on.
    pub(crate) fn lets_pass(&self, node: &NodeId, now: Duration) -> bool {
        if self.share >= COST {
            return true;
        }
        let mut followers = self.followers.lock();
        let follower = followers.entry(node.clone()).or_default();
        let went_on_at = follower.went_on_at;
        let goes_on = went_on_at.is_some_and(|at| now.saturating_sub(at) < PATIENCE);
        let passes = !goes_on || follower.credit >= COST;
        if !passes {
            let is_new = follower.held_at.is_none_or(|at| Some(at) < went_on_at);
            follower.held_at = Some(now);
            if is_new {
                *self.holds.lock().entry(node.clone()).or_default() += 1;
            }
        }
        passes
    }

    /// A new batch is on its way to these nodes.
    pub(crate) fn admitted<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) {
        let mut followers = self.followers.lock();
        if followers.is_empty() {
            return;
        }
        for node in nodes {
            if let Some(follower) = followers.get_mut(node) {
                follower.credit = follower.credit.saturating_sub(COST);
            }
        }
    }

    /// A node has ended a batch for good. Returns whether something may have waited for it.
    pub(crate) fn applied(&self, node: &NodeId, now: Duration) -> bool {
        let mut followers = self.followers.lock();
        let Some(follower) = followers.get_mut(node) else {
            return false;
        };
        follower.credit = (follower.credit + self.share).min(CREDIT_MAX * COST);
        follower.went_on_at = Some(now);
        follower.held_at.is_some()
    }

    /// A node is level, or is no longer of the cluster.
    pub(crate) fn leave(&self, node: &NodeId) -> bool {
        self.followers.lock().remove(node).is_some()
    }

    /// Writes are being slowed for this node.
    pub(crate) fn is_slowing(&self, node: &NodeId, now: Duration) -> bool {
        let followers = self.followers.lock();
        let held_at = followers.get(node).and_then(|follower| follower.held_at);
        held_at.is_some_and(|at| now.saturating_sub(at) < PATIENCE)
    }

    /// Something waits now, or did a moment ago: it is to be looked at again without being told.
    pub(crate) fn is_holding(&self, now: Duration) -> bool {
        let followers = self.followers.lock();
        let mut held = followers.values().filter_map(|follower| follower.held_at);
        held.any(|at| now.saturating_sub(at) < PATIENCE)
    }

    /// How often writes had to wait for each node.
    pub(crate) fn holds(&self) -> BTreeMap<NodeId, u64> {
        self.holds.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn nothing_waits_for_a_node_that_has_ended_nothing_yet_or_for_long() {
        let convoy = Convoy::new(50);
        let node = NodeId::new("b");
        assert!(convoy.lets_pass(&node, NOW));
        convoy.admitted([&node].into_iter());
        assert!(convoy.lets_pass(&node, NOW));
        convoy.applied(&node, NOW);
        assert!(!convoy.lets_pass(&node, NOW) && convoy.is_slowing(&node, NOW));
        assert!(convoy.lets_pass(&node, NOW + PATIENCE));
        assert_eq!(convoy.holds(), [(node, 1)].into());
    }

    #[test]
    fn at_a_share_of_a_hundred_nothing_waits() {
        let convoy = Convoy::new(100);
        let node = NodeId::new("b");
        convoy.applied(&node, NOW);
        assert!(convoy.lets_pass(&node, NOW) && !convoy.applied(&node, NOW));
    }

    proptest! {
        /// Batches are made whenever one may be, and the node applies one after the other.
        #[test]
        fn a_node_that_goes_on_is_level_after_a_bounded_number_of_new_batches(
            behind in 0u64..5_000,
            saved in 0u64..5_000,
        ) {
            let convoy = Convoy::new(50);
            let node = NodeId::new("b");
            convoy.lets_pass(&node, NOW);
            for _ in 0..=saved {
                convoy.applied(&node, NOW);
            }
            let (mut lag, mut made) = (behind, 0);
            while lag > 0 {
                while convoy.lets_pass(&node, NOW) {
                    convoy.admitted([&node].into_iter());
                    lag += 1;
                    made += 1;
                }
                convoy.applied(&node, NOW);
                lag -= 1;
            }
            prop_assert!(made <= behind + 2 * CREDIT_MAX, "{made}");
        }
    }
}
