//! Makes batches of entries: resolves the index, finds the primary key, checks every document, and
//! cuts. Any violation fails the whole task before a node sees a byte.

mod documents;
mod index;
mod swap;

use crate::error::EngineError;
use crate::overlay::Overlay;
use crate::placing::{FIRST_EPOCH, Placing, ReplicaSets};
use crate::plan::{
    BatchPlan, Cut, PlannedEntry, REQUEST_BYTES_MAX, SettingsStep, Source, Twin, Work,
};
use crate::port::{Change, IndexRecord, TaskRecord, Timestamp};
use crate::refusal::reserved_filter;
use crate::state::{Effect, IndexEntry, Shared, TwinView};
use bytes::Bytes;
use miroir_api::code::Code;
use miroir_api::error::ResponseError;
use miroir_core::id::{BatchUid, IndexUid, NodeId, PhysicalIndex, TaskUid};
use miroir_core::placement::Transit;
use miroir_core::settings;
use miroir_core::task::Operation;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An index as the dispatcher plans it, ahead of what readers see.
pub(crate) struct PlannedIndex {
    pub(crate) record: IndexRecord,
    pub(crate) placing: Placing,
    pub(crate) overlay: Overlay,
    /// Changes of settings in flight, oldest first. The record supposes that they succeed.
    pub(crate) patches: Vec<(BatchUid, Map<String, Value>)>,
    /// The other physical index, while it is being cut anew or the way back is kept.
    pub(crate) twin: Option<PlannedTwin>,
}

/// The other physical index of an index: it gets all that the index gets, and is not read.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTwin {
    pub(crate) physical: PhysicalIndex,
    pub(crate) shard_count: u32,
    /// It has no replica sets: all of its shards are joining where they lie.
    pub(crate) placing: Placing,
}

impl PlannedTwin {
    /// As readers know it.
    pub(crate) fn view(&self) -> TwinView {
        TwinView {
            physical: self.physical.clone(),
            shard_count: self.shard_count,
            epoch: self.placing.epoch,
            transit: self.placing.transit.clone(),
        }
    }

    fn plan(&self) -> Twin {
        Twin {
            physical: self.physical.clone(),
            shard_count: self.shard_count,
            epoch: self.placing.epoch,
        }
    }
}

impl PlannedIndex {
    /// An index nothing of which is in flight.
    pub(crate) fn new(record: IndexRecord, placing: Placing) -> Self {
        Self {
            record,
            placing,
            overlay: Overlay::default(),
            patches: Vec::new(),
            twin: None,
        }
    }

    /// The index as a reader would see it that reads by the planned placement.
    pub(crate) fn to_entry(&self) -> IndexEntry {
        let Placing {
            replica_sets,
            transit,
            ..
        } = &self.placing;
        let twin = self.twin.as_ref().map(|twin| Arc::new(twin.view()));
        IndexEntry::new(self.record.clone(), replica_sets.clone(), transit).with_twin(twin)
    }

    /// Forgets what is done; settings that were refused are as they were before.
    fn settle(&mut self, shared: &Shared) {
        let is_done = |batch: BatchUid| !shared.in_flight.lock().contains(&batch);
        self.overlay.settle(is_done);
        if !self.patches.iter().any(|(batch, _)| is_done(*batch)) {
            return;
        }
        self.patches.retain(|(batch, _)| !is_done(*batch));
        let snapshot = shared.snapshot.load();
        let physical = &self.record.physical;
        let shown = snapshot
            .indexes
            .values()
            .find(|entry| entry.record.physical == *physical);
        let Some(shown) = shown else { return };
        let settled = shown.record.settings.clone();
        self.record.settings = self.patches.iter().fold(settled, |settings, (_, patch)| {
            settings::merge_patch(&settings, patch)
        });
    }
}

