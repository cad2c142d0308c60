//! Why a shard is where it is, and how a search would be carried out.

use super::{observe, topology_of, wrong};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::reads::ReadKind;
use crate::refusal::plan_error;
use crate::search::affinity;
use crate::state::{IndexEntry, NodeView, Shared, Snapshot};
use miroir_api::admin;
use miroir_core::cover::{CoverPolicy, choose_cover_sparing};
use miroir_core::health::NodeHealth;
use miroir_core::id::{IndexUid, NodeId, ShardId};
use miroir_core::merge::{HybridPlan, SearchPlan};
use miroir_core::placement::rank;
use miroir_core::rebalance::plan::{FILL_MAX, Plan, plan};
use miroir_core::rebalance::stage::Desired;
use miroir_core::search::SearchRequest;
use miroir_core::topology::{Node, NodeRole, Topology};
use std::collections::BTreeMap;

impl Engine {
    /// Why a shard is where it is, and what keeps it from moving.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`]; [`EngineError::Client`] if the index has no such shard.
    pub async fn explain_shard(
        &self,
        uid: &IndexUid,
        shard: u32,
    ) -> Result<admin::ShardExplanation, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let record = &entry.record;
        let Some(set) = entry.replica_sets.get(shard as usize) else {
            return Err(wrong(format!(
                "Index `{uid}` has the shards 0 to {}, not {shard}.",
                record.shard_count.saturating_sub(1)
            )));
        };
        let topology = topology_of(shared, &snapshot)?;
        let observed = observe::observe(shared).await;
        // Planned without a change, for the shares and loads that it tells.
        let loads = plan(&observed, &Desired::unchanged(topology.clone()), None);
        let ranked = rank(record.physical.as_str(), ShardId(shard), &topology);
        let state = observed
            .indexes
            .iter()
            .find(|state| state.index == record.physical);
        let mut nodes: Vec<admin::ShardNode> = topology
            .nodes()
            .iter()
            .map(|node| shard_node(node, set, &ranked, &topology, &loads))
            .collect();
        for node in nodes.iter_mut().filter(|node| node.holds) {
            let view = snapshot.nodes.get(&NodeId::new(node.name.clone()));
            match view {
                Some(view) if view.health == NodeHealth::Down => {
                    node.reason.push_str(", and does not answer");
                }
                Some(view) if !view.is_readable() => {
                    node.reason.push_str(", and is not in sync");
                }
                _ => {}
            }
        }
        nodes.sort_by_key(|node| (!node.holds, node.rank, node.name.clone()));
        Ok(admin::ShardExplanation {
            index_uid: uid.to_string(),
            physical: record.physical.to_string(),
            shard,
            shard_count: record.shard_count,
            replication_factor: record.replication_factor,
            documents: state.map_or(0, |state| state.shard_documents()),
            bytes: state.map_or(0, |state| state.shard_bytes()),
            replicas: set.iter().map(ToString::to_string).collect(),
            nodes,
            blocked_by: blocked_by(shared, &snapshot, set, &topology),
        })
    }

    /// How a search would be carried out now; nothing is sent.
    ///
    /// # Errors
    /// As [`Engine::search`], for what is wrong with the request.
    pub async fn explain_search(
        &self,
        uid: &IndexUid,
        request: SearchRequest,
    ) -> Result<admin::QueryExplanation, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let shards: Vec<ShardId> = entry.placement.shards().collect();
        let bodies = Bodies::of(&request, entry)?;
        let mut spared = BTreeMap::new();
        let is_usable = |node: &NodeId| snapshot.nodes.get(node).is_some_and(NodeView::is_readable);
        let now = shared.ports.clock.monotonic();
        let is_spared = |node: &NodeId| shared.reads.node(node).gate().is_broken();
        let load_cost = |node: &NodeId| {
            let is_up = |view: &NodeView| view.health == NodeHealth::Up;
            u32::from(!snapshot.nodes.get(node).is_some_and(is_up))
        };
        let zone_of = |node: &NodeId| {
            let view = snapshot.nodes.get(node);
            view.and_then(|view| view.record.zone.as_deref())
        };
        let mut policy = CoverPolicy::new(&is_usable, affinity(uid, &request));
        policy.load_cost = &load_cost;
        policy.zone_of = &zone_of;
        let best = choose_cover_sparing(&entry.placement, &shards, &policy, &is_spared);
        for node in entry.placement.nodes() {
            if best.cover.parts.iter().any(|part| part.node == *node) {
                continue;
            }
            let reason = match snapshot.nodes.get(node) {
                Some(view) if !view.record.is_in_sync => "it is not in sync".to_owned(),
                Some(view) if view.is_apart => "it is kept apart".to_owned(),
                Some(view) if view.health == NodeHealth::Down => "it is down".to_owned(),
                Some(_) if is_spared(node) => {
                    format!(
                        "it failed lately ({})",
                        shared.reads.node(node).gate().name(now)
                    )
                }
                Some(_) => "others hold all its shards, and fewer nodes are asked".to_owned(),
                None => "it is not one of the nodes".to_owned(),
            };
            spared.insert(node.to_string(), reason);
        }
        let parts = best.cover.parts.iter().map(|part| {
            let (limit, body) =
                bodies.part(part.filter.as_deref(), part.shards.len(), shards.len());
            let latency = shared
                .reads
                .node(&part.node)
                .latency(ReadKind::Search)
                .mean();
            admin::QueryPart {
                node: part.node.to_string(),
                zone: zone_of(&part.node).map(str::to_owned),
                shards: part.shards.iter().map(|shard| shard.0).collect(),
                shard_filter: part.filter.clone(),
                limit,
                request: serde_json::from_slice(&body).unwrap_or_default(),
                latency_ms: latency.map(|mean| mean.as_secs_f64() * 1000.0),
            }
        });
        Ok(admin::QueryExplanation {
            index_uid: uid.to_string(),
            physical: entry.record.physical.to_string(),
            shard_count: entry.record.shard_count,
            shards_needed: entry.record.shard_count,
            narrowing: "all shards: a search may match documents of any of them".to_owned(),
            cached: shared
                .cache
                .has(&crate::cache::CacheKey::new(entry, &request)),
            parts: parts.collect(),
            missing_shards: best.missing.iter().map(|shard| shard.0).collect(),
            spared,
        })
    }
}

