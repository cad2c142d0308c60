//! The cluster as it is: nodes, shards, readiness.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{Index, Permit};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use miroir_api::admin::{IndexShards, Topology};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/_miroir/ready", get(ready))
        .route("/_miroir/topology", get(topology))
        .route("/_miroir/indexes/{uid}/shards", get(shards))
}

/// Whether traffic may be sent here; open, since load balancers hold no keys.
async fn ready(State(app): State<AppState>) -> Response {
    let ready = app.engine.ready().await;
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

async fn topology(_: Permit, State(app): State<AppState>) -> Result<Json<Topology>, ApiError> {
    Ok(Json(app.engine.topology().await?))
}

async fn shards(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Json<IndexShards>, ApiError> {
    Ok(Json(app.engine.shards(&uid).await?))
}
