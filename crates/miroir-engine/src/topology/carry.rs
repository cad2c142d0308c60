//! Carrying out what was applied: nodes come, shards move, nodes leave.
//!
//! What is wanted is stored as a goal before anything is done about it. From then on one worker
//! compares goal and cluster and does the next thing, again after each change and each start:
//!
//! ```text
//! prepare (admit, update, close) ─► plan ─► move ─► plan again ─► nothing left ─► retire ─► done
//!                                    └── cancelled ─► open again what drained ─► given up
//! ```
//! Shards that only lost nodes held are no moves: where that loss is accepted they begin anew before
//! anything is copied.
//!
//! An index made while shards move may lie where it should not; the next plan moves it too. Only the
//! first plan evens out: the others do what must be.

use super::{given_up, index_uids, newcomer, observe, sentence, topology_of, wrong};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::state::NodeSpec;
use miroir_api::admin;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::rebalance::movement::{MovementState, MovementStatus};
use miroir_core::rebalance::stage::{Desired, desire};
use miroir_core::topology::{Node, NodeRole, Topology};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two looks at a movement under way.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Moves under way that are shown.
const MOVING_SHOWN_MAX: usize = 20;

/// What is being carried out. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Goal {
    /// The nodes that come.
    admit: Vec<Node>,
    /// The nodes that change, as they shall be.
    update: Vec<Node>,
    /// The nodes that take no shards any more.
    closed: BTreeSet<NodeId>,
    /// Those that took none before.
    closed_before: BTreeSet<NodeId>,
    /// The nodes that leave.
    leaving: BTreeSet<NodeId>,
    /// Those of them that are lost.
    lost: BTreeSet<NodeId>,
    /// Those of them whose loss is accepted.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    given_up: BTreeSet<NodeId>,
    /// Who takes whose place.
    replacements: BTreeMap<NodeId, NodeId>,
    /// Copies of all indexes, if they change.
    replication_factor_of_all: Option<u32>,
    /// Copies of single indexes.
    replication_factors: BTreeMap<IndexUid, u32>,
    /// The next plan evens out.
    evens_out: bool,
    /// Nodes have come, changed, and been closed.
    is_prepared: bool,
    /// It is given up as soon as nothing moves.
    is_cancelled: bool,
    /// The movement begun last.
    movement: Option<u64>,
    /// What keeps it from going on.
    waits_for: Option<String>,
}

impl Goal {
    pub(super) fn new(before: &Topology, desired: &Desired) -> Self {
        let drains = |topology: &Topology| -> BTreeSet<NodeId> {
            let nodes = topology.nodes().iter();
            nodes
                .filter(|node| node.role == NodeRole::Draining)
                .map(|node| node.id.clone())
                .collect()
        };
        let nodes = desired.topology.nodes();
        let is_changed = |node: &&Node| {
            before.get_node(&node.id).is_some_and(|old| {
                old.url != node.url
                    || old.zone != node.zone
                    || old.weight_milli != node.weight_milli
            })
        };
        let is_new = |node: &&Node| before.get_node(&node.id).is_none();
        Self {
            admit: nodes.iter().filter(is_new).cloned().collect(),
            update: nodes.iter().filter(is_changed).cloned().collect(),
            closed: drains(&desired.topology)
                .into_iter()
                .chain(desired.leaving.iter().cloned())
                .collect(),
            closed_before: drains(before),
            leaving: desired.leaving.clone(),
            lost: desired.lost.clone(),
            given_up: desired.given_up.clone(),
            replacements: desired.replacements.clone(),
            replication_factor_of_all: desired.replication_factor_of_all,
            replication_factors: desired.replication_factors.clone(),
            evens_out: desired.evens_out,
            ..Self::default()
        }
    }

    /// What is wanted of the nodes there are now.
    fn desired(&self, topology: &Topology) -> Option<Desired> {
        let nodes = topology.nodes().iter();
        let staying = nodes
            .filter(|node| !self.leaving.contains(&node.id))
            .cloned();
        Some(Desired {
            topology: Topology::new(staying.collect()).ok()?,
            leaving: self.leaving.clone(),
            lost: self.lost.clone(),
            given_up: self.given_up.clone(),
            replacements: self.replacements.clone(),
            replication_factor_of_all: self.replication_factor_of_all,
            replication_factors: self.replication_factors.clone(),
            evens_out: self.evens_out,
        })
    }

