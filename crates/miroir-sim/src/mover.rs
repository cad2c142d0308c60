//! An operator who moves shards about, at random: begins movements, lets them stand still and go on,
//! and takes them back.

use crate::dice::Dice;
use crate::run::Sim;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::MovementState;
use miroir_engine::Engine;
use miroir_engine::port::Catalog;

/// Moves shards now and then, until it is dropped.
pub(crate) async fn run(sim: &Sim, engine: &Engine, mut dice: Dice) {
    loop {
        tokio::time::sleep(dice.millis(20, 700)).await;
        let state = engine.movement().map(|movement| movement.state);
        // What is refused, since something else is under way or has changed, is as good.
        let done = match state.filter(|state| !state.is_final()) {
            None => begin(sim, engine, &mut dice).await,
            Some(state) => match (dice.below(10), state) {
                (0, _) => engine.cancel_movement().await,
                (1, MovementState::Running) => engine.pause_movement().await,
                (2..7, MovementState::Paused) => engine.resume_movement().await,
                _ => continue,
            },
        };
        let at = sim.time.now();
        sim.history
            .note(at, || format!("operator, at {state:?}: {done:?}"));
    }
}

async fn begin(
    sim: &Sim,
    engine: &Engine,
    dice: &mut Dice,
) -> Result<(), miroir_engine::EngineError> {
    let store = sim.world.store.inner();
    let indexes = store.load_indexes().await.unwrap_or_default();
    if indexes.is_empty() {
        return Ok(());
    }
    let index = indexes[dice.position(indexes.len())].physical.clone();
    let Ok(Some((_, sets))) = store.load_placement(&index).await else {
        return Ok(());
    };
    let names = sim.world.fleet.names();
    let mut moves = Vec::new();
    for (shard, from) in (0..).map(ShardId).zip(sets) {
        if dice.chance(30) {
            continue;
        }
        // Where disks are lost, what has one copy would be lost for good.
        let least = if sim.options.has_disk_loss { 2 } else { 1 };
        let copies = (least + dice.position(3)).min(names.len());
        let mut to: Vec<NodeId> = Vec::new();
        while to.len() < copies {
            let node = NodeId::new(dice.pick(&names));
            if !to.contains(&node) {
                to.push(node);
            }
        }
        moves.push(ShardMove {
            index: index.clone(),
            shard,
            from,
            to,
        });
    }
    engine.start_movement(moves).await.map(drop)
}

/// What of moves is still to be done; one that stands still is made to go on.
pub(crate) async fn left(sim: &Sim, engine: &Engine) -> Vec<String> {
    let mut left = Vec::new();
    if let Some(movement) = engine.movement()
        && !movement.state.is_final()
    {
        if movement.state == MovementState::Paused {
            let _ = engine.resume_movement().await;
        }
        left.push(format!("a movement never ends: {movement:?}"));
    }
    let store = sim.world.store.inner();
    for index in store.load_indexes().await.unwrap_or_default() {
        let key = format!("placing/{}", index.physical);
        let fact = store.load_fact(&key).await.unwrap_or_default();
        let transit = fact.as_ref().and_then(|fact| fact.get("transit"));
        left.extend(transit.map(|transit| format!("{} is on its way: {transit}", index.physical)));
    }
    left
}
