//! `GET /metrics`: the page that Prometheus reads.

use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::extract::Permit;
use crate::feature::Feature;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use miroir_engine::metrics;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/metrics", get(gated))
        .route("/_miroir/metrics", get(show))
}

async fn gated(permit: Permit, State(app): State<AppState>) -> Result<Response, ApiError> {
    Feature::Metrics.check(&app)?;
    page(permit, &app).await
}

async fn show(permit: Permit, State(app): State<AppState>) -> Result<Response, ApiError> {
    page(permit, &app).await
}

/// The page names every index. The action belongs to the whole instance, so that no key for some
/// indexes comes here.
async fn page(_: Permit, app: &App) -> Result<Response, ApiError> {
    let page = app.engine.metrics_page().await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}
