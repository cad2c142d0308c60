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
use bytes::Bytes;
use http::HeaderMap;
use miroir_api::error::{Code, ResponseError};
use miroir_api::filter::check_filter;
use miroir_api::search::{SearchQuery, read_body, read_parameters};
use miroir_core::id::IndexUid;
use miroir_engine::engine::{IndexInfo, SearchAnswer};
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/search", post(search_post).get(search_get))
}

impl FromQuery for SearchQuery {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        read_parameters(raw)
    }
}

async fn search_post(
    permit: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut query = read_body(&body)?;
    permit.restrict(uid.as_str(), &mut query.filter);
    let answer = search(&app, &uid, query, &headers).await?;
    Ok(search_response(answer))
}

async fn search_get(
    permit: Permit,
    Index(uid): Index,
    Query(mut query): Query<SearchQuery>,
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    permit.restrict(uid.as_str(), &mut query.filter);
    Ok(search_response(search(&app, &uid, query, &headers).await?))
}

/// One search, with all checks that come before it but that of the asker's rights: the filter is to
/// hold what a tenant token demands already.
pub(super) async fn search(
    app: &App,
    uid: &IndexUid,
    mut query: SearchQuery,
    headers: &HeaderMap,
) -> Result<SearchAnswer, ApiError> {
    refuse_unsupported(&query)?;
    if let Some(filter) = &query.filter {
        let code = Code::InvalidSearchFilter.name();
        if check_filter(filter, Code::InvalidSearchFilter)? {
            // A filter that cannot be parsed is reported before a missing index. Where there is
            // one, its nodes parse the filter anyway.
            if let Err(missing) = app.engine.index(uid) {
                app.engine.check_filter_syntax(filter, code).await?;
                return Err(missing.into());
            }
            app.engine.check_filter_fields(uid, filter, code)?;
        } else {
            query.filter = None;
        }
    }
    let metadata = wants_metadata(headers).then(|| query.q.clone());
    let mut answer = app.engine.search(uid, search_request(query)).await?;
    if let Some(q) = metadata {
        let info = app.engine.index(uid)?;
        answer.body = with_metadata(&answer.body, &query_metadata(q, &info));
    }
    Ok(answer)
}

/// Asks for the member `metadata` of the answer.
const INCLUDE_METADATA: &str = "meili-include-metadata";

fn wants_metadata(headers: &HeaderMap) -> bool {
    let value = headers.get(INCLUDE_METADATA);
    value.is_some_and(|value| value == "1" || value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// What was searched, under an id made for this one query.
fn query_metadata(q: Option<String>, index: &IndexInfo) -> Value {
    let mut metadata = json!({"queryUid": Uuid::now_v7(), "indexUid": index.uid.as_str()});
    for (name, value) in [("query", q), ("primaryKey", index.primary_key.clone())] {
        if let Some(value) = value {
            metadata[name] = value.into();
        }
    }
    metadata
}

/// The answer, a JSON object that is never empty, with one member more.
fn with_metadata(body: &Bytes, metadata: &Value) -> Bytes {
    let whole = body.strip_suffix(b"}").unwrap_or(body);
    [
        whole,
        b",\"metadata\":",
        metadata.to_string().as_bytes(),
        b"}",
    ]
    .concat()
    .into()
}

/// Parameters whose answers cannot be merged yet are refused, not ignored: an ignored one would
/// give a wrong result.
pub(super) fn refuse_unsupported(query: &SearchQuery) -> Result<(), ResponseError> {
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
