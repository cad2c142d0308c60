//! Nodes that are gone for good: declared lost by hand or after a time, with what only they held.

use crate::world::{
    World, add, create, ended, pass, register, settings, spec, succeed, uid, until,
};
use miroir_api::admin::{PlanRequest, TopologyChange};
use miroir_core::id::NodeId;
use miroir_core::rebalance::movement::MoveState;
use miroir_core::task::TaskStatus;
use miroir_engine::Engine;
use miroir_engine::port::Catalog;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn documents(version: u64) -> Vec<Value> {
    (0..60)
        .map(|id| json!({"id": id, "version": version}))
        .collect()
}

async fn names(engine: &Engine) -> Vec<String> {
    let topology = engine.topology().await.unwrap();
    topology.nodes.into_iter().map(|node| node.name).collect()
}

async fn count(engine: &Engine, index: &str) -> u64 {
    let stats = engine.index_stats(&uid(index)).await.unwrap();
    stats["numberOfDocuments"].as_u64().unwrap()
}

async fn replica_sets(world: &World, index: &str) -> Vec<Vec<NodeId>> {
    let physical = world.index(index).await.expect("an index").physical;
    let placement = world.store.load_placement(&physical).await.unwrap();
    placement.expect("a placement").1
}

fn cut_off(world: &World, node: &str) {
    world.fleet.set(node, |faults| faults.is_unreachable = true);
}

async fn declare_lost(engine: &Engine, node: &str, accept_data_loss: bool) -> u64 {
    let change = TopologyChange::DeclareLost {
        name: node.into(),
        accept_data_loss,
    };
    let staged = engine.stage(change).await.unwrap();
    staged.staged_epoch.expect("it is staged")
}

async fn carried_out(engine: &Engine) {
    for _ in 0..2000 {
        if engine.staged().underway.is_none() {
            return;
        }
        pass(Duration::from_millis(100)).await;
    }
    panic!(
        "it never ends: {:?} {:#?}",
        engine.staged().underway,
        engine.movement()
    );
}

#[test]
fn a_loss_that_is_accepted_lets_its_shards_begin_anew_and_writes_go_on() {
    let world = World::new(&["a", "b", "c"], 6, 1);
    world.run(async |engine| {
        succeed(&engine, settings("m", json!({"stopWords": ["the"]}))).await;
        succeed(&engine, add("m", &documents(1))).await;
        world.settled().await;
        let lost_count = world.fleet.documents("c", "m").len() as u64;
        assert!(lost_count > 0, "c holds some of it");
        cut_off(&world, "c");
        pass(Duration::from_secs(5)).await;
        let waiting = register(&engine, add("m", &documents(2))).await;
        let setting = register(&engine, settings("m", json!({"stopWords": ["a"]}))).await;
        let making = register(&engine, create("late")).await;
        pass(Duration::from_secs(30)).await;
        assert!(!engine.task(waiting).await.unwrap().status.is_final());

        // Without saying so nothing is given up.
        let epoch = declare_lost(&engine, "c", false).await;
        let refused = engine.apply(epoch).await.unwrap_err().to_string();
        assert!(refused.contains("--accept-data-loss"), "{refused}");
        engine.revert().await.unwrap();

        let epoch = declare_lost(&engine, "c", true).await;
        let plan = engine.topology_plan(PlanRequest::default()).await.unwrap();
        assert_eq!(plan.refusals, Vec::<String>::new());
        let told = plan.losses.join(" ");
        assert!(told.contains("of 6 shards of index `m`"), "{told}");
        assert_eq!(plan.bytes, 0, "nothing can be copied");
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;

        assert_eq!(names(&engine).await, ["a", "b"]);
        let waited = ended(&engine, waiting).await;
        assert_eq!(waited.status, TaskStatus::Failed);
        let message = waited.error.unwrap()["message"].to_string();
        assert!(
            message.contains("is lost") && message.contains("Send it again"),
            "{message}"
        );
        assert_eq!(ended(&engine, setting).await.status, TaskStatus::Succeeded);
        assert_eq!(ended(&engine, making).await.status, TaskStatus::Succeeded);
        assert!(count(&engine, "m").await < 60);

        succeed(&engine, add("m", &documents(3))).await;
        succeed(&engine, add("late", &documents(3))).await;
        assert_eq!(
            (count(&engine, "m").await, count(&engine, "late").await),
            (60, 60)
        );
        world.settled().await;
        assert_eq!(engine.orphans().await.unwrap(), []);
    });
    // What came back is not what it was, and is not asked.
    world.fleet.set("c", |faults| faults.is_unreachable = false);
    world.run(async |engine| {
        pass(Duration::from_secs(5)).await;
        assert_eq!(count(&engine, "m").await, 60);
        for node in ["a", "b"] {
            let all = world.fleet.documents(node, "m");
            assert!(
                all.values().all(|document| document["version"] == 3),
                "{node}"
            );
            let physical = world.index("m").await.unwrap().physical;
            let stop_words = world.fleet.on(node, |node| {
                let index = node.indexes.get(physical.as_str()).expect("it is there");
                index.settings.get("stopWords").cloned()
            });
            assert_eq!(stop_words, Some(json!(["a"])), "{node}");
        }
    });
}

