//! Prints what group commit gives on this disk: `cargo test --test throughput -- --nocapture`.

#![cfg(feature = "sqlite")]

use bytes::Bytes;
use miroir_core::id::IndexUid;
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::port::{NewEntry, Payload, TaskLog, TaskQuery};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use time::macros::datetime;

const APPENDS: usize = 1_000;

fn entry() -> NewEntry {
    NewEntry {
        index_uid: Some(IndexUid::new("movies").expect("a valid name")),
        operation: Operation::AddDocuments {
            method: AdditionMethod::Replace,
            primary_key: None,
            skip_creation: false,
            may_create_index: true,
            document_count: 1,
        },
        payload: Some(Payload::Inline(Bytes::from_static(
            b"{\"id\":1,\"title\":\"Alien\"}\n",
        ))),
        custom_metadata: None,
        enqueued_at: datetime!(2024-01-01 0:00 UTC),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_few_syncs() {
    for caller_count in [1, 8, 64] {
        let folder = tempfile::tempdir().unwrap();
        let store = miroir_store::open(folder.path()).unwrap();
        let left = Arc::new(AtomicUsize::new(APPENDS));
        let begin = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..caller_count {
            let (store, left) = (Arc::clone(&store), Arc::clone(&left));
            callers.spawn(async move {
                let take = |left: usize| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    store.append(vec![entry()]).await.unwrap();
                }
            });
        }
        callers.join_all().await;
        let elapsed = begin.elapsed();
        let rate = APPENDS as f64 / elapsed.as_secs_f64();
        println!(
            "{caller_count:>3} callers: {APPENDS} appends in {elapsed:.1?}, {rate:.0} a second"
        );
        let total = store.list_tasks(TaskQuery::default()).await.unwrap().total;
        assert_eq!(total, APPENDS as u64);
    }
}
