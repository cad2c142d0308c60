//! What may become of a request to a node, and what is made of it: `docs/concept/outcomes.md` names
//! the test beside each rule.

use crate::world::{
    World, add, add_by, add_file, create, edit, ended, pass, register, succeed, uid, until, write,
};
use miroir_core::id::{NodeId, TaskUid};
use miroir_core::task::{AdditionMethod, Operation, TaskStatus};
use miroir_engine::Engine;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn doc(id: u64) -> Value {
    json!({"id": id})
}

/// The names of what is wrong with a node.
async fn all_conditions(engine: &Engine, node: &str) -> Vec<String> {
    let topology = engine.topology().await.unwrap();
    let node = topology.nodes.into_iter().find(|n| n.name == node).unwrap();
    node.conditions.into_iter().map(|c| c.condition).collect()
}

/// The same but for their clocks, which stand still in this world.
async fn conditions(engine: &Engine, node: &str) -> Vec<String> {
    let mut found = all_conditions(engine, node).await;
    found.retain(|name| name != "wrongClock");
    found
}

async fn is_waiting(engine: &Engine, task: TaskUid) -> bool {
    !engine.task(task).await.unwrap().status.is_final()
}

/// Three writes of one document that are on a node which works on none.
async fn send_three(world: &World, engine: &Engine, node: &str) -> Vec<TaskUid> {
    world.fleet.set(node, |faults| faults.is_holding = true);
    let before = world.fleet.on(node, |node| node.task_count());
    let mut tasks = Vec::new();
    for n in 0..3 {
        tasks.push(register(engine, add("m", &[json!({"id": 1, "n": n})])).await);
        until("it is sent", || {
            world.fleet.on(node, |node| node.task_count()) > before + n
        })
        .await;
    }
    tasks
}

#[test]
fn a_request_that_arrives_twice_comes_to_the_same() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        for write in [
            add("m", &[json!({"id": 1, "n": 1}), json!({"id": 2, "n": 1})]),
            add_by(AdditionMethod::Update, "m", &[json!({"id": 1, "p": 1})]),
            crate::world::delete_ids("m", &["2"]),
            write(
                "m",
                Operation::DeleteByFilter {
                    filter: json!("n = 7"),
                },
            ),
            add("m", &[json!({"id": 3, "n": 1})]),
        ] {
            world.fleet.set("a", |faults| faults.duplicated = 1);
            succeed(&engine, write).await;
        }
        world.settled().await;
        assert!(world.node("a").await.is_in_sync);
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["1", "3"]);
}

#[test]
fn a_node_that_forgets_what_it_accepted_gets_it_again_however_it_counts() {
    for counts_anew in [false, true] {
        for kept_count in 0..3 {
            let world = World::single();
            world.run(async |engine| {
                succeed(&engine, create("m")).await;
                world.settled().await;
                let tasks = send_three(&world, &engine, "a").await;
                world.fleet.on("a", |a| a.crash(kept_count, counts_anew));
                let last = register(&engine, add("m", &[doc(2)])).await;
                world.fleet.set("a", |faults| faults.is_holding = false);
                for task in tasks.into_iter().chain([last]) {
                    assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
                }
                world.settled().await;
                let found = conditions(&engine, "a").await;
                assert!(!found.contains(&"wrongData".to_owned()), "{found:?}");
            });
            let when = format!("{kept_count} kept, counting anew: {counts_anew}");
            assert_eq!(world.documents("m")["1"]["n"], 2, "{when}");
            assert_eq!(world.documents("m").len(), 2, "{when}");
        }
    }
}

