//! Tasks in the form that dumps have: kinds and details are Meilisearch's internal ones, not those
//! of its API.

use crate::port::TaskRecord;
use crate::task_view::shown_index;
use miroir_api::task::format_date;
use miroir_core::id::IndexUid;
use miroir_core::task::{AdditionMethod, ExportIndex, Operation, TaskStatus};
use serde_json::{Map, Value, json};

/// How a deletion whose ids are left out stands in its line: once, and before anything that a client
/// wrote.
pub(super) const NO_IDS: &str = r#""documents_ids":[]"#;

/// The line of a task, without its end; `None` for one that is not dumped.
///
/// A cancelation or deletion of tasks that still waits is left out: it would be carried out on
/// another log than the one it was meant for. Ids of a deletion are left out too.
pub(super) fn line(task: &TaskRecord) -> Option<String> {
    let is_waiting = !task.status.is_final();
    let is_control = matches!(
        task.operation,
        Operation::CancelTasks { .. } | Operation::DeleteTasks { .. }
    );
    if is_waiting && is_control {
        return None;
    }
    let mut line = Map::new();
    line.insert("uid".into(), json!(task.uid.0));
    line.insert("batchUid".into(), json!(task.batch_uid.map(|uid| uid.0)));
    line.insert("indexUid".into(), json!(shown_index(task)));
    // What is on its way to the nodes is neither done nor waiting for an importer; a dump has no
    // such task but itself, and that is written as done.
    let status = match task.status {
        TaskStatus::Processing => TaskStatus::Enqueued,
        status => status,
    };
    line.insert("status".into(), json!(status.as_str()));
    line.insert(
        "type".into(),
        kind(&task.operation, task.index_uid.as_ref()),
    );
    if let Some(uid) = task.canceled_by {
        line.insert("canceledBy".into(), json!(uid.0));
    }
    if let Some(details) = details(task) {
        line.insert("details".into(), details);
    }
    if let Some(error) = &task.error {
        line.insert("error".into(), error.clone());
    }
    line.insert("enqueuedAt".into(), json!(format_date(task.enqueued_at)));
    if let Some(date) = task.started_at {
        line.insert("startedAt".into(), json!(format_date(date)));
    }
    if let Some(date) = task.finished_at {
        line.insert("finishedAt".into(), json!(format_date(date)));
    }
    if let Some(metadata) = &task.custom_metadata {
        line.insert("customMetadata".into(), json!(metadata));
    }
    Some(Value::Object(line).to_string())
}

fn kind(operation: &Operation, index_uid: Option<&IndexUid>) -> Value {
    match operation {
        Operation::AddDocuments {
            method,
            primary_key,
            may_create_index,
            document_count,
            // A dump cannot say it, whoever writes it.
            skip_creation: _,
        } => json!({"documentImport": {
            "primary_key": primary_key,
            "method": match method {
                AdditionMethod::Replace => "ReplaceDocuments",
                AdditionMethod::Update => "UpdateDocuments",
            },
            "documents_count": document_count,
            "allow_index_creation": may_create_index,
        }}),
        Operation::DeleteDocuments { .. } => json!({"documentDeletion": {"documents_ids": []}}),
        Operation::DeleteByFilter { filter } => {
            json!({"documentDeletionByFilter": {"filter": filter}})
        }
        Operation::DeleteAllDocuments => json!("documentClear"),
        Operation::UpdateSettings {
            settings,
            is_reset,
            may_create_index,
        } => json!({"settings": {
            "settings": settings,
            "is_deletion": is_reset,
            "allow_index_creation": may_create_index,
        }}),
        Operation::CreateIndex { primary_key } => {
            json!({"indexCreation": {"primary_key": primary_key}})
        }
        Operation::UpdateIndex {
            primary_key,
            new_uid,
        } => json!({"indexUpdate": {"primary_key": primary_key, "uid": new_uid}}),
        Operation::DeleteIndex => json!("indexDeletion"),
        Operation::EditDocuments {
            filter,
            context,
            function,
        } => json!({"documentEdition": {
            "filter": filter,
            "context": context,
            "function": function,
        }}),
        Operation::SwapIndexes { swaps } => json!({"indexSwap": {"swaps": swaps}}),
        Operation::CompactIndex => json!({"indexCompaction": {"index_uid": index_uid}}),
        Operation::UpdateRule { .. } | Operation::DeleteRule { .. } => {
            json!({ "dsrUpdate": rule_change(operation) })
        }
        Operation::ClearRules => json!("dsrClear"),
        Operation::CancelTasks {
            original_filter, ..
        } => json!({"taskCancelation": {"query": original_filter, "tasks": no_tasks()}}),
        Operation::DeleteTasks {
            original_filter, ..
        } => json!({"tasksDeletion": {"query": original_filter, "tasks": no_tasks()}}),
        // Its keys are those of the dump itself.
        Operation::CreateDump => json!({"dumpCreation": {"keys": [], "instance_uid": null}}),
        Operation::CreateSnapshot => json!("snapshotCreation"),
        Operation::Export {
            url,
            api_key,
            payload_size,
            indexes,
        } => json!({"export": {
            "url": url,
            "api_key": api_key,
            "payload_size": payload_size,
            "indexes": indexes
                .iter()
                .map(|(pattern, index)| (pattern.clone(), export_index(index)))
                .collect::<Map<_, _>>(),
        }}),
    }
}

