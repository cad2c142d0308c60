//! `POST /render-template`.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::feature::Feature;
use crate::multimodal;
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/render-template", post(render))
}

async fn render(
    permit: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    Feature::RenderRoute.check(&app)?;
    for part in ["template", "input"] {
        let uid = body.get(part).and_then(|part| part.get("indexUid"));
        if let Some(uid) = uid.and_then(Value::as_str) {
            permit.require(uid)?;
        }
    }
    multimodal::check_rendering(&app, &body)?;
    Ok(Json(app.engine.render(body).await?))
}
