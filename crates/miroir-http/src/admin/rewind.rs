//! Building an index as it was at a task.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, PathId, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use miroir_api::admin::{Rewind, RewindRequest};
use miroir_api::error::{Code, ResponseError};
use miroir_api::index::invalid_index_uid;
use miroir_core::id::{IndexUid, TaskUid};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/rewind", post(begin))
        .route("/_miroir/rewind/{id}", get(show))
}

async fn begin(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Rewind>), ApiError> {
    let request: RewindRequest = serde_json::from_value(body)
        .map_err(|error| ResponseError::new(Code::BadRequest, format!("The body: {error}.")))?;
    let index = IndexUid::new(request.index_uid).map_err(|e| invalid_index_uid(&e.0))?;
    let new = IndexUid::new(request.new_uid).map_err(|e| invalid_index_uid(&e.0))?;
    let to = TaskUid(request.to_task);
    let rewind = Box::pin(app.engine.rewind(index, to, new)).await?;
    Ok((StatusCode::ACCEPTED, Json(rewind)))
}

async fn show(
    _: Permit,
    PathId(id): PathId,
    State(app): State<AppState>,
) -> Result<Json<Rewind>, ApiError> {
    let rewind = id.parse().ok().and_then(|job| app.engine.rewinding(job));
    let rewind = rewind.ok_or_else(|| {
        let message = format!(
            "There is no rewind `{id}`: it was begun by another process or long ago. What is not \
             there under its new name was not built."
        );
        ResponseError::new(Code::BadRequest, message).with_status(404)
    })?;
    Ok(Json(rewind))
}