fn export_index(index: &ExportIndex) -> Value {
    json!({"filter": index.filter, "overrideSettings": index.override_settings})
}

/// An empty set of tasks, as bitmaps are serialized: its cookie and a count of zero. The sets are
/// only of use to tasks that still wait.
fn no_tasks() -> Value {
    json!([58, 48, 0, 0, 0, 0, 0, 0])
}

/// The details of a task in the internal form.
fn details(task: &TaskRecord) -> Option<Value> {
    let shown = &task.details;
    let field = |name: &str| shown.get(name).cloned().unwrap_or(Value::Null);
    let number = |name: &str| json!(shown.get(name).and_then(Value::as_u64).unwrap_or(0));
    let text = |name: &str| json!(shown.get(name).and_then(Value::as_str).unwrap_or(""));
    Some(match &task.operation {
        Operation::AddDocuments { .. } => json!({"DocumentAdditionOrUpdate": {
            "received_documents": number("receivedDocuments"),
            "indexed_documents": field("indexedDocuments"),
        }}),
        Operation::DeleteDocuments { .. } => json!({"DocumentDeletion": {
            "provided_ids": number("providedIds"),
            "deleted_documents": field("deletedDocuments"),
        }}),
        Operation::DeleteByFilter { .. } => json!({"DocumentDeletionByFilter": {
            "original_filter": text("originalFilter"),
            "deleted_documents": field("deletedDocuments"),
        }}),
        Operation::UpdateRule { .. } | Operation::DeleteRule { .. } => {
            json!({ "DsrUpdate": rule_change(&task.operation) })
        }
        Operation::DeleteAllDocuments | Operation::DeleteIndex | Operation::ClearRules => {
            json!({"ClearAll": {"deleted_documents": field("deletedDocuments")}})
        }
        Operation::UpdateSettings { settings, .. } => {
            json!({"SettingsUpdate": {"settings": settings}})
        }
        Operation::CreateIndex { .. } | Operation::UpdateIndex { .. } => json!({"IndexInfo": {
            "primary_key": field("primaryKey"),
            "new_index_uid": field("newIndexUid"),
            "old_index_uid": field("oldIndexUid"),
        }}),
        Operation::CancelTasks { .. } => json!({"TaskCancelation": {
            "matched_tasks": number("matchedTasks"),
            "canceled_tasks": field("canceledTasks"),
            "original_filter": text("originalFilter"),
        }}),
        Operation::DeleteTasks { .. } => json!({"TaskDeletion": {
            "matched_tasks": number("matchedTasks"),
            "deleted_tasks": field("deletedTasks"),
            "original_filter": text("originalFilter"),
        }}),
        Operation::EditDocuments { function, .. } => json!({"DocumentEdition": {
            "deleted_documents": field("deletedDocuments"),
            "edited_documents": field("editedDocuments"),
            "original_filter": field("originalFilter"),
            "context": field("context"),
            "function": function,
        }}),
        Operation::SwapIndexes { swaps } => json!({"IndexSwap": {"swaps": swaps}}),
        // Sizes in words are not what an importer reads, and those of several nodes are not its.
        Operation::CompactIndex => json!({"IndexCompaction": {
            "index_uid": task.index_uid,
            "pre_compaction_size": null,
            "post_compaction_size": null,
        }}),
        Operation::CreateDump => json!({"Dump": {"dump_uid": field("dumpUid")}}),
        Operation::CreateSnapshot => return None,
        Operation::Export {
            url,
            api_key,
            payload_size,
            ..
        } => json!({"Export": {
            "url": url,
            "api_key": api_key,
            "payload_size": payload_size,
            "indexes": shown.get("indexes").cloned().unwrap_or_else(|| json!({})),
        }}),
    })
}

