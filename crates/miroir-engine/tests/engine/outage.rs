//! Nodes that are away, that lose answers, that come back.

use crate::world::{
    World, add, create, drop_index, ended, pass, register, settings, succeed, until, write,
};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn doc(id: u64) -> serde_json::Value {
    json!({"id": id})
}

/// No request was made twice on a node.
fn assert_nothing_twice(world: &World, node: &str) {
    let markers = world.fleet.on(node, |node| node.markers());
    let distinct: BTreeSet<_> = markers.iter().collect();
    assert_eq!(
        distinct.len(),
        markers.len(),
        "{node} got a request twice: {markers:?}"
    );
}

#[test]
fn a_request_whose_answer_was_lost_is_not_sent_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.lost_answers = 1);
        succeed(&engine, add("m", &[doc(1)])).await;
        succeed(&engine, add("m", &[doc(2)])).await;
    });
    assert_nothing_twice(&world, "a");
    world.assert_mirrored("m");
}

#[test]
fn a_request_that_was_swallowed_is_sent_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.swallowed = 1);
        succeed(&engine, add("m", &[doc(1)])).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 1);
}

#[test]
fn a_busy_node_gets_each_request_once() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.busy = 3);
        succeed(&engine, add("m", &[doc(1)])).await;
    });
    assert_nothing_twice(&world, "a");
}

#[test]
fn a_node_that_grows_busy_within_a_batch_gets_each_request_once() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        // Large enough to be cut into two requests.
        let filling = "x".repeat(9 * 1024 * 1024);
        let documents: Vec<_> = (0..4).map(|id| json!({"id": id, "f": filling})).collect();
        let large = crate::world::add_file(&engine, "m", &documents).await;
        world.fleet.set("a", |faults| {
            faults.spare = 1;
            faults.busy = 2;
        });
        succeed(&engine, large).await;
    });
    let markers = world.fleet.on("a", |a| a.markers());
    assert_eq!(markers.len(), 2, "{markers:?}");
}

#[test]
fn a_node_that_is_down_leaves_only_when_a_write_waits_for_it_and_joins_when_it_is_level() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(10)).await;
        assert!(world.node("b").await.is_in_sync, "nothing was missed yet");

        let task = succeed(&engine, add("m", &[doc(2)])).await;
        assert_eq!(task.details["indexedDocuments"], 1);
        assert!(
            !world.node("b").await.is_in_sync,
            "its leaving is stored with the task's end"
        );

        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", true).await;
        assert_eq!(
            world.fleet.documents("b", "m").len(),
            2,
            "it joined only when it was level"
        );
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn what_a_node_missed_reaches_it_after_a_restart_of_the_proxy_too() {
    let world = World::mirrored();
    world.fleet.set("b", |faults| faults.is_unreachable = true);
    world.run(async |engine| {
        succeed(
            &engine,
            settings("m", json!({"filterableAttributes": ["k"]})),
        )
        .await;
        for id in 0..5 {
            succeed(&engine, add("m", &[doc(id)])).await;
        }
    });
    world.fleet.set("b", |faults| faults.is_unreachable = false);
    world.run(async |engine| {
        world.in_sync_is("b", true).await;
        world.settled().await;
        succeed(&engine, add("m", &[doc(9)])).await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 6);
}

#[test]
fn an_index_that_came_and_went_while_a_node_was_away_does_not_keep_it_away() {
    for restarts in [false, true] {
        let world = World::mirrored();
        let catch_up = async |world: &World| {
            world.fleet.set("b", |faults| faults.is_unreachable = false);
            world.in_sync_is("b", true).await;
            world.settled().await;
        };
        world.run(async |engine| {
            succeed(&engine, create("stays")).await;
            world.fleet.set("b", |faults| faults.is_unreachable = true);
            succeed(&engine, create("m")).await;
            succeed(&engine, add("m", &[json!({"id": 1, "k": "x"})])).await;
            succeed(
                &engine,
                write(
                    "m",
                    Operation::DeleteByFilter {
                        filter: json!("k = x"),
                    },
                ),
            )
            .await;
            succeed(&engine, settings("m", json!({"stopWords": ["a"]}))).await;
            succeed(&engine, drop_index("m")).await;
            if !restarts {
                catch_up(&world).await;
            }
        });
        if restarts {
            world.run(async |_| catch_up(&world).await);
        }
        assert_eq!(
            world.fleet.on("b", |b| b.indexes.len()),
            1,
            "only the index that stays"
        );
    }
}

#[test]
fn the_last_replica_in_sync_never_leaves_and_its_writes_wait() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let task = register(&engine, add("m", &[doc(1)])).await;
        pass(Duration::from_secs(30)).await;
        assert_eq!(
            engine.task(task).await.unwrap().status,
            TaskStatus::Processing
        );
        assert!(world.node("a").await.is_in_sync);
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
    });
}

