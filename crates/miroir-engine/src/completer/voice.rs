//! Who has a say in what becomes of a batch, who may be done without, and who must not.

use super::judge::Judged;
use super::{Completer, NodeOutcome, Tally};
use crate::plan::Work;
use miroir_core::health::NodeHealth;
use miroir_core::id::{BatchUid, NodeId};
use miroir_core::rollup::{is_heard, may_leave};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A node may end a batch so much later than the last of its replicas, ...
const STANDSTILL_MIN: Duration = Duration::from_secs(30);
/// ... or this many times the time they took, if that is longer, before it is called still. It has
/// the same work on a machine much like theirs.
const STANDSTILL_SHARE: u32 = 4;
/// Replicas of which each fails what the other carries out are given so long to get well, before one
/// of them is done without.
const CONTEST_MAX: Duration = Duration::from_secs(30);

impl Completer {
    fn all_replica_sets(&self) -> Vec<Arc<Vec<Vec<NodeId>>>> {
        let snapshot = self.shared.snapshot.load();
        let mut sets: Vec<_> = snapshot
            .indexes
            .values()
            .map(|e| e.replica_sets.clone())
            .collect();
        sets.extend(
            self.tallies
                .values()
                // What is done may have been moved elsewhere since.
                .filter(|tally| tally.done.is_none())
                .map(|tally| tally.batch.replica_sets.clone()),
        );
        sets
    }

    /// Every shard that the node holds has another replica that keeps what was told to clients: one in
    /// sync whose data is there. For a node whose own data is lost one that catches up will do: it
    /// has all that ended before it left, and the log has the rest for it. A node that keeps nothing
    /// has nothing to say; while it had, each could wait for the other for ever.
    pub(super) fn may_leave(
        &self,
        node: &NodeId,
        in_sync: &BTreeSet<NodeId>,
        coming: &[Vec<NodeId>],
    ) -> bool {
        let is_lost = |node: &NodeId| self.is_lost(node);
        let mut keeping: BTreeSet<NodeId> = in_sync.clone();
        keeping.retain(|other| !is_lost(other));
        if is_lost(node) {
            let snapshot = self.shared.snapshot.load();
            let others = snapshot.nodes.iter();
            let catches_up = |id: &NodeId, health: NodeHealth| {
                health == NodeHealth::Up
                    && !in_sync.contains(id)
                    && !self.shared.quarantine.lock().contains_key(id)
                    && !self.shared.copy.is_to_be_refilled(id)
            };
            let returning = others.filter(|(id, view)| catches_up(id, view.health));
            keeping.extend(returning.map(|(id, _)| id.clone()));
        }
        let sets = self.all_replica_sets();
        let sets = sets.iter().flat_map(|set| set.iter());
        may_leave(node, &keeping, sets.chain(coming).map(Vec::as_slice))
    }

    /// The node's data is gone or is not its own. Not so one whose address leads to another node: its
    /// data may be where it was.
    pub(super) fn is_lost(&self, node: &NodeId) -> bool {
        self.shared.quarantine.lock().contains_key(node)
            && self.shared.copy.impostor(node).is_none()
    }

    /// What the node reported of a batch tells something of the replicas that it holds.
    pub(super) fn speaks(&self, tally: &Tally, node: &NodeId) -> bool {
        let outcome = tally.outcomes.get(node);
        outcome.is_some_and(|outcome| !outcome.is_moot)
            && !self.shared.copy.is_refilling(node)
            && !self.is_lost(node)
    }

