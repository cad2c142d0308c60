//! Edits by function: not the same when done twice, so each node does each of them once.

use crate::world::{World, add, create, edit, ended, register, settings, succeed};
use miroir_core::task::TaskStatus;
use serde_json::json;
use std::collections::BTreeSet;

const STEPS: [&str; 7] = [
    "entry.appended",
    "batch.prepared",
    "batch.committed",
    "node.sent",
    "node.applied",
    "delivery.noted",
    "tasks.completed",
];

fn documents() -> Vec<serde_json::Value> {
    (0..20)
        .map(|id| json!({"id": id, "n": 0, "k": if id % 4 == 0 { "x" } else { "y" }}))
        .collect()
}

fn assert_edited(world: &World, x: u64, y: u64, when: &str) {
    for (id, document) in world.documents("m") {
        let expected = if document["k"] == "x" { x } else { y };
        assert_eq!(document["n"], expected, "{when}: document {id}");
    }
}

fn assert_nothing_twice(world: &World, when: &str) {
    for name in world.fleet.names() {
        let markers = world.fleet.on(&name, |node| node.markers());
        let distinct: BTreeSet<_> = markers.iter().collect();
        assert_eq!(
            distinct.len(),
            markers.len(),
            "{when}: {name} got a request twice"
        );
    }
}

#[test]
fn every_replica_edits_and_the_counts_are_those_of_one() {
    let world = World::new(&["a", "b", "c"], 8, 2);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        let task = succeed(&engine, edit("m", "n += 1", Some("k = x"))).await;
        assert_eq!(
            task.details,
            json!({
                "deletedDocuments": 5,
                "editedDocuments": 5,
                "originalFilter": "\"k = x\"",
                "context": null,
                "function": "n += 1",
            })
        );
        assert_edited(&world, 1, 0, "after the first");
        succeed(&engine, edit("m", "n += 1", None)).await;
        assert_edited(&world, 2, 1, "after the second");
        let task = succeed(&engine, edit("m", "doc = ()", Some("k = y"))).await;
        assert_eq!(task.details["editedDocuments"], 15);
        assert_eq!(world.documents("m").len(), 5);
        // What an edit removed is new when it comes again: it gets a number of its own.
        succeed(&engine, add("m", &[json!({"id": 1, "n": 2, "k": "x"})])).await;
        assert_eq!(world.fleet.order("m").last().unwrap(), "1");
    });
    world.run(async |_| world.settled().await);
}

#[test]
fn edits_and_what_is_around_them_come_in_order() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        add("m", &documents()),
        edit("m", "n += 1", None),
        add("m", &[json!({"id": 0, "n": 10, "k": "x"})]),
        edit("m", "n += 1", None),
        edit("other", "n += 1", None),
        create("other"),
    ]);
    world.run(async |engine| {
        world.settled().await;
        let failed = ended(&engine, tasks[4]).await;
        assert_eq!(failed.error.unwrap()["message"], "Index `other` not found.");
        assert_eq!(failed.details["editedDocuments"], json!(0));
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m")["0"]["n"], 11);
    assert_eq!(world.documents("m")["1"]["n"], 2);
    assert_nothing_twice(&world, "in one life");
}

#[test]
fn an_edit_is_never_sent_again_for_a_failure_before_it() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        succeed(&engine, create("other")).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        // Of another index, since the node may fail it together with its neighbours.
        let guilty = register(&engine, add("other", &[json!({"id": 1, "poison": true})])).await;
        let edited = register(&engine, edit("m", "n += 1", None)).await;
        crate::world::pass(std::time::Duration::from_secs(1)).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        assert_eq!(ended(&engine, guilty).await.status, TaskStatus::Failed);
        assert_eq!(ended(&engine, edited).await.status, TaskStatus::Succeeded);
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_edited(&world, 1, 1, "after a failure of a neighbour");
}

#[test]
fn an_edit_that_throws_fails_in_the_clients_terms() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, settings("m", json!({}))).await;
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        for node in ["a", "b"] {
            world.fleet.on(node, |node| {
                for index in node.indexes.values_mut() {
                    let document = index.documents.get_mut("1").unwrap();
                    document.insert("poison".into(), json!(true));
                }
            });
        }
        let task = register(&engine, edit("m", "throw", None)).await;
        let task = ended(&engine, task).await;
        assert_eq!(task.status, TaskStatus::Failed);
        assert_eq!(
            task.error.unwrap()["message"],
            "Index `m`: it threw (line 1, position 1)"
        );
        assert_eq!(task.details["editedDocuments"], 0);
    });
}

#[test]
fn a_crash_at_any_step_edits_once() {
    for step in STEPS {
        for nth in 0..16 {
            let world = World::mirrored();
            world.run(async |engine| {
                succeed(&engine, add("m", &documents())).await;
                world.settled().await;
            });
            let story = || {
                [
                    edit("m", "n += 1", None),
                    add("m", &[json!({"id": 100, "n": 0, "k": "z"})]),
                    edit("m", "n += 1", Some("k = x")),
                ]
            };
            let is_reached = world.run_until_step(step, nth, async |engine| {
                for write in story() {
                    register(&engine, write).await;
                }
                world.settled().await;
            });
            let when = format!("after a crash at {step} {nth}");
            world.run(async |engine| {
                world.settled().await;
                let done = world.all_tasks().await.len() - 1;
                for write in story().into_iter().skip(done) {
                    register(&engine, write).await;
                }
                world.settled().await;
                for task in world.all_tasks().await {
                    assert_eq!(task.status, TaskStatus::Succeeded, "{when}");
                }
                let counts: Vec<_> = world.all_tasks().await;
                assert_eq!(counts[1].details["editedDocuments"], 20, "{when}");
                assert_eq!(counts[3].details["editedDocuments"], 5, "{when}");
            });
            world.assert_mirrored("m");
            let mut documents = world.documents("m");
            assert_eq!(documents.remove("100").unwrap()["n"], 0, "{when}");
            for (id, document) in documents {
                let expected = if document["k"] == "x" { 2 } else { 1 };
                assert_eq!(document["n"], expected, "{when}: document {id}");
            }
            assert_nothing_twice(&world, &when);
            if !is_reached {
                break;
            }
        }
    }
}

#[test]
fn an_edit_whose_answer_was_lost_is_not_sent_again() {
    for is_crash in [false, true] {
        let world = World::mirrored();
        world.run(async |engine| {
            succeed(&engine, add("m", &documents())).await;
            world.settled().await;
        });
        world.fleet.set("a", |faults| faults.lost_answers = 1);
        world.fleet.set("b", |faults| faults.swallowed = 1);
        if is_crash {
            world.run_until_step("node.applied", 0, async |engine| {
                register(&engine, edit("m", "n += 1", None)).await;
                world.settled().await;
            });
        } else {
            world.enqueue(vec![edit("m", "n += 1", None)]);
        }
        world.run(async |_| world.settled().await);
        world.assert_mirrored("m");
        assert_edited(&world, 1, 1, &format!("crash: {is_crash}"));
        assert_nothing_twice(&world, &format!("crash: {is_crash}"));
    }
}

#[test]
fn a_replica_that_was_away_edits_when_it_returns() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, edit("m", "n += 1", None)).await;
        succeed(&engine, edit("m", "n += 1", Some("k = x"))).await;
    });
    world.run(async |_| {
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_edited(&world, 2, 1, "after an absence");
    assert_nothing_twice(&world, "after an absence");
}
