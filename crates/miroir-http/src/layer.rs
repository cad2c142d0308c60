//! What surrounds every route: trailing slashes, CORS, compression, a line in the log.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use std::time::Duration;
use tower::Layer;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
use tower_http::normalize_path::NormalizePathLayer;

/// Answers below this size are not worth the time of compressing them: they fit one packet.
const COMPRESSED_BYTES_MIN: u16 = 1024;

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
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(layered))
}

/// Fully open, as in Meilisearch: keys protect, not origins. Headers and methods are mirrored,
/// because a `*` would not cover `Authorization`.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(AllowMethods::mirror_request())
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
