//! Whose failure it is, and what becomes of the innocent.

use crate::node;
use crate::world::{
    World, add, create, delete_ids, drop_index, ended, pass, register, settings, succeed, uid,
    until, write,
};
use miroir_core::task::{Operation, TaskStatus};
use miroir_engine::EngineError;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn poison(id: u64) -> Value {
    json!({"id": id, "poison": true})
}

#[test]
fn of_coalesced_writes_only_the_guilty_fails() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        add("m", &[json!({"id": 1, "n": 1})]),
        add("m", &[poison(2)]),
        add("m", &[json!({"id": 1, "n": 2}), json!({"id": 3})]),
    ]);
    world.run(async |engine| {
        assert_eq!(ended(&engine, tasks[0]).await.status, TaskStatus::Succeeded);
        let guilty = ended(&engine, tasks[1]).await;
        assert_eq!(guilty.status, TaskStatus::Failed);
        let message = guilty.error.unwrap()["message"].to_string();
        assert!(
            message.contains("`m`") && !message.contains("m__"),
            "{message}"
        );
        assert_eq!(guilty.details["indexedDocuments"], 0);
        assert_eq!(ended(&engine, tasks[2]).await.status, TaskStatus::Succeeded);
        world.settled().await;
        for node in ["a", "b"] {
            assert!(world.node(node).await.is_in_sync, "nobody is ill");
        }
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m")["1"]["n"], 2);
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn what_was_sent_behind_a_failed_batch_is_sent_again_in_order() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let tasks = send_three(&world, &engine).await;
        for (task, status) in tasks
            .into_iter()
            .zip([TaskStatus::Failed, TaskStatus::Succeeded])
        {
            assert_eq!(ended(&engine, task).await.status, status);
        }
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m")["1"]["n"], 3, "the newest counts");
}

/// Three batches that are on the nodes before they work: the first has an innocent entry that
/// writes the document that the later ones write too.
async fn send_three(
    world: &World,
    engine: &miroir_engine::Engine,
) -> Vec<miroir_core::id::TaskUid> {
    for node in ["a", "b"] {
        world.fleet.set(node, |faults| faults.is_holding = true);
    }
    let before = world.fleet.on("a", |a| a.task_count());
    let writes = [
        vec![json!({"id": 1, "n": 1}), poison(2)],
        vec![json!({"id": 1, "n": 2})],
        vec![json!({"id": 1, "n": 3})],
    ];
    let mut tasks = Vec::new();
    for documents in writes {
        tasks.push(register(engine, add("m", &documents)).await);
        until("it is sent", || {
            ["a", "b"]
                .iter()
                .all(|n| world.fleet.on(n, |n| n.task_count()) >= before + tasks.len())
        })
        .await;
    }
    for node in ["a", "b"] {
        world.fleet.set(node, |faults| faults.is_holding = false);
    }
    tasks
}

#[test]
fn a_node_lost_during_a_careful_delivery_still_gets_everything_behind_it() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let before = world.fleet.on("a", |a| a.task_count());
        let mut tasks = Vec::new();
        for (n, documents) in [
            vec![poison(2)],
            vec![json!({"id": 1})],
            vec![json!({"id": 3})],
        ]
        .into_iter()
        .enumerate()
        {
            tasks.push(register(&engine, add("m", &documents)).await);
            until("it is sent", || {
                world.fleet.on("a", |a| a.task_count()) > before + n
            })
            .await;
        }
        // The first fails; while the node is asked for the later ones a call is lost.
        world.fleet.set("a", |faults| {
            faults.is_shaky = true;
            faults.is_holding = false;
        });
        assert_eq!(ended(&engine, tasks[0]).await.status, TaskStatus::Failed);
        for task in &tasks[1..] {
            assert_eq!(ended(&engine, *task).await.status, TaskStatus::Succeeded);
        }
    });
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn a_crash_behind_a_careful_delivery_does_not_bring_old_versions_back() {
    for step in ["node.sent", "node.applied", "delivery.noted"] {
        for nth in 0..16 {
            let world = World::mirrored();
            world.run(async |engine| {
                succeed(&engine, create("m")).await;
                for node in ["a", "b"] {
                    world.fleet.set(node, |faults| faults.is_holding = true);
                }
                let group = [
                    add("m", &[json!({"id": 1, "n": 1})]),
                    add("m", &[poison(2)]),
                ];
                for write in group {
                    register(&engine, write).await;
                }
                pass(Duration::from_secs(1)).await;
                register(&engine, add("m", &[json!({"id": 1, "n": 3})])).await;
                pass(Duration::from_secs(1)).await;
            });
            for node in ["a", "b"] {
                world.fleet.set(node, |faults| faults.is_holding = false);
            }
            world.run_until_step(step, nth, async |_| world.settled().await);
            world.run(async |_| world.settled().await);
            world.assert_mirrored("m");
            assert_eq!(world.documents("m")["1"]["n"], 3, "crash at {step} {nth}");
        }
    }
}

