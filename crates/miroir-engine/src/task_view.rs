//! A task as clients see it: in answers, and in what is sent to webhooks.

use crate::port::TaskRecord;
use miroir_api::task::{TaskView, format_date, format_duration};

/// The index that a task shows.
#[must_use]
pub fn shown_index(task: &TaskRecord) -> Option<String> {
    let hidden = || task.operation.kind().hidden_index().map(str::to_owned);
    task.index_uid
        .as_ref()
        .map(ToString::to_string)
        .or_else(hidden)
}

/// A task as it is shown.
#[must_use]
pub fn task_view(task: TaskRecord) -> TaskView {
    let duration = task.started_at.zip(task.finished_at);
    TaskView {
        uid: task.uid.0,
        batch_uid: task.batch_uid.map(|uid| uid.0),
        index_uid: shown_index(&task),
        status: task.status.as_str(),
        kind: task.operation.kind().as_str(),
        canceled_by: task.canceled_by.map(|uid| uid.0),
        details: Some(task.details).filter(|details| !details.is_null()),
        error: task.error,
        duration: duration.and_then(|(start, end)| format_duration(end - start)),
        enqueued_at: format_date(task.enqueued_at),
        started_at: task.started_at.map(format_date),
        finished_at: task.finished_at.map(format_date),
        custom_metadata: task.custom_metadata,
    }
}
