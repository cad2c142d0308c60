//! An operator who cuts indexes into other numbers of shards, at random: begins re-shards, lets them
//! stand still and go on, takes them back, switches back, and lets the way back go.

use crate::dice::Dice;
use crate::run::Sim;
use miroir_core::id::IndexUid;
use miroir_engine::Engine;
use std::time::Duration;

/// The way back is let go by itself after so long, now and then before anybody asks.
const KEEP_SECONDS: [u64; 3] = [1, 20, 100_000];

/// Cuts indexes now and then, until it is dropped.
pub(crate) async fn run(sim: &Sim, engine: &Engine, mut dice: Dice) {
    loop {
        tokio::time::sleep(dice.millis(20, 700)).await;
        let mut open = engine.reshards();
        open.retain(|one| is_open(&one.state));
        let chosen = match open.is_empty() || dice.chance(20) {
            true => None,
            false => Some(open[dice.position(open.len())].clone()),
        };
        // What is refused, since it does not stand so or something else is under way, is as good.
        let done = match &chosen {
            None => begin(engine, &mut dice).await,
            Some(one) => {
                let word = match (dice.below(10), one.state.as_str()) {
                    (0, _) => "cancel",
                    (1, "copying" | "verifying" | "waiting") => "pause",
                    (2..8, "paused") => "resume",
                    (3..5, "wayBackKept") => "back",
                    (6, "wayBackKept") => "drop",
                    _ => continue,
                };
                let Ok(index) = IndexUid::new(one.index_uid.clone()) else {
                    continue;
                };
                engine.steer_reshard(&index, word).await
            }
        };
        let at = sim.time.now();
        sim.history
            .note(at, || format!("operator, at {chosen:?}: {done:?}"));
    }
}

fn is_open(state: &str) -> bool {
    !matches!(state, "done" | "cancelled" | "wayBackLost")
}

async fn begin(engine: &Engine, dice: &mut Dice) -> Result<(), miroir_engine::EngineError> {
    let indexes = engine.indexes();
    if indexes.is_empty() {
        return Ok(());
    }
    let index = &indexes[dice.position(indexes.len())].uid;
    let shard_count = dice.pick(&[1, 2, 3, 4, 5, 8, 16]);
    let keep = Duration::from_secs(dice.pick(&KEEP_SECONDS));
    engine.reshard(index, shard_count, keep).await.map(drop)
}

/// What of re-shards is still to be done; one that stands still is made to go on, and a way back let
/// go.
pub(crate) async fn left(engine: &Engine) -> Vec<String> {
    let mut left = Vec::new();
    let mut open = engine.reshards();
    open.retain(|one| is_open(&one.state));
    for one in open {
        let word = match one.state.as_str() {
            "paused" => Some("resume"),
            "wayBackKept" => Some("drop"),
            _ => None,
        };
        if let (Some(word), Ok(index)) = (word, IndexUid::new(one.index_uid.clone())) {
            let _ = engine.steer_reshard(&index, word).await;
        }
        left.push(format!("a re-shard never ends: {one:?}"));
    }
    left
}
