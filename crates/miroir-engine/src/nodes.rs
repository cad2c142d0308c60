//! Nodes join and leave the cluster while it runs.
//!
//! The configuration names the nodes of a first start. From then on the store knows them: a node that
//! the configuration names and the store does not is admitted at the next start, unless it was
//! retired; one that only the store knows stays. What was changed of a node at run time is not
//! changed back by the configuration. A configuration that declares the topology admits nobody once
//! the store knows nodes: what it changes is staged ([`crate::topology`]).

use crate::completer::Event;
use crate::copy::barrier::{Answer, Served};
use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::lane::Lane;
use crate::movement::turn::Turn;
use crate::port::{Change, NodeRecord, Store};
use crate::prober;
use crate::state::{Config, LaneMessage, NodeSpec, NodeView, Shared};
use miroir_core::health::{HealthMachine, NodeHealth};
use miroir_core::id::{BatchUid, NodeId};
use miroir_core::topology::{Node, Topology};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const NODES_KEY: &str = "nodes";

/// What was decided of nodes at run time. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Decided {
    /// No longer of the cluster, whatever the configuration says.
    retired: BTreeSet<NodeId>,
    /// Changed here: the stored address, zone and weight count.
    changed: BTreeSet<NodeId>,
    /// They get no shards of new indexes.
    closed: BTreeSet<NodeId>,
}

impl Decided {
    async fn load(store: &dyn Store) -> Result<Self, EngineError> {
        let value = store.load_fact(NODES_KEY).await?;
        Ok(value
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default())
    }

    fn change(&self) -> Change {
        Change::PutFact {
            key: NODES_KEY.into(),
            value: serde_json::to_value(self).unwrap_or(Value::Null),
        }
    }
}

/// The nodes that get no shards of new indexes.
///
/// # Errors
/// The store failed.
pub(crate) async fn load_closed(store: &dyn Store) -> Result<BTreeSet<NodeId>, EngineError> {
    Ok(Decided::load(store).await?.closed)
}

/// The nodes of the cluster at a start, noted in the store.
///
/// # Errors
/// The store failed.
pub(crate) async fn load(
    store: &dyn Store,
    config: &Config,
) -> Result<Vec<NodeRecord>, EngineError> {
    let (records, changes) = find(store, config).await?;
    if !changes.is_empty() {
        store.commit(changes).await?;
    }
    Ok(records)
}

/// The nodes of the cluster at a start, with what of it the store does not know yet.
///
/// # Errors
/// The store failed.
pub(crate) async fn find(
    store: &dyn Store,
    config: &Config,
) -> Result<(Vec<NodeRecord>, Vec<Change>), EngineError> {
    let decided = Decided::load(store).await?;
    let mut stored: BTreeMap<NodeId, NodeRecord> = store
        .load_nodes()
        .await?
        .into_iter()
        .map(|record| (record.id.clone(), record))
        .collect();
    let is_declared = config.declares_topology && !stored.is_empty();
    let mut records = Vec::new();
    let mut changes = Vec::new();
    for spec in &config.nodes {
        if is_declared && !stored.contains_key(&spec.id) {
            continue;
        }
        if decided.retired.contains(&spec.id) {
            tracing::warn!(node = %spec.id, "the configuration names a node that was retired; it is left out");
            continue;
        }
        let old = stored.remove(&spec.id);
        let is_refilling = crate::copy::load_refill(store, &spec.id).await?.is_some();
        let mut record = NodeRecord {
            // A refill may begin before its node is noted to be out of sync.
            is_in_sync: !is_refilling && old.as_ref().is_none_or(|old| old.is_in_sync),
            out_of_sync_reason: old.as_ref().and_then(|old| old.out_of_sync_reason.clone()),
            ..new_record(spec)
        };
        let is_kept = is_declared || decided.changed.contains(&spec.id);
        if let Some(old) = old.as_ref().filter(|_| is_kept) {
            let is_other = old.url != record.url
                || old.zone != record.zone
                || old.weight_milli != record.weight_milli;
            if is_other && !is_declared {
                tracing::warn!(node = %spec.id, "the node was changed at run time; the configuration says otherwise and does not count");
            }
            record.url.clone_from(&old.url);
            record.zone.clone_from(&old.zone);
            record.weight_milli = old.weight_milli;
        }
        if old.as_ref() != Some(&record) {
            changes.push(Change::PutNode(Box::new(record.clone())));
        }
        records.push(record);
    }
    for (node, mut record) in stored {
        tracing::info!(%node, "the node is not in the configuration; it stays as the store knows it");
        if record.is_in_sync && crate::copy::load_refill(store, &node).await?.is_some() {
            record.is_in_sync = false;
            changes.push(Change::PutNode(Box::new(record.clone())));
        }
        records.push(record);
    }
    Ok((records, changes))
}

