//! The plan of what is staged, of what is only asked about, and advice.

use super::carry::goal_of;
use super::{Record, index_uids, observe, topology_of, words};
use crate::engine::Engine;
use crate::error::EngineError;
use miroir_api::admin;
use miroir_core::capacity::{advise, shards_for};
use miroir_core::id::NodeId;
use miroir_core::rebalance::observed::Observed;
use miroir_core::rebalance::plan::{Plan, plan};
use miroir_core::rebalance::stage::{Desired, StagedChange};
use miroir_core::topology::{NodeRole, Topology};

/// Moves shown, at most: what a person reads, and a script can still be sure of.
const MOVES_SHOWN_MAX: usize = 1000;

impl Engine {
    /// What would come of what is staged and, on top of it, of the changes asked about.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the changes make no sense.
    pub async fn topology_plan(
        &self,
        request: admin::PlanRequest,
    ) -> Result<admin::TopologyPlan, EngineError> {
        let shared = self.shared();
        let record = shared.topology.record();
        let snapshot = shared.snapshot.load_full();
        let topology = topology_of(shared, &snapshot)?;
        let is_only_asked = !request.changes.is_empty();
        let mut changes = record.staged.clone();
        for change in request.changes {
            changes.push(words::from_wire(change, &topology, &changes)?);
        }
        let (_, desired) = goal_of(&record, &topology, &index_uids(&snapshot), &changes)?;
        let mut observed = observe::observe(shared).await;
        for (name, bytes) in request.free_bytes {
            observed.free_bytes.insert(NodeId::new(name), bytes);
        }
        let mut made = plan_of(&observed, &desired).await?;
        made.seconds = self.seconds(&made);
        let mut shown = shown(&made, &observed, &topology, &desired);
        shown.warnings.extend(self.beside(&record, &changes));
        Ok(admin::TopologyPlan {
            epoch: record.epoch,
            staged_epoch: (!record.staged.is_empty() && !is_only_asked)
                .then_some(record.last_epoch),
            changes: changes.iter().map(words::describe).collect(),
            ..shown
        })
    }

    /// What is under way already, and how these changes would stand to it.
    fn beside(&self, record: &Record, changes: &[StagedChange]) -> Vec<String> {
        let mut notes = Vec::new();
        if changes.is_empty() {
            return notes;
        }
        if let Some(goal) = &record.goal {
            let told = goal.describe(record.epoch, self.movement().as_ref());
            let how = match goal.is_joined_by(changes) {
                true => {
                    "This joins it: what is not switched yet is taken back, and what is left of both \
                     is done as shown here"
                }
                false => {
                    "This can be applied when that is over (miroir topology show), and is planned on \
                     what lies where now"
                }
            };
            notes.push(format!("{told} {how}"));
        }
        if let Some(reshard) = self.shared().reshards.cutting() {
            notes.push(format!(
                "index `{}` is being re-sharded: what is applied now begins to move when searches use \
                 its new shards, or the re-shard is cancelled (miroir index reshard {})",
                reshard.index_uid, reshard.index_uid
            ));
        }
        notes
    }

    /// How long the copies take at least, at the rates they are bounded to.
    fn seconds(&self, made: &Plan) -> Option<u64> {
        let config = &self.shared().config.copy;
        let at = |amount: u64, rate: u64| (rate > 0).then(|| amount.div_ceil(rate));
        at(made.bytes, config.bytes_per_second).max(at(made.documents, config.documents_per_second))
    }

    /// What should be changed about indexes and nodes.
    ///
    /// # Errors
    /// The nodes make no topology.
    pub async fn advice(&self) -> Result<admin::TopologyAdvice, EngineError> {
        let shared = self.shared();
        let topology = topology_of(shared, &shared.snapshot.load_full())?;
        let observed = observe::observe(shared).await;
        let active_count = topology.active_nodes().count() as u64;
        let shards = shards_for(active_count, shared.config.replication_factor);
        let advice = advise(&observed, &topology);
        Ok(admin::TopologyAdvice {
            advice: advice.iter().map(ToString::to_string).collect(),
            shards_of_a_new_index: shards,
        })
    }
}

/// Plans away from the threads that serve requests: a large cluster takes a good part of a second.
pub(super) async fn plan_of(observed: &Observed, desired: &Desired) -> Result<Plan, EngineError> {
    let (observed, desired) = (observed.clone(), desired.clone());
    let planned = tokio::task::spawn_blocking(move || plan(&observed, &desired, None)).await;
    planned.map_err(|error| EngineError::Answer(format!("the planner failed: {error}")))
}

fn shown(
    made: &Plan,
    observed: &Observed,
    topology: &Topology,
    desired: &Desired,
) -> admin::TopologyPlan {
    let names = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect();
    let copies = |planned: &miroir_core::rebalance::plan::PlannedMove| {
        planned.shard_move.targets().count() as u64
    };
    let moves = made.moves.iter().take(MOVES_SHOWN_MAX);
    admin::TopologyPlan {
        epoch: 0,
        staged_epoch: None,
        changes: Vec::new(),
        refusals: made.refusals.iter().map(ToString::to_string).collect(),
        warnings: made.warnings.iter().map(ToString::to_string).collect(),
        losses: made.given_up.iter().map(ToString::to_string).collect(),
        move_count: made.moves.len() as u64,
        copy_count: made.moves.iter().map(copies).sum(),
        documents: made.documents,
        bytes: made.bytes,
        seconds: made.seconds,
        disk_factor: observed
            .disk_factor_milli
            .map(|milli| milli as f64 / 1000.0),
        imbalance_before: made.imbalance_before,
        imbalance_after: made.imbalance_after,
        least_replicas: admin::LeastReplicas {
            before: made.least_replicas.before,
            during: made.least_replicas.during,
            after: made.least_replicas.after,
        },
        nodes: made
            .nodes
            .iter()
            .map(|load| planned_node(load, topology, desired))
            .collect(),
        moves: moves
            .map(|planned| admin::PlannedMove {
                index: planned.shard_move.index.to_string(),
                shard: planned.shard_move.shard.0,
                from: names(&planned.shard_move.from),
                to: names(&planned.shard_move.to),
                documents: planned.documents,
                bytes: planned.bytes,
                least_replicas: planned.least_replicas,
            })
            .collect(),
    }
}

fn planned_node(
    load: &miroir_core::rebalance::plan::NodeLoad,
    topology: &Topology,
    desired: &Desired,
) -> admin::PlannedNode {
    let node = desired.topology.get_node(&load.node);
    let role = match (node, topology.get_node(&load.node)) {
        _ if desired.lost.contains(&load.node) => "lost",
        (None, _) => "leaving",
        (Some(node), _) if node.role == NodeRole::Draining => "draining",
        (Some(_), None) => "new",
        (Some(_), Some(_)) => "active",
    };
    let known = node.or_else(|| topology.get_node(&load.node));
    admin::PlannedNode {
        name: load.node.to_string(),
        zone: known.and_then(|node| node.zone.clone()),
        weight: known.map_or(0.0, |node| f64::from(node.weight_milli) / 1000.0),
        role: role.into(),
        share_bytes: load.share_bytes,
        bytes_before: load.bytes_before,
        bytes_after: load.bytes_after,
        bytes_peak: load.bytes_peak,
        bytes_twins: load.bytes_twins,
        replicas_before: load.replicas_before,
        replicas_after: load.replicas_after,
        bytes_received: load.bytes_received,
    }
}
