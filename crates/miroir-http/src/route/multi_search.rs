//! `POST /multi-search`.

use super::search::{
    PERFORMANCE_DETAILS, check_network, check_personalized, find_index_first, named_steps,
    needs_network, query_metadata, search, wants_metadata, write_extra,
};
use crate::app::{App, AppState};
use crate::convert::search_request;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::multimodal;
use crate::response::{ready_json, search_response};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::HeaderMap;
use miroir_api::error::Code;
use miroir_api::filter::check_filter;
use miroir_api::index::invalid_index_uid;
use miroir_api::multi_search::{Federation, IndexQuery, inside_query, read_body};
use miroir_api::search::LIMIT_DEFAULT;
use miroir_core::id::IndexUid;
use miroir_core::merge::{FederatedQuery, FederatedRequest};
use miroir_core::search::Paging;
use miroir_engine::EngineError;
use miroir_engine::engine::{SearchAnswer, SearchSteps};
use miroir_engine::federated::{FederatedError, QUERIES_AT_ONCE};
use serde_json::Value;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/multi-search", post(multi_search))
}

async fn multi_search(
    permit: Permit,
    State(app): State<AppState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let mut request = read_body(&body)?;
    for (
        idx,
        IndexQuery {
            index_uid, query, ..
        },
    ) in request.queries.iter_mut().enumerate()
    {
        permit
            .require(index_uid)
            .map_err(|error| inside_query(idx, error))?;
        permit.restrict(index_uid, &mut query.filter);
    }
    // One place for the whole request, as on a node.
    let _place = app.searches.enter().await?;
    if let Some(federation) = request.federation {
        return Ok(ready_json(
            federated(&app, request.queries, federation, &headers).await?,
        ));
    }
    let uids: Vec<String> = request
        .queries
        .iter()
        .map(|query| query.index_uid.clone())
        .collect();
    let searches = request.queries.into_iter().enumerate().map(|(idx, query)| {
        let (app, headers) = (&app, &headers);
        async move {
            search_one(app, query, headers)
                .await
                .map_err(|error| inside(idx, error))
        }
    });
    // In the queries' order, so that the first error is that of the first query that fails.
    let answers: Vec<SearchAnswer> = futures::stream::iter(searches)
        .buffered(QUERIES_AT_ONCE)
        .try_collect()
        .await?;
    Ok(search_response(join(&uids, answers)))
}

async fn search_one(
    app: &App,
    query: IndexQuery,
    headers: &HeaderMap,
) -> Result<SearchAnswer, ApiError> {
    query.check_alone()?;
    let uid = IndexUid::new(query.index_uid).map_err(|error| invalid_index_uid(&error.0))?;
    find_index_first(app, &uid)?;
    // Not found is the status of a path; here the name is in the body.
    if app.engine.index(&uid).is_err() {
        let error = ApiError::from(EngineError::IndexNotFound(uid));
        return Err(ApiError(error.0.with_status(400)));
    }
    search(app, &uid, query.query, headers).await
}

fn inside(query: usize, error: ApiError) -> ApiError {
    ApiError(inside_query(query, error.0))
}

async fn federated(
    app: &App,
    queries: Vec<IndexQuery>,
    federation: Federation,
    headers: &HeaderMap,
) -> Result<Bytes, ApiError> {
    let metadata = wants_metadata(headers).then(|| metadata_of(app, &queries));
    let (personalizes, shows_steps) = (
        federation.personalize.is_some(),
        federation.show_performance_details,
    );
    for query in &queries {
        if let Ok(uid) = IndexUid::new(&*query.index_uid) {
            find_index_first(app, &uid)?;
        }
    }
    let mut planned = Vec::with_capacity(queries.len());
    for (idx, query) in queries.into_iter().enumerate() {
        let query = federated_query(app, query, &federation);
        planned.push(query.map_err(|error| inside(idx, error))?);
    }
    answer_foreign_in(app, &mut planned).await?;
    let paging = if federation.page.is_some() || federation.hits_per_page.is_some() {
        Paging::Page {
            page: federation.page.unwrap_or(1),
            hits_per_page: federation.hits_per_page.unwrap_or(LIMIT_DEFAULT),
        }
    } else {
        Paging::Offset {
            offset: federation.offset,
            limit: federation.limit,
        }
    };
    let facets = federation.facets_by_index.into_iter();
    let request = FederatedRequest {
        queries: planned,
        paging,
        facets: facets
            .filter_map(|(uid, facets)| Some((uid, facets?)))
            .collect(),
        merge_facets: federation
            .merge_facets
            .map(|merge| merge.max_values_per_facet),
        distinct: federation.distinct,
    };
    let extras = move |steps: &SearchSteps| {
        let mut extras = Vec::new();
        if let Some(metadata) = &metadata {
            write_extra(&mut extras, "metadata", metadata);
        }
        if shows_steps {
            write_extra(&mut extras, PERFORMANCE_DETAILS, &named_steps(steps));
        }
        extras
    };
    let found = app
        .engine
        .federated_search(request, &extras)
        .await
        .map_err(|FederatedError { query, error }| {
            let is_missing = matches!(error, EngineError::IndexNotFound(_));
            let error = ApiError::from(error);
            // Not found is the status of a path; here the name is in the body, but for that of a
            // foreign index, which is in the settings.
            let is_foreign = query.is_none() && !error.0.message.starts_with("Inside");
            let is_missing = is_missing || error.0.code == "index_not_found";
            let status = if is_missing && !is_foreign {
                400
            } else {
                error.0.status()
            };
            let error = ApiError(error.0.with_status(status));
            match query {
                Some(query) => inside(query, error),
                None => error,
            }
        })?;
    check_personalized(personalizes)?;
    Ok(found)
}

