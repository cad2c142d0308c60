//! Webhooks: made, shown, changed, removed.

use crate::support::Face;
use serde_json::{Value, json};

async fn made(face: &Face, body: Value) -> Value {
    let answer = face.json("POST", "/webhooks", body).await;
    assert_eq!(answer.status.as_u16(), 201, "{answer:?}");
    answer.json()
}

fn path_of(hook: &Value) -> String {
    format!("/webhooks/{}", hook["uuid"].as_str().expect("a uid"))
}

#[tokio::test]
async fn a_webhook_is_made_shown_changed_and_removed() {
    let face = Face::open().await;
    let headers = json!({"x": "y", "authorization": "Bearer 0123456789abcdef"});
    let hook = made(
        &face,
        json!({"url": "https://a.example/", "headers": headers}),
    )
    .await;
    assert_eq!(
        hook,
        json!({
            "uuid": hook["uuid"],
            "isEditable": true,
            "url": "https://a.example/",
            "headers": {"authorization": "Bearer 01XXXX...", "x": "y"},
        })
    );
    assert_eq!(
        face.get("/webhooks").await.json(),
        json!({"results": [hook]})
    );
    let path = path_of(&hook);
    assert_eq!(face.get(&path).await.json(), hook);

    let change = json!({"headers": {"x": null, "z": "1"}});
    let changed = face.json("PATCH", &path, change).await.json();
    assert_eq!(
        changed["headers"],
        json!({"authorization": "Bearer 01XXXX...", "z": "1"})
    );
    assert_eq!(changed["url"], "https://a.example/");
    let emptied = face.json("PATCH", &path, json!({"headers": null})).await;
    assert_eq!(emptied.json()["headers"], json!({}));

    let removed = face.call("DELETE", &path).await;
    assert_eq!((removed.status.as_u16(), removed.body.len()), (204, 0));
    assert_eq!(
        face.call("DELETE", &path).await.refusal().1,
        "webhook_not_found"
    );
    assert_eq!(face.get("/webhooks").await.json(), json!({"results": []}));
}

#[tokio::test]
async fn there_are_twenty_at_most() {
    let face = Face::open().await;
    for at in 0..20 {
        made(&face, json!({"url": format!("http://a.example/{at}")})).await;
    }
    let body = json!({"url": "http://a.example/"});
    let refusal = face.json("POST", "/webhooks", body).await.refusal();
    assert_eq!((refusal.0, &*refusal.1), (400, "invalid_webhooks"));
}

#[tokio::test]
async fn mistakes_have_their_codes() {
    let face = Face::open().await;
    let hook = made(&face, json!({"url": "http://a.example/"})).await;
    let path = path_of(&hook);
    let many: Value = (0..201).map(|at| (format!("h{at}"), json!("v"))).collect();
    let nobody = "/webhooks/11111111-0000-0000-0000-000000000000";
    let configured = "/webhooks/00000000-0000-0000-0000-000000000000";
    for (method, path, body, status, code) in [
        ("POST", "/webhooks", json!({}), 400, "invalid_webhook_url"),
        (
            "POST",
            "/webhooks",
            json!({"url": ""}),
            400,
            "invalid_webhook_url",
        ),
        (
            "POST",
            "/webhooks",
            json!({"url": "a"}),
            400,
            "invalid_webhook_url",
        ),
        (
            "POST",
            "/webhooks",
            json!({"url": "http://a", "headers": {"a b": ""}}),
            400,
            "invalid_webhook_headers",
        ),
        (
            "POST",
            "/webhooks",
            json!({"url": "http://a", "headers": many}),
            400,
            "invalid_webhook_headers",
        ),
        (
            "PATCH",
            &path,
            json!({"url": null}),
            400,
            "invalid_webhook_url",
        ),
        (
            "PATCH",
            &path,
            json!({"headers": many}),
            400,
            "invalid_webhook_headers",
        ),
        (
            "PATCH",
            &path,
            json!({"uuid": "x"}),
            400,
            "immutable_webhook_uuid",
        ),
        (
            "PATCH",
            "/webhooks/x",
            json!({}),
            400,
            "invalid_webhook_uuid",
        ),
        ("PATCH", nobody, json!({}), 404, "webhook_not_found"),
        ("PATCH", configured, json!({}), 400, "immutable_webhook"),
    ] {
        let refusal = face.json(method, path, body.clone()).await.refusal();
        assert_eq!(
            (refusal.0, &*refusal.1),
            (status, code),
            "{method} {path} {body}"
        );
    }
    assert_eq!(face.get(&path).await.json(), hook);
}