    /// The nodes whose reports a batch waits for; and those that have reported of a shard of which no
    /// replica is in sync, and so speak for it.
    pub(super) fn required<'a>(
        &self,
        tally: &'a Tally,
        in_sync: &BTreeSet<NodeId>,
    ) -> BTreeSet<&'a NodeId> {
        let touched = tally.batch.touched();
        let is_unheard = |set: &[NodeId]| !set.iter().any(|node| in_sync.contains(node));
        let speaks = |node: &NodeId| {
            let mut sets = touched.iter().map(|(_, set)| set.as_slice());
            self.speaks(tally, node) && sets.any(|set| set.contains(node) && is_unheard(set))
        };
        let nodes = tally.batch.nodes.iter();
        nodes
            .filter(|node| (in_sync.contains(*node) && tally.batch.has_say(node)) || speaks(node))
            .collect()
    }

    /// How long a node has ended nothing that all its replicas in sync have ended, if that is longer
    /// than it may be. A node may well be slower than its replicas; but one whose disk is full accepts
    /// for ever.
    pub(super) fn stands_still(
        &self,
        node: &NodeId,
        in_sync: &BTreeSet<NodeId>,
        now: Duration,
    ) -> Option<(BatchUid, Duration)> {
        let progressed_at = self.progressed_at.get(node).copied().unwrap_or_default();
        self.tallies.iter().find_map(|(uid, tally)| {
            let is_waited_for = tally.done.is_none()
                && tally.batch.nodes.contains(node)
                && tally.batch.has_say(node)
                && !tally.outcomes.contains_key(node);
            if !is_waited_for {
                return None;
            }
            let nodes = tally.batch.nodes.iter();
            let mut others = nodes
                .filter(|other| *other != node && in_sync.contains(*other))
                .filter(|other| tally.batch.has_say(other))
                .peekable();
            others.peek()?;
            let mut last = tally.opened_at;
            for other in others {
                tally.outcomes.get(other)?;
                last = last.max(tally.reported_at.get(other).copied().unwrap_or_default());
            }
            let took = last.saturating_sub(tally.opened_at);
            let patience = STANDSTILL_MIN.max(took * STANDSTILL_SHARE);
            let silent = now.saturating_sub(last.max(progressed_at));
            (silent > patience).then_some((*uid, silent))
        })
    }

    /// Whether the tasks of a batch may end as they were judged: every node that failed what its
    /// replicas did can leave the set. The last replica of some shard cannot; a task that ended
    /// without it would be missing from what it answers.
    ///
    /// A copy has no task that anybody was told of.
    pub(super) fn can_end(
        &self,
        tally: &Tally,
        judged: &Judged,
        in_sync: &BTreeSet<NodeId>,
        coming: &[Vec<NodeId>],
    ) -> bool {
        if judged.is_nobodys_fault {
            return false;
        }
        if tally.batch.plan.work.is_copy() {
            return true;
        }
        let mut left = in_sync.clone();
        judged.ill.keys().all(|node| {
            let may_leave = self.may_leave(node, &left, coming);
            left.remove(node);
            // Without a reply nobody would try again.
            may_leave || !tally.replies.contains_key(node)
        })
    }

    /// The node to do without, where several fail what others carry out, so that each could leave but
    /// not all of them: the one that fails the most, of equals the last by name. What the others fail
    /// is then the client's failure: no replica carries out all. Not before they had time to get well,
    /// and not for what a node says of itself.
    pub(super) fn outvoted(
        &self,
        tally: &Tally,
        judged: &Judged,
        in_sync: &BTreeSet<NodeId>,
        coming: &[Vec<NodeId>],
    ) -> Option<(NodeId, String)> {
        let now = self.shared.ports.clock.monotonic();
        let since = tally.contested_at?;
        let is_over = now.saturating_sub(since) >= CONTEST_MAX;
        if !is_over
            || judged.ill.len() < 2
            || judged.is_nobodys_fault
            || tally.batch.plan.work.is_copy()
            || self.can_end(tally, judged, in_sync, coming)
        {
            return None;
        }
        let outcome = |node: &NodeId| tally.outcomes.get(node);
        let is_own = |node: &NodeId| outcome(node).is_some_and(NodeOutcome::is_nodes_own);
        let mut ill = judged.ill.keys();
        if ill.any(|node| is_own(node) || !self.may_leave(node, in_sync, coming)) {
            return None;
        }
        let failed_count = |node: &NodeId| {
            let entries = tally.batch.plan.entries.iter();
            let has_failed = |task| outcome(node).is_some_and(|o| o.error_of(task).is_some());
            entries.filter(|entry| has_failed(entry.task)).count()
        };
        let worst = judged.ill.iter();
        let worst = worst.max_by_key(|(node, _)| (failed_count(node), (*node).clone()));
        worst.map(|(node, error)| (node.clone(), error.clone()))
    }

    /// Every replica in sync that the batch touches has reported.
    pub(super) fn is_ready(&self, tally: &Tally, in_sync: &BTreeSet<NodeId>) -> bool {
        self.is_heard(tally, in_sync)
            && self
                .required(tally, in_sync)
                .iter()
                .all(|node| tally.outcomes.contains_key(*node))
    }

    /// Nobody ends a batch that no replica of some shard has carried out; but for copies, which have
    /// no say, and for indexes that are being removed. Where none is in sync, one that is not may
    /// speak: it cannot come back before it has the ruling about what it failed.
    pub(super) fn is_heard(&self, tally: &Tally, in_sync: &BTreeSet<NodeId>) -> bool {
        let plan = &tally.batch.plan;
        tally.batch.nodes.is_empty()
            || plan.work.is_copy()
            || plan.work == Work::DeleteIndex
            || self.shared.removed.lock().contains(&plan.physical)
            || {
                let mut speaking = in_sync.clone();
                let reported = tally.outcomes.keys();
                speaking.extend(reported.filter(|node| self.speaks(tally, node)).cloned());
                is_heard(&tally.batch.touched(), &speaking)
            }
    }
}
