//! The reference store: what a store does, in the plainest form. Also the disk of simulations.
//!
//! Everything is under one lock; a call that fails takes its changes back.

mod coordination;
mod dumps;
mod payloads;
mod snapshots;
mod table;

pub use dumps::MemoryDumps;
pub use payloads::MemoryPayloads;
pub use snapshots::MemorySnapshots;

use crate::rules;
use async_trait::async_trait;
use miroir_core::id::{BatchUid, Epoch, IndexUid, NodeId, PhysicalIndex, TaskUid};
use miroir_core::task::TaskStatus;
use miroir_engine::coordination::{
    AliasChange, AliasRecord, IdempotencyRecord, JobRecord, Lease, MoveRecord, SessionRecord,
};
use miroir_engine::port::{
    BatchPage, BatchQuery, BatchRecord, Catalog, Change, IndexRecord, KeptPayload, NewEntry,
    NodeRecord, NodeSettingsVersion, StoreError, TaskLog, TaskPage, TaskQuery, TaskRecord,
};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Bound;
use table::Table;
use uuid::Uuid;

/// A store that lasts as long as the value.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

/// Uids given so far; they outlive what they named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    NextTaskUid,
    LastBatchUid,
}

#[derive(Debug, Default, Clone)]
struct State {
    counters: Table<Counter, u64>,
    tasks: Table<TaskUid, TaskRecord>,
    batches: Table<BatchUid, BatchRecord>,
    indexes: Table<IndexUid, IndexRecord>,
    placements: Table<PhysicalIndex, (Epoch, Vec<Vec<NodeId>>)>,
    nodes: Table<NodeId, NodeRecord>,
    settings_versions: Table<(PhysicalIndex, NodeId), NodeSettingsVersion>,
    facts: Table<String, Value>,
    lease: Table<(), Lease>,
    jobs: Table<String, JobRecord>,
    moves: Table<String, MoveRecord>,
    sessions: Table<String, SessionRecord>,
    idempotency: Table<String, IdempotencyRecord>,
    aliases: Table<IndexUid, AliasRecord>,
    alias_history: Table<(IndexUid, u64), AliasChange>,
    api_keys: Table<Uuid, Value>,
    features: Table<String, bool>,
    webhooks: Table<Uuid, Value>,
}

/// Names every table once, so that none is forgotten at the end of a change.
macro_rules! each_table {
    ($state:ident.$end:ident) => {{
        $state.counters.$end();
        $state.tasks.$end();
        $state.batches.$end();
        $state.indexes.$end();
        $state.placements.$end();
        $state.nodes.$end();
        $state.settings_versions.$end();
        $state.facts.$end();
        $state.lease.$end();
        $state.jobs.$end();
        $state.moves.$end();
        $state.sessions.$end();
        $state.idempotency.$end();
        $state.aliases.$end();
        $state.alias_history.$end();
        $state.api_keys.$end();
        $state.features.$end();
        $state.webhooks.$end();
    }};
}

impl MemoryStore {
    /// Another store that holds what this one holds now.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Mutex::new(self.state.lock().clone()),
        }
    }

    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.lock())
    }

    /// Runs `work`; keeps what it did if it succeeds, and nothing of it if it fails.
    fn write<T>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let outcome = work(state);
        if outcome.is_ok() {
            each_table!(state.commit);
        } else {
            each_table!(state.rollback);
        }
        outcome
    }
}

