//! What surrounds every route: the request's id, trailing slashes, CORS, compression, a line in the
//! log; and what no client may say is taken out of its request.

use crate::cors::{asked_method, open_to_pages};
use crate::request_id::{REQUEST_ID, request_id};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_ENCODING, VARY};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use tower::Layer;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::normalize_path::NormalizePathLayer;
use tracing::Instrument;

/// As Meilisearch, which compresses every answer that is not empty for those who ask.
const COMPRESSED_BYTES_MIN: u16 = 1;

/// Puts the layers around the routes.
pub(crate) fn wrap(routes: Router) -> Router {
    let layered = routes
        .layer(
            CompressionLayer::new()
                // The fastest levels still halve JSON; the proxy shares its cores with searches.
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN)),
        )
        .layer(from_fn(open_to_pages))
        .layer(from_fn(log));
    // A trailing slash must be gone before the route is chosen, hence a router around the router.
    let trimmed = NormalizePathLayer::trim_trailing_slash().layer(layered);
    Router::new()
        .fallback_service(trimmed)
        .layer(from_fn(refuse_strange_methods))
        .layer(from_fn(refuse_impossible_encodings))
        .layer(from_fn(name_and_clean))
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
    match *request.method() {
        Method::HEAD => true,
        Method::OPTIONS => asked_method(request.method(), request.headers()).is_none(),
        _ => false,
    }
}

/// Refuses who accepts neither a plain answer nor any encoding that there is.
async fn refuse_impossible_encodings(request: Request, next: Next) -> Response {
    let headers = request.headers().get_all(ACCEPT_ENCODING).iter();
    let accepted: Vec<&str> = headers.filter_map(|value| value.to_str().ok()).collect();
    if accepted.is_empty() || is_answerable(&accepted.join(",")) {
        return next.run(request).await;
    }
    let vary = [(VARY, "Accept-Encoding")];
    (
        StatusCode::NOT_ACCEPTABLE,
        vary,
        Body::from("br, gzip, deflate"),
    )
        .into_response()
}

/// Whether an `Accept-Encoding` leaves a form in which an answer can be given. Without a word on it
/// the plain form is accepted.
fn is_answerable(accepted: &str) -> bool {
    let mut plain = None;
    let mut any = None;
    for item in accepted.split(',') {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse);
        let is_accepted = weight.is_ok_and(|weight: f32| weight > 0.0);
        match name.trim().to_ascii_lowercase().as_str() {
            "br" | "gzip" | "deflate" if is_accepted => return true,
            "identity" => plain = Some(is_accepted),
            "*" => any = Some(is_accepted),
            _ => {}
        }
    }
    plain.or(any).unwrap_or(true)
}

/// Gives the request its id, and takes out what only Miroir itself may tell a node.
async fn name_and_clean(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    remove_internal(request.headers_mut());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Headers by which the parts of a cluster speak to each other: none is ever a client's.
const INTERNAL: [&str; 2] = ["taskid", "dryrun"];
const INTERNAL_PREFIX: &str = "meili-proxy-";

fn remove_internal(headers: &mut HeaderMap) {
    let is_internal = |name: &HeaderName| {
        // Header names are in lower case.
        name.as_str().starts_with(INTERNAL_PREFIX) || INTERNAL.contains(&name.as_str())
    };
    let internal: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_internal(name))
        .cloned()
        .collect();
    for name in internal {
        headers.remove(name);
    }
}

async fn log(request: Request, next: Next) -> Response {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let path = shown_path(request.uri().path()).to_owned();
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

/// The path as it may stand in a log: one below `/keys` may hold the value of a key. Queries are
/// never logged: they are what people search for.
fn shown_path(path: &str) -> &str {
    const KEYS: &str = "/keys/";
    match path.trim_start_matches('/').strip_prefix(&KEYS[1..]) {
        Some(_) => "/keys/…",
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn headers_between_the_parts_of_a_cluster_are_taken_out() {
        let names = [
            "TaskId",
            "DryRun",
            "Meili-Proxy-Search",
            "meili-proxy-origin-task-uid",
        ];
        let kept = ["authorization", "meili-include-metadata", "content-type"];
        let mut headers: HeaderMap = names
            .iter()
            .chain(&kept)
            .map(|name| (name.parse().expect("a name"), HeaderValue::from_static("1")))
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect();
        headers.append("taskid", HeaderValue::from_static("2"));
        remove_internal(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            ["authorization", "content-type", "meili-include-metadata"]
        );
    }

    #[test]
    fn a_plain_answer_is_accepted_unless_it_is_ruled_out() {
        for right in [
            "",
            "gzip",
            "zstd",
            "*",
            "gzip;q=0",
            "br;q=0.1, identity;q=0",
            "identity;q=0.5, *;q=0",
        ] {
            assert!(is_answerable(right), "{right}");
        }
        for wrong in [
            "identity;q=0",
            "*;q=0",
            "zstd, identity;q=0",
            "gzip;q=0, *;q=0.0",
        ] {
            assert!(!is_answerable(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_path_that_may_hold_a_key_is_not_shown() {
        for path in ["/keys/d0552b41", "//keys/d0552b41", "/keys/d0552b41/"] {
            assert_eq!(shown_path(path), "/keys/…");
        }
        for path in ["/keys", "/indexes/keys", "/"] {
            assert_eq!(shown_path(path), path);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_of_encodings_is_understood(text in "\\PC{0,60}") {
            let _ = is_answerable(&text);
        }

        #[test]
        fn an_encoding_that_there_is_suffices(
            before in "[a-z;=0-9.,* ]{0,20}", weight in 1_u32..1000,
            name in prop_oneof![Just("gzip"), Just("BR"), Just("deflate")],
        ) {
            let accepted = format!("{before}, {name};q=0.{weight:03}");
            prop_assert!(is_answerable(&accepted));
        }
    }
}
