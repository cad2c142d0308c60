//! The proxy dies anywhere: what was accepted is carried out once, in order, on every replica.

use crate::world::{
    World, add, add_file, create, delete_ids, drop_index, ended, pass, register, rename, settings,
    succeed, uid, write,
};
use miroir_core::task::{Operation, TaskStatus};
use miroir_engine::Engine;
use miroir_engine::port::{PayloadStore, TaskLog};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// The named steps of the write path: before and after each sync of the disk and each request to a
/// node.
const STEPS: [&str; 14] = [
    "payload.syncing",
    "payload.synced",
    "entry.appending",
    "entry.appended",
    "batch.prepared",
    "batch.committed",
    "node.sending",
    "node.sent",
    "node.applied",
    "delivery.noting",
    "delivery.noted",
    "tasks.completed",
    "payload.removing",
    "payload.removed",
];

/// A bit of everything; each write is a batch of its own or joins a neighbour.
async fn work(world: &World, engine: Engine) {
    register(
        &engine,
        settings("m", json!({"filterableAttributes": ["k"]})),
    )
    .await;
    register(
        &engine,
        add(
            "m",
            &[
                json!({"id": 1, "n": 1, "k": "a"}),
                json!({"id": 2, "k": "b"}),
            ],
        ),
    )
    .await;
    let large = add_file(
        &engine,
        "m",
        &[json!({"id": 3, "n": 1}), json!({"id": 1, "n": 2, "k": "a"})],
    )
    .await;
    register(&engine, large).await;
    register(&engine, add("gone", &[json!({"id": 1})])).await;
    register(&engine, delete_ids("m", &["2"])).await;
    register(&engine, drop_index("gone")).await;
    register(
        &engine,
        add("m", &[json!({"id": 4}), json!({"id": 3, "n": 2})]),
    )
    .await;
    register(&engine, add("gone", &[json!({"id": 2})])).await;
    register(&engine, rename("m", "movies")).await;
    register(
        &engine,
        add("movies", &[json!({"id": 1, "n": 3, "k": "c"})]),
    )
    .await;
    register(
        &engine,
        write(
            "movies",
            Operation::DeleteByFilter {
                filter: json!("k = b"),
            },
        ),
    )
    .await;
    register(&engine, create("empty")).await;
    world.settled().await;
}

/// The workload again from the first write that was not accepted on, so that every life ends alike.
async fn finish(world: &World, engine: Engine) {
    world.settled().await;
    let done = world.all_tasks().await.len();
    let rest = [
        settings("m", json!({"filterableAttributes": ["k"]})),
        add(
            "m",
            &[
                json!({"id": 1, "n": 1, "k": "a"}),
                json!({"id": 2, "k": "b"}),
            ],
        ),
        add_file(
            &engine,
            "m",
            &[json!({"id": 3, "n": 1}), json!({"id": 1, "n": 2, "k": "a"})],
        )
        .await,
        add("gone", &[json!({"id": 1})]),
        delete_ids("m", &["2"]),
        drop_index("gone"),
        add("m", &[json!({"id": 4}), json!({"id": 3, "n": 2})]),
        add("gone", &[json!({"id": 2})]),
        rename("m", "movies"),
        add("movies", &[json!({"id": 1, "n": 3, "k": "c"})]),
        write(
            "movies",
            Operation::DeleteByFilter {
                filter: json!("k = b"),
            },
        ),
        create("empty"),
    ];
    for write in rest.into_iter().skip(done) {
        register(&engine, write).await;
    }
    world.settled().await;
    for task in world.all_tasks().await {
        assert_eq!(task.status, TaskStatus::Succeeded, "{task:?}");
    }
    let names: Vec<_> = engine
        .indexes()
        .into_iter()
        .map(|index| index.uid)
        .collect();
    assert_eq!(names, [uid("empty"), uid("gone"), uid("movies")]);
}

