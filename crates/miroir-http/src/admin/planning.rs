//! Changes of the topology: staged, planned, dropped.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use miroir_api::admin::{PlanRequest, StagedTopology, TopologyAdvice, TopologyPlan};
use miroir_api::error::{Code, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route(
            "/_miroir/topology/staged",
            get(staged).post(stage).delete(revert),
        )
        .route("/_miroir/topology/plan", get(plan).post(plan_of))
        .route("/_miroir/advice", get(advice))
}

/// A body as one of the admin API's types.
pub(super) fn read<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    let read = serde_json::from_value(body)
        .map_err(|error| ResponseError::new(Code::BadRequest, format!("The body: {error}.")))?;
    Ok(read)
}

async fn staged(_: Permit, State(app): State<AppState>) -> Json<StagedTopology> {
    Json(app.engine.staged())
}

async fn stage(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<StagedTopology>, ApiError> {
    Ok(Json(app.engine.stage(read(body)?).await?))
}

async fn revert(_: Permit, State(app): State<AppState>) -> Result<Json<StagedTopology>, ApiError> {
    Ok(Json(app.engine.revert().await?))
}

async fn plan(_: Permit, State(app): State<AppState>) -> Result<Json<TopologyPlan>, ApiError> {
    Ok(Json(
        app.engine.topology_plan(PlanRequest::default()).await?,
    ))
}

async fn plan_of(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<TopologyPlan>, ApiError> {
    Ok(Json(app.engine.topology_plan(read(body)?).await?))
}

async fn advice(_: Permit, State(app): State<AppState>) -> Result<Json<TopologyAdvice>, ApiError> {
    Ok(Json(app.engine.advice().await?))
}
