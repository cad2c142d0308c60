//! One behaviour suite, run against every store. A law is written once, over `&dyn Whole`.

mod batches;
mod catalog;
mod coordination;
mod jobs;
mod log;
mod model;
mod payloads;

use miroir_core::id::{IndexUid, NodeId, PhysicalIndex, TaskUid};
use miroir_core::task::{AdditionMethod, Operation, TaskStatus};
use miroir_engine::coordination::Coordination;
use miroir_engine::port::{
    Change, IndexRecord, NewEntry, Payload, Store, StoreError, TaskRecord, Timestamp,
};
use serde_json::json;
use time::Duration;

/// Everything that a store does.
pub(crate) trait Whole: Store + Coordination {}
impl<T: Store + Coordination> Whole for T {}

/// Makes a test of each law for each store.
macro_rules! on_every_store {
    ($($law:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $law() {
                    super::$law(&crate::MemoryStore::new()).await;
                }
            )*
        }

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(
                #[tokio::test]
                async fn $law() {
                    let folder = tempfile::tempdir().unwrap();
                    super::$law(&*crate::open(folder.path()).unwrap()).await;
                }
            )*
        }
    };
}
use on_every_store;

/// The moment `seconds` after the beginning of the tests' time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    time::macros::datetime!(2024-05-06 07:08:09.123456789 UTC) + Duration::seconds(seconds)
}

pub(crate) fn index(name: &str) -> IndexUid {
    IndexUid::new(name).unwrap()
}

pub(crate) fn physical(name: &str) -> PhysicalIndex {
    PhysicalIndex::from_stored(name)
}

pub(crate) fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

pub(crate) fn addition() -> Operation {
    Operation::AddDocuments {
        method: AdditionMethod::Replace,
        primary_key: Some("id".to_owned()),
        skip_creation: false,
        may_create_index: true,
        document_count: 3,
    }
}

/// An entry that adds documents to `name`, with a small payload.
pub(crate) fn entry(name: &str) -> NewEntry {
    NewEntry {
        index_uid: Some(index(name)),
        operation: addition(),
        payload: Some(Payload::Inline("{\"id\":1}\n".into())),
        custom_metadata: Some("mine".to_owned()),
        enqueued_at: at(0),
    }
}

/// An entry without index and payload.
pub(crate) fn global_entry() -> NewEntry {
    let operation = Operation::DeleteTasks {
        original_filter: "?uids=*".to_owned(),
        filter: Default::default(),
    };
    NewEntry {
        index_uid: None,
        operation,
        payload: None,
        custom_metadata: None,
        enqueued_at: at(0),
    }
}

pub(crate) fn index_record(name: &str, physical_name: &str) -> IndexRecord {
    let settings = json!({"rankingRules": ["words"], "b": {"z": 1, "a": null}});
    IndexRecord {
        uid: index(name),
        physical: physical(physical_name),
        primary_key: Some("id".to_owned()),
        shard_count: 4,
        replication_factor: 2,
        epoch: miroir_core::id::Epoch(3),
        settings: settings.as_object().unwrap().clone(),
        settings_version: Some(TaskUid(1)),
        next_seq: miroir_core::id::DocumentSeq(77),
        changed_by: None,
        created_at: at(0),
        updated_at: at(1),
    }
}

/// Appends and returns the task.
pub(crate) async fn append(store: &dyn Whole, entry: NewEntry) -> TaskRecord {
    let uid = store.append(vec![entry]).await.unwrap()[0];
    store.load_task(uid).await.unwrap().unwrap()
}

/// Appends a task and brings it to `status`.
pub(crate) async fn task_in(store: &dyn Whole, name: &str, status: TaskStatus) -> TaskRecord {
    let task = TaskRecord {
        status,
        ..append(store, entry(name)).await
    };
    store
        .commit(vec![Change::UpdateTask(Box::new(task.clone()))])
        .await
        .unwrap();
    task
}

#[track_caller]
pub(crate) fn assert_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(
        matches!(outcome, Err(StoreError::Conflict(_))),
        "{outcome:?}"
    );
}
