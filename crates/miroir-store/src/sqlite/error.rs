//! SQLite's errors as the store's.

use miroir_engine::port::StoreError;
use rusqlite::ErrorCode;

/// What is corrupt when it is the database file itself.
pub(super) const DATABASE: &str = "database";

/// A [`StoreError`] that `?` makes of SQLite's errors too.
#[derive(Debug)]
pub(super) struct SqlError(pub(super) StoreError);

/// The outcome of work on a connection.
pub(super) type Sql<T> = Result<T, SqlError>;

impl From<StoreError> for SqlError {
    fn from(e: StoreError) -> Self {
        Self(e)
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(e: rusqlite::Error) -> Self {
        let text = described(&e);
        Self(match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::NoSpace(format!(
                "{text}; free some room on the disk of data_dir, or give it more"
            )),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                what: DATABASE,
                cause: text,
            },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::Io(format!(
                    "{text}; mount the file system of data_dir for writing, and give all in it to the \
                 user that runs Miroir"
                ))
            }
            Some(ErrorCode::SystemIoFailure) => StoreError::Io(format!(
                "{text}; the disk of data_dir fails, or what it is mounted from: the system's own \
                 log says how"
            )),
            _ => StoreError::Io(text),
        })
    }
}

/// SQLite's words, with the number that tells reading from writing and syncing.
fn described(e: &rusqlite::Error) -> String {
    match e {
        rusqlite::Error::SqliteFailure(failure, Some(text)) => {
            format!("miroir.db: {text} (SQLite code {})", failure.extended_code)
        }
        other => format!("miroir.db: {other}"),
    }
}
