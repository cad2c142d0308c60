//! The schema and its versions.
//!
//! `PRAGMA user_version` is the number of migrations applied. Each is applied in a transaction of
//! its own together with the new number, so a crash between two leaves a version that exists; and
//! each may run again without harm.

use super::error::Sql;
use miroir_engine::port::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// In order; a migration that was released is never edited, only followed by another.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_task_log.sql"),
    include_str!("../../migrations/sqlite/0002_catalog.sql"),
    include_str!("../../migrations/sqlite/0003_coordination.sql"),
];

/// The version this binary knows.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version of the database, which this binary can read or upgrade. For one that is up to date
/// this is all that opening it asks.
///
/// # Errors
/// [`StoreError::NewerSchema`], with nothing touched.
pub(super) fn check(connection: &Connection) -> Sql<i64> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::NewerSchema {
            found,
            known: VERSION,
        }
        .into());
    }
    Ok(found)
}

/// Brings a database of version `found` to [`VERSION`].
pub(super) fn upgrade(connection: &mut Connection, found: i64) -> Sql<()> {
    for (idx, migration) in MIGRATIONS.iter().enumerate() {
        let version = idx as i64 + 1;
        if version > found {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// A database in memory, up to date.
#[cfg(test)]
pub(super) fn open_in_memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    upgrade(&mut connection, 0).unwrap();
    connection
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::trace::{TraceEvent, TraceEventCodes};
    use std::cell::RefCell;

    thread_local! {
        static STATEMENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn count(event: TraceEvent<'_>) {
        let TraceEvent::Stmt(_, statement) = event else {
            return;
        };
        STATEMENTS.with_borrow_mut(|statements| statements.push(statement.to_owned()));
    }

    fn dump(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY type, name")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn an_up_to_date_database_is_checked_by_one_statement() {
        let mut connection = open_in_memory();
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count));
        let found = check(&connection).unwrap();
        upgrade(&mut connection, found).unwrap();
        connection.trace_v2(TraceEventCodes::empty(), None);
        STATEMENTS.with_borrow(|statements| {
            assert_eq!(statements.len(), 1, "{statements:?}");
            assert!(statements[0].contains("user_version"), "{statements:?}");
        });
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "user_version", VERSION + 1)
            .unwrap();
        let refused = check(&connection).unwrap_err().0;
        let StoreError::NewerSchema { found, known } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((found, known), (VERSION + 1, VERSION));
        assert!(dump(&connection).is_empty());
    }

    #[test]
    fn every_older_version_reaches_the_same_schema() {
        let fresh = open_in_memory();
        for version in 0..=MIGRATIONS.len() {
            let mut older = Connection::open_in_memory().unwrap();
            for migration in &MIGRATIONS[..version] {
                older.execute_batch(migration).unwrap();
            }
            older
                .pragma_update(None, "user_version", version as i64)
                .unwrap();
            let found = check(&older).unwrap();
            upgrade(&mut older, found).unwrap();
            assert_eq!(dump(&older), dump(&fresh), "from version {version}");
        }
    }

    #[test]
    fn a_migration_may_run_again() {
        let mut connection = open_in_memory();
        let before = dump(&connection);
        connection.pragma_update(None, "user_version", 0).unwrap();
        let found = check(&connection).unwrap();
        upgrade(&mut connection, found).unwrap();
        assert_eq!(dump(&connection), before);
    }
}
