//! Tasks and batches as they were submitted and as clients ask for them.

use crate::clock::now;
use crate::store::Store;
use crate::task::filter::{TaskFilter, TaskPage};
use crate::task::view::BatchRow;
use crate::task::{BatchUid, KINDS, Status, Submission, Task, TaskUid};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

const TASK_COLUMNS: &str = "uid, batch_uid, index_uid, status, kind, canceled_by, details, error, \
                            enqueued_at, started_at, finished_at, custom_metadata";

impl Store {
    /// Records a task under the next uid.
    pub(crate) fn append_task(&self, submission: Submission) -> rusqlite::Result<Task> {
        let Submission {
            index_uid,
            work,
            custom_metadata,
        } = submission;
        let details = work.details(index_uid.as_deref(), None);
        let kind = work.kind();
        let work = to_text(&work)?;
        let enqueued_at = now();
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "INSERT INTO tasks
                 (uid, index_uid, status, kind, work, details, enqueued_at, custom_metadata)
             VALUES ((SELECT COALESCE(MAX(uid) + 1, 0) FROM tasks), ?1, 'enqueued', ?2, ?3, ?4, ?5,
                     ?6)
             RETURNING uid",
        )?;
        let details_text = details.to_string();
        let uid = statement.query_row(
            params![
                index_uid,
                kind,
                work,
                details_text,
                enqueued_at,
                custom_metadata
            ],
            |row| row.get(0),
        )?;
        Ok(Task {
            uid,
            batch_uid: None,
            index_uid,
            status: Status::Enqueued,
            kind,
            canceled_by: None,
            details: Some(details),
            error: None,
            enqueued_at,
            started_at: None,
            finished_at: None,
            custom_metadata,
        })
    }

    pub(crate) fn load_task(&self, uid: TaskUid) -> rusqlite::Result<Option<Task>> {
        let connection = self.connection.lock();
        let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE uid = ?1");
        connection
            .prepare_cached(&sql)?
            .query_row([uid], read_task)
            .optional()
    }

    /// One page of tasks (one more than its limit, when there is one more) and the number of all
    /// that the filter matches.
    pub(crate) fn load_tasks(&self, page: &TaskPage) -> rusqlite::Result<(Vec<Task>, u64)> {
        let (condition, values) = condition_of(&page.filter);
        let (comparison, order) = if page.reverse {
            (">=", "ASC")
        } else {
            ("<=", "DESC")
        };
        let from = match page.from {
            Some(from) => format!(" AND uid {comparison} {from}"),
            None => String::new(),
        };
        let limit = i64::try_from(page.limit.saturating_add(1)).unwrap_or(i64::MAX);
        let connection = self.connection.lock();
        let total = connection
            .prepare(&format!("SELECT COUNT(*) FROM tasks WHERE {condition}"))?
            .query_row(rusqlite::params_from_iter(&values), |row| row.get(0))?;
        let mut statement = connection.prepare(&format!(
            "SELECT {TASK_COLUMNS} FROM tasks WHERE {condition}{from} ORDER BY uid {order} LIMIT {limit}"
        ))?;
        let rows = statement.query_map(rusqlite::params_from_iter(&values), read_task)?;
        Ok((rows.collect::<rusqlite::Result<_>>()?, total))
    }

    /// The uids of all tasks that match, ascending.
    pub(crate) fn load_task_uids(&self, filter: &TaskFilter) -> rusqlite::Result<Vec<TaskUid>> {
        let (condition, values) = condition_of(filter);
        let connection = self.connection.lock();
        let mut statement = connection.prepare(&format!(
            "SELECT uid FROM tasks WHERE {condition} ORDER BY uid"
        ))?;
        let rows = statement.query_map(rusqlite::params_from_iter(&values), |row| row.get(0))?;
        rows.collect()
    }

    /// One page of the batches of matching tasks, as [`Store::load_tasks`], each with its tasks.
    #[expect(
        clippy::type_complexity,
        reason = "a page and its total, as in load_tasks"
    )]
    pub(crate) fn load_batches(
        &self,
        page: &TaskPage,
    ) -> rusqlite::Result<(Vec<(BatchRow, Vec<Task>)>, u64)> {
        let (condition, values) = condition_of(&page.filter);
        let matching = format!(
            "uid IN (SELECT batch_uid FROM tasks WHERE {condition} AND batch_uid IS NOT NULL)"
        );
        let (comparison, order) = if page.reverse {
            (">=", "ASC")
        } else {
            ("<=", "DESC")
        };
        let from = match page.from {
            Some(from) => format!(" AND uid {comparison} {from}"),
            None => String::new(),
        };
        let limit = i64::try_from(page.limit.saturating_add(1)).unwrap_or(i64::MAX);
        let connection = self.connection.lock();
        let total = connection.query_row(
            &format!("SELECT COUNT(*) FROM batches WHERE {matching}"),
            rusqlite::params_from_iter(&values),
            |row| row.get(0),
        )?;
        let mut statement = connection.prepare(&format!(
            "SELECT uid, started_at, finished_at, strategy FROM batches WHERE {matching}{from}
             ORDER BY uid {order} LIMIT {limit}"
        ))?;
        let rows = statement.query_map(rusqlite::params_from_iter(&values), read_batch)?;
        let mut batches = Vec::new();
        for row in rows {
            let row = row?;
            let tasks = tasks_of_batch(&connection, row.uid)?;
            batches.push((row, tasks));
        }
        Ok((batches, total))
    }

    pub(crate) fn load_batch(
        &self,
        uid: BatchUid,
    ) -> rusqlite::Result<Option<(BatchRow, Vec<Task>)>> {
        let connection = self.connection.lock();
        let row = connection
            .query_row(
                "SELECT uid, started_at, finished_at, strategy FROM batches WHERE uid = ?1",
                [uid],
                read_batch,
            )
            .optional()?;
        let Some(row) = row else { return Ok(None) };
        let tasks = tasks_of_batch(&connection, uid)?;
        // A batch all of whose tasks were deleted is gone too.
        Ok((!tasks.is_empty()).then_some((row, tasks)))
    }

    /// Whether an unfinished batch works on this index.
    pub(crate) fn load_is_indexing(&self, index_uid: &str) -> rusqlite::Result<bool> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM tasks WHERE index_uid = ?1 AND status = 'processing')",
        )?;
        statement.query_row([index_uid], |row| row.get(0))
    }
}