#[test]
fn of_two_replicas_that_go_down_one_after_the_other_the_second_stays() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let task = register(&engine, add("m", &[doc(2)])).await;
        pass(Duration::from_secs(10)).await;
        assert!(world.node("a").await.is_in_sync);
        // The stale one returns first: it may not stand in for the other.
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        pass(Duration::from_secs(10)).await;
        assert!(
            !engine.task(task).await.unwrap().status.is_final() || world.node("b").await.is_in_sync
        );
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn a_node_that_forgot_a_task_gets_it_and_all_behind_it_again() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let before = world.fleet.on("a", |a| a.task_count());
        let mut tasks = Vec::new();
        for n in 0..3 {
            tasks.push(register(&engine, add("m", &[json!({"id": 1, "n": n})])).await);
            until("it is sent", || {
                world.fleet.on("a", |a| a.task_count()) > before + n
            })
            .await;
        }
        world.fleet.on("a", |a| a.forget_open_tasks());
        world.fleet.set("a", |faults| faults.is_holding = false);
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
    });
    assert_eq!(world.documents("m")["1"]["n"], 2);
}

#[test]
fn an_index_made_while_a_node_was_away_is_made_on_it_when_it_returns() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("other")).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn a_slow_node_delays_tasks_and_loses_nothing() {
    let world = World::mirrored();
    world.run(async |engine| {
        world
            .fleet
            .set("b", |faults| faults.delay = Duration::from_millis(300));
        for id in 0..5 {
            register(&engine, add("m", &[doc(id)])).await;
        }
        world.settled().await;
        assert!(world.node("b").await.is_in_sync);
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 5);
}

#[test]
fn a_node_that_is_away_does_not_keep_the_log_from_cancelations() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(5)).await;
        // More batches than may be in flight.
        let mut last = None;
        for n in 0..100u64 {
            let patch = json!({"stopWords": [n.to_string()]});
            last = Some(register(&engine, settings("m", patch)).await);
        }
        pass(Duration::from_secs(5)).await;
        let filter = miroir_core::task::TaskFilter {
            statuses: Some(vec![TaskStatus::Enqueued]),
            ..Default::default()
        };
        let cancel = register(&engine, crate::world::cancel(filter)).await;
        assert_eq!(ended(&engine, cancel).await.status, TaskStatus::Succeeded);
        let last = engine.task(last.unwrap()).await.unwrap();
        assert_eq!(last.status, TaskStatus::Canceled);
    });
    // The same when the proxy starts with batches it cannot end.
    world.run(async |engine| {
        let task = register(&engine, settings("m", json!({"stopWords": ["z"]}))).await;
        let filter = miroir_core::task::TaskFilter {
            uids: Some(vec![task.0]),
            ..Default::default()
        };
        let cancel = register(&engine, crate::world::cancel(filter)).await;
        assert_eq!(ended(&engine, cancel).await.status, TaskStatus::Succeeded);
        assert_eq!(
            engine.task(task).await.unwrap().status,
            TaskStatus::Canceled
        );
    });
}

#[test]
fn a_proxy_shuts_down_while_a_node_works() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding_care = true);
        register(&engine, add("m", &[json!({"id": 1, "poison": true})])).await;
        until("it is delivered with care", || {
            world.fleet.on("a", |a| {
                a.markers()
                    .iter()
                    .any(|marker| marker.split('/').count() > 4)
            })
        })
        .await;
        let ended = tokio::time::timeout(Duration::from_secs(20), engine.shutdown()).await;
        assert!(ended.is_ok(), "the shutdown hangs");
    });
}
