//! `/keys`: the API keys. They are Miroir's own; nodes know nothing of them.

use crate::app::{App, AppState};
use crate::error::ApiError;
use crate::extract::{FromQuery, JsonBody, PathId, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use miroir_api::error::ResponseError;
use miroir_api::index::{Page, Paging};
use miroir_api::key::{
    KeyValue, KeyView, key_already_exists, key_not_found, read_change, read_creation, read_paging,
};
use miroir_api::task::format_date;
use miroir_engine::keys::ApiKey;
use std::cmp::Reverse;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{id}", get(show).patch(change).delete(remove))
}

/// The page of keys that is wanted; its mistakes have codes of their own.
struct KeyPaging(Paging);

impl FromQuery for KeyPaging {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        read_paging(raw).map(Self)
    }
}

/// Newest first.
async fn list(
    _: Permit,
    Query(KeyPaging(paging)): Query<KeyPaging>,
    State(app): State<AppState>,
) -> Json<Page<KeyView>> {
    let mut keys = Vec::clone(&app.engine.api_keys());
    keys.sort_by_key(|key| Reverse((key.created_at, key.uid)));
    let views = keys.iter().map(|key| view(&app, key)).collect();
    Json(Page::cut(views, paging))
}

async fn show(
    _: Permit,
    PathId(name): PathId,
    State(app): State<AppState>,
) -> Result<Json<KeyView>, ApiError> {
    let uid = uid_of(&app, &name)?;
    let keys = app.engine.api_keys();
    let key = keys.iter().find(|key| key.uid == uid);
    let key = key.ok_or_else(|| key_not_found(&uid.to_string()))?;
    Ok(Json(view(&app, key)))
}

async fn create(
    _: Permit,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let creation = read_creation(&body, now)?;
    let uid = creation.uid.unwrap_or_else(Uuid::new_v4);
    let actions = creation.actions.iter();
    let key = ApiKey {
        uid,
        name: creation.name,
        description: creation.description,
        actions: actions.map(|action| action.name().to_owned()).collect(),
        indexes: creation.indexes,
        expires_at: creation.expires_at,
        created_at: now,
        updated_at: now,
    };
    let shown = view(&app, &key);
    if !app.engine.add_api_key(key).await? {
        return Err(key_already_exists(uid).into());
    }
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn change(
    _: Permit,
    PathId(name): PathId,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Json<KeyView>, ApiError> {
    let change = read_change(&body)?;
    let uid = uid_of(&app, &name)?;
    let apply = |key: &mut ApiKey| {
        if let Some(name) = change.name {
            key.name = name;
        }
        if let Some(description) = change.description {
            key.description = description;
        }
    };
    let changed = app.engine.change_api_key(uid, apply).await?;
    let key = changed.ok_or_else(|| key_not_found(&uid.to_string()))?;
    Ok(Json(view(&app, &key)))
}

async fn remove(
    _: Permit,
    PathId(name): PathId,
    State(app): State<AppState>,
) -> Result<StatusCode, ApiError> {
    let uid = uid_of(&app, &name)?;
    if app.engine.remove_api_key(uid).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(key_not_found(&uid.to_string()).into())
    }
}

/// The uid that a path names: itself, or by the value of its key.
fn uid_of(app: &App, name: &str) -> Result<Uuid, ResponseError> {
    if let Ok(uid) = Uuid::parse_str(name) {
        return Ok(uid);
    }
    let key = app.keys.keys(&app.engine).by_value(name);
    key.map(|key| key.uid).ok_or_else(|| key_not_found(name))
}

fn view(app: &App, key: &ApiKey) -> KeyView {
    let value = app.keys.value_of(key.uid);
    KeyView {
        name: key.name.clone(),
        description: key.description.clone(),
        key: value.as_ref().map(KeyValue::to_hex).unwrap_or_default(),
        uid: key.uid,
        actions: key.actions.clone(),
        indexes: key.indexes.clone(),
        // In the zone in which it was given, as Meilisearch shows it.
        expires_at: key.expires_at.and_then(|date| date.format(&Rfc3339).ok()),
        created_at: format_date(key.created_at),
        updated_at: format_date(key.updated_at),
    }
}
