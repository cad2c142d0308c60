//! Carrying out what was applied: nodes come, shards move, nodes leave.
//!
//! What is wanted is stored as a goal before anything is done about it. From then on one worker
//! compares goal and cluster and does the next thing, again after each change and each start:
//!
//! ```text
//! prepare (admit, update, close) ─► plan ─► move ─► plan again ─► nothing left ─► retire ─► done
//!                                    └── cancelled ─► open again what drained ─► given up
//! ```
//! A node that is lost for good meanwhile joins the goal: what is not switched is taken back, and what
//! is left of both is planned anew.
//!
//! Shards that only lost nodes held are no moves: where that loss is accepted they begin anew before
//! anything is copied.
//!
//! An index made while shards move may lie where it should not; the next plan moves it too. Only the
//! first plan evens out: the others do what must be.

use super::{Record, given_up, index_uids, newcomer, observe, sentence, topology_of, wrong};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::state::NodeSpec;
use miroir_api::admin;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::rebalance::movement::{MovementState, MovementStatus};
use miroir_core::rebalance::stage::{Desired, StagedChange, desire};
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
    /// So does the one that is being carried out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_evening: bool,
    /// What moves was planned before a node was lost: it is taken back, and planned anew.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    takes_back: bool,
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

    /// Such changes need not wait for its end: nodes are lost when they are lost, and it may wait for
    /// one of them itself.
    pub(super) fn is_joined_by(&self, changes: &[StagedChange]) -> bool {
        let is_loss = |change: &StagedChange| matches!(change, StagedChange::DeclareLost { .. });
        self.is_prepared && !self.is_cancelled && !changes.is_empty() && changes.iter().all(is_loss)
    }

    /// The nodes that leave because they are lost.
    pub(super) fn lost_nodes(&self) -> &BTreeSet<NodeId> {
        &self.lost
    }

    /// The same without these nodes, which were lost meanwhile: what is not switched is planned anew.
    fn without(&self, topology: &Topology, desired: &Desired) -> Self {
        let lost = &desired.lost;
        let mut next = self.clone();
        next.admit
            .retain(|node| topology.get_node(&node.id).is_none());
        next.update.retain(|node| !lost.contains(&node.id));
        next.closed.extend(lost.iter().cloned());
        next.leaving.extend(lost.iter().cloned());
        next.lost.extend(lost.iter().cloned());
        next.given_up.extend(desired.given_up.iter().cloned());
        next.replacements.retain(|_, new| !lost.contains(new));
        // What was evened out only in part shall still be.
        next.evens_out |= self.is_evening;
        next.is_evening = false;
        next.takes_back = true;
        next.is_prepared = false;
        next.movement = None;
        next.waits_for = None;
        next
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
            (Some(_), _) if self.takes_back => {
                "what was not switched when a node was lost is taken back, to be planned anew"
                    .into()
            }
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

/// The goal that these changes make, over the one there is if they join it, and what is then wanted.
pub(super) fn goal_of(
    record: &Record,
    topology: &Topology,
    uids: &[IndexUid],
    changes: &[StagedChange],
) -> Result<(Goal, Desired), EngineError> {
    let desired =
        desire(topology, uids, changes).map_err(|error| wrong(sentence(&error.to_string())))?;
    match &record.goal {
        Some(goal) if goal.is_joined_by(changes) => {
            let goal = goal.without(topology, &desired);
            let joint = goal.desired(topology);
            let joint = joint.ok_or_else(|| wrong("No node would be left."))?;
            Ok((goal, joint))
        }
        _ => Ok((Goal::new(topology, &desired), desired)),
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
    /// Begins to carry out what is staged. Where nothing but the loss of nodes is staged, it joins what
    /// is being carried out.
    ///
    /// # Errors
    /// [`EngineError::Client`] if nothing is staged, if the epoch is not the staged one, while another
    /// is being carried out, and for all that refuses the plan.
    pub async fn apply(&self, epoch: u64) -> Result<admin::StagedTopology, EngineError> {
        let shared = self.shared();
        let turn = shared.topology.turn()?;
        let mut record = shared.topology.record();
        if record.staged.is_empty() {
            return Err(wrong("Nothing is staged."));
        }
        if epoch != record.last_epoch {
            return Err(wrong(format!(
                "Epoch {epoch} is not what is staged, {} is: look at its plan first.",
                record.last_epoch
            )));
        }
        let is_joining = match &record.goal {
            Some(goal) if goal.is_joined_by(&record.staged) => true,
            Some(goal) => {
                let told = goal.describe(record.epoch, self.movement().as_ref());
                return Err(wrong(format!(
                    "{told} Wait for its end (miroir topology show), or take back what is not done of \
                     it (miroir topology cancel). Then: miroir topology apply --epoch {epoch}. \
                     Only the loss of nodes, staged alone, joins what is under way."
                )));
            }
            None => false,
        };
        let is_moving = self
            .movement()
            .is_some_and(|movement| !movement.state.is_final());
        if is_moving && !is_joining {
            return Err(wrong(format!(
                "Shards are being moved. Wait for the end (miroir topology status), or take back what \
                 is not switched (miroir topology cancel). Then: miroir topology apply --epoch {epoch}."
            )));
        }
        let snapshot = shared.snapshot.load_full();
        let topology = topology_of(shared, &snapshot)?;
        let (goal, desired) = goal_of(&record, &topology, &index_uids(&snapshot), &record.staged)?;
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
        record.goal = Some(goal);
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
            Ok(Next::Went(next)) => note(&engine, &goal, Some(*next)).await,
            Ok(Next::Over) => {
                tracing::info!(epoch = record.epoch, "the topology is as it was asked for");
                note(&engine, &goal, None).await
            }
            Ok(Next::Wait) => false,
            Err(error) => {
                tracing::warn!(%error, "the topology cannot be carried on; it is tried again");
                let waits_for = Some(cause_of(&error));
                if waits_for != goal.waits_for {
                    let next = Goal {
                        waits_for,
                        ..goal.clone()
                    };
                    note(&engine, &goal, Some(next)).await;
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

/// Stores what became of the goal as it was before; whether there is more to do at once.
async fn note(engine: &Engine, before: &Goal, goal: Option<Goal>) -> bool {
    let shared = engine.shared();
    // Whoever stages something is done soon.
    let Ok(turn) = shared.topology.turn() else {
        return false;
    };
    let mut record = shared.topology.record();
    let is_cancelled = record.goal.as_ref().is_some_and(|goal| goal.is_cancelled);
    let is_as_before = record.goal.as_ref().is_some_and(|now| {
        let now = Goal {
            is_cancelled: before.is_cancelled,
            ..now.clone()
        };
        now == *before
    });
    if !is_as_before {
        // The loss of a node joined it meanwhile: it is looked at anew.
        return true;
    }
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
        let is_going_on = movement.as_ref().is_some_and(|movement| {
            matches!(
                movement.state,
                MovementState::Running | MovementState::Paused
            )
        });
        if goal.takes_back && is_going_on {
            engine.cancel_movement().await?;
        }
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
            takes_back: false,
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
        is_evening: goal.evens_out,
        evens_out: false,
        waits_for: None,
        ..goal
    })))
}
