//! Rows of `batches`, `batch_contents` and `deliveries`.

use super::error::Sql;
use super::row;
use crate::rules;
use miroir_core::id::{BatchUid, NodeId};
use miroir_engine::port::{BatchRecord, Delivery, StoreError, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

const LAST_BATCH_UID: &str = "last_batch_uid";

pub(super) fn put(connection: &Connection, batch: &BatchRecord) -> Sql<()> {
    let uid = row::int(batch.uid.0)?;
    connection
        .prepare_cached(
            "INSERT INTO batches VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET is_done = excluded.is_done,
                started_at = excluded.started_at, finished_at = excluded.finished_at",
        )?
        .execute(params![
            uid,
            batch.is_done,
            row::nanos(batch.started_at)?,
            row::opt_nanos(batch.finished_at)?,
        ])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO batch_contents VALUES (?1, ?2, ?3)")?
        .execute(params![
            uid,
            row::to_json(&batch.tasks)?,
            row::to_json(&batch.plan)?
        ])?;
    connection
        .prepare_cached("DELETE FROM deliveries WHERE batch_uid = ?1")?
        .execute([uid])?;
    for (node, delivery) in &batch.deliveries {
        insert_delivery(connection, uid, node, delivery)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO counters VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        )?
        .execute(params![LAST_BATCH_UID, uid])?;
    Ok(())
}

pub(super) fn put_delivery(
    connection: &Connection,
    batch: BatchUid,
    node: &NodeId,
    delivery: &Delivery,
) -> Sql<()> {
    let uid = row::int(batch.0)?;
    let is_there = connection
        .prepare_cached("SELECT 1 FROM batches WHERE uid = ?1")?
        .exists([uid])?;
    if !is_there {
        return Err(rules::missing("batch", batch).into());
    }
    insert_delivery(connection, uid, node, delivery)
}

fn insert_delivery(
    connection: &Connection,
    batch_uid: i64,
    node: &NodeId,
    delivery: &Delivery,
) -> Sql<()> {
    connection
        .prepare_cached(
            "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET is_applied = excluded.is_applied,
                delivery = excluded.delivery",
        )?
        .execute(params![
            batch_uid,
            node.as_str(),
            delivery.is_applied,
            row::to_json(delivery)?
        ])?;
    Ok(())
}

pub(super) fn finish(connection: &Connection, batch: BatchUid, moment: Timestamp) -> Sql<()> {
    let changed = connection
        .prepare_cached("UPDATE batches SET is_done = TRUE, finished_at = ?2 WHERE uid = ?1")?
        .execute(params![row::int(batch.0)?, row::nanos(moment)?])?;
    if changed == 0 {
        return Err(rules::missing("batch", batch).into());
    }
    Ok(())
}

pub(super) fn remove(connection: &Connection, batch: BatchUid) -> Sql<()> {
    let uid = row::int(batch.0)?;
    let is_done: Option<bool> = connection
        .prepare_cached("DELETE FROM batches WHERE uid = ?1 RETURNING is_done")?
        .query_row([uid], |row| row.get(0))
        .optional()?;
    let Some(is_done) = is_done else {
        return Ok(());
    };
    if !is_done {
        return Err(StoreError::Conflict(format!("the batch {batch} is not done")).into());
    }
    let has_tasks = connection
        .prepare_cached(
            "SELECT 1 FROM tasks WHERE uid IN (
                SELECT value FROM batch_contents, json_each(tasks) WHERE batch_uid = ?1)",
        )?
        .exists([uid])?;
    if has_tasks {
        return Err(StoreError::Conflict(format!("the batch {batch} still has tasks")).into());
    }
    remove_contents(connection, uid)
}

/// Removes those of these batches that nothing needs any more.
pub(super) fn sweep(connection: &Connection, uids: &[BatchUid]) -> Sql<()> {
    for uid in uids {
        let uid = row::int(uid.0)?;
        let gone = connection
            .prepare_cached(
                "DELETE FROM batches WHERE uid = ?1 AND is_done
                    AND NOT EXISTS (SELECT 1 FROM tasks WHERE batch_uid = ?1)
                    AND NOT EXISTS (SELECT 1 FROM deliveries
                        WHERE batch_uid = ?1 AND is_applied = 0)",
            )?
            .execute([uid])?;
        if gone > 0 {
            remove_contents(connection, uid)?;
        }
    }
    Ok(())
}

fn remove_contents(connection: &Connection, uid: i64) -> Sql<()> {
    connection
        .prepare_cached("DELETE FROM batch_contents WHERE batch_uid = ?1")?
        .execute([uid])?;
    connection
        .prepare_cached("DELETE FROM deliveries WHERE batch_uid = ?1")?
        .execute([uid])?;
    Ok(())
}

pub(super) fn load(connection: &Connection, uid: BatchUid) -> Sql<Option<BatchRecord>> {
    // A uid that no row can have names no batch.
    let Ok(uid) = row::int(uid.0) else {
        return Ok(None);
    };
    load_stored(connection, uid)
}

pub(super) fn load_open(connection: &Connection) -> Sql<Vec<BatchRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT uid FROM batches WHERE is_done = 0
         UNION SELECT batch_uid FROM deliveries WHERE is_applied = 0
         ORDER BY 1",
    )?;
    let uids: Vec<i64> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut batches = Vec::with_capacity(uids.len());
    for uid in uids {
        batches.extend(load_stored(connection, uid)?);
    }
    Ok(batches)
}

pub(super) fn load_last_uid(connection: &Connection) -> Sql<Option<BatchUid>> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([LAST_BATCH_UID], |row| row.get(0))
        .optional()?;
    Ok(row::opt_uint(found, "batch uid")?.map(BatchUid))
}

fn load_stored(connection: &Connection, uid: i64) -> Sql<Option<BatchRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT uid, tasks, plan, is_done, started_at, finished_at
         FROM batches JOIN batch_contents ON batch_uid = uid WHERE uid = ?1",
    )?;
    let mut rows = statement.query([uid])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(BatchRecord {
        deliveries: load_deliveries(connection, uid)?,
        ..decode(found)?
    }))
}

fn load_deliveries(connection: &Connection, batch: i64) -> Sql<BTreeMap<NodeId, Delivery>> {
    let mut statement =
        connection.prepare_cached("SELECT node, delivery FROM deliveries WHERE batch_uid = ?1")?;
    let mut rows = statement.query([batch])?;
    let mut deliveries = BTreeMap::new();
    while let Some(found) = rows.next()? {
        let node: String = found.get(0)?;
        let delivery: String = found.get(1)?;
        deliveries.insert(NodeId::new(node), row::from_json(&delivery, "delivery")?);
    }
    Ok(deliveries)
}

fn decode(found: &Row<'_>) -> Sql<BatchRecord> {
    let tasks: String = found.get(1)?;
    let plan: String = found.get(2)?;
    Ok(BatchRecord {
        uid: BatchUid(row::uint(found.get(0)?, "batch uid")?),
        tasks: row::from_json(&tasks, "tasks of a batch")?,
        plan: row::from_json(&plan, "plan of a batch")?,
        deliveries: BTreeMap::new(),
        is_done: found.get(3)?,
        started_at: row::timestamp(found.get(4)?)?,
        finished_at: row::opt_timestamp(found.get(5)?)?,
    })
}
