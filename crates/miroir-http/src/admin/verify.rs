//! Comparing the replicas, and copying what differs.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, PathId, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use miroir_api::admin::{Verification, VerifyRequest};
use miroir_api::error::{Code, ResponseError};
use miroir_api::index::invalid_index_uid;
use miroir_core::id::IndexUid;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/verify", post(begin))
        .route("/_miroir/verify/{id}", get(show))
}

async fn begin(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Verification>), ApiError> {
    let request: VerifyRequest = serde_json::from_value(body)
        .map_err(|error| ResponseError::new(Code::BadRequest, format!("The body: {error}.")))?;
    let index = request.index_uid.map(IndexUid::new).transpose();
    let index = index.map_err(|error| invalid_index_uid(&error.0))?;
    let report = app.engine.verify(index.as_ref(), request.repair)?;
    Ok((StatusCode::ACCEPTED, Json(report)))
}

async fn show(
    _: Permit,
    PathId(id): PathId,
    State(app): State<AppState>,
) -> Result<Json<Verification>, ApiError> {
    let report = id.parse().ok().and_then(|job| app.engine.verification(job));
    let report = report.ok_or_else(|| {
        let message =
            format!("There is no comparison `{id}`: it was begun by another process or long ago.");
        ResponseError::new(Code::BadRequest, message).with_status(404)
    })?;
    Ok(Json(report))
}