#[test]
fn a_call_lost_behind_a_careful_delivery_does_not_bring_old_versions_back() {
    for spare in 0..6 {
        let world = World::single();
        world.run(async |engine| {
            succeed(&engine, create("m")).await;
            world.fleet.set("a", |faults| faults.is_holding = true);
            for write in [
                add("m", &[json!({"id": 1, "n": 1})]),
                add("m", &[poison(2)]),
            ] {
                register(&engine, write).await;
            }
            pass(Duration::from_secs(1)).await;
            register(&engine, add("m", &[json!({"id": 1, "n": 3})])).await;
            pass(Duration::from_secs(1)).await;
            world.fleet.set("a", |faults| {
                faults.is_holding = false;
                faults.spare = spare;
                faults.swallowed = 1;
            });
            world.settled().await;
        });
        assert_eq!(
            world.documents("m")["1"]["n"],
            3,
            "after {spare} more requests"
        );
    }
}

#[test]
fn a_failed_batch_is_closed_in_the_store_on_every_node() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| faults.is_holding = true);
        let task = register(&engine, add("m", &[poison(1)])).await;
        // One node reports long before the other.
        pass(Duration::from_secs(2)).await;
        world.fleet.set("b", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Failed);
        world.settled().await;
    });
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 2})])).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn a_node_that_fails_alone_is_ill_and_the_task_succeeds() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| {
            faults.allergies.insert("1".into());
        });
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        assert!(!world.node("b").await.is_in_sync);
        succeed(&engine, add("m", &[json!({"id": 2})])).await;
        pass(Duration::from_secs(12)).await;
        assert!(!world.node("b").await.is_in_sync);
        assert!(
            world.fleet.documents("b", "m").is_empty(),
            "nothing later is applied before"
        );
        world.fleet.set("b", |faults| faults.allergies.clear());
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 2);
}

#[test]
fn a_node_out_of_sync_that_fails_alone_does_not_join() {
    let world = World::new(&["a", "b", "c"], 16, 2);
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let with_a = world.id_on("m", ["a", "b"]).await;
        let with_c = world.id_on("m", ["b", "c"]).await;
        // b misses a write and leaves. a is slow with the next, c is not with the one after.
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let other = "other";
        succeed(&engine, create(other)).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let failed_alone = register(&engine, add("m", &[json!({"id": with_a})])).await;
        pass(Duration::from_secs(1)).await;
        let elsewhere = world.id_on(other, ["b", "c"]).await;
        succeed(&engine, add(other, &[json!({"id": elsewhere})])).await;
        // b returns, catches up, and fails what a has not reported yet.
        world.fleet.set("b", |faults| {
            faults.allergies.insert(with_a.clone());
            faults.is_unreachable = false;
        });
        pass(Duration::from_secs(10)).await;
        assert!(
            !world.node("b").await.is_in_sync,
            "it is owed what c has done"
        );
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(
            ended(&engine, failed_alone).await.status,
            TaskStatus::Succeeded
        );
        pass(Duration::from_secs(20)).await;
        assert!(!world.node("b").await.is_in_sync, "it lacks a document");
        world.fleet.set("b", |faults| faults.allergies.clear());
        world.in_sync_is("b", true).await;
        succeed(&engine, add("m", &[json!({"id": with_c})])).await;
        world.settled().await;
        assert!(world.fleet.documents("b", "m").contains_key(&with_a));
    });
}

#[test]
fn a_batch_of_a_removed_index_that_one_node_failed_and_the_other_skipped_makes_nobody_ill() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("stays")).await;
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| faults.busy = u32::MAX);
        let failing = register(
            &engine,
            settings("m", json!({"synonyms": {"poison": ["x"]}})),
        )
        .await;
        pass(Duration::from_secs(2)).await;
        register(&engine, drop_index("m")).await;
        pass(Duration::from_secs(2)).await;
        world.fleet.set("b", |faults| faults.busy = 0);
        world.settled().await;
        assert_eq!(ended(&engine, failing).await.status, TaskStatus::Failed);
        for node in ["a", "b"] {
            assert!(world.node(node).await.is_in_sync, "{node} left");
        }
    });
    assert_eq!(world.fleet.on("a", |a| a.indexes.len()), 1);
    assert_eq!(world.fleet.on("b", |b| b.indexes.len()), 1);
}