    /// In words, with the movement's state.
    pub(super) fn describe(&self, epoch: u64, movement: Option<&MovementStatus>) -> String {
        let moving = movement.filter(|movement| !movement.state.is_final());
        let told = match (moving, &self.waits_for) {
            _ if self.is_cancelled => "it is being cancelled".to_owned(),
            (Some(movement), _) => format!(
                "{}, {} of {} moves done",
                movement.state.as_str(),
                movement.moves_done,
                movement.moves_total
            ),
            (None, Some(cause)) => format!("it waits: {cause}"),
            (None, None) => "it is being prepared or finished".to_owned(),
        };
        format!("Epoch {epoch} is being carried out: {told}.")
    }
}

fn spec(node: &Node) -> NodeSpec {
    NodeSpec {
        id: node.id.clone(),
        url: node.url.clone(),
        zone: node.zone.clone(),
        weight_milli: node.weight_milli,
    }
}

/// What follows for the goal.
enum Next {
    /// Look again a little later.
    Wait,
    /// The goal has changed: go on at once.
    Went(Box<Goal>),
    /// There is no goal any more.
    Over,
}

impl Engine {
    /// Begins to carry out what is staged.
    ///
    /// # Errors
    /// [`EngineError::Client`] if nothing is staged, if the epoch is not the staged one, while another
    /// is being carried out, and for all that refuses the plan.
    pub async fn apply(&self, epoch: u64) -> Result<admin::StagedTopology, EngineError> {
        let shared = self.shared();
        let turn = shared.topology.turn()?;
        let mut record = shared.topology.record();
        if record.goal.is_some() {
            return Err(wrong(format!(
                "Epoch {} is still being carried out: wait for its end, or cancel it.",
                record.epoch
            )));
        }
        if record.staged.is_empty() {
            return Err(wrong("Nothing is staged."));
        }
        if epoch != record.last_epoch {
            return Err(wrong(format!(
                "Epoch {epoch} is not what is staged, {} is: look at its plan first.",
                record.last_epoch
            )));
        }
        if self
            .movement()
            .is_some_and(|movement| !movement.state.is_final())
        {
            return Err(wrong(
                "Shards are being moved: wait for the end, or cancel it.",
            ));
        }
        let snapshot = shared.snapshot.load_full();
        let topology = topology_of(shared, &snapshot)?;
        let desired = desire(&topology, &index_uids(&snapshot), &record.staged)
            .map_err(|error| wrong(sentence(&error.to_string())))?;
        for change in &record.staged {
            newcomer::check_change(shared, change).await?;
        }
        let planned = super::plan::plan_of(&observe::observe(shared).await, &desired).await?;
        if !planned.refusals.is_empty() {
            let causes: Vec<String> = planned
                .refusals
                .iter()
                .map(|refusal| sentence(&refusal.to_string()))
                .collect();
            return Err(wrong(causes.join(" ")));
        }
        record.goal = Some(Goal::new(&topology, &desired));
        record.epoch = epoch;
        record.staged.clear();
        record.is_declared = false;
        turn.put(shared, record).await?;
        shared.topology.goal_changed.notify_one();
        Ok(self.staged())
    }

    /// Gives up what is being carried out: what is not switched yet is taken back, nodes that were
    /// to leave stay. Nodes that came, and zones and weights that changed, stay as they are now.
    ///
    /// # Errors
    /// [`EngineError::Client`] if nothing is being carried out.
    pub async fn cancel_topology(&self) -> Result<admin::Movement, EngineError> {
        let shared = self.shared();
        {
            let turn = shared.topology.turn()?;
            let mut record = shared.topology.record();
            if let Some(goal) = &mut record.goal {
                goal.is_cancelled = true;
                turn.put(shared, record).await?;
            }
        }
        if self
            .movement()
            .is_some_and(|movement| !movement.state.is_final())
        {
            self.cancel_movement().await?;
        } else if shared.topology.record().goal.is_none() {
            return Err(wrong("Nothing is being carried out."));
        }
        shared.topology.goal_changed.notify_one();
        Ok(self.movement_shown())
    }

    /// How the movement stands, as the admin API shows it.
    #[must_use]
    pub fn movement_shown(&self) -> admin::Movement {
        let Some(status) = self.movement() else {
            return admin::Movement {
                state: "none".into(),
                ..admin::Movement::default()
            };
        };
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for one in &status.moves {
            *states.entry(one.state.as_str().to_owned()).or_default() += 1;
        }
        let names = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect();
        let under_way = status
            .moves
            .iter()
            .filter(|one| !one.state.is_final() && one.state.as_str() != "waiting");
        admin::Movement {
            id: Some(status.id),
            state: status.state.as_str().into(),
            moves_done: status.moves_done,
            moves_total: status.moves_total,
            documents: status.documents,
            bytes: status.bytes,
            bytes_per_second: status.bytes_per_second,
            remaining_seconds: status.remaining_seconds,
            waits_for: status
                .waits_for
                .as_ref()
                .map(|wait| format!("{}: {}", wait.what, wait.why)),
            states,
            moving: under_way
                .take(MOVING_SHOWN_MAX)
                .map(|one| admin::MovingShard {
                    index: one.shard_move.index.to_string(),
                    shard: one.shard_move.shard.0,
                    from: names(&one.shard_move.from),
                    to: names(&one.shard_move.to),
                    state: one.state.as_str().into(),
                    documents: one.documents,
                })
                .collect(),
        }
    }
}

