//! What a client wrote last is what every replica ends with, and equal documents keep the order in
//! which they came.

use crate::world::{
    World, add, add_by, create, delete_ids, drop_index, ended, register, rename, settings, succeed,
    until, write,
};
use miroir_core::task::{AdditionMethod, Operation, TaskStatus};
use serde_json::json;

#[test]
fn coalesced_writes_of_one_document_end_with_the_last() {
    let world = World::mirrored();
    let writes = (0..50)
        .map(|n| add("movies", &[json!({"id": n % 5, "n": n})]))
        .collect();
    let tasks = world.enqueue(writes);
    world.run(async |engine| {
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
    });
    world.assert_mirrored("movies");
    for (id, document) in world.documents("movies") {
        assert_eq!(document["n"], 45 + id.parse::<u64>().unwrap());
    }
    assert_eq!(world.fleet.order("movies"), ["0", "1", "2", "3", "4"]);
}

#[test]
fn additions_updates_and_deletions_of_one_document_keep_their_order() {
    let world = World::mirrored();
    let update =
        |id: u64, field: &str| add_by(AdditionMethod::Update, "m", &[json!({"id": id, field: 1})]);
    let tasks = world.enqueue(vec![
        add(
            "m",
            &[json!({"id": 1, "old": 1}), json!({"id": 2, "old": 1})],
        ),
        update(1, "a"),
        delete_ids("m", &["1"]),
        update(1, "b"),
        update(2, "b"),
        add("m", &[json!({"id": 2, "new": 1})]),
        update(2, "c"),
    ]);
    world.run(async |engine| {
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
    });
    world.assert_mirrored("m");
    let documents = world.documents("m");
    assert_eq!(documents["1"], json!({"id": 1, "b": 1}));
    assert_eq!(documents["2"], json!({"id": 2, "new": 1, "c": 1}));
}

#[test]
fn an_id_that_comes_twice_in_one_payload_counts_once_and_ends_with_the_last() {
    let world = World::mirrored();
    world.run(async |engine| {
        let documents = [
            json!({"id": 1, "n": 1}),
            json!({"id": 2}),
            json!({"id": 1, "n": 2}),
        ];
        let task = succeed(&engine, add("m", &documents)).await;
        assert_eq!(task.details["indexedDocuments"], 2);
        assert_eq!(task.details["receivedDocuments"], 3);
    });
    assert_eq!(world.documents("m")["1"]["n"], 2);
    assert_eq!(world.fleet.order("m"), ["1", "2"]);
}

#[test]
fn a_rewritten_document_keeps_its_place_by_a_look_up() {
    let world = World::mirrored();
    world.run(async |engine| {
        let ids = |ids: &[u64]| ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>();
        succeed(&engine, add("m", &ids(&[3, 1, 2]))).await;
        succeed(&engine, add("m", &ids(&[1, 9, 3]))).await;
        assert_eq!(world.fleet.order("m"), ["3", "1", "2", "9"]);
        succeed(&engine, delete_ids("m", &["3"])).await;
        succeed(&engine, add("m", &ids(&[3]))).await;
        assert_eq!(
            world.fleet.order("m"),
            ["1", "2", "9", "3"],
            "a freed place is not used again"
        );
    });
    world.run(async |engine| {
        succeed(
            &engine,
            add("m", &[json!({"id": 2, "again": true}), json!({"id": 7})]),
        )
        .await;
        assert_eq!(
            world.fleet.order("m"),
            ["1", "2", "9", "3", "7"],
            "also after a restart"
        );
    });
    world.assert_mirrored("m");
}

#[test]
fn a_document_rewritten_in_flight_keeps_its_place() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": "first"})])).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        let mut tasks = Vec::new();
        for document in [
            json!({"id": "x"}),
            json!({"id": "y"}),
            json!({"id": "x", "again": 1}),
        ] {
            let task = register(&engine, add("m", &[document])).await;
            // Each in a batch of its own.
            until("it is in a batch", || {
                world.fleet.on("a", |a| a.task_count()) > tasks.len() + 3
            })
            .await;
            tasks.push(task);
        }
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        for task in tasks {
            ended(&engine, task).await;
        }
    });
    assert_eq!(world.fleet.order("m"), ["first", "x", "y"]);
}

#[test]
fn a_replacement_after_everything_was_deleted_comes_last() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1}), json!({"id": 2})])).await;
        succeed(&engine, write("m", Operation::DeleteAllDocuments)).await;
        succeed(&engine, add("m", &[json!({"id": 2}), json!({"id": 1})])).await;
    });
    assert_eq!(world.fleet.order("m"), ["2", "1"]);
}

#[test]
fn an_index_deleted_and_made_again_holds_only_what_came_after() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        add("m", &[json!({"id": 1, "life": 1})]),
        drop_index("m"),
        add("m", &[json!({"id": 2, "life": 2})]),
        drop_index("m"),
        create("m"),
        add("m", &[json!({"id": 3, "life": 3})]),
    ]);
    world.run(async |engine| {
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
    });
    world.assert_mirrored("m");
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["3"]);
    assert_eq!(
        world.fleet.on("a", |a| a.indexes.len()),
        1,
        "no index of an earlier life is left"
    );
}

