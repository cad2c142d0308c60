//! Writes what was planned into an empty store.

use super::RebuildError;
use crate::coordination::InstanceSettings;
use crate::copy::{Refill, refill_change, unlike_fact, witness};
use crate::engine::CLUSTER_FACT;
use crate::features::{
    COMPOSITE_EMBEDDERS, CONTAINS_FILTER, EDIT_BY_FUNCTION, MULTIMODAL, NO_FETCH_QUEUE,
    RENDER_ROUTE,
};
use crate::port::{
    BatchRecord, Change, IndexRecord, NodeRecord, Store, StoreError, TaskQuery, TaskRecord,
    Timestamp,
};
use crate::state::NodeSpec;
use miroir_core::id::{BatchUid, Epoch, NodeId, TaskUid};
use miroir_core::recover::{IndexPlan, NodeSeen, Plan};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Writes the plan into a store that holds nothing.
///
/// # Errors
/// The store holds something, or failed.
pub async fn write(
    store: &dyn Store,
    instance: &dyn InstanceSettings,
    plan: &Plan,
    specs: &[NodeSpec],
    seen: &BTreeMap<NodeId, NodeSeen>,
    now: Timestamp,
) -> Result<(), RebuildError> {
    check_empty(store).await?;
    let mut changes = Vec::new();
    for spec in specs {
        let refill = plan.judged.refills.get(&spec.id);
        changes.push(Change::PutNode(Box::new(NodeRecord {
            id: spec.id.clone(),
            url: spec.url.clone(),
            zone: spec.zone.clone(),
            weight_milli: spec.weight_milli,
            is_in_sync: refill.is_none(),
            out_of_sync_reason: refill.cloned(),
            applied_batch: None,
        })));
        if let Some(reason) = refill {
            let refill = Refill::waiting(plan.next_batch, reason.clone());
            changes.push(refill_change(&spec.id, Some(&refill)));
        }
        let newest = seen
            .get(&spec.id)
            .and_then(|seen| seen.newest_node_task.clone());
        if let Some((uid, enqueued_at)) = newest {
            let witness = witness::Witness { uid, enqueued_at };
            changes.push(witness::change(&spec.id, Some(&witness)));
        }
    }
    for index in &plan.indexes {
        changes.extend(index_changes(index, now));
    }
    if !plan.judged.unlike.is_empty() {
        changes.push(unlike_fact(&plan.judged.unlike));
    }
    if let Some(cluster) = &plan.cluster {
        changes.push(Change::PutFact {
            key: CLUSTER_FACT.into(),
            value: json!(cluster),
        });
    }
    // What numbers are taken by stays taken when it is gone.
    let last_task = plan.next_task.0.checked_sub(1).map(TaskUid);
    let last_batch = plan.next_batch.0.checked_sub(1).map(BatchUid);
    changes.extend(last_batch.map(|uid| Change::PutBatch(Box::new(empty_batch(uid, now)))));
    changes.extend(last_task.map(|uid| Change::AddPastTask(Box::new(past_task(uid, now)))));
    store.commit(changes).await?;
    let mut gone = Vec::new();
    gone.extend(last_batch.map(Change::RemoveBatch));
    gone.extend(last_task.map(Change::RemoveTask));
    store.commit(gone).await?;
    let features = plan.features.iter().filter(|name| is_known(name));
    let features: BTreeMap<String, bool> = features.map(|name| (name.clone(), true)).collect();
    if !features.is_empty() {
        instance.put_features(features).await?;
    }
    Ok(())
}

/// Miroir switches this feature on nodes, so it was switched on here.
fn is_known(feature: &str) -> bool {
    matches!(
        feature,
        EDIT_BY_FUNCTION
            | CONTAINS_FILTER
            | NO_FETCH_QUEUE
            | RENDER_ROUTE
            | COMPOSITE_EMBEDDERS
            | MULTIMODAL
    )
}

async fn check_empty(store: &dyn Store) -> Result<(), StoreError> {
    let query = TaskQuery {
        limit: 1,
        ..TaskQuery::default()
    };
    let is_empty = store.list_tasks(query).await?.total == 0
        && store.load_indexes().await?.is_empty()
        && store.load_nodes().await?.is_empty()
        && store.last_batch_uid().await?.is_none();
    if is_empty {
        return Ok(());
    }
    let text = "the store is not empty: one is recovered into a new store only";
    Err(StoreError::Conflict(text.into()))
}

fn index_changes(index: &IndexPlan, now: Timestamp) -> [Change; 2] {
    let epoch = Epoch(1);
    let record = IndexRecord {
        uid: index.uid.clone(),
        physical: index.physical.clone(),
        primary_key: index.primary_key.clone(),
        shard_count: index.shard_count,
        replication_factor: index.replication_factor,
        epoch,
        settings: index.settings.clone(),
        settings_version: None,
        next_seq: index.next_seq,
        changed_by: None,
        created_at: index.created_at.unwrap_or(now),
        updated_at: index.updated_at.unwrap_or(now),
    };
    let placement = Change::PutPlacement {
        index: index.physical.clone(),
        epoch,
        replica_sets: index.replica_sets.clone(),
    };
    [placement, Change::PutIndex(Box::new(record))]
}

fn empty_batch(uid: BatchUid, now: Timestamp) -> BatchRecord {
    BatchRecord {
        uid,
        tasks: Vec::new(),
        plan: Value::Null,
        deliveries: BTreeMap::new(),
        is_done: true,
        started_at: now,
        finished_at: Some(now),
    }
}

fn past_task(uid: TaskUid, now: Timestamp) -> TaskRecord {
    TaskRecord {
        uid,
        batch_uid: None,
        index_uid: None,
        status: TaskStatus::Succeeded,
        operation: Operation::CreateDump,
        inline_payload: None,
        payload: None,
        canceled_by: None,
        details: json!({}),
        error: None,
        custom_metadata: None,
        enqueued_at: now,
        started_at: Some(now),
        finished_at: Some(now),
    }
}
