//! Nodes join, change and leave while the cluster runs; what lies where it should not is found.

use crate::world::{World, add, create, pass, spec, succeed, uid};
use miroir_core::id::{NodeId, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_engine::Engine;
use miroir_engine::port::{Catalog, NodeWrite};
use miroir_engine::state::NodeSpec;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn documents() -> Vec<Value> {
    (0..40).map(|id| json!({"id": id})).collect()
}

fn grown() -> World {
    let mut world = World::new(&["a", "b"], 4, 1);
    world.unnamed = BTreeSet::from(["b".to_owned()]);
    world
}

async fn move_all(world: &World, engine: &Engine, to: &str) {
    let physical = world.index("m").await.expect("an index").physical;
    let (_, sets) = world
        .store
        .load_placement(&physical)
        .await
        .unwrap()
        .unwrap();
    let moves = (0..).zip(sets).map(|(shard, from)| ShardMove {
        index: physical.clone(),
        shard: ShardId(shard),
        from,
        to: vec![NodeId::new(to)],
    });
    engine.start_movement(moves.collect()).await.unwrap();
    for _ in 0..4000 {
        if engine.movement().unwrap().state.is_final() {
            return;
        }
        pass(Duration::from_millis(10)).await;
    }
    panic!("it never ends: {:#?}", engine.movement());
}

async fn count(engine: &Engine) -> Value {
    let stats = engine.index_stats(&uid("m")).await.unwrap();
    stats["numberOfDocuments"].clone()
}

#[test]
fn a_node_admitted_at_run_time_takes_everything_and_the_first_one_goes() {
    let world = grown();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        engine.admit_nodes(vec![spec("b")]).await.unwrap();
        engine
            .admit_nodes(vec![spec("b")])
            .await
            .expect("once more is the same");
        let early = engine.retire_nodes(vec![NodeId::new("a")]).await;
        let text = early.unwrap_err().to_string();
        assert!(text.contains("node a holds shards of index m"), "{text}");
        move_all(&world, &engine, "b").await;
        assert_eq!(count(&engine).await, 40);
        engine.retire_nodes(vec![NodeId::new("a")]).await.unwrap();
        succeed(&engine, create("later")).await;
        succeed(&engine, add("m", &[json!({"id": 99})])).await;
        assert!(world.fleet.on("a", |node| node.indexes.is_empty()));
        let last = engine.retire_nodes(vec![NodeId::new("b")]).await;
        assert!(last.is_err(), "it holds all there is");
    });
    // The configuration names a, which is retired, and not b, which the store knows.
    world.run(async |engine| {
        pass(Duration::from_secs(1)).await;
        let topology = engine.topology().await.unwrap();
        let names: Vec<&str> = topology
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["b"]);
        assert_eq!(count(&engine).await, 41);
        // It comes back when it is asked to, empty.
        engine.admit_nodes(vec![spec("a")]).await.unwrap();
        move_all(&world, &engine, "a").await;
        assert_eq!(count(&engine).await, 41);
    });
}

#[test]
fn a_new_index_lies_on_admitted_nodes_too_but_not_on_closed_ones() {
    let world = grown();
    world.run(async |engine| {
        engine.admit_nodes(vec![spec("b")]).await.unwrap();
        pass(Duration::from_secs(1)).await;
        succeed(&engine, create("both")).await;
        assert!(world.fleet.on("b", |node| !node.indexes.is_empty()));
        let closed = BTreeSet::from([NodeId::new("b")]);
        engine.close_nodes(closed).await.unwrap();
        succeed(&engine, create("one")).await;
        let holds = |node: &str| {
            world.fleet.on(node, |node| {
                node.indexes.keys().any(|name| name.starts_with("one__"))
            })
        };
        assert!(holds("a") && !holds("b"));
    });
}

#[test]
fn what_is_said_of_a_node_at_run_time_outlives_a_start() {
    let world = World::new(&["a"], 1, 1);
    let told = NodeSpec {
        zone: Some("z".into()),
        weight_milli: 2000,
        ..spec("a")
    };
    world.run(async |engine| {
        engine.update_nodes(vec![told.clone()]).await.unwrap();
        let unknown = engine.update_nodes(vec![spec("x")]).await;
        assert!(unknown.unwrap_err().to_string().contains("no node x"));
        let taken = NodeSpec {
            id: NodeId::new("c"),
            ..spec("a")
        };
        let taken = engine
            .admit_nodes(vec![taken])
            .await
            .unwrap_err()
            .to_string();
        assert!(taken.contains("the same address"), "{taken}");
    });
    world.run(async |_| {
        let record = world.node("a").await;
        assert_eq!((record.zone, record.weight_milli), (told.zone, 2000));
    });
}

#[test]
fn orphans_are_shown_and_removed_when_asked() {
    let world = World::new(&["a", "b"], 4, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.settled().await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(engine.orphans().await.unwrap(), []);
        // Documents of the other node's shards, and indexes that nobody knows.
        let (name, strangers) = world.fleet.on("b", |node| {
            let (name, index) = node.indexes.iter().next().unwrap();
            (name.clone(), index.documents.clone())
        });
        let stranger_count = strangers.len() as u64;
        world.fleet.on("a", |node| {
            let index = node.indexes.get_mut(&name).unwrap();
            index.documents.extend(strangers);
            for foreign in ["old__7", "not-ours"] {
                let index = miroir_core::id::PhysicalIndex::from_stored(foreign);
                node.accept(NodeWrite::CreateIndex {
                    index,
                    primary_key: None,
                });
            }
        });
        pass(Duration::from_secs(1)).await;
        let orphans = engine.orphans().await.unwrap();
        let told: Vec<(&str, &str, bool, u64)> = orphans
            .iter()
            .map(|o| {
                (
                    o.node.as_str(),
                    o.index.as_str(),
                    o.shards.is_some(),
                    o.documents,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a", name.as_str(), true, stranger_count),
                ("a", "old__7", false, 0)
            ]
        );
        assert_eq!(engine.sweep_orphans(orphans).await.unwrap(), 2);
        world.settled().await;
        assert_eq!(engine.orphans().await.unwrap(), []);
        assert_eq!(count(&engine).await, 40);
        let names = world
            .fleet
            .on("a", |node| node.indexes.keys().cloned().collect::<Vec<_>>());
        assert_eq!(names, [name.as_str(), "not-ours"]);
    });
}
