//! Movements beside writes that never cease: there is always something in flight, and nobody may wait
//! for a moment at which there is nothing.

use super::{Model, assert_placed, doc, nodes, over, populate, spread, start, world};
use crate::world::{World, add, pass, register};
use miroir_engine::Engine;
use miroir_engine::copy::CopyConfig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two writes.
const BETWEEN: Duration = Duration::from_millis(30);

/// One who writes and waits for nothing; the nodes work as long as it is told to.
pub(crate) struct Writer {
    number: u64,
    paced: Vec<&'static str>,
    pub(crate) expected: BTreeMap<String, Value>,
}

impl Writer {
    /// Nodes that take so long for a task.
    pub(crate) fn new(world: &World, model: &Model, paces: &[(&'static str, u64)]) -> Self {
        for (node, millis) in paces {
            let pace = Some(Duration::from_millis(*millis));
            world.fleet.on(node, |node| node.pace = pace);
        }
        Self {
            number: 0,
            paced: paces.iter().map(|(node, _)| *node).collect(),
            expected: model.now(),
        }
    }

    /// Writes until it is so, whatever `look` does meanwhile.
    pub(crate) async fn until(&mut self, world: &World, engine: &Engine, look: impl Fn() -> bool) {
        let begun = self.number;
        while !look() {
            let id = 1000 + self.number % 50;
            register(engine, add("m", &[doc(id, self.number)])).await;
            self.expected.insert(id.to_string(), doc(id, self.number));
            self.number += 1;
            assert!(
                self.number < begun + 6000,
                "it never ends: {:?} {:?}",
                engine.movement(),
                engine.reshards()
            );
            pass(BETWEEN).await;
            let now = BETWEEN * u32::try_from(self.number).unwrap();
            for node in &self.paced {
                world.fleet.on(node, |node| node.work_until(now));
            }
        }
    }

    /// Nothing is written any more, and the nodes take no time.
    pub(crate) async fn rest(&self, world: &World) {
        for node in &self.paced {
            world.fleet.on(node, |node| node.pace = None);
        }
        world.settled().await;
        pass(Duration::from_secs(3)).await;
    }
}

fn is_over(engine: &Engine) -> bool {
    engine.movement().unwrap().state.is_final()
}

/// A world in which copies are not slowed.
fn quick(names: &[&str], shard_count: u32, copies: u32) -> World {
    let mut world = world(names, shard_count, copies);
    world.copy = CopyConfig::default();
    world
}

/// Enough for several pieces.
async fn fill(engine: &Engine, model: &Model) {
    populate(engine, model).await;
    let more: Vec<Value> = (2000..2400).map(|id| doc(id, id)).collect();
    let write = add("m", &more);
    model
        .write(engine, write, |known| {
            known.extend(more.iter().map(|d| (d["id"].to_string(), d.clone())));
        })
        .await;
}

#[test]
fn a_movement_ends() {
    let world = quick(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        // Nodes that take longer for a task than it takes the next write to come.
        let mut writer = Writer::new(&world, &model, &[("a", 45), ("b", 45)]);
        start(&world, &engine, spread(&["a", "b"], 1)).await;
        writer.until(&world, &engine, || is_over(&engine)).await;
        writer.rest(&world).await;
        assert_placed(&world, "m", &writer.expected).await;
    });
}

/// It is behind for as long as there are writes, and nothing makes these wait but the copy.
#[test]
fn a_target_that_works_slower_than_writes_come_gets_its_shards() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        fill(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        let mut writer = Writer::new(&world, &model, &[("a", 5), ("b", 80)]);
        start(&world, &engine, |_| nodes(&["b"])).await;
        writer.until(&world, &engine, || is_over(&engine)).await;
        writer.rest(&world).await;
        assert_placed(&world, "m", &writer.expected).await;
    });
}

/// What lies beside is forgotten once it is removed, whatever else the node is owed; a shard can come
/// back to a node that it left while the node was away.
#[test]
fn a_shard_comes_back_to_a_node_that_was_away_when_it_left() {
    let world = quick(&["a", "b", "c"], 4, 2);
    let strike = |fleet: &crate::node::Fleet| fleet.set("a", |faults| faults.is_unreachable = true);
    // The first switch brings all to a and b.
    world.run_with_step("move.switched", 1, strike, async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a", "b"])).await;
        over(&engine).await;
        let paces = [("a", 200), ("b", 200), ("c", 200)];
        let mut writer = Writer::new(&world, &model, &paces);
        start(&world, &engine, spread(&["a", "b", "c"], 2)).await;
        writer.until(&world, &engine, || is_over(&engine)).await;
        assert!(!world.node("a").await.is_in_sync, "it is away");
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        start(&world, &engine, |_| nodes(&["a", "b"])).await;
        writer.until(&world, &engine, || is_over(&engine)).await;
        writer.rest(&world).await;
        assert_placed(&world, "m", &writer.expected).await;
    });
}