/// What nodes would be sent.
enum Bodies {
    /// One list.
    Plain(Box<SearchPlan>),
    /// Asked by words first, then by meaning; the words are shown.
    Mixed(Box<HybridPlan>),
}

impl Bodies {
    fn of(request: &SearchRequest, entry: &IndexEntry) -> Result<Self, EngineError> {
        let refused = |error| plan_error(error, &entry.record);
        if let Some(mixed) = HybridPlan::new(request, &entry.view).map_err(refused)? {
            return Ok(Self::Mixed(Box::new(mixed)));
        }
        let plain = SearchPlan::new(request, &entry.view).map_err(refused)?;
        Ok(Self::Plain(Box::new(plain)))
    }

    /// The hits that a part is asked for at first, and the request.
    fn part(&self, filter: Option<&str>, shards: usize, all: usize) -> (u64, Vec<u8>) {
        let plan = match self {
            Self::Plain(plan) => plan,
            Self::Mixed(mixed) => mixed.words(),
        };
        let depth = plan.first_depth(shards, all);
        (depth as u64, plan.node_body_to(filter, depth))
    }
}

fn shard_node(
    node: &Node,
    set: &[NodeId],
    ranked: &[NodeId],
    topology: &Topology,
    loads: &Plan,
) -> admin::ShardNode {
    let position = ranked.iter().position(|other| *other == node.id);
    let rank = position.map_or(ranked.len() as u64 + 1, |position| position as u64 + 1);
    let holds = set.contains(&node.id);
    let load = loads.nodes.iter().find(|load| load.node == node.id);
    let fill = load.map_or(0.0, |load| {
        if load.share_bytes == 0 {
            return 0.0;
        }
        load.bytes_before as f64 / load.share_bytes as f64
    });
    let in_zone = set
        .iter()
        .find(|other| **other != node.id && is_same_zone(topology, &node.id, other));
    let behind = |other: &NodeId| {
        let theirs = ranked.iter().position(|ranked| ranked == other);
        theirs.is_some_and(|theirs| position.is_none_or(|own| theirs < own))
    };
    let reason = match (holds, node.role) {
        (true, NodeRole::Draining) => "it holds it and drains: it will move away".to_owned(),
        (true, NodeRole::Active) => match in_zone {
            Some(other) => format!("it holds it, and so does {other} of its zone"),
            None => "it holds it".to_owned(),
        },
        (false, NodeRole::Draining) => "it drains: it takes no shards".to_owned(),
        (false, NodeRole::Active) => match in_zone {
            Some(other) => format!("{other} of its zone holds a copy already"),
            None if set.iter().all(behind) => "it ranks behind those that hold it".to_owned(),
            None if fill > FILL_MAX => "it ranks before one of them, and is full".to_owned(),
            None => "it ranks before one of them; it was full or not there when the shard was \
                     placed, and what lies well is not moved"
                .to_owned(),
        },
    };
    admin::ShardNode {
        name: node.id.to_string(),
        zone: node.zone.clone(),
        rank,
        holds,
        fill,
        reason,
    }
}

fn is_same_zone(topology: &Topology, a: &NodeId, b: &NodeId) -> bool {
    let (a, b) = (topology.zone_of(a), topology.zone_of(b));
    a.is_some() && a == b
}

fn blocked_by(
    shared: &Shared,
    snapshot: &Snapshot,
    set: &[NodeId],
    topology: &Topology,
) -> Vec<String> {
    let mut blocked = Vec::new();
    let view = |node: &NodeId| snapshot.nodes.get(node);
    let readable = set
        .iter()
        .filter(|node| view(node).is_some_and(NodeView::is_readable))
        .count();
    if readable == 0 {
        let names: Vec<&str> = set.iter().map(NodeId::as_str).collect();
        blocked.push(format!(
            "no copy can be read now: bring one of {} back in sync",
            names.join(", ")
        ));
    }
    let others: Vec<&Node> = topology
        .active_nodes()
        .filter(|n| !set.contains(&n.id))
        .collect();
    let is_up = |node: &&Node| view(&node.id).is_some_and(NodeView::is_readable);
    if others.is_empty() {
        blocked.push("every node that takes shards holds it already".to_owned());
    } else if !others.iter().any(is_up) {
        blocked.push("no other node that takes shards is up and in sync".to_owned());
    }
    if let Some(movement) = shared
        .movement
        .status()
        .filter(|movement| !movement.state.is_final())
    {
        let wait = movement
            .waits_for
            .as_ref()
            .map(|wait| format!("; it waits for {}: {}", wait.what, wait.why));
        blocked.push(format!(
            "other shards move: movement {} is {}{}",
            movement.id,
            movement.state.as_str(),
            wait.unwrap_or_default()
        ));
    }
    if let Some(reshard) = shared.reshards.cutting() {
        blocked.push(format!(
            "index `{0}` is being re-sharded: no shard moves before searches use its new shards, or it \
             is cancelled (miroir index reshard {0})",
            reshard.index_uid
        ));
    }
    if let Some(fault) = shared.gate.fault() {
        blocked.push(format!("Miroir's store cannot be written: {}", fault.cause));
    }
    blocked
}
