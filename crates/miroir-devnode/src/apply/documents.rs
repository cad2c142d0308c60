//! Document tasks: additions, updates and deletions.

use super::{Target, Verdict, succeeded};
use crate::batch::Batch;
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::{BatchEnd, TaskEnd};
use crate::task::{Method, QueuedTask, Work};
use crate::worker::all_failed;
use miroir_devnode_engine::DocumentOp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn apply(shared: &Shared, batch: &Batch) -> Result<BatchEnd, ApiError> {
    let uid = batch.tasks[0].index_uid.as_deref().unwrap_or_default();
    let mut allow_creation = false;
    let mut asked_key = None;
    for task in &batch.tasks {
        if let Work::Documents {
            allow_creation: allow,
            primary_key,
            ..
        } = &task.work
        {
            allow_creation |= *allow;
            asked_key = asked_key.or(primary_key.as_deref());
        }
    }
    let target = Target::find_or_create(shared, uid, allow_creation)?;
    if let (Some(present), Some(asked)) = (&target.row.primary_key, asked_key)
        && present != asked
    {
        return Err(ApiError::new(
            "index_primary_key_already_exists",
            format!("Index already has a primary key: `{present}`."),
        ));
    }
    let key = target.row.key.clone();
    // An empty payload has no first document; the engine never sees it.
    let (mut operations, mut operation_of) = (Vec::new(), BTreeMap::new());
    for (task_idx, task) in batch.tasks.iter().enumerate() {
        if let Some(operation) = document_op(shared, &task.work) {
            operation_of.insert(task_idx, operations.len());
            operations.push(operation);
        }
    }
    let outcomes = if operations.is_empty() {
        Vec::new()
    } else {
        match shared.engine.apply_documents(&key, &operations, asked_key) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let error = ApiError::of_batch(uid, error);
                return Ok(target.failed(all_failed(batch, &error)));
            }
        }
    };
    let only_deletions = batch
        .tasks
        .iter()
        .all(|task| matches!(task.work, Work::DeleteByIds { .. }));
    let mut end = BatchEnd::default();
    for (task_idx, task) in batch.tasks.iter().enumerate() {
        let outcome = operation_of
            .get(&task_idx)
            .and_then(|idx| outcomes.get(*idx));
        let error = outcome.and_then(|outcome| outcome.error.clone());
        let count = match &task.work {
            // Beside additions a real node counts the ids given, whether they existed or not.
            Work::DeleteByIds { ids } if !only_deletions && error.is_none() => {
                ids.iter().collect::<BTreeSet<_>>().len() as u64
            }
            _ => outcome.map_or(0, |outcome| outcome.documents),
        };
        end.tasks.push(TaskEnd {
            uid: task.uid,
            details: task.work.details(Some(uid), Some(count)),
            error: error.map(|error| ApiError::of_task(uid, error).to_json()),
        });
    }
    end.index_changes.push(target.changed(shared)?);
    Ok(end)
}

fn document_op(shared: &Shared, work: &Work) -> Option<DocumentOp> {
    match work {
        Work::Documents { documents: 0, .. } => None,
        Work::Documents {
            method,
            file,
            skip_creation,
            ..
        } => {
            let (file, skip_creation) = (shared.payload_path(file), *skip_creation);
            Some(match method {
                Method::Replace => DocumentOp::Replace {
                    file,
                    skip_creation,
                },
                Method::Update => DocumentOp::Update {
                    file,
                    skip_creation,
                },
            })
        }
        Work::DeleteByIds { ids } if !ids.is_empty() => {
            Some(DocumentOp::Delete { ids: ids.clone() })
        }
        _ => None,
    }
}

pub(super) fn clear(shared: &Shared, batch: &Batch) -> Result<BatchEnd, ApiError> {
    let uid = batch.tasks[0].index_uid.as_deref().unwrap_or_default();
    let allow_creation = batch.tasks.iter().any(|task| {
        matches!(
            task.work,
            Work::Documents {
                allow_creation: true,
                ..
            }
        )
    });
    let target = Target::find_or_create(shared, uid, allow_creation)?;
    let removed = shared
        .engine
        .clear_documents(&target.row.key)
        .map_err(|error| ApiError::of_batch(uid, error))?;
    // The first clear has removed them all; what came before was never indexed.
    let mut left = Some(removed);
    let mut end = BatchEnd::default();
    for task in &batch.tasks {
        let count = match task.work {
            Work::DeleteAll => left.take().unwrap_or(0),
            _ => 0,
        };
        end.tasks.push(succeeded(task, Some(count)));
    }
    end.index_changes.push(target.changed(shared)?);
    Ok(end)
}

pub(super) fn delete_by_filter(
    shared: &Shared,
    task: &QueuedTask,
    uid: &str,
    filter: &Value,
) -> Result<Verdict, ApiError> {
    let target = Target::find_or_create(shared, uid, false)?;
    let removed = shared
        .engine
        .delete_by_filter(&target.row.key, filter)
        .map_err(|error| {
            let error = ApiError::of_batch(uid, error);
            error.recoded("invalid_search_filter", "invalid_document_filter")
        })?;
    let change = target.changed(shared)?;
    Ok(BatchEnd {
        tasks: vec![succeeded(task, Some(removed))],
        index_changes: vec![change],
        ..BatchEnd::default()
    }
    .into())
}
