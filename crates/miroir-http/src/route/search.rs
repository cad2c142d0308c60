//! `POST` and `GET /indexes/{uid}/search`.

use crate::app::{App, AppState};
use crate::convert::search_request;
use crate::error::{ApiError, unsupported};
use crate::extract::{FromQuery, Index, JsonBody, Permit, Query};
use crate::response::search_response;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use miroir_api::error::{Code, ResponseError};
use miroir_api::filter::check_filter;
use miroir_api::search::{SearchQuery, read_body, read_parameters};
use miroir_core::id::IndexUid;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/search", post(search_post).get(search_get))
}

impl FromQuery for SearchQuery {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        read_parameters(raw)
    }
}

async fn search_post(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    search(&app, &uid, read_body(&body)?).await
}

async fn search_get(
    _: Permit,
    Index(uid): Index,
    Query(query): Query<SearchQuery>,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    search(&app, &uid, query).await
}

async fn search(app: &App, uid: &IndexUid, mut query: SearchQuery) -> Result<Response, ApiError> {
    refuse_unsupported(&query)?;
    if let Some(filter) = &query.filter {
        // A missing index is reported before a malformed filter.
        app.engine.index(uid)?;
        if !check_filter(filter, Code::InvalidSearchFilter)? {
            query.filter = None;
        }
    }
    let answer = app.engine.search(uid, search_request(query)).await?;
    Ok(search_response(answer))
}

/// Parameters whose answers cannot be merged yet are refused, not ignored: an ignored one would
/// give a wrong result.
fn refuse_unsupported(query: &SearchQuery) -> Result<(), ResponseError> {
    if query.use_network == Some(true) {
        return Err(unsupported("The search parameter `useNetwork`"));
    }
    if query.personalize.is_some() {
        return Err(unsupported("The search parameter `personalize`"));
    }
    if query.media.is_some() {
        return Err(unsupported("The search parameter `media`"));
    }
    if query.show_performance_details {
        return Err(unsupported("The search parameter `showPerformanceDetails`"));
    }
    Ok(())
}
