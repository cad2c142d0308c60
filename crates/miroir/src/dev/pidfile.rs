//! A file that holds the id of the process that owns a folder, locked while that process lives.
//!
//! The lock is the kernel's: it goes with the last handle, so a crash never leaves it behind and
//! a stale number in the file means nothing.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::time::Instant;

/// How long a predecessor, which is already ending, is waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Short enough that a restart does not feel it.
const WAIT_STEP: Duration = Duration::from_millis(5);

/// The locked file.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Locks the file, which is created if absent, as soon as its present owner is gone.
    ///
    /// # Errors
    /// If the owner is still there after half a minute, or the file cannot be opened.
    pub(crate) async fn lock(path: &Path) -> anyhow::Result<Self> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(file) = Self::try_lock(path)? {
                return Ok(file);
            }
            if Instant::now() >= deadline {
                bail!(
                    "process {} still works on {}: wait for it or end it",
                    read(path).map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string()),
                    path.parent().unwrap_or(path).display()
                );
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
    }

    /// Locks the file, or returns `None` if another process holds it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn try_lock(path: &Path) -> anyhow::Result<Option<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                file,
                path: path.to_owned(),
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }

    /// Writes the id of the owner.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn write(&mut self, pid: u32) -> anyhow::Result<()> {
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{pid}")
        };
        write(&mut self.file).with_context(|| format!("{} cannot be written", self.path.display()))
    }

    /// Another handle of the same lock, as the standard input of a child.
    ///
    /// # Errors
    /// If the handle cannot be duplicated.
    pub(crate) fn share(&self) -> anyhow::Result<Stdio> {
        Ok(Stdio::from(
            self.file.try_clone().context("the lock cannot be shared")?,
        ))
    }
}

/// The process id that a pid file holds, whether or not its owner lives.
pub(crate) fn read(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.pid");
        let mut first = PidFile::try_lock(&path).unwrap().expect("nobody holds it");
        first.write(123_456).unwrap();
        first.write(42).unwrap();
        assert_eq!(read(&path), Some(42));
        assert!(PidFile::try_lock(&path).unwrap().is_none());
        drop(first);
        assert!(PidFile::try_lock(&path).unwrap().is_some());
    }
}