fn new_record(spec: &NodeSpec) -> NodeRecord {
    NodeRecord {
        id: spec.id.clone(),
        url: spec.url.clone(),
        zone: spec.zone.clone(),
        weight_milli: spec.weight_milli,
        // Nothing is owed to it.
        is_in_sync: true,
        out_of_sync_reason: None,
        applied_batch: None,
    }
}

/// A node as it is shown before anything is known of it.
pub(crate) fn new_view(record: NodeRecord) -> NodeView {
    NodeView {
        record,
        health: NodeHealth::Unknown,
        version: None,
        last_error: None,
        is_apart: false,
    }
}

impl Engine {
    /// Takes nodes into the cluster. They hold nothing until shards move to them or indexes are made.
    /// Those that are there already, as given, are left alone.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the name or the address of one is taken, or its weight cannot be;
    /// otherwise the store failed. Then none was admitted.
    pub async fn admit_nodes(&self, nodes: Vec<NodeSpec>) -> Result<(), EngineError> {
        self.ask_dispatcher(Turn::Admit(nodes.clone())).await?;
        for spec in nodes {
            self.attend(&spec.id, Vec::new());
        }
        Ok(())
    }

    /// Changes the address, zone or weight of nodes. No shard moves by that.
    ///
    /// # Errors
    /// [`EngineError::Client`] if one is no node, or as for [`Engine::admit_nodes`].
    pub async fn update_nodes(&self, nodes: Vec<NodeSpec>) -> Result<(), EngineError> {
        self.ask_dispatcher(Turn::Update(nodes)).await.map(drop)
    }

    /// Takes nodes out of the cluster, there or not. What they still hold is left there.
    ///
    /// # Errors
    /// [`EngineError::Client`] while a stored placement, or a move to come, names one of them: it
    /// names both; or if none would be left. Otherwise the store failed.
    pub async fn retire_nodes(&self, nodes: Vec<NodeId>) -> Result<(), EngineError> {
        self.ask_dispatcher(Turn::Retire(nodes)).await.map(drop)
    }

    /// From now on exactly these nodes get no shards of new indexes, such as nodes being drained.
    ///
    /// # Errors
    /// The store failed.
    pub async fn close_nodes(&self, nodes: BTreeSet<NodeId>) -> Result<(), EngineError> {
        self.ask_dispatcher(Turn::Close(nodes)).await.map(drop)
    }

