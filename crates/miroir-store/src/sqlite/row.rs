//! Values as columns, and back. What is read is never trusted: a value that cannot be, is
//! [`StoreError::Corrupt`].

use miroir_core::id::IndexUid;
use miroir_core::task::{TaskKind, TaskStatus};
use miroir_engine::port::{StoreError, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub(super) fn corrupt(what: &'static str, cause: impl ToString) -> StoreError {
    StoreError::Corrupt {
        what,
        cause: cause.to_string(),
    }
}

/// A number as SQLite keeps it.
pub(super) fn int(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::Conflict(format!("the number {value} is too large to be stored")))
}

pub(super) fn opt_int(value: Option<u64>) -> Result<Option<i64>, StoreError> {
    value.map(int).transpose()
}

pub(super) fn uint<N: TryFrom<i64>>(value: i64, what: &'static str) -> Result<N, StoreError> {
    N::try_from(value).map_err(|_| corrupt(what, value))
}

pub(super) fn opt_uint(value: Option<i64>, what: &'static str) -> Result<Option<u64>, StoreError> {
    value.map(|value| uint(value, what)).transpose()
}

pub(super) fn nanos(moment: Timestamp) -> Result<i64, StoreError> {
    i64::try_from(moment.unix_timestamp_nanos())
        .map_err(|_| StoreError::Conflict(format!("the moment {moment} cannot be stored")))
}

pub(super) fn opt_nanos(moment: Option<Timestamp>) -> Result<Option<i64>, StoreError> {
    moment.map(nanos).transpose()
}

pub(super) fn timestamp(nanos: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_unix_timestamp_nanos(i128::from(nanos)).map_err(|e| corrupt("moment", e))
}

pub(super) fn opt_timestamp(nanos: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    nanos.map(timestamp).transpose()
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|e| StoreError::Conflict(format!("a value has no stored form: {e}")))
}

pub(super) fn opt_json(value: Option<&impl Serialize>) -> Result<Option<String>, StoreError> {
    value.map(to_json).transpose()
}

pub(super) fn from_json<T: DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| corrupt(what, e))
}

pub(super) fn opt_from_json<T: DeserializeOwned>(
    text: Option<String>,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    text.map(|text| from_json(&text, what)).transpose()
}

pub(super) fn index_uid(text: String) -> Result<IndexUid, StoreError> {
    IndexUid::new(text).map_err(|e| corrupt("index uid", e))
}

pub(super) fn uuid(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|e| corrupt("uuid", e))
}

/// Stored; never to be changed.
pub(super) fn status_code(status: TaskStatus) -> i64 {
    match status {
        TaskStatus::Enqueued => 0,
        TaskStatus::Processing => 1,
        TaskStatus::Succeeded => 2,
        TaskStatus::Failed => 3,
        TaskStatus::Canceled => 4,
    }
}

pub(super) fn status(code: i64) -> Result<TaskStatus, StoreError> {
    TaskStatus::ALL
        .into_iter()
        .find(|status| status_code(*status) == code)
        .ok_or_else(|| corrupt("task status", code))
}

/// Stored; never to be changed.
pub(super) fn kind_code(kind: TaskKind) -> i64 {
    match kind {
        TaskKind::DocumentAdditionOrUpdate => 0,
        TaskKind::DocumentEdition => 1,
        TaskKind::DocumentDeletion => 2,
        TaskKind::SettingsUpdate => 3,
        TaskKind::IndexCreation => 4,
        TaskKind::IndexDeletion => 5,
        TaskKind::IndexUpdate => 6,
        TaskKind::IndexSwap => 7,
        TaskKind::TaskCancelation => 8,
        TaskKind::TaskDeletion => 9,
        TaskKind::DumpCreation => 10,
        TaskKind::SnapshotCreation => 11,
        TaskKind::Export => 12,
        TaskKind::UpgradeDatabase => 13,
        TaskKind::IndexCompaction => 14,
        TaskKind::NetworkTopologyChange => 15,
        TaskKind::DsrUpdate => 16,
        TaskKind::DsrClear => 17,
    }
}

pub(super) fn kind(code: i64) -> Result<TaskKind, StoreError> {
    let mut kinds = TaskKind::ALL.iter().copied();
    kinds
        .find(|kind| kind_code(*kind) == code)
        .ok_or_else(|| corrupt("task kind", code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_comes_back_from_its_code() {
        for known in TaskStatus::ALL {
            assert_eq!(status(status_code(known)).unwrap(), known);
        }
        assert!(status(5).is_err());
    }

    #[test]
    fn no_two_kinds_share_a_code() {
        let codes: std::collections::BTreeSet<i64> =
            TaskKind::ALL.iter().map(|kind| kind_code(*kind)).collect();
        assert_eq!(codes.len(), TaskKind::ALL.len());
    }

    #[test]
    fn a_moment_keeps_its_nanoseconds() {
        let moment = time::macros::datetime!(2024-02-29 12:34:56.123456789 UTC);
        assert_eq!(timestamp(nanos(moment).unwrap()).unwrap(), moment);
        assert!(nanos(time::macros::datetime!(9999-01-01 0:00 UTC)).is_err());
    }
}
