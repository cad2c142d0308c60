//! `/tasks`: what became of the writes.

use super::register;
use crate::app::{App, AppState};
use crate::convert::{task_filter, task_list, task_query, task_view};
use crate::error::ApiError;
use crate::extract::{PathId, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, StatusCode, header};
use miroir_api::feature::task_documents_not_enabled;
use miroir_api::task::{
    TaskAction, TaskList, TaskListing, TaskView, read_choice, read_uid, task_not_found,
    task_without_documents,
};
use miroir_core::id::TaskUid;
use miroir_core::task::Operation;
use miroir_engine::engine::Write;
use miroir_engine::features::TASK_DOCUMENTS;
use miroir_engine::port::TaskRecord;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/tasks", get(list).delete(delete))
        .route("/tasks/cancel", post(cancel))
        .route("/tasks/{id}", get(show))
        .route("/tasks/{id}/documents", get(documents))
}

async fn list(
    permit: Permit,
    Query(listing): Query<TaskListing>,
    State(app): State<AppState>,
) -> Result<Json<TaskList>, ApiError> {
    let limit = listing.limit;
    let page = app.engine.tasks(task_query(listing, &permit)).await?;
    Ok(Json(task_list(page, limit)))
}

async fn show(
    permit: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<TaskView>, ApiError> {
    let uid = TaskUid(read_uid(&uid)?);
    Ok(Json(task_view(seen_task(&app, uid, &permit).await?)))
}

/// The documents of an addition that is not yet done, as NDJSON.
async fn documents(
    permit: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    if !app.engine.has_feature(TASK_DOCUMENTS) {
        return Err(task_documents_not_enabled().into());
    }
    let uid = TaskUid(read_uid(&uid)?);
    seen_task(&app, uid, &permit).await?;
    let Some(documents) = app.engine.task_documents(uid).await? else {
        return Err(task_without_documents(uid.0).into());
    };
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok((
        [(header::CONTENT_TYPE, ndjson)],
        Body::from_stream(documents),
    )
        .into_response())
}

/// The task, if its index is one that the key may see.
async fn seen_task(app: &App, uid: TaskUid, permit: &Permit) -> Result<TaskRecord, ApiError> {
    let task = app.engine.task(uid).await?;
    let is_seen = match &task.index_uid {
        Some(index) => permit.covers(index.as_str()),
        None => permit.covers_all(),
    };
    if !is_seen {
        return Err(task_not_found(uid.0).into());
    }
    Ok(task)
}

async fn cancel(
    permit: Permit,
    RawQuery(raw): RawQuery,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    choose(&app, &raw.unwrap_or_default(), TaskAction::Cancel, &permit).await
}

async fn delete(
    permit: Permit,
    RawQuery(raw): RawQuery,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    choose(&app, &raw.unwrap_or_default(), TaskAction::Delete, &permit).await
}

/// Registers a task about other tasks; unlike other writes it is answered with 200.
async fn choose(
    app: &App,
    raw: &str,
    action: TaskAction,
    permit: &Permit,
) -> Result<Response, ApiError> {
    let filter = task_filter(read_choice(raw, action)?, permit);
    let original_filter = format!("?{raw}");
    let operation = match action {
        TaskAction::Cancel => Operation::CancelTasks {
            original_filter,
            filter,
        },
        TaskAction::Delete => Operation::DeleteTasks {
            original_filter,
            filter,
        },
    };
    let write = Write {
        index_uid: None,
        operation,
        payload: None,
        custom_metadata: None,
    };
    register(&app.engine, write, StatusCode::OK).await
}
