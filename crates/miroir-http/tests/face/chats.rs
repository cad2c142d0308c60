//! Workspaces of chats: made, shown, changed, removed; and who may talk. Conversations themselves are
//! tested over real processes.

use crate::support::Face;
use axum::http::StatusCode;
use serde_json::{Value, json};

async fn with_chats() -> Face {
    let face = Face::open().await;
    let on = json!({"chatCompletions": true});
    let answer = face.json("PATCH", "/experimental-features", on).await;
    assert_eq!(answer.json()["chatCompletions"], true);
    face
}

#[tokio::test]
async fn a_workspace_is_made_shown_changed_and_removed() {
    let face = with_chats().await;
    let settings = json!({
        "source": "mistral", "apiKey": "a secret of the LLM", "prompts": {"system": "S"},
    });
    let made = face
        .json("PATCH", "/chats/b/settings", settings)
        .await
        .json();
    assert_eq!(made["apiKey"], "a XXXX...");
    assert_eq!(
        (&made["source"], &made["baseUrl"]),
        (&json!("mistral"), &Value::Null)
    );
    assert_eq!(made["prompts"]["system"], "S");
    face.json("PATCH", "/chats/a/settings", json!({})).await;
    assert_eq!(
        face.get("/chats?limit=1").await.json(),
        json!({"results": [{"uid": "a"}], "offset": 0, "limit": 1, "total": 2})
    );
    assert_eq!(face.get("/chats/b").await.json(), json!({"uid": "b"}));
    assert_eq!(face.get("/chats/b/settings").await.json(), made);
    // What is not right changes nothing.
    let vllm = json!({"source": "vLlm", "apiKey": null});
    let refusal = face
        .json("PATCH", "/chats/b/settings", vllm)
        .await
        .refusal();
    assert_eq!((refusal.0, &*refusal.1), (400, "bad_request"));
    assert_eq!(face.get("/chats/b/settings").await.json(), made);
    let reset = face.call("DELETE", "/chats/b/settings").await.json();
    assert_eq!(
        (&reset["source"], &reset["apiKey"]),
        (&json!("openAi"), &Value::Null)
    );
    assert_eq!(face.get("/chats/b/settings").await.json(), reset);
    let removed = face.call("DELETE", "/chats/b").await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    for (method, path) in [
        ("GET", "/chats/b"),
        ("DELETE", "/chats/b"),
        ("GET", "/chats/b/settings"),
        ("DELETE", "/chats/b/settings"),
    ] {
        let refusal = face.call(method, path).await.refusal();
        assert_eq!(
            (refusal.0, &*refusal.1),
            (404, "chat_not_found"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_talked_about_is_refused_before_anybody_is_asked() {
    let face = with_chats().await;
    face.json("PATCH", "/chats/a/settings", json!({})).await;
    let talk = |path: &'static str, body: Value| {
        let face = &face;
        async move {
            let answer = face.json("POST", path, body).await;
            let (status, code, _) = answer.refusal();
            (status, code)
        }
    };
    const PATH: &str = "/chats/a/chat/completions";
    let body = json!({"model": "m", "messages": [], "stream": true});
    for (name, value, expected) in [
        (
            "stream",
            json!(false),
            (501, "unimplemented_non_streaming_chat_completions"),
        ),
        (
            "n",
            json!(2),
            (501, "unimplemented_multi_choice_chat_completions"),
        ),
        ("model", Value::Null, (400, "bad_request")),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f"}}]),
            (501, "unimplemented_external_function_calling"),
        ),
    ] {
        let mut body = body.clone();
        body[name] = value;
        let (status, code) = talk(PATH, body).await;
        assert_eq!((status, &*code), expected, "{name}");
    }
    let (status, code) = talk("/chats/b/chat/completions", body.clone()).await;
    assert_eq!((status, &*code), (404, "chat_not_found"));
    // This process has nobody to talk to.
    assert_eq!(talk(PATH, body).await.0, 501);
    assert_eq!(face.task_count().await, 0);
}

#[tokio::test]
async fn chats_that_are_off_are_not_there() {
    let face = Face::open().await;
    for (method, path) in [
        ("GET", "/chats"),
        ("GET", "/chats/a"),
        ("DELETE", "/chats/a"),
        ("GET", "/chats/a/settings"),
        ("DELETE", "/chats/a/settings"),
    ] {
        let refusal = face.call(method, path).await.refusal();
        assert_eq!(
            (refusal.0, &*refusal.1),
            (400, "feature_not_enabled"),
            "{method} {path}"
        );
    }
    let settings = json!({"chat": {"description": "d"}});
    let refusal = face
        .json("PATCH", "/indexes/a/settings", settings)
        .await
        .refusal();
    assert_eq!(refusal.1, "feature_not_enabled");
    let reset = face
        .json("PATCH", "/indexes/a/settings/chat", Value::Null)
        .await;
    assert_eq!(reset.status, StatusCode::ACCEPTED);
}
