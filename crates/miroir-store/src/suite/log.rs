//! Laws of the log and its tasks.

use super::*;
use bytes::Bytes;
use miroir_core::id::BatchUid;
use miroir_core::task::{TaskFilter, TaskKind};
use miroir_engine::port::{INLINE_PAYLOAD_BYTES_MAX, KeptPayload, PayloadRef, TaskQuery};
use std::collections::BTreeMap;

on_every_store!(
    uids_count_from_zero_in_the_order_of_appends,
    an_entry_comes_back_as_an_enqueued_task,
    a_failed_append_takes_no_uid,
    uids_are_never_used_again,
    an_update_writes_what_it_may_and_nothing_else,
    a_commit_that_fails_changes_nothing,
    a_forgotten_payload_is_gone_and_the_task_stays,
    payloads_of_final_tasks_are_listed_until_they_are_forgotten,
    only_final_tasks_are_removed,
    a_task_of_another_log_keeps_its_uid_and_the_log_goes_on_above_it,
    pending_tasks_are_those_enqueued_in_no_batch,
    a_listing_pages_through_all_tasks_in_both_directions,
    each_filter_finds_its_tasks,
    a_listing_has_no_inline_payloads,
    counts_by_status_leave_zero_out,
    what_is_not_there_is_none,
);

async fn uids_count_from_zero_in_the_order_of_appends(store: &dyn Whole) {
    assert_eq!(store.append(vec![]).await.unwrap(), []);
    let first = store.append(vec![entry("a"), entry("b")]).await.unwrap();
    let second = store.append(vec![entry("c")]).await.unwrap();
    assert_eq!(
        (first, second),
        (vec![TaskUid(0), TaskUid(1)], vec![TaskUid(2)])
    );
}

async fn an_entry_comes_back_as_an_enqueued_task(store: &dyn Whole) {
    let small = append(store, entry("movies")).await;
    let expected = TaskRecord {
        uid: TaskUid(0),
        batch_uid: None,
        index_uid: Some(index("movies")),
        status: TaskStatus::Enqueued,
        operation: addition(),
        inline_payload: Some(Bytes::from_static(b"{\"id\":1}\n")),
        payload: None,
        canceled_by: None,
        details: addition().initial_details(None),
        error: None,
        custom_metadata: Some("mine".to_owned()),
        enqueued_at: at(0),
        started_at: None,
        finished_at: None,
    };
    assert_eq!(small, expected);

    let payload = PayloadRef::File {
        name: "f.payload".to_owned(),
        bytes: 1 << 40,
    };
    let large = append(
        store,
        NewEntry {
            payload: Some(Payload::Stored(payload.clone())),
            ..entry("movies")
        },
    )
    .await;
    assert_eq!((large.payload, large.inline_payload), (Some(payload), None));

    let global = append(store, global_entry()).await;
    assert_eq!(
        (global.index_uid, global.operation),
        (None, global_entry().operation)
    );
}

async fn a_task_of_another_log_keeps_its_uid_and_the_log_goes_on_above_it(store: &dyn Whole) {
    let template = append(store, entry("a")).await;
    let past = TaskRecord {
        uid: TaskUid(7),
        batch_uid: Some(BatchUid(3)),
        status: TaskStatus::Succeeded,
        started_at: Some(at(1)),
        finished_at: Some(at(2)),
        ..template
    };
    let add = |task: &TaskRecord| vec![Change::AddPastTask(Box::new(task.clone()))];
    store.commit(add(&past)).await.unwrap();
    let expected = TaskRecord {
        batch_uid: None,
        inline_payload: None,
        ..past.clone()
    };
    assert_eq!(store.load_task(TaskUid(7)).await.unwrap(), Some(expected));
    assert_eq!(append(store, entry("a")).await.uid, TaskUid(8));
    assert_conflict(store.commit(add(&past)).await);
    let open = TaskRecord {
        uid: TaskUid(9),
        status: TaskStatus::Enqueued,
        ..past
    };
    assert_conflict(store.commit(add(&open)).await);
    assert_eq!(append(store, entry("a")).await.uid, TaskUid(9));
}

async fn a_failed_append_takes_no_uid(store: &dyn Whole) {
    let too_large = Bytes::from(vec![b' '; INLINE_PAYLOAD_BYTES_MAX + 1]);
    let bad = NewEntry {
        payload: Some(Payload::Inline(too_large)),
        ..entry("a")
    };
    assert_conflict(store.append(vec![entry("a"), bad]).await);
    assert_eq!(store.load_task(TaskUid(0)).await.unwrap(), None);
    assert_eq!(append(store, entry("a")).await.uid, TaskUid(0));
}

