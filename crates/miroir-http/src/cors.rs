//! Pages of every origin may use the API, as with Meilisearch: keys protect, not origins.
//!
//! A library would do, were it not for what clients can see of the difference: Meilisearch answers
//! a preflight that names no origin, refuses one that asks for a method HTTP does not know, and
//! says nothing of origins to a client that has none.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS,CONNECT,TRACE";
/// How long a browser may keep the answer to a preflight, in seconds; as in Meilisearch.
const AGE_MAX: &str = "86400";
const VARY_BY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// The method that a preflight asks for; `None` for what is no preflight.
pub(crate) fn asked_method(method: &Method, headers: &HeaderMap) -> Option<Method> {
    let asked = headers
        .get(ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|_| method == Method::OPTIONS)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

/// Answers preflights, and opens every other answer to all pages.
pub(crate) async fn open_to_pages(request: Request, next: Next) -> Response {
    if let Some(asked) = asked_method(request.method(), request.headers()) {
        return preflight(
            &asked,
            request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS),
        );
    }
    let has_origin = request.headers().contains_key(ORIGIN);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if has_origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    headers.append(VARY, HeaderValue::from_static(VARY_BY));
    response
}

fn preflight(asked: &Method, wanted: Option<&HeaderValue>) -> Response {
    if !METHODS.split(',').any(|method| method == asked.as_str()) {
        let mut refusal = "Requested method is not allowed".into_response();
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        refusal.headers_mut().remove(http::header::CONTENT_TYPE);
        return refusal;
    }
    let mut answer = StatusCode::OK.into_response();
    let headers = answer.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_MAX_AGE, AGE_MAX),
        (VARY, VARY_BY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Mirrored, because a `*` would not cover `Authorization`.
    if let Some(wanted) = wanted {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_asks_for_a_method() {
        let asked = |method: Method, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                ACCESS_CONTROL_REQUEST_METHOD,
                HeaderValue::from_static(value),
            );
            asked_method(&method, &headers).map(|asked| asked.to_string())
        };
        assert_eq!(asked(Method::OPTIONS, "PUT"), Some("PUT".to_owned()));
        assert_eq!(asked(Method::OPTIONS, "DOGGO"), Some("DOGGO".to_owned()));
        assert_eq!(asked(Method::OPTIONS, "a b"), None);
        assert_eq!(asked(Method::GET, "PUT"), None);
        assert_eq!(asked_method(&Method::OPTIONS, &HeaderMap::new()), None);
    }

    #[test]
    fn only_methods_of_http_are_allowed() {
        let status = |method: &[u8]| {
            let method = Method::from_bytes(method).expect("a method");
            preflight(&method, None).status()
        };
        assert_eq!(status(b"PATCH"), StatusCode::OK);
        assert_eq!(status(b"patch"), StatusCode::BAD_REQUEST);
        assert_eq!(status(b"DOGGO"), StatusCode::BAD_REQUEST);
    }
}
