//! What a batch shows of its tasks: how many there are of each sort, and their details as one.
//!
//! Law: tasks are added in the order of their uids; of what cannot be added up the first value
//! counts, but for settings, where the last change does.

use crate::task::{TaskKind, TaskStatus};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Details that are counts: those of a batch are their sums, and `null` until one is known.
const COUNTS: &[&str] = &[
    "receivedDocuments",
    "indexedDocuments",
    "editedDocuments",
    "movedDocuments",
    "providedIds",
    "deletedDocuments",
    "matchedTasks",
    "canceledTasks",
    "deletedTasks",
    "updatedRules",
];

/// Details of which a batch shows the first that is known.
const FIRST: &[&str] = &[
    "primaryKey",
    "dumpUid",
    "context",
    "function",
    "url",
    "apiKey",
    "payloadSize",
    "indexes",
    "oldIndexUid",
    "newIndexUid",
    "upgradeFrom",
    "preCompactionSize",
    "postCompactionSize",
    "message",
    "rule",
];

/// Several tasks, seen as one.
///
/// ```
/// use miroir_core::summary::BatchSummary;
/// use miroir_core::task::{TaskKind, TaskStatus};
/// use serde_json::json;
///
/// let mut summary = BatchSummary::default();
/// for count in [1, 2] {
///     let details = json!({"deletedDocuments": count});
///     summary.add(TaskStatus::Succeeded, TaskKind::DocumentDeletion, Some("movies"), &details);
/// }
/// assert_eq!(summary.task_count, 2);
/// assert_eq!(json!(summary.details), json!({"deletedDocuments": 3}));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchSummary {
    /// How many tasks.
    pub task_count: u64,
    /// By status, zero ones left out.
    pub statuses: BTreeMap<TaskStatus, u64>,
    /// By kind, zero ones left out.
    pub kinds: BTreeMap<TaskKind, u64>,
    /// By index; tasks of no index do not count here.
    pub index_uids: BTreeMap<String, u64>,
    /// Their details, merged.
    pub details: Map<String, Value>,
}

impl BatchSummary {
    /// Adds the next task.
    pub fn add(
        &mut self,
        status: TaskStatus,
        kind: TaskKind,
        index_uid: Option<&str>,
        details: &Value,
    ) {
        self.task_count += 1;
        *self.statuses.entry(status).or_default() += 1;
        *self.kinds.entry(kind).or_default() += 1;
        if let Some(index_uid) = index_uid.or(kind.hidden_index()) {
            *self.index_uids.entry(index_uid.to_owned()).or_default() += 1;
        }
        for (name, value) in details.as_object().into_iter().flatten() {
            match self.details.get_mut(name) {
                Some(known) => merge(name, known, value),
                None => {
                    self.details.insert(name.clone(), value.clone());
                }
            }
        }
    }

    /// The details as a batch that is done shows them: what never became known is left out. The
    /// `null` of a setting is a value, and stays.
    #[must_use]
    pub fn known_details(mut self) -> Map<String, Value> {
        let may_be_unknown = |name: &str| {
            COUNTS.contains(&name) || FIRST.contains(&name) || name == "originalFilter"
        };
        self.details
            .retain(|name, value| !(value.is_null() && may_be_unknown(name)));
        self.details
    }

    /// The greatest number of tasks of one kind, and that kind.
    #[must_use]
    pub fn main_kind(&self) -> Option<TaskKind> {
        let most = self.kinds.iter().max_by_key(|(_, count)| **count);
        most.map(|(kind, _)| *kind)
    }
}

fn merge(name: &str, known: &mut Value, value: &Value) {
    if COUNTS.contains(&name) {
        match (known.as_u64(), value.as_u64()) {
            (Some(left), Some(right)) => *known = left.saturating_add(right).into(),
            (None, Some(right)) => *known = right.into(),
            _ => {}
        }
        return;
    }
    match (&mut *known, value) {
        (Value::String(left), Value::String(right)) if name == "originalFilter" => {
            left.push('&');
            left.push_str(right);
        }
        (Value::Array(left), Value::Array(right)) if name == "swaps" => {
            left.extend(right.iter().cloned());
        }
        (known, value) if known.is_null() => *known = value.clone(),
        _ if FIRST.contains(&name) || matches!(name, "originalFilter" | "swaps") => {}
        (known, value) => *known = value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(details: &[Value]) -> BatchSummary {
        let mut summary = BatchSummary::default();
        for details in details {
            let kind = TaskKind::DocumentAdditionOrUpdate;
            summary.add(TaskStatus::Failed, kind, Some("a"), details);
        }
        summary
    }

    #[test]
    fn counts_are_summed_and_unknown_ones_do_not_count() {
        let merged = summary(&[
            json!({"receivedDocuments": 3, "indexedDocuments": null}),
            json!({"receivedDocuments": 4, "indexedDocuments": 4}),
            json!({"receivedDocuments": 1, "indexedDocuments": null}),
        ]);
        assert_eq!(
            json!(merged.details),
            json!({"receivedDocuments": 8, "indexedDocuments": 4})
        );
        let unknown = summary(&[json!({"deletedDocuments": null}), json!(null)]);
        assert_eq!(json!(unknown.details), json!({"deletedDocuments": null}));
        assert_eq!(json!(unknown.known_details()), json!({}));
        let reset = summary(&[json!({"stopWords": null, "primaryKey": null})]);
        assert_eq!(json!(reset.known_details()), json!({"stopWords": null}));
    }

    #[test]
    fn what_cannot_be_summed_is_joined_or_the_first_or_for_settings_the_last() {
        let merged = summary(&[
            json!({"originalFilter": "?a", "primaryKey": null, "stopWords": ["x"], "swaps": [1]}),
            json!({"originalFilter": "?b", "primaryKey": "id", "stopWords": null, "swaps": [2]}),
            json!({"primaryKey": "other"}),
        ]);
        assert_eq!(
            json!(merged.details),
            json!({"originalFilter": "?a&?b", "primaryKey": "id", "stopWords": null, "swaps": [1, 2]})
        );
    }

    #[test]
    fn tasks_are_counted_by_sort() {
        let mut summary = BatchSummary::default();
        let cancel = TaskKind::TaskCancelation;
        summary.add(TaskStatus::Succeeded, cancel, None, &json!({}));
        for index_uid in ["b", "a", "b"] {
            let kind = TaskKind::IndexCreation;
            summary.add(TaskStatus::Canceled, kind, Some(index_uid), &json!({}));
        }
        assert_eq!(summary.task_count, 4);
        assert_eq!(
            summary.statuses,
            BTreeMap::from([(TaskStatus::Succeeded, 1), (TaskStatus::Canceled, 3)])
        );
        assert_eq!(
            summary.index_uids,
            BTreeMap::from([("a".into(), 1), ("b".into(), 2)])
        );
        assert_eq!(summary.main_kind(), Some(TaskKind::IndexCreation));
    }
}
