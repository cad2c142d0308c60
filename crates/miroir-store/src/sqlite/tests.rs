//! What is SQLite's own: groups, locks, full disks, damage.

use super::*;
use crate::suite::{append, entry, index_record};
use miroir_core::id::TaskUid;
use miroir_engine::coordination::LeaderLease;
use miroir_engine::port::{Catalog, Change, NewEntry, TaskLog, TaskQuery};
use std::collections::BTreeSet;

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let task = append(&*store, entry("a")).await;
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.load_task(task.uid).await.unwrap(), Some(task));
    assert_eq!(append(&*store, entry("a")).await.uid, TaskUid(1));
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err();
    let StoreError::Locked(text) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(text, folder.path().display().to_string());
    // Payloads that outlive the store go on holding the folder.
    let payloads = store.payloads();
    drop(store);
    assert!(matches!(open(folder.path()), Err(StoreError::Locked(_))));
    drop(payloads);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join("miroir.db")).unwrap();
    connection
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    drop(connection);
    let refused = open(folder.path()).unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerSchema { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("miroir.db"), "no database ".repeat(1000)).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_row_is_corrupt_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let task = append(&*store, entry("a")).await;
    for damage in [
        "UPDATE tasks SET operation = '{'",
        "UPDATE tasks SET operation = '{}', status = 77",
        "UPDATE tasks SET status = 0, batch_uid = -1",
    ] {
        store
            .write(move |tx| Ok(tx.execute_batch(damage)?))
            .await
            .unwrap();
        let read = store.load_task(task.uid).await;
        assert!(
            matches!(read, Err(StoreError::Corrupt { .. })),
            "{damage}: {read:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_get_every_uid_once_and_failures_take_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64_u64 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut uids = Vec::new();
            for _ in 0..8 {
                let entries = vec![entry("a"); 1 + (writer % 3) as usize];
                uids.extend(store.append(entries).await.unwrap());
                // A neighbour in the same group that fails must not disturb.
                let missing = Change::RenameIndex {
                    from: crate::suite::index("none"),
                    to: crate::suite::index("some"),
                };
                let put = Change::PutIndex(Box::new(index_record("x", "x__0")));
                assert!(store.commit(vec![put, missing]).await.is_err());
                let page = TaskQuery {
                    limit: 5,
                    ..Default::default()
                };
                let page = store.list_tasks(page).await.unwrap();
                assert!(page.total >= page.tasks.len() as u64);
            }
            assert!(uids.is_sorted());
            uids
        });
    }
    let all: Vec<TaskUid> = writers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<TaskUid> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(distinct, (0..all.len() as u64).map(TaskUid).collect());
    assert_eq!(store.load_indexes().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_gets_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let (now, later) = (crate::suite::at(0), crate::suite::at(10));
    let mut proxies = tokio::task::JoinSet::new();
    for proxy in 0..32 {
        let store = Arc::clone(&store);
        proxies.spawn(async move {
            let outcome = store
                .acquire_lease(&format!("p{proxy}"), now, later)
                .await
                .unwrap();
            matches!(outcome, miroir_engine::coordination::LeaseOutcome::Held(_))
        });
    }
    let held = proxies
        .join_all()
        .await
        .into_iter()
        .filter(|is_held| *is_held)
        .count();
    assert_eq!(held, 1);
}

