//! Indexes, placements, nodes, settings versions and facts.

use super::error::Sql;
use super::{SqliteStore, row};
use crate::rules;
use async_trait::async_trait;
use miroir_core::id::{BatchUid, DocumentSeq, Epoch, IndexUid, NodeId, PhysicalIndex, TaskUid};
use miroir_engine::port::{Catalog, IndexRecord, NodeRecord, NodeSettingsVersion, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

pub(super) fn put_index(connection: &Connection, index: &IndexRecord) -> Sql<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO indexes
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            index.uid.as_str(),
            index.physical.as_str(),
            index.primary_key,
            index.shard_count,
            index.replication_factor,
            row::int(index.epoch.0)?,
            row::to_json(&index.settings)?,
            row::opt_int(index.settings_version.map(|task| task.0))?,
            row::int(index.next_seq.0)?,
            row::opt_int(index.changed_by.map(|batch| batch.0))?,
            row::nanos(index.created_at)?,
            row::nanos(index.updated_at)?,
        ])?;
    Ok(())
}

pub(super) fn remove_index(connection: &Connection, uid: &IndexUid) -> Sql<()> {
    let physical: Option<String> = connection
        .prepare_cached("DELETE FROM indexes WHERE uid = ?1 RETURNING physical")?
        .query_row([uid.as_str()], |row| row.get(0))
        .optional()?;
    match physical {
        Some(physical) => remove_placement(connection, &PhysicalIndex::from_stored(physical)),
        None => Ok(()),
    }
}

pub(super) fn remove_placement(connection: &Connection, physical: &PhysicalIndex) -> Sql<()> {
    connection
        .prepare_cached("DELETE FROM placements WHERE physical = ?1")?
        .execute([physical.as_str()])?;
    connection
        .prepare_cached("DELETE FROM node_settings_version WHERE physical = ?1")?
        .execute([physical.as_str()])?;
    Ok(())
}

pub(super) fn rename_index(connection: &Connection, from: &IndexUid, to: &IndexUid) -> Sql<()> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM indexes WHERE uid = ?1")?;
    if !statement.exists([from.as_str()])? {
        return Err(rules::missing("index", from).into());
    }
    if from == to {
        return Ok(());
    }
    if statement.exists([to.as_str()])? {
        return Err(StoreError::Conflict(format!("there is an index {to}")).into());
    }
    connection
        .prepare_cached("UPDATE indexes SET uid = ?2 WHERE uid = ?1")?
        .execute([from.as_str(), to.as_str()])?;
    Ok(())
}

pub(super) fn put_placement(
    connection: &Connection,
    index: &PhysicalIndex,
    epoch: Epoch,
    replica_sets: &[Vec<NodeId>],
) -> Sql<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO placements VALUES (?1, ?2, ?3)")?
        .execute(params![
            index.as_str(),
            row::int(epoch.0)?,
            row::to_json(&replica_sets)?
        ])?;
    Ok(())
}

pub(super) fn put_node(connection: &Connection, node: &NodeRecord) -> Sql<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            node.id.as_str(),
            node.url,
            node.zone,
            node.weight_milli,
            node.is_in_sync,
            node.out_of_sync_reason,
            row::opt_int(node.applied_batch.map(|batch| batch.0))?,
        ])?;
    Ok(())
}

/// A node that comes back under its old name is a new one: what was known of it goes with it.
pub(super) fn remove_node(connection: &Connection, id: &NodeId) -> Sql<()> {
    connection
        .prepare_cached("DELETE FROM nodes WHERE id = ?1")?
        .execute([id.as_str()])?;
    connection
        .prepare_cached("DELETE FROM node_settings_version WHERE node = ?1")?
        .execute([id.as_str()])?;
    Ok(())
}

pub(super) fn put_settings_version(
    connection: &Connection,
    version: &NodeSettingsVersion,
) -> Sql<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO node_settings_version VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            version.index.as_str(),
            version.node.as_str(),
            row::int(version.version.0)?,
            row::nanos(version.updated_at)?,
        ])?;
    Ok(())
}

pub(super) fn put_fact(connection: &Connection, key: &str, value: &Value) -> Sql<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2)")?
        .execute(params![key, row::to_json(value)?])?;
    Ok(())
}

