//! What is not there says so by name.

use crate::support::Face;
use http::StatusCode;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

#[tokio::test]
async fn a_feature_that_cannot_be_had_is_refused_as_one_that_is_off() {
    let face = Face::open().await;
    for (method, path, asked, feature) in [
        ("GET", "/network", "Using the /network route", "network"),
        ("PATCH", "/network", "Using the /network route", "network"),
        (
            "POST",
            "/tasks/compact",
            "Using the /tasks/compact route",
            "task queue compaction route",
        ),
        ("GET", "/chats", "listing the chats", "chat completions"),
        (
            "PATCH",
            "/indexes/a/settings/chat",
            "setting `chat` in the index settings",
            "chat completions",
        ),
        (
            "DELETE",
            "/dynamic-search-rules/x",
            "Using the `/dynamic-search-rules` routes",
            "dynamic search rules",
        ),
        (
            "POST",
            "/render-template",
            "calling the /render-template route",
            "render_route",
        ),
    ] {
        let answer = match method {
            "PATCH" | "PUT" | "POST" => face.json(method, path, json!({})).await,
            _ => face.call(method, path).await,
        };
        let (status, code, message) = answer.refusal();
        assert_eq!((status, &*code), (400, "feature_not_enabled"), "{path}");
        let start =
            format!("{asked} requires enabling the `{feature}` experimental feature. See https://");
        assert!(message.starts_with(&start), "{message}");
    }
    let (status, code, _) = face.call("PATCH", "/network").await.refusal();
    assert_eq!((status, &*code), (415, "missing_content_type"));
    assert_eq!(face.task_count().await, 0);
}

#[tokio::test]
async fn every_route_of_the_table_is_there_and_no_other_method_of_it() {
    let face = Face::open().await;
    let table = miroir_http::route_names();
    let paths: BTreeSet<&str> = table.iter().map(|(_, path)| path.as_str()).collect();
    for path in &paths {
        let place = path.replace("{uid}", "products").replace("{id}", "0");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let is_there = table.iter().any(|(verb, of)| *verb == method && of == path);
            let answer = face.call(method, &place).await;
            let is_missing = answer.status == StatusCode::METHOD_NOT_ALLOWED
                || (answer.status == StatusCode::NOT_FOUND && answer.body.is_empty());
            assert_eq!(is_missing, !is_there, "{method} {place}: {answer:?}");
        }
    }
}

#[test]
fn every_path_in_the_source_stands_in_the_table() {
    let table = miroir_http::route_names();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = 0;
    for folder in ["route", "admin"] {
        for entry in std::fs::read_dir(source.join(folder)).expect("a folder") {
            let file = entry.expect("a file").path();
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            for call in text.split(".route(").skip(1) {
                let argument = call.trim_start();
                let Some(path) = argument
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                found += 1;
                let is_there = table.iter().any(|(_, of)| of == path);
                assert!(is_there, "{path} of {} is not in the table", file.display());
            }
        }
    }
    assert!(found > 30, "only {found} paths were found");
}

#[tokio::test]
async fn unknown_routes_and_wrong_verbs_have_no_body() {
    let face = Face::open().await;
    for (method, path, status) in [
        ("GET", "/nowhere", StatusCode::NOT_FOUND),
        ("GET", "/indexes/a/nowhere", StatusCode::NOT_FOUND),
        ("GET", "/_miroir/nowhere", StatusCode::NOT_FOUND),
        ("DELETE", "/indexes", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/indexes/a/search", StatusCode::METHOD_NOT_ALLOWED),
        (
            "PUT",
            "/indexes/a/settings/typo-tolerance",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "PATCH",
            "/indexes/a/settings/stop-words",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ] {
        let answer = face.call(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
    }
}
