//! Laws of batches and deliveries.

use super::*;
use miroir_core::id::{BatchUid, NodeTaskUid};
use miroir_core::task::{TaskFilter, TaskKind};
use miroir_engine::port::{BatchQuery, BatchRecord, Delivery};

on_every_store!(
    a_batch_comes_back_as_it_was_put,
    a_batch_is_open_until_every_node_has_applied_it,
    a_delivery_needs_its_batch,
    finishing_keeps_the_plan_and_the_deliveries,
    a_batch_is_removed_when_it_is_done_and_its_tasks_are_gone,
    the_last_batch_uid_outlives_its_batch,
    a_sweep_takes_what_nothing_needs_and_leaves_the_rest,
    a_batch_is_listed_with_its_tasks_as_one,
    batches_are_paged_in_both_directions,
    one_who_may_see_some_indexes_sees_their_tasks_only,
);

fn delivery(is_applied: bool) -> Delivery {
    Delivery {
        node_tasks: vec![NodeTaskUid(3), NodeTaskUid(4)],
        is_sent: true,
        is_applied,
        error: Some(json!({"code": "c"})),
        deleted_documents: 5,
        edited_documents: 2,
        details: Some(json!({"of": "one"})),
    }
}

fn batch(uid: u64) -> BatchRecord {
    BatchRecord {
        uid: BatchUid(uid),
        tasks: vec![TaskUid(0), TaskUid(1)],
        plan: json!({"requests": [1, {"z": 1, "a": 2}]}),
        deliveries: [
            (node("n1"), delivery(false)),
            (node("n2"), Delivery::default()),
        ]
        .into(),
        is_done: false,
        started_at: at(1),
        finished_at: None,
    }
}

fn put(batch: &BatchRecord) -> Vec<Change> {
    vec![Change::PutBatch(Box::new(batch.clone()))]
}

async fn a_batch_comes_back_as_it_was_put(store: &dyn Whole) {
    let first = batch(1);
    store.commit(put(&first)).await.unwrap();
    assert_eq!(
        store.load_batch(first.uid).await.unwrap().as_ref(),
        Some(&first)
    );
    let second = BatchRecord {
        tasks: vec![TaskUid(7)],
        plan: json!(null),
        deliveries: [(node("n3"), delivery(true))].into(),
        is_done: true,
        started_at: at(2),
        finished_at: Some(at(3)),
        ..first
    };
    store.commit(put(&second)).await.unwrap();
    assert_eq!(store.load_batch(second.uid).await.unwrap(), Some(second));
}

async fn a_batch_is_open_until_every_node_has_applied_it(store: &dyn Whole) {
    for uid in [3, 1, 2] {
        store.commit(put(&batch(uid))).await.unwrap();
    }
    let nodeless = BatchRecord {
        deliveries: [].into(),
        is_done: true,
        ..batch(4)
    };
    store.commit(put(&nodeless)).await.unwrap();
    assert_eq!(open(store).await, [1, 2, 3]);

    let apply = |name: &str| Change::PutDelivery {
        batch: BatchUid(1),
        node: node(name),
        delivery: delivery(true),
    };
    let finish = Change::FinishBatch {
        uid: BatchUid(1),
        finished_at: at(9),
    };
    store.commit(vec![apply("n1"), finish]).await.unwrap();
    assert_eq!(open(store).await, [1, 2, 3]);
    store.commit(vec![apply("n2")]).await.unwrap();
    assert_eq!(open(store).await, [2, 3]);
}

async fn open(store: &dyn Whole) -> Vec<u64> {
    store
        .load_open_batches()
        .await
        .unwrap()
        .iter()
        .map(|batch| batch.uid.0)
        .collect()
}

