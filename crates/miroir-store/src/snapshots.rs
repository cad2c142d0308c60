//! The snapshot of the store: one folder, which the next takes the place of.
//!
//! ```text
//! <folder>/miroir.snapshot/snapshot.json   of which task it is, and of which nodes
//! <folder>/miroir.snapshot/store/          a backup, as `miroir backup` takes it
//! ```
//! It is made beside the one before under a temporary name, and takes its place when it is whole.

use crate::files::{blocking, create_folder, io_error, sync_folder};
use async_trait::async_trait;
use miroir_engine::job::port::SnapshotStore;
use miroir_engine::port::StoreError;
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAME: &str = "miroir.snapshot";
const MANIFEST: &str = "snapshot.json";
const STORE: &str = "store";

/// A folder with a snapshot. It is made when the first one is taken.
#[derive(Debug)]
pub struct FileSnapshots {
    folder: PathBuf,
}

impl FileSnapshots {
    /// The snapshot of a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Arc<Self> {
        // A backup names its folder whole; without a working folder there is no other name for it.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Arc::new(Self { folder })
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.join(format!(".{NAME}.tmp"))
    }
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(folder, &e)),
        _ => Ok(()),
    }
}

#[async_trait]
impl SnapshotStore for FileSnapshots {
    async fn begin(&self) -> Result<PathBuf, StoreError> {
        let (folder, unfinished) = (self.folder.clone(), self.unfinished());
        blocking(move || {
            create_folder(&folder)?;
            // What one that was broken off has left.
            remove(&unfinished)?;
            create_folder(&unfinished)?;
            Ok(unfinished.join(STORE))
        })
        .await
    }

    async fn finish(&self, manifest: &Value) -> Result<(), StoreError> {
        let (folder, unfinished) = (self.folder.clone(), self.unfinished());
        let text = format!("{manifest:#}\n");
        blocking(move || {
            let before = folder.join(format!(".{NAME}.old"));
            remove(&before)?;
            let finished = folder.join(NAME);
            let finish = || -> io::Result<()> {
                let path = unfinished.join(MANIFEST);
                fs::write(&path, text)?;
                File::open(&path)?.sync_all()?;
                sync_folder(&unfinished)?;
                if finished.exists() {
                    fs::rename(&finished, &before)?;
                }
                fs::rename(&unfinished, &finished)?;
                sync_folder(&folder)
            };
            finish().map_err(|e| io_error(&finished, &e))?;
            remove(&before)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn a_snapshot_takes_the_place_of_the_one_before_when_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let snapshots = FileSnapshots::new(&home.path().join("snapshots"));
        let shown = home.path().join("snapshots").join(NAME);
        for task in 0..3 {
            let store = snapshots.begin().await.unwrap();
            assert!(!store.exists());
            fs::create_dir(&store).unwrap();
            fs::write(store.join("backup.json"), task.to_string()).unwrap();
            assert_eq!(shown.exists(), task > 0);
            // One that is broken off, and begun again.
            let store = snapshots.begin().await.unwrap();
            assert!(!store.exists());
            fs::create_dir(&store).unwrap();
            fs::write(store.join("backup.json"), task.to_string()).unwrap();
            snapshots.finish(&json!({"task": task})).await.unwrap();
            let text = fs::read_to_string(shown.join(MANIFEST)).unwrap();
            let manifest: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(manifest["task"], task);
            let kept = fs::read_to_string(shown.join(STORE).join("backup.json")).unwrap();
            assert_eq!(kept, task.to_string());
            let names = fs::read_dir(shown.parent().unwrap()).unwrap();
            assert_eq!(names.count(), 1);
        }
    }
}