/// A condition of SQL and its values. Numbers are written into the text: they need no quoting, and
/// there may be more of them than SQLite has room for values.
fn condition_of(filter: &TaskFilter) -> (String, Vec<Sql>) {
    let mut conditions = vec!["TRUE".to_owned()];
    let mut values = Vec::new();
    for (column, numbers) in [
        ("uid", &filter.uids),
        ("batch_uid", &filter.batch_uids),
        ("canceled_by", &filter.canceled_by),
    ] {
        if let Some(numbers) = numbers {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            conditions.push(format!("{column} IN ({})", numbers.join(",")));
        }
    }
    let kinds = filter
        .kinds
        .as_ref()
        .map(|kinds| kinds.iter().map(|kind| (*kind).to_owned()));
    let statuses = filter
        .statuses
        .as_ref()
        .map(|all| all.iter().map(|status| status.name().to_owned()));
    let texts: [(&str, Option<Vec<String>>); 3] = [
        ("kind", kinds.map(Iterator::collect)),
        ("status", statuses.map(Iterator::collect)),
        ("index_uid", filter.index_uids.clone()),
    ];
    for (column, texts) in texts {
        if let Some(texts) = texts {
            let marks = vec!["?"; texts.len()].join(",");
            conditions.push(format!("{column} IN ({marks})"));
            values.extend(texts.into_iter().map(Sql::Text));
        }
    }
    for bound in &filter.dates {
        let comparison = if bound.is_lower { '>' } else { '<' };
        conditions.push(format!("{} {comparison} {}", bound.column, bound.at));
    }
    (conditions.join(" AND "), values)
}

fn tasks_of_batch(connection: &Connection, uid: BatchUid) -> rusqlite::Result<Vec<Task>> {
    let sql = format!("SELECT {TASK_COLUMNS} FROM tasks WHERE batch_uid = ?1 ORDER BY uid");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([uid], read_task)?;
    rows.collect()
}

fn read_batch(row: &Row<'_>) -> rusqlite::Result<BatchRow> {
    Ok(BatchRow {
        uid: row.get(0)?,
        started_at: row.get(1)?,
        finished_at: row.get(2)?,
        strategy: row.get(3)?,
    })
}

fn read_task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let status: String = row.get(3)?;
    let kind: String = row.get(4)?;
    let wrong = |column: usize| {
        rusqlite::Error::InvalidColumnType(column, String::new(), rusqlite::types::Type::Text)
    };
    Ok(Task {
        uid: row.get(0)?,
        batch_uid: row.get(1)?,
        index_uid: row.get(2)?,
        status: Status::from_name(&status).ok_or_else(|| wrong(3))?,
        kind: KINDS
            .into_iter()
            .find(|known| *known == kind)
            .ok_or_else(|| wrong(4))?,
        canceled_by: row.get(5)?,
        details: read_json(row, 6)?,
        error: read_json(row, 7)?,
        enqueued_at: row.get(8)?,
        started_at: row.get(9)?,
        finished_at: row.get(10)?,
        custom_metadata: row.get(11)?,
    })
}

fn read_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| from_text(&text, column)).transpose()
}

pub(super) fn from_text<T: serde::de::DeserializeOwned>(
    text: &str,
    column: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

fn to_text(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
