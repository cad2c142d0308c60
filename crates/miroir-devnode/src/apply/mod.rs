//! Applies one batch to the engine and says what became of each task.

mod documents;
mod indexes;
mod tasks;

use crate::batch::{Batch, BatchKind};
use crate::clock::now;
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::{BatchEnd, IndexChange, IndexRow, TaskEnd};
use crate::task::{QueuedTask, Work};
use crate::worker::all_failed;
use uuid::Uuid;

/// What a batch did: to be recorded, then to be cleaned up.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) end: BatchEnd,
    /// Engine keys that no name leads to any more.
    pub(crate) dropped_keys: Vec<String>,
    /// Payload files of canceled tasks.
    pub(crate) files: Vec<String>,
}

impl From<BatchEnd> for Verdict {
    fn from(end: BatchEnd) -> Self {
        Self {
            end,
            ..Self::default()
        }
    }
}

/// Applies a batch. Errors are the tasks' errors: nothing is left to the caller but recording.
pub(crate) fn apply(shared: &Shared, batch: &Batch) -> Verdict {
    let result = match batch.kind {
        BatchKind::Documents => documents::apply(shared, batch).map(Verdict::from),
        BatchKind::Clear => documents::clear(shared, batch).map(Verdict::from),
        BatchKind::IndexDeletion => indexes::delete(shared, batch),
        BatchKind::TaskDeletions => tasks::delete(shared, batch).map(Verdict::from),
        BatchKind::Alone => match batch.tasks.as_slice() {
            [task] => apply_alone(shared, task),
            _ => Ok(Verdict::default()),
        },
    };
    result.unwrap_or_else(|error| all_failed(batch, &error).into())
}

fn apply_alone(shared: &Shared, task: &QueuedTask) -> Result<Verdict, ApiError> {
    let uid = task.index_uid.as_deref().unwrap_or_default();
    match &task.work {
        Work::DeleteByFilter { filter } => documents::delete_by_filter(shared, task, uid, filter),
        Work::Settings {
            patch,
            allow_creation,
            ..
        } => indexes::change_settings(shared, task, uid, patch, *allow_creation),
        Work::IndexCreation { primary_key } => {
            indexes::create(shared, task, uid, primary_key.as_deref())
        }
        Work::IndexUpdate {
            primary_key,
            new_uid,
        } => indexes::update(shared, task, uid, primary_key.as_ref(), new_uid.as_deref()),
        Work::IndexSwap { swaps } => indexes::swap(shared, task, swaps),
        Work::TaskCancelation { uids, .. } => tasks::cancel(shared, task, uids),
        // The other kinds are never alone.
        Work::Documents { .. }
        | Work::DeleteByIds { .. }
        | Work::DeleteAll
        | Work::IndexDeletion
        | Work::TaskDeletion { .. } => Ok(Verdict::default()),
    }
}

/// The index of a write: the one there is, or a new one that is not recorded yet.
struct Target {
    row: IndexRow,
    is_new: bool,
}

impl Target {
    fn find_or_create(shared: &Shared, uid: &str, allow_creation: bool) -> Result<Self, ApiError> {
        match shared.store.get_index(uid) {
            Some(row) => Ok(Self { row, is_new: false }),
            None if allow_creation => Self::create(shared, uid),
            None => Err(ApiError::index_not_found(uid)),
        }
    }

    fn create(shared: &Shared, uid: &str) -> Result<Self, ApiError> {
        let key = Uuid::new_v4().simple().to_string();
        shared
            .engine
            .create_index(&key)
            .map_err(|error| ApiError::of_batch(uid, error))?;
        let created_at = now();
        let row = IndexRow {
            uid: uid.to_owned(),
            key,
            primary_key: None,
            created_at,
            updated_at: created_at,
        };
        Ok(Self { row, is_new: true })
    }

    /// Its state after a write.
    fn changed(self, shared: &Shared) -> Result<IndexChange, ApiError> {
        let primary_key = shared
            .engine
            .primary_key(&self.row.key)
            .map_err(|error| ApiError::of_batch(&self.row.uid, error))?;
        Ok(IndexChange::Put(IndexRow {
            primary_key,
            updated_at: now(),
            ..self.row
        }))
    }

    /// A new index stays although the write that made it failed, as on a real node.
    fn failed(self, batch_end: BatchEnd) -> BatchEnd {
        if !self.is_new {
            return batch_end;
        }
        BatchEnd {
            index_changes: vec![IndexChange::Put(self.row)],
            ..batch_end
        }
    }
}

fn succeeded(task: &QueuedTask, count: Option<u64>) -> TaskEnd {
    TaskEnd {
        uid: task.uid,
        details: task.work.details(task.index_uid.as_deref(), count),
        error: None,
    }
}

fn one_failed(task: &QueuedTask, error: &ApiError) -> BatchEnd {
    let end = TaskEnd {
        error: Some(error.to_json()),
        ..succeeded(task, Some(0))
    };
    BatchEnd {
        tasks: vec![end],
        ..BatchEnd::default()
    }
}
