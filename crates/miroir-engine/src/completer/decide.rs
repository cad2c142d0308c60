//! What one round decides: who leaves and joins the in-sync set, which tasks end and how, which
//! payloads are needed no more. Nothing here changes anything.

use super::judge::{Judged, judge_batch, touched};
use super::{Completer, NodeOutcome, Round, Ruling, Tally};
use crate::plan::{PlannedEntry, Source, Work};
use crate::port::{Change, NodeSettingsVersion, PayloadRef, TaskRecord, Timestamp};
use crate::translate::translate_error;
use miroir_core::health::NodeHealth;
use miroir_core::id::{BatchUid, NodeId, PhysicalIndex, ShardId, TaskUid};
use miroir_core::overtaken::{OpenBatch, put_off};
use miroir_core::rollup::logical_count;
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Completer {
    pub(super) fn decide(&self, coming: &[Vec<NodeId>]) -> Round {
        let mut round = Round::default();
        let now = self.shared.ports.clock.now();
        let snapshot = self.shared.snapshot.load_full();
        let mut in_sync = snapshot.in_sync();
        self.decide_leaving(&snapshot.nodes, coming, &mut in_sync, &mut round);
        self.decide_done(&mut in_sync, coming, now, &mut round);
        self.decide_late_failures(&mut round);
        self.decide_ill_joiners(&mut in_sync, coming, &mut round);
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

    /// Nodes that are down and waited for leave, if every shard keeps a replica in sync.
    fn decide_leaving(
        &self,
        nodes: &BTreeMap<NodeId, crate::state::NodeView>,
        coming: &[Vec<NodeId>],
        in_sync: &mut BTreeSet<NodeId>,
        round: &mut Round,
    ) {
        let now = self.shared.ports.clock.monotonic();
        for (id, view) in nodes {
            let lost = self.shared.quarantine.lock().get(id).cloned();
            let is_down = view.health == NodeHealth::Down;
            if !in_sync.contains(id) {
                continue;
            }
            let mut still = None;
            if !is_down && lost.is_none() {
                let Some((batch, silent)) = self.stands_still(id, in_sync, now) else {
                    continue;
                };
                let words = format!(
                    "it has not ended batch {batch}, {} s after its replicas",
                    silent.as_secs()
                );
                round.still.push((id.clone(), words.clone()));
                still = Some(format!("it stands still: {words}"));
            }
            let is_waited_for = self.tallies.values().any(|tally| {
                tally.done.is_none()
                    && tally.batch.nodes.contains(id)
                    && tally.batch.has_say(id)
                    && !tally.outcomes.contains_key(id)
            });
            if (is_waited_for || lost.is_some()) && self.may_leave(id, in_sync, coming) {
                in_sync.remove(id);
                let reason = lost.or(still).unwrap_or_else(|| match &view.last_error {
                    Some(error) => format!("it did not answer while writes came: {error}"),
                    None => "it did not answer while writes came".into(),
                });
                round.left.push((id.clone(), reason));
            }
        }
    }

    fn decide_done(
        &self,
        in_sync: &mut BTreeSet<NodeId>,
        coming: &[Vec<NodeId>],
        now: Timestamp,
        round: &mut Round,
    ) {
        // By the client's names and by the nodes': renaming and re-making an index keep their order
        // with what came before under any of them.
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        let untimely = self.untimely(in_sync);
        for (uid, tally) in &self.tallies {
            if tally.done.is_some() {
                continue;
            }
            let names = tally.batch.plan.names();
            let is_ready = self.is_ready(tally, in_sync) && !untimely.contains(uid);
            if !is_ready || names.iter().any(|name| blocked.contains(name)) {
                blocked.extend(names);
                continue;
            }
            let mut judged = judge_batch(tally, &self.required(tally, in_sync));
            while let Some((node, error)) = self.outvoted(tally, &judged, in_sync, coming) {
                in_sync.remove(&node);
                let reason =
                    format!("it failed what its replicas did, and they what it did: {error}");
                round.left.push((node.clone(), reason));
                // What it carried out and they did not is undone when it is back.
                let held = touched(tally).into_iter();
                let held = held.filter(|(_, replica_set)| replica_set.contains(&node));
                let shards = held.map(|(shard, _)| shard).collect();
                round
                    .unlike
                    .push((tally.batch.plan.physical.clone(), shards));
                judged = judge_batch(tally, &self.required(tally, in_sync));
            }
            if !self.can_end(tally, &judged, in_sync, coming) {
                // A node that failed it would be read on, and has not got it: it waits.
                for node in &judged.must_try_again {
                    round.rulings.push((*uid, node.clone(), Ruling::TryAgain));
                }
                blocked.extend(names);
                continue;
            }
            self.end_batch(tally, &judged, now, round, *uid);
            for (node, error) in judged.ill {
                if self.may_leave(&node, in_sync, coming) {
                    in_sync.remove(&node);
                    round
                        .left
                        .push((node, format!("it failed what its replicas did: {error}")));
                }
            }
        }
    }

    /// Batches that were not carried out since a later one removes their index, and must not end before
    /// that one does: see [`miroir_core::overtaken`].
    fn untimely(&self, in_sync: &BTreeSet<NodeId>) -> BTreeSet<BatchUid> {
        let open: Vec<(BatchUid, &Tally)> = self
            .tallies
            .iter()
            .filter(|(_, tally)| tally.done.is_none())
            .map(|(uid, tally)| (*uid, tally))
            .collect();
        let removals: BTreeMap<&PhysicalIndex, usize> = (0..)
            .zip(&open)
            .filter(|(_, (_, tally))| tally.batch.plan.work == Work::DeleteIndex)
            .map(|(at, (_, tally))| (&tally.batch.plan.physical, at))
            .collect();
        if removals.is_empty() {
            return BTreeSet::new();
        }
        let seen: Vec<OpenBatch<'_>> = (0..)
            .zip(&open)
            .map(|(at, (_, tally))| {
                let is_moot = |node: &&NodeId| tally.outcomes.get(*node).is_some_and(|o| o.is_moot);
                let removal = removals.get(&tally.batch.plan.physical).copied();
                let removal = removal.filter(|removal| *removal > at);
                OpenBatch {
                    names: tally.batch.plan.names(),
                    is_ready: self.is_ready(tally, in_sync),
                    is_contested: !tally.replies.is_empty(),
                    removal: removal.filter(|_| self.required(tally, in_sync).iter().any(is_moot)),
                }
            })
            .collect();
        let put_off = put_off(&seen).into_iter();
        put_off
            .filter_map(|at| open.get(at).map(|(uid, _)| *uid))
            .collect()
    }

    /// Ends the tasks of one batch.
    fn end_batch(
        &self,
        tally: &Tally,
        judged: &Judged,
        now: Timestamp,
        round: &mut Round,
        uid: BatchUid,
    ) {
        let batch = &tally.batch;
        let touched = touched(tally);
        if !judged.unlike.is_empty() {
            let shards = judged.unlike.iter().copied().collect();
            round.unlike.push((batch.plan.physical.clone(), shards));
        }
        let mut failed_tasks = BTreeSet::new();
        let entries = batch.plan.entries.iter().zip(&batch.tasks);
        for ((entry, task), error) in entries.zip(&judged.errors) {
            if error.is_some() {
                failed_tasks.insert(entry.task);
                if entry.error.is_none() {
                    // One that joins may have carried out what a replica of the shard could not, since
                    // that had more to do with it.
                    let joiners = batch.nodes.iter();
                    let joiners = joiners
                        .filter(|node| batch.transit.joining_at(node).next().is_some())
                        .map(|node| (node.clone(), batch.plan.physical.clone()));
                    round.spoilt.extend(joiners);
                    // So may the twin.
                    let twin = batch.plan.twin.iter();
                    round.spoilt.extend(twin.flat_map(|twin| {
                        let nodes = batch.nodes.iter();
                        let nodes = nodes.filter(|node| batch.twin.is_at(node));
                        nodes.map(|node| (node.clone(), twin.physical.clone()))
                    }));
                }
            }
            let ended = self.end_task(tally, entry, task, error.clone(), &touched, now);
            round.changes.push(Change::UpdateTask(Box::new(ended)));
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
            let has_exceeded = |node: &&NodeId| self.has_exceeded(tally, node, failed_tasks);
            if tally.touched.iter().any(|node| has_exceeded(&node)) {
                let shards = tally.batch.touched().into_iter().map(|(shard, _)| shard);
                round
                    .unlike
                    .push((tally.batch.plan.physical.clone(), shards.collect()));
            }
        }
    }

    /// The node carried out, after the tasks ended, what all that were in sync had failed.
    fn has_exceeded(&self, tally: &Tally, node: &NodeId, failed_tasks: &BTreeSet<TaskUid>) -> bool {
        let Some(outcome) = tally.outcomes.get(node).filter(|outcome| !outcome.is_moot) else {
            return false;
        };
        let plan = &tally.batch.plan;
        let mut entries = plan.entries.iter().filter(|entry| entry.error.is_none());
        tally.batch.has_say(node)
            && !self.shared.copy.is_copying(node, &plan.physical)
            && entries.any(|entry| {
                failed_tasks.contains(&entry.task) && outcome.error_of(entry.task).is_none()
            })
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
        let is_forgiven = self.shared.is_forgiven(node, &tally.batch);
        let ruling = if plan.work.is_copy() && !is_forgiven {
            // What others hold it can hold: it is ill, and nothing later may be applied before.
            Ruling::TryAgain
        } else {
            // One that has no say is being copied to as well.
            let is_copying = copy.is_copying(node, &plan.physical) || !tally.batch.has_say(node);
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
            // One that is ruled now goes on, and sends again what it had sent behind.
            let is_ruled = |uid: &BatchUid| {
                let mut rulings = round.rulings.iter();
                rulings.any(|(batch, node, _)| batch == uid && node == id)
            };
            let mut tallies = self.tallies.iter();
            let waits_for_ruling =
                tallies.any(|(uid, t)| t.replies.contains_key(id) && !is_ruled(uid));
            // Beyond what ended, too, if it was sent some of that twice.
            let mixed = self.mixed.get(id).filter(|_| !waits_for_ruling);
            let is_level = self.tallies.iter().all(|(uid, tally)| {
                // What a removal under way made needless was not sent to it; readers still see the
                // index, so it has to be gone there first. If it waits for a ruling, that comes
                // before: of shards without a replica in sync those that reported speak.
                let is_owed = tally.done.is_some()
                    || done_now.contains(uid)
                    || mixed.is_some_and(|last| uid <= last)
                    || tally.batch.plan.work == Work::DeleteIndex;
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

    /// A node that cannot take in what is copied to it holds up whatever comes behind: it leaves, so
    /// that no task waits for it, if every shard keeps a replica in sync.
    fn decide_ill_joiners(
        &self,
        in_sync: &mut BTreeSet<NodeId>,
        coming: &[Vec<NodeId>],
        round: &mut Round,
    ) {
        let ill: Vec<(BatchUid, NodeId)> = round
            .rulings
            .iter()
            .filter(|(_, _, ruling)| *ruling == Ruling::TryAgain)
            .map(|(uid, node, _)| (*uid, node.clone()))
            .collect();
        for (uid, node) in ill {
            let Some(tally) = self.tallies.get(&uid) else {
                continue;
            };
            let is_joiner = !tally.batch.has_say(&node) && in_sync.contains(&node);
            if is_joiner && self.may_leave(&node, in_sync, coming) {
                in_sync.remove(&node);
                let outcome = tally.outcomes.get(&node);
                let error = outcome.and_then(|outcome| outcome.error.as_ref());
                let text = error.and_then(|error| error.get("message"));
                let text = text.and_then(Value::as_str).unwrap_or("no message");
                let reason = format!("it failed what was copied to it: {text}");
                round.left.push((node, reason));
            }
        }
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
                    if outcome.is_moot {
                        // What it was sent before was not done: the next start must not take it so.
                        delivery.node_tasks.clear();
                    }
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
            let kept = self.kept_sources(*uid, tally, round);
            for entry in &tally.batch.plan.entries {
                if entry.source != Source::None && !kept.contains_key(&entry.task) {
                    round.changes.push(Change::ForgetPayload(entry.task));
                }
            }
            let mut files = tally.batch.files();
            for source in kept.into_values() {
                if let Source::File(kept) = source {
                    let PayloadRef::File { bytes, .. } = kept;
                    round.kept_bytes += bytes;
                    files.retain(|file| file != kept);
                }
            }
            round.files.extend(files);
            round.closed.push(*uid);
        }
    }
}

impl Completer {
    /// The payloads that stay although nobody needs them: those of tasks that changed something,
    /// while the log is kept.
    fn kept_sources<'t>(
        &self,
        uid: BatchUid,
        tally: &'t Tally,
        round: &Round,
    ) -> BTreeMap<TaskUid, &'t Source> {
        if self.shared.config.copy.log.is_none() {
            return BTreeMap::new();
        }
        let done_now = round.done.iter().find(|(done, _)| *done == uid);
        let failed = tally.done.as_ref().or(done_now.map(|(_, failed)| failed));
        let has_failed = |task: &TaskUid| failed.is_none_or(|failed| failed.contains(task));
        let entries = tally.batch.plan.entries.iter();
        entries
            .filter(|entry| entry.source != Source::None && !has_failed(&entry.task))
            .map(|entry| (entry.task, &entry.source))
            .collect()
    }
}
