//! Nodes whose loss is accepted: what only they held begins anew, empty.

use crate::completer::Event;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::prober;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::plan::Plan;
use miroir_core::rebalance::stage::Desired;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// From now on nobody waits for these nodes or reads from them, whether they come back or not.
///
/// Repeated until they have left: the second half is of this process alone, and new batches wait for
/// them too.
pub(super) fn let_go(engine: &Engine, nodes: &BTreeSet<NodeId>) {
    if nodes.is_empty() {
        return;
    }
    let shared = engine.shared();
    let snapshot = shared.snapshot.load_full();
    for node in nodes {
        let view = snapshot.nodes.get(node);
        // One that has left the in-sync set is not read anyway.
        if view.is_some_and(|view| view.record.is_in_sync && !view.is_apart) {
            prober::keep_apart(node, shared, "it was declared lost".into());
        }
    }
    // Sent from here too: the dispatcher itself may wait for a batch that waits for them.
    if let Some(events) = shared.copy.events() {
        let nodes = Arc::new(nodes.clone());
        let _ = events.send(Event::GivenUp { nodes });
    }
}

/// Lets the shards of one index begin anew that nobody holds; false if there are none.
///
/// # Errors
/// It cannot be done now, with the reason.
pub(super) async fn begin_anew(
    engine: &Engine,
    planned: &Plan,
    desired: &Desired,
) -> Result<bool, EngineError> {
    let mut index: Option<PhysicalIndex> = None;
    let mut sets: BTreeMap<ShardId, Vec<NodeId>> = BTreeMap::new();
    for planned in &planned.moves {
        let one = &planned.shard_move;
        if desired.is_given_up(&one.from)
            && *index.get_or_insert_with(|| one.index.clone()) == one.index
        {
            sets.insert(one.shard, one.to.clone());
        }
    }
    let Some(index) = index else {
        return Ok(false);
    };
    let given_up = Arc::new(desired.given_up.clone());
    let turn = Turn::BeginAnew {
        index,
        sets,
        given_up,
    };
    engine.ask_dispatcher(turn).await?;
    Ok(true)
}
