//! Copies of a store: taken while it works, put back into an empty folder.
//!
//! ```text
//! <backup>/miroir.db         the database at one moment
//! <backup>/payloads/*.payload  every file it names, and maybe some it does not
//! <backup>/backup.json       written last: a folder without it is no backup
//! ```
//!
//! **Law:** the database is one moment of the log, and every payload file that it names is there:
//! from before that moment until all files are linked, none is removed.

use super::error::Sql;
use super::{BUSY_TIMEOUT, SqliteStore, health, schema};
use crate::files::{blocking, create_folder, io_error, sync_folder};
use miroir_engine::port::{BackupReport, RESTORED_FACT, StoreError};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const DATABASE: &str = "miroir.db";
const PAYLOADS: &str = "payloads";
const MANIFEST: &str = "backup.json";
/// Written and read; never to be changed, only followed by another.
const FORMAT: u32 = 1;
const COPY_BYTES: usize = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    format: u32,
    /// The digest of the database file, in hex.
    database: String,
    database_bytes: u64,
    payload_files: u64,
    payload_bytes: u64,
    last_task: Option<u64>,
    last_batch: Option<u64>,
}

impl Manifest {
    fn report(&self, folder: &Path) -> BackupReport {
        BackupReport {
            folder: folder.to_owned(),
            database_bytes: self.database_bytes,
            payload_files: self.payload_files,
            payload_bytes: self.payload_bytes,
            last_task: self.last_task,
            last_batch: self.last_batch,
        }
    }
}

fn conflict(text: String) -> StoreError {
    StoreError::Conflict(text)
}

fn damaged(path: &Path, cause: &str) -> StoreError {
    StoreError::Corrupt {
        what: "backup",
        cause: format!("{}: {cause}", path.display()),
    }
}

fn is_empty(folder: &Path) -> Result<bool, StoreError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error(folder, &error)),
    }
}

fn digest(path: &Path) -> Result<(String, u64), StoreError> {
    let read = || -> io::Result<(String, u64)> {
        let mut file = File::open(path)?;
        let mut digest = Xxh3::new();
        let mut buffer = vec![0; COPY_BYTES];
        let mut bytes = 0;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                return Ok((format!("{:016x}", digest.digest()), bytes));
            }
            bytes += len as u64;
            digest.update(&buffer[..len]);
        }
    };
    read().map_err(|error| io_error(path, &error))
}

/// Links a file that never changes, or copies it durably where that cannot be.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => copy(from, to),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create_new(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

fn payload_names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.ends_with(".payload")
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    };
    list().map_err(|error| io_error(folder, &error))
}

