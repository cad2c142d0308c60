//! Tasks of a dump in Miroir's own form.

use anyhow::{Context, bail};
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::rules::has_filter_condition;
use miroir_core::task::{
    AdditionMethod, ExportIndex, IndexSwap, Operation, TaskFilter, TaskStatus,
};
use miroir_engine::port::{TaskRecord, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One line of `tasks/queue.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DumpedTask {
    /// Its uid.
    pub(super) uid: u64,
    index_uid: Option<String>,
    status: String,
    #[serde(rename = "type")]
    kind: Value,
    canceled_by: Option<u64>,
    details: Option<Value>,
    error: Option<Value>,
    enqueued_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    custom_metadata: Option<String>,
}

impl DumpedTask {
    /// The task of a line.
    pub(super) fn read(line: &str) -> anyhow::Result<Self> {
        serde_json::from_str(line).context("a line of the tasks of the dump cannot be read")
    }

    /// It waits to be carried out.
    pub(super) fn is_waiting(&self) -> bool {
        self.status().is_some_and(|status| !status.is_final())
    }

    fn status(&self) -> Option<TaskStatus> {
        TaskStatus::from_name(&self.status)
    }

    /// What was asked, and where; `None` for what Miroir does not know.
    pub(super) fn request(&self) -> anyhow::Result<Option<(Option<IndexUid>, Operation)>> {
        let Some(operation) = operation(&self.kind)? else {
            return Ok(None);
        };
        let index_uid = match &self.index_uid {
            Some(_) if operation.is_of_rules() => None,
            Some(uid) => match IndexUid::new(uid) {
                Ok(uid) => Some(uid),
                Err(_) => return Ok(None),
            },
            None => None,
        };
        Ok(Some((index_uid, operation)))
    }

    /// The ids of a deletion by ids.
    pub(super) fn ids(&self) -> Vec<&str> {
        let ids = self.kind.pointer("/documentDeletion/documents_ids");
        let ids = ids.and_then(Value::as_array).into_iter().flatten();
        ids.filter_map(Value::as_str).collect()
    }

    /// What the client attached to it.
    pub(super) fn custom_metadata(&self) -> Option<String> {
        self.custom_metadata.clone()
    }

    /// The record of a task that has ended; `None` for what Miroir does not know.
    pub(super) fn record(self) -> anyhow::Result<Option<TaskRecord>> {
        let Some((index_uid, operation)) = self.request()? else {
            return Ok(None);
        };
        let Some(status) = self.status().filter(|status| status.is_final()) else {
            bail!("the task {} of the dump has no known status", self.uid);
        };
        let mut details = operation.initial_details(index_uid.as_ref());
        show_outcome(&mut details, self.details.as_ref());
        Ok(Some(TaskRecord {
            uid: TaskUid(self.uid),
            batch_uid: None,
            index_uid,
            status,
            operation,
            inline_payload: None,
            payload: None,
            canceled_by: self.canceled_by.map(TaskUid),
            details,
            error: self.error,
            custom_metadata: self.custom_metadata,
            enqueued_at: date(&self.enqueued_at)?,
            started_at: self.started_at.as_deref().map(date).transpose()?,
            finished_at: self.finished_at.as_deref().map(date).transpose()?,
        }))
    }
}

/// A date of the dump.
pub(super) fn date(text: &str) -> anyhow::Result<Timestamp> {
    OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("`{text}` is no date"))
}

fn operation(kind: &Value) -> anyhow::Result<Option<Operation>> {
    let nothing = Value::Null;
    let (name, content) = match kind {
        Value::String(name) => (name.as_str(), &nothing),
        Value::Object(one) => match one.iter().next() {
            Some((name, content)) => (name.as_str(), content),
            None => bail!("a task of the dump has no type"),
        },
        _ => bail!("a task of the dump has no type"),
    };
    let text = |field: &str| {
        content
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let number = |field: &str| content.get(field).and_then(Value::as_u64);
    let flag = |field: &str| content.get(field).and_then(Value::as_bool).unwrap_or(false);
    let value = |field: &str| content.get(field).cloned().unwrap_or(Value::Null);
    let control = |is_cancelation: bool| {
        let original_filter = text("query").unwrap_or_default();
        let filter = TaskFilter::default();
        if is_cancelation {
            Operation::CancelTasks {
                original_filter,
                filter,
            }
        } else {
            Operation::DeleteTasks {
                original_filter,
                filter,
            }
        }
    };
    Ok(Some(match name {
        "documentImport" => Operation::AddDocuments {
            method: match content.get("method").and_then(Value::as_str) {
                Some("UpdateDocuments") => AdditionMethod::Update,
                _ => AdditionMethod::Replace,
            },
            primary_key: text("primary_key"),
            skip_creation: false,
            may_create_index: flag("allow_index_creation"),
            document_count: number("documents_count").unwrap_or(0),
        },
        "documentDeletion" => Operation::DeleteDocuments {
            id_count: content
                .get("documents_ids")
                .and_then(Value::as_array)
                .map_or(0, |ids| ids.len() as u64),
        },
        "documentDeletionByFilter" => Operation::DeleteByFilter {
            filter: value("filter"),
        },
        "documentClear" => Operation::DeleteAllDocuments,
        "settings" => Operation::UpdateSettings {
            settings: value("settings"),
            is_reset: flag("is_deletion"),
            may_create_index: flag("allow_index_creation"),
        },
        "indexCreation" => Operation::CreateIndex {
            primary_key: text("primary_key"),
        },
        "indexUpdate" => Operation::UpdateIndex {
            primary_key: text("primary_key"),
            new_uid: text("uid").and_then(|uid| IndexUid::new(uid).ok()),
        },
        "indexDeletion" => Operation::DeleteIndex,
        "documentEdition" => Operation::EditDocuments {
            filter: Some(value("filter")).filter(|filter| !filter.is_null()),
            context: content.get("context").and_then(Value::as_object).cloned(),
            function: text("function").unwrap_or_default(),
        },
        "indexSwap" => match swaps(&value("swaps")) {
            Some(swaps) => Operation::SwapIndexes { swaps },
            None => return Ok(None),
        },
        "indexCompaction" => Operation::CompactIndex,
        "dsrUpdate" => match rule_change(content) {
            Some(operation) => operation,
            None => return Ok(None),
        },
        "dsrClear" => Operation::ClearRules,
        "taskCancelation" => control(true),
        "tasksDeletion" => control(false),
        "dumpCreation" => Operation::CreateDump,
        "snapshotCreation" => Operation::CreateSnapshot,
        "export" => Operation::Export {
            url: text("url").unwrap_or_default(),
            api_key: text("api_key"),
            payload_size: size(&value("payload_size")),
            indexes: export_indexes(&value("indexes")),
        },
        _ => return Ok(None),
    }))
}

/// A change of a dynamic search rule; `None` for one that Miroir does not follow.
fn rule_change(change: &Value) -> Option<Operation> {
    if let Some(uid) = change.get("deletion").and_then(Value::as_str) {
        let rule_uid = uid.to_owned();
        return Some(Operation::DeleteRule { rule_uid });
    }
    let made = change.get("createOrUpdate")?;
    let update = made.get("update")?;
    if has_filter_condition(update) {
        return None;
    }
    Some(Operation::UpdateRule {
        rule_uid: made.get("rule_id")?.as_str()?.to_owned(),
        update: serde_json::from_value(update.clone()).ok()?,
    })
}

/// The pairs of a swap; older dumps do not say whether it renames.
fn swaps(value: &Value) -> Option<Vec<IndexSwap>> {
    let uid = |value: &Value| IndexUid::new(value.as_str()?).ok();
    let pair = |swap: &Value| {
        Some(IndexSwap {
            indexes: (
                uid(swap.pointer("/indexes/0")?)?,
                uid(swap.pointer("/indexes/1")?)?,
            ),
            rename: swap.get("rename").and_then(Value::as_bool).unwrap_or(false),
        })
    };
    value.as_array()?.iter().map(pair).collect()
}

/// A size as a number, or in words as Meilisearch writes it.
fn size(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => miroir_api::export::parse_size(text),
        other => other.as_u64(),
    }
}

fn export_indexes(indexes: &Value) -> BTreeMap<String, ExportIndex> {
    let one = |how: &Value| ExportIndex {
        filter: how
            .get("filter")
            .cloned()
            .filter(|filter| !filter.is_null()),
        override_settings: how.get("overrideSettings") == Some(&Value::Bool(true)),
    };
    let indexes = indexes.as_object().into_iter().flatten();
    indexes
        .map(|(pattern, how)| (pattern.clone(), one(how)))
        .collect()
}

/// Puts what became of a task where its details show it. `dumped` are the internal details: one
/// member, named after the kind, with members in snake case.
fn show_outcome(details: &mut Value, dumped: Option<&Value>) {
    let dumped = dumped.and_then(Value::as_object);
    let Some(inner) = dumped.and_then(|one| one.values().next()) else {
        return;
    };
    let Some(details) = details.as_object_mut() else {
        return;
    };
    for (internal, shown) in [
        ("received_documents", "receivedDocuments"),
        ("indexed_documents", "indexedDocuments"),
        ("provided_ids", "providedIds"),
        ("deleted_documents", "deletedDocuments"),
        ("matched_tasks", "matchedTasks"),
        ("canceled_tasks", "canceledTasks"),
        ("deleted_tasks", "deletedTasks"),
        ("dump_uid", "dumpUid"),
        ("edited_documents", "editedDocuments"),
        ("original_filter", "originalFilter"),
    ] {
        if let (Some(value), true) = (inner.get(internal), details.contains_key(shown)) {
            details.insert(shown.to_owned(), value.clone());
        }
    }
    // What an export sent: index by index, in the form of the API.
    let sent = inner.get("indexes").and_then(Value::as_object);
    if let (Some(sent), true) = (sent, details.contains_key("indexes")) {
        let sent: Map<String, Value> = sent.clone();
        details.insert("indexes".to_owned(), json!(sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: Value) -> Option<TaskRecord> {
        let task = DumpedTask::read(&line.to_string()).unwrap();
        task.record().unwrap()
    }

    #[test]
    fn a_task_that_ended_shows_what_it_showed() {
        let record = record(json!({
            "uid": 3,
            "batchUid": 2,
            "indexUid": "movies",
            "status": "failed",
            "type": {"documentImport": {
                "primary_key": "id",
                "method": "UpdateDocuments",
                "documents_count": 12,
                "allow_index_creation": true,
            }},
            "details": {"DocumentAdditionOrUpdate": {
                "received_documents": 12,
                "indexed_documents": 0,
            }},
            "error": {"message": "m", "code": "internal", "type": "internal", "link": "l"},
            "enqueuedAt": "2026-01-01T00:00:00.5Z",
            "startedAt": "2026-01-01T00:00:01Z",
            "finishedAt": "2026-01-01T00:00:02Z",
        }))
        .unwrap();
        assert_eq!((record.uid, record.batch_uid), (TaskUid(3), None));
        assert_eq!(record.status, TaskStatus::Failed);
        assert_eq!(
            record.details,
            json!({"receivedDocuments": 12, "indexedDocuments": 0})
        );
        assert_eq!(record.error.unwrap()["code"], "internal");
        assert_eq!(record.enqueued_at.millisecond(), 500);
    }

    #[test]
    fn what_miroir_does_not_know_is_left_out() {
        let line = json!({
            "uid": 0,
            "status": "succeeded",
            "type": "networkTopologyChange",
            "enqueuedAt": "2026-01-01T00:00:00Z",
        });
        assert_eq!(record(line), None);
    }
}