#[test]
fn an_index_that_was_on_the_lost_node_alone_begins_anew_under_its_settings() {
    let world = World::new(&["a", "b", "c"], 1, 1);
    world.run(async |engine| {
        succeed(&engine, settings("m", json!({"stopWords": ["the"]}))).await;
        succeed(&engine, add("m", &documents(1))).await;
        world.settled().await;
        let holder = replica_sets(&world, "m").await[0][0].to_string();
        cut_off(&world, &holder);
        pass(Duration::from_secs(5)).await;
        let epoch = declare_lost(&engine, &holder, true).await;
        let plan = engine.topology_plan(PlanRequest::default()).await.unwrap();
        assert!(
            plan.losses[0].contains("all its documents"),
            "{:?}",
            plan.losses
        );
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;
        assert_eq!(count(&engine, "m").await, 0);
        succeed(&engine, add("m", &documents(2))).await;
        assert_eq!(count(&engine, "m").await, 60);
        let now = replica_sets(&world, "m").await[0][0].to_string();
        assert_ne!(now, holder);
        let physical = world.index("m").await.unwrap().physical;
        let stop_words = world.fleet.on(&now, |node| {
            node.indexes[physical.as_str()]
                .settings
                .get("stopWords")
                .cloned()
        });
        assert_eq!(stop_words, Some(json!(["the"])));
    });
}

#[test]
fn copies_that_are_left_are_kept_where_only_some_shards_are_given_up() {
    let world = World::new(&["a", "b", "c"], 6, 1);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        // One copy of m, two of n.
        let two = TopologyChange::SetReplicationFactor {
            index_uid: Some("n".into()),
            replication_factor: 2,
        };
        succeed(&engine, add("n", &documents(1))).await;
        let epoch = engine.stage(two).await.unwrap().staged_epoch.unwrap();
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;
        let left = 60 - world.fleet.documents("c", "m").len() as u64;
        cut_off(&world, "c");
        pass(Duration::from_secs(5)).await;
        let epoch = declare_lost(&engine, "c", true).await;
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;
        assert_eq!(
            (count(&engine, "m").await, count(&engine, "n").await),
            (left, 60)
        );
        for set in replica_sets(&world, "n").await {
            let set: BTreeSet<&str> = set.iter().map(NodeId::as_str).collect();
            assert_eq!(set, BTreeSet::from(["a", "b"]));
        }
    });
}

#[test]
fn a_proxy_that_dies_while_shards_begin_anew_goes_on_where_it_was() {
    for step in [
        "shards.begun.anew",
        "copy.committed",
        "node.retired",
        "delivery.noted",
    ] {
        for nth in 0..2 {
            let world = World::new(&["a", "b", "c"], 6, 1);
            world.run(async |engine| {
                succeed(&engine, add("m", &documents(1))).await;
                world.settled().await;
            });
            cut_off(&world, "c");
            world.run_until_step(step, nth, async |engine| {
                pass(Duration::from_secs(5)).await;
                register(&engine, add("m", &documents(2))).await;
                pass(Duration::from_secs(5)).await;
                let epoch = declare_lost(&engine, "c", true).await;
                engine.apply(epoch).await.unwrap();
                carried_out(&engine).await;
            });
            world.run(async |engine| {
                if names(&engine).await.contains(&"c".to_owned())
                    && engine.staged().underway.is_none()
                {
                    pass(Duration::from_secs(5)).await;
                    engine.revert().await.unwrap();
                    let epoch = declare_lost(&engine, "c", true).await;
                    engine.apply(epoch).await.unwrap();
                }
                carried_out(&engine).await;
                assert_eq!(names(&engine).await, ["a", "b"], "{step} {nth}");
                world.settled().await;
                // Nothing that was not applied everywhere it belongs was reported as done.
                let all = world.all_tasks().await;
                let newest = all.last().unwrap();
                if newest.status == TaskStatus::Succeeded && all.len() > 1 {
                    assert_eq!(count(&engine, "m").await, 60, "{step} {nth}");
                }
                succeed(&engine, add("m", &documents(3))).await;
                assert_eq!(count(&engine, "m").await, 60, "{step} {nth}");
            });
        }
    }
}

