//! What surrounds every route: trailing slashes, CORS, compression, a line in the log.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use std::time::Duration;
use tower::Layer;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use tower_http::normalize_path::NormalizePathLayer;

/// Answers below this size are not worth the time of compressing them: they fit one packet.
const COMPRESSED_BYTES_MIN: u16 = 1024;

/// The methods that a preflight allows.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// How long a browser may keep the answer to a preflight, as in Meilisearch.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Puts the layers around the routes.
pub(crate) fn wrap(routes: Router) -> Router {
    let layered = routes
        .layer(
            CompressionLayer::new()
                // The fastest levels still halve JSON; the proxy shares its cores with searches.
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN)),
        )
        .layer(cors())
        .layer(from_fn(log));
    // A trailing slash must be gone before the route is chosen, hence a router around the router.
    let trimmed = NormalizePathLayer::trim_trailing_slash().layer(layered);
    Router::new()
        .fallback_service(trimmed)
        .layer(from_fn(refuse_strange_methods))
}

/// Lets no layer answer what Meilisearch has no handler for: `HEAD`, which the router would answer
/// as a `GET`, and `OPTIONS` that is no preflight. Under a method that no route knows they become a
/// 405, or a 404 where there is no route.
async fn refuse_strange_methods(mut request: Request, next: Next) -> Response {
    if is_strange(&request) {
        *request.method_mut() = Method::TRACE;
    }
    next.run(request).await
}

fn is_strange(request: &Request) -> bool {
    let headers = request.headers();
    let is_preflight =
        headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    match *request.method() {
        Method::HEAD => true,
        Method::OPTIONS => !is_preflight,
        _ => false,
    }
}

/// Fully open, as in Meilisearch: keys protect, not origins. Headers are mirrored, because a `*`
/// would not cover `Authorization`; the methods are those of HTTP.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(METHODS)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(PREFLIGHT_AGE_MAX)
}

async fn log(request: Request, next: Next) -> Response {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}
