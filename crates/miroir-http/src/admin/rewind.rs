//! Building an index as it was at a task.

use super::planning::read;
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, PathId, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use miroir_api::admin::{Rewind, RewindPlan, RewindRequest, Rewinds};
use miroir_api::error::{Code, ResponseError};
use miroir_api::index::invalid_index_uid;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_engine::rewind::Wish;
use serde_json::Value;
use std::path::PathBuf;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/rewinds", get(all))
        .route("/_miroir/rewind", post(begin))
        .route("/_miroir/rewind/plan", post(plan))
        .route("/_miroir/rewind/{id}", get(show))
        .route("/_miroir/rewind/{id}/cancel", post(cancel))
}

fn wish(body: Value) -> Result<Wish, ApiError> {
    let request: RewindRequest = read(body)?;
    let dump = request.from_dump.map(PathBuf::from);
    if dump.as_ref().is_some_and(|dump| !dump.is_absolute()) {
        let text = "The path of the dump must be absolute: it is one of the proxy's machine.";
        return Err(ResponseError::new(Code::BadRequest, text).into());
    }
    Ok(Wish {
        index: IndexUid::new(request.index_uid).map_err(|e| invalid_index_uid(&e.0))?,
        new: IndexUid::new(request.new_uid).map_err(|e| invalid_index_uid(&e.0))?,
        to: TaskUid(request.to_task),
        dump,
    })
}

async fn all(_: Permit, State(app): State<AppState>) -> Json<Rewinds> {
    let results = app.engine.rewinds();
    Json(Rewinds { results })
}

async fn plan(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<RewindPlan>, ApiError> {
    let wish = wish(body)?;
    Ok(Json(Box::pin(app.engine.rewind_plan(&wish)).await?))
}

async fn begin(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Rewind>), ApiError> {
    let wish = wish(body)?;
    let rewind = Box::pin(app.engine.rewind(&wish)).await?;
    Ok((StatusCode::ACCEPTED, Json(rewind)))
}

async fn show(
    _: Permit,
    PathId(id): PathId,
    State(app): State<AppState>,
) -> Result<Json<Rewind>, ApiError> {
    let rewind = id.parse().ok().and_then(|job| app.engine.rewinding(job));
    Ok(Json(rewind.ok_or_else(|| unknown(&id))?))
}

async fn cancel(
    _: Permit,
    PathId(id): PathId,
    State(app): State<AppState>,
) -> Result<Json<Rewind>, ApiError> {
    let job = id.parse().ok();
    let job = job.filter(|job| app.engine.rewinding(*job).is_some());
    let job = job.ok_or_else(|| unknown(&id))?;
    Ok(Json(app.engine.cancel_rewind(job).await?))
}

fn unknown(id: &str) -> ResponseError {
    let message = format!(
        "There is no rewind `{id}`, or it ended long ago. What is not there under its new name was \
         not built."
    );
    ResponseError::new(Code::BadRequest, message).with_status(404)
}
