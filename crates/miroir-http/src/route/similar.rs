//! `POST` and `GET /indexes/{uid}/similar`.

use super::search::{PERFORMANCE_DETAILS, named_steps, write_extra};
use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::extract::{FromQuery, Index, JsonBody, Permit, Query};
use crate::foreign::answer_foreign;
use crate::multimodal;
use crate::response::ready_json;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use miroir_api::error::{Code, ResponseError};
use miroir_api::filter::check_filter;
use miroir_api::similar::{SimilarQuery, not_found, read_body, read_parameters};
use miroir_core::id::IndexUid;
use miroir_core::merge::SimilarRequest;
use miroir_engine::EngineError;
use miroir_engine::engine::DocumentsQuery;
use serde_json::Value;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route(
        "/indexes/{uid}/similar",
        post(similar_post).get(similar_get),
    )
}

impl FromQuery for SimilarQuery {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        read_parameters(raw)
    }
}

async fn similar_post(
    permit: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    similar(&app, &permit, &uid, read_body(&body)?).await
}

async fn similar_get(
    permit: Permit,
    Index(uid): Index,
    Query(query): Query<SimilarQuery>,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    similar(&app, &permit, &uid, query).await
}

async fn similar(
    app: &App,
    permit: &Permit,
    uid: &IndexUid,
    query: SimilarQuery,
) -> Result<Response, ApiError> {
    let shows_steps = query.show_performance_details;
    // A missing index is reported before a malformed filter or id.
    app.engine.index(uid)?;
    let mut filter = None;
    if let Some(given) = &query.filter {
        let code = Code::InvalidSimilarFilter;
        if check_filter(given, code)? {
            multimodal::check_filter(app, given)?;
            app.engine.check_filter_fields(uid, given, code.name())?;
            filter = Some(given.clone());
        }
    }
    let id = query.document_id()?;
    if let Some(rule) = permit.filter_for(uid.as_str()) {
        check_visible(app, uid, &id, rule).await?;
    }
    permit.restrict(uid.as_str(), &mut filter);
    answer_foreign(app, uid, &mut filter, Code::InvalidSimilarFilter).await?;
    let request = SimilarRequest {
        id: id.clone(),
        embedder: query.embedder,
        offset: query.offset,
        limit: query.limit,
        filter,
        attributes_to_retrieve: query.attributes_to_retrieve,
        retrieve_vectors: query.retrieve_vectors,
        show_ranking_score: query.show_ranking_score,
        show_ranking_score_details: query.show_ranking_score_details,
        ranking_score_threshold: query.ranking_score_threshold,
    };
    match app.engine.similar(uid, request).await {
        Ok((body, _)) if !shows_steps => Ok(ready_json(body)),
        Ok((body, steps)) => {
            let mut whole = body.strip_suffix(b"}").unwrap_or(&body).to_vec();
            write_extra(&mut whole, PERFORMANCE_DETAILS, &named_steps(&steps));
            whole.push(b'}');
            Ok(ready_json(whole.into()))
        }
        Err(EngineError::DocumentNotFound(_)) => Err(not_found(&id).into()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a document that the bearer's tenant token hides, as if it were not there.
async fn check_visible(app: &App, uid: &IndexUid, id: &str, rule: &Value) -> Result<(), ApiError> {
    let mut filter = Some(rule.clone());
    answer_foreign(app, uid, &mut filter, Code::InvalidSimilarFilter).await?;
    let query = DocumentsQuery {
        offset: 0,
        limit: 0,
        fields: None,
        ids: Some(vec![id.to_owned()]),
        filter,
        sort: None,
        retrieve_vectors: false,
    };
    let listing = app.engine.documents(uid, query).await?;
    let total = serde_json::from_slice(&listing)
        .ok()
        .and_then(|listing: Value| listing.get("total")?.as_u64());
    match total {
        Some(1..) => Ok(()),
        _ => Err(not_found(id).into()),
    }
}
