//! Indexes cut into another number of shards: planned, begun, steered, shown.

use super::planning::read;
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use miroir_api::admin::{Reshard, ReshardPlan, ReshardRequest, Reshards};
use miroir_api::error::{Code, ResponseError};
use miroir_core::id::IndexUid;
use miroir_engine::reshard::KEEP_WAY_BACK;
use std::time::Duration;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/reshards", get(all))
        .route("/_miroir/indexes/{uid}/reshard", post(begin))
        .route("/_miroir/indexes/{uid}/reshard/plan", post(plan))
        .route("/_miroir/indexes/{uid}/reshard/{word}", post(steer))
}

async fn all(_: Permit, State(app): State<AppState>) -> Json<Reshards> {
    let results = app.engine.reshards();
    Json(Reshards { results })
}

async fn plan(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<ReshardPlan>, ApiError> {
    let request: ReshardRequest = read(body)?;
    let plan = app
        .engine
        .reshard_plan(&uid, request.shards, &request.free_bytes);
    Ok(Json(plan.await?))
}

/// Begins it, unless its plan is refused.
async fn begin(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Reshard>, ApiError> {
    let request: ReshardRequest = read(body)?;
    let plan = app
        .engine
        .reshard_plan(&uid, request.shards, &request.free_bytes)
        .await?;
    if !plan.refusals.is_empty() {
        return Err(ResponseError::new(Code::BadRequest, plan.refusals.join(" ")).into());
    }
    let keep = request.keep_way_back_seconds;
    let keep = keep.map_or(KEEP_WAY_BACK, Duration::from_secs);
    app.engine.reshard(&uid, request.shards, keep).await?;
    shown(&app, &uid)
}

async fn steer(
    _: Permit,
    Index(uid): Index,
    Path((_, word)): Path<(String, String)>,
    State(app): State<AppState>,
) -> Result<Json<Reshard>, ApiError> {
    app.engine.steer_reshard(&uid, &word).await?;
    shown(&app, &uid)
}

/// The last one of the index.
fn shown(app: &AppState, uid: &IndexUid) -> Result<Json<Reshard>, ApiError> {
    let mut all = app.engine.reshards().into_iter().rev();
    let found = all.find(|one| one.index_uid == uid.as_str());
    found.map(Json).ok_or_else(|| {
        let text = format!("Index `{uid}` was never re-sharded.");
        ResponseError::new(Code::BadRequest, text).into()
    })
}
