//! `GET /version`.

use crate::app::AppState;
use crate::extract::Permit;
use crate::response::Json;
use axum::Router;
use axum::routing::get;
use miroir_api::version::Version;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/version", get(version))
}

async fn version(_: Permit) -> Json<Version> {
    Json(Version::new(env!("CARGO_PKG_VERSION")))
}
