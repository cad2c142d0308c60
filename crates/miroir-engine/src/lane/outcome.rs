//! What becomes of a batch on one node, by the ends of the node's tasks.

use super::Part;
use super::order::is_edit;
use crate::completer::NodeOutcome;
use crate::copy::witness::Witness;
use crate::ills::CANCELED;
use crate::plan::Work;
use crate::state::LiveBatch;
use miroir_core::task::TaskStatus;
use serde_json::Value;

/// What the node's tasks of one batch come to.
pub(super) fn outcome(batch: &LiveBatch, parts: &[Part]) -> NodeOutcome {
    let witness = parts
        .iter()
        .filter_map(|part| part.end.as_ref())
        .filter(|task| task.uid.0 != u64::MAX && !task.enqueued_at.is_empty())
        .max_by_key(|task| task.uid)
        .map(|task| Witness {
            uid: task.uid,
            enqueued_at: task.enqueued_at.clone(),
        });
    let mut total = NodeOutcome {
        witness,
        ..NodeOutcome::default()
    };
    let has_failed = |is_twin: bool| {
        let mut ends = parts
            .iter()
            .filter(|part| part.is_joining && part.is_twin == is_twin)
            .filter_map(|part| part.end.as_ref());
        ends.any(|task| {
            let has_failed = matches!(task.status, TaskStatus::Failed | TaskStatus::Canceled);
            has_failed
                && !task
                    .error
                    .as_ref()
                    .is_some_and(|error| is_harmless(&batch.plan.work, error))
        })
    };
    total.has_spoilt = has_failed(false);
    total.has_spoilt_twin = has_failed(true);
    if is_edit(batch) && parts.iter().any(|part| part.is_joining) {
        // After a failure of any part all may be carried out once more.
        let mut ends = parts.iter().filter_map(|part| part.end.as_ref());
        if ends.any(|task| task.status != TaskStatus::Succeeded) {
            total.has_spoilt |= parts.iter().any(|part| part.is_joining && !part.is_twin);
            total.has_spoilt_twin |= parts.iter().any(|part| part.is_twin);
        }
    }
    let with_say = parts.iter().filter(|part| !part.is_joining);
    for task in with_say.filter_map(|part| part.end.as_ref()) {
        let deleted = task
            .details
            .as_ref()
            .and_then(|details| details.get("deletedDocuments"));
        total.deleted_documents += deleted.and_then(Value::as_u64).unwrap_or(0);
        let edited = task
            .details
            .as_ref()
            .and_then(|details| details.get("editedDocuments"));
        total.edited_documents += edited.and_then(Value::as_u64).unwrap_or(0);
        if batch.plan.work == Work::CompactIndex {
            total.details = task.details.clone();
        }
        let error = match task.status {
            TaskStatus::Failed => task.error.clone().unwrap_or(Value::Null),
            TaskStatus::Canceled => serde_json::json!({
                "message": CANCELED,
                "code": "internal",
            }),
            _ => continue,
        };
        if !is_harmless(&batch.plan.work, &error) && total.error.is_none() {
            total.error = Some(error);
        }
    }
    total
}

/// The error says that what was asked is so already: the trace of a request sent twice.
fn is_harmless(work: &Work, error: &Value) -> bool {
    match error.get("code").and_then(Value::as_str) {
        Some("index_already_exists") => true,
        Some("index_not_found") => work.is_removal() || matches!(work, Work::RecreateIndex { .. }),
        _ => false,
    }
}
