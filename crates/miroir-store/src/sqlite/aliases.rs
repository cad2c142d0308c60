//! Aliases and the states they were in.

use super::error::Sql;
use super::{SqliteStore, catalog, row};
use crate::rules;
use async_trait::async_trait;
use miroir_core::id::IndexUid;
use miroir_engine::coordination::{
    ALIAS_HISTORY_MAX, AliasChange, AliasRecord, AliasTarget, Aliases,
};
use miroir_engine::port::{StoreError, Timestamp};
use rusqlite::{Connection, Row, params};

fn decode_change(found: &Row<'_>) -> Sql<AliasChange> {
    Ok(AliasChange {
        version: row::uint(found.get(0)?, "alias version")?,
        target: row::opt_from_json(found.get(1)?, "alias target")?,
        changed_at: row::timestamp(found.get(2)?)?,
    })
}

fn load_history(connection: &Connection, name: &IndexUid, limit: usize) -> Sql<Vec<AliasChange>> {
    let mut statement = connection.prepare_cached(
        "SELECT version, target, changed_at FROM alias_history
         WHERE name = ?1 ORDER BY version DESC LIMIT ?2",
    )?;
    let mut rows = statement.query(params![
        name.as_str(),
        i64::try_from(limit).unwrap_or(i64::MAX)
    ])?;
    let mut history = Vec::new();
    while let Some(found) = rows.next()? {
        history.push(decode_change(found)?);
    }
    Ok(history)
}

/// Takes the next step of an alias and forgets the step that is too old.
fn change(
    connection: &Connection,
    name: &IndexUid,
    target: Option<AliasTarget>,
    expected: Option<u64>,
    now: Timestamp,
) -> Sql<AliasChange> {
    let latest = load_history(connection, name, 1)?;
    let change = rules::change_alias(latest.first(), target, expected, now)?;
    let version = row::int(change.version)?;
    connection
        .prepare_cached("INSERT INTO alias_history VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            name.as_str(),
            version,
            row::opt_json(change.target.as_ref())?,
            row::nanos(change.changed_at)?
        ])?;
    connection
        .prepare_cached("DELETE FROM alias_history WHERE name = ?1 AND version <= ?2")?
        .execute(params![name.as_str(), version - ALIAS_HISTORY_MAX as i64])?;
    Ok(change)
}

#[async_trait]
impl Aliases for SqliteStore {
    async fn load_aliases(&self) -> Result<Vec<AliasRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT name, target, version, updated_at FROM aliases ORDER BY name";
            catalog::load_all(connection, sql, |found| {
                let target: String = found.get(1)?;
                Ok(AliasRecord {
                    name: row::index_uid(found.get(0)?)?,
                    target: row::from_json(&target, "alias target")?,
                    version: row::uint(found.get(2)?, "alias version")?,
                    updated_at: row::timestamp(found.get(3)?)?,
                })
            })
        })
        .await
    }

    async fn put_alias(
        &self,
        name: &IndexUid,
        target: AliasTarget,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<AliasRecord, StoreError> {
        let name = name.clone();
        self.write(move |tx| {
            let version = change(tx, &name, Some(target.clone()), expected, now)?.version;
            tx.prepare_cached("INSERT OR REPLACE INTO aliases VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    name.as_str(),
                    row::to_json(&target)?,
                    row::int(version)?,
                    row::nanos(now)?
                ])?;
            Ok(AliasRecord {
                name,
                target,
                version,
                updated_at: now,
            })
        })
        .await
    }

    async fn remove_alias(&self, name: &IndexUid, now: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |tx| {
            let gone = tx
                .prepare_cached("DELETE FROM aliases WHERE name = ?1")?
                .execute([name.as_str()])?;
            if gone > 0 {
                change(tx, &name, None, None, now)?;
            }
            Ok(())
        })
        .await
    }

    async fn load_alias_history(&self, name: &IndexUid) -> Result<Vec<AliasChange>, StoreError> {
        let name = name.clone();
        self.read(move |connection| load_history(connection, &name, ALIAS_HISTORY_MAX))
            .await
    }
}
