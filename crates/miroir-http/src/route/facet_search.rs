//! `POST /indexes/{uid}/facet-search`.

use super::search::check_network;
use crate::app::AppState;
use crate::convert::search_request;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, Permit};
use crate::foreign::answer_foreign;
use crate::multimodal;
use crate::partial::{marked_json, partial_wish};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use miroir_api::error::Code;
use miroir_api::facet_search::read_body;
use miroir_api::filter::check_filter;
use miroir_core::merge::FacetSearchRequest;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/facet-search", post(facet_search))
}

async fn facet_search(
    permit: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut query = read_body(&body)?;
    check_network(&query.search)?;
    if let Some(filter) = &query.search.filter {
        // A missing index is reported before a malformed filter.
        app.engine.index(&uid)?;
        let code = Code::InvalidSearchFilter;
        if check_filter(filter, code)? {
            multimodal::check_filter(&app, filter)?;
            app.engine.check_filter_fields(&uid, filter, code.name())?;
        } else {
            query.search.filter = None;
        }
    }
    multimodal::check_media(&app, &uid, &query.search)?;
    permit.restrict(uid.as_str(), &mut query.search.filter);
    let _place = app.searches.enter().await?;
    let code = Code::InvalidSearchFilter;
    answer_foreign(&app, &uid, &mut query.search.filter, code).await?;
    let request = FacetSearchRequest {
        facet: query.facet_name,
        query: query.facet_query,
        exhaustive_count: query.exhaustive_facet_count,
        search: search_request(query.search),
    };
    let wish = partial_wish(&headers)?;
    let answer = app.engine.facet_search(&uid, request, wish).await?;
    Ok(marked_json(answer.body, &answer.missing_shards))
}
