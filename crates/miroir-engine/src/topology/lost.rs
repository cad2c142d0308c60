//! A node that answers nothing for longer than the configuration allows is declared lost: its shards
//! are copied from the survivors to the others, those with the fewest copies first, as if an operator
//! had said so. Off unless `lost_after` is set.
//!
//! Failure is not topology, so much must be true before: [`verdict`] says what. Who looks may be the
//! one that is cut off; documents are never given up here; and what an operator has paused, or what has
//! hardly begun, comes first. Otherwise the loss joins what is being carried out, as one declared by hand
//! does: that may wait for the very node.

use super::carry::goal_of;
use super::{index_uids, observe, topology_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::state::{NodeView, Shared, Snapshot};
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use miroir_core::rebalance::movement::MovementState;
use miroir_core::rebalance::stage::StagedChange;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is to be done about nodes that are away.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// None is away for long enough.
    Nothing,
    /// These are lost.
    Lost(BTreeSet<NodeId>),
    /// Some would be, but for this.
    Spared(String),
}

/// Which nodes are lost.
///
/// With half of the nodes or more away, it is as likely that this proxy is cut off from them: then
/// none is lost, however long. So in a cluster of two nobody is ever declared lost but by hand.
fn verdict(
    away: &BTreeMap<NodeId, Duration>,
    node_count: usize,
    limit: Duration,
    now: Duration,
) -> Verdict {
    let is_due = |since: &Duration| now.saturating_sub(*since) >= limit;
    let due: BTreeSet<NodeId> = away
        .iter()
        .filter(|(_, since)| is_due(since))
        .map(|(node, _)| node.clone())
        .collect();
    if due.is_empty() {
        return Verdict::Nothing;
    }
    if away.len() * 2 >= node_count {
        return Verdict::Spared(format!(
            "{} of {node_count} nodes are away: this proxy may be the one that is cut off",
            away.len()
        ));
    }
    Verdict::Lost(due)
}

/// A shard that none but these nodes and those that cannot be read now hold.
fn last_copy(snapshot: &Snapshot, nodes: &BTreeSet<NodeId>) -> Option<String> {
    let is_safe = |set: &[NodeId]| {
        let is_kept = |node: &NodeId| {
            let view = snapshot.nodes.get(node);
            !nodes.contains(node) && view.is_some_and(NodeView::is_readable)
        };
        !set.iter().any(|node| nodes.contains(node)) || set.iter().any(is_kept)
    };
    snapshot.indexes.values().find_map(|entry| {
        let mut sets = (0u32..).zip(entry.replica_sets.iter());
        let (shard, _) = sets.find(|(_, set)| !is_safe(set))?;
        let uid = &entry.record.uid;
        Some(format!(
            "no other copy of shard {shard} of index {uid} can be read"
        ))
    })
}

/// Looks until the engine shuts down.
pub(crate) async fn run(engine: Engine, limit: Duration) {
    let shared = engine.shared_arc();
    // Of this process alone: a proxy that was away itself begins to count anew.
    let mut away: BTreeMap<NodeId, Duration> = BTreeMap::new();
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
        }
        let spared = match look(&engine, limit, &mut away).await {
            Ok(spared) => spared,
            Err(EngineError::Client { message, .. }) => Some(message),
            Err(error) => Some(error.to_string()),
        };
        if spared != told {
            if let Some(cause) = &spared {
                tracing::warn!(cause, "nodes that are away for long are not declared lost");
            }
            told = spared;
        }
    }
}

/// Declares lost what is; otherwise what speaks against it, if anything would be.
async fn look(
    engine: &Engine,
    limit: Duration,
    away: &mut BTreeMap<NodeId, Duration>,
) -> Result<Option<String>, EngineError> {
    let shared = engine.shared();
    let snapshot = shared.snapshot.load_full();
    let now = shared.ports.clock.monotonic();
    note_away(&snapshot, away, now);
    let lost = match verdict(away, snapshot.nodes.len(), limit, now) {
        Verdict::Nothing => return Ok(None),
        Verdict::Spared(cause) => return Ok(Some(cause)),
        Verdict::Lost(lost) => lost,
    };
    if let Some(cause) = last_copy(&snapshot, &lost) {
        return Ok(Some(cause));
    }
    declare(shared, engine, &snapshot, lost).await
}

