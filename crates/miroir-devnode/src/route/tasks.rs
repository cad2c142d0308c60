//! Reading, canceling and deleting tasks.

use crate::error::ApiError;
use crate::http::{Call, Query};
use crate::route::{Answer, ok, uid_page};
use crate::task::filter::{FILTER_PARAMETERS, LIST_PARAMETERS, TaskFilter, TaskPage};
use crate::task::{Submission, TaskUid, Work, view};
use axum::extract::Path;

pub(super) async fn list(call: Call) -> Answer {
    let permit = call.authorize("tasks.get", None)?;
    let page = TaskPage::from_query(&call.query(&LIST_PARAMETERS)?)?;
    let limit = page.limit;
    let (tasks, total) = call
        .shared
        .blocking(move |shared| Ok(shared.store.load_tasks(&page)?))
        .await?;
    // As on a real node the page is cut before what the key may not see is taken out.
    let next = tasks.get(limit).map(|task| task.uid);
    let visible: Vec<_> = tasks
        .iter()
        .take(limit)
        .filter(|task| match &task.index_uid {
            Some(index_uid) => permit.covers(index_uid),
            None => permit.covers_all(),
        })
        .map(|task| (task.uid, view::full(task)))
        .collect();
    let mut answer = uid_page(visible, total, limit);
    answer["next"] = next.into();
    Ok(ok(answer))
}

pub(super) async fn show(Path(uid): Path<String>, call: Call) -> Answer {
    let permit = call.authorize("tasks.get", None)?;
    let number: TaskUid = uid.parse().map_err(|_error| {
        ApiError::new(
            "invalid_task_uids",
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters."),
        )
    })?;
    let task = call
        .shared
        .blocking(move |shared| Ok(shared.store.load_task(number)?))
        .await?;
    let visible = task.filter(|task| match &task.index_uid {
        Some(index_uid) => permit.covers(index_uid),
        None => permit.covers_all(),
    });
    match visible {
        Some(task) => Ok(ok(view::full(&task))),
        None => Err(ApiError::new(
            "task_not_found",
            format!("Task `{number}` not found."),
        )),
    }
}

pub(super) async fn cancel(call: Call) -> Answer {
    call.authorize("tasks.cancel", None)?;
    let filter = some_filter(&call, "cancel")?;
    submit(call, filter, |query, uids| Work::TaskCancelation {
        query,
        uids,
    })
    .await
}

pub(super) async fn delete(call: Call) -> Answer {
    call.authorize("tasks.delete", None)?;
    let filter = some_filter(&call, "delete")?;
    submit(call, filter, |query, uids| Work::TaskDeletion {
        query,
        uids,
    })
    .await
}

/// A filter that was given: none at all would mean every task there is.
fn some_filter(call: &Call, verb: &str) -> Result<TaskFilter, ApiError> {
    let query: Query = call.query(&FILTER_PARAMETERS)?;
    if FILTER_PARAMETERS
        .iter()
        .all(|name| query.get(name).is_none())
    {
        return Err(ApiError::new(
            "missing_task_filters",
            format!(
                "Query parameters to filter the tasks to {verb} are missing. Available query \
                 parameters are: `uids`, `indexUids`, `statuses`, `types`, `canceledBy`, \
                 `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, `afterStartedAt`, \
                 `beforeFinishedAt`, `afterFinishedAt`."
            ),
        ));
    }
    TaskFilter::from_query(&query)
}

/// The tasks are fixed now: those that come later are not touched.
async fn submit(
    call: Call,
    filter: TaskFilter,
    work: impl FnOnce(String, Vec<TaskUid>) -> Work + Send + 'static,
) -> Answer {
    let query = format!("?{}", call.uri.query().unwrap_or_default());
    call.shared.delay_submission().await;
    let task = call.shared.blocking(move |shared| {
        let uids = shared.store.load_task_uids(&filter)?;
        shared.submit_now(Submission::global(work(query, uids)))
    });
    // These two answer 200, unlike every other write.
    Ok(ok(view::summary(&task.await?)))
}