#[test]
fn a_failing_batch_of_an_index_removed_before_a_restart_makes_nobody_ill() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("stays")).await;
        succeed(&engine, create("m")).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        register(
            &engine,
            settings("m", json!({"synonyms": {"poison": ["x"]}})),
        )
        .await;
        register(&engine, add("m", &[poison(1)])).await;
        register(&engine, drop_index("m")).await;
        pass(Duration::from_secs(2)).await;
    });
    for node in ["a", "b"] {
        world.fleet.set(node, |faults| faults.is_holding = false);
    }
    world.run(async |engine| {
        world.settled().await;
        for node in ["a", "b"] {
            assert!(world.node(node).await.is_in_sync, "{node} left");
            assert_eq!(world.fleet.on(node, |node| node.indexes.len()), 1);
        }
        succeed(&engine, add("stays", &[json!({"id": 1})])).await;
    });
}

#[test]
fn an_index_made_by_failing_documents_is_there_and_empty() {
    let world = World::mirrored();
    world.run(async |engine| {
        for documents in [
            vec![json!({"no_key": 1})],
            vec![json!({"id": {"an": "object"}})],
        ] {
            let task = register(&engine, add("m", &documents)).await;
            let record = ended(&engine, task).await;
            assert_eq!(record.status, TaskStatus::Failed);
            assert_eq!(record.details["indexedDocuments"], 0);
            let index = engine.index(&uid("m")).unwrap();
            assert_eq!(index.primary_key, None);
        }
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.fleet.order("m"), ["1"]);
}

#[test]
fn writes_to_an_index_that_is_not_there_fail_and_send_nothing() {
    let world = World::mirrored();
    world.run(async |engine| {
        for write in [
            delete_ids("m", &["1"]),
            drop_index("m"),
            write("m", Operation::DeleteAllDocuments),
            write(
                "m",
                Operation::DeleteByFilter {
                    filter: json!("a = b"),
                },
            ),
        ] {
            let task = register(&engine, write).await;
            let record = ended(&engine, task).await;
            assert_eq!(record.status, TaskStatus::Failed);
            assert_eq!(record.error.unwrap()["code"], "index_not_found");
        }
    });
    assert_eq!(world.fleet.on("a", |a| a.task_count()), 0);
}

#[test]
fn a_task_canceled_on_a_node_is_that_nodes_failure() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let before = world.fleet.on("a", |a| a.task_count());
        let task = register(&engine, add("m", &[json!({"id": 1})])).await;
        until("it is sent", || {
            world.fleet.on("a", |a| a.task_count()) > before
        })
        .await;
        world.fleet.on("a", |a| a.cancel_open_tasks());
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        world.in_sync_is("a", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn settings_that_the_nodes_refuse_change_nothing() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, settings("m", json!({"stopWords": ["good"]}))).await;
        let bad = json!({"synonyms": {"poison": ["x"]}, "stopWords": ["bad"]});
        let task = register(&engine, settings("m", bad)).await;
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Failed);
        // Whatever is written next.
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        let record = world.index("m").await.unwrap();
        assert_eq!(
            serde_json::Value::Object(record.settings),
            json!({"stopWords": ["good"]})
        );
    });
}

#[test]
fn a_payload_that_is_gone_fails_its_task_and_does_not_block_the_log() {
    let world = World::mirrored();
    let gone = miroir_engine::port::PayloadRef::File {
        name: "gone".into(),
        bytes: 10,
    };
    let mut lost = add("m", &[json!({"id": 1})]);
    lost.payload = Some(miroir_engine::port::Payload::Stored(gone.clone()));
    let mut lost_ids = delete_ids("m", &["1"]);
    lost_ids.payload = Some(miroir_engine::port::Payload::Stored(gone));
    let tasks = world.enqueue(vec![
        create("m"),
        lost,
        lost_ids,
        add("m", &[json!({"id": 2})]),
    ]);
    world.run(async |engine| {
        assert_eq!(ended(&engine, tasks[3]).await.status, TaskStatus::Succeeded);
        for task in [tasks[1], tasks[2]] {
            let record = engine.task(task).await.unwrap();
            assert_eq!(record.status, TaskStatus::Failed);
            assert_eq!(record.error.unwrap()["code"], "internal");
        }
    });
    world.assert_mirrored("m");
}