#[test]
fn a_node_that_restarts_within_a_batch_ends_with_all_of_it_once() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        // Large enough to be cut into two requests.
        let filling = "x".repeat(9 * 1024 * 1024);
        let documents: Vec<_> = (0..4).map(|id| json!({"id": id, "f": filling})).collect();
        let large = add_file(&engine, "m", &documents).await;
        world.fleet.set("a", |faults| {
            faults.is_holding = true;
            faults.spare = 1;
            faults.busy = u32::MAX;
        });
        let task = register(&engine, large).await;
        let has_first = || world.fleet.on("a", |a| a.markers().len()) == 1;
        until("the first request is there", has_first).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        pass(Duration::from_millis(100)).await;
        world.fleet.on("a", |a| a.crash(1, false));
        world.fleet.set("a", |faults| *faults = Default::default());
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        world.settled().await;
    });
    world.assert_mirrored("m");
    let markers = world.fleet.on("a", |a| a.markers());
    let distinct: BTreeSet<_> = markers.iter().collect();
    assert_eq!((markers.len(), distinct.len()), (2, 2), "{markers:?}");
}

#[test]
fn tasks_canceled_on_every_replica_are_done_again_and_never_the_clients_failure() {
    for world in [World::mirrored(), World::single()] {
        world.run(async |engine| {
            succeed(&engine, create("m")).await;
            let names = world.fleet.names();
            for node in &names {
                world.fleet.set(node, |faults| faults.is_holding = true);
            }
            let before: Vec<usize> = names
                .iter()
                .map(|node| world.fleet.on(node, |node| node.task_count()))
                .collect();
            let task = register(&engine, add("m", &[doc(1)])).await;
            for _ in 0..2 {
                // Also what is sent again.
                until("it is sent", || {
                    names.iter().zip(&before).all(|(node, before)| {
                        world.fleet.on(node, |node| node.task_count()) > *before
                            && world.fleet.on(node, |node| node.open_count()) > 0
                    })
                })
                .await;
                for node in &names {
                    world.fleet.on(node, |node| node.cancel_open_tasks());
                }
                pass(Duration::from_secs(1)).await;
                assert!(is_waiting(&engine, task).await);
            }
            for node in &names {
                world.fleet.set(node, |faults| faults.is_holding = false);
            }
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
            world.settled().await;
        });
        assert_eq!(world.documents("m").len(), 1);
    }
}

#[test]
fn tasks_deleted_on_a_node_before_we_saw_their_end_are_done_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.settled().await;
        let tasks = send_three(&world, &engine, "a").await;
        world.fleet.on("a", |a| {
            a.faults.is_holding = false;
            a.delete_all_tasks();
        });
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
        world.settled().await;
        assert!(world.node("a").await.is_in_sync);
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m")["1"]["n"], 2);
}

#[test]
fn an_edit_deleted_on_a_node_before_we_saw_its_end_is_not_done_twice() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1, "n": 0})])).await;
        world.settled().await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let before = world.fleet.on("a", |a| a.task_count());
        let task = register(&engine, edit("m", "n += 1", None)).await;
        until("it is sent", || {
            world.fleet.on("a", |a| a.task_count()) > before
        })
        .await;
        world.fleet.on("a", |a| {
            a.faults.is_holding = false;
            // Somebody's own task behind it shows that the count went on.
            a.delete_all_tasks();
            a.live_another_life(1);
        });
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        world.settled().await;
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m")["1"]["n"], 1);
}

#[test]
fn a_node_without_room_for_an_index_makes_it_later_also_where_its_first_write_failed() {
    for is_refusing in [true, false] {
        let world = World::mirrored();
        let fill = |is_full: bool| {
            world.fleet.set("b", |faults| {
                faults.is_full = is_full && is_refusing;
                faults.is_disk_full = is_full && !is_refusing;
            });
        };
        world.run(async |engine| {
            fill(true);
            let poison = json!({"id": 1, "poison": true});
            let task = register(&engine, add("m", &[poison])).await;
            let task = ended(&engine, task).await;
            assert_eq!(task.status, TaskStatus::Failed);
            assert_eq!(task.error.unwrap()["code"], "internal");
            assert!(!world.node("b").await.is_in_sync, "it lacks the index");
            fill(false);
            world.in_sync_is("b", true).await;
            world.settled().await;
            succeed(&engine, add("m", &[doc(2)])).await;
        });
        world.assert_mirrored("m");
        let settings = |node: &str| {
            world.fleet.on(node, |node| {
                node.indexes.values().next().unwrap().settings.clone()
            })
        };
        assert_eq!(settings("a"), settings("b"));
    }
}

