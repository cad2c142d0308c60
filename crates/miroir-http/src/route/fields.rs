//! `POST /indexes/{uid}/fields`.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, Permit};
use crate::response::ready_json;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use miroir_api::field::read_body;
use miroir_core::merge::FieldsRequest;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/fields", post(fields))
}

async fn fields(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let listing = read_body(&body)?;
    let request = FieldsRequest {
        offset: listing.offset,
        limit: listing.limit,
        patterns: listing.attribute_patterns,
        capabilities: listing.capabilities,
    };
    Ok(ready_json(app.engine.fields(&uid, &request).await?))
}
