//! An index whose node is away keeps no other waiting.

use crate::world::{
    World, add, cancel, create, drop_index, ended, pass, register, rename, succeed, swap, until,
};
use miroir_core::id::{NodeId, TaskUid};
use miroir_core::task::{TaskFilter, TaskStatus};
use miroir_engine::Engine;
use serde_json::json;
use std::time::Duration;

/// More than the window of one index holds, as deletions and creations travel alone.
const MANY: u64 = 200;

/// The names of two indexes of which the first lies on node `a` and the second on `b`.
async fn apart(world: &World, engine: &Engine) -> (String, String) {
    let mut on_a = None;
    let mut on_b = None;
    for number in 0..20 {
        let name = format!("i{number}");
        succeed(engine, create(&name)).await;
        let physical = world.index(&name).await.unwrap().physical;
        let placement = miroir_engine::port::Catalog::load_placement(&*world.store, &physical)
            .await
            .unwrap();
        let (_, replica_sets) = placement.unwrap();
        if replica_sets[0] == [NodeId::new("a")] {
            on_a = Some(name);
        } else {
            on_b = Some(name);
        }
        if let (Some(a), Some(b)) = (&on_a, &on_b) {
            return (a.clone(), b.clone());
        }
    }
    panic!("twenty indexes on one of two nodes");
}

/// Writes that do not travel together.
async fn flood(engine: &Engine, index: &str) -> Vec<TaskUid> {
    let mut tasks = Vec::new();
    for id in 0..MANY {
        let mut write = add(index, &[json!({"id": id})]);
        if let miroir_core::task::Operation::AddDocuments { method, .. } = &mut write.operation
            && id % 2 == 0
        {
            *method = miroir_core::task::AdditionMethod::Update;
        }
        tasks.push(register(engine, write).await);
    }
    tasks
}

async fn is_down(engine: &Engine, node: &str) {
    let shown = async || {
        let nodes = engine.topology().await.unwrap();
        serde_json::to_value(nodes).unwrap()
    };
    for _ in 0..1000 {
        let nodes = shown().await;
        let nodes = nodes["nodes"].as_array().unwrap().clone();
        let found = nodes.iter().find(|n| n["id"] == node || n["name"] == node);
        if found.is_some_and(|n| n.to_string().contains("down")) {
            return;
        }
        pass(Duration::from_millis(50)).await;
    }
    panic!("{node} is never down: {}", shown().await);
}

#[test]
fn an_index_whose_node_is_away_fills_its_own_window_only() {
    let world = World::new(&["a", "b"], 1, 1);
    world.run(async |engine| {
        let (on_a, on_b) = apart(&world, &engine).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let stuck = flood(&engine, &on_a).await;
        for id in 0..5 {
            succeed(&engine, add(&on_b, &[json!({"id": id})])).await;
        }
        for task in [&stuck[0], stuck.last().unwrap()] {
            assert!(!engine.task(*task).await.unwrap().status.is_final());
        }
        world.fleet.set("a", |faults| faults.is_holding = false);
        world.settled().await;
        assert_eq!(world.documents(&on_a).len(), MANY as usize);
        let tasks = world.all_tasks().await;
        let stuck: Vec<_> = tasks.iter().filter(|t| stuck.contains(&t.uid)).collect();
        assert!(
            stuck
                .windows(2)
                .all(|pair| pair[0].finished_at <= pair[1].finished_at),
            "tasks of one index end in the order of the log"
        );
    });
}

#[test]
fn after_a_restart_an_index_whose_node_is_away_keeps_no_other_waiting() {
    let world = World::new(&["a", "b"], 1, 1);
    let (on_a, on_b) = world.run(async |engine| {
        let names = apart(&world, &engine).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        flood(&engine, &names.0).await;
        pass(Duration::from_secs(2)).await;
        names
    });
    world.run(async |engine| {
        for id in 0..5 {
            succeed(&engine, add(&on_b, &[json!({"id": id})])).await;
        }
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        world.settled().await;
        assert_eq!(world.documents(&on_a).len(), MANY as usize);
    });
}

#[test]
fn documents_that_no_node_can_be_asked_for_keep_no_other_index_waiting() {
    let world = World::new(&["a", "b"], 1, 1);
    world.run(async |engine| {
        let (on_a, on_b) = apart(&world, &engine).await;
        succeed(&engine, add(&on_a, &[json!({"id": 1})])).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        is_down(&engine, "a").await;
        let stuck = register(&engine, add(&on_a, &[json!({"id": 1, "n": 1})])).await;
        for id in 0..5 {
            succeed(&engine, add(&on_b, &[json!({"id": id})])).await;
        }
        assert!(!engine.task(stuck).await.unwrap().status.is_final());
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, stuck).await.status, TaskStatus::Succeeded);
    });
}

#[test]
fn a_swap_waits_for_both_names_and_holds_back_what_comes_after_it() {
    let world = World::new(&["a", "b"], 1, 1);
    world.run(async |engine| {
        let (on_a, on_b) = apart(&world, &engine).await;
        succeed(&engine, create("c")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        flood(&engine, &on_a).await;
        let swapped = register(&engine, swap(&[(&on_a, &on_b, false)])).await;
        let after = register(&engine, add(&on_b, &[json!({"id": "x"})])).await;
        // Its documents lie on `b` or `a`; it is only looked at where it does not matter.
        let other = register(&engine, rename(&on_b, "d")).await;
        pass(Duration::from_secs(5)).await;
        for task in [swapped, after, other] {
            assert!(!engine.task(task).await.unwrap().status.is_final());
        }
        world.fleet.set("a", |faults| faults.is_holding = false);
        world.settled().await;
        for task in [swapped, after, other] {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
        // The physical index of the first is found under the name of the second, then renamed.
        let d = world.index("d").await.unwrap();
        assert!(d.physical.as_str().starts_with(&format!("{on_a}__")));
        assert_eq!(world.documents(&on_a).len(), MANY as usize + 1);
    });
}

#[test]
fn what_waits_behind_a_full_window_can_be_canceled() {
    let world = World::new(&["a", "b"], 1, 1);
    world.run(async |engine| {
        let (on_a, _) = apart(&world, &engine).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let tasks = flood(&engine, &on_a).await;
        pass(Duration::from_secs(1)).await;
        let filter = TaskFilter {
            statuses: Some(vec![TaskStatus::Enqueued]),
            ..TaskFilter::default()
        };
        succeed(&engine, cancel(filter)).await;
        let last = *tasks.last().unwrap();
        assert_eq!(ended(&engine, last).await.status, TaskStatus::Canceled);
        let gone = register(&engine, drop_index(&on_a)).await;
        world.fleet.set("a", |faults| faults.is_holding = false);
        world.settled().await;
        assert_eq!(ended(&engine, gone).await.status, TaskStatus::Succeeded);
        until("the index is gone", || {
            engine.indexes().iter().all(|i| i.uid.as_str() != on_a)
        })
        .await;
    });
}
