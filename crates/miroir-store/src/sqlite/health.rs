//! Whether a database found at the start is whole: a damaged one is refused, never mended silently
//! and never taken for a new one.
//!
//! What can be found: a file that is missing, cut or empty, pages that do not hang together, pages
//! that are not SQLite's. What cannot: another value inside a row, since SQLite keeps no checksums.

use super::error::{DATABASE, Sql};
use crate::files::{io_error, sync_folder};
use miroir_engine::port::StoreError;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Says that the folder has held a database. Without it a database that was lost would pass for one
/// that was never there.
const MARK: &str = "initialized";
/// Every page of a database up to this size is looked at; of a larger one only the outside. It takes
/// about a second for each gigabyte.
const LOOKED_AT_MAX: u64 = 1 << 30;
/// Where the header tells the page size, and the pages of the file.
const HEADER_BYTES: usize = 100;

fn corrupt(database: &Path, cause: &str) -> StoreError {
    StoreError::Corrupt {
        what: DATABASE,
        cause: format!(
            "{}: {cause}; put a backup back (`miroir restore`)",
            database.display()
        ),
    }
}

/// Refuses a file that is gone, empty or cut, before SQLite makes anything of it.
pub(super) fn look_at_file(database: &Path, folder: &Path) -> Result<(), StoreError> {
    let is_expected = folder.join(MARK).exists();
    let mut file = match File::open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match is_expected {
                true => Err(corrupt(database, "it is missing")),
                false => Ok(()),
            };
        }
        Err(error) => return Err(io_error(database, &error)),
    };
    let len = file
        .metadata()
        .map_err(|error| io_error(database, &error))?
        .len();
    if len == 0 {
        // A crash while the very first one is made leaves an empty file too.
        return match is_expected {
            true => Err(corrupt(database, "it is empty")),
            false => Ok(()),
        };
    }
    let mut header = [0; HEADER_BYTES];
    if file.read_exact(&mut header).is_err() {
        return Err(corrupt(database, "it is shorter than its header"));
    }
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    // A crash while the write-ahead log is folded in leaves a header that is ahead of the file: then
    // the log still has the rest.
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(log).is_ok_and(|metadata| metadata.len() > 0);
    if !has_log && len < u64::from(pages) * page_bytes {
        let cause =
            format!("it has {len} bytes, and its header tells of {pages} pages of {page_bytes}");
        return Err(corrupt(database, &cause));
    }
    Ok(())
}

/// Refuses pages that do not hang together.
pub(super) fn check(connection: &Connection, database: &Path) -> Sql<()> {
    let len = fs::metadata(database).map_or(0, |metadata| metadata.len());
    if len > LOOKED_AT_MAX {
        return Ok(());
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(corrupt(database, &found).into());
    }
    Ok(())
}

/// Notes durably that there is a database.
pub(super) fn mark(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(MARK);
    if path.exists() {
        return Ok(());
    }
    let mark = || -> io::Result<()> {
        File::create(&path)?.sync_all()?;
        sync_folder(folder)
    };
    mark().map_err(|error| io_error(&path, &error))
}