#[test]
fn a_line_that_is_no_id_does_not_stop_a_lane() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1}), json!({"id": 2})])).await;
        let mut odd = delete_ids("m", &["1"]);
        let lines = "{\"not\":\"an id\"}\n\"1\"\n";
        odd.payload = Some(miroir_engine::port::Payload::Inline(lines.into()));
        succeed(&engine, odd).await;
        succeed(&engine, add("m", &[json!({"id": 3})])).await;
    });
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn a_store_that_fails_for_a_while_loses_nothing() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        for id in 0..10u64 {
            // Refused in words until the store has shown that it can be written again.
            let task = loop {
                match engine.register(add("m", &[json!({"id": id})])).await {
                    Ok(task) => break task.uid,
                    Err(EngineError::ReadOnly(_)) => pass(Duration::from_millis(100)).await,
                    Err(error) => panic!("{error}"),
                }
            };
            world.store.failing_commits.store(3, Ordering::SeqCst);
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 10);
}

#[test]
fn replicas_of_which_each_fails_what_the_other_carries_out_do_not_wait_for_ever() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.settled().await;
        // a fails two of the entries, b one: they travel as one batch.
        for (node, ids) in [("a", &["1", "2"][..]), ("b", &["3"])] {
            world.fleet.set(node, |faults| {
                faults.allergies.extend(ids.iter().map(ToString::to_string));
            });
        }
        let mut tasks = Vec::new();
        for id in 1..=4 {
            tasks.push(register(&engine, add("m", &[json!({"id": id})])).await);
        }
        pass(Duration::from_secs(15)).await;
        let status = engine.task(tasks[0]).await.unwrap().status;
        assert!(!status.is_final(), "they have time to get well");
        // Then it goes on without the one that fails more; what the other fails has failed.
        for (task, expected) in tasks.iter().zip([true, true, false, true]) {
            let ended = ended(&engine, *task).await;
            assert_eq!(ended.status == TaskStatus::Succeeded, expected, "{ended:?}");
        }
        assert!(!world.node("a").await.is_in_sync);
        assert!(world.node("b").await.is_in_sync);
        // When it is well it is made like the other, which lacks what failed.
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.allergies.clear());
        }
        world.in_sync_is("a", true).await;
        world.settled().await;
        let held = |node: &str| {
            world
                .fleet
                .documents(node, "m")
                .into_keys()
                .collect::<Vec<_>>()
        };
        until("they are alike", || held("a") == held("b")).await;
        for id in ["1", "2", "4"] {
            assert!(
                held("b").contains(&id.to_owned()),
                "{id} of {:?}",
                held("b")
            );
        }
    });
}

#[test]
fn a_node_that_lost_its_data_does_not_hold_up_one_that_left_just_before() {
    let world = World::new(&["a", "b", "c"], 8, 2);
    let poison = world.run(async |engine| {
        succeed(&engine, create("m")).await;
        succeed(&engine, create("other")).await;
        let poison = world.id_on("m", ["a", "b"]).await;
        let elsewhere = world.id_on("other", ["b", "c"]).await;
        world.settled().await;
        // a and b are sent what both fail; a works on nothing, so b waits for the ruling.
        world.fleet.set("a", |faults| faults.is_holding = true);
        let doomed = add("m", &[json!({"id": poison, "poison": true})]);
        let doomed = register(&engine, doomed).await;
        pass(Duration::from_secs(1)).await;
        // b goes away while a write comes that c has, too; and a loses its data.
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, add("other", &[json!({"id": elsewhere})])).await;
        assert!(!world.node("b").await.is_in_sync);
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        world.fleet.on("a", node::Node::wipe);
        pass(Duration::from_secs(3)).await;
        assert!(
            world.node("a").await.is_in_sync,
            "it is the last of its shards"
        );
        doomed
    });
    for name in ["a", "b"] {
        world.fleet.set(name, |faults| {
            faults.is_holding = false;
            faults.is_unreachable = false;
        });
    }
    world.run(async |engine| {
        assert_eq!(ended(&engine, poison).await.status, TaskStatus::Failed);
        world.in_sync_is("b", true).await;
        world.in_sync_is("a", true).await;
        world.settled().await;
        let topology = engine.topology().await.unwrap();
        assert!(topology.nodes.iter().all(|node| node.in_sync));
    });
}
