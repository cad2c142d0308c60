//! What one round decides: who leaves and joins the in-sync set, which tasks end and how, which
//! payloads are needed no more. Nothing here changes anything.

use super::{Completer, NodeOutcome, Round, Ruling, Tally};
use crate::plan::{PlannedEntry, Source, Work};
use crate::port::{Change, NodeSettingsVersion, TaskRecord, Timestamp};
use crate::translate::translate_error;
use miroir_core::health::NodeHealth;
use miroir_core::id::{BatchUid, NodeId, ShardId, TaskUid};
use miroir_core::rollup::{Verdict, judge, logical_count, may_leave};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Completer {
    pub(super) fn decide(&self) -> Round {
        let mut round = Round::default();
        let now = self.shared.ports.clock.now();
        let snapshot = self.shared.snapshot.load_full();
        let mut in_sync = snapshot.in_sync();
        self.decide_leaving(&snapshot.nodes, &mut in_sync, &mut round);
        self.decide_done(&mut in_sync, now, &mut round);
        self.decide_late_failures(&mut round);
        self.decide_joining(&snapshot.nodes, &in_sync, &mut round);
        self.note_deliveries(&mut round);
        self.decide_closing(&mut round);
        for (node, reason) in &round.left {
            if let Some(view) = snapshot.nodes.get(node) {
                let mut record = view.record.clone();
                record.is_in_sync = false;
                record.out_of_sync_reason = Some(reason.clone());
                round.changes.insert(0, Change::PutNode(Box::new(record)));
            }
        }
        for node in &round.joined {
            if let Some(view) = snapshot.nodes.get(node) {
                let mut record = view.record.clone();
                record.is_in_sync = true;
                record.out_of_sync_reason = None;
                round.changes.push(Change::PutNode(Box::new(record)));
            }
        }
        round
    }

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
                .map(|tally| tally.batch.replica_sets.clone()),
        );
        sets
    }

    fn may_leave(&self, node: &NodeId, in_sync: &BTreeSet<NodeId>) -> bool {
        let sets = self.all_replica_sets();
        may_leave(
            node,
            in_sync,
            sets.iter().flat_map(|set| set.iter().map(Vec::as_slice)),
        )
    }

    /// Nodes that are down and waited for leave, if every shard keeps a replica in sync.
    fn decide_leaving(
        &self,
        nodes: &BTreeMap<NodeId, crate::state::NodeView>,
        in_sync: &mut BTreeSet<NodeId>,
        round: &mut Round,
    ) {
        for (id, view) in nodes {
            let lost = self.shared.quarantine.lock().get(id).cloned();
            let is_down = view.health == NodeHealth::Down;
            if !in_sync.contains(id) || !(is_down || lost.is_some()) {
                continue;
            }
            let is_waited_for = self.tallies.values().any(|tally| {
                tally.done.is_none()
                    && tally.batch.nodes.contains(id)
                    && !tally.outcomes.contains_key(id)
            });
            if (is_waited_for || lost.is_some()) && self.may_leave(id, in_sync) {
                in_sync.remove(id);
                let reason = lost.unwrap_or_else(|| match &view.last_error {
                    Some(error) => format!("it did not answer while writes came: {error}"),
                    None => "it did not answer while writes came".into(),
                });
                round.left.push((id.clone(), reason));
            }
        }
    }

    fn decide_done(&self, in_sync: &mut BTreeSet<NodeId>, now: Timestamp, round: &mut Round) {
        // By the client's names and by the nodes': renaming and re-making an index keep their order
        // with what came before under any of them.
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        for (uid, tally) in &self.tallies {
            if tally.done.is_some() {
                continue;
            }
            let names = tally.batch.plan.names();
            let required: BTreeSet<&NodeId> = tally
                .batch
                .nodes
                .iter()
                .filter(|node| in_sync.contains(*node))
                .collect();
            let is_ready = required
                .iter()
                .all(|node| tally.outcomes.contains_key(*node));
            if !is_ready || names.iter().any(|name| blocked.contains(name)) {
                blocked.extend(names);
                continue;
            }
            let ill = self.judge_batch(tally, &required, now, round, *uid);
            for (node, error) in ill {
                if self.may_leave(&node, in_sync) {
                    in_sync.remove(&node);
                    round
                        .left
                        .push((node, format!("it failed what its replicas did: {error}")));
                }
            }
        }
    }

    /// Ends the tasks of one batch; returns the nodes that are ill, with what they said.
    fn judge_batch(
        &self,
        tally: &Tally,
        required: &BTreeSet<&NodeId>,
        now: Timestamp,
        round: &mut Round,
        uid: BatchUid,
    ) -> BTreeMap<NodeId, String> {
        let batch = &tally.batch;
        let mut touched = batch.touched();
        if touched.is_empty() {
            // The index is gone, and its placement with it: one shard stands for what there was.
            touched.push((ShardId(0), batch.nodes.iter().cloned().collect()));
        }
        let mut ill_nodes = BTreeMap::new();
        let mut failed_tasks = BTreeSet::new();
        for (entry, task) in batch.plan.entries.iter().zip(&batch.tasks) {
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
                tally
                    .outcomes
                    .get(node)
                    .and_then(|outcome| outcome.error_of(entry.task))
            };
            let error = match &entry.error {
                Some(error) => Some(error.clone()),
                None => match judge(&touched, &has_failed) {
                    Verdict::Failed { blamed } => {
                        let unlike = unlike_shards(&touched, &has_failed);
                        if !unlike.is_empty() {
                            round.unlike.push((batch.plan.physical.clone(), unlike));
                        }
                        error_of(&blamed).cloned()
                    }
                    Verdict::Succeeded { ill } => {
                        for node in ill {
                            let text = error_of(&node)
                                .and_then(|error| error.get("message"))
                                .and_then(Value::as_str)
                                .unwrap_or("no message");
                            ill_nodes.insert(node.clone(), text.to_owned());
                        }
                        None
                    }
                },
            };
            if error.is_some() {
                failed_tasks.insert(entry.task);
            }
            let ended = self.end_task(tally, entry, task, error, &touched, now);
            round.changes.push(Change::UpdateTask(Box::new(ended)));
        }
        if batch.plan.work.is_copy() {
            for node in required {
                let error = tally.outcomes.get(*node).and_then(|o| o.error.as_ref());
                if let Some(error) = error {
                    ill_nodes.insert((*node).clone(), error.to_string());
                }
            }
        }
        if let Work::UpdateSettings { .. } = batch.plan.work
            && failed_tasks.is_empty()
            && let Some(entry) = batch.plan.entries.last()
        {
            for node in tally.outcomes.keys() {
                round
                    .changes
                    .push(Change::PutNodeSettingsVersion(NodeSettingsVersion {
                        index: batch.plan.physical.clone(),
                        node: node.clone(),
                        version: entry.task,
                        updated_at: now,
                    }));
            }
        }
        if let Some(last) = batch
            .plan
            .entries
            .last()
            .filter(|_| failed_tasks.is_empty())
        {
            // What came before under these names has ended, here or in an earlier round.
            for names in &batch.plan.exchanges {
                round.changes.push(Change::ExchangeTaskNames {
                    before: last.task,
                    names: names.clone(),
                });
            }
        }
        round.changes.push(Change::FinishBatch {
            uid,
            finished_at: now,
        });
        for node in tally.replies.keys() {
            self.rule(uid, tally, node, &failed_tasks, round);
        }
        round.done.push((uid, failed_tasks));
        ill_nodes
    }

    fn end_task(
        &self,
        tally: &Tally,
        entry: &PlannedEntry,
        task: &TaskRecord,
        error: Option<Value>,
        touched: &[(ShardId, Vec<NodeId>)],
        now: Timestamp,
    ) -> TaskRecord {
        let plan = &tally.batch.plan;
        let mut task = task.clone();
        let has_failed = error.is_some();
        if let Operation::AddDocuments { .. } = task.operation {
            task.details["indexedDocuments"] =
                json!(if has_failed { 0 } else { entry.distinct_ids });
        } else if task.details.get("deletedDocuments").is_some() {
            // A replica that is being copied does not hold yet what was deleted.
            let has_say = |node: &NodeId| {
                !self
                    .shared
                    .copy
                    .is_copying(node, &tally.batch.plan.physical)
            };
            let covered = touched
                .iter()
                .flat_map(|(_, replica_set)| replica_set)
                .filter(|node| {
                    let outcome = tally.outcomes.get(*node);
                    has_say(node) && outcome.is_some_and(|outcome| !outcome.is_moot)
                })
                .count() as u64;
            let count = |of: fn(&NodeOutcome) -> u64| {
                if has_failed {
                    return 0;
                }
                let counted = tally.outcomes.iter();
                let sum = counted
                    .filter(|(node, outcome)| has_say(node) && !outcome.is_moot)
                    .map(|(_, outcome)| of(outcome))
                    .sum();
                logical_count(sum, touched.len() as u64, covered)
            };
            task.details["deletedDocuments"] = json!(count(|outcome| outcome.deleted_documents));
            if let Operation::EditDocuments { .. } = task.operation {
                if has_failed {
                    // Of an edition that failed Meilisearch tells the one count and not the other.
                    task.details["deletedDocuments"] = Value::Null;
                }
                task.details["editedDocuments"] = json!(count(|outcome| outcome.edited_documents));
            }
        } else if let Operation::CompactIndex = task.operation
            && !has_failed
        {
            // Sizes of one node's files: the first by name that told them.
            let told = tally.outcomes.values().find_map(|o| o.details.clone());
            task.details = told.unwrap_or_else(|| json!({}));
        }
        let error = match task.operation {
            Operation::EditDocuments { .. } => error.map(miroir_core::edit::translate_error),
            _ => error,
        };
        task.error = error.map(|error| translate_error(error, &plan.physical, &plan.index_uid));
        task.status = if has_failed {
            TaskStatus::Failed
        } else {
            TaskStatus::Succeeded
        };
        task.finished_at = Some(now);
        task
    }

    /// A node that was away fails what was ended without it.
    fn decide_late_failures(&self, round: &mut Round) {
        for (uid, tally) in &self.tallies {
            let Some(failed_tasks) = &tally.done else {
                continue;
            };
            for node in tally.replies.keys() {
                self.rule(*uid, tally, node, failed_tasks, round);
            }
        }
    }

    /// Decides about a node's failure.
    fn rule(
        &self,
        uid: BatchUid,
        tally: &Tally,
        node: &NodeId,
        failed_tasks: &BTreeSet<TaskUid>,
        round: &mut Round,
    ) {
        let plan = &tally.batch.plan;
        let copy = &self.shared.copy;
        let is_forgiven = copy.is_forgiven(node, uid, &plan.work);
        let ruling = if plan.work.is_copy() && !is_forgiven {
            // What others hold it can hold: it is ill, and nothing later may be applied before.
            Ruling::TryAgain
        } else {
            let is_copying = copy.is_copying(node, &plan.physical);
            let ruling = tally.ruling(node, failed_tasks, is_copying || is_forgiven);
            if is_copying && tally.ruling(node, failed_tasks, false) != ruling {
                round.spoilt.push((node.clone(), plan.physical.clone()));
            }
            ruling
        };
        round.rulings.push((uid, node.clone(), ruling));
    }

    /// Nodes that have applied all that was ended come back.
    fn decide_joining(
        &self,
        nodes: &BTreeMap<NodeId, crate::state::NodeView>,
        in_sync: &BTreeSet<NodeId>,
        round: &mut Round,
    ) {
        let done_now: BTreeSet<BatchUid> = round.done.iter().map(|(uid, _)| *uid).collect();
        let ill_now: BTreeSet<(BatchUid, &NodeId)> = round
            .rulings
            .iter()
            .filter(|(_, _, ruling)| *ruling == Ruling::TryAgain)
            .map(|(uid, node, _)| (*uid, node))
            .collect();
        let mut joined = Vec::new();
        for (id, view) in nodes {
            let has_left = round.left.iter().any(|(node, _)| node == id);
            if in_sync.contains(id)
                || has_left
                || view.health != NodeHealth::Up
                || self.shared.copy.is_refilling(id)
                || self.shared.quarantine.lock().contains_key(id)
            {
                continue;
            }
            let is_level = self.tallies.iter().all(|(uid, tally)| {
                let is_owed = tally.done.is_some() || done_now.contains(uid);
                !is_owed
                    || !tally.batch.nodes.contains(id)
                    || (tally.outcomes.contains_key(id) && !ill_now.contains(&(*uid, id)))
            });
            if is_level {
                joined.push(id.clone());
            }
        }
        round.joined = joined;
    }

    fn note_deliveries(&self, round: &mut Round) {
        for (uid, tally) in &self.tallies {
            // A failure may have been reported rounds ago; its ruling is news of the delivery too.
            let ruled = round
                .rulings
                .iter()
                .filter(|(batch, ..)| batch == uid)
                .map(|(_, n, _)| n);
            let noted: BTreeSet<NodeId> = tally.touched.iter().chain(ruled).cloned().collect();
            for node in &noted {
                let is_ill = round.rulings.iter().any(|(batch, ill, ruling)| {
                    batch == uid && ill == node && *ruling == Ruling::TryAgain
                });
                let is_open = tally.replies.contains_key(node)
                    && !round
                        .rulings
                        .iter()
                        .any(|(batch, n, _)| batch == uid && n == node);
                let mut delivery = tally.deliveries.get(node).cloned().unwrap_or_default();
                if let Some(outcome) = tally.outcomes.get(node)
                    && !is_ill
                    && !is_open
                {
                    delivery.is_applied = true;
                    delivery.error = outcome.error.clone();
                    delivery.deleted_documents = outcome.deleted_documents;
                    delivery.edited_documents = outcome.edited_documents;
                    delivery.details = outcome.details.clone();
                }
                round.changes.push(Change::PutDelivery {
                    batch: *uid,
                    node: node.clone(),
                    delivery,
                });
            }
        }
    }

    /// Batches that every node has applied need their payloads no more.
    fn decide_closing(&self, round: &mut Round) {
        let done_now: BTreeSet<BatchUid> = round.done.iter().map(|(uid, _)| *uid).collect();
        for (uid, tally) in &self.tallies {
            let is_done = tally.done.is_some() || done_now.contains(uid);
            let is_held = round
                .rulings
                .iter()
                .any(|(batch, _, ruling)| batch == uid && *ruling == Ruling::TryAgain);
            let has_open_reply = tally.replies.keys().any(|node| {
                !round
                    .rulings
                    .iter()
                    .any(|(batch, n, _)| batch == uid && n == node)
            });
            if !is_done || is_held || has_open_reply || !tally.is_everywhere() {
                continue;
            }
            if tally.batch.plan.work.is_copy() {
                round.changes.push(Change::RemoveBatch(*uid));
            }
            for entry in &tally.batch.plan.entries {
                if entry.source != Source::None {
                    round.changes.push(Change::ForgetPayload(entry.task));
                }
            }
            round.files.extend(tally.batch.files());
            round.closed.push(*uid);
        }
    }
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