async fn uids_are_never_used_again(store: &dyn Whole) {
    let task = task_in(store, "a", TaskStatus::Succeeded).await;
    store
        .commit(vec![Change::RemoveTask(task.uid)])
        .await
        .unwrap();
    assert_eq!(store.load_task(task.uid).await.unwrap(), None);
    assert_eq!(append(store, entry("a")).await.uid, TaskUid(task.uid.0 + 1));
}

async fn an_update_writes_what_it_may_and_nothing_else(store: &dyn Whole) {
    let before = append(store, entry("a")).await;
    let change = TaskRecord {
        uid: before.uid,
        batch_uid: Some(BatchUid(5)),
        index_uid: Some(index("b")),
        status: TaskStatus::Failed,
        operation: Operation::DeleteIndex,
        inline_payload: None,
        payload: None,
        canceled_by: Some(TaskUid(9)),
        details: json!({"x": [1, "two", null]}),
        error: Some(json!({"code": "c"})),
        custom_metadata: None,
        enqueued_at: at(99),
        started_at: Some(at(2)),
        finished_at: Some(at(3)),
    };
    store
        .commit(vec![Change::UpdateTask(Box::new(change.clone()))])
        .await
        .unwrap();
    let expected = TaskRecord {
        operation: before.operation,
        inline_payload: before.inline_payload,
        custom_metadata: before.custom_metadata,
        enqueued_at: before.enqueued_at,
        ..change
    };
    assert_eq!(store.load_task(before.uid).await.unwrap(), Some(expected));
}

async fn a_commit_that_fails_changes_nothing(store: &dyn Whole) {
    let task = append(store, entry("a")).await;
    let missing = TaskRecord {
        uid: TaskUid(99),
        ..task.clone()
    };
    let changes = vec![
        Change::ForgetPayload(task.uid),
        Change::PutIndex(Box::new(index_record("a", "a__0"))),
        Change::PutFact {
            key: "k".to_owned(),
            value: json!(1),
        },
        Change::UpdateTask(Box::new(missing)),
    ];
    assert_conflict(store.commit(changes).await);
    assert_eq!(store.load_task(task.uid).await.unwrap(), Some(task));
    assert_eq!(store.load_indexes().await.unwrap(), []);
    assert_eq!(store.load_fact("k").await.unwrap(), None);
}

async fn a_forgotten_payload_is_gone_and_the_task_stays(store: &dyn Whole) {
    let task = append(store, entry("a")).await;
    let forget = || {
        vec![
            Change::ForgetPayload(task.uid),
            Change::ForgetPayload(TaskUid(99)),
        ]
    };
    store.commit(forget()).await.unwrap();
    store.commit(forget()).await.unwrap();
    let expected = TaskRecord {
        inline_payload: None,
        payload: None,
        ..task
    };
    assert_eq!(store.load_task(expected.uid).await.unwrap(), Some(expected));
}

async fn payloads_of_final_tasks_are_listed_until_they_are_forgotten(store: &dyn Whole) {
    let mut expected = Vec::new();
    for status in TaskStatus::ALL {
        let task = task_in(store, "a", status).await;
        if status.is_final() {
            let task = TaskRecord {
                finished_at: Some(at(9)),
                ..task
            };
            expected.push((task.uid, 9));
            store
                .commit(vec![Change::UpdateTask(Box::new(task))])
                .await
                .unwrap();
        }
    }
    let file = PayloadRef::File {
        name: "f.payload".to_owned(),
        bytes: 1 << 40,
    };
    let large = NewEntry {
        payload: Some(Payload::Stored(file.clone())),
        ..entry("a")
    };
    let large = append(store, large).await;
    let large = TaskRecord {
        status: TaskStatus::Succeeded,
        finished_at: Some(at(10)),
        ..large
    };
    let uid = large.uid;
    store
        .commit(vec![Change::UpdateTask(Box::new(large))])
        .await
        .unwrap();
    let none = append(store, global_entry()).await;
    let none = TaskRecord {
        status: TaskStatus::Succeeded,
        finished_at: Some(at(10)),
        ..none
    };
    store
        .commit(vec![Change::UpdateTask(Box::new(none))])
        .await
        .unwrap();

    let kept = store.load_kept(None, 100).await.unwrap();
    let (inline, files): (Vec<_>, Vec<_>) = kept.into_iter().partition(|k| k.file.is_none());
    let inline: Vec<_> = inline
        .into_iter()
        .map(|kept| (kept.task, kept.bytes))
        .collect();
    assert_eq!(inline, expected);
    let expected_file = KeptPayload {
        task: uid,
        finished_at: at(10),
        bytes: 1 << 40,
        file: Some(file),
    };
    assert_eq!(files, [expected_file]);
    let page = store.load_kept(Some(expected[0].0), 1).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].task, expected[1].0);

    store
        .commit(vec![Change::ForgetPayload(uid)])
        .await
        .unwrap();
    let kept = store.load_kept(None, 100).await.unwrap();
    assert_eq!(kept.len(), expected.len());
}

