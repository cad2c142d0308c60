//! `POST` and `GET /indexes/{uid}/search`.

use crate::app::{App, AppState};
use crate::convert::search_request;
use crate::error::ApiError;
use crate::extract::{FromQuery, Index, JsonBody, Permit, Query};
use crate::foreign::answer_foreign;
use crate::multimodal;
use crate::partial::partial_wish;
use crate::response::search_response;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use miroir_api::error::{Code, ResponseError};
use miroir_api::filter::check_filter;
use miroir_api::search::{SearchQuery, read_body, read_parameters};
use miroir_core::id::IndexUid;
use miroir_engine::engine::{IndexInfo, SearchAnswer, SearchSteps};
use miroir_engine::features::FOREIGN_KEYS;
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
    let _place = app.searches.enter().await?;
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
    let _place = app.searches.enter().await?;
    Ok(search_response(search(&app, &uid, query, &headers).await?))
}

/// One search, with all checks that come before it but that of the asker's rights: the filter is to
/// hold what a tenant token demands already, and the asker to have passed the gate.
pub(super) async fn search(
    app: &App,
    uid: &IndexUid,
    mut query: SearchQuery,
    headers: &HeaderMap,
) -> Result<SearchAnswer, ApiError> {
    check_network(&query)?;
    find_index_first(app, uid)?;
    let (personalizes, shows_steps) = (query.personalize.is_some(), query.show_performance_details);
    if let Some(filter) = &query.filter {
        let code = Code::InvalidSearchFilter.name();
        if check_filter(filter, Code::InvalidSearchFilter)? {
            multimodal::check_filter(app, filter)?;
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
    multimodal::check_media(app, uid, &query)?;
    answer_foreign(app, uid, &mut query.filter, Code::InvalidSearchFilter).await?;
    let metadata = wants_metadata(headers).then(|| query.q.clone());
    let wish = partial_wish(headers)?;
    let searched = app.engine.search_with(uid, search_request(query), wish);
    let mut answer = Box::pin(searched).await?;
    check_personalized(personalizes)?;
    let mut extras = Vec::new();
    if let Some(q) = metadata {
        let info = app.engine.index(uid)?;
        write_extra(&mut extras, "metadata", &query_metadata(q, &info));
    }
    if shows_steps {
        write_extra(
            &mut extras,
            PERFORMANCE_DETAILS,
            &named_steps(&answer.steps),
        );
    }
    if !extras.is_empty() {
        let (before, behind) = answer.body.split_at(answer.extras_at);
        answer.body = [before, &extras, behind].concat().into();
    }
    Ok(answer)
}

/// With foreign keys on, a missing index is reported before a malformed filter.
pub(super) fn find_index_first(app: &App, uid: &IndexUid) -> Result<(), ApiError> {
    if app.engine.has_feature(FOREIGN_KEYS) {
        app.engine.index(uid)?;
    }
    Ok(())
}

/// Asks for the member `metadata` of the answer.
const INCLUDE_METADATA: &str = "meili-include-metadata";

/// Whether a request asks for it.
pub(super) fn wants_metadata(headers: &HeaderMap) -> bool {
    let value = headers.get(INCLUDE_METADATA);
    value.is_some_and(|value| value == "1" || value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// What was searched, under an id made for this one query.
pub(super) fn query_metadata(q: Option<String>, index: &IndexInfo) -> Value {
    let mut metadata = json!({"queryUid": Uuid::now_v7(), "indexUid": index.uid.as_str()});
    for (name, value) in [("query", q), ("primaryKey", index.primary_key.clone())] {
        if let Some(value) = value {
            metadata[name] = value.into();
        }
    }
    metadata
}

/// The member that tells what took how long.
pub(super) const PERFORMANCE_DETAILS: &str = "performanceDetails";

/// The value of that member.
pub(super) fn named_steps(steps: &SearchSteps) -> Value {
    let named = steps.named().into_iter();
    named
        .map(|(name, length)| (name.to_owned(), Value::from(length)))
        .collect()
}

/// Appends a member with the comma before it.
pub(super) fn write_extra(out: &mut Vec<u8>, name: &str, value: &Value) {
    out.extend_from_slice(format!(",\"{name}\":{value}").as_bytes());
}

/// Miroir itself joins the nodes, so it is as a server on which the feature `network` is off.
pub(super) fn check_network(query: &SearchQuery) -> Result<(), ResponseError> {
    match query.use_network {
        None => Ok(()),
        Some(_) => Err(needs_network(USE_NETWORK)),
    }
}

/// Where the feature `network` is missed, also by what is no search.
pub(super) const USE_NETWORK: &str = "passing `useNetwork` in a search query";

/// What a server says on which the feature `network` is off.
pub(super) fn needs_network(what: &str) -> ResponseError {
    needs_feature(what, "network", 805)
}

/// Re-ranking is a feature that Miroir does not have, so it is as a server on which it is off. Such
/// a server notices when it has the hits, so that all other mistakes are reported first.
pub(super) fn check_personalized(personalizes: bool) -> Result<(), ResponseError> {
    if personalizes {
        let what = "reranking search results";
        return Err(needs_feature(what, "personalization", 866));
    }
    Ok(())
}

fn needs_feature(what: &str, feature: &str, discussion: u32) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{what} requires enabling the `{feature}` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/{discussion}"
        ),
    )
}
