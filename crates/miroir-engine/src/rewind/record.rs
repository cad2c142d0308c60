//! What is stored of rewinds, and the board on which they are found.

use super::mark::Step;
use super::refused;
use crate::error::EngineError;
use crate::port::{Change, Store, StoreError};
use crate::state::Shared;
use miroir_api::admin;
use miroir_core::id::TaskUid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Rewinds under way at most.
const RUNNING_MAX: usize = 2;
/// Those that have ended and are still shown.
const SHOWN_MAX: usize = 16;
/// Behind the name of the index to be, the name under which it is built.
pub(super) const BUILDING_SUFFIX: &str = "-rewinding";

const KEY: &str = "rewinds";

/// What the index is built from. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "from",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Base {
    /// Nothing: the log holds its whole history.
    Creation {
        /// The task that made it.
        task: TaskUid,
        /// The primary key with which it was made, if it was made by itself.
        primary_key: Option<String>,
    },
    /// It as a dump of this instance holds it.
    Dump {
        /// The task that wrote the dump: what the dump holds is what all tasks before it made.
        task: TaskUid,
        /// The dump's uid.
        uid: String,
        /// The file, if it was named; else it is the one of the dump folder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// The index's name in the dump.
        index: String,
        /// Its primary key there.
        primary_key: Option<String>,
    },
}

impl Base {
    /// The first task of which the log must tell.
    pub(super) fn task(&self) -> TaskUid {
        match self {
            Self::Creation { task, .. } | Self::Dump { task, .. } => *task,
        }
    }

    pub(super) fn primary_key(&self) -> Option<String> {
        match self {
            Self::Creation { primary_key, .. } | Self::Dump { primary_key, .. } => {
                primary_key.clone()
            }
        }
    }

    pub(super) fn is_dump(&self) -> bool {
        matches!(self, Self::Dump { .. })
    }

    pub(super) fn dump_uid(&self) -> Option<&str> {
        match self {
            Self::Dump { uid, .. } => Some(uid),
            Self::Creation { .. } => None,
        }
    }
}

/// How a rewind ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum End {
    Succeeded,
    Failed,
    Cancelled,
}

/// Where a rewind stands. The stored form is part of the database format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "camelCase")]
pub(super) enum Stage {
    /// What made the index is written again, under the name of the building.
    Building,
    /// All of it is there; it gets its name.
    Naming,
    /// What was built is removed.
    Removing { then: End },
    /// Nothing more happens.
    Ended { how: End },
}

/// One rewind. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) id: u64,
    /// The index, by the name it had at the last task wanted.
    pub(super) index_uid: String,
    pub(super) to_task: TaskUid,
    pub(super) new_uid: String,
    pub(super) base: Base,
    /// Tasks to carry out again.
    pub(super) tasks_total: u64,
    /// The last task of the log when it began: its own come behind.
    pub(super) begun_behind: TaskUid,
    pub(super) stage: Stage,
    /// The write that was about to be registered; all before it were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) intent: Option<Step>,
    /// Tasks carried out again, once all is there or it has ended.
    #[serde(default)]
    pub(super) tasks_done: u64,
    /// Documents taken from the dump, likewise.
    #[serde(default)]
    pub(super) documents: u64,
    pub(super) started_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) finished_at: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Record {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    /// The name under which it is built.
    pub(super) fn building(&self) -> String {
        format!("{}{BUILDING_SUFFIX}", self.new_uid)
    }
}

/// All of them. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Book {
    /// How many were begun.
    begun: u64,
    /// Oldest first.
    all: Vec<Record>,
}

impl Book {
    fn with(mut self, record: Record) -> Self {
        match self.all.iter_mut().find(|other| other.id == record.id) {
            Some(there) => *there = record,
            None => self.all.push(record),
        }
        let over = self.all.iter().filter(|other| other.is_over()).count();
        let mut surplus = over.saturating_sub(SHOWN_MAX);
        self.all.retain(|other| {
            let is_kept = !other.is_over() || surplus == 0;
            surplus -= usize::from(!is_kept);
            is_kept
        });
        self
    }
}

/// What this process saw of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) tasks_done: u64,
    pub(super) documents: u64,
    pub(super) waits_for: Option<String>,
}

/// What is known of rewinds.
#[derive(Debug, Default)]
pub(crate) struct RewindBoard {
    book: Mutex<Book>,
    seen: Mutex<BTreeMap<u64, Seen>>,
    /// One change is stored after the other, for each stores all.
    turn: tokio::sync::Mutex<()>,
}

impl RewindBoard {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// The store failed, or what it holds cannot be understood.
    pub(crate) async fn load(&self, store: &dyn Store) -> Result<(), EngineError> {
        let book = match store.load_fact(KEY).await? {
            None | Some(Value::Null) => Book::default(),
            Some(value) => serde_json::from_value(value).map_err(|error| StoreError::Corrupt {
                what: "rewinds",
                cause: error.to_string(),
            })?,
        };
        *self.book.lock() = book;
        Ok(())
    }

    /// How many are under way.
    pub(crate) fn running(&self) -> usize {
        self.open().len()
    }

    /// Those under way.
    pub(super) fn open(&self) -> Vec<u64> {
        let book = self.book.lock();
        let open = book.all.iter().filter(|record| !record.is_over());
        open.map(|record| record.id).collect()
    }

