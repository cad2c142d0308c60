//! The store of a single proxy: one SQLite database and a folder of payload files.
//!
//! - One thread writes (`writer`): all that waits shares one transaction and one sync.
//! - A few connections read (`reader`), each call in one read transaction: a consistent view that
//!   never waits for the writer.
//! - `schema` brings an older database up to date and refuses a newer one.
//!
//! No call holds one connection while it waits for another, so there is nothing to deadlock on.

mod aliases;
mod backup;
mod batches;
mod catalog;
mod coordination;
mod error;
mod health;
mod instance;
mod jobs;
mod list;
mod list_batches;
mod place;
mod reader;
mod row;
mod schema;
mod task_log;
mod tasks;
mod writer;

use crate::files::{FilePayloads, FolderLock, check_writable};
pub use backup::restore;
use error::Sql;
use miroir_engine::port::StoreError;
use place::Place;
use reader::Readers;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use writer::{Tx, Writer};

/// How long a statement waits for a lock of the database file. The folder is ours alone, so only a
/// tool that looks at the file from outside can make us wait.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The statements kept prepared for each connection: all that there are, with room.
const STATEMENTS_CACHED: usize = 128;

/// The page cache of the writer, in KiB: the inner pages of the indexes of some million tasks.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    // In the order of dropping: readers first, so that the writer is the last to close and folds
    // the write-ahead log into the database; the lock last.
    readers: Readers,
    writer: Writer,
    payloads: Arc<FilePayloads>,
    folder: PathBuf,
    _lock: Arc<FolderLock>,
}

/// Opens the store in the folder `path`, makes it if needed and brings its schema up to date.
///
/// # Errors
/// [`StoreError::Locked`] with the folder's name if another process has it,
/// [`StoreError::NewerSchema`] if a newer Miroir wrote it, else what the disk says.
pub fn open(path: &Path) -> Result<Arc<SqliteStore>, StoreError> {
    let lock = FolderLock::take(path)?;
    let database = path.join("miroir.db");
    check_writable(path, &database)?;
    let payloads = FilePayloads::open_locked(&path.join("payloads"), Some(Arc::clone(&lock)))?;
    let connection = open_writer(&database, path).map_err(|e| e.0)?;
    let place = Arc::new(Place::new(database));
    let writer = Writer::start(connection, Arc::clone(&place)).map_err(|e| e.0)?;
    Ok(Arc::new(SqliteStore {
        readers: Readers::new(place),
        writer,
        payloads,
        folder: path.to_owned(),
        _lock: lock,
    }))
}

fn open_writer(database: &Path, folder: &Path) -> Sql<Connection> {
    health::look_at_file(database, folder)?;
    let mut connection = Connection::open(database)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // The version first: a newer database is not to be touched.
    let version = schema::check(&connection)?;
    health::check(&connection, database)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is synced: what was answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // A log that a burst made long is cut back to this after a checkpoint.
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    schema::upgrade(&mut connection, version)?;
    health::mark(folder)?;
    Ok(connection)
}

impl SqliteStore {
    /// The payload files beside the database.
    #[must_use]
    pub fn payloads(&self) -> Arc<FilePayloads> {
        Arc::clone(&self.payloads)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Sql<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Sql<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(work).await
    }
}

#[cfg(test)]
mod tests;
