//! What a start finds in the store, and what it makes of it. Nothing depends on memory: a start
//! after a crash is a start.

mod settings;

use crate::error::EngineError;
use crate::placing::Placing;
use crate::plan::BatchPlan;
use crate::port::{BatchRecord, Change, IndexRecord, PayloadRef, StoreError, TaskRecord};
use crate::prepare::PlannedTwin;
use crate::state::{
    Config, Effect, IndexEntry, LiveBatch, Ports, Shared, Snapshot, exchange_names,
};
use miroir_core::id::{BatchUid, TaskUid};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the store holds at start.
pub(crate) struct Found {
    /// For readers.
    pub(crate) snapshot: Snapshot,
    /// For the dispatcher: every index, also those still being made.
    pub(crate) planned: Vec<FoundIndex>,
    /// Batches not done, or not applied everywhere, oldest first.
    pub(crate) open: Vec<BatchRecord>,
}

/// An index as planned, where it lies, and the changes of its settings that are in flight.
pub(crate) struct FoundIndex {
    pub(crate) record: IndexRecord,
    pub(crate) placing: Placing,
    pub(crate) patches: Vec<(BatchUid, Map<String, Value>)>,
    /// Its other physical index, if it has one.
    pub(crate) twin: Option<PlannedTwin>,
}

/// Reads the store and notes the configured nodes in it.
pub(crate) async fn load(ports: &Ports, config: &Config) -> Result<Found, EngineError> {
    let store = &*ports.store;
    let nodes = crate::nodes::load(store, config).await?;
    let mut open = store.load_open_batches().await?;
    // Those of jobs have no plan; the dispatcher begins them again.
    open.retain(|batch| !batch.plan.is_null());
    let mut in_making = BTreeSet::new();
    let mut in_flight = BTreeSet::new();
    let mut exchanges = Vec::new();
    for batch in &open {
        let plan = parse_plan(batch)?;
        if !batch.is_done {
            in_flight.insert(plan.physical.clone());
        }
        if plan.creation.is_some() && !batch.is_done {
            in_making.insert(plan.physical);
        }
        if !batch.is_done {
            exchanges.extend(plan.exchanges);
        }
    }
    let mut snapshot = Snapshot::default();
    let mut planned = Vec::new();
    let mut mended = Vec::new();
    let mut twins = crate::reshard::load_twins(store).await?;
    for mut record in store.load_indexes().await? {
        let placing = Placing::load(store, &record.physical).await?;
        let twin = match twins.remove(&record.physical) {
            Some((physical, shard_count)) => Some(PlannedTwin {
                placing: Placing::load(store, &physical).await?,
                physical,
                shard_count,
            }),
            None => None,
        };
        let history = settings::read(store, &record).await?;
        if history.planned != record.settings {
            record.settings = history.planned;
            mended.push(Change::PutIndex(Box::new(record.clone())));
        }
        if !in_making.contains(&record.physical) {
            let mut shown = IndexRecord {
                settings: history.shown,
                ..record.clone()
            };
            if in_flight.contains(&record.physical) {
                // The record names a batch that readers do not see yet; answers given until it is
                // done must not pass for answers given after.
                shown.changed_by = None;
            }
            let entry = IndexEntry::new(shown, placing.replica_sets.clone(), &placing.transit);
            let entry = entry.with_twin(twin.as_ref().map(|twin| Arc::new(twin.view())));
            snapshot.indexes.insert(record.uid.clone(), Arc::new(entry));
        }
        planned.push(FoundIndex {
            record,
            placing,
            patches: history.in_flight,
            twin,
        });
    }
    if !mended.is_empty() {
        store.commit(mended).await?;
    }
    // The catalog has names exchanged by batches that readers do not see yet.
    for names in exchanges.iter().rev() {
        exchange_names(&mut snapshot.indexes, names);
    }
    snapshot.nodes = nodes
        .into_iter()
        .map(|record| (record.id.clone(), crate::nodes::new_view(record)))
        .collect();
    Ok(Found {
        snapshot,
        planned,
        open,
    })
}