async fn a_delivery_needs_its_batch(store: &dyn Whole) {
    let change = Change::PutDelivery {
        batch: BatchUid(1),
        node: node("n"),
        delivery: delivery(true),
    };
    assert_conflict(store.commit(vec![change.clone()]).await);
    let finish = Change::FinishBatch {
        uid: BatchUid(1),
        finished_at: at(0),
    };
    assert_conflict(store.commit(vec![finish]).await);

    store.commit(put(&batch(1))).await.unwrap();
    store.commit(vec![change]).await.unwrap();
    let mut expected = batch(1);
    expected.deliveries.insert(node("n"), delivery(true));
    assert_eq!(store.load_batch(BatchUid(1)).await.unwrap(), Some(expected));
}

async fn finishing_keeps_the_plan_and_the_deliveries(store: &dyn Whole) {
    store.commit(put(&batch(1))).await.unwrap();
    let finish = Change::FinishBatch {
        uid: BatchUid(1),
        finished_at: at(5),
    };
    store.commit(vec![finish]).await.unwrap();
    let expected = BatchRecord {
        is_done: true,
        finished_at: Some(at(5)),
        ..batch(1)
    };
    assert_eq!(store.load_batch(BatchUid(1)).await.unwrap(), Some(expected));
}

async fn a_batch_is_removed_when_it_is_done_and_its_tasks_are_gone(store: &dyn Whole) {
    let task = task_in(store, "a", TaskStatus::Succeeded).await;
    store.commit(put(&batch(1))).await.unwrap();
    let remove = || vec![Change::RemoveBatch(BatchUid(1))];
    assert_conflict(store.commit(remove()).await);
    store
        .commit(vec![Change::FinishBatch {
            uid: BatchUid(1),
            finished_at: at(5),
        }])
        .await
        .unwrap();
    assert_conflict(store.commit(remove()).await);
    assert!(store.load_batch(BatchUid(1)).await.unwrap().is_some());

    let both = [vec![Change::RemoveTask(task.uid)], remove()].concat();
    store.commit(both).await.unwrap();
    assert_eq!(store.load_batch(BatchUid(1)).await.unwrap(), None);
    assert_eq!(store.load_open_batches().await.unwrap(), []);
    store.commit(remove()).await.unwrap();
}

async fn the_last_batch_uid_outlives_its_batch(store: &dyn Whole) {
    for uid in [4, 2] {
        let done = BatchRecord {
            is_done: true,
            tasks: vec![],
            ..batch(uid)
        };
        store.commit(put(&done)).await.unwrap();
    }
    store
        .commit(vec![Change::RemoveBatch(BatchUid(4))])
        .await
        .unwrap();
    assert_eq!(store.last_batch_uid().await.unwrap(), Some(BatchUid(4)));
}

/// Puts a batch that is done everywhere, of new tasks of these indexes.
async fn done(store: &dyn Whole, uid: u64, indexes: &[&str]) -> Vec<TaskUid> {
    let mut changes = put(&BatchRecord {
        deliveries: [(node("n1"), delivery(true))].into(),
        is_done: true,
        finished_at: Some(at(2)),
        ..batch(uid)
    });
    let mut uids = Vec::new();
    for name in indexes {
        let task = append(store, entry(name)).await;
        uids.push(task.uid);
        changes.push(Change::UpdateTask(Box::new(TaskRecord {
            batch_uid: Some(BatchUid(uid)),
            status: TaskStatus::Succeeded,
            details: json!({"receivedDocuments": 3, "indexedDocuments": 2}),
            ..task
        })));
    }
    store.commit(changes).await.unwrap();
    uids
}

async fn list(store: &dyn Whole, filter: TaskFilter) -> Vec<u64> {
    let query = BatchQuery {
        filter,
        limit: 10,
        ..Default::default()
    };
    let page = store.list_batches(query).await.unwrap();
    assert_eq!(page.total, page.batches.len() as u64);
    page.batches.iter().map(|batch| batch.uid.0).collect()
}

