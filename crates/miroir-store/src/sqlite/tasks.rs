//! Rows of `tasks` and `inline_payloads`.

use super::error::Sql;
use super::row;
use super::writer::Tx;
use crate::rules;
use bytes::Bytes;
use miroir_core::id::{BatchUid, IndexUid, TaskUid};
use miroir_core::task::{TaskKind, TaskStatus};
use miroir_engine::port::{KeptPayload, NewEntry, PayloadRef, StoreError, TaskRecord};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

const SELECT: &str = "SELECT uid, batch_uid, index_uid, status, operation, payload, canceled_by,
    details, error, custom_metadata, enqueued_at, started_at, finished_at FROM tasks";

pub(super) fn append(tx: &mut Tx<'_>, entries: Vec<NewEntry>) -> Sql<Vec<TaskUid>> {
    let mut uids = Vec::with_capacity(entries.len());
    for entry in entries {
        let uid = TaskUid(tx.take_task_uid());
        insert(tx, &rules::new_task(uid, entry)?)?;
        uids.push(uid);
    }
    Ok(uids)
}

fn insert(connection: &Connection, task: &TaskRecord) -> Sql<()> {
    let uid = row::int(task.uid.0)?;
    connection
        .prepare_cached(
            "INSERT INTO tasks (uid, index_uid, status, kind, operation, payload, details,
                custom_metadata, enqueued_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            uid,
            task.index_uid.as_ref().map_or("", |uid| uid.as_str()),
            row::status_code(task.status),
            row::kind_code(task.operation.kind()),
            row::to_json(&task.operation)?,
            row::opt_json(task.payload.as_ref())?,
            row::to_json(&task.details)?,
            task.custom_metadata,
            row::nanos(task.enqueued_at)?,
        ])?;
    if let Some(bytes) = &task.inline_payload {
        connection
            .prepare_cached("INSERT INTO inline_payloads VALUES (?1, ?2)")?
            .execute(params![uid, bytes.as_ref()])?;
    }
    Ok(())
}

pub(super) fn add_past(tx: &mut Tx<'_>, task: &TaskRecord) -> Sql<()> {
    let task = rules::past_task(task)?;
    if load(tx, task.uid)?.is_some() {
        return Err(rules::taken("task", task.uid).into());
    }
    tx.pass_task_uid(task.uid.0);
    insert(tx, &task)?;
    update(tx, &task)
}

pub(super) fn update(connection: &Connection, task: &TaskRecord) -> Sql<()> {
    let changed = connection
        .prepare_cached(
            "UPDATE tasks SET batch_uid = ?2, index_uid = ?3, status = ?4, canceled_by = ?5,
                details = ?6, error = ?7, started_at = ?8, finished_at = ?9
             WHERE uid = ?1",
        )?
        .execute(params![
            row::int(task.uid.0)?,
            row::opt_int(task.batch_uid.map(|uid| uid.0))?,
            task.index_uid.as_ref().map_or("", |uid| uid.as_str()),
            row::status_code(task.status),
            row::opt_int(task.canceled_by.map(|uid| uid.0))?,
            row::to_json(&task.details)?,
            row::opt_json(task.error.as_ref())?,
            row::opt_nanos(task.started_at)?,
            row::opt_nanos(task.finished_at)?,
        ])?;
    if changed == 0 {
        return Err(rules::missing("task", task.uid).into());
    }
    Ok(())
}

pub(super) fn forget_payload(connection: &Connection, uid: TaskUid) -> Sql<()> {
    let uid = row::int(uid.0)?;
    connection
        .prepare_cached("UPDATE tasks SET payload = NULL WHERE uid = ?1 AND payload IS NOT NULL")?
        .execute([uid])?;
    connection
        .prepare_cached("DELETE FROM inline_payloads WHERE task_uid = ?1")?
        .execute([uid])?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, uid: TaskUid) -> Sql<()> {
    let found: Option<i64> = connection
        .prepare_cached("DELETE FROM tasks WHERE uid = ?1 RETURNING status")?
        .query_row([row::int(uid.0)?], |row| row.get(0))
        .optional()?;
    let Some(code) = found else { return Ok(()) };
    if !row::status(code)?.is_final() {
        return Err(StoreError::Conflict(format!("the task {uid} is not final")).into());
    }
    connection
        .prepare_cached("DELETE FROM inline_payloads WHERE task_uid = ?1")?
        .execute([row::int(uid.0)?])?;
    Ok(())
}

/// Exchanges two names in all tasks before one: a statement over the index for those that belong to
/// one of them, and a walk over the swaps, of which there are few.
pub(super) fn exchange_names(
    connection: &Connection,
    before: TaskUid,
    names: &(IndexUid, IndexUid),
) -> Sql<()> {
    let before = row::int(before.0)?;
    connection
        .prepare_cached(
            "UPDATE tasks SET index_uid = CASE index_uid WHEN ?1 THEN ?2 ELSE ?1 END
             WHERE index_uid IN (?1, ?2) AND uid < ?3",
        )?
        .execute(params![names.0.as_str(), names.1.as_str(), before])?;
    let mut changed = Vec::new();
    {
        let mut statement = connection.prepare_cached(&format!(
            "{SELECT} WHERE index_uid = '' AND status IN (0, 1, 2, 3, 4) AND kind = ?1 AND uid < ?2"
        ))?;
        let swap = row::kind_code(TaskKind::IndexSwap);
        let mut rows = statement.query(params![swap, before])?;
        while let Some(found) = rows.next()? {
            let mut task = decode(found)?;
            if rules::exchange_details(&task.operation, &mut task.details, names) {
                changed.push(task);
            }
        }
    }
    changed.iter().try_for_each(|task| update(connection, task))
}