impl State {
    fn append(&mut self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError> {
        let mut next = self
            .counters
            .get(&Counter::NextTaskUid)
            .copied()
            .unwrap_or(0);
        let mut uids = Vec::with_capacity(entries.len());
        for entry in entries {
            let uid = TaskUid(next);
            self.tasks.put(uid, rules::new_task(uid, entry)?);
            uids.push(uid);
            next += 1;
        }
        self.counters.put(Counter::NextTaskUid, next);
        Ok(uids)
    }

    fn apply(&mut self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::UpdateTask(new) => {
                let old = self
                    .tasks
                    .get(&new.uid)
                    .ok_or_else(|| rules::missing("task", new.uid))?;
                let task = TaskRecord {
                    operation: old.operation.clone(),
                    inline_payload: old.inline_payload.clone(),
                    payload: old.payload.clone(),
                    custom_metadata: old.custom_metadata.clone(),
                    enqueued_at: old.enqueued_at,
                    ..*new
                };
                self.tasks.put(task.uid, task);
            }
            Change::AddPastTask(task) => {
                let task = rules::past_task(&task)?;
                if self.tasks.get(&task.uid).is_some() {
                    return Err(rules::taken("task", task.uid));
                }
                let next = self.counters.get(&Counter::NextTaskUid).copied();
                let next = next.unwrap_or(0).max(task.uid.0.saturating_add(1));
                self.counters.put(Counter::NextTaskUid, next);
                self.tasks.put(task.uid, task);
            }
            Change::ForgetPayload(uid) => {
                if let Some(task) = self.tasks.get(&uid) {
                    let task = TaskRecord {
                        inline_payload: None,
                        payload: None,
                        ..task.clone()
                    };
                    self.tasks.put(uid, task);
                }
            }
            Change::RemoveTask(uid) => {
                if self
                    .tasks
                    .take(&uid)
                    .is_some_and(|task| !task.status.is_final())
                {
                    return Err(StoreError::Conflict(format!("the task {uid} is not final")));
                }
            }
            Change::PutBatch(batch) => {
                let last = self.counters.get(&Counter::LastBatchUid).copied();
                self.counters
                    .put(Counter::LastBatchUid, last.unwrap_or(0).max(batch.uid.0));
                self.batches.put(batch.uid, *batch);
            }
            Change::PutDelivery {
                batch,
                node,
                delivery,
            } => {
                let mut record = self.batch(batch)?;
                record.deliveries.insert(node, delivery);
                self.batches.put(batch, record);
            }
            Change::FinishBatch { uid, finished_at } => {
                let batch = self.batch(uid)?;
                let finished_at = Some(finished_at);
                self.batches.put(
                    uid,
                    BatchRecord {
                        is_done: true,
                        finished_at,
                        ..batch
                    },
                );
            }
            Change::RemoveBatch(uid) => self.remove_batch(uid)?,
            Change::SweepBatches(uids) => self.sweep_batches(&uids),
            Change::PutIndex(index) => self.indexes.put(index.uid.clone(), *index),
            Change::RemoveIndex(uid) => {
                if let Some(index) = self.indexes.take(&uid) {
                    self.placements.take(&index.physical);
                    self.settings_versions
                        .take_where(|(of, _), _| *of == index.physical);
                }
            }
            Change::RenameIndex { from, to } => self.rename_index(&from, to)?,
            Change::ExchangeTaskNames { before, names } => {
                self.exchange_task_names(before, &names);
            }
            Change::PutPlacement {
                index,
                epoch,
                replica_sets,
            } => {
                self.placements.put(index, (epoch, replica_sets));
            }
            Change::RemovePlacement(index) => {
                self.placements.take(&index);
                self.settings_versions.take_where(|(of, _), _| *of == index);
            }
            Change::PutNode(node) => self.nodes.put(node.id.clone(), *node),
            Change::RemoveNode(id) => {
                self.nodes.take(&id);
                self.settings_versions
                    .take_where(|(_, node), _| *node == id);
            }
            Change::PutNodeSettingsVersion(version) => {
                self.settings_versions
                    .put((version.index.clone(), version.node.clone()), version);
            }
            Change::PutFact { key, value } => self.facts.put(key, value),
        }
        Ok(())
    }

    fn batch(&self, uid: BatchUid) -> Result<BatchRecord, StoreError> {
        self.batches
            .get(&uid)
            .cloned()
            .ok_or_else(|| rules::missing("batch", uid))
    }

    fn remove_batch(&mut self, uid: BatchUid) -> Result<(), StoreError> {
        let Some(batch) = self.batches.take(&uid) else {
            return Ok(());
        };
        if !batch.is_done {
            return Err(StoreError::Conflict(format!("the batch {uid} is not done")));
        }
        if batch
            .tasks
            .iter()
            .any(|task| self.tasks.get(task).is_some())
        {
            return Err(StoreError::Conflict(format!(
                "the batch {uid} still has tasks"
            )));
        }
        Ok(())
    }

    fn sweep_batches(&mut self, uids: &[BatchUid]) {
        for uid in uids {
            let is_open = self.batches.get(uid).is_some_and(rules::is_open);
            let mut tasks = self.tasks.rows().values();
            if !is_open && !tasks.any(|task| task.batch_uid == Some(*uid)) {
                self.batches.take(uid);
            }
        }
    }

    fn list_batches(&self, query: &BatchQuery) -> BatchPage {
        let mut by_batch: BTreeMap<BatchUid, Vec<&TaskRecord>> = BTreeMap::new();
        for task in self.tasks.rows().values() {
            if let Some(uid) = task.batch_uid {
                by_batch.entry(uid).or_default().push(task);
            }
        }
        let mut matching = Vec::new();
        for batch in self.batches.rows().values() {
            let tasks = by_batch.get(&batch.uid).map_or(&[][..], Vec::as_slice);
            if rules::batch_matches(batch, tasks, &query.filter) {
                matching.push((batch, tasks));
            }
        }
        let total = matching.len() as u64;
        if let Some(from) = query.from {
            matching.retain(|(batch, _)| {
                if query.is_reversed {
                    batch.uid >= from
                } else {
                    batch.uid <= from
                }
            });
        }
        if !query.is_reversed {
            matching.reverse();
        }
        let next = matching.get(query.limit).map(|(batch, _)| batch.uid);
        matching.truncate(query.limit);
        let patterns = query.filter.index_patterns.as_deref();
        let batches = matching.into_iter();
        BatchPage {
            batches: batches
                .map(|(batch, tasks)| rules::batch_info(batch, tasks, patterns))
                .collect(),
            total,
            next,
        }
    }