/// A batch about to be committed.
pub(crate) struct Prepared {
    pub(crate) plan: BatchPlan,
    pub(crate) nodes: BTreeSet<NodeId>,
    pub(crate) replica_sets: ReplicaSets,
    pub(crate) transit: Arc<Transit>,
    /// Where the shards of the twin lie.
    pub(crate) twin: Arc<Transit>,
    pub(crate) effect: Effect,
    /// Changes of the catalog that go with it.
    pub(crate) changes: Vec<Change>,
}

/// Prepares entries in log order; owns the planned state of all indexes.
pub(crate) struct Preparer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) indexes: BTreeMap<IndexUid, PlannedIndex>,
}

/// The error object of a failed task.
pub(crate) fn error_value(code: &str, message: impl Into<String>) -> Value {
    let code = Code::from_name(code).unwrap_or(Code::Internal);
    serde_json::to_value(ResponseError::new(code, message.into())).unwrap_or(Value::Null)
}

fn index_not_found(uid: &IndexUid) -> Value {
    error_value("index_not_found", format!("Index `{uid}` not found."))
}

impl Preparer {
    /// Prepares a group of adjacent entries of one index that may travel together; they are of one
    /// kind, and more than one only if they add documents in the same way.
    ///
    /// # Errors
    /// The store or a payload failed; nothing was changed.
    pub(crate) async fn prepare(
        &mut self,
        batch: BatchUid,
        tasks: &[TaskRecord],
        payloads: &BTreeMap<TaskUid, Bytes>,
        now: Timestamp,
    ) -> Result<Prepared, EngineError> {
        let Some(first) = tasks.first() else {
            return Err(EngineError::Answer("an empty group".into()));
        };
        if let Operation::SwapIndexes { swaps } = &first.operation {
            return Ok(self.prepare_swaps(swaps, first));
        }
        let Some(uid) = first.index_uid.clone() else {
            return Err(EngineError::Answer(format!(
                "task {} names no index",
                first.uid
            )));
        };
        if let Some(planned) = self.indexes.get_mut(&uid) {
            planned.settle(&self.shared);
        }
        match &first.operation {
            Operation::AddDocuments {
                may_create_index, ..
            } => {
                let may_create = *may_create_index;
                self.prepare_documents(batch, &uid, tasks, payloads, may_create, now)
                    .await
            }
            Operation::DeleteDocuments { .. } => {
                self.prepare_deletion(batch, &uid, first, payloads).await
            }
            Operation::DeleteByFilter { filter } => {
                if let Some(error) = self.filter_error(&uid, Some(filter)) {
                    return Ok(self.nothing(&uid, first, Some(error)));
                }
                let work = Work::DeleteByFilter {
                    filter: filter.clone(),
                };
                Ok(self.prepare_broadcast(&uid, first, work, |index| index.overlay.bar(batch)))
            }
            Operation::DeleteAllDocuments => {
                let work = Work::DeleteAllDocuments;
                Ok(self.prepare_broadcast(&uid, first, work, |index| index.overlay.empty(batch)))
            }
            Operation::UpdateSettings {
                settings,
                may_create_index,
                ..
            } => self.prepare_settings(batch, &uid, first, settings, *may_create_index, now),
            Operation::CreateIndex { primary_key } => {
                self.prepare_creation(batch, &uid, first, primary_key.clone(), now)
            }
            Operation::UpdateIndex {
                primary_key,
                new_uid,
            } => {
                let (primary_key, new_uid) = (primary_key.clone(), new_uid.clone());
                self.prepare_update(&uid, first, primary_key, new_uid, now)
                    .await
            }
            Operation::DeleteIndex => Ok(self.prepare_removal(&uid, first)),
            Operation::EditDocuments {
                filter,
                context,
                function,
            } => {
                if let Some(error) = self.filter_error(&uid, filter.as_ref()) {
                    return Ok(self.nothing(&uid, first, Some(error)));
                }
                let work = Work::EditDocuments {
                    filter: filter.clone(),
                    context: context.clone(),
                    function: function.clone(),
                };
                Ok(self.prepare_broadcast(&uid, first, work, |index| index.overlay.bar(batch)))
            }
            Operation::CompactIndex => {
                Ok(self.prepare_broadcast(&uid, first, Work::CompactIndex, |_| {}))
            }
            Operation::SwapIndexes { .. }
            | Operation::UpdateRule { .. }
            | Operation::DeleteRule { .. }
            | Operation::ClearRules
            | Operation::CancelTasks { .. }
            | Operation::DeleteTasks { .. }
            | Operation::CreateDump
            | Operation::CreateSnapshot
            | Operation::Export { .. } => Err(EngineError::Answer(format!(
                "task {} is not of an index",
                first.uid
            ))),
        }
    }

