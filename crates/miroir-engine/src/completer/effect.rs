//! What readers see of an index once a batch on it is done.

use crate::port::IndexRecord;
use crate::state::{Effect, IndexEntry, LiveBatch, exchange_names};
use miroir_core::id::TaskUid;
use miroir_core::task::Operation;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn apply_effect(
    snapshot: &mut crate::state::Snapshot,
    batch: &LiveBatch,
    failed_tasks: &BTreeSet<TaskUid>,
) {
    if batch.plan.work.is_copy() {
        // What readers see is the same on the nodes they are shown.
        return;
    }
    let settings = settings_after(snapshot, batch, failed_tasks);
    let shown = snapshot
        .indexes
        .values()
        .find(|e| e.record.physical == batch.plan.physical)
        .cloned();
    // Answers given before this batch was done are not to be given again: not even where the planned
    // record names an older batch, or one that comes after this one.
    let changed_by = Some(batch.uid);
    let entry = |record: &IndexRecord| {
        let record = IndexRecord {
            settings,
            changed_by,
            ..record.clone()
        };
        Arc::new(match shown {
            // Where it lies may have changed since the batch was made.
            Some(shown) => shown.with_record(IndexRecord {
                epoch: shown.record.epoch,
                replication_factor: shown.record.replication_factor,
                ..record
            }),
            None => IndexEntry::new(record, batch.replica_sets.clone(), &batch.transit),
        })
    };
    match &batch.effect {
        Effect::None => {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(index) = indexes.find(|e| e.record.physical == batch.plan.physical) {
                *index = entry(&index.record);
            }
        }
        Effect::Put(record) => {
            snapshot.indexes.insert(record.uid.clone(), entry(record));
        }
        Effect::Remove(uid) => {
            snapshot.indexes.remove(uid);
        }
        Effect::Exchange { names, record } => {
            for pair in names {
                exchange_names(&mut snapshot.indexes, pair);
            }
            if let Some(record) = record {
                snapshot.indexes.insert(record.uid.clone(), entry(record));
            }
        }
    }
}

/// The plan supposes that all settings in flight succeed; readers see those that did.
fn settings_after(
    snapshot: &crate::state::Snapshot,
    batch: &LiveBatch,
    failed_tasks: &BTreeSet<TaskUid>,
) -> Map<String, Value> {
    let shown = snapshot
        .indexes
        .values()
        .find(|e| e.record.physical == batch.plan.physical);
    let mut settings = shown
        .map(|entry| entry.record.settings.clone())
        .unwrap_or_default();
    for task in batch
        .tasks
        .iter()
        .filter(|task| !failed_tasks.contains(&task.uid))
    {
        if let Operation::UpdateSettings {
            settings: Value::Object(patch),
            ..
        } = &task.operation
        {
            settings = miroir_core::settings::merge_patch(&settings, patch);
        }
    }
    settings
}