#[test]
fn writes_before_and_after_a_renaming_reach_the_same_index() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        add("old", &[json!({"id": 1})]),
        rename("old", "new"),
        add("new", &[json!({"id": 2})]),
        add("old", &[json!({"id": 3})]),
    ]);
    world.run(async |engine| {
        for task in &tasks {
            assert_eq!(ended(&engine, *task).await.status, TaskStatus::Succeeded);
        }
        let names: Vec<_> = engine
            .indexes()
            .into_iter()
            .map(|index| index.uid)
            .collect();
        assert_eq!(
            names.iter().map(|uid| uid.as_str()).collect::<Vec<_>>(),
            ["new", "old"]
        );
    });
    let physical = |uid: &'static str| {
        world.apart(async move |world| world.index(uid).await.expect("an index").physical)
    };
    let held = |name: &str| {
        world.fleet.on("a", |a| {
            a.indexes[name]
                .documents
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(held(physical("new").as_str()), ["1", "2"]);
    assert_eq!(held(physical("old").as_str()), ["3"]);
}

#[test]
fn a_write_that_waits_behind_a_renaming_keeps_the_name_it_was_sent_to() {
    let world = World::mirrored();
    // The renaming is stored, the write behind it is not yet dispatched: there the proxy dies.
    world.enqueue(vec![
        create("old"),
        rename("old", "new"),
        add("old", &[json!({"id": 3})]),
    ]);
    assert!(world.run_until_step("batch.committed", 1, async |_| world.settled().await));
    world.run(async |engine| {
        world.settled().await;
        assert!(
            engine.index(&crate::world::uid("old")).is_ok(),
            "the write made it anew"
        );
    });
    let new_life = world.apart(async |world| world.index("old").await.expect("an index").physical);
    let documents = |n: &str| {
        world.fleet.on(n, |n| {
            n.indexes[new_life.as_str()]
                .documents
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    assert_eq!([documents("a"), documents("b")], [["3"], ["3"]]);
}

#[test]
fn an_index_renamed_to_a_name_just_freed_appears_under_it() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("a")).await;
        succeed(&engine, create("b")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let freed = register(&engine, drop_index("a")).await;
        let renamed = register(&engine, rename("b", "a")).await;
        crate::world::pass(std::time::Duration::from_secs(1)).await;
        let is_final = engine.task(renamed).await.unwrap().status.is_final();
        assert!(!is_final, "it ends behind the deletion that freed its name");
        world.fleet.set("a", |faults| faults.is_holding = false);
        ended(&engine, freed).await;
        assert_eq!(ended(&engine, renamed).await.status, TaskStatus::Succeeded);
        let shown: Vec<_> = engine
            .indexes()
            .into_iter()
            .map(|index| index.uid)
            .collect();
        assert_eq!(shown, [crate::world::uid("a")]);
    });
}

#[test]
fn settings_reach_the_nodes_before_the_documents_behind_them() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        settings("m", json!({"filterableAttributes": ["kind"]})),
        add(
            "m",
            &[json!({"id": 1, "kind": "a"}), json!({"id": 2, "kind": "b"})],
        ),
        write(
            "m",
            Operation::DeleteByFilter {
                filter: json!("kind = a"),
            },
        ),
    ]);
    world.run(async |engine| {
        for task in &tasks {
            assert_eq!(ended(&engine, *task).await.status, TaskStatus::Succeeded);
        }
        let deletion = engine.task(tasks[2]).await.unwrap();
        assert_eq!(
            deletion.details["deletedDocuments"], 1,
            "each document counts once"
        );
    });
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["2"]);
    let filterable = world.fleet.on("b", |b| {
        b.indexes.values().next().unwrap().settings["filterableAttributes"].to_string()
    });
    assert!(filterable.contains("kind"), "{filterable}");
}

#[test]
fn tasks_of_one_index_end_in_log_order() {
    let world = World::new(&["a", "b", "c"], 8, 1);
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let slow = world.fleet.names()[0].clone();
        world.fleet.set(&slow, |faults| faults.is_holding = true);
        let mut tasks = Vec::new();
        for n in 0..40 {
            tasks.push(register(&engine, add("m", &[json!({"id": n})])).await);
        }
        until("the others are ready", || {
            ["b", "c"]
                .iter()
                .all(|node| !world.fleet.documents(node, "m").is_empty())
        })
        .await;
        world.fleet.set(&slow, |faults| faults.is_holding = false);
        for _ in 0..10_000 {
            let records = world.all_tasks().await;
            let ends: Vec<bool> = tasks
                .iter()
                .map(|task| records[task.0 as usize].status.is_final())
                .collect();
            assert!(
                ends.is_sorted_by(|a, b| a >= b),
                "a later task ended first: {ends:?}"
            );
            if ends.iter().all(|is_final| *is_final) {
                return;
            }
            tokio::task::yield_now().await;
            crate::world::pass(std::time::Duration::from_millis(1)).await;
        }
        panic!("they never end");
    });
}

#[test]
fn more_documents_in_flight_than_are_remembered_do_not_stop_the_log() {
    let world = World::single();
    // 60 payloads of 4000 documents travel as one batch and are more than the overlay remembers.
    let payload = |n: u64| {
        let lines: String = (0..4000)
            .map(|id| format!("{{\"id\":{}}}\n", n * 4000 + id))
            .collect();
        let mut write = add("m", &[]);
        if let Operation::AddDocuments { document_count, .. } = &mut write.operation {
            *document_count = 4000;
        }
        let payload = miroir_engine::port::Payload::Inline(lines.into());
        miroir_engine::engine::Write {
            payload: Some(payload),
            ..write
        }
    };
    let tasks = world.enqueue((0..60).map(payload).collect());
    world.run(async |engine| {
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
    });
    assert_eq!(world.fleet.documents("a", "m").len(), 240_000);
}