#[test]
fn a_node_without_room_is_done_without_and_returns_when_there_is_room() {
    for is_refusing in [true, false] {
        let world = World::mirrored();
        let fill = |is_full: bool| {
            world.fleet.set("b", |faults| {
                faults.is_full = is_full && is_refusing;
                faults.is_disk_full = is_full && !is_refusing;
            });
        };
        world.run(async |engine| {
            succeed(&engine, add("m", &[doc(1)])).await;
            fill(true);
            succeed(&engine, add("m", &[doc(2)])).await;
            assert!(!world.node("b").await.is_in_sync);
            assert_eq!(conditions(&engine, "b").await.first().unwrap(), "full");
            succeed(&engine, add("m", &[doc(3)])).await;
            pass(Duration::from_secs(20)).await;
            fill(false);
            world.in_sync_is("b", true).await;
            world.settled().await;
            let found = conditions(&engine, "b").await;
            assert!(!found.contains(&"full".to_owned()), "{found:?}");
        });
        world.assert_mirrored("m");
        assert_eq!(world.documents("m").len(), 3);
    }
}

#[test]
fn a_write_waits_for_room_on_the_last_replica_and_never_fails_for_it() {
    for is_refusing in [true, false] {
        let world = World::single();
        let fill = |is_full: bool| {
            world.fleet.set("a", |faults| {
                faults.is_full = is_full && is_refusing;
                faults.is_disk_full = is_full && !is_refusing;
            });
        };
        world.run(async |engine| {
            succeed(&engine, create("m")).await;
            fill(true);
            let tasks = [
                register(&engine, add("m", &[doc(1)])).await,
                register(&engine, add("m", &[doc(2)])).await,
                register(&engine, add("m", &[doc(3)])).await,
            ];
            pass(Duration::from_secs(60)).await;
            for task in tasks {
                assert!(is_waiting(&engine, task).await, "refusing: {is_refusing}");
            }
            assert_eq!(conditions(&engine, "a").await.first().unwrap(), "full");
            assert!(world.node("a").await.is_in_sync);
        });
        world.run(async |engine| {
            pass(Duration::from_secs(20)).await;
            fill(false);
            world.settled().await;
            assert_eq!(world.documents("m").len(), 3);
            succeed(&engine, add("m", &[doc(4)])).await;
        });
    }
}

#[test]
fn a_node_that_accepts_for_ever_and_ends_nothing_is_done_without() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("b", |faults| faults.is_holding = true);
        let task = register(&engine, add("m", &[doc(2)])).await;
        pass(Duration::from_secs(25)).await;
        assert!(is_waiting(&engine, task).await, "it may be slow");
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        assert!(!world.node("b").await.is_in_sync);
        assert_eq!(conditions(&engine, "b").await, ["standingStill"]);
        succeed(&engine, add("m", &[doc(3)])).await;
        world.fleet.set("b", |faults| faults.is_holding = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
        assert!(conditions(&engine, "b").await.is_empty());
    });
    world.assert_mirrored("m");
    // With one replica there is nobody to go on without it.
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let task = register(&engine, add("m", &[doc(1)])).await;
        pass(Duration::from_secs(300)).await;
        assert!(is_waiting(&engine, task).await);
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
    });
}

