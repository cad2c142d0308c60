//! Indexes made, changed and removed, and where a new one lies.

use super::{PlannedIndex, Prepared, Preparer, bare, error_value, index_not_found};
use crate::error::EngineError;
use crate::overlay::Overlay;
use crate::placing::{FIRST_EPOCH, Placing};
use crate::plan::{Creation, Work};
use crate::port::{Change, IndexRecord, TaskRecord, Timestamp};
use crate::state::Effect;
use miroir_core::id::{BatchUid, DocumentSeq, IndexUid, NodeId, PhysicalIndex, TaskUid};
use miroir_core::settings;
use miroir_core::topology::{Node, NodeRole, Topology};
use serde_json::Map;
use std::num::NonZeroU32;
use std::sync::Arc;

impl Preparer {
    /// Makes the planned index; returns the changes that store it.
    pub(super) fn create(
        &mut self,
        batch: BatchUid,
        uid: &IndexUid,
        task: TaskUid,
        primary_key: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<Change>, EngineError> {
        let config = &self.shared.config;
        let physical = PhysicalIndex::new(uid, task);
        let sets = {
            // Nobody who looks who may leave knows the index before its batch is open.
            let mut coming = self.shared.movement.coming.lock();
            let sets = self.place(&physical, config.shard_count, config.replication_factor)?;
            coming.new.insert(batch, sets.clone());
            sets
        };
        let replica_sets = Arc::new(sets);
        let record = IndexRecord {
            uid: uid.clone(),
            physical: physical.clone(),
            primary_key,
            shard_count: config.shard_count,
            replication_factor: config.replication_factor,
            epoch: FIRST_EPOCH,
            settings: Map::new(),
            settings_version: None,
            next_seq: DocumentSeq(0),
            changed_by: Some(batch),
            created_at: now,
            updated_at: now,
        };
        let placement = Change::PutPlacement {
            index: physical,
            epoch: record.epoch,
            replica_sets: replica_sets.to_vec(),
        };
        let mut overlay = Overlay::default();
        overlay.empty(batch);
        let planned = PlannedIndex {
            overlay,
            ..PlannedIndex::new(record, Placing::new(FIRST_EPOCH, replica_sets))
        };
        self.indexes.insert(uid.clone(), planned);
        Ok(vec![placement])
    }

    /// Where a new index lies. Of each shard one replica is on a node in sync, as long as there are
    /// enough of them: what all of its nodes lack could not be reported as done.
    pub(crate) fn place(
        &self,
        physical: &PhysicalIndex,
        shard_count: u32,
        replication_factor: u32,
    ) -> Result<Vec<Vec<NodeId>>, EngineError> {
        let snapshot = self.shared.snapshot.load();
        let is_in_sync = |node: &NodeId| {
            let view = snapshot.nodes.get(node);
            view.is_some_and(|view| view.record.is_in_sync)
        };
        let place_on = |is_open: &dyn Fn(&NodeId) -> bool| {
            self.place_on(physical, shard_count, replication_factor, is_open)
        };
        let sets = place_on(&|_| true)?;
        if sets.iter().all(|set| set.iter().any(is_in_sync)) {
            return Ok(sets);
        }
        Ok(place_on(&is_in_sync).unwrap_or(sets))
    }

    fn place_on(
        &self,
        physical: &PhysicalIndex,
        shard_count: u32,
        replication_factor: u32,
        is_open: &dyn Fn(&NodeId) -> bool,
    ) -> Result<Vec<Vec<NodeId>>, EngineError> {
        let snapshot = self.shared.snapshot.load();
        let closed = self.shared.closed.lock().clone();
        let records = snapshot.nodes.values().map(|view| &view.record);
        let nodes = records.map(|record| {
            let mut node = Node::new(record.id.clone(), record.url.clone());
            node.zone.clone_from(&record.zone);
            node.weight_milli = record.weight_milli;
            if closed.contains(&record.id) || !is_open(&record.id) {
                node.role = NodeRole::Draining;
            }
            node
        });
        let unplaceable = |error: miroir_core::topology::TopologyError| {
            EngineError::Unsupported(format!("placing an index on these nodes: {error}"))
        };
        let topology = Topology::new(nodes.collect()).map_err(unplaceable)?;
        let shard_count = NonZeroU32::new(shard_count).unwrap_or(NonZeroU32::MIN);
        let placement = miroir_core::placement::place(
            physical.as_str(),
            shard_count,
            replication_factor,
            &topology,
        )
        .map_err(unplaceable)?;
        Ok(placement.to_replica_sets())
    }

    pub(super) fn creation(&self, record: &IndexRecord) -> Creation {
        Creation {
            primary_key: record.primary_key.clone(),
            settings: settings::initial_node_settings(&self.shared.facts()),
        }
    }

    pub(super) fn prepare_creation(
        &mut self,
        batch: BatchUid,
        uid: &IndexUid,
        task: &TaskRecord,
        primary_key: Option<String>,
        now: Timestamp,
    ) -> Result<Prepared, EngineError> {
        if self.indexes.contains_key(uid) {
            let error = error_value(
                "index_already_exists",
                format!("Index `{uid}` already exists."),
            );
            return Ok(self.nothing(uid, task, Some(error)));
        }
        let mut changes = self.create(batch, uid, task.uid, primary_key, now)?;
        let Some(index) = self.indexes.get(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        changes.push(Change::PutIndex(Box::new(index.record.clone())));
        let mut prepared = self.broadcast(index, Work::CreateIndex, vec![bare(task)]);
        prepared.plan.creation = Some(self.creation(&index.record));
        prepared.effect = Effect::Put(Box::new(index.record.clone()));
        prepared.changes = changes;
        Ok(prepared)
    }

    pub(super) async fn prepare_update(
        &mut self,
        uid: &IndexUid,
        task: &TaskRecord,
        primary_key: Option<String>,
        new_uid: Option<IndexUid>,
        now: Timestamp,
    ) -> Result<Prepared, EngineError> {
        let Some(index) = self.indexes.get(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        let old_key = index.record.primary_key.clone();
        let changes_key = primary_key.is_some() && primary_key != old_key;
        if changes_key && old_key.is_some() && self.has_documents(uid).await? {
            let key = old_key.unwrap_or_default();
            let message = format!("Index `{uid}`: Index already has a primary key: `{key}`.");
            let error = error_value("index_primary_key_already_exists", message);
            return Ok(self.nothing(uid, task, Some(error)));
        }
        if let Some(new_uid) = new_uid.as_ref().filter(|new_uid| *new_uid != uid)
            && self.indexes.contains_key(new_uid)
        {
            let message = format!("Index `{new_uid}` already exists.");
            let error = error_value("index_already_exists", message);
            return Ok(self.nothing(uid, task, Some(error)));
        }
        let Some(mut index) = self.indexes.remove(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        let mut changes = Vec::new();
        let new_uid = new_uid.filter(|new_uid| new_uid != uid);
        if let Some(new_uid) = &new_uid {
            index.record.uid = new_uid.clone();
            changes.push(Change::RenameIndex {
                from: uid.clone(),
                to: new_uid.clone(),
            });
        }
        let mut work = Work::Nothing;
        if changes_key && let Some(primary_key) = primary_key {
            index.record.primary_key = Some(primary_key.clone());
            work = Work::UpdatePrimaryKey { primary_key };
        }
        index.record.updated_at = now;
        changes.push(Change::PutIndex(Box::new(index.record.clone())));
        let mut prepared = self.broadcast(&index, work, vec![bare(task)]);
        prepared.plan.index_uid = uid.clone();
        let record = Box::new(index.record.clone());
        prepared.effect = match new_uid {
            Some(new_uid) => {
                prepared.plan.exchanges = vec![(uid.clone(), new_uid)];
                Effect::Exchange {
                    names: prepared.plan.exchanges.clone(),
                    record: Some(record),
                }
            }
            None => Effect::Put(record),
        };
        prepared.changes = changes;
        self.indexes.insert(index.record.uid.clone(), index);
        Ok(prepared)
    }

    /// Waits for what is in flight and asks the nodes.
    async fn has_documents(&self, uid: &IndexUid) -> Result<bool, EngineError> {
        let Some(index) = self.indexes.get(uid) else {
            return Ok(false);
        };
        self.shared.wait_for_index(&index.record.physical).await;
        if self.shared.shutdown.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        let entry = self.entry(index);
        Ok(crate::stats::count_documents(&self.shared, &entry).await? > 0)
    }

    pub(super) fn prepare_removal(&mut self, uid: &IndexUid, task: &TaskRecord) -> Prepared {
        let Some(index) = self.indexes.remove(uid) else {
            return self.nothing(uid, task, Some(index_not_found(uid)));
        };
        let mut prepared = self.broadcast(&index, Work::DeleteIndex, vec![bare(task)]);
        prepared.effect = Effect::Remove(uid.clone());
        prepared.changes = vec![Change::RemoveIndex(uid.clone())];
        let reshards = &self.shared.reshards;
        prepared
            .changes
            .extend(reshards.end_with(&index.record.physical));
        if let Some(twin) = &index.twin {
            let removed = Change::RemovePlacement(twin.physical.clone());
            prepared.changes.push(removed);
            let beside = twin.placing.removal(&twin.physical);
            prepared.changes.extend(beside);
        }
        prepared
            .changes
            .extend(index.placing.removal(&index.record.physical));
        prepared
    }
}