fn note_away(snapshot: &Snapshot, away: &mut BTreeMap<NodeId, Duration>, now: Duration) {
    let is_away = |view: &NodeView| view.health == NodeHealth::Down;
    away.retain(|node, _| snapshot.nodes.get(node).is_some_and(is_away));
    for (node, _) in snapshot.nodes.iter().filter(|(_, view)| is_away(view)) {
        away.entry(node.clone()).or_insert(now);
    }
}

async fn declare(
    shared: &Shared,
    engine: &Engine,
    snapshot: &Snapshot,
    lost: BTreeSet<NodeId>,
) -> Result<Option<String>, EngineError> {
    let turn = shared.topology.turn()?;
    let mut record = shared.topology.record();
    let known = record.goal.as_ref().map(|goal| goal.lost_nodes().clone());
    let known = known.unwrap_or_default();
    let lost: BTreeSet<NodeId> = lost.difference(&known).cloned().collect();
    if lost.is_empty() {
        return Ok(None);
    }
    let topology = topology_of(shared, snapshot)?;
    let changes: Vec<StagedChange> = lost
        .iter()
        .map(|node| StagedChange::DeclareLost {
            node: node.clone(),
            accepts_data_loss: false,
        })
        .collect();
    let movement = engine.movement().map(|movement| movement.state);
    let in_the_way = match (&record.goal, movement) {
        (Some(_), Some(MovementState::Paused)) => Some("the moves of shards are paused"),
        (Some(goal), _) if goal.is_joined_by(&changes) => None,
        (Some(_), _) => {
            Some("another change of the topology has hardly begun, or is being taken back")
        }
        (None, Some(state)) if !state.is_final() => Some("shards are being moved"),
        (None, _) => None,
    };
    if let Some(cause) = in_the_way {
        return Ok(Some(cause.to_owned()));
    }
    let (goal, desired) = match goal_of(&record, &topology, &index_uids(snapshot), &changes) {
        Ok(goal) => goal,
        Err(EngineError::Client { message, .. }) => return Ok(Some(message)),
        Err(error) => return Err(error),
    };
    let planned = super::plan::plan_of(&observe::observe(shared).await, &desired).await?;
    if let Some(refusal) = planned.refusals.first() {
        return Ok(Some(refusal.to_string()));
    }
    record.goal = Some(goal);
    record.last_epoch = record.last_epoch.max(record.epoch) + 1;
    record.epoch = record.last_epoch;
    if !record.staged.is_empty() {
        // Its plan was another one: it must be looked at again before it is applied.
        record.last_epoch += 1;
    }
    let epoch = record.epoch;
    turn.put(shared, record).await?;
    shared.topology.goal_changed.notify_one();
    let names: Vec<&str> = lost.iter().map(NodeId::as_str).collect();
    tracing::error!(
        nodes = names.join(", "),
        epoch,
        "nodes were away for longer than `lost_after`: they are declared lost"
    );
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(600);

    fn away(since: &[u64]) -> BTreeMap<NodeId, Duration> {
        let of = |(at, since): (usize, &u64)| {
            (NodeId::new(format!("n{at}")), Duration::from_secs(*since))
        };
        since.iter().enumerate().map(of).collect()
    }

    #[test]
    fn a_node_away_for_long_is_lost_and_one_away_for_less_is_not() {
        let now = Duration::from_secs(700);
        let lost = verdict(&away(&[100, 101]), 5, LIMIT, now);
        assert_eq!(lost, Verdict::Lost([NodeId::new("n0")].into()));
        assert_eq!(verdict(&away(&[101]), 5, LIMIT, now), Verdict::Nothing);
    }

    proptest! {
        #[test]
        fn with_half_of_the_nodes_away_or_more_none_is_lost(
            since in prop::collection::vec(0..2000u64, 0..6),
            others in 0..6usize,
        ) {
            let node_count = since.len() + others;
            let now = Duration::from_secs(2000);
            let verdict = verdict(&away(&since), node_count, LIMIT, now);
            if since.len() * 2 >= node_count {
                prop_assert!(!matches!(verdict, Verdict::Lost(_)));
            } else {
                let due = since.iter().filter(|since| **since <= 1400).count();
                match verdict {
                    Verdict::Lost(lost) => prop_assert_eq!(lost.len(), due),
                    other => prop_assert!(other == Verdict::Nothing && due == 0),
                }
            }
        }
    }
}