#[test]
fn a_nodes_clock_decides_nothing() {
    let world = World::mirrored();
    for skew in [0, 30, 3] {
        world.fleet.on("a", |a| a.skew = skew);
        world.run(async |engine| {
            succeed(&engine, add("m", &[doc(skew)])).await;
            pass(Duration::from_secs(10)).await;
            assert!(world.node("a").await.is_in_sync);
            world.fleet.set("a", |faults| faults.is_unreachable = true);
            succeed(&engine, add("m", &[doc(100 + skew)])).await;
            world.fleet.on("a", |a| a.skew += 1);
            world.fleet.set("a", |faults| faults.is_unreachable = false);
            world.in_sync_is("a", true).await;
            world.settled().await;
            let found = all_conditions(&engine, "a").await;
            assert!(found.contains(&"wrongClock".to_owned()), "{found:?}");
            assert!(!found.contains(&"wrongData".to_owned()), "{found:?}");
        });
    }
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").len(), 6);
}

#[test]
fn a_write_whose_answer_nobody_can_read_is_looked_up_and_not_sent_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        for id in 0..3 {
            world.fleet.set("a", |faults| faults.garbled = 1);
            succeed(&engine, add("m", &[doc(id)])).await;
        }
        world.settled().await;
    });
    world.assert_mirrored("m");
    let markers = world.fleet.on("a", |a| a.markers());
    let distinct: BTreeSet<_> = markers.iter().collect();
    assert_eq!((markers.len(), distinct.len()), (3, 3), "{markers:?}");
}

#[test]
fn a_node_whose_address_leads_to_another_is_not_trusted_and_nothing_is_copied_there() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(5)).await;
        world.fleet.set("b", |faults| {
            faults.leads_to = Some(NodeId::new("a"));
        });
        until("it is seen", || world.fleet.on("a", |a| a.task_count()) > 0).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(conditions(&engine, "b").await, ["anotherNode"]);
        succeed(&engine, add("m", &[doc(2)])).await;
        assert!(!world.node("b").await.is_in_sync);
        pass(Duration::from_secs(60)).await;
        let markers = world.fleet.on("a", |a| a.markers());
        let distinct: BTreeSet<_> = markers.iter().collect();
        assert_eq!(markers.len(), distinct.len(), "a got what b was owed");
        assert_eq!(world.fleet.documents("a", "m").len(), 2);
        assert_eq!(conditions(&engine, "b").await, ["anotherNode"]);
        // Where it should lead.
        world.fleet.set("b", |faults| *faults = Default::default());
        world.in_sync_is("b", true).await;
        world.settled().await;
        let found = conditions(&engine, "b").await;
        assert!(!found.contains(&"anotherNode".to_owned()), "{found:?}");
    });
    world.assert_mirrored("m");
}

/// Three nodes, of which c misses a write, so that b is the last replica of what it shares with c;
/// the ids of documents that b shares with a and with c.
async fn c_is_behind(world: &World, engine: &Engine) -> (String, String) {
    succeed(engine, create("m")).await;
    let with_a = world.id_on("m", ["a", "b"]).await;
    let with_c = world.id_on("m", ["b", "c"]).await;
    world.fleet.set("c", |faults| faults.is_unreachable = true);
    succeed(engine, add("m", &[json!({"id": with_c, "n": 1})])).await;
    assert!(!world.node("c").await.is_in_sync);
    (with_a, with_c)
}

