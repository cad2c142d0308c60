//! The worker's side of the queue: what is next, its beginning and its end.

use crate::batch::{BATCH_TASKS_MAX, Batch, IndexFacts};
use crate::clock::{Nanos, now};
use crate::store::tasks::from_text;
use crate::store::{IndexChange, Store, indexes};
use crate::task::{BatchUid, QueuedTask, Status, TaskUid};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde_json::Value;
use std::sync::Arc;

/// What became of one task of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskEnd {
    pub(crate) uid: TaskUid,
    pub(crate) details: Value,
    /// `None`: it succeeded.
    pub(crate) error: Option<Value>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BatchEnd {
    pub(crate) tasks: Vec<TaskEnd>,
    /// Other tasks that this batch canceled: (task, canceled by).
    pub(crate) canceled: Vec<(TaskUid, TaskUid)>,
    /// Other tasks whose records go.
    pub(crate) deleted: Vec<TaskUid>,
    pub(crate) index_changes: Vec<IndexChange>,
}

/// After a start nothing is being processed: what was, waits again.
pub(super) fn recover(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN;
         UPDATE tasks SET status = 'enqueued', batch_uid = NULL, started_at = NULL
             WHERE status = 'processing';
         DELETE FROM batches WHERE finished_at IS NULL;
         COMMIT;",
    )
}

impl Store {
    /// Names of the payload files that unfinished tasks need.
    pub(crate) fn load_needed_files(&self) -> rusqlite::Result<Vec<String>> {
        let connection = self.connection.lock();
        let mut statement = connection
            .prepare("SELECT uid, index_uid, work FROM tasks WHERE status = 'enqueued'")?;
        let rows = statement.query_map([], read_queued)?;
        let mut files = Vec::new();
        for row in rows {
            files.extend(row?.work.file().map(str::to_owned));
        }
        Ok(files)
    }

    /// The work to do next, without changing anything: cancelations before deletions of tasks
    /// before the oldest task and those that may join it.
    pub(crate) fn load_next_batch(&self) -> rusqlite::Result<Option<Batch>> {
        const GLOBAL: &str = "SELECT uid, index_uid, work FROM tasks
                              WHERE status = 'enqueued' AND kind = ?1 ORDER BY uid";
        let connection = self.connection.lock();
        let newest_cancelation = connection
            .prepare_cached(&format!("{GLOBAL} DESC LIMIT 1"))?
            .query_row(["taskCancelation"], read_queued)
            .optional()?;
        if let Some(task) = newest_cancelation {
            return Ok(Some(Batch::alone(task)));
        }
        let mut statement = connection.prepare_cached(GLOBAL)?;
        let deletions: Vec<QueuedTask> = statement
            .query_map(["taskDeletion"], read_queued)?
            .collect::<Result<_, _>>()?;
        if !deletions.is_empty() {
            return Ok(Some(Batch::task_deletions(deletions)));
        }
        let oldest = connection
            .prepare_cached(
                "SELECT uid, index_uid, work FROM tasks WHERE status = 'enqueued'
                 ORDER BY uid LIMIT 1",
            )?
            .query_row([], read_queued)
            .optional()?;
        let Some(oldest) = oldest else {
            return Ok(None);
        };
        let Some(index_uid) = oldest.index_uid.clone() else {
            return Ok(Some(Batch::alone(oldest)));
        };
        let facts = IndexFacts::of(self.get_index(&index_uid).as_ref());
        let mut batch = Batch::open(oldest, facts);
        // A swap changes what the names mean, so no later task may overtake it.
        let mut statement = connection.prepare_cached(
            "SELECT uid, index_uid, work FROM tasks
             WHERE status = 'enqueued' AND index_uid = ?1 AND uid > ?2
                 AND uid < COALESCE((SELECT MIN(uid) FROM tasks
                     WHERE status = 'enqueued' AND kind = 'indexSwap'), 9223372036854775807)
             ORDER BY uid LIMIT ?3",
        )?;
        let limit = i64::try_from(BATCH_TASKS_MAX).unwrap_or(i64::MAX);
        let followers =
            statement.query_map(params![index_uid, batch.first_uid(), limit], read_queued)?;
        for follower in followers {
            if !batch.push(follower?) {
                break;
            }
        }
        Ok(Some(batch))
    }

    /// Marks the tasks of a batch as being processed.
    pub(crate) fn begin_batch(
        &self,
        uids: &[TaskUid],
        strategy: &str,
    ) -> rusqlite::Result<BatchUid> {
        let started_at = now();
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        // Batches of deleted tasks stay recorded, so a uid is never used twice.
        let batch_uid = transaction.query_row(
            "INSERT INTO batches (uid, started_at, strategy)
             VALUES ((SELECT COALESCE(MAX(uid) + 1, 0) FROM batches), ?1, ?2) RETURNING uid",
            params![started_at, strategy],
            |row| row.get(0),
        )?;
        {
            let mut statement = transaction.prepare_cached(
                "UPDATE tasks SET status = 'processing', batch_uid = ?2, started_at = ?3
                 WHERE uid = ?1",
            )?;
            for uid in uids {
                statement.execute(params![uid, batch_uid, started_at])?;
            }
        }
        transaction.commit()?;
        Ok(batch_uid)
    }