#[tokio::test]
async fn a_full_disk_is_no_space_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let before = append(&*store, entry("a")).await;
    let limit = |pages: i64| {
        store.write(move |tx| {
            tx.pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let large = || NewEntry {
        custom_metadata: Some("x".repeat(1_000_000)),
        ..entry("a")
    };
    // Two in one group: the one that fits a page, and the one that does not.
    let (large_outcome, _) =
        tokio::join!(store.append(vec![large()]), store.append(vec![entry("a")]));
    assert!(
        matches!(large_outcome, Err(StoreError::NoSpace(_))),
        "{large_outcome:?}"
    );
    assert_eq!(store.load_task(before.uid).await.unwrap(), Some(before));

    limit(1_000_000).await.unwrap();
    let total = store.list_tasks(TaskQuery::default()).await.unwrap().total;
    let after = append(&*store, large()).await;
    // What failed took no uid.
    assert_eq!(after.uid, TaskUid(total));
}

#[tokio::test]
async fn a_database_that_becomes_read_only_takes_nothing_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    append(&*store, entry("a")).await;
    // For the writer's connection, and as long as it lives.
    let work = |tx: &mut Tx<'_>| Ok(tx.pragma_update(None, "query_only", true)?);
    store.write(work).await.unwrap();
    let fact = Change::PutFact {
        key: "k".into(),
        value: 1.into(),
    };
    let refusals = [
        store.append(vec![entry("b")]).await.unwrap_err(),
        store.commit(vec![fact]).await.unwrap_err(),
        store.check().await.unwrap_err(),
    ];
    for refusal in refusals {
        let StoreError::Io(text) = &refusal else {
            panic!("{refusal:?}")
        };
        assert!(
            text.contains("readonly") && text.contains("for writing"),
            "{text}"
        );
    }
    let total = store.list_tasks(TaskQuery::default()).await.unwrap().total;
    assert_eq!(total, 1, "reads go on, and show what was acknowledged");
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(append(&*store, entry("b")).await.uid, TaskUid(1));
    assert_eq!(store.load_fact("k").await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_that_is_moved_or_replaced_under_the_process_takes_nothing_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    append(&*store, entry("a")).await;
    let database = folder.path().join("miroir.db");
    let aside = folder.path().join("aside.db");
    store.count_tasks().await.unwrap();
    let refused = async || {
        let refusal = store.append(vec![entry("b")]).await.unwrap_err();
        let StoreError::Io(text) = &refusal else {
            panic!("{refusal:?}")
        };
        assert!(text.contains("miroir.db: it was moved"), "{text}");
        assert!(text.contains("put it back"), "{text}");
        assert!(store.check().await.is_err());
        let total = store.list_tasks(TaskQuery::default()).await.unwrap().total;
        assert_eq!(total, 1, "reads go on");
    };
    std::fs::rename(&database, &aside).unwrap();
    refused().await;
    // Another file in its place, as of a backup put back under the running process.
    std::fs::write(&database, "another").unwrap();
    refused().await;
    std::fs::rename(&aside, &database).unwrap();
    store.check().await.unwrap();
    assert_eq!(append(&*store, entry("b")).await.uid, TaskUid(1));
    drop(store);
    let store = open(folder.path()).unwrap();
    let total = store.list_tasks(TaskQuery::default()).await.unwrap().total;
    assert_eq!(total, 2, "what was acknowledged is there");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_disturb_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    {
        let mut append = std::pin::pin!(store.append(vec![entry("a")]));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        let _ = append.as_mut().poll(&mut context);
    }
    let uid = append(&*store, entry("b")).await.uid;
    assert_eq!(uid, TaskUid(1));
    let first = store.load_task(TaskUid(0)).await.unwrap().unwrap();
    assert_eq!(first.index_uid, Some(crate::suite::index("a")));
}

#[tokio::test]
async fn every_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let (journal, synchronous): (String, i64) = store
        .write(|tx| {
            let journal = tx.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            let synchronous = tx.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            Ok((journal, synchronous))
        })
        .await
        .unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2));
}

/// A folder with a store of many tasks, closed.
async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for _ in 0..200 {
        append(&*store, entry("a")).await;
    }
    drop(store);
    folder
}

#[tokio::test]
async fn a_database_that_was_cut_emptied_or_lost_is_refused_and_left_as_it_is() {
    for len in [0, 50, 4096, 16 * 1024] {
        let folder = filled().await;
        let database = folder.path().join("miroir.db");
        let file = std::fs::File::options()
            .write(true)
            .open(&database)
            .unwrap();
        file.set_len(len).unwrap();
        let refused = open(folder.path()).unwrap_err();
        assert!(
            matches!(
                &refused,
                StoreError::Corrupt {
                    what: "database",
                    ..
                }
            ),
            "cut to {len}: {refused:?}"
        );
        assert!(refused.to_string().contains("miroir restore"), "{refused}");
        assert_eq!(std::fs::metadata(&database).unwrap().len(), len);
    }
    let folder = filled().await;
    std::fs::remove_file(folder.path().join("miroir.db")).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    assert!(!folder.path().join("miroir.db").exists());
}

#[tokio::test]
async fn a_page_overwritten_is_found_at_the_start() {
    use std::io::{Seek, SeekFrom, Write};
    let folder = filled().await;
    let database = folder.path().join("miroir.db");
    let mut found = 0;
    let pages = std::fs::metadata(&database).unwrap().len() / 4096;
    for page in 1..pages {
        let whole = std::fs::read(&database).unwrap();
        let mut file = std::fs::File::options()
            .write(true)
            .open(&database)
            .unwrap();
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        // The first bytes of a page tell how its cells lie.
        file.write_all(&[0xA5; 16]).unwrap();
        drop(file);
        match open(folder.path()) {
            Err(StoreError::Corrupt {
                what: "database", ..
            }) => found += 1,
            Err(other) => panic!("page {page}: {other:?}"),
            Ok(store) => drop(store),
        }
        std::fs::write(&database, whole).unwrap();
    }
    assert_eq!(found, pages - 1, "every page but unused ones is looked at");
}

