//! Dumps in memory.

use async_trait::async_trait;
use bytes::Bytes;
use miroir_engine::job::port::{DumpPiece, DumpReader, DumpSource, DumpStore, DumpWriter};
use miroir_engine::port::StoreError;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Files are read in pieces of this size: small, so that lines are cut in two.
const PIECE_BYTES: usize = 10_000;

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

    /// A finished dump is no longer there.
    pub fn remove(&self, uid: &str) {
        self.finished.lock().remove(uid);
    }

    /// Puts something else in the place of a file of a finished dump.
    pub fn replace(&self, uid: &str, path: &str, content: &str) {
        if let Some(files) = self.finished.lock().get_mut(uid) {
            files.insert(path.to_owned(), content.into());
        }
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

/// Pieces that were chosen when the dump was opened.
struct MemoryDumpReader(VecDeque<DumpPiece>);

#[async_trait]
impl DumpReader for MemoryDumpReader {
    async fn next(&mut self) -> Result<Option<DumpPiece>, StoreError> {
        Ok(self.0.pop_front())
    }
}

#[async_trait]
impl DumpStore for MemoryDumps {
    /// A file is found by its name without folder and ending.
    async fn open(
        &self,
        source: &DumpSource,
        paths: &[String],
    ) -> Result<Option<Box<dyn DumpReader>>, StoreError> {
        let uid = match source {
            DumpSource::Uid(uid) => uid.clone(),
            DumpSource::File(file) => file
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let finished = self.finished.lock();
        let Some(files) = finished.get(&uid) else {
            return Ok(None);
        };
        let mut pieces = VecDeque::new();
        for (path, content) in files.iter().filter(|(path, _)| paths.contains(path)) {
            let chunks: Vec<&[u8]> = match content.is_empty() {
                true => vec![&[]],
                false => content.chunks(PIECE_BYTES).collect(),
            };
            let count = chunks.len();
            for (at, chunk) in chunks.into_iter().enumerate() {
                pieces.push_back(DumpPiece {
                    path: path.clone(),
                    bytes: Bytes::copy_from_slice(chunk),
                    is_last: at + 1 == count,
                });
            }
        }
        Ok(Some(Box::new(MemoryDumpReader(pieces))))
    }

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