    /// Records the end of a batch, all at once. The uids that were really canceled or deleted are
    /// the caller's to choose, see [`Store::load_enqueued`] and [`Store::load_finished`].
    pub(crate) fn end_batch(&self, batch_uid: BatchUid, end: &BatchEnd) -> rusqlite::Result<()> {
        let finished_at = now();
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        end_tasks(&transaction, end, finished_at)?;
        cancel_tasks(&transaction, end, batch_uid, finished_at)?;
        {
            let mut statement = transaction.prepare_cached("DELETE FROM tasks WHERE uid = ?1")?;
            for uid in &end.deleted {
                statement.execute([uid])?;
            }
        }
        transaction.execute(
            "UPDATE batches SET finished_at = ?2 WHERE uid = ?1",
            params![batch_uid, finished_at],
        )?;
        if end.index_changes.is_empty() {
            return transaction.commit();
        }
        // Held over the commit: who sees a task ended must see what it did to the names.
        let mut indexes = self.indexes.write();
        let mut after = (**indexes).clone();
        for change in &end.index_changes {
            indexes::apply(&mut after, change);
            indexes::rename_in_tasks(&transaction, change)?;
        }
        indexes::save(&transaction, &indexes, &after)?;
        transaction.commit()?;
        *indexes = Arc::new(after);
        Ok(())
    }

    /// Those of the tasks that still wait, with their work.
    pub(crate) fn load_enqueued(&self, uids: &[TaskUid]) -> rusqlite::Result<Vec<QueuedTask>> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT uid, index_uid, work FROM tasks WHERE uid = ?1 AND status = 'enqueued'",
        )?;
        let mut tasks = Vec::new();
        for uid in uids {
            tasks.extend(statement.query_row([uid], read_queued).optional()?);
        }
        Ok(tasks)
    }

    /// Those of the tasks that are finished.
    pub(crate) fn load_finished(&self, uids: &[TaskUid]) -> rusqlite::Result<Vec<TaskUid>> {
        let connection = self.connection.lock();
        let mut statement = connection
            .prepare_cached("SELECT uid FROM tasks WHERE uid = ?1 AND finished_at IS NOT NULL")?;
        let mut finished = Vec::new();
        for uid in uids {
            finished.extend(
                statement
                    .query_row([uid], |row| row.get::<_, TaskUid>(0))
                    .optional()?,
            );
        }
        Ok(finished)
    }
}

fn end_tasks(
    transaction: &Transaction<'_>,
    end: &BatchEnd,
    finished_at: Nanos,
) -> rusqlite::Result<()> {
    // The work is of no more use; its ids and settings may be large.
    let mut statement = transaction.prepare_cached(
        "UPDATE tasks SET status = ?2, details = ?3, error = ?4, finished_at = ?5, work = ''
         WHERE uid = ?1",
    )?;
    for task in &end.tasks {
        let status = if task.error.is_some() {
            Status::Failed
        } else {
            Status::Succeeded
        };
        let error = task.error.as_ref().map(Value::to_string);
        statement.execute(params![
            task.uid,
            status.name(),
            task.details.to_string(),
            error,
            finished_at
        ])?;
    }
    Ok(())
}

fn cancel_tasks(
    transaction: &Transaction<'_>,
    end: &BatchEnd,
    batch_uid: BatchUid,
    finished_at: Nanos,
) -> rusqlite::Result<()> {
    let mut load =
        transaction.prepare_cached("SELECT uid, index_uid, work FROM tasks WHERE uid = ?1")?;
    let mut cancel = transaction.prepare_cached(
        "UPDATE tasks SET status = 'canceled', canceled_by = ?2, batch_uid = ?3, details = ?4,
             started_at = (SELECT started_at FROM batches WHERE uid = ?3),
             finished_at = ?5, work = ''
         WHERE uid = ?1",
    )?;
    for (uid, canceled_by) in &end.canceled {
        let task = load.query_row([uid], read_queued)?;
        let details = task
            .work
            .details(task.index_uid.as_deref(), Some(0))
            .to_string();
        cancel.execute(params![uid, canceled_by, batch_uid, details, finished_at])?;
    }
    Ok(())
}

fn read_queued(row: &Row<'_>) -> rusqlite::Result<QueuedTask> {
    let work: String = row.get(2)?;
    Ok(QueuedTask {
        uid: row.get(0)?,
        index_uid: row.get(1)?,
        work: from_text(&work, 2)?,
    })
}
