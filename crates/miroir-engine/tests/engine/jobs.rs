//! Dumps and exports: tasks that the engine carries out itself, in the order of the log.

use crate::world::{
    World, add, cancel, delete_ids, ended, pass, register, settings, succeed, write,
};
use miroir_core::id::TaskUid;
use miroir_core::task::{ExportIndex, Operation, TaskFilter, TaskStatus};
use miroir_engine::engine::Write;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn dump() -> Write {
    Write {
        index_uid: None,
        ..write("any", Operation::CreateDump)
    }
}

fn export(how: ExportIndex, payload_size: Option<u64>) -> Write {
    let operation = Operation::Export {
        url: "http://other.invalid/".into(),
        api_key: Some("a key that nobody sees".into()),
        payload_size,
        indexes: BTreeMap::from([("m*".to_owned(), how)]),
    };
    Write {
        index_uid: None,
        ..write("any", operation)
    }
}

fn documents(ids: std::ops::Range<u32>) -> Vec<Value> {
    ids.map(|id| json!({"id": id, "text": format!("document {id}")}))
        .collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn only(uid: TaskUid) -> TaskFilter {
    TaskFilter {
        uids: Some(vec![uid.0]),
        ..TaskFilter::default()
    }
}

/// The one dump there is.
fn dumped(world: &World, path: &str) -> Vec<Value> {
    let uids = world.dumps.uids();
    assert_eq!(uids.len(), 1, "{uids:?}");
    lines(&world.dumps.file(&uids[0], path).expect(path))
}

#[test]
fn a_dump_holds_what_was_written_before_it_and_nothing_after() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        settings("m", json!({"stopWords": ["a"]})),
        add("m", &documents(0..500)),
        add("other", &documents(0..1)),
        dump(),
        add("m", &documents(500..600)),
        delete_ids("m", &["1", "2"]),
    ]);
    world.run(async |engine| {
        for task in &tasks {
            let record = ended(&engine, *task).await;
            assert_eq!(record.status, TaskStatus::Succeeded, "{:?}", record.error);
        }
        let shown = ended(&engine, tasks[3]).await;
        assert_eq!(shown.details["dumpUid"], world.dumps.uids()[0]);
        world.settled().await;
    });
    // In insertion order over all shards, without reserved fields.
    assert_eq!(
        dumped(&world, "indexes/m/documents.jsonl"),
        documents(0..500)
    );
    assert_eq!(
        dumped(&world, "indexes/m/settings.json")[0]["stopWords"],
        json!(["a"])
    );
    assert_eq!(
        dumped(&world, "indexes/m/metadata.json")[0]["primaryKey"],
        "id"
    );
    assert_eq!(
        dumped(&world, "indexes/other/documents.jsonl"),
        documents(0..1)
    );
    assert_eq!(dumped(&world, "metadata.json")[0]["dumpVersion"], "V6");

    let queue = dumped(&world, "tasks/queue.jsonl");
    let statuses: Vec<&str> = queue
        .iter()
        .filter_map(|task| task["status"].as_str())
        .collect();
    assert_eq!(
        statuses,
        [
            "succeeded",
            "succeeded",
            "succeeded",
            "succeeded",
            "enqueued",
            "enqueued"
        ]
    );
    assert_eq!(
        dumped(&world, "tasks/update_files/4.jsonl"),
        documents(500..600)
    );
    let ids = &queue[5]["type"]["documentDeletion"]["documents_ids"];
    assert_eq!(*ids, json!(["1", "2"]));
}

#[test]
fn a_job_begun_before_a_crash_is_done_after_it() {
    for step in [
        "job.begun",
        "dump.begun",
        "dump.index",
        "dump.finished",
        "job.ended",
    ] {
        let world = World::mirrored();
        let tasks = world.enqueue(vec![
            add("m", &documents(0..50)),
            dump(),
            add("m", &documents(50..60)),
        ]);
        let is_reached = world.run_until_step(step, 0, async |engine| {
            ended(&engine, tasks[2]).await;
        });
        assert!(is_reached, "{step}");
        let begun = world.apart(async |world| world.all_tasks().await[1].started_at);
        world.run(async |engine| {
            for task in &tasks {
                let record = ended(&engine, *task).await;
                assert_eq!(
                    record.status,
                    TaskStatus::Succeeded,
                    "{step}: {:?}",
                    record.error
                );
            }
            assert_eq!(ended(&engine, tasks[1]).await.started_at, begun, "{step}");
            world.settled().await;
        });
        assert_eq!(
            dumped(&world, "indexes/m/documents.jsonl"),
            documents(0..50),
            "{step}"
        );
        assert_eq!(world.documents("m").len(), 60, "{step}");
    }
}

#[test]
fn a_dump_reads_from_whichever_replica_answers() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(0..50))).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        succeed(&engine, dump()).await;
    });
    assert_eq!(
        dumped(&world, "indexes/m/documents.jsonl"),
        documents(0..50)
    );
}

