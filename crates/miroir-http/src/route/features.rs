//! `/experimental-features`: switches of Miroir, which it sets on the nodes that need to know.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::feature::shown;
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use miroir_api::feature::read_patch;
use serde_json::Value;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/experimental-features", get(show).patch(change))
}

async fn show(_: Permit, State(app): State<AppState>) -> Json<Value> {
    Json(shown(&app))
}

async fn change(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    app.engine.switch_features(read_patch(&body)?).await?;
    Ok(Json(shown(&app)))
}
