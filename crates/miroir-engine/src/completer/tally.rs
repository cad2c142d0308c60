//! What is known of one batch: who has reported what, and who waits for a word.

use crate::copy::witness::Witness;
use crate::ills::is_nodes_own;
use crate::port::{Delivery, Timestamp};
use crate::state::LiveBatch;
use miroir_core::id::{NodeId, TaskUid};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a lane found of one batch.
#[derive(Debug, Default)]
pub(crate) struct NodeOutcome {
    /// `deletedDocuments` of its node tasks, summed.
    pub(crate) deleted_documents: u64,
    /// `editedDocuments` of its node tasks, summed.
    pub(crate) edited_documents: u64,
    /// The details of its last node task, where they are shown as one node's.
    pub(crate) details: Option<Value>,
    /// The whole batch failed.
    pub(crate) error: Option<Value>,
    /// Single entries failed.
    pub(crate) task_errors: BTreeMap<TaskUid, Value>,
    /// Documents of joining shards could not be written.
    pub(crate) has_spoilt: bool,
    /// The twin could not be written.
    pub(crate) has_spoilt_twin: bool,
    /// Nothing was sent, since a later batch removes the index, or the node is made anew: the node
    /// has no say.
    pub(crate) is_moot: bool,
    /// The newest of its node tasks.
    pub(crate) witness: Option<Witness>,
}

impl NodeOutcome {
    pub(crate) fn is_failure(&self) -> bool {
        self.error.is_some() || !self.task_errors.is_empty()
    }

    /// The node speaks of itself: what was asked says nothing of it.
    pub(super) fn is_nodes_own(&self) -> bool {
        let mut errors = self.task_errors.values().chain(&self.error);
        errors.any(is_nodes_own)
    }

    pub(super) fn error_of(&self, task: TaskUid) -> Option<&Value> {
        self.task_errors.get(&task).or(self.error.as_ref())
    }
}

/// What a lane is to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It is the client's: go on.
    Accepted,
    /// It is the node's own: try again.
    TryAgain,
}

/// What a node has not applied.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lag {
    pub(crate) batches: u64,
    pub(crate) entries: u64,
    pub(crate) payload_bytes: u64,
    /// When the oldest entry was dispatched.
    pub(crate) since: Option<Timestamp>,
}

pub(super) struct Tally {
    pub(super) batch: Arc<LiveBatch>,
    pub(super) deliveries: BTreeMap<NodeId, Delivery>,
    pub(super) outcomes: BTreeMap<NodeId, NodeOutcome>,
    pub(super) replies: BTreeMap<NodeId, oneshot::Sender<Ruling>>,
    /// Its tasks are final; the failed ones among them.
    pub(super) done: Option<BTreeSet<TaskUid>>,
    /// Deliveries changed since the last commit.
    pub(super) touched: BTreeSet<NodeId>,
    /// When it was made, or found at start.
    pub(super) opened_at: Duration,
    /// When each node reported its end.
    pub(super) reported_at: BTreeMap<NodeId, Duration>,
    /// Since when a node has to try again, so that its tasks cannot end.
    pub(super) contested_at: Option<Duration>,
}

impl Tally {
    /// The node has not applied it, or waits for a ruling.
    pub(super) fn is_owed_by(&self, node: &NodeId) -> bool {
        self.batch.nodes.contains(node)
            && (!self.outcomes.contains_key(node) || self.replies.contains_key(node))
    }

    pub(super) fn new(
        batch: Arc<LiveBatch>,
        deliveries: BTreeMap<NodeId, Delivery>,
        opened_at: Duration,
    ) -> Self {
        let outcomes = deliveries
            .iter()
            .filter(|(_, delivery)| delivery.is_applied)
            .map(|(node, delivery)| {
                let outcome = NodeOutcome {
                    deleted_documents: delivery.deleted_documents,
                    edited_documents: delivery.edited_documents,
                    details: delivery.details.clone(),
                    error: delivery.error.clone(),
                    task_errors: BTreeMap::new(),
                    has_spoilt: false,
                    has_spoilt_twin: false,
                    // What was noted as applied and made no task on the node was not sent; or it was
                    // said for a node that is lost, and then it has an error.
                    is_moot: delivery.node_tasks.is_empty() && delivery.error.is_none(),
                    witness: None,
                };
                (node.clone(), outcome)
            })
            .collect();
        Self {
            batch,
            deliveries,
            outcomes,
            replies: BTreeMap::new(),
            done: None,
            touched: BTreeSet::new(),
            opened_at,
            reported_at: BTreeMap::new(),
            contested_at: None,
        }
    }

    /// The batch makes an index, and the node failed it for a reason of its own: it may not have got
    /// so far as to make it. What its replicas failed was the work alone.
    pub(super) fn lacks_index(&self, node: &NodeId) -> bool {
        let outcome = self.outcomes.get(node);
        self.batch.plan.creation.is_some() && outcome.is_some_and(NodeOutcome::is_nodes_own)
    }

    /// What a node is to do about its failure, once the tasks are final: one that failed what was
    /// not failed altogether is ill, whether it is in sync or not, and so is one that lacks the index.
    /// `is_excused` if it is not, since its replica is being copied.
    pub(super) fn ruling(
        &self,
        node: &NodeId,
        failed_tasks: &BTreeSet<TaskUid>,
        is_excused: bool,
    ) -> Ruling {
        let outcome = self.outcomes.get(node);
        let is_alone = self.batch.plan.entries.iter().any(|entry| {
            outcome.is_some_and(|outcome| outcome.error_of(entry.task).is_some())
                && !failed_tasks.contains(&entry.task)
        });
        if (is_alone || self.lacks_index(node)) && !is_excused {
            Ruling::TryAgain
        } else {
            Ruling::Accepted
        }
    }

    pub(super) fn is_everywhere(&self) -> bool {
        self.batch
            .nodes
            .iter()
            .all(|node| self.outcomes.contains_key(node))
    }
}