fn write_database(source: &Path, target: &Path) -> Sql<(Option<u64>, Option<u64>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(source, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let path = target.to_string_lossy().into_owned();
    // One read transaction: a moment of the log, however long it takes and whatever is written.
    connection.execute("VACUUM INTO ?1", [path])?;
    let copy = Connection::open_with_flags(target, flags)?;
    copy.pragma_update(None, "query_only", true)?;
    let last = |sql: &str| -> Sql<Option<u64>> {
        let uid: Option<i64> = copy.query_row(sql, [], |row| row.get(0))?;
        Ok(uid.and_then(|uid| u64::try_from(uid).ok()))
    };
    Ok((
        last("SELECT MAX(uid) FROM tasks")?,
        last("SELECT MAX(uid) FROM batches")?,
    ))
}

impl SqliteStore {
    pub(super) async fn backup_to(&self, to: PathBuf) -> Result<BackupReport, StoreError> {
        if !to.is_absolute() {
            let text = format!(
                "the folder of a backup is named whole, not `{}`",
                to.display()
            );
            return Err(conflict(text));
        }
        let source = self.folder.clone();
        // No payload file goes while this is held.
        let hold = self.payloads.hold();
        let done = blocking(move || {
            let _hold = hold;
            backup(&source, &to)
        })
        .await;
        // What was to be removed meanwhile goes now; what cannot be is swept at the next start.
        let _ = self.payloads.remove_held().await;
        done
    }
}

fn backup(source: &Path, to: &Path) -> Result<BackupReport, StoreError> {
    if !is_empty(to)? {
        return Err(conflict(format!("{} is not empty", to.display())));
    }
    create_folder(to)?;
    let payloads = to.join(PAYLOADS);
    create_folder(&payloads)?;
    let database = to.join(DATABASE);
    let (last_task, last_batch) =
        write_database(&source.join(DATABASE), &database).map_err(|error| error.0)?;
    let sync = || File::open(&database)?.sync_all();
    sync().map_err(|error| io_error(&database, &error))?;
    let mut payload_bytes = 0;
    let names = payload_names(&source.join(PAYLOADS))?;
    for name in &names {
        let (from, target) = (source.join(PAYLOADS).join(name), payloads.join(name));
        link_or_copy(&from, &target).map_err(|error| io_error(&target, &error))?;
        payload_bytes += fs::metadata(&target)
            .map_err(|error| io_error(&target, &error))?
            .len();
    }
    let (digest, database_bytes) = digest(&database)?;
    let manifest = Manifest {
        format: FORMAT,
        database: digest,
        database_bytes,
        payload_files: names.len() as u64,
        payload_bytes,
        last_task,
        last_batch,
    };
    let finish = || -> io::Result<()> {
        sync_folder(&payloads)?;
        let path = to.join(MANIFEST);
        fs::write(&path, serde_json::to_vec_pretty(&manifest)?)?;
        File::open(&path)?.sync_all()?;
        sync_folder(to)
    };
    finish().map_err(|error| io_error(to, &error))?;
    Ok(manifest.report(to))
}

/// Puts a backup into an empty data folder. The proxy that starts there next asks every node whether
/// it has done what the backup does not know of.
///
/// # Errors
/// [`StoreError::Conflict`] if the folder is not empty, [`StoreError::Corrupt`] if the backup is not
/// whole; then the folder is as it was.
pub fn restore(from: &Path, data_folder: &Path) -> Result<BackupReport, StoreError> {
    let manifest_path = from.join(MANIFEST);
    let text = fs::read(&manifest_path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(from, "it has no backup.json: it is no whole backup"),
        _ => io_error(&manifest_path, &error),
    })?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| damaged(&manifest_path, &error.to_string()))?;
    if manifest.format > FORMAT {
        return Err(StoreError::NewerSchema {
            found: manifest.format.into(),
            known: FORMAT.into(),
        });
    }
    let database = from.join(DATABASE);
    if digest(&database)? != (manifest.database.clone(), manifest.database_bytes) {
        return Err(damaged(
            &database,
            "its bytes are not those that were written",
        ));
    }
    let payloads = from.join(PAYLOADS);
    let names = payload_names(&payloads)?;
    if names.len() as u64 != manifest.payload_files {
        let cause = format!("{} files of {}", names.len(), manifest.payload_files);
        return Err(damaged(&payloads, &cause));
    }
    for name in &names {
        let path = payloads.join(name);
        let bytes = fs::metadata(&path)
            .map_err(|error| io_error(&path, &error))?
            .len();
        crate::files::verify_file(&path, name, bytes)?;
    }
    if !is_empty(data_folder)? {
        let text = format!(
            "{} is not empty: a backup is put back into an empty data folder only",
            data_folder.display()
        );
        return Err(conflict(text));
    }
    // Made beside and moved: a crash in between leaves no half of a store.
    let mut beside = data_folder.as_os_str().to_owned();
    beside.push(".restoring");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(|error| io_error(&beside, &error))?;
    }
    create_folder(&beside.join(PAYLOADS))?;
    let fill = || -> io::Result<()> {
        copy(&database, &beside.join(DATABASE))?;
        for name in &names {
            copy(&payloads.join(name), &beside.join(PAYLOADS).join(name))?;
        }
        sync_folder(&beside.join(PAYLOADS))
    };
    fill().map_err(|error| io_error(&beside, &error))?;
    mark_restored(&beside.join(DATABASE)).map_err(|error| error.0)?;
    health::mark(&beside)?;
    let finish = || -> io::Result<()> {
        sync_folder(&beside)?;
        if data_folder.exists() {
            fs::remove_dir(data_folder)?;
        }
        fs::rename(&beside, data_folder)?;
        match data_folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
            _ => Ok(()),
        }
    };
    finish().map_err(|error| io_error(data_folder, &error))?;
    Ok(manifest.report(data_folder))
}

fn mark_restored(database: &Path) -> Sql<()> {
    let mut connection = Connection::open(database)?;
    let version = schema::check(&connection)?;
    health::check(&connection, database)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    schema::upgrade(&mut connection, version)?;
    connection.execute(
        "INSERT OR REPLACE INTO facts (key, value) VALUES (?1, 'true')",
        [RESTORED_FACT],
    )?;
    Ok(())
}
