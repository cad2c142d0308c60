//! Names of indexes, and the engine's keys behind them.

use crate::clock::Nanos;
use crate::store::Store;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) uid: String,
    /// What the engine calls it; it never changes, names do.
    pub(crate) key: String,
    pub(crate) primary_key: Option<String>,
    pub(crate) created_at: Nanos,
    pub(crate) updated_at: Nanos,
}

/// What a batch does to the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IndexChange {
    /// Creates the index or records its new state.
    Put(IndexRow),
    Remove(String),
    /// The two change places, and so do they in all tasks.
    Swap(String, String),
    /// The second takes the place of the first, in all tasks too.
    Rename(String, String),
}

impl Store {
    /// All indexes by name, as of now.
    pub(crate) fn get_indexes(&self) -> Arc<BTreeMap<String, IndexRow>> {
        Arc::clone(&self.indexes.read())
    }

    pub(crate) fn get_index(&self, uid: &str) -> Option<IndexRow> {
        self.indexes.read().get(uid).cloned()
    }
}

pub(super) fn load_all(connection: &Connection) -> rusqlite::Result<BTreeMap<String, IndexRow>> {
    let mut statement =
        connection.prepare("SELECT uid, key, primary_key, created_at, updated_at FROM indexes")?;
    let rows = statement.query_map([], |row| {
        Ok(IndexRow {
            uid: row.get(0)?,
            key: row.get(1)?,
            primary_key: row.get(2)?,
            created_at: row.get(3)?,
            updated_at: row.get(4)?,
        })
    })?;
    rows.map(|row| row.map(|row| (row.uid.clone(), row)))
        .collect()
}

/// Applies one change to the names in memory; the tables follow with [`save`].
pub(super) fn apply(indexes: &mut BTreeMap<String, IndexRow>, change: &IndexChange) {
    match change {
        IndexChange::Put(row) => {
            indexes.insert(row.uid.clone(), row.clone());
        }
        IndexChange::Remove(uid) => {
            indexes.remove(uid);
        }
        IndexChange::Swap(one, two) => {
            let (first, second) = (indexes.remove(one), indexes.remove(two));
            put_as(indexes, two, first);
            put_as(indexes, one, second);
        }
        IndexChange::Rename(old, new) => {
            let row = indexes.remove(old);
            put_as(indexes, new, row);
        }
    }
}

fn put_as(indexes: &mut BTreeMap<String, IndexRow>, uid: &str, row: Option<IndexRow>) {
    if let Some(row) = row {
        indexes.insert(
            uid.to_owned(),
            IndexRow {
                uid: uid.to_owned(),
                ..row
            },
        );
    }
}

/// Writes the rows that differ from what was there before.
pub(super) fn save(
    transaction: &Transaction<'_>,
    before: &BTreeMap<String, IndexRow>,
    after: &BTreeMap<String, IndexRow>,
) -> rusqlite::Result<()> {
    for uid in before.keys().filter(|uid| !after.contains_key(*uid)) {
        transaction.execute("DELETE FROM indexes WHERE uid = ?1", [uid])?;
    }
    for row in after
        .values()
        .filter(|row| before.get(&row.uid) != Some(row))
    {
        let mut statement = transaction
            .prepare_cached("INSERT OR REPLACE INTO indexes VALUES (?1, ?2, ?3, ?4, ?5)")?;
        statement.execute(params![
            row.uid,
            row.key,
            row.primary_key,
            row.created_at,
            row.updated_at
        ])?;
    }
    Ok(())
}

/// Tasks follow the names of their indexes, finished ones too, as on a real node.
pub(super) fn rename_in_tasks(
    transaction: &Transaction<'_>,
    change: &IndexChange,
) -> rusqlite::Result<()> {
    match change {
        IndexChange::Put(_) | IndexChange::Remove(_) => {}
        IndexChange::Swap(one, two) => {
            transaction.execute(
                "UPDATE tasks SET index_uid = CASE index_uid WHEN ?1 THEN ?2 ELSE ?1 END
                 WHERE index_uid IN (?1, ?2)",
                [one, two],
            )?;
        }
        IndexChange::Rename(old, new) => {
            transaction.execute(
                "UPDATE tasks SET index_uid = ?2 WHERE index_uid = ?1",
                [old, new],
            )?;
        }
    }
    Ok(())
}