/// Carries goals out until the engine shuts down.
pub(crate) async fn run(engine: Engine) {
    let shared = engine.shared_arc();
    loop {
        let changed = shared.topology.goal_changed.notified();
        let record = shared.topology.record();
        let Some(goal) = record.goal.clone() else {
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = changed => continue,
            }
        };
        let went = match step(&engine, goal.clone()).await {
            Ok(Next::Went(next)) => note(&engine, Some(*next)).await,
            Ok(Next::Over) => {
                tracing::info!(epoch = record.epoch, "the topology is as it was asked for");
                note(&engine, None).await
            }
            Ok(Next::Wait) => false,
            Err(error) => {
                tracing::warn!(%error, "the topology cannot be carried on; it is tried again");
                let waits_for = Some(cause_of(&error));
                if waits_for != goal.waits_for {
                    note(&engine, Some(Goal { waits_for, ..goal })).await;
                }
                false
            }
        };
        if went {
            continue;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = changed => {}
            () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
        }
    }
}

fn cause_of(error: &EngineError) -> String {
    match error {
        EngineError::Client { message, .. } => message.trim_end_matches('.').to_owned(),
        other => other.to_string(),
    }
}

/// Stores what became of the goal; whether it could be.
async fn note(engine: &Engine, goal: Option<Goal>) -> bool {
    let shared = engine.shared();
    // Whoever stages something is done soon.
    let Ok(turn) = shared.topology.turn() else {
        return false;
    };
    let mut record = shared.topology.record();
    let is_cancelled = record.goal.as_ref().is_some_and(|goal| goal.is_cancelled);
    record.goal = goal.map(|goal| Goal {
        // Asked for meanwhile.
        is_cancelled: goal.is_cancelled || is_cancelled,
        ..goal
    });
    turn.put(shared, record).await.is_ok()
}

/// Does the next thing.
async fn step(engine: &Engine, goal: Goal) -> Result<Next, EngineError> {
    let shared = engine.shared();
    let movement = engine.movement();
    if movement
        .as_ref()
        .is_some_and(|movement| !movement.state.is_final())
    {
        return Ok(Next::Wait);
    }
    let was_cancelled = movement.as_ref().is_some_and(|movement| {
        goal.movement == Some(movement.id) && movement.state == MovementState::Cancelled
    });
    if goal.is_cancelled || was_cancelled {
        engine.close_nodes(goal.closed_before.clone()).await?;
        return Ok(Next::Over);
    }
    if !goal.is_prepared {
        if !goal.admit.is_empty() {
            engine
                .admit_nodes(goal.admit.iter().map(spec).collect())
                .await?;
        }
        if !goal.update.is_empty() {
            engine
                .update_nodes(goal.update.iter().map(spec).collect())
                .await?;
        }
        engine.close_nodes(goal.closed.clone()).await?;
        return Ok(Next::Went(Box::new(Goal {
            is_prepared: true,
            waits_for: None,
            ..goal
        })));
    }
    given_up::let_go(engine, &goal.given_up);
    let snapshot = shared.snapshot.load_full();
    let Some(desired) = goal.desired(&topology_of(shared, &snapshot)?) else {
        return Err(wrong("No node would be left."));
    };
    let planned = super::plan::plan_of(&observe::observe(shared).await, &desired).await?;
    if let Some(refusal) = planned.refusals.first() {
        return Err(wrong(sentence(&refusal.to_string())));
    }
    if planned.moves.is_empty() {
        let is_there = |node: &&NodeId| snapshot.nodes.contains_key(*node);
        let leaving: Vec<NodeId> = goal.leaving.iter().filter(is_there).cloned().collect();
        // They have left already where the process ended just then.
        if !leaving.is_empty() {
            engine.retire_nodes(leaving).await?;
        }
        return Ok(Next::Over);
    }
    if given_up::begin_anew(engine, &planned, &desired).await? {
        return Ok(Next::Went(Box::new(Goal {
            waits_for: None,
            ..goal
        })));
    }
    let moves = planned.moves.into_iter().map(|planned| planned.shard_move);
    let id = engine.start_movement(moves.collect()).await?;
    Ok(Next::Went(Box::new(Goal {
        movement: Some(id),
        evens_out: false,
        waits_for: None,
        ..goal
    })))
}
