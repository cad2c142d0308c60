//! What survives the death of the process: tasks, batches, names of indexes, keys, flags.
//!
//! One SQLite file with one connection. Write-ahead logging with `synchronous=NORMAL` keeps every
//! commit through SIGKILL (the pages are the operating system's by then); a power cut may lose the
//! newest ones, which is good enough for a stand-in.
//!
//! The names of the indexes are also kept in memory, since every read needs them. They change in
//! the same breath as the tasks that caused it: whoever sees a task succeeded sees its index.

mod indexes;
mod queue;
mod tasks;

pub(crate) use indexes::{IndexChange, IndexRow};
pub(crate) use queue::{BatchEnd, TaskEnd};

use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How often a statement is kept compiled; there are about two dozen.
const STATEMENT_CACHE_LEN: usize = 64;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tasks (
    uid INTEGER PRIMARY KEY,
    batch_uid INTEGER,
    index_uid TEXT,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,
    work TEXT NOT NULL,
    details TEXT,
    error TEXT,
    canceled_by INTEGER,
    enqueued_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    custom_metadata TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks (status, uid);
CREATE INDEX IF NOT EXISTS tasks_waiting ON tasks (kind, uid) WHERE status = 'enqueued';
CREATE INDEX IF NOT EXISTS tasks_by_index ON tasks (index_uid, status, uid);
CREATE INDEX IF NOT EXISTS tasks_by_batch ON tasks (batch_uid);
CREATE TABLE IF NOT EXISTS batches (
    uid INTEGER PRIMARY KEY,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    strategy TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS indexes (
    uid TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    primary_key TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (uid TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// The durable state of a node.
pub(crate) struct Store {
    connection: Mutex<Connection>,
    indexes: RwLock<Arc<BTreeMap<String, IndexRow>>>,
}

impl Store {
    /// Opens or makes the store. Tasks that were being processed wait again.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE_LEN);
        connection.execute_batch(SCHEMA)?;
        queue::recover(&connection)?;
        let indexes = indexes::load_all(&connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
            indexes: RwLock::new(Arc::new(indexes)),
        })
    }

    /// A fact kept under a name, such as the experimental flags.
    pub(crate) fn load_fact(&self, name: &str) -> rusqlite::Result<Option<String>> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached("SELECT value FROM facts WHERE name = ?1")?;
        statement.query_row([name], |row| row.get(0)).optional()
    }

    pub(crate) fn put_fact(&self, name: &str, value: &str) -> rusqlite::Result<()> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2)")?;
        statement.execute(params![name, value]).map(|_count| ())
    }

    /// All API keys as (uid, record).
    pub(crate) fn load_keys(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT uid, record FROM keys")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    pub(crate) fn put_key(&self, uid: &str, record: &str) -> rusqlite::Result<()> {
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2)")?;
        statement.execute(params![uid, record]).map(|_count| ())
    }

    pub(crate) fn remove_key(&self, uid: &str) -> rusqlite::Result<()> {
        let connection = self.connection.lock();
        connection
            .execute("DELETE FROM keys WHERE uid = ?1", [uid])
            .map(|_count| ())
    }
}