#[test]
fn a_write_that_the_last_replica_of_another_shard_fails_alone_waits_until_it_can_leave() {
    let world = World::new(&["a", "b", "c"], 16, 2);
    world.run(async |engine| {
        let (with_a, with_c) = c_is_behind(&world, &engine).await;
        world.fleet.set("b", |faults| {
            faults.allergies.insert(with_a.clone());
        });
        let task = register(&engine, add("m", &[json!({"id": with_a})])).await;
        pass(Duration::from_secs(30)).await;
        assert!(
            is_waiting(&engine, task).await,
            "b would be read, and has not got it"
        );
        assert!(world.node("b").await.is_in_sync, "it holds what c missed");
        assert_eq!(conditions(&engine, "b").await[0], "failingBatches");
        let document = engine.document(&uid("m"), &with_c, None, false).await;
        assert!(document.is_ok(), "reads go on: {document:?}");
        // c is level again, so b is no longer the last.
        world.fleet.set("c", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        assert!(!world.node("b").await.is_in_sync);
        assert!(world.fleet.documents("a", "m").contains_key(&with_a));
        world.fleet.set("b", |faults| faults.allergies.clear());
        world.in_sync_is("b", true).await;
        world.settled().await;
        let found = conditions(&engine, "b").await;
        assert!(!found.contains(&"failingBatches".to_owned()), "{found:?}");
    });
    assert_eq!(world.documents("m").len(), 2);
}

#[test]
fn a_write_that_waits_for_an_ill_node_ends_when_the_node_is_well() {
    let world = World::new(&["a", "b", "c"], 16, 2);
    world.run(async |engine| {
        let (with_a, _) = c_is_behind(&world, &engine).await;
        world.fleet.set("b", |faults| {
            faults.allergies.insert(with_a.clone());
        });
        let task = register(&engine, add("m", &[json!({"id": with_a})])).await;
        pass(Duration::from_secs(12)).await;
        world.fleet.set("b", |faults| faults.allergies.clear());
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        assert!(world.node("b").await.is_in_sync);
        assert!(world.fleet.documents("b", "m").contains_key(&with_a));
    });
}

#[test]
fn replicas_that_a_failed_task_left_unlike_are_made_alike_also_after_a_restart() {
    let world = World::new(&["a", "b", "c"], 16, 2);
    let with_c = world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let with_a = world.id_on("m", ["a", "b"]).await;
        let with_c = world.id_on("m", ["b", "c"]).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| {
                faults.allergies.insert(with_a.clone());
            });
        }
        let documents = [json!({"id": with_a}), json!({"id": with_c})];
        let task = register(&engine, add("m", &documents)).await;
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Failed);
        with_c
    });
    let there = |node: &str| world.fleet.documents(node, "m").contains_key(&with_c);
    assert_ne!(
        there("b"),
        there("c"),
        "the proxy died before it could copy"
    );
    world.run(async |_| {
        until("both or none have it", || there("b") == there("c")).await;
        world.settled().await;
    });
}

#[test]
fn a_node_shows_how_far_behind_it_is_and_what_it_waits_for() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        for id in 2..5 {
            succeed(&engine, add("m", &[doc(id)])).await;
        }
        pass(Duration::from_secs(30)).await;
        let topology = engine.topology().await.unwrap();
        let (a, b) = (&topology.nodes[0], &topology.nodes[1]);
        assert_eq!((a.lag_batches, a.lag_entries, a.lag_bytes), (0, 0, 0));
        assert_eq!((a.in_sync_shards, b.in_sync_shards), (4, 0));
        assert_eq!((b.lag_batches, b.lag_entries), (3, 3));
        assert!(b.lag_bytes > 0 && b.lag_seconds >= 30.0, "{b:?}");
        assert_eq!(b.waits_for.as_deref(), Some("the node to answer"));
        assert_eq!(conditions(&engine, "b").await[0], "unreachable");
        let page = engine.metrics_page().await.unwrap();
        for line in [
            r#"miroir_node_lag_entries{node="b"} 3"#,
            r#"miroir_node_in_sync_shards{node="a"} 4"#,
            r#"miroir_node_condition{condition="unreachable",node="b"} 1"#,
        ] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
        world.fleet.set("b", |faults| {
            faults.is_unreachable = false;
            faults.is_denying = true;
        });
        pass(Duration::from_secs(5)).await;
        assert_eq!(conditions(&engine, "b").await[0], "keyRefused");
        world.fleet.set("b", |faults| faults.is_denying = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
        let topology = engine.topology().await.unwrap();
        assert_eq!(topology.nodes[1].lag_batches, 0);
        assert_eq!(topology.nodes[1].waits_for, None);
        let found = conditions(&engine, "b").await;
        assert!(!found.contains(&"keyRefused".to_owned()), "{found:?}");
    });
}
