//! Batches: how they are shown.

use crate::error::{Code, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A batch as `GET /batches/{uid}` shows it; the fields are in wire order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchView {
    /// Its uid.
    pub uid: u64,
    /// How far it is, while it is on its way.
    pub progress: Option<Progress>,
    /// The details of its tasks, merged.
    pub details: Map<String, Value>,
    /// What it consists of.
    pub stats: BatchStats,
    /// ISO 8601, once it ended.
    pub duration: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: Option<String>,
    /// Why no more tasks joined it, for a person.
    pub batch_strategy: String,
}

/// What a batch consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchStats {
    /// Its tasks.
    pub total_nb_tasks: u64,
    /// Its tasks by status.
    pub status: BTreeMap<&'static str, u64>,
    /// Its tasks by type.
    pub types: BTreeMap<&'static str, u64>,
    /// Its tasks by index.
    pub index_uids: BTreeMap<String, u64>,
    /// How long each step took, once it ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub progress_trace: BTreeMap<&'static str, String>,
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// What is done and what is to do, the largest step first.
    pub steps: Vec<ProgressStep>,
    /// All steps together, from 0 to 100.
    pub percentage: f32,
}

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStep {
    /// What is being done.
    pub current_step: String,
    /// How many parts of it are done.
    pub finished: u64,
    /// Of how many.
    pub total: u64,
}

/// A page of batches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchList {
    /// The batches of the page.
    pub results: Vec<BatchView>,
    /// All that match, whatever the page.
    pub total: u64,
    /// Batches shown at most.
    pub limit: u32,
    /// The uid of the first shown.
    pub from: Option<u64>,
    /// The uid of the first not shown.
    pub next: Option<u64>,
}

/// The batch does not exist.
#[must_use]
pub fn batch_not_found(uid: u64) -> ResponseError {
    ResponseError::new(Code::BatchNotFound, format!("Batch `{uid}` not found."))
}

/// Reads the uid in a path.
///
/// # Errors
/// It is no number.
pub fn read_uid(text: &str) -> Result<u64, ResponseError> {
    text.parse::<u32>().map(u64::from).map_err(|_| {
        ResponseError::new(
            Code::InvalidBatchUids,
            format!("Batch uid `{text}` is invalid. It should only contain numeric characters."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_wire_order() {
        let view = BatchView {
            uid: 3,
            progress: Some(Progress {
                steps: vec![ProgressStep {
                    current_step: "applying".into(),
                    finished: 1,
                    total: 2,
                }],
                percentage: 50.0,
            }),
            details: Map::new(),
            stats: BatchStats {
                total_nb_tasks: 1,
                status: BTreeMap::from([("processing", 1)]),
                types: BTreeMap::from([("indexCreation", 1)]),
                index_uids: BTreeMap::from([("a".into(), 1)]),
                progress_trace: BTreeMap::from([("processing tasks", "2.00s".into())]),
            },
            duration: None,
            started_at: "then".into(),
            finished_at: None,
            batch_strategy: "why".into(),
        };
        assert_eq!(
            serde_json::to_string(&view).expect("a batch serializes"),
            r#"{"uid":3,"progress":{"steps":[{"currentStep":"applying","finished":1,"total":2}],"percentage":50.0},"details":{},"stats":{"totalNbTasks":1,"status":{"processing":1},"types":{"indexCreation":1},"indexUids":{"a":1},"progressTrace":{"processing tasks":"2.00s"}},"duration":null,"startedAt":"then","finishedAt":null,"batchStrategy":"why"}"#
        );
    }

    #[test]
    fn a_uid_is_a_number() {
        assert_eq!(read_uid("7"), Ok(7));
        let error = read_uid("doggo").expect_err("no number");
        assert_eq!((error.status(), &*error.code), (400, "invalid_batch_uids"));
    }
}
