//! `/batches`: what was sent to the nodes together.

use crate::app::AppState;
use crate::convert::{batch_list, batch_view, task_filter};
use crate::error::ApiError;
use crate::extract::{PathId, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use miroir_api::batch::{BatchList, BatchView, batch_not_found, read_uid};
use miroir_api::task::{TaskFilter, TaskListing};
use miroir_core::id::BatchUid;
use miroir_engine::port::BatchQuery;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/batches", get(list))
        .route("/batches/{id}", get(show))
}

async fn list(
    permit: Permit,
    Query(listing): Query<TaskListing>,
    State(app): State<AppState>,
) -> Result<Json<BatchList>, ApiError> {
    let limit = listing.limit;
    let query = BatchQuery {
        filter: task_filter(listing.filter, &permit),
        from: listing.from.map(BatchUid),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        is_reversed: listing.is_reversed,
    };
    Ok(Json(batch_list(app.engine.batches(query).await?, limit)))
}

async fn show(
    permit: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<BatchView>, ApiError> {
    let uid = read_uid(&uid)?;
    let filter = TaskFilter {
        batch_uids: Some(vec![uid]),
        ..TaskFilter::default()
    };
    let query = BatchQuery {
        filter: task_filter(filter, &permit),
        limit: 1,
        ..BatchQuery::default()
    };
    let page = app.engine.batches(query).await?;
    let batch = page.batches.into_iter().next();
    Ok(Json(batch_view(batch.ok_or_else(|| batch_not_found(uid))?)))
}