    /// What is wrong with a filter that chooses documents of an index to be changed, if it names a
    /// field which only nodes have.
    fn filter_error(&self, uid: &IndexUid, filter: Option<&Value>) -> Option<Value> {
        let index = self.indexes.get(uid)?;
        let message = reserved_filter(filter?, &index.record, true)?;
        Some(error_value("invalid_document_filter", message))
    }

    /// Forgets what of an index is done, and what was refused of its settings.
    pub(crate) fn settle(&mut self, physical: &PhysicalIndex) {
        let mut indexes = self.indexes.values_mut();
        if let Some(index) = indexes.find(|index| index.record.physical == *physical) {
            index.settle(&self.shared);
        }
    }

    /// The change that stores the settings of an index as they are after some were refused.
    pub(crate) fn restore_settings(&mut self, physical: &PhysicalIndex) -> Option<Change> {
        let mut indexes = self.indexes.values_mut();
        let index = indexes.find(|index| index.record.physical == *physical)?;
        index.settle(&self.shared);
        Some(Change::PutIndex(Box::new(index.record.clone())))
    }

    // -----------------------------------------------------------------------------------------
    // Indexes

    // -----------------------------------------------------------------------------------------
    // What goes to every node

    fn prepare_broadcast(
        &mut self,
        uid: &IndexUid,
        task: &TaskRecord,
        work: Work,
        note: impl FnOnce(&mut PlannedIndex),
    ) -> Prepared {
        let Some(index) = self.indexes.get_mut(uid) else {
            return self.nothing(uid, task, Some(index_not_found(uid)));
        };
        note(index);
        let Some(index) = self.indexes.get(uid) else {
            return self.nothing(uid, task, Some(index_not_found(uid)));
        };
        self.broadcast(index, work, vec![bare(task)])
    }

