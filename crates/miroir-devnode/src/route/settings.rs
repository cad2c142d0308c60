//! Settings: all at once, or one by one through a table of sub-routes.

use crate::error::ApiError;
use crate::http::object::{unknown_field, wrong_type};
use crate::http::{Call, check_index_uid};
use crate::route::{Answer, accepted, ok};
use crate::shared::Shared;
use crate::task::{Submission, Work};
use axum::Router;
use axum::extract::Path;
use axum::routing::{MethodRouter, get};
use miroir_devnode_engine::{Engine, ErrorKind};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How a sub-route is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Patch,
}

/// One setting.
struct Setting {
    path: &'static str,
    name: &'static str,
    verb: Verb,
}

const fn setting(path: &'static str, name: &'static str, verb: Verb) -> Setting {
    Setting { path, name, verb }
}

const SETTINGS: [Setting; 20] = [
    setting("displayed-attributes", "displayedAttributes", Verb::Put),
    setting("searchable-attributes", "searchableAttributes", Verb::Put),
    setting("filterable-attributes", "filterableAttributes", Verb::Put),
    setting("sortable-attributes", "sortableAttributes", Verb::Put),
    setting("ranking-rules", "rankingRules", Verb::Put),
    setting("stop-words", "stopWords", Verb::Put),
    setting("non-separator-tokens", "nonSeparatorTokens", Verb::Put),
    setting("separator-tokens", "separatorTokens", Verb::Put),
    setting("dictionary", "dictionary", Verb::Put),
    setting("synonyms", "synonyms", Verb::Put),
    setting("distinct-attribute", "distinctAttribute", Verb::Put),
    setting("proximity-precision", "proximityPrecision", Verb::Put),
    setting("typo-tolerance", "typoTolerance", Verb::Patch),
    setting("faceting", "faceting", Verb::Patch),
    setting("pagination", "pagination", Verb::Patch),
    setting("embedders", "embedders", Verb::Patch),
    setting("search-cutoff-ms", "searchCutoffMs", Verb::Put),
    setting("localized-attributes", "localizedAttributes", Verb::Put),
    setting("facet-search", "facetSearch", Verb::Put),
    setting("prefix-search", "prefixSearch", Verb::Put),
];

pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut router = Router::new().route(
        "/indexes/{uid}/settings",
        get(show).patch(update).delete(reset),
    );
    for setting in &SETTINGS {
        let path = format!("/indexes/{{uid}}/settings/{}", setting.path);
        router = router.route(&path, sub_route(setting));
    }
    router
}

fn sub_route(setting: &'static Setting) -> MethodRouter<Arc<Shared>> {
    let read = move |uid: Path<String>, call: Call| show_one(setting, uid, call);
    let write = move |uid: Path<String>, call: Call| update_one(setting, uid, call);
    let reset = move |uid: Path<String>, call: Call| reset_one(setting, uid, call);
    match setting.verb {
        Verb::Put => get(read).put(write).delete(reset),
        Verb::Patch => get(read).patch(write).delete(reset),
    }
}

async fn show(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("settings.get", Some(&uid))?;
    Ok(ok(Value::Object(load(uid, &call.shared).await?)))
}

async fn update(Path(uid): Path<String>, mut call: Call) -> Answer {
    let permit = call.authorize("settings.update", Some(&uid))?;
    check_index_uid(&uid)?;
    let body = call.take_json().await?;
    let Value::Object(patch) = body else {
        return Err(wrong_type("", "an object", &body, "bad_request"));
    };
    let known = SETTINGS.each_ref().map(|setting| setting.name);
    if let Some(unknown) = patch.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown_field(unknown, "", &known));
    }
    submit(&uid, &call.shared, patch, false, permit.may_create(&uid)).await
}

async fn reset(Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("settings.update", Some(&uid))?;
    check_index_uid(&uid)?;
    let patch = SETTINGS
        .iter()
        .map(|setting| (setting.name.to_owned(), Value::Null))
        .collect();
    submit(&uid, &call.shared, patch, true, false).await
}

async fn show_one(setting: &'static Setting, Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("settings.get", Some(&uid))?;
    let mut settings = load(uid, &call.shared).await?;
    Ok(ok(settings.remove(setting.name).unwrap_or(Value::Null)))
}

async fn update_one(setting: &'static Setting, Path(uid): Path<String>, mut call: Call) -> Answer {
    let permit = call.authorize("settings.update", Some(&uid))?;
    check_index_uid(&uid)?;
    let value = call.take_json().await?;
    let patch = Map::from_iter([(setting.name.to_owned(), value)]);
    submit(&uid, &call.shared, patch, false, permit.may_create(&uid)).await
}

async fn reset_one(setting: &'static Setting, Path(uid): Path<String>, call: Call) -> Answer {
    call.authorize("settings.update", Some(&uid))?;
    check_index_uid(&uid)?;
    let patch = Map::from_iter([(setting.name.to_owned(), Value::Null)]);
    submit(&uid, &call.shared, patch, true, false).await
}

async fn load(uid: String, shared: &Arc<Shared>) -> Result<Map<String, Value>, ApiError> {
    check_index_uid(&uid)?;
    let load = move |shared: &Shared| {
        let index = shared.index(&uid)?;
        shared
            .engine
            .settings(&index.key)
            .map_err(|error| ApiError::of_read(&uid, error))
    };
    shared.blocking(load).await
}

/// Checks the form, which a real node does before it takes the task, and records the task.
async fn submit(
    uid: &str,
    shared: &Arc<Shared>,
    patch: Map<String, Value>,
    is_deletion: bool,
    allow_creation: bool,
) -> Answer {
    Engine::check_settings(&patch).map_err(|error| match error.kind {
        ErrorKind::User(code) => ApiError::new(code, error.message),
        ErrorKind::Internal | ErrorKind::Missing => ApiError::internal(error.message),
    })?;
    let work = Work::Settings {
        patch,
        is_deletion,
        allow_creation,
    };
    Ok(accepted(
        &shared.submit(Submission::on_index(uid, work)).await?,
    ))
}