fn assert_end(world: &World, when: &str) {
    // The nodes know the renamed index by its first name.
    world.assert_mirrored("m");
    world.assert_mirrored("gone");
    let documents = world.documents("m");
    assert_eq!(documents["1"], json!({"id": 1, "n": 3, "k": "c"}), "{when}");
    assert_eq!(documents["3"], json!({"id": 3, "n": 2}), "{when}");
    assert_eq!(world.fleet.order("m"), ["1", "3", "4"], "{when}");
    assert_eq!(
        world.documents("gone").keys().collect::<Vec<_>>(),
        ["2"],
        "{when}"
    );
    for node in ["a", "b"] {
        assert_eq!(world.fleet.on(node, |node| node.indexes.len()), 3, "{when}");
    }
}

#[test]
fn a_crash_at_any_step_loses_nothing_and_repeats_nothing() {
    for step in STEPS {
        for nth in (0..64).step_by(3) {
            let world = World::mirrored();
            let is_reached =
                world.run_until_step(step, nth, async |engine| work(&world, engine).await);
            world.run(async |engine| finish(&world, engine).await);
            let when = format!("after a crash at {step} {nth}");
            assert_end(&world, &when);
            // A file may be an orphan of the crashed life until the next start sweeps it.
            world.run(async |_| {
                world.settled().await;
                assert_eq!(world.payload_count().await, 0, "{when}");
            });
            for node in ["a", "b"] {
                let markers = world.fleet.on(node, |node| node.markers());
                let distinct: BTreeSet<_> = markers.iter().collect();
                assert_eq!(
                    distinct.len(),
                    markers.len(),
                    "{when}: {node} got a request twice"
                );
            }
            if !is_reached {
                break;
            }
        }
    }
}

#[test]
fn crashes_while_a_replica_is_away_lose_nothing() {
    for step in [
        "batch.committed",
        "node.sent",
        "delivery.noted",
        "tasks.completed",
    ] {
        for nth in (0..40).step_by(7) {
            let world = World::mirrored();
            world.fleet.set("b", |faults| faults.is_unreachable = true);
            world.run_until_step(step, nth, async |engine| {
                // What waits for `b` alone never settles here; the crash may come or not.
                let writes = work(&world, engine);
                let _ = tokio::time::timeout(Duration::from_secs(30), writes).await;
            });
            world.fleet.set("b", |faults| faults.is_unreachable = false);
            world.run(async |engine| {
                finish(&world, engine).await;
                world.in_sync_is("b", true).await;
            });
            assert_end(&world, &format!("after a crash at {step} {nth} without b"));
        }
    }
}

#[test]
fn a_lost_answer_and_a_crash_together_repeat_nothing() {
    for nth in 0..6 {
        let world = World::mirrored();
        world.run(async |engine| {
            succeed(&engine, create("m")).await;
        });
        world.fleet.set("a", |faults| {
            faults.spare = nth;
            faults.lost_answers = 1;
        });
        world.run_until_step("node.applied", 2, async |engine| {
            for id in 0..8u64 {
                register(&engine, add("m", &[json!({"id": id})])).await;
                pass(Duration::from_millis(10)).await;
            }
            world.settled().await;
        });
        world.run(async |_| world.settled().await);
        world.assert_mirrored("m");
        let markers = world.fleet.on("a", |a| a.markers());
        let distinct: BTreeSet<_> = markers.iter().collect();
        assert_eq!(
            distinct.len(),
            markers.len(),
            "a request was made twice: {markers:?}"
        );
    }
}

#[test]
fn numbers_grow_over_crashes() {
    let world = World::mirrored();
    let mut expected = Vec::new();
    for life in 0..6u64 {
        let step = STEPS[3 + usize::try_from(life).unwrap() % 5];
        world.run_until_step(step, 0, async |engine| {
            register(&engine, add("m", &[json!({"id": format!("x{life}")})])).await;
            world.settled().await;
        });
        expected.push(format!("x{life}"));
        world.run(async |_| world.settled().await);
    }
    assert_eq!(world.fleet.order("m"), expected);
}