async fn only_final_tasks_are_removed(store: &dyn Whole) {
    for status in TaskStatus::ALL {
        let task = task_in(store, "a", status).await;
        let outcome = store.commit(vec![Change::RemoveTask(task.uid)]).await;
        let is_left = store.load_task(task.uid).await.unwrap().is_some();
        assert_eq!(
            (outcome.is_ok(), is_left),
            (status.is_final(), !status.is_final())
        );
    }
    store
        .commit(vec![Change::RemoveTask(TaskUid(99))])
        .await
        .unwrap();
}

async fn pending_tasks_are_those_enqueued_in_no_batch(store: &dyn Whole) {
    let mut pending = Vec::new();
    for status in TaskStatus::ALL {
        task_in(store, "a", status).await;
        pending.push(append(store, entry("a")).await);
    }
    pending.insert(0, store.load_task(TaskUid(0)).await.unwrap().unwrap());
    let in_batch = TaskRecord {
        batch_uid: Some(BatchUid(1)),
        ..append(store, entry("a")).await
    };
    store
        .commit(vec![Change::UpdateTask(Box::new(in_batch))])
        .await
        .unwrap();

    assert_eq!(store.load_pending(None, 100).await.unwrap(), pending);
    assert_eq!(store.load_pending(None, 2).await.unwrap(), pending[..2]);
    let after = Some(pending[1].uid);
    assert_eq!(store.load_pending(after, 2).await.unwrap(), pending[2..4]);
    assert_eq!(
        store
            .load_pending(Some(TaskUid(u64::MAX)), 2)
            .await
            .unwrap(),
        []
    );
}

