//! Changes of the topology: staged, planned, dropped, applied; and the movement that follows.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use miroir_api::admin::{
    ApplyRequest, DeclarationOutcome, Movement, PlanRequest, StagedTopology, TopologyAdvice,
    TopologyPlan,
};
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
        .route("/_miroir/topology/apply", post(apply))
        .route("/_miroir/topology/declare", post(declare))
        .route("/_miroir/movement", get(movement))
        .route("/_miroir/movement/pause", post(pause))
        .route("/_miroir/movement/resume", post(resume))
        .route("/_miroir/movement/cancel", post(cancel))
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

async fn apply(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<StagedTopology>, ApiError> {
    let ApplyRequest { epoch } = read(body)?;
    Ok(Json(Box::pin(app.engine.apply(epoch)).await?))
}

async fn declare(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<DeclarationOutcome>, ApiError> {
    Ok(Json(Box::pin(app.engine.declare(read(body)?)).await?))
}

async fn movement(_: Permit, State(app): State<AppState>) -> Json<Movement> {
    Json(app.engine.movement_shown())
}

async fn pause(_: Permit, State(app): State<AppState>) -> Result<Json<Movement>, ApiError> {
    app.engine.pause_movement().await?;
    Ok(Json(app.engine.movement_shown()))
}

async fn resume(_: Permit, State(app): State<AppState>) -> Result<Json<Movement>, ApiError> {
    app.engine.resume_movement().await?;
    Ok(Json(app.engine.movement_shown()))
}

async fn cancel(_: Permit, State(app): State<AppState>) -> Result<Json<Movement>, ApiError> {
    Ok(Json(app.engine.cancel_topology().await?))
}

async fn advice(_: Permit, State(app): State<AppState>) -> Result<Json<TopologyAdvice>, ApiError> {
    Ok(Json(app.engine.advice().await?))
}