    fn rename_index(&mut self, from: &IndexUid, to: IndexUid) -> Result<(), StoreError> {
        let index = self
            .indexes
            .take(from)
            .ok_or_else(|| rules::missing("index", from))?;
        if self.indexes.get(&to).is_some() {
            return Err(StoreError::Conflict(format!("there is an index {to}")));
        }
        self.indexes
            .put(to.clone(), IndexRecord { uid: to, ..index });
        Ok(())
    }

    fn exchange_task_names(&mut self, before: TaskUid, names: &(IndexUid, IndexUid)) {
        let earlier = self.tasks.rows().values().filter(|task| task.uid < before);
        let changed: Vec<TaskRecord> = earlier
            .filter_map(|task| {
                let mut task = task.clone();
                let is_named = rules::exchange_uid(&mut task.index_uid, names);
                (rules::exchange_details(&task.operation, &mut task.details, names) || is_named)
                    .then_some(task)
            })
            .collect();
        for task in changed {
            self.tasks.put(task.uid, task);
        }
    }
}

#[async_trait]
impl TaskLog for MemoryStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError> {
        self.write(|state| state.append(entries))
    }

    async fn load_task(&self, uid: TaskUid) -> Result<Option<TaskRecord>, StoreError> {
        Ok(self.read(|state| state.tasks.get(&uid).cloned()))
    }

    async fn load_pending(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|state| {
            let tasks = state
                .tasks
                .rows()
                .range((from, Bound::Unbounded))
                .map(|(_, task)| task);
            tasks
                .filter(|task| task.status == TaskStatus::Enqueued && task.batch_uid.is_none())
                .take(limit)
                .cloned()
                .collect()
        }))
    }

    async fn load_kept(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<KeptPayload>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.read(|state| {
            let tasks = state.tasks.rows().range((from, Bound::Unbounded));
            let kept = tasks.filter_map(|(_, task)| rules::kept_payload(task));
            kept.take(limit).collect()
        }))
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        Ok(self.read(|state| {
            let mut matching: Vec<&TaskRecord> = state
                .tasks
                .rows()
                .values()
                .filter(|task| rules::task_matches(task, &query.filter))
                .collect();
            let total = matching.len() as u64;
            if let Some(from) = query.from {
                matching.retain(|task| {
                    if query.is_reversed {
                        task.uid >= from
                    } else {
                        task.uid <= from
                    }
                });
            }
            if !query.is_reversed {
                matching.reverse();
            }
            let next = matching.get(query.limit).map(|task| task.uid);
            matching.truncate(query.limit);
            let tasks = matching
                .into_iter()
                .map(|task| TaskRecord {
                    inline_payload: None,
                    ..task.clone()
                })
                .collect();
            TaskPage { tasks, total, next }
        }))
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.write(|state| {
            changes
                .into_iter()
                .try_for_each(|change| state.apply(change))
        })
    }

    async fn load_open_batches(&self) -> Result<Vec<BatchRecord>, StoreError> {
        Ok(self.read(|state| {
            state
                .batches
                .rows()
                .values()
                .filter(|batch| rules::is_open(batch))
                .cloned()
                .collect()
        }))
    }

    async fn load_batch(&self, uid: BatchUid) -> Result<Option<BatchRecord>, StoreError> {
        Ok(self.read(|state| state.batches.get(&uid).cloned()))
    }

    async fn list_batches(&self, query: BatchQuery) -> Result<BatchPage, StoreError> {
        Ok(self.read(|state| state.list_batches(&query)))
    }

    async fn last_batch_uid(&self) -> Result<Option<BatchUid>, StoreError> {
        Ok(self.read(|state| {
            state
                .counters
                .get(&Counter::LastBatchUid)
                .copied()
                .map(BatchUid)
        }))
    }

    async fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>, StoreError> {
        Ok(self.read(|state| {
            let mut counts = BTreeMap::new();
            for task in state.tasks.rows().values() {
                *counts.entry(task.status).or_default() += 1;
            }
            counts
        }))
    }
}

#[async_trait]
impl Catalog for MemoryStore {
    async fn load_indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        Ok(self.read(|state| state.indexes.rows().values().cloned().collect()))
    }

    async fn load_placement(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<(Epoch, Vec<Vec<NodeId>>)>, StoreError> {
        Ok(self.read(|state| state.placements.get(index).cloned()))
    }

    async fn load_nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        Ok(self.read(|state| state.nodes.rows().values().cloned().collect()))
    }

    async fn load_node_settings_versions(&self) -> Result<Vec<NodeSettingsVersion>, StoreError> {
        Ok(self.read(|state| state.settings_versions.rows().values().cloned().collect()))
    }

    async fn load_fact(&self, key: &str) -> Result<Option<Value>, StoreError> {
        Ok(self.read(|state| state.facts.get(&key.to_owned()).cloned()))
    }
}
