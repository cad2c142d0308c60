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
        let text = e.to_string();
        Self(match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::NoSpace(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked(text),
            Some(ErrorCode::ReadOnly) => StoreError::Io(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                what: DATABASE,
                cause: text,
            },
            _ => StoreError::Io(text),
        })
    }
}
