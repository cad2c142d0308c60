//! `/indexes/{uid}/settings` and one sub-route for each setting, made from the table of settings.

use super::accept;
use crate::app::{App, AppState};
use crate::convert::setting_of;
use crate::error::ApiError;
use crate::extract::{Index, JsonBody, Permit};
use crate::feature::check_chats;
use crate::foreign;
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use miroir_api::error::ResponseError;
use miroir_api::settings::{
    EMBEDDERS, OpenFeatures, SETTINGS, Setting, Verb, check_embedders, check_settings, reset_all,
};
use miroir_core::id::IndexUid;
use miroir_core::task::Operation;
use miroir_engine::engine::Write;
use miroir_engine::features::{COMPOSITE_EMBEDDERS, FOREIGN_KEYS, MULTIMODAL};
use serde_json::{Map, Value, json};

pub(super) fn routes() -> Router<AppState> {
    let whole = get(show_all).patch(change_all).delete(reset_whole);
    let mut router = Router::new().route("/indexes/{uid}/settings", whole);
    for setting in SETTINGS {
        let path = format!("/indexes/{{uid}}/settings/{}", setting.route);
        router = router.route(&path, sub_route(setting));
    }
    router
}

/// How an index is described to an LLM, which needs a feature to be changed.
const CHAT: &str = "chat";

/// Refuses a change of a setting whose feature is off; a reset needs none.
fn check_features(app: &App, settings: &Map<String, Value>) -> Result<(), ResponseError> {
    foreign::check_setting(app, settings)?;
    match settings.get(CHAT) {
        None | Some(Value::Null) => Ok(()),
        Some(_) => check_chats(app, "setting `chat` in the index settings"),
    }
}

async fn show_all(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let settings = app.engine.settings(&uid).await?;
    Ok(Json(foreign::listed(&app, settings)))
}

async fn change_all(
    permit: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let settings = check_settings(&body, open_features(&app))?;
    check_features(&app, &settings)?;
    check_all_embedders(&app, settings.get(EMBEDDERS)).await?;
    accept(&app.engine, change(&permit, uid, settings)).await
}

async fn reset_whole(
    _: Permit,
    Index(uid): Index,
    State(app): State<AppState>,
) -> Result<Response, ApiError> {
    accept(&app.engine, reset(uid, reset_all())).await
}

fn sub_route(setting: &'static Setting) -> MethodRouter<AppState> {
    let show = async |_: Permit, Index(uid): Index, State(app): State<AppState>| {
        if setting.name == CHAT {
            // Shown also while its feature is off.
            return Ok(Json(app.engine.chat_setting(&uid)?.view()));
        }
        let settings = app.engine.settings(&uid).await?;
        // What is not shown of an index without any is an empty list.
        let shown = match setting_of(settings, setting.name) {
            Value::Null if setting.name == FOREIGN_KEYS => json!([]),
            shown => shown,
        };
        Ok::<_, ApiError>(Json(shown))
    };
    let update = async |permit: Permit,
                        Index(uid): Index,
                        State(app): State<AppState>,
                        JsonBody(body): JsonBody| {
        let settings = single(setting, setting.check(&body, open_features(&app))?);
        check_features(&app, &settings)?;
        check_all_embedders(&app, settings.get(EMBEDDERS)).await?;
        accept(&app.engine, change(&permit, uid, settings)).await
    };
    let remove = async |_: Permit, Index(uid): Index, State(app): State<AppState>| {
        accept(&app.engine, reset(uid, single(setting, Value::Null))).await
    };
    let router = get(show).delete(remove);
    match setting.verb {
        Verb::Put => router.put(update),
        Verb::Patch => router.patch(update),
    }
}

fn open_features(app: &App) -> OpenFeatures {
    OpenFeatures {
        composite_embedders: app.engine.has_feature(COMPOSITE_EMBEDDERS),
        multimodal: app.engine.has_feature(MULTIMODAL),
    }
}

/// Checks what embedders say: by a node, that knows the language of templates; and by what is known
/// here, should none answer.
async fn check_all_embedders(app: &App, embedders: Option<&Value>) -> Result<(), ApiError> {
    if let Some(embedders) = embedders {
        app.engine.check_embedders(embedders).await?;
        check_embedders(embedders)?;
    }
    Ok(())
}

fn single(setting: &Setting, value: Value) -> Map<String, Value> {
    Map::from_iter([(setting.name.to_owned(), value)])
}

/// May create the index if the asker may.
fn change(permit: &Permit, uid: IndexUid, settings: Map<String, Value>) -> Write {
    let may_create_index = permit.may_create(uid.as_str());
    settings_write(uid, settings, false, may_create_index)
}

/// Unlike a change, a reset never creates the index.
fn reset(uid: IndexUid, settings: Map<String, Value>) -> Write {
    settings_write(uid, settings, true, false)
}

fn settings_write(
    uid: IndexUid,
    settings: Map<String, Value>,
    is_reset: bool,
    may_create_index: bool,
) -> Write {
    Write {
        index_uid: Some(uid),
        operation: Operation::UpdateSettings {
            settings: Value::Object(settings),
            is_reset,
            may_create_index,
        },
        payload: None,
        custom_metadata: None,
    }
}
