//! Experimental features: flags that are kept, shown and otherwise without effect here.

use crate::error::ApiError;
use crate::http::{Call, Object};
use crate::route::{Answer, ok};
use crate::shared::Shared;
use serde_json::{Map, Value};

const FLAGS: &[&str] = &[
    "metrics",
    "logsRoute",
    "editDocumentsByFunction",
    "containsFilter",
    "dynamicSearchRules",
    "network",
    "getTaskDocumentsRoute",
    "taskQueueCompactionRoute",
    "compositeEmbedders",
    "chatCompletions",
    "multimodal",
    "foreignKeys",
    "disableDocumentsFetchQueue",
    "legacySearch",
    "renderRoute",
];

/// Name of the flags in the store.
const FACT: &str = "experimental-features";

pub(super) async fn show(call: Call) -> Answer {
    call.authorize("experimental.get", None)?;
    call.query(&[])?;
    let flags = call.shared.blocking(load).await?;
    Ok(ok(Value::Object(flags)))
}

pub(super) async fn update(mut call: Call) -> Answer {
    call.authorize("experimental.update", None)?;
    call.query(&[])?;
    let body = call.take_json().await?;
    let flags = call.shared.blocking(move |shared| {
        let object = Object::root(&body, FLAGS)?;
        let mut flags = load(shared)?;
        for name in FLAGS.iter().filter(|name| object.get(name).is_some()) {
            let is_on = object.boolean_or(name, false, "bad_request")?;
            flags.insert((*name).to_owned(), Value::Bool(is_on));
        }
        shared
            .store
            .put_fact(FACT, &Value::Object(flags.clone()).to_string())?;
        Ok(flags)
    });
    Ok(ok(Value::Object(flags.await?)))
}

/// All flags; one never set is off.
fn load(shared: &Shared) -> Result<Map<String, Value>, ApiError> {
    let stored = shared.store.load_fact(FACT)?;
    let stored: Map<String, Value> = stored
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let value = |name: &str| stored.get(name).cloned().unwrap_or(Value::Bool(false));
    Ok(FLAGS
        .iter()
        .map(|name| ((*name).to_owned(), value(name)))
        .collect())
}
