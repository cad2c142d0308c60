//! `/chats`: workspaces and their settings, and conversations.

use crate::app::{App, AppState};
use crate::chat::{Talk, known_indexes};
use crate::error::{ApiError, unsupported};
use crate::extract::{JsonBody, JsonBytes, PathId, Permit, Query};
use crate::feature::check_chats;
use crate::response::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};
use miroir_api::chat::completion::Completion;
use miroir_api::chat::workspace::Workspace;
use miroir_api::chat::{chat_not_found, settings_not_found};
use miroir_api::error::ResponseError;
use miroir_api::index::{Page, Paging, invalid_index_uid};
use miroir_core::id::IndexUid;
use serde_json::{Value, json};
use std::sync::Arc;

const SETTINGS: &str = "using the /chats/settings route";

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/chats", get(list))
        .route("/chats/{id}", get(show).delete(remove))
        .route(
            "/chats/{id}/settings",
            get(show_settings)
                .patch(change_settings)
                .delete(reset_settings),
        )
        .route("/chats/{id}/chat/completions", post(complete))
}

async fn list(
    _: Permit,
    Query(paging): Query<Paging>,
    State(app): State<AppState>,
) -> Result<Json<Page<Value>>, ApiError> {
    check_chats(&app, "listing the chats")?;
    let workspaces = app.engine.workspaces();
    let all = workspaces.keys().map(|uid| json!({"uid": uid})).collect();
    Ok(Json(Page::cut(all, paging)))
}

async fn show(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<Value>, ApiError> {
    check_chats(&app, "displaying a chat")?;
    // This route alone asks for more than any name.
    IndexUid::new(&*uid).map_err(|error| invalid_index_uid(&error.0))?;
    if app.engine.workspaces().contains_key(&uid) {
        Ok(Json(json!({"uid": uid})))
    } else {
        Err(chat_not_found(&uid).into())
    }
}

async fn remove(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<StatusCode, ApiError> {
    check_chats(&app, "deleting a chat")?;
    let found = |found: Option<Workspace>| found.map(|_| None).ok_or_else(|| chat_not_found(&uid));
    app.engine.change_workspace(&uid, found).await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn show_settings(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<Workspace>, ApiError> {
    check_chats(&app, SETTINGS)?;
    Ok(Json(workspace(&app, &uid)?.shown()))
}

async fn change_settings(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<Workspace>, ApiError> {
    // Its form is looked at before the feature.
    Workspace::default().patched(&body)?;
    check_chats(&app, SETTINGS)?;
    let mut shown = Workspace::default();
    let patch = |found: Option<Workspace>| {
        let workspace = found.unwrap_or_default().patched(&body)?;
        workspace.check()?;
        shown = workspace.shown();
        Ok::<_, ResponseError>(Some(workspace))
    };
    app.engine.change_workspace(&uid, patch).await??;
    Ok(Json(shown))
}

async fn reset_settings(
    _: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
) -> Result<Json<Workspace>, ApiError> {
    check_chats(&app, SETTINGS)?;
    let reset = |found: Option<Workspace>| {
        let found = found.map(|_| Some(Workspace::default()));
        found.ok_or_else(|| settings_not_found(&uid))
    };
    app.engine.change_workspace(&uid, reset).await??;
    Ok(Json(Workspace::default()))
}

async fn complete(
    permit: Permit,
    PathId(uid): PathId,
    State(app): State<AppState>,
    headers: HeaderMap,
    JsonBytes(body): JsonBytes,
) -> Result<Response, ApiError> {
    let mut request = Completion::read(&body)?;
    check_chats(&app, "using the /chats chat completions route")?;
    request.check()?;
    let workspace = workspace(&app, &uid)?;
    let wishes = request.take_wishes()?;
    let llm = app.options.llm.clone();
    let llm = llm.ok_or_else(|| unsupported("Talking to an LLM from this process"))?;
    let indexes = Box::pin(known_indexes(&app, &permit)).await?;
    let role = workspace.source.system_role(&request.model);
    request.declare_search(&indexes, &workspace.prompts, role);
    let authorization = headers.get(AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let talk = Talk {
        authorization: authorization.map(str::to_owned),
        app: app.clone(),
        llm,
        workspace,
        wishes,
        request,
    };
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
        // Compressed pieces would wait for each other.
        (CONTENT_ENCODING, "identity"),
        // Tells a reverse proxy to pass pieces on as they come.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(talk.stream())).into_response())
}

fn workspace(app: &App, uid: &str) -> Result<Arc<Workspace>, ResponseError> {
    let workspaces = app.engine.workspaces();
    let found = workspaces.get(uid).cloned();
    found.ok_or_else(|| settings_not_found(uid))
}