fn watchful(nodes: &[&str], copies: u32) -> World {
    let mut world = World::new(nodes, 8, copies);
    world.lost_after = Some(Duration::from_secs(60));
    world
}

#[test]
fn a_node_away_for_longer_than_allowed_is_declared_lost_and_its_shards_are_copied() {
    let world = watchful(&["a", "b", "c", "d"], 2);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        world.settled().await;
        cut_off(&world, "c");
        pass(Duration::from_secs(50)).await;
        world.fleet.set("c", |faults| faults.is_unreachable = false);
        pass(Duration::from_secs(20)).await;
        assert_eq!(names(&engine).await.len(), 4, "it was back in time");
        cut_off(&world, "c");
        pass(Duration::from_secs(50)).await;
        assert_eq!(engine.staged().epoch, 0, "not yet");
        pass(Duration::from_secs(20)).await;
        assert_eq!(engine.staged().epoch, 1);
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "d"]);
        for set in replica_sets(&world, "m").await {
            assert!(
                set.len() == 2 && !set.contains(&NodeId::new("c")),
                "{set:?}"
            );
        }
        assert_eq!(count(&engine, "m").await, 60);
    });
}

#[test]
fn nothing_is_declared_lost_by_a_proxy_that_may_be_cut_off_or_would_lose_documents() {
    let half = watchful(&["a", "b", "c", "d"], 2);
    half.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        cut_off(&half, "c");
        cut_off(&half, "d");
        pass(Duration::from_secs(600)).await;
        assert_eq!((engine.staged().epoch, names(&engine).await.len()), (0, 4));
        // One is back: the other alone is lost.
        half.fleet.set("d", |faults| faults.is_unreachable = false);
        pass(Duration::from_secs(30)).await;
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "d"]);
    });
    let single = watchful(&["a", "b", "c"], 1);
    single.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        cut_off(&single, "c");
        pass(Duration::from_secs(600)).await;
        assert_eq!((engine.staged().epoch, names(&engine).await.len()), (0, 3));
    });
    let never = World::new(&["a", "b", "c"], 8, 2);
    never.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        cut_off(&never, "c");
        pass(Duration::from_secs(6000)).await;
        assert_eq!(names(&engine).await.len(), 3);
    });
}

#[test]
fn what_an_operator_staged_is_planned_anew_after_a_node_was_declared_lost() {
    let world = watchful(&["a", "b", "c", "d"], 2);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(1))).await;
        world.settled().await;
        let drain = TopologyChange::DrainNode { name: "a".into() };
        let epoch = engine.stage(drain).await.unwrap().staged_epoch.unwrap();
        cut_off(&world, "c");
        pass(Duration::from_secs(100)).await;
        carried_out(&engine).await;
        let staged = engine.staged();
        assert_eq!(staged.descriptions, ["drain node a"]);
        assert!(staged.staged_epoch > Some(epoch));
        let stale = engine.apply(epoch).await.unwrap_err().to_string();
        assert!(stale.contains("look at its plan first"), "{stale}");
    });
}

/// A cluster of three that grows by a fourth, while shards are on their way to it.
async fn growing(world: &World, engine: &Engine) -> u64 {
    succeed(engine, add("m", &documents(1))).await;
    let add = TopologyChange::AddNode {
        name: "d".into(),
        url: spec("d").url,
        zone: None,
        weight: None,
    };
    let epoch = engine.stage(add).await.unwrap().staged_epoch.unwrap();
    engine.apply(epoch).await.unwrap();
    let is_copying = || {
        let moves = engine
            .movement()
            .map_or(Vec::new(), |movement| movement.moves);
        moves.iter().any(|one| one.state == MoveState::Copying)
    };
    until("shards are copied", is_copying).await;
    assert_eq!(world.fleet.names().len(), 4);
    epoch
}

fn four(copies: u32) -> World {
    let mut world = World::new(&["a", "b", "c", "d"], 24, copies);
    world.unnamed = BTreeSet::from(["d".to_owned()]);
    world.copy.documents_per_second = 40;
    world
}

