//! `/tasks`: what became of the writes.

use super::register;
use crate::app::{App, AppState};
use crate::convert::{task_filter, task_list, task_query, task_view};
use crate::error::ApiError;
use crate::extract::{PathId, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use miroir_api::task::{TaskAction, TaskList, TaskListing, TaskView, read_choice, read_uid};
use miroir_core::id::TaskUid;
use miroir_core::task::Operation;
use miroir_engine::engine::Write;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/tasks", get(list).delete(delete))
        .route("/tasks/cancel", post(cancel))
        .route("/tasks/{id}", get(show))
}

async fn list(
    _: Permit,
    Query(listing): Query<TaskListing>,
    State(app): State<AppState>,
) -> Result<Json<TaskList>, ApiError> {
    let limit = listing.limit;
    let page = app.engine.tasks(task_query(listing)).await?;
    Ok(Json(task_list(page, limit)))
}

async fn show(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<TaskView>, ApiError> {
    let task = app.engine.task(TaskUid(read_uid(&uid)?)).await?;
    Ok(Json(task_view(task)))
}

async fn cancel(
    _: Permit,
    RawQuery(raw): RawQuery,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    choose(&app, &raw.unwrap_or_default(), TaskAction::Cancel).await
}

async fn delete(
    _: Permit,
    RawQuery(raw): RawQuery,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    choose(&app, &raw.unwrap_or_default(), TaskAction::Delete).await
}

/// Registers a task about other tasks; unlike other writes it is answered with 200.
async fn choose(app: &App, raw: &str, action: TaskAction) -> Result<Response, ApiError> {
    let filter = task_filter(read_choice(raw, action)?);
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
