//! The logs, followed and chosen over HTTP.

use crate::support::{Face, request};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use miroir_http::{Features, LogControl, LogMode, LogStream, Options};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tower::ServiceExt;

/// Logs that a test writes.
#[derive(Debug, Default)]
struct Logs {
    open: Arc<Mutex<Option<mpsc::Sender<Bytes>>>>,
    asked: Mutex<Vec<String>>,
}

struct Guard(Arc<Mutex<Option<mpsc::Sender<Bytes>>>>);

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.lock().expect("no test panics here") = None;
    }
}

impl LogControl for Logs {
    fn check(&self, target: &str) -> Result<(), String> {
        if target == "bad" {
            Err("why".into())
        } else {
            Ok(())
        }
    }

    fn open(&self, target: &str, mode: LogMode) -> Option<LogStream> {
        let mut open = self.open.lock().expect("no test panics here");
        if open.is_some() {
            return None;
        }
        let (sender, lines) = mpsc::channel(8);
        *open = Some(sender);
        let mut asked = self.asked.lock().expect("no test panics here");
        asked.push(format!("{target} {mode:?}"));
        let guard = Box::new(Guard(self.open.clone()));
        Some(LogStream { lines, guard })
    }

    fn close(&self) {
        *self.open.lock().expect("no test panics here") = None;
    }

    fn set_stderr(&self, target: &str) {
        let mut asked = self.asked.lock().expect("no test panics here");
        asked.push(format!("stderr {target}"));
    }
}

impl Logs {
    async fn write(&self, line: &'static str) {
        let open = self.open.lock().expect("no test panics here").clone();
        open.expect("a stream")
            .send(line.into())
            .await
            .expect("room");
    }
}

async fn face(logs: Arc<Logs>) -> Face {
    Face::with(Options {
        features: Features {
            logs_route: true,
            ..Features::default()
        },
        logs: Some(logs),
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn the_routes_need_their_feature_after_the_body_is_right() {
    let face = Face::open().await;
    for (method, path) in [
        ("POST", "/logs/stream"),
        ("POST", "/logs/stderr"),
        ("DELETE", "/logs/stream"),
    ] {
        let (status, code, message) = face.json(method, path, json!({})).await.refusal();
        assert_eq!((status, &*code), (400, "feature_not_enabled"));
        assert!(
            message.contains("enabling the `logs route` experimental"),
            "{message}"
        );
    }
    let wrong = face
        .json("POST", "/logs/stderr", json!({"target": 3}))
        .await;
    assert_eq!(wrong.refusal().1, "bad_request");
}

#[tokio::test]
async fn one_client_at_a_time_follows_until_it_goes_or_is_sent_away() {
    let logs = Arc::new(Logs::default());
    let face = face(logs.clone()).await;
    let follow = || {
        let headers = [("content-type", "application/json")];
        let body = Body::from(r#"{"mode":"json","target":"a=debug"}"#);
        face.router
            .clone()
            .oneshot(request("POST", "/logs/stream", &headers, body))
    };
    let answer = follow().await.expect("it never fails");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let mut lines = answer.into_body();
    logs.write("one\n").await;
    let frame = lines.frame().await.expect("a frame").expect("no failure");
    assert_eq!(frame.into_data().expect("data"), "one\n");

    let body = json!({"mode": "human"});
    let (status, code, message) = face.json("POST", "/logs/stream", body).await.refusal();
    assert_eq!((status, &*code), (400, "bad_request"));
    assert_eq!(
        message,
        "The `/logs/stream` route is currently in use by someone else."
    );

    assert_eq!(
        face.call("DELETE", "/logs/stream").await.status.as_u16(),
        204
    );
    assert!(lines.frame().await.is_none(), "the stream has ended");
    drop(follow().await.expect("it never fails"));
    assert_eq!(
        follow().await.expect("it never fails").status().as_u16(),
        200
    );
    assert_eq!(logs.asked.lock().expect("no panic")[0], "a=debug Json");
}

#[tokio::test]
async fn what_is_written_to_standard_error_is_chosen() {
    let logs = Arc::new(Logs::default());
    let face = face(logs.clone()).await;
    let chosen = face
        .json("POST", "/logs/stderr", json!({"target": "warn"}))
        .await;
    assert_eq!(chosen.status.as_u16(), 204);
    assert_eq!(*logs.asked.lock().expect("no panic"), ["stderr warn"]);
    let refusal = face
        .json("POST", "/logs/stderr", json!({"target": "bad"}))
        .await
        .refusal();
    assert_eq!(refusal.2, "Invalid value at `.target`: why");
    let profile = face
        .json("POST", "/logs/stream", json!({"mode": "profile"}))
        .await;
    assert_eq!(profile.status.as_u16(), 501);
}
