//! What lies on nodes and no placement puts there: shown, and removed as it was shown.

use super::planning::read;
use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use miroir_api::admin::{Orphans, Sweep, SweepRequest};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/orphans", get(show))
        .route("/_miroir/orphans/sweep", post(sweep))
}

async fn show(_: Permit, State(app): State<AppState>) -> Result<Json<Orphans>, ApiError> {
    Ok(Json(app.engine.orphans_shown().await?))
}

async fn sweep(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Sweep>, ApiError> {
    let SweepRequest { digest } = read(body)?;
    Ok(Json(Box::pin(app.engine.sweep_shown(&digest)).await?))
}