/// The statement that loads one task by uid.
pub(super) fn select_one(connection: &Connection) -> Sql<CachedStatement<'_>> {
    Ok(connection.prepare_cached(&format!("{SELECT} WHERE uid = ?1"))?)
}

pub(super) fn load(connection: &Connection, uid: TaskUid) -> Sql<Option<TaskRecord>> {
    // A uid that no row can have names no task.
    let Ok(uid) = row::int(uid.0) else {
        return Ok(None);
    };
    let mut statement = select_one(connection)?;
    let mut rows = statement.query([uid])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    let mut task = decode(found)?;
    task.inline_payload = load_inline_payload(connection, uid)?;
    Ok(Some(task))
}

pub(super) fn load_pending(
    connection: &Connection,
    after: Option<TaskUid>,
    limit: usize,
) -> Sql<Vec<TaskRecord>> {
    let after = match after.map(|uid| row::int(uid.0)) {
        None => -1,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Ok(Vec::new()),
    };
    // The two conditions are those of the partial index, word for word; the planner needs that.
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} INDEXED BY tasks_pending
         WHERE status = 0 AND batch_uid IS NULL AND uid > ?1 ORDER BY uid LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut tasks = Vec::new();
    while let Some(found) = rows.next()? {
        let mut task = decode(found)?;
        task.inline_payload = load_inline_payload(connection, row::int(task.uid.0)?)?;
        tasks.push(task);
    }
    Ok(tasks)
}

/// Payloads of final tasks: of those in the log the sizes alone are read.
pub(super) fn load_kept(
    connection: &Connection,
    after: Option<TaskUid>,
    limit: usize,
) -> Sql<Vec<KeptPayload>> {
    let after = match after.map(|uid| row::int(uid.0)) {
        None => -1,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Ok(Vec::new()),
    };
    let mut statement = connection.prepare_cached(
        "SELECT tasks.uid, finished_at, payload, length(bytes)
         FROM tasks LEFT JOIN inline_payloads ON task_uid = tasks.uid
         WHERE tasks.uid > ?1 AND status IN (2, 3, 4) AND finished_at IS NOT NULL
            AND (payload IS NOT NULL OR bytes IS NOT NULL)
         ORDER BY tasks.uid LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut kept = Vec::new();
    while let Some(found) = rows.next()? {
        let file: Option<PayloadRef> = row::opt_from_json(found.get(2)?, "payload reference")?;
        let inline = row::opt_uint(found.get(3)?, "payload length")?;
        let bytes = match &file {
            Some(PayloadRef::File { bytes, .. }) => *bytes,
            None => inline.unwrap_or(0),
        };
        kept.push(KeptPayload {
            task: TaskUid(row::uint(found.get(0)?, "task uid")?),
            finished_at: row::timestamp(found.get(1)?)?,
            bytes,
            file,
        });
    }
    Ok(kept)
}

pub(super) fn count_by_status(connection: &Connection) -> Sql<BTreeMap<TaskStatus, u64>> {
    let mut statement =
        connection.prepare_cached("SELECT status, SUM(count) FROM task_counts GROUP BY status")?;
    let mut rows = statement.query([])?;
    let mut counts = BTreeMap::new();
    while let Some(found) = rows.next()? {
        counts.insert(
            row::status(found.get(0)?)?,
            row::uint(found.get(1)?, "task count")?,
        );
    }
    Ok(counts)
}

fn load_inline_payload(connection: &Connection, uid: i64) -> Sql<Option<Bytes>> {
    let bytes: Option<Vec<u8>> = connection
        .prepare_cached("SELECT bytes FROM inline_payloads WHERE task_uid = ?1")?
        .query_row([uid], |row| row.get(0))
        .optional()?;
    Ok(bytes.map(Bytes::from))
}

/// The task of a row of [`SELECT`], without its inline payload.
pub(super) fn decode(found: &Row<'_>) -> Sql<TaskRecord> {
    let index_uid: String = found.get(2)?;
    let operation: String = found.get(4)?;
    let details: String = found.get(7)?;
    Ok(TaskRecord {
        uid: TaskUid(row::uint(found.get(0)?, "task uid")?),
        batch_uid: row::opt_uint(found.get(1)?, "batch uid")?.map(BatchUid),
        index_uid: match index_uid.as_str() {
            "" => None,
            _ => Some(row::index_uid(index_uid)?),
        },
        status: row::status(found.get(3)?)?,
        operation: row::from_json(&operation, "operation")?,
        inline_payload: None,
        payload: row::opt_from_json(found.get(5)?, "payload reference")?,
        canceled_by: row::opt_uint(found.get(6)?, "task uid")?.map(TaskUid),
        details: row::from_json(&details, "details")?,
        error: row::opt_from_json(found.get(8)?, "task error")?,
        custom_metadata: found.get(9)?,
        enqueued_at: row::timestamp(found.get(10)?)?,
        started_at: row::opt_timestamp(found.get(11)?)?,
        finished_at: row::opt_timestamp(found.get(12)?)?,
    })
}
