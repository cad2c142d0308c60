//! Tasks and batches as clients see them.

use crate::clock::{Nanos, to_iso_duration, to_rfc3339};
use crate::task::{BatchUid, Status, Task};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The answer of a write.
pub(crate) fn summary(task: &Task) -> Value {
    let mut view = json!({
        "taskUid": task.uid,
        "indexUid": task.index_uid,
        "status": task.status.name(),
        "type": task.kind,
        "enqueuedAt": to_rfc3339(task.enqueued_at),
    });
    if let Some(custom_metadata) = &task.custom_metadata {
        view["customMetadata"] = json!(custom_metadata);
    }
    view
}

/// A whole task.
pub(crate) fn full(task: &Task) -> Value {
    let mut view = json!({
        "uid": task.uid,
        "batchUid": task.batch_uid,
        "indexUid": task.index_uid,
        "status": task.status.name(),
        "type": task.kind,
        "canceledBy": task.canceled_by,
    });
    if let Some(details) = &task.details {
        view["details"] = details.clone();
    }
    view["error"] = task.error.clone().unwrap_or(Value::Null);
    view["duration"] = json!(duration(task.started_at, task.finished_at));
    view["enqueuedAt"] = json!(to_rfc3339(task.enqueued_at));
    view["startedAt"] = json!(task.started_at.map(to_rfc3339));
    view["finishedAt"] = json!(task.finished_at.map(to_rfc3339));
    if let Some(custom_metadata) = &task.custom_metadata {
        view["customMetadata"] = json!(custom_metadata);
    }
    view
}

/// What is recorded of a batch beside its tasks.
#[derive(Debug, Clone)]
pub(crate) struct BatchRow {
    pub(crate) uid: BatchUid,
    pub(crate) started_at: Nanos,
    pub(crate) finished_at: Option<Nanos>,
    pub(crate) strategy: String,
}

/// A batch with the sums over its tasks.
pub(crate) fn batch(row: &BatchRow, tasks: &[Task]) -> Value {
    let mut statuses = BTreeMap::<&str, u64>::new();
    let mut kinds = BTreeMap::<&str, u64>::new();
    let mut indexes = BTreeMap::<&str, u64>::new();
    let mut details = Map::new();
    for task in tasks {
        *statuses.entry(task.status.name()).or_default() += 1;
        *kinds.entry(task.kind).or_default() += 1;
        if let Some(index_uid) = &task.index_uid {
            *indexes.entry(index_uid).or_default() += 1;
        }
        add_details(&mut details, task);
    }
    let is_processing = tasks.iter().any(|task| task.status == Status::Processing);
    let progress = is_processing.then(|| json!({ "steps": [], "percentage": 0.0 }));
    json!({
        "uid": row.uid,
        "progress": progress,
        "details": details,
        "stats": {
            "totalNbTasks": tasks.len(),
            "status": statuses,
            "types": kinds,
            "indexUids": indexes,
        },
        "duration": duration(Some(row.started_at), row.finished_at),
        "startedAt": to_rfc3339(row.started_at),
        "finishedAt": row.finished_at.map(to_rfc3339),
        "batchStrategy": row.strategy,
    })
}

/// Settings without the secrets of their embedders.
pub(crate) fn hide_secrets(settings: &Map<String, Value>) -> Value {
    let mut settings = settings.clone();
    if let Some(Value::Object(embedders)) = settings.get_mut("embedders") {
        for embedder in embedders.values_mut() {
            if let Some(key) = embedder.get_mut("apiKey")
                && let Value::String(secret) = key
            {
                *key = json!(obfuscated(secret));
            }
        }
    }
    Value::Object(settings)
}

/// Only the first letters of a long secret are shown, nothing of a short one.
fn obfuscated(secret: &str) -> String {
    let shown = (secret.chars().count() / 10).min(5);
    let start: String = secret.chars().take(shown).collect();
    format!("{start}XXX...")
}

/// Numbers are summed, other details are taken over.
fn add_details(sum: &mut Map<String, Value>, task: &Task) {
    let Some(Value::Object(details)) = &task.details else {
        return;
    };
    for (name, value) in details {
        match (sum.get(name).and_then(Value::as_u64), value.as_u64()) {
            (Some(before), Some(more)) => {
                sum.insert(name.clone(), json!(before.saturating_add(more)));
            }
            _ if value.is_null() && sum.contains_key(name) => {}
            _ => {
                sum.insert(name.clone(), value.clone());
            }
        }
    }
}

fn duration(started_at: Option<Nanos>, finished_at: Option<Nanos>) -> Option<String> {
    Some(to_iso_duration(finished_at?.saturating_sub(started_at?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_embedders_are_hidden() {
        let Value::Object(patch) =
            json!({ "embedders": { "a": { "source": "rest", "apiKey": "0123456789abcdefghij" } } })
        else {
            unreachable!()
        };
        assert_eq!(hide_secrets(&patch)["embedders"]["a"]["apiKey"], "01XXX...");
    }
}