#[test]
fn payload_files_are_removed_when_every_node_has_applied_them_and_not_before() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let large = add_file(&engine, "m", &[json!({"id": 1})]).await;
        succeed(&engine, large).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(world.payload_count().await, 1, "b still needs it");
    });
    world.run(async |_| {
        pass(Duration::from_secs(5)).await;
        assert_eq!(
            world.payload_count().await,
            1,
            "the sweep at start leaves it"
        );
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
        assert_eq!(world.payload_count().await, 0);
    });
    world.assert_mirrored("m");
}

#[test]
fn files_that_no_entry_names_are_swept_at_start_and_others_are_not() {
    let world = World::single();
    let kept = world.run(async |engine| {
        let mut orphan = engine.create_payload().await.unwrap();
        orphan.append("{}".into()).await.unwrap();
        orphan.finish().await.unwrap();
        add_file(&engine, "m", &[json!({"id": 1})]).await
    });
    let task = world.enqueue(vec![kept])[0];
    world.run(async |engine| {
        let files = world.payloads.list().await.unwrap();
        assert!(files.len() <= 1, "the orphan is gone");
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
    });
    assert_eq!(world.documents("m").len(), 1);
}

#[test]
fn batch_numbers_are_not_given_twice_over_a_restart() {
    let world = World::single();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        world.run(async |engine| {
            succeed(&engine, add("m", &[json!({"id": 1})])).await;
            let filter = miroir_core::task::TaskFilter {
                statuses: Some(vec![TaskStatus::Enqueued]),
                ..Default::default()
            };
            succeed(&engine, crate::world::cancel(filter)).await;
        });
    }
    for task in world.apart(async |world| world.all_tasks().await) {
        assert!(
            seen.insert(task.batch_uid.unwrap()),
            "batch {:?} twice",
            task.batch_uid
        );
    }
}

#[test]
fn an_index_in_the_making_appears_whole_after_a_restart() {
    let world = World::mirrored();
    for node in ["a", "b"] {
        world.fleet.set(node, |faults| faults.is_holding = true);
    }
    world.run(async |engine| {
        register(&engine, add("m", &[json!({"id": 1})])).await;
        pass(Duration::from_secs(1)).await;
    });
    world.run(async |engine| {
        assert!(engine.index(&uid("m")).is_err());
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        world.settled().await;
        assert!(engine.index(&uid("m")).is_ok());
    });
    for node in ["a", "b"] {
        assert_eq!(
            world.fleet.on(node, |node| node.indexes.len()),
            1,
            "it was made once"
        );
    }
}

/// As `miroir restore` leaves a store.
async fn mark_restored(world: &World) {
    let fact = miroir_engine::port::Change::PutFact {
        key: miroir_engine::port::RESTORED_FACT.into(),
        value: json!(true),
    };
    world.store.commit(vec![fact]).await.unwrap();
}

#[test]
fn a_restored_log_that_no_node_is_ahead_of_goes_on() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        succeed(&engine, settings("m", json!({"stopWords": ["a"]}))).await;
    });
    world.apart(async |world| mark_restored(world).await);
    for _ in 0..2 {
        world.run(async |engine| {
            succeed(&engine, add("m", &[json!({"id": 2})])).await;
        });
    }
    world.assert_mirrored("m");
}

#[test]
fn a_restored_log_that_nodes_are_ahead_of_is_not_served() {
    for newer in [
        add("m", &[json!({"id": 2})]),
        settings("m", json!({"stopWords": ["a"]})),
    ] {
        let mut world = World::single();
        let kept = world.run(async |engine| {
            succeed(&engine, add("m", &[json!({"id": 1})])).await;
            world.store.copy()
        });
        world.run(async |engine| {
            succeed(&engine, newer).await;
        });
        world.store = std::sync::Arc::new(kept);
        world.apart(async |world| mark_restored(world).await);
        let refused = world.try_start();
        assert!(
            refused.contains("backup") && refused.contains("a: it has done"),
            "{refused}"
        );
        // Looking changes nothing.
        assert!(world.try_start().contains("it has done"));
    }
}
