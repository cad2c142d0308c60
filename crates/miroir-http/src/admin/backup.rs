//! `POST /_miroir/backup`: a copy of the store while it works.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use miroir_api::admin::{Backup, BackupRequest};
use miroir_api::error::{Code, ResponseError};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/_miroir/backup", post(backup))
}

async fn backup(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Backup>, ApiError> {
    let request: BackupRequest = serde_json::from_value(body)
        .map_err(|error| ResponseError::new(Code::BadRequest, error.to_string()))?;
    Ok(Json(app.engine.backup(request.to.into()).await?))
}
