//! A few connections that only read.

use super::error::Sql;
use super::place::Place;
use super::{BUSY_TIMEOUT, STATEMENTS_CACHED};
use crate::files::blocking;
use miroir_engine::port::StoreError;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How many reads run at once. Reads are short and the pages are in the system's cache; more would
/// only spread them over more statement caches.
const READERS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Arc<Place>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// No connection yet: each is opened when it is first needed.
    pub(super) fn new(place: Arc<Place>) -> Self {
        let permits = Arc::new(Semaphore::new(READERS_MAX));
        Self {
            shared: Arc::new(Shared {
                place,
                idle: Mutex::default(),
                permits,
            }),
        }
    }

    /// Runs `work` in one read transaction, on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Sql<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(&shared.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Io("the store is closed".to_owned()))?;
        blocking(move || {
            // The permit goes with the thread: a caller that stops waiting frees nothing early.
            let _permit = permit;
            shared.run(work).map_err(|e| e.0)
        })
        .await
    }
}

impl Shared {
    fn run<T>(&self, work: impl FnOnce(&Connection) -> Sql<T>) -> Sql<T> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open()?,
        };
        let outcome = (|| {
            // Ends when dropped; a read has nothing to commit.
            let transaction = connection.unchecked_transaction()?;
            work(&transaction)
        })();
        if connection.is_autocommit() {
            self.idle.lock().push(connection);
        }
        outcome
    }

    fn open(&self) -> Sql<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.place.check()?;
        let connection = Connection::open_with_flags(self.place.path(), flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    }
}