async fn a_sweep_takes_what_nothing_needs_and_leaves_the_rest(store: &dyn Whole) {
    let tasks = done(store, 1, &["a", "b"]).await;
    store.commit(put(&batch(2))).await.unwrap();
    let sweep = || Change::SweepBatches([0, 1, 2, 9].map(BatchUid).to_vec());
    let remove = |at: usize| Change::RemoveTask(tasks[at]);
    store.commit(vec![remove(0), sweep()]).await.unwrap();
    assert_eq!(list(store, TaskFilter::default()).await, [2, 1]);
    store.commit(vec![remove(1), sweep()]).await.unwrap();
    assert_eq!(list(store, TaskFilter::default()).await, [2]);
    assert_eq!(store.load_batch(BatchUid(1)).await.unwrap(), None);
}

async fn a_batch_is_listed_with_its_tasks_as_one(store: &dyn Whole) {
    done(store, 3, &["a", "b", "a"]).await;
    store.commit(put(&batch(4))).await.unwrap();
    let query = BatchQuery {
        limit: 10,
        is_reversed: true,
        ..Default::default()
    };
    let page = store.list_batches(query).await.unwrap();
    let [first, second] = &page.batches[..] else {
        panic!("{page:?}")
    };
    assert_eq!((first.node_count, first.applied_count), (1, 1));
    assert_eq!((first.started_at, first.finished_at), (at(1), Some(at(2))));
    let summary = &first.summary;
    assert_eq!(summary.task_count, 3);
    assert_eq!(summary.statuses, [(TaskStatus::Succeeded, 3)].into());
    assert_eq!(
        summary.kinds,
        [(TaskKind::DocumentAdditionOrUpdate, 3)].into()
    );
    assert_eq!(
        summary.index_uids,
        [("a".to_owned(), 2), ("b".to_owned(), 1)].into()
    );
    assert_eq!(
        json!(summary.details),
        json!({"receivedDocuments": 9, "indexedDocuments": 6})
    );
    assert_eq!((second.finished_at, second.node_count), (None, 2));
    assert_eq!(second.summary.task_count, 0);
}

async fn batches_are_paged_in_both_directions(store: &dyn Whole) {
    for uid in 1..=5 {
        store.commit(put(&batch(uid))).await.unwrap();
    }
    for (is_reversed, from, expected, next) in [
        (false, None, vec![5, 4], Some(3)),
        (false, Some(2), vec![2, 1], None),
        (true, None, vec![1, 2], Some(3)),
        (true, Some(5), vec![5], None),
        (true, Some(6), vec![], None),
    ] {
        let query = BatchQuery {
            from: from.map(BatchUid),
            limit: 2,
            is_reversed,
            ..Default::default()
        };
        let page = store.list_batches(query).await.unwrap();
        let uids: Vec<u64> = page.batches.iter().map(|batch| batch.uid.0).collect();
        assert_eq!((uids, page.next.map(|uid| uid.0)), (expected, next));
        assert_eq!(page.total, 5);
    }
}

async fn one_who_may_see_some_indexes_sees_their_tasks_only(store: &dyn Whole) {
    done(store, 1, &["movies", "secret"]).await;
    done(store, 2, &["secret"]).await;
    let sight = |more: TaskFilter| TaskFilter {
        index_patterns: Some(vec!["mov*".to_owned()]),
        ..more
    };
    let page = BatchQuery {
        filter: sight(TaskFilter::default()),
        limit: 10,
        ..Default::default()
    };
    let page = store.list_batches(page).await.unwrap();
    assert_eq!((page.total, page.batches.len()), (1, 1));
    let summary = &page.batches[0].summary;
    assert_eq!(summary.index_uids, [("movies".to_owned(), 1)].into());
    let secret = TaskFilter {
        index_uids: Some(vec!["secret".to_owned()]),
        ..TaskFilter::default()
    };
    assert_eq!(list(store, secret.clone()).await, [2, 1]);
    assert_eq!(list(store, sight(secret)).await, [0; 0]);
}
