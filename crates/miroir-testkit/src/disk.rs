//! A disk of a few megabytes, for a node that shall run out of it.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that takes what is left.
const FILLER: &str = "filler";
/// Written at a time; the last bytes are found with smaller pieces.
const BLOCK_BYTES: usize = 256 * 1024;

/// A file system in memory, mounted on a folder. Dropping it unmounts it, and all on it is gone.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Errors
    /// When the system does not allow it, as it does to few users.
    pub(crate) fn mount(folder: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder)
            .output()
            .context("mount")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("mount: {}", why.trim());
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes all that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(FILLER))?;
        let block = vec![b'x'; BLOCK_BYTES];
        let mut length = BLOCK_BYTES;
        // Ends: the disk is small, and each failure halves the piece.
        while length > 0 {
            match file.write(&block[..length]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub(crate) fn free(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open there keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = match SmallDisk::mount(&folder.path().join("disk"), 1024 * 1024) {
            Ok(disk) => disk,
            Err(error) => {
                println!("skipped, no small disk can be had here: {error}");
                return;
            }
        };
        let path = disk.folder().join("file");
        disk.fill().unwrap();
        assert!(fs::write(&path, [1; 5000]).is_err());
        disk.free().unwrap();
        fs::write(&path, [1; 5000]).unwrap();
        disk.free().unwrap();
    }
}
