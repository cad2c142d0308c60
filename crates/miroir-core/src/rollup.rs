//! Many nodes' outcomes of one task → the one outcome a client sees.
//!
//! Laws: a failure that every in-sync replica of some shard reports is the client's; a failure of
//! one replica beside a success of another is that node's illness; the verdict does not depend on
//! the order in which the outcomes came.

use crate::id::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a task, and of the nodes that failed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded; the nodes named failed it alone and are no longer in sync.
    Succeeded {
        /// Nodes that failed where another replica succeeded.
        ill: BTreeSet<NodeId>,
    },
    /// It failed for all in-sync replicas of at least one shard.
    Failed {
        /// The node whose error is shown: the first by name among them.
        blamed: NodeId,
    },
}

/// Judges one task.
///
/// `replica_sets` holds the replica set of each shard that the task touched; `has_failed` tells
/// for every *required* node (in sync, concerned) whether it failed. Nodes that are not in the map
/// are not required.
///
/// ```
/// use miroir_core::id::{NodeId, ShardId};
/// use miroir_core::rollup::{Verdict, judge};
/// let (a, b) = (NodeId::new("a"), NodeId::new("b"));
/// let sets = [(ShardId(0), vec![a.clone(), b.clone()])];
/// let verdict = judge(&sets, &[(a.clone(), true), (b, false)].into());
/// assert_eq!(verdict, Verdict::Succeeded { ill: [a].into() });
/// ```
#[must_use]
pub fn judge(
    replica_sets: &[(ShardId, Vec<NodeId>)],
    has_failed: &BTreeMap<NodeId, bool>,
) -> Verdict {
    let mut blamed: Option<&NodeId> = None;
    for (_, replica_set) in replica_sets {
        let required: Vec<&NodeId> = replica_set
            .iter()
            .filter(|node| has_failed.contains_key(node))
            .collect();
        let all_failed = !required.is_empty() && required.iter().all(|node| has_failed[*node]);
        if all_failed {
            let first = required.into_iter().min();
            blamed = match (blamed, first) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    if let Some(node) = blamed {
        return Verdict::Failed {
            blamed: node.clone(),
        };
    }
    let ill = has_failed
        .iter()
        .filter(|(_, failed)| **failed)
        .map(|(node, _)| node.clone());
    Verdict::Succeeded { ill: ill.collect() }
}

/// Documents removed by a task, from what the nodes counted.
///
/// Every document lies on each node of its shard's replica set, so the nodes' counts are divided
/// by the copies they cover. Exact while all replicas report; otherwise the nearest estimate.
/// `covered` is the number of (shard, node) pairs of the task that reported, `shard_count` the
/// number of shards it touched.
#[must_use]
pub fn logical_count(sum: u64, shard_count: u64, covered: u64) -> u64 {
    if covered == 0 {
        return 0;
    }
    let scaled = u128::from(sum) * u128::from(shard_count);
    let half = u128::from(covered) / 2;
    u64::try_from((scaled + half) / u128::from(covered)).unwrap_or(u64::MAX)
}

/// Every shard that a task touched has a replica among those that have a say: somebody can tell what
/// became of it.
///
/// A new index may be placed on nodes that are out of sync, since they will be back; where one shard
/// has no other, its writes wait for them.
#[must_use]
pub fn is_heard(replica_sets: &[(ShardId, Vec<NodeId>)], speaking: &BTreeSet<NodeId>) -> bool {
    replica_sets
        .iter()
        .all(|(_, replica_set)| replica_set.iter().any(|node| speaking.contains(node)))
}

/// A node may leave the in-sync set: every shard it holds has another in-sync replica.
#[must_use]
pub fn may_leave<'a>(
    node: &NodeId,
    in_sync: &BTreeSet<NodeId>,
    mut replica_sets: impl Iterator<Item = &'a [NodeId]>,
) -> bool {
    replica_sets.all(|replica_set| {
        !replica_set.contains(node)
            || replica_set
                .iter()
                .any(|other| other != node && in_sync.contains(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name)
    }

    #[test]
    fn a_failure_of_all_replicas_of_a_shard_is_the_clients() {
        let sets = [
            (ShardId(0), vec![node("a"), node("b")]),
            (ShardId(1), vec![node("b"), node("c")]),
        ];
        let failed = [(node("a"), true), (node("b"), true), (node("c"), false)].into();
        assert_eq!(judge(&sets, &failed), Verdict::Failed { blamed: node("a") });
    }

    #[test]
    fn a_shard_without_a_replica_that_speaks_is_not_heard() {
        let sets = [
            (ShardId(0), vec![node("a"), node("b")]),
            (ShardId(1), vec![node("c")]),
        ];
        assert!(is_heard(&sets, &[node("a"), node("c")].into()));
        assert!(!is_heard(&sets, &[node("a"), node("b")].into()));
        assert!(is_heard(&[], &BTreeSet::new()));
    }

    #[test]
    fn a_node_out_of_sync_has_no_say() {
        let sets = [(ShardId(0), vec![node("a"), node("b")])];
        let failed = [(node("b"), false)].into();
        assert_eq!(
            judge(&sets, &failed),
            Verdict::Succeeded {
                ill: BTreeSet::new()
            }
        );
    }

    #[test]
    fn the_last_replica_of_a_shard_never_leaves() {
        let sets = [vec![node("a"), node("b")], vec![node("a"), node("c")]];
        let in_sync = [node("a"), node("b")].into();
        let may = |n: &str| may_leave(&node(n), &in_sync, sets.iter().map(Vec::as_slice));
        assert!(
            !may("a"),
            "c is not in sync, so a is the last of the second shard"
        );
        assert!(may("b"));
    }

    #[test]
    fn counts_are_divided_by_the_copies_that_report() {
        assert_eq!(logical_count(20, 4, 8), 10);
        assert_eq!(logical_count(15, 4, 6), 10);
        assert_eq!(logical_count(0, 4, 0), 0);
    }

    proptest! {
        #[test]
        fn a_task_that_no_node_failed_succeeds(count in 1usize..6) {
            let nodes: Vec<NodeId> = (0..count).map(|i| node(&format!("n{i}"))).collect();
            let sets: Vec<_> = (0..8u32).map(|s| (ShardId(s), nodes.clone())).collect();
            let failed = nodes.iter().cloned().map(|n| (n, false)).collect();
            prop_assert_eq!(judge(&sets, &failed), Verdict::Succeeded { ill: BTreeSet::new() });
        }
    }
}
