//! Tasks: what is to be done, how far it is, and how clients see it.

pub(crate) mod filter;
pub(crate) mod view;

use crate::clock::Nanos;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Position of a task in the order of submission; also the name clients know it by.
pub(crate) type TaskUid = u32;
/// Position of a batch in the order of processing.
pub(crate) type BatchUid = u32;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Enqueued,
    Processing,
    Succeeded,
    Failed,
    Canceled,
}

impl Status {
    pub(crate) const ALL: [Status; 5] = [
        Status::Enqueued,
        Status::Processing,
        Status::Succeeded,
        Status::Failed,
        Status::Canceled,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Enqueued => "enqueued",
            Status::Processing => "processing",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.name().eq_ignore_ascii_case(name))
    }
}

/// All task types of the API, so that filters accept also those this server never makes.
pub(crate) const KINDS: [&str; 18] = [
    "documentAdditionOrUpdate",
    "documentEdition",
    "documentDeletion",
    "settingsUpdate",
    "indexCreation",
    "indexDeletion",
    "indexUpdate",
    "indexSwap",
    "taskCancelation",
    "taskDeletion",
    "dumpCreation",
    "snapshotCreation",
    "export",
    "upgradeDatabase",
    "indexCompaction",
    "networkTopologyChange",
    "dsrUpdate",
    "dsrClear",
];

/// Whether an addition replaces documents or merges into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    Replace,
    Update,
}

/// What is to be done. Stored until the task is finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    Documents {
        method: Method,
        /// Name in the payload folder.
        file: String,
        documents: u64,
        bytes: u64,
        primary_key: Option<String>,
        skip_creation: bool,
        allow_creation: bool,
    },
    DeleteByIds {
        ids: Vec<String>,
    },
    DeleteByFilter {
        filter: Value,
    },
    DeleteAll,
    Settings {
        patch: Map<String, Value>,
        is_deletion: bool,
        allow_creation: bool,
    },
    IndexCreation {
        primary_key: Option<String>,
    },
    IndexUpdate {
        /// Outer `None`: left as it is. Inner `None`: taken away.
        primary_key: Option<Option<String>>,
        new_uid: Option<String>,
    },
    IndexDeletion,
    IndexSwap {
        swaps: Vec<Swap>,
    },
    TaskCancelation {
        query: String,
        uids: Vec<TaskUid>,
    },
    TaskDeletion {
        query: String,
        uids: Vec<TaskUid>,
    },
}

/// Two names that change places; with `rename` the second must be free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swap {
    pub(crate) indexes: [String; 2],
    pub(crate) rename: bool,
}

impl Work {
    /// The task type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Work::Documents { .. } => "documentAdditionOrUpdate",
            Work::DeleteByIds { .. } | Work::DeleteByFilter { .. } | Work::DeleteAll => {
                "documentDeletion"
            }
            Work::Settings { .. } => "settingsUpdate",
            Work::IndexCreation { .. } => "indexCreation",
            Work::IndexUpdate { .. } => "indexUpdate",
            Work::IndexDeletion => "indexDeletion",
            Work::IndexSwap { .. } => "indexSwap",
            Work::TaskCancelation { .. } => "taskCancelation",
            Work::TaskDeletion { .. } => "taskDeletion",
        }
    }

    /// The payload file that belongs to this work.
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Work::Documents { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The `details` clients see. `count` is what the work did, once it is known.
    pub(crate) fn details(&self, index_uid: Option<&str>, count: Option<u64>) -> Value {
        match self {
            Work::Documents { documents, .. } => {
                json!({ "receivedDocuments": documents, "indexedDocuments": count })
            }
            Work::DeleteByIds { ids } => json!({
                "providedIds": ids.len(), "deletedDocuments": count, "originalFilter": null,
            }),
            // The filter as JSON text: one that is a text keeps its quotes.
            Work::DeleteByFilter { filter } => json!({
                "providedIds": 0, "deletedDocuments": count, "originalFilter": filter.to_string(),
            }),
            Work::DeleteAll | Work::IndexDeletion => json!({ "deletedDocuments": count }),
            Work::Settings { patch, .. } => view::hide_secrets(patch),
            Work::IndexCreation { primary_key } => json!({ "primaryKey": primary_key }),
            Work::IndexUpdate {
                primary_key,
                new_uid,
            } => match new_uid {
                None => json!({ "primaryKey": primary_key.clone().flatten() }),
                Some(new_uid) => json!({
                    "primaryKey": primary_key.clone().flatten(),
                    "oldIndexUid": index_uid,
                    "newIndexUid": new_uid,
                }),
            },
            Work::IndexSwap { swaps } => {
                let swaps: Vec<Value> = swaps
                    .iter()
                    .map(|swap| json!({ "indexes": swap.indexes, "rename": swap.rename }))
                    .collect();
                json!({ "swaps": swaps })
            }
            Work::TaskCancelation { query, uids } => json!({
                "matchedTasks": uids.len(), "canceledTasks": count, "originalFilter": query,
            }),
            Work::TaskDeletion { query, uids } => json!({
                "matchedTasks": uids.len(), "deletedTasks": count, "originalFilter": query,
            }),
        }
    }
}

/// A task about to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    pub(crate) index_uid: Option<String>,
    pub(crate) work: Work,
    pub(crate) custom_metadata: Option<String>,
}

impl Submission {
    pub(crate) fn on_index(index_uid: &str, work: Work) -> Self {
        Self {
            index_uid: Some(index_uid.to_owned()),
            work,
            custom_metadata: None,
        }
    }

    pub(crate) fn global(work: Work) -> Self {
        Self {
            index_uid: None,
            work,
            custom_metadata: None,
        }
    }

    pub(crate) fn with_metadata(self, custom_metadata: Option<String>) -> Self {
        Self {
            custom_metadata,
            ..self
        }
    }
}

/// A recorded task without its work.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) uid: TaskUid,
    pub(crate) batch_uid: Option<BatchUid>,
    pub(crate) index_uid: Option<String>,
    pub(crate) status: Status,
    pub(crate) kind: &'static str,
    pub(crate) canceled_by: Option<TaskUid>,
    pub(crate) details: Option<Value>,
    pub(crate) error: Option<Value>,
    pub(crate) enqueued_at: Nanos,
    pub(crate) started_at: Option<Nanos>,
    pub(crate) finished_at: Option<Nanos>,
    pub(crate) custom_metadata: Option<String>,
}

/// A waiting task as the worker sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueuedTask {
    pub(crate) uid: TaskUid,
    pub(crate) index_uid: Option<String>,
    pub(crate) work: Work,
}
