//! A process that writes is killed at an arbitrary moment; what it was told is durable, is there.

#![cfg(feature = "sqlite")]

use bytes::Bytes;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::port::{NewEntry, Payload, PayloadRef, PayloadStore, TaskLog, TaskQuery};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use time::macros::datetime;

/// Tells the child what it is, and where to write.
const FOLDER: &str = "MIROIR_STORE_CRASH_FOLDER";

fn entry(payload: Payload) -> NewEntry {
    NewEntry {
        index_uid: Some(IndexUid::new("crash").expect("a valid name")),
        operation: Operation::AddDocuments {
            method: AdditionMethod::Replace,
            primary_key: None,
            skip_creation: false,
            may_create_index: true,
            document_count: 1,
        },
        payload: Some(payload),
        custom_metadata: None,
        enqueued_at: datetime!(2024-01-01 0:00 UTC),
    }
}

/// Writes until it is killed, and tells each uid once it is durable. Does nothing in a usual run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = miroir_store::open(Path::new(&folder)).unwrap();
    let payloads = store.payloads();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, payloads) = (Arc::clone(&store), Arc::clone(&payloads));
        writers.spawn(async move {
            loop {
                let mut writer = payloads.create().await.unwrap();
                writer
                    .append(Bytes::from(vec![b'x'; 10_000]))
                    .await
                    .unwrap();
                let stored = Payload::Stored(writer.finish().await.unwrap());
                let inline = Payload::Inline(Bytes::from_static(b"{}"));
                let uids = store
                    .append(vec![entry(stored), entry(inline)])
                    .await
                    .unwrap();
                for uid in uids {
                    println!("durable {uid}");
                }
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn what_was_answered_survives_the_death_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut durable = Vec::new();
    // More than once: a store that crashed is opened, written to and crashed again.
    for round in 1..=3_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "the_child_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = |limit: usize| {
            for line in lines.by_ref() {
                // The line may follow a word of the test harness.
                if let Some((_, uid)) = line.unwrap().split_once("durable ") {
                    durable.push(TaskUid(uid.parse().unwrap()));
                }
                if durable.len() >= limit {
                    break;
                }
            }
        };
        read(round * 100);
        child.kill().unwrap();
        // What was told before the end counts too.
        read(usize::MAX);
        child.wait().unwrap();
        assert!(durable.len() >= round * 100);

        let store = miroir_store::open(folder.path()).unwrap();
        let payloads = store.payloads();
        for uid in &durable {
            let task = store
                .load_task(*uid)
                .await
                .unwrap()
                .expect("an answered task is there");
            let bytes = match task.payload {
                Some(payload) => payloads.read_at(&payload, 0, usize::MAX).await.unwrap(),
                None => task.inline_payload.expect("an answered payload is there"),
            };
            assert!(bytes.len() == 10_000 || bytes == "{}");
        }
        // No finished file is torn, and no unfinished one is left.
        for PayloadRef::File { bytes, .. } in payloads.list().await.unwrap() {
            assert_eq!(bytes, 10_000);
        }
        for file in std::fs::read_dir(folder.path().join("payloads")).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(name.ends_with(".payload"), "{name}");
        }
        // The log has no holes.
        let page = TaskQuery {
            limit: 1,
            ..TaskQuery::default()
        };
        let page = store.list_tasks(page).await.unwrap();
        assert_eq!(page.total, page.tasks[0].uid.0 + 1);
    }
}