async fn a_listing_pages_through_all_tasks_in_both_directions(store: &dyn Whole) {
    store.append(vec![entry("a"); 7]).await.unwrap();
    for is_reversed in [false, true] {
        let mut seen = Vec::new();
        let mut from = None;
        loop {
            let query = TaskQuery {
                from,
                limit: 3,
                is_reversed,
                ..Default::default()
            };
            let page = store.list_tasks(query).await.unwrap();
            assert_eq!(page.total, 7);
            seen.extend(page.tasks.iter().map(|task| task.uid.0));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        let mut expected: Vec<u64> = (0..7).collect();
        if !is_reversed {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    let nothing = store.list_tasks(TaskQuery::default()).await.unwrap();
    assert_eq!(
        (nothing.tasks.len(), nothing.total, nothing.next),
        (0, 7, Some(TaskUid(6)))
    );
}

async fn list(store: &dyn Whole, filter: TaskFilter) -> Vec<u64> {
    let query = TaskQuery {
        filter,
        limit: 100,
        ..Default::default()
    };
    let page = store.list_tasks(query).await.unwrap();
    assert_eq!(page.total, page.tasks.len() as u64);
    assert_eq!(page.next, None);
    page.tasks.iter().map(|task| task.uid.0).collect()
}

async fn each_filter_finds_its_tasks(store: &dyn Whole) {
    append(store, entry("a")).await;
    let failed = task_in(store, "b", TaskStatus::Failed).await;
    let canceled = task_in(store, "a", TaskStatus::Canceled).await;
    append(store, global_entry()).await;
    let ended = |task: TaskRecord, batch, seconds| TaskRecord {
        batch_uid: Some(BatchUid(batch)),
        started_at: Some(at(seconds)),
        finished_at: Some(at(seconds + 1)),
        ..task
    };
    let canceled = TaskRecord {
        canceled_by: Some(TaskUid(3)),
        ..ended(canceled, 8, 20)
    };
    let changes = [ended(failed, 7, 10), canceled].map(|task| Change::UpdateTask(Box::new(task)));
    store.commit(changes.to_vec()).await.unwrap();

    let nanos = |seconds| i64::try_from(at(seconds).unix_timestamp_nanos()).unwrap();
    let none = TaskFilter::default;
    let cases = [
        (none(), vec![3, 2, 1, 0]),
        (
            TaskFilter {
                uids: Some(vec![0, 3, 9, u64::MAX]),
                ..none()
            },
            vec![3, 0],
        ),
        (
            TaskFilter {
                uids: Some(vec![]),
                ..none()
            },
            vec![],
        ),
        (
            TaskFilter {
                batch_uids: Some(vec![7, 8]),
                ..none()
            },
            vec![2, 1],
        ),
        (
            TaskFilter {
                canceled_by: Some(vec![3]),
                ..none()
            },
            vec![2],
        ),
        (
            TaskFilter {
                types: Some(vec![TaskKind::TaskDeletion]),
                ..none()
            },
            vec![3],
        ),
        (
            TaskFilter {
                types: Some(vec![]),
                ..none()
            },
            vec![],
        ),
        (
            TaskFilter {
                statuses: Some(vec![TaskStatus::Enqueued]),
                ..none()
            },
            vec![3, 0],
        ),
        (
            TaskFilter {
                index_uids: Some(vec!["a".into(), "a".into()]),
                ..none()
            },
            vec![2, 0],
        ),
        (
            TaskFilter {
                index_uids: Some(vec!["a".into(), "b".into()]),
                ..none()
            },
            vec![2, 1, 0],
        ),
        (
            TaskFilter {
                index_uids: Some(vec![String::new()]),
                ..none()
            },
            vec![],
        ),
        (
            TaskFilter {
                index_patterns: Some(vec!["b*".into(), "aa*".into(), "c".into()]),
                ..none()
            },
            vec![1],
        ),
        (
            TaskFilter {
                index_patterns: Some(vec!["*".into()]),
                index_uids: Some(vec!["a".into()]),
                ..none()
            },
            vec![2, 0],
        ),
        (
            TaskFilter {
                index_patterns: Some(vec![]),
                ..none()
            },
            vec![],
        ),
        (
            TaskFilter {
                before_enqueued_at: Some(nanos(0)),
                ..none()
            },
            vec![],
        ),
        (
            TaskFilter {
                after_enqueued_at: Some(nanos(0) - 1),
                ..none()
            },
            vec![3, 2, 1, 0],
        ),
        (
            TaskFilter {
                after_started_at: Some(nanos(10)),
                ..none()
            },
            vec![2],
        ),
        (
            TaskFilter {
                before_started_at: Some(nanos(20)),
                ..none()
            },
            vec![1],
        ),
        (
            TaskFilter {
                before_finished_at: Some(nanos(21) + 1),
                ..none()
            },
            vec![2, 1],
        ),
        (
            TaskFilter {
                after_finished_at: Some(nanos(11)),
                ..none()
            },
            vec![2],
        ),
        (
            TaskFilter {
                statuses: Some(vec![TaskStatus::Failed, TaskStatus::Enqueued]),
                index_uids: Some(vec!["b".into()]),
                types: Some(vec![TaskKind::DocumentAdditionOrUpdate]),
                after_started_at: Some(nanos(9)),
                ..none()
            },
            vec![1],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(store, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn a_listing_has_no_inline_payloads(store: &dyn Whole) {
    let task = append(store, entry("a")).await;
    let page = store
        .list_tasks(TaskQuery {
            limit: 1,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(
        page.tasks,
        [TaskRecord {
            inline_payload: None,
            ..task
        }]
    );
}

async fn counts_by_status_leave_zero_out(store: &dyn Whole) {
    assert_eq!(store.count_tasks().await.unwrap(), BTreeMap::new());
    append(store, entry("a")).await;
    append(store, global_entry()).await;
    let task = task_in(store, "a", TaskStatus::Failed).await;
    let expected = BTreeMap::from([(TaskStatus::Enqueued, 2), (TaskStatus::Failed, 1)]);
    assert_eq!(store.count_tasks().await.unwrap(), expected);
    store
        .commit(vec![Change::RemoveTask(task.uid)])
        .await
        .unwrap();
    let expected = BTreeMap::from([(TaskStatus::Enqueued, 2)]);
    assert_eq!(store.count_tasks().await.unwrap(), expected);
}

async fn what_is_not_there_is_none(store: &dyn Whole) {
    for uid in [0, 7, u64::MAX] {
        assert_eq!(store.load_task(TaskUid(uid)).await.unwrap(), None);
        assert_eq!(store.load_batch(BatchUid(uid)).await.unwrap(), None);
    }
    assert_eq!(store.load_pending(None, 10).await.unwrap(), []);
    assert_eq!(store.load_open_batches().await.unwrap(), []);
    assert_eq!(store.last_batch_uid().await.unwrap(), None);
    let page = store
        .list_tasks(TaskQuery {
            limit: 10,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!((page.tasks.len(), page.total, page.next), (0, 0, None));
}
