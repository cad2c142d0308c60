//! What surrounds the routes.

use crate::support::{Face, request};
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};
use axum::body::Body;
use http::{StatusCode, header};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_trailing_slash_does_not_matter() {
    let face = Face::open().await;
    assert_eq!(face.get("/indexes/").await.status, StatusCode::OK);
    assert_eq!(face.get("/health/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_browser_may_call_from_anywhere() {
    let face = Face::locked("k").await;
    let headers = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    let preflight = face
        .send(request(
            "OPTIONS",
            "/indexes/a/search",
            &headers,
            Body::empty(),
        ))
        .await;
    assert_eq!(preflight.status, StatusCode::OK);
    let header = |name| {
        preflight
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    assert_eq!(header(header::ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"));
    let methods = header(header::ACCESS_CONTROL_ALLOW_METHODS).unwrap_or_default();
    assert!(
        methods.split(',').any(|method| method == "PATCH"),
        "{methods}"
    );
    let allowed = header(header::ACCESS_CONTROL_ALLOW_HEADERS);
    assert_eq!(allowed, Some("authorization,content-type"));
    assert_eq!(header(header::ACCESS_CONTROL_MAX_AGE), Some("86400"));
    // An error must be readable by the page, too.
    let refused = face
        .send(request("GET", "/indexes", &headers[..1], Body::empty()))
        .await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let origin = refused.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    assert_eq!(origin.and_then(|value| value.to_str().ok()), Some("*"));
}

#[tokio::test]
async fn methods_without_a_handler_are_refused() {
    let face = Face::open().await;
    let status = async |method: &str, path: &str| {
        let answer = face.send(request(method, path, &[], Body::empty())).await;
        assert!(answer.body.is_empty(), "{method} {path}");
        answer.status
    };
    for method in ["HEAD", "OPTIONS", "TRACE"] {
        assert_eq!(
            status(method, "/health").await,
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(status(method, "/doggo").await, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn answers_are_compressed_only_for_those_who_ask() {
    let face = Face::open().await;
    for _ in 0..20 {
        face.call("DELETE", "/indexes/some-index").await;
    }
    let plain = face.get("/tasks").await;
    assert_eq!(plain.headers.get(header::CONTENT_ENCODING), None);
    assert!(plain.body.len() > 2_000);
    for encoding in ["gzip", "br", "deflate"] {
        let headers = [("accept-encoding", encoding)];
        let answer = face
            .send(request("GET", "/tasks", &headers, Body::empty()))
            .await;
        let named = answer.headers.get(header::CONTENT_ENCODING);
        assert_eq!(named.and_then(|value| value.to_str().ok()), Some(encoding));
        assert!(answer.body.len() < plain.body.len() / 2);
        let mut body = Vec::new();
        match encoding {
            "gzip" => {
                GzipDecoder::new(&answer.body[..])
                    .read_to_end(&mut body)
                    .await
            }
            "deflate" => {
                ZlibDecoder::new(&answer.body[..])
                    .read_to_end(&mut body)
                    .await
            }
            _ => {
                BrotliDecoder::new(&answer.body[..])
                    .read_to_end(&mut body)
                    .await
            }
        }
        .unwrap();
        assert_eq!(body, plain.body);
    }
    let headers = [("accept-encoding", "gzip, br")];
    for (path, encoding) in [("/health", Some("br")), ("/nowhere", None)] {
        let answer = face
            .send(request("GET", path, &headers, Body::empty()))
            .await;
        let named = answer.headers.get(header::CONTENT_ENCODING);
        assert_eq!(named.and_then(|value| value.to_str().ok()), encoding);
    }
    let headers = [("accept-encoding", "zstd, *;q=0")];
    let refused = face
        .send(request("GET", "/health", &headers, Body::empty()))
        .await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(&refused.body[..], b"br, gzip, deflate");
}

#[tokio::test]
async fn a_request_has_a_name_that_its_answer_tells() {
    let face = Face::locked("k").await;
    for (path, headers) in [
        ("/health", &[("x-request-id", "mine-1")][..]),
        ("/nowhere", &[("x-request-id", "mine-1")]),
        ("/indexes", &[("x-request-id", "not mine")]),
        ("/indexes", &[]),
    ] {
        let answer = face
            .send(request("GET", path, headers, Body::empty()))
            .await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        if headers.first().is_some_and(|(_, id)| *id == "mine-1") {
            assert_eq!(id, "mine-1");
        } else {
            assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        }
    }
}