/// All rows of a statement without parameters, decoded.
pub(super) fn load_all<T>(
    connection: &Connection,
    sql: &str,
    decode: impl Fn(&Row<'_>) -> Sql<T>,
) -> Sql<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(found) = rows.next()? {
        records.push(decode(found)?);
    }
    Ok(records)
}

fn decode_index(found: &Row<'_>) -> Sql<IndexRecord> {
    let settings: String = found.get(6)?;
    Ok(IndexRecord {
        uid: row::index_uid(found.get(0)?)?,
        physical: PhysicalIndex::from_stored(found.get::<_, String>(1)?),
        primary_key: found.get(2)?,
        shard_count: row::uint(found.get(3)?, "shard count")?,
        replication_factor: row::uint(found.get(4)?, "replication factor")?,
        epoch: Epoch(row::uint(found.get(5)?, "epoch")?),
        settings: row::from_json(&settings, "settings")?,
        settings_version: row::opt_uint(found.get(7)?, "settings version")?.map(TaskUid),
        next_seq: DocumentSeq(row::uint(found.get(8)?, "document sequence")?),
        changed_by: row::opt_uint(found.get(9)?, "batch uid")?.map(BatchUid),
        created_at: row::timestamp(found.get(10)?)?,
        updated_at: row::timestamp(found.get(11)?)?,
    })
}

fn decode_node(found: &Row<'_>) -> Sql<NodeRecord> {
    Ok(NodeRecord {
        id: NodeId::new(found.get::<_, String>(0)?),
        url: found.get(1)?,
        zone: found.get(2)?,
        weight_milli: row::uint(found.get(3)?, "weight")?,
        is_in_sync: found.get(4)?,
        out_of_sync_reason: found.get(5)?,
        applied_batch: row::opt_uint(found.get(6)?, "batch uid")?.map(BatchUid),
    })
}

fn decode_settings_version(found: &Row<'_>) -> Sql<NodeSettingsVersion> {
    Ok(NodeSettingsVersion {
        index: PhysicalIndex::from_stored(found.get::<_, String>(0)?),
        node: NodeId::new(found.get::<_, String>(1)?),
        version: TaskUid(row::uint(found.get(2)?, "settings version")?),
        updated_at: row::timestamp(found.get(3)?)?,
    })
}

#[async_trait]
impl Catalog for SqliteStore {
    async fn load_indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        self.read(|connection| {
            load_all(
                connection,
                "SELECT uid, physical, primary_key, shard_count, replication_factor, epoch,
                    settings, settings_version, next_seq, changed_by, created_at, updated_at
                 FROM indexes ORDER BY uid",
                decode_index,
            )
        })
        .await
    }

    async fn load_placement(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<(Epoch, Vec<Vec<NodeId>>)>, StoreError> {
        let index = index.clone();
        self.read(move |connection| {
            let found: Option<(i64, String)> = connection
                .prepare_cached("SELECT epoch, replica_sets FROM placements WHERE physical = ?1")?
                .query_row([index.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((epoch, replica_sets)) = found else {
                return Ok(None);
            };
            let epoch = Epoch(row::uint(epoch, "epoch")?);
            Ok(Some((epoch, row::from_json(&replica_sets, "placement")?)))
        })
        .await
    }

    async fn load_nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        self.read(|connection| {
            load_all(
                connection,
                "SELECT id, url, zone, weight_milli, is_in_sync, out_of_sync_reason, applied_batch
                 FROM nodes ORDER BY id",
                decode_node,
            )
        })
        .await
    }

    async fn load_node_settings_versions(&self) -> Result<Vec<NodeSettingsVersion>, StoreError> {
        self.read(|connection| {
            load_all(
                connection,
                "SELECT physical, node, version, updated_at FROM node_settings_version
                 ORDER BY physical, node",
                decode_settings_version,
            )
        })
        .await
    }

    async fn load_fact(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| {
            let found: Option<String> = connection
                .prepare_cached("SELECT value FROM facts WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?;
            Ok(row::opt_from_json(found, "fact")?)
        })
        .await
    }
}