/// What was searched, query by query. One on a missing index fails the whole search elsewhere.
fn metadata_of(app: &App, queries: &[IndexQuery]) -> Value {
    let of_query = |query: &IndexQuery| {
        let uid = IndexUid::new(&*query.index_uid).ok()?;
        let info = app.engine.index(&uid).ok()?;
        Some(query_metadata(query.query.q.clone(), &info))
    };
    queries.iter().filter_map(of_query).collect()
}

/// Answers the `_foreign` conditions of all queries together, for what they may find is bounded for
/// the whole request. Queries on an index that does not exist are left for the search to refuse.
async fn answer_foreign_in(app: &App, queries: &mut [FederatedQuery]) -> Result<(), ApiError> {
    let mut positions = Vec::new();
    let mut filters = Vec::new();
    for (idx, query) in queries.iter().enumerate() {
        let Some(filter) = &query.request.filter else {
            continue;
        };
        if !app.engine.is_foreign_filter(filter) {
            continue;
        }
        let code = Code::InvalidSearchFilter.name();
        let checked = app.engine.check_filter_syntax(filter, code).await;
        checked.map_err(|error| inside(idx, error.into()))?;
        let Ok(uid) = IndexUid::new(&*query.uid) else {
            continue;
        };
        if app.engine.index(&uid).is_ok() {
            positions.push(idx);
            filters.push((uid, filter.clone()));
        }
    }
    if filters.is_empty() {
        return Ok(());
    }
    app.engine.answer_foreign(&mut filters).await?;
    for (idx, (_, filter)) in positions.into_iter().zip(filters) {
        if let Some(query) = queries.get_mut(idx) {
            query.request.filter = Some(filter);
        }
    }
    Ok(())
}

fn federated_query(
    app: &App,
    mut query: IndexQuery,
    federation: &Federation,
) -> Result<FederatedQuery, ApiError> {
    if let Some(filter) = &query.query.filter {
        let code = Code::InvalidSearchFilter;
        if check_filter(filter, code)? {
            multimodal::check_filter(app, filter)?;
            if let Ok(uid) = IndexUid::new(&*query.index_uid)
                && app.engine.index(&uid).is_ok()
            {
                app.engine.check_filter_fields(&uid, filter, code.name())?;
            }
        } else {
            query.query.filter = None;
        }
    }
    query.check_federated(federation)?;
    let options = query.options.clone().unwrap_or_default();
    if options.remote.is_some() {
        return Err(needs_network("Performing a remote federated search").into());
    }
    if options.query_position.is_some() {
        return Err(needs_network("Using `federationOptions.queryPosition`").into());
    }
    check_network(&query.query)?;
    if let Ok(uid) = IndexUid::new(&*query.index_uid) {
        multimodal::check_media(app, &uid, &query.query)?;
    }
    Ok(FederatedQuery {
        uid: query.index_uid,
        request: search_request(query.query),
        weight: options.weight,
    })
}

/// `{"results": [{"indexUid": …, …}]}` of answers that are JSON objects and never empty.
fn join(uids: &[String], answers: Vec<SearchAnswer>) -> SearchAnswer {
    let mut body = br#"{"results":["#.to_vec();
    let mut joined = SearchAnswer {
        body: Default::default(),
        missing_shards: Vec::new(),
        node_count: 0,
        extras_at: 0,
        steps: SearchSteps::default(),
    };
    for (at, (uid, answer)) in uids.iter().zip(answers).enumerate() {
        if at > 0 {
            body.push(b',');
        }
        // A uid is letters, digits, hyphens and underscores: nothing to escape.
        body.extend_from_slice(format!(r#"{{"indexUid":"{uid}","#).as_bytes());
        body.extend_from_slice(answer.body.strip_prefix(b"{").unwrap_or(&answer.body));
        joined.missing_shards.extend(answer.missing_shards);
        joined.node_count += answer.node_count;
    }
    body.extend_from_slice(b"]}");
    joined.body = body.into();
    joined
}