    /// Begins the work on a node, with what it is owed, oldest first; unless it is at work already.
    pub(crate) fn attend(&self, node: &NodeId, backlog: Vec<BatchUid>) {
        let shared = self.shared_arc();
        let Some(events) = shared.copy.events() else {
            return;
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        let retired = CancellationToken::new();
        {
            let mut lanes = shared.lanes.write();
            if lanes.contains_key(node) {
                return;
            }
            lanes.insert(node.clone(), sender);
            let mut retirements = shared.retirements.lock();
            retirements.insert(node.clone(), retired.clone());
        }
        let lane = Lane::new(node.clone(), shared.clone(), receiver, events, backlog);
        // A lane may wait long for its node. It keeps nothing that a start would not find again, so at
        // shutdown it is dropped where it stands.
        let lane = shared
            .shutdown
            .clone()
            .run_until_cancelled_owned(lane.run());
        let lane = Box::pin(retired.clone().run_until_cancelled_owned(lane));
        self.spawn(async move {
            lane.await;
        });
        let refills = crate::copy::refill::run(node.clone(), shared.clone());
        let refills = Box::pin(retired.clone().run_until_cancelled_owned(refills));
        self.spawn(async move {
            refills.await;
        });
        let probes = prober::run(node.clone(), shared);
        let probes = Box::pin(retired.run_until_cancelled_owned(probes));
        self.spawn(async move {
            probes.await;
        });
    }
}

fn to_node(record: &NodeRecord) -> Node {
    let mut node = Node::new(record.id.clone(), record.url.clone());
    node.zone.clone_from(&record.zone);
    node.weight_milli = record.weight_milli;
    node
}

/// Whether these could be the nodes of a cluster.
fn check<'a>(records: impl Iterator<Item = &'a NodeRecord>) -> Result<(), String> {
    let nodes = records.map(to_node).collect();
    Topology::new(nodes)
        .map(drop)
        .map_err(|error| error.to_string())
}

impl Dispatcher {
    fn records(&self) -> BTreeMap<NodeId, NodeRecord> {
        let snapshot = self.shared.snapshot.load();
        let nodes = snapshot.nodes.iter();
        nodes
            .map(|(id, view)| (id.clone(), view.record.clone()))
            .collect()
    }

    /// Stores new nodes and shows them.
    pub(crate) async fn admit(&mut self, specs: &[NodeSpec]) -> Served {
        let shared = self.shared.clone();
        let mut records = self.records();
        let mut admitted = Vec::new();
        for spec in specs {
            let record = new_record(spec);
            match records.get(&spec.id) {
                None => {
                    records.insert(spec.id.clone(), record.clone());
                    admitted.push(record);
                }
                Some(old) => {
                    let is_same = old.url == record.url
                        && old.zone == record.zone
                        && old.weight_milli == record.weight_milli;
                    if !is_same {
                        let text = format!("there is a node {} already", spec.id);
                        return Ok(Some(Answer::Refused(text)));
                    }
                }
            }
        }
        if let Err(text) = check(records.values()) {
            return Ok(Some(Answer::Refused(text)));
        }
        let mut decided = Decided::load(&*shared.ports.store).await?;
        for record in &admitted {
            decided.retired.remove(&record.id);
            decided.changed.insert(record.id.clone());
        }
        let mut changes = vec![decided.change()];
        let put = |record: &NodeRecord| Change::PutNode(Box::new(record.clone()));
        changes.extend(admitted.iter().map(put));
        self.commit(&changes).await?;
        shared.step("node.admitted").await;
        for record in admitted {
            tracing::info!(node = %record.id, url = record.url, "node is admitted");
            shared.ports.nodes.admit(&record.id, &record.url);
            let machine = HealthMachine::default();
            shared.health.lock().insert(record.id.clone(), machine);
            shared.update(|snapshot| {
                let id = record.id.clone();
                snapshot.nodes.insert(id, new_view(record));
            });
        }
        shared.nodes_changed.ring();
        Ok(Some(Answer::Done))
    }

    /// Stores what is said of nodes and shows it.
    pub(crate) async fn update_nodes(&mut self, specs: &[NodeSpec]) -> Served {
        let shared = self.shared.clone();
        let mut records = self.records();
        for spec in specs {
            let Some(record) = records.get_mut(&spec.id) else {
                let text = format!("there is no node {}", spec.id);
                return Ok(Some(Answer::Refused(text)));
            };
            record.url.clone_from(&spec.url);
            record.zone.clone_from(&spec.zone);
            record.weight_milli = spec.weight_milli;
        }
        if let Err(text) = check(records.values()) {
            return Ok(Some(Answer::Refused(text)));
        }
        let mut decided = Decided::load(&*shared.ports.store).await?;
        let mut changes = Vec::new();
        for spec in specs {
            decided.changed.insert(spec.id.clone());
            let record = records.get(&spec.id);
            changes.extend(record.map(|record| Change::PutNode(Box::new(record.clone()))));
        }
        changes.push(decided.change());
        self.commit(&changes).await?;
        shared.step("node.updated").await;
        for spec in specs {
            shared.ports.nodes.admit(&spec.id, &spec.url);
            shared.update(|snapshot| {
                if let Some(view) = snapshot.nodes.get_mut(&spec.id) {
                    view.record.url.clone_from(&spec.url);
                    view.record.zone.clone_from(&spec.zone);
                    view.record.weight_milli = spec.weight_milli;
                }
            });
        }
        shared.nodes_changed.ring();
        Ok(Some(Answer::Done))
    }