#[tokio::test]
async fn a_payload_that_was_cut_or_changed_or_lost_is_told_from_a_whole_one() {
    use miroir_engine::port::{PayloadRef, PayloadStore};
    let folder = tempfile::tempdir().unwrap();
    let payloads = crate::FilePayloads::open(folder.path()).unwrap();
    let mut writer = payloads.create().await.unwrap();
    for _ in 0..3 {
        writer.append(vec![b'x'; 400_000].into()).await.unwrap();
    }
    let payload = writer.finish().await.unwrap();
    payloads.verify(&payload).await.unwrap();
    let path = payloads.path(&payload).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(whole.len(), 1_200_000);

    let mut flipped = whole.clone();
    flipped[700_001] ^= 4;
    for damaged in [flipped, whole[..1_199_999].to_vec(), Vec::new()] {
        std::fs::write(&path, damaged).unwrap();
        let refused = payloads.verify(&payload).await.unwrap_err();
        assert!(
            matches!(
                refused,
                StoreError::Corrupt {
                    what: "payload",
                    ..
                }
            ),
            "{refused:?}"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    payloads.verify(&payload).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(payloads.verify(&payload).await.is_err());
    // Files of older versions tell no digest.
    std::fs::write(folder.path().join("old.payload"), b"abc").unwrap();
    let old = PayloadRef::File {
        name: "old.payload".into(),
        bytes: 3,
    };
    payloads.verify(&old).await.unwrap();
    payloads.check().await.unwrap();
    assert_eq!(payloads.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_shows_that_it_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.check().await.unwrap();
    store.check().await.unwrap();
    assert_eq!(append(&*store, entry("a")).await.uid, TaskUid(0));
}

fn big_file(lines: usize) -> bytes::Bytes {
    "{\"id\":1}\n".repeat(lines).into()
}

#[tokio::test]
async fn a_backup_is_one_moment_with_all_its_files_and_is_put_back_whole() {
    use miroir_engine::port::{Payload, PayloadStore, RESTORED_FACT};
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    let store = open(folder.path()).unwrap();
    let payloads = store.payloads();
    let mut writer = payloads.create().await.unwrap();
    writer.append(big_file(1000)).await.unwrap();
    let payload = writer.finish().await.unwrap();
    let task = append(
        &*store,
        NewEntry {
            payload: Some(Payload::Stored(payload.clone())),
            ..entry("a")
        },
    )
    .await;
    let report = store.backup(to.clone()).await.unwrap();
    assert_eq!(
        (report.payload_files, report.last_task),
        (1, Some(task.uid.0))
    );
    // What comes after is not in it, and what goes after stays in it.
    append(&*store, entry("a")).await;
    payloads
        .remove(std::slice::from_ref(&payload))
        .await
        .unwrap();
    assert!(payloads.list().await.unwrap().is_empty());
    let again = store.backup(to.clone()).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict(_)), "{again:?}");
    assert!(store.backup("relative".into()).await.is_err());
    drop((store, payloads));

    let refused = restore(&to, folder.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused:?}");
    let data = elsewhere.path().join("data");
    restore(&to, &data).unwrap();
    let restored = open(&data).unwrap();
    assert_eq!(
        restored.load_task(task.uid).await.unwrap(),
        Some(task.clone())
    );
    assert_eq!(
        restored.load_fact(RESTORED_FACT).await.unwrap(),
        Some(true.into())
    );
    restored.payloads().verify(&payload).await.unwrap();
    assert_eq!(append(&*restored, entry("a")).await.uid, TaskUid(1));
}

#[tokio::test]
async fn a_backup_that_is_not_whole_is_not_put_back() {
    let folder = filled().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("backup");
    let store = open(folder.path()).unwrap();
    store.backup(to.clone()).await.unwrap();
    drop(store);
    let data = elsewhere.path().join("data");
    let database = to.join("miroir.db");
    let whole = std::fs::read(&database).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [flipped, whole[..whole.len() - 1].to_vec()] {
        std::fs::write(&database, damaged).unwrap();
        let refused = restore(&to, &data).unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused:?}");
    }
    std::fs::write(&database, &whole).unwrap();
    let manifest = to.join("backup.json");
    let text = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    assert!(restore(&to, &data).is_err());
    assert!(!data.exists());
    std::fs::write(&manifest, text).unwrap();
    restore(&to, &data).unwrap();
}

#[tokio::test]
async fn files_removed_during_a_backup_stay_until_it_is_taken() {
    use miroir_engine::port::PayloadStore;
    let folder = tempfile::tempdir().unwrap();
    let payloads = crate::FilePayloads::open(folder.path()).unwrap();
    let mut writer = payloads.create().await.unwrap();
    writer.append(big_file(10)).await.unwrap();
    let payload = writer.finish().await.unwrap();
    let hold = payloads.hold();
    payloads
        .remove(std::slice::from_ref(&payload))
        .await
        .unwrap();
    payloads.remove_held().await.unwrap();
    payloads.verify(&payload).await.unwrap();
    drop(hold);
    payloads.remove_held().await.unwrap();
    assert!(payloads.list().await.unwrap().is_empty());
}