/// A change of a rule; `null` for anything else.
fn rule_change(operation: &Operation) -> Value {
    match operation {
        Operation::UpdateRule { rule_uid, update } => {
            json!({"createOrUpdate": {"rule_id": rule_uid, "update": update}})
        }
        Operation::DeleteRule { rule_uid } => json!({ "deletion": rule_uid }),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::{BatchUid, TaskUid};
    use miroir_core::task::TaskFilter;
    use time::macros::datetime;

    fn task(operation: Operation, status: TaskStatus) -> TaskRecord {
        TaskRecord {
            uid: TaskUid(7),
            batch_uid: Some(BatchUid(3)),
            index_uid: IndexUid::new("movies").ok(),
            status,
            details: operation.initial_details(None),
            operation,
            inline_payload: None,
            payload: None,
            canceled_by: None,
            error: None,
            custom_metadata: Some(r#""documents_ids":[]"#.into()),
            enqueued_at: datetime!(2026-01-01 00:00 UTC),
            started_at: Some(datetime!(2026-01-01 00:00:01 UTC)),
            finished_at: None,
        }
    }

    fn parsed(task: &TaskRecord) -> Value {
        serde_json::from_str(&line(task).expect("a line")).expect("JSON")
    }

    #[test]
    fn a_line_has_the_form_of_a_dump() {
        let operation = Operation::AddDocuments {
            method: AdditionMethod::Update,
            primary_key: None,
            skip_creation: false,
            may_create_index: true,
            document_count: 2,
        };
        let line = parsed(&task(operation, TaskStatus::Succeeded));
        assert_eq!(
            line,
            json!({
                "uid": 7,
                "batchUid": 3,
                "indexUid": "movies",
                "status": "succeeded",
                "type": {"documentImport": {
                    "primary_key": null,
                    "method": "UpdateDocuments",
                    "documents_count": 2,
                    "allow_index_creation": true,
                }},
                "details": {"DocumentAdditionOrUpdate": {
                    "received_documents": 2,
                    "indexed_documents": null,
                }},
                "enqueuedAt": "2026-01-01T00:00:00Z",
                "startedAt": "2026-01-01T00:00:01Z",
                "customMetadata": "\"documents_ids\":[]",
            })
        );
    }

    #[test]
    fn the_place_of_ids_is_found_before_anything_a_client_wrote() {
        let operation = Operation::DeleteDocuments { id_count: 1 };
        let line = line(&task(operation, TaskStatus::Enqueued)).expect("a line");
        let (head, tail) = line.split_once(NO_IDS).expect("its place");
        assert!(head.ends_with(r#""type":{"documentDeletion":{"#), "{head}");
        assert!(tail.contains("customMetadata"), "{tail}");
    }

    #[test]
    fn waiting_cancelations_are_left_out() {
        let operation = Operation::CancelTasks {
            original_filter: "?uids=1".into(),
            filter: TaskFilter::default(),
        };
        assert!(line(&task(operation.clone(), TaskStatus::Enqueued)).is_none());
        let line = parsed(&task(operation, TaskStatus::Succeeded));
        assert_eq!(line["type"]["taskCancelation"]["query"], "?uids=1");
    }
}