#[test]
fn a_dump_that_cannot_read_fails_in_the_end_and_lets_writes_go_on() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(0..50))).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let task = register(&engine, dump()).await;
        let later = register(&engine, add("m", &documents(50..60))).await;
        let record = ended(&engine, task).await;
        assert_eq!(record.status, TaskStatus::Failed);
        let code = record.error.expect("an error")["code"].clone();
        assert_eq!(code, "remote_could_not_send_request");
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, later).await.status, TaskStatus::Succeeded);
    });
    assert!(world.dumps.uids().is_empty());
}

#[test]
fn a_job_is_canceled_while_it_runs_and_while_it_waits() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(0..50))).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let running = register(&engine, dump()).await;
        let waiting = register(&engine, dump()).await;
        let later = register(&engine, add("m", &documents(50..60))).await;
        while engine.task(running).await.expect("a task").status != TaskStatus::Processing {
            pass(Duration::from_millis(10)).await;
        }
        let by = succeed(&engine, cancel(only(waiting))).await;
        assert_eq!(by.details["canceledTasks"], 1);
        let by = succeed(&engine, cancel(only(running))).await;
        assert_eq!(by.details["canceledTasks"], 1);
        for task in [running, waiting] {
            let record = ended(&engine, task).await;
            assert_eq!(record.status, TaskStatus::Canceled);
        }
        assert_eq!(ended(&engine, running).await.canceled_by, Some(by.uid));
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        assert_eq!(ended(&engine, later).await.status, TaskStatus::Succeeded);
        world.settled().await;
    });
    assert!(world.dumps.uids().is_empty());
    // Nothing of it comes back at the next start.
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(60..61))).await;
        world.settled().await;
    });
    assert!(world.dumps.uids().is_empty());
}

#[test]
fn an_export_sends_index_settings_and_documents_in_order() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, settings("m", json!({"stopWords": ["a"]}))).await;
        succeed(&engine, add("m", &documents(0..50))).await;
        succeed(&engine, add("unwanted", &documents(0..1))).await;
        world.remote.on(|remote| remote.busy = 3);
        let task = succeed(&engine, export(ExportIndex::default(), Some(200))).await;
        assert_eq!(
            task.details["indexes"],
            json!({"m": {"filter": null, "overrideSettings": false, "matchedDocuments": 50}})
        );
        assert_eq!(task.details["apiKey"], "a kXXXXX...");
    });
    let requests = world.remote.requests();
    assert_eq!(
        requests[..2],
        ["POST /indexes", "PATCH /indexes/m/settings"]
    );
    assert!(requests.len() > 10, "{requests:?}");
    world.remote.on(|remote| {
        assert_eq!(remote.documents, documents(0..50));
        assert_eq!(remote.requests[1].1["stopWords"], json!(["a"]));
    });
}

#[test]
fn settings_are_sent_to_an_index_that_is_there_only_if_asked() {
    for (override_settings, expected) in [
        (false, &["SEND /indexes/m/documents"][..]),
        (
            true,
            &[
                "PATCH /indexes/m",
                "PATCH /indexes/m/settings",
                "SEND /indexes/m/documents",
            ],
        ),
    ] {
        let world = World::mirrored();
        world.remote.on(|remote| remote.has_index = true);
        world.run(async |engine| {
            succeed(&engine, add("m", &documents(0..5))).await;
            let how = ExportIndex {
                filter: None,
                override_settings,
            };
            succeed(&engine, export(how, None)).await;
        });
        assert_eq!(world.remote.requests(), expected);
    }
}

#[test]
fn an_export_fails_with_what_the_target_says() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(0..5))).await;
        world.remote.on(|remote| remote.is_closed = true);
        let task = register(&engine, export(ExportIndex::default(), None)).await;
        let record = ended(&engine, task).await;
        assert_eq!(record.status, TaskStatus::Failed);
        assert_eq!(
            record.error.expect("an error")["message"],
            "Failed to export documents to remote server invalid_api_key (t): m <l>"
        );
        let how = ExportIndex {
            filter: Some(json!("_miroir_shard = 1")),
            override_settings: false,
        };
        let task = register(&engine, export(how, None)).await;
        let error = ended(&engine, task).await.error.expect("an error");
        assert_eq!(error["code"], "invalid_document_filter");
    });
}

#[test]
fn an_export_to_a_silent_target_is_canceled() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents(0..5))).await;
        world.remote.on(|remote| remote.is_silent = true);
        let task = register(&engine, export(ExportIndex::default(), None)).await;
        while engine.task(task).await.expect("a task").status != TaskStatus::Processing {
            pass(Duration::from_millis(10)).await;
        }
        succeed(&engine, cancel(only(task))).await;
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Canceled);
        succeed(&engine, add("m", &documents(5..6))).await;
    });
}

#[test]
fn an_export_cut_off_by_a_crash_sends_everything_again() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        add("m", &documents(0..50)),
        export(ExportIndex::default(), Some(500)),
    ]);
    let is_reached = world.run_until_step("export.sent", 2, async |engine| {
        ended(&engine, tasks[1]).await;
    });
    assert!(is_reached);
    world.remote.on(|remote| remote.documents.clear());
    world.run(async |engine| {
        let record = ended(&engine, tasks[1]).await;
        assert_eq!(record.status, TaskStatus::Succeeded);
    });
    world
        .remote
        .on(|remote| assert_eq!(remote.documents, documents(0..50)));
}