#[test]
fn the_loss_of_a_node_joins_the_change_that_waits_for_it() {
    let world = four(2);
    world.run(async |engine| {
        let first = growing(&world, &engine).await;
        cut_off(&world, "d");
        pass(Duration::from_secs(30)).await;
        let underway = engine.staged().underway.expect("it waits for d");

        // Anything else has to wait, and is told what to do.
        let drain = TopologyChange::DrainNode { name: "c".into() };
        let epoch = engine.stage(drain).await.unwrap().staged_epoch.unwrap();
        let refused = engine.apply(epoch).await.unwrap_err().to_string();
        for needed in [
            &underway,
            "miroir topology show",
            "miroir topology cancel",
            &format!("miroir topology apply --epoch {epoch}"),
        ] {
            assert!(refused.contains(needed), "{needed}: {refused}");
        }
        engine.revert().await.unwrap();

        let epoch = declare_lost(&engine, "d", false).await;
        assert!(epoch > first);
        let plan = engine.topology_plan(PlanRequest::default()).await.unwrap();
        assert_eq!(plan.refusals, Vec::<String>::new());
        let notes = plan.warnings.join(" ");
        assert!(notes.contains("This joins it"), "{notes}");
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;
        assert_eq!(engine.staged().epoch, epoch);
        assert_eq!(names(&engine).await, ["a", "b", "c"]);
        assert_eq!(count(&engine, "m").await, 60);
        for set in replica_sets(&world, "m").await {
            assert!(
                set.len() == 2 && !set.contains(&NodeId::new("d")),
                "{set:?}"
            );
        }
    });
}

#[test]
fn the_loss_of_a_node_that_was_away_for_too_long_joins_the_change_that_waits_for_it() {
    let mut world = four(2);
    world.lost_after = Some(Duration::from_secs(60));
    world.run(async |engine| {
        let first = growing(&world, &engine).await;
        cut_off(&world, "d");
        pass(Duration::from_secs(50)).await;
        assert_eq!(engine.staged().epoch, first, "not yet");
        pass(Duration::from_secs(20)).await;
        carried_out(&engine).await;
        assert!(engine.staged().epoch > first);
        assert_eq!(names(&engine).await, ["a", "b", "c"]);
        assert_eq!(count(&engine, "m").await, 60);
        for set in replica_sets(&world, "m").await {
            assert!(
                set.len() == 2 && !set.contains(&NodeId::new("d")),
                "{set:?}"
            );
        }
    });
}

#[test]
fn no_node_is_declared_lost_by_itself_while_an_operator_has_paused_the_moves() {
    let mut world = four(2);
    world.lost_after = Some(Duration::from_secs(60));
    world.run(async |engine| {
        let first = growing(&world, &engine).await;
        engine.pause_movement().await.unwrap();
        cut_off(&world, "d");
        pass(Duration::from_secs(300)).await;
        let staged = engine.staged();
        assert_eq!((staged.epoch, names(&engine).await.len()), (first, 4));
        engine.resume_movement().await.unwrap();
        pass(Duration::from_secs(5)).await;
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "c"]);
        assert_eq!(count(&engine, "m").await, 60);
    });
}

#[test]
fn what_a_change_was_for_is_still_done_when_a_node_is_lost_meanwhile() {
    let world = four(2);
    world.run(async |engine| {
        growing(&world, &engine).await;
        cut_off(&world, "c");
        pass(Duration::from_secs(5)).await;
        let epoch = declare_lost(&engine, "c", false).await;
        engine.apply(epoch).await.unwrap();
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "d"]);
        assert_eq!(count(&engine, "m").await, 60);
        let sets = replica_sets(&world, "m").await;
        let on_d = sets.iter().filter(|set| set.contains(&NodeId::new("d")));
        assert!((14..=18).contains(&on_d.count()), "a third of 48: {sets:?}");
    });
}

#[test]
fn a_proxy_that_dies_while_a_loss_joins_a_change_goes_on_where_it_was() {
    for step in [
        "move.steered",
        "move.withdrawn",
        "move.ended",
        "move.started",
    ] {
        println!("crash at {step}");
        let world = four(2);
        let nth = u64::from(step == "move.started");
        world.run_until_step(step, nth.try_into().unwrap(), async |engine| {
            growing(&world, &engine).await;
            cut_off(&world, "d");
            pass(Duration::from_secs(5)).await;
            let epoch = declare_lost(&engine, "d", false).await;
            engine.apply(epoch).await.unwrap();
            carried_out(&engine).await;
        });
        world.run(async |engine| {
            carried_out(&engine).await;
            assert_eq!(names(&engine).await, ["a", "b", "c"]);
            assert_eq!(count(&engine, "m").await, 60);
        });
    }
}
