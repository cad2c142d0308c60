//! Tasks about tasks: cancelation and deletion.

use super::{Verdict, succeeded};
use crate::batch::Batch;
use crate::error::ApiError;
use crate::shared::Shared;
use crate::store::BatchEnd;
use crate::task::{QueuedTask, TaskUid, Work};
use std::collections::BTreeSet;

pub(super) fn cancel(
    shared: &Shared,
    task: &QueuedTask,
    uids: &[TaskUid],
) -> Result<Verdict, ApiError> {
    let waiting = shared.store.load_enqueued(uids)?;
    let end = BatchEnd {
        tasks: vec![succeeded(task, Some(waiting.len() as u64))],
        canceled: waiting
            .iter()
            .map(|waiting| (waiting.uid, task.uid))
            .collect(),
        ..BatchEnd::default()
    };
    let files = waiting
        .iter()
        .filter_map(|waiting| waiting.work.file())
        .map(str::to_owned);
    Ok(Verdict {
        end,
        dropped_keys: Vec::new(),
        files: files.collect(),
    })
}

pub(super) fn delete(shared: &Shared, batch: &Batch) -> Result<BatchEnd, ApiError> {
    let mut end = BatchEnd::default();
    let mut deleted = BTreeSet::new();
    for task in &batch.tasks {
        let Work::TaskDeletion { uids, .. } = &task.work else {
            continue;
        };
        let before = deleted.len();
        deleted.extend(shared.store.load_finished(uids)?);
        let count = deleted.len().saturating_sub(before);
        end.tasks.push(succeeded(task, Some(count as u64)));
    }
    end.deleted = deleted.into_iter().collect();
    Ok(end)
}
