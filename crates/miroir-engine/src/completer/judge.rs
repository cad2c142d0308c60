//! What the reports of the nodes come to, for each entry of a batch.

use super::{NodeOutcome, Tally};
use crate::ills::is_nodes_own;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::rollup::{Verdict, judge};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the reports of a batch come to, before anything is made of it.
pub(super) struct Judged {
    /// The error with which each entry ends, in order.
    pub(super) errors: Vec<Option<Value>>,
    /// Nodes that failed what their replicas did, with what they said.
    pub(super) ill: BTreeMap<NodeId, String>,
    /// Shards of which one replica carried out what another refused.
    pub(super) unlike: BTreeSet<ShardId>,
    /// It would fail, and by the nodes' own word for a reason of theirs: a full disk, not the
    /// client's request. It waits until they are well.
    pub(super) is_nobodys_fault: bool,
    /// If it cannot end: who has to try again.
    pub(super) must_try_again: Vec<NodeId>,
}

/// The shards that a batch touches, with their replica sets.
pub(super) fn touched(tally: &Tally) -> Vec<(ShardId, Vec<NodeId>)> {
    let batch = &tally.batch;
    let mut touched = batch.touched();
    if touched.is_empty() {
        // The index is gone, and its placement with it: one shard stands for what there was.
        touched.push((ShardId(0), batch.nodes.iter().cloned().collect()));
    }
    touched
}

/// Judges one batch that all `required` nodes have reported.
pub(super) fn judge_batch(tally: &Tally, required: &BTreeSet<&NodeId>) -> Judged {
    let batch = &tally.batch;
    let touched = touched(tally);
    let mut judged = Judged {
        errors: Vec::with_capacity(batch.plan.entries.len()),
        ill: BTreeMap::new(),
        unlike: BTreeSet::new(),
        is_nobodys_fault: false,
        must_try_again: Vec::new(),
    };
    for entry in &batch.plan.entries {
        if let Some(error) = &entry.error {
            judged.errors.push(Some(error.clone()));
            continue;
        }
        let has_failed: BTreeMap<NodeId, bool> = required
            .iter()
            .filter(|node| !tally.outcomes.get(**node).is_some_and(|o| o.is_moot))
            .map(|node| {
                let outcome = tally.outcomes.get(*node);
                let failed = outcome.is_some_and(|o| o.error_of(entry.task).is_some());
                ((*node).clone(), failed)
            })
            .collect();
        let error_of = |node: &NodeId| {
            let outcome = tally.outcomes.get(node);
            outcome.and_then(|outcome| outcome.error_of(entry.task))
        };
        let error = match judge(&touched, &has_failed) {
            Verdict::Failed { blamed } => {
                judged.unlike.extend(unlike_shards(&touched, &has_failed));
                let error = error_of(&blamed).cloned();
                judged.is_nobodys_fault |=
                    error.as_ref().is_some_and(is_nodes_own) && tally.replies.contains_key(&blamed);
                error
            }
            Verdict::Succeeded { ill } => {
                for node in ill {
                    let text = error_of(&node)
                        .and_then(|error| error.get("message"))
                        .and_then(Value::as_str)
                        .unwrap_or("no message");
                    judged.ill.insert(node.clone(), text.to_owned());
                }
                None
            }
        };
        judged.errors.push(error);
    }
    for node in required.iter().filter(|node| tally.lacks_index(node)) {
        // However the entries end, its replicas have the index.
        let words = "it has not made the index".to_owned();
        judged.ill.entry((*node).clone()).or_insert(words);
    }
    if batch.plan.work.is_copy() {
        for node in required {
            let error = tally.outcomes.get(*node).and_then(|o| o.error.as_ref());
            if let Some(error) = error {
                judged.ill.insert((*node).clone(), error.to_string());
            }
        }
    }
    let speaks_of_itself = |node: &NodeId| {
        let outcome = tally.outcomes.get(node);
        outcome.is_some_and(NodeOutcome::is_nodes_own)
    };
    let waited_for = tally.replies.keys();
    judged.must_try_again = waited_for
        .filter(|node| judged.ill.contains_key(*node) || speaks_of_itself(node))
        .cloned()
        .collect();
    judged
}

/// The shards of which one replica carried out what another refused.
fn unlike_shards(
    touched: &[(ShardId, Vec<NodeId>)],
    has_failed: &BTreeMap<NodeId, bool>,
) -> Vec<ShardId> {
    let is_unlike = |(_, replica_set): &&(ShardId, Vec<NodeId>)| {
        let mut said = replica_set.iter().filter_map(|node| has_failed.get(node));
        let first = said.next();
        first.is_some_and(|first| said.any(|other| other != first))
    };
    touched
        .iter()
        .filter(is_unlike)
        .map(|(shard, _)| *shard)
        .collect()
}
