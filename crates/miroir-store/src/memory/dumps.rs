//! Dumps in memory.

use async_trait::async_trait;
use bytes::Bytes;
use miroir_engine::job::port::{DumpStore, DumpWriter};
use miroir_engine::port::StoreError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files of a dump, by path.
type Files = BTreeMap<String, Vec<u8>>;

/// Dumps that last as long as the value.
#[derive(Debug, Default)]
pub struct MemoryDumps {
    finished: Arc<Mutex<BTreeMap<String, Files>>>,
}

impl MemoryDumps {
    /// The uids of all finished dumps.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        self.finished.lock().keys().cloned().collect()
    }

    /// One file of a finished dump.
    #[must_use]
    pub fn file(&self, uid: &str, path: &str) -> Option<String> {
        let finished = self.finished.lock();
        let bytes = finished.get(uid)?.get(path)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

struct MemoryDumpWriter {
    finished: Arc<Mutex<BTreeMap<String, Files>>>,
    uid: String,
    files: Files,
    open: String,
}

#[async_trait]
impl DumpStore for MemoryDumps {
    async fn create(&self, uid: &str) -> Result<Box<dyn DumpWriter>, StoreError> {
        Ok(Box::new(MemoryDumpWriter {
            finished: Arc::clone(&self.finished),
            uid: uid.to_owned(),
            files: Files::new(),
            open: String::new(),
        }))
    }
}

#[async_trait]
impl DumpWriter for MemoryDumpWriter {
    async fn folder(&mut self, path: &str) -> Result<(), StoreError> {
        // It ends the file before, as in an archive.
        self.open = format!("{path}/");
        Ok(())
    }

    async fn begin(&mut self, path: &str) -> Result<(), StoreError> {
        self.files.insert(path.to_owned(), Vec::new());
        path.clone_into(&mut self.open);
        Ok(())
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let file = self.files.entry(self.open.clone()).or_default();
        file.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self {
            finished,
            uid,
            files,
            ..
        } = *self;
        finished.lock().insert(uid, files);
        Ok(())
    }
}
