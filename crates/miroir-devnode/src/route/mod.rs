//! The HTTP face: which function answers which path.

mod batches;
mod devnode;
mod documents;
mod features;
mod indexes;
mod keys;
mod search;
mod service;
mod settings;
mod similar;
mod tasks;

use crate::error::ApiError;
use crate::http::Json;
use crate::shared::Shared;
use crate::task::{Task, view};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::normalize_path::NormalizePath;

/// What answers a request, from the first byte after its head.
pub(crate) type App = NormalizePath<Router>;

/// What a route answers.
type Answer = Result<Response, ApiError>;

/// How long browsers may remember that everything is allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(86_400);

/// All routes. A path that is not here gets 404 with an empty body, as from a real node.
pub(crate) fn router(shared: Arc<Shared>) -> App {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(Any)
        .expose_headers(Any)
        .max_age(CORS_MAX_AGE);
    let router = Router::new()
        .merge(service_routes())
        .merge(index_routes())
        .merge(document_routes())
        .merge(search_routes())
        .merge(settings::routes())
        .layer(from_fn_with_state(Arc::clone(&shared), reject_when_asked))
        .layer(CompressionLayer::new())
        .layer(cors)
        // Bodies have one limit, the option's, counted after decompression.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared);
    NormalizePath::trim_trailing_slash(router)
}

fn service_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(service::root))
        .route("/health", get(service::health))
        .route("/version", get(service::version))
        .route("/stats", get(service::stats))
        .route(
            "/_devnode/faults",
            get(devnode::faults).post(devnode::set_faults),
        )
        .route(
            "/experimental-features",
            get(features::show).patch(features::update),
        )
        .route("/tasks", get(tasks::list).delete(tasks::delete))
        .route("/tasks/cancel", post(tasks::cancel))
        .route("/tasks/{uid}", get(tasks::show))
        .route("/batches", get(batches::list))
        .route("/batches/{uid}", get(batches::show))
        .route("/keys", get(keys::list).post(keys::create))
        .route(
            "/keys/{key}",
            get(keys::show).patch(keys::update).delete(keys::delete),
        )
}

fn index_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/indexes", get(indexes::list).post(indexes::create))
        .route(
            "/indexes/{uid}",
            get(indexes::show)
                .patch(indexes::update)
                .delete(indexes::delete),
        )
        .route("/indexes/{uid}/stats", get(service::index_stats))
        .route("/swap-indexes", post(indexes::swap))
}

fn document_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/indexes/{uid}/documents",
            get(documents::read::list)
                .post(documents::write::replace)
                .put(documents::write::update)
                .delete(documents::write::delete_all),
        )
        .route(
            "/indexes/{uid}/documents/fetch",
            post(documents::read::fetch),
        )
        .route(
            "/indexes/{uid}/documents/delete-batch",
            post(documents::write::delete_batch),
        )
        .route(
            "/indexes/{uid}/documents/delete",
            post(documents::write::delete_by_filter),
        )
        .route(
            "/indexes/{uid}/documents/edit",
            post(documents::write::edit),
        )
        .route(
            "/indexes/{uid}/documents/{id}",
            get(documents::read::show).merge(delete(documents::write::delete_one)),
        )
}

fn search_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(
            "/indexes/{uid}/search",
            get(search::by_query).post(search::by_body),
        )
        .route("/indexes/{uid}/facet-search", post(search::facet_search))
        .route(
            "/indexes/{uid}/similar",
            get(similar::by_query).post(similar::by_body),
        )
        .route("/multi-search", post(search::multi_search))
}

/// The 503 of an overloaded node, when tests ask for it.
async fn reject_when_asked(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_spared = path == "/health" || path.starts_with("/_devnode/");
    if shared.faults.is_rejecting() && !is_spared {
        return ApiError::new(
            "too_many_search_requests",
            "Too many search requests running at the same time: 1000. Retry after 10s.",
        )
        .into_response();
    }
    next.run(request).await
}

fn ok(value: Value) -> Response {
    Json(value).into_response()
}

/// The answer of a write: its task, summarized.
fn accepted(task: &Task) -> Response {
    (StatusCode::ACCEPTED, Json(view::summary(task))).into_response()
}

/// One page of a list with its place in the whole.
fn page(all: Vec<Value>, offset: usize, limit: usize) -> Value {
    let total = all.len();
    let results: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
    json!({ "results": results, "offset": offset, "limit": limit, "total": total })
}

/// One page of tasks or batches: the one too many becomes `next`.
fn uid_page(mut results: Vec<(u32, Value)>, total: u64, limit: usize) -> Value {
    let next = (results.len() > limit).then(|| results[limit].0);
    results.truncate(limit);
    let from = results.first().map(|(uid, _)| *uid);
    let results: Vec<Value> = results.into_iter().map(|(_, view)| view).collect();
    json!({ "results": results, "total": total, "limit": limit, "from": from, "next": next })
}