    fn prepare_settings(
        &mut self,
        batch: BatchUid,
        uid: &IndexUid,
        task: &TaskRecord,
        patch: &Value,
        may_create: bool,
        now: Timestamp,
    ) -> Result<Prepared, EngineError> {
        let mut changes = Vec::new();
        let is_new = !self.indexes.contains_key(uid);
        if is_new {
            if !may_create {
                return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
            }
            changes = self.create(batch, uid, task.uid, None, now)?;
        }
        let facts = self.shared.facts();
        let Some(index) = self.indexes.get_mut(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        let empty = Map::new();
        let patch = patch.as_object().unwrap_or(&empty);
        let merged = settings::merge_patch(&index.record.settings, patch);
        if let Some(error) = crate::chat::check_template(uid.as_str(), patch, &merged) {
            return Ok(self.refuse_settings(uid, task, error, changes));
        }
        let node_patch = settings::to_node_settings(patch, &merged, &facts);
        let before = std::mem::replace(&mut index.record.settings, merged);
        let step = SettingsStep {
            before,
            follows: index.record.settings_version,
            is_settled: index.patches.is_empty(),
        };
        index.patches.push((batch, patch.clone()));
        index.record.settings_version = Some(task.uid);
        index.record.changed_by = Some(batch);
        index.record.updated_at = now;
        changes.push(Change::PutIndex(Box::new(index.record.clone())));
        let Some(index) = self.indexes.get(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        // The client's settings are a request of their own even on a new index, so that a mistake
        // in them leaves the index as one Meilisearch leaves it: there, with default settings.
        let mut prepared = self.broadcast(
            index,
            Work::UpdateSettings { patch: node_patch },
            vec![bare(task)],
        );
        prepared.plan.settings_step = Some(step);
        if is_new {
            prepared.plan.creation = Some(self.creation(&index.record));
        }
        prepared.effect = Effect::Put(Box::new(index.record.clone()));
        prepared.changes = changes;
        Ok(prepared)
    }

    /// Settings that Miroir itself refuses. An index that they were to make is there all the same,
    /// with default settings.
    fn refuse_settings(
        &self,
        uid: &IndexUid,
        task: &TaskRecord,
        error: Value,
        mut changes: Vec<Change>,
    ) -> Prepared {
        let (false, Some(index)) = (changes.is_empty(), self.indexes.get(uid)) else {
            return self.nothing(uid, task, Some(error));
        };
        changes.push(Change::PutIndex(Box::new(index.record.clone())));
        let refused = PlannedEntry {
            error: Some(error),
            ..bare(task)
        };
        let mut prepared = self.broadcast(index, Work::CreateIndex, vec![refused]);
        prepared.plan.creation = Some(self.creation(&index.record));
        prepared.effect = Effect::Put(Box::new(index.record.clone()));
        prepared.changes = changes;
        prepared
    }

    fn broadcast(&self, index: &PlannedIndex, work: Work, entries: Vec<PlannedEntry>) -> Prepared {
        let Placing {
            replica_sets,
            transit,
            ..
        } = &index.placing;
        let mut nodes = BTreeSet::new();
        if work != Work::Nothing {
            nodes.extend(replica_sets.iter().flatten().cloned());
            nodes.extend(transit.joining().map(|(node, _)| node.clone()));
        }
        if work == Work::DeleteIndex {
            nodes.extend(transit.beside().map(|(node, _)| node.clone()));
        }
        let twin = index.twin.as_ref().filter(|_| work.has_twin());
        let twin_transit = twin.map(|twin| twin.placing.transit.clone());
        let twin_transit = twin_transit.unwrap_or_default();
        nodes.extend(twin_transit.joining().map(|(node, _)| node.clone()));
        let twin = twin.map(PlannedTwin::plan);
        Prepared {
            plan: BatchPlan {
                index_uid: index.record.uid.clone(),
                physical: index.record.physical.clone(),
                shard_count: index.record.shard_count,
                primary_key: index.record.primary_key.clone(),
                creation: None,
                work,
                entries,
                shards: None,
                request_bytes_max: REQUEST_BYTES_MAX,
                exchanges: Vec::new(),
                settings_step: None,
                epoch: index.placing.epoch,
                twin,
            },
            nodes,
            replica_sets: replica_sets.clone(),
            transit: transit.clone(),
            twin: twin_transit,
            effect: Effect::None,
            changes: Vec::new(),
        }
    }

    /// A batch that sends nothing: its task ends as `error` says.
    fn nothing(&self, uid: &IndexUid, task: &TaskRecord, error: Option<Value>) -> Prepared {
        Prepared {
            plan: BatchPlan {
                index_uid: uid.clone(),
                physical: PhysicalIndex::new(uid, task.uid),
                shard_count: 1,
                primary_key: None,
                creation: None,
                work: Work::Nothing,
                entries: vec![PlannedEntry {
                    error,
                    ..bare(task)
                }],
                shards: Some(BTreeSet::new()),
                request_bytes_max: REQUEST_BYTES_MAX,
                exchanges: Vec::new(),
                settings_step: None,
                epoch: FIRST_EPOCH,
                twin: None,
            },
            nodes: BTreeSet::new(),
            replica_sets: Arc::default(),
            transit: Arc::default(),
            twin: Arc::default(),
            effect: Effect::None,
            changes: Vec::new(),
        }
    }
}

fn bare(task: &TaskRecord) -> PlannedEntry {
    PlannedEntry {
        task: task.uid,
        source: Source::None,
        cut: Cut::None,
        twin_cut: Vec::new(),
        distinct_ids: 0,
        error: None,
    }
}