/// The plan of a stored batch.
pub(crate) fn parse_plan(batch: &BatchRecord) -> Result<BatchPlan, EngineError> {
    serde_json::from_value(batch.plan.clone()).map_err(|error| {
        EngineError::Store(StoreError::Corrupt {
            what: "batch",
            cause: error.to_string(),
        })
    })
}

/// A batch in flight from its record.
pub(crate) async fn revive(
    shared: &Shared,
    record: &BatchRecord,
) -> Result<LiveBatch, EngineError> {
    revive_with(&shared.ports, record).await
}

/// The same before the engine stands.
pub(crate) async fn revive_with(
    ports: &Ports,
    record: &BatchRecord,
) -> Result<LiveBatch, EngineError> {
    let plan = parse_plan(record)?;
    let mut tasks: Vec<TaskRecord> = Vec::with_capacity(plan.entries.len());
    let mut inline = BTreeMap::new();
    for entry in &plan.entries {
        let task = ports.store.load_task(entry.task).await?;
        let mut task = task.ok_or_else(|| lost_task(entry.task))?;
        if let Some(payload) = task.inline_payload.take() {
            inline.insert(task.uid, payload);
        }
        tasks.push(task);
    }
    let placing = Placing::load(&*ports.store, &plan.physical).await?;
    let (replica_sets, transit) = placing.at(plan.epoch);
    let twin = match &plan.twin {
        Some(twin) => {
            let placing = Placing::load(&*ports.store, &twin.physical).await?;
            placing.at(twin.epoch).1
        }
        None => Arc::default(),
    };
    let effect = effect_of(ports, &plan).await?;
    Ok(LiveBatch {
        payload_bytes: LiveBatch::payload_bytes_of(&plan, &inline),
        uid: record.uid,
        plan,
        tasks,
        inline,
        replica_sets,
        transit,
        twin,
        nodes: record.deliveries.keys().cloned().collect(),
        effect,
        window: parking_lot::Mutex::new(None),
    })
}

fn lost_task(uid: TaskUid) -> EngineError {
    EngineError::Store(StoreError::Corrupt {
        what: "batch",
        cause: format!("its task {uid} is not in the log"),
    })
}

/// After a start readers see the catalog as it was planned last, so an index that was being made
/// appears, whole, when the batch that makes it is done; everything else is there already.
///
/// It appears under the name it had when the batch was made: batches after it may exchange names, and
/// do so for readers when they are done.
async fn effect_of(ports: &Ports, plan: &BatchPlan) -> Result<Effect, EngineError> {
    if !plan.exchanges.is_empty() {
        return Ok(Effect::Exchange {
            names: plan.exchanges.clone(),
            record: None,
        });
    }
    if plan.creation.is_none() {
        return Ok(Effect::None);
    }
    let indexes = ports.store.load_indexes().await?;
    let record = indexes
        .into_iter()
        .find(|record| record.physical == plan.physical);
    Ok(record.map_or(Effect::None, |record| {
        Effect::Put(Box::new(IndexRecord {
            uid: plan.index_uid.clone(),
            ..record
        }))
    }))
}

/// Removes payload files that no entry and no batch names: the leavings of a crash between a
/// file's sync and its entry.
pub(crate) async fn sweep_payloads(
    ports: &Ports,
    named: &BTreeSet<PayloadRef>,
) -> Result<usize, EngineError> {
    let names: BTreeSet<&str> = named
        .iter()
        .map(|PayloadRef::File { name, .. }| name.as_str())
        .collect();
    let files = ports.payloads.list().await?;
    let orphans: Vec<PayloadRef> = files
        .into_iter()
        .filter(|PayloadRef::File { name, .. }| !names.contains(name.as_str()))
        .collect();
    ports.payloads.remove(&orphans).await?;
    Ok(orphans.len())
}