    pub(super) fn get(&self, id: u64) -> Option<Record> {
        let book = self.book.lock();
        book.all.iter().find(|record| record.id == id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Record> {
        self.book.lock().all.clone()
    }

    /// Stores a new one, under a number of its own.
    ///
    /// # Errors
    /// [`EngineError::Client`] if another is in its way; otherwise the store failed.
    pub(super) async fn begin(&self, shared: &Shared, record: Record) -> Result<u64, EngineError> {
        let _turn = self.turn.lock().await;
        let mut book = self.book.lock().clone();
        let open: Vec<&Record> = book.all.iter().filter(|one| !one.is_over()).collect();
        if let Some(other) = open.iter().find(|one| one.new_uid == record.new_uid) {
            let text = format!("Rewind {} into `{}` is under way.", other.id, other.new_uid);
            return Err(refused(text));
        }
        if open.len() >= RUNNING_MAX {
            return Err(refused(format!("{RUNNING_MAX} rewinds are under way.")));
        }
        book.begun += 1;
        let id = book.begun;
        self.store(shared, book.with(Record { id, ..record }))
            .await?;
        Ok(id)
    }

    /// Changes one, durably; `None` if it is not known, or `change` refuses.
    ///
    /// # Errors
    /// The store failed; then nothing was changed.
    pub(super) async fn change(
        &self,
        shared: &Shared,
        id: u64,
        change: impl FnOnce(&mut Record) -> bool + Send,
    ) -> Result<Option<Record>, EngineError> {
        let _turn = self.turn.lock().await;
        let book = self.book.lock().clone();
        let Some(mut record) = book.all.iter().find(|one| one.id == id).cloned() else {
            return Ok(None);
        };
        if !change(&mut record) {
            return Ok(None);
        }
        self.store(shared, book.with(record.clone())).await?;
        Ok(Some(record))
    }

    async fn store(&self, shared: &Shared, book: Book) -> Result<(), EngineError> {
        let value = serde_json::to_value(&book).map_err(|error| {
            EngineError::Answer(format!("rewinds cannot be written down: {error}"))
        })?;
        let fact = Change::PutFact {
            key: KEY.into(),
            value,
        };
        shared.noted(shared.ports.store.commit(vec![fact]).await)?;
        *self.book.lock() = book;
        Ok(())
    }

    pub(super) fn see(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        change(self.seen.lock().entry(id).or_default());
    }

    pub(super) fn seen(&self, id: u64) -> Seen {
        self.seen.lock().get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn show(&self, record: &Record) -> admin::Rewind {
        let seen = self.seen(record.id);
        let state = match record.stage {
            Stage::Building | Stage::Naming => "running",
            Stage::Removing { .. } => "removing",
            Stage::Ended { how } => match how {
                End::Succeeded => "succeeded",
                End::Failed => "failed",
                End::Cancelled => "cancelled",
            },
        };
        admin::Rewind {
            job: record.id,
            state: state.into(),
            index_uid: record.index_uid.clone(),
            to_task: record.to_task.0,
            new_uid: record.new_uid.clone(),
            from_task: record.base.task().0,
            from_dump: record.base.dump_uid().map(str::to_owned),
            tasks_total: record.tasks_total,
            tasks_done: record.tasks_done.max(seen.tasks_done),
            documents: record.documents.max(seen.documents),
            waits_for: seen.waits_for.filter(|_| !record.is_over()),
            started_at: record.started_at.clone(),
            finished_at: record.finished_at.clone(),
            error: record.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, stage: Stage) -> Record {
        Record {
            id,
            index_uid: "m".into(),
            to_task: TaskUid(9),
            new_uid: "x".into(),
            base: Base::Dump {
                task: TaskUid(4),
                uid: "20260101-000000000".into(),
                file: None,
                index: "m".into(),
                primary_key: Some("id".into()),
            },
            tasks_total: 5,
            begun_behind: TaskUid(20),
            stage,
            intent: Some(Step::Documents { from: 0, to: 7 }),
            tasks_done: 0,
            documents: 0,
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: None,
            error: None,
        }
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let book = Book {
            begun: 3,
            all: vec![record(3, Stage::Building)],
        };
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(
            text,
            r#"{"begun":3,"all":[{"id":3,"indexUid":"m","toTask":9,"newUid":"x","base":{"from":"dump","task":4,"uid":"20260101-000000000","index":"m","primaryKey":"id"},"tasksTotal":5,"begunBehind":20,"stage":{"at":"building"},"intent":{"do":"documents","from":0,"to":7},"tasksDone":0,"documents":0,"startedAt":"2026-01-01T00:00:00Z"}]}"#
        );
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
        let stage = Stage::Removing { then: End::Failed };
        let text = serde_json::to_string(&stage).unwrap();
        assert_eq!(text, r#"{"at":"removing","then":"failed"}"#);
    }

    #[test]
    fn the_oldest_that_ended_are_forgotten() {
        let mut book = Book::default();
        for id in 0..SHOWN_MAX as u64 + 5 {
            let stage = match id {
                1 => Stage::Building,
                _ => Stage::Ended {
                    how: End::Succeeded,
                },
            };
            book = book.with(record(id, stage));
        }
        let ids: Vec<u64> = book.all.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), SHOWN_MAX + 1);
        assert_eq!(&ids[..2], [1, 5]);
    }
}
