//! Experimental features: durable, and on every node before it is worked with.

use crate::world::World;
use miroir_engine::Engine;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const CONTAINS: &str = "containsFilter";

async fn switch(engine: &Engine, name: &str, is_on: bool) {
    let changes = BTreeMap::from([(name.to_owned(), is_on)]);
    engine.switch_features(changes).await.unwrap();
}

fn told(world: &World, node: &str) -> Map<String, Value> {
    world.fleet.on(node, |node| node.features.clone())
}

#[test]
fn a_switch_is_on_every_node_when_it_is_answered() {
    let world = World::mirrored();
    world.run(async |engine| {
        world.in_sync_is("a", true).await;
        crate::world::pass(std::time::Duration::from_secs(1)).await;
        for is_on in [true, false] {
            switch(&engine, CONTAINS, is_on).await;
            for node in ["a", "b"] {
                assert_eq!(Value::from(told(&world, node)), json!({ CONTAINS: is_on }));
            }
            assert_eq!(engine.has_feature(CONTAINS), is_on);
        }
    });
}

#[test]
fn a_node_that_was_away_is_told_when_it_returns_and_a_proxy_remembers() {
    let world = World::mirrored();
    world.fleet.set("b", |faults| faults.is_unreachable = true);
    world.run(async |engine| {
        crate::world::pass(std::time::Duration::from_secs(5)).await;
        switch(&engine, CONTAINS, true).await;
        assert!(told(&world, "b").is_empty());
    });
    world.fleet.on("a", |node| node.features.clear());
    world.fleet.set("b", |faults| faults.is_unreachable = false);
    world.run(async |engine| {
        assert!(engine.has_feature(CONTAINS));
        crate::world::pass(std::time::Duration::from_secs(5)).await;
        for node in ["a", "b"] {
            assert_eq!(Value::from(told(&world, node)), json!({ CONTAINS: true }));
        }
    });
}

#[test]
fn a_crash_behind_the_store_switches_the_nodes_at_the_next_start() {
    let world = World::mirrored();
    let is_reached = world.run_until_step("features.stored", 0, async |engine| {
        switch(&engine, "editDocumentsByFunction", true).await;
    });
    assert!(is_reached);
    world.run(async |_| {
        crate::world::pass(std::time::Duration::from_secs(5)).await;
        for node in ["a", "b"] {
            assert_eq!(told(&world, node)["editDocumentsByFunction"], true);
        }
    });
}

#[test]
fn nodes_may_do_what_was_accepted_before_it_was_switched_off() {
    let world = World::mirrored();
    world.run(async |engine| {
        crate::world::pass(std::time::Duration::from_secs(1)).await;
        for name in [
            "editDocumentsByFunction",
            "multimodal",
            "compositeEmbedders",
        ] {
            assert!(!engine.knows_feature(name));
            for is_on in [true, false] {
                switch(&engine, name, is_on).await;
                assert_eq!(told(&world, "a")[name], true);
            }
            assert!(engine.knows_feature(name) && !engine.has_feature(name));
        }
    });
}
