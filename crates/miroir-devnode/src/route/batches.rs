//! Reading batches.

use crate::error::ApiError;
use crate::http::Call;
use crate::route::{Answer, ok, uid_page};
use crate::task::BatchUid;
use crate::task::filter::{LIST_PARAMETERS, TaskPage};
use crate::task::view;
use axum::extract::Path;

pub(super) async fn list(call: Call) -> Answer {
    call.authorize("tasks.get", None)?;
    let page = TaskPage::from_query(&call.query(&LIST_PARAMETERS)?)?;
    let limit = page.limit;
    let (batches, total) = call
        .shared
        .blocking(move |shared| Ok(shared.store.load_batches(&page)?))
        .await?;
    let views = batches
        .iter()
        .map(|(row, tasks)| (row.uid, view::batch(row, tasks)));
    Ok(ok(uid_page(views.collect(), total, limit)))
}

pub(super) async fn show(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("tasks.get", None)?;
    let number: BatchUid = uid.parse().map_err(|_error| {
        ApiError::new(
            "invalid_batch_uids",
            format!("Batch uid `{uid}` is invalid. It should only contain numeric characters."),
        )
    })?;
    let batch = call
        .shared
        .blocking(move |shared| Ok(shared.store.load_batch(number)?))
        .await?;
    match batch {
        Some((row, tasks)) => Ok(ok(view::batch(&row, &tasks))),
        None => Err(ApiError::new(
            "batch_not_found",
            format!("Batch `{number}` not found."),
        )),
    }
}