    /// What still needs the node, if anything does.
    fn need_of(&self, node: &NodeId) -> Option<String> {
        for planned in self.preparer.indexes.values() {
            let placing = &planned.placing;
            let is_named = placing.replica_sets.iter().any(|set| set.contains(node))
                || placing.transit.joining_at(node).next().is_some();
            if is_named {
                let uid = &planned.record.uid;
                return Some(format!("node {node} holds shards of index {uid}"));
            }
            let twin = planned.twin.as_ref();
            if twin.is_some_and(|twin| twin.placing.transit.is_at(node)) {
                let uid = &planned.record.uid;
                return Some(format!(
                    "node {node} holds the other half of a re-shard of index {uid}: drop it, or \
                     let it be dropped, first"
                ));
            }
        }
        let status = self.shared.movement.status()?;
        let is_to_come = status.moves.iter().any(|one| {
            let is_named = one.shard_move.to.contains(node);
            is_named && !one.state.is_final() && !status.state.is_final()
        });
        is_to_come.then(|| format!("movement {} brings shards to node {node}", status.id))
    }

    /// Forgets nodes.
    pub(crate) async fn retire(&mut self, nodes: &[NodeId]) -> Served {
        let shared = self.shared.clone();
        let records = self.records();
        let nodes: BTreeSet<&NodeId> = nodes.iter().collect();
        for node in &nodes {
            let why = match records.contains_key(*node) {
                false => Some(format!("there is no node {node}")),
                true => self.need_of(node),
            };
            if let Some(text) = why {
                return Ok(Some(Answer::Refused(text)));
            }
        }
        if nodes.len() == records.len() {
            return Ok(Some(Answer::Refused("no node would be left".into())));
        }
        let mut decided = Decided::load(&*shared.ports.store).await?;
        let mut changes = Vec::new();
        for node in &nodes {
            decided.retired.insert((*node).clone());
            decided.changed.remove(*node);
            decided.closed.remove(*node);
            changes.push(Change::RemoveNode((*node).clone()));
            changes.extend(shared.copy.forget_node(node));
        }
        changes.push(decided.change());
        self.commit(&changes).await?;
        shared.step("node.retired").await;
        *shared.closed.lock() = decided.closed;
        shared.update(|snapshot| {
            snapshot.nodes.retain(|node, _| !nodes.contains(node));
        });
        for node in nodes {
            tracing::info!(%node, "node is retired");
            shared.dismiss(node);
            let node = node.clone();
            let _ = self.events.send(Event::Retired { node });
        }
        shared.nodes_changed.ring();
        Ok(Some(Answer::Done))
    }

    /// Stores which nodes get no shards of new indexes.
    pub(crate) async fn close(&mut self, nodes: &BTreeSet<NodeId>) -> Served {
        let shared = self.shared.clone();
        let mut decided = Decided::load(&*shared.ports.store).await?;
        decided.closed.clone_from(nodes);
        self.commit(&[decided.change()]).await?;
        shared.step("node.closed").await;
        *shared.closed.lock() = decided.closed;
        Ok(Some(Answer::Done))
    }
}

impl Shared {
    /// Ends the work on a node.
    fn dismiss(self: &Arc<Self>, node: &NodeId) {
        if let Some(lane) = self.lanes.write().remove(node) {
            let _ = lane.send(LaneMessage::Wake);
        }
        if let Some(retired) = self.retirements.lock().remove(node) {
            retired.cancel();
        }
        self.health.lock().remove(node);
        self.quarantine.lock().remove(node);
        self.ports.nodes.retire(node);
    }
}
