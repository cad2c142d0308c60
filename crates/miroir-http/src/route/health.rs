//! `GET /health` and `GET /`: open to everyone.

use crate::app::AppState;
use crate::response::Json;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/health", get(health))
        .route("/", get(status))
}

/// The proxy answers. Whether traffic should come here is told by `/_miroir/ready`.
async fn health() -> Json<Value> {
    Json(json!({"status": "available"}))
}

async fn status() -> Json<Value> {
    Json(json!({"status": "Miroir is running"}))
}
