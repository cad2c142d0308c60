//! The registry of open indexes: every function of this crate begins with a look-up here.
//!
//! LMDB allows one open environment for each folder in a process, so all calls share the one that
//! this registry holds. Idle environments are closed past [`OPEN_INDEXES_MAX`].

use crate::embedder::EmbedderCache;
use crate::error::{EngineError, ErrorKind};
use milli_core::heed::EnvOpenOptions;
use milli_core::update::{IndexerConfig, Settings};
use milli_core::{Index, ThreadPoolNoAbort, ThreadPoolNoAbortBuilder};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// Open environments kept at most: each takes three file descriptors, and 1,024 is a common limit
/// of a process that also serves connections.
const OPEN_INDEXES_MAX: usize = 200;

/// Read transactions at once for each index; LMDB's own default of 126 is soon reached by a busy
/// server, and a slot costs 64 bytes.
const READERS_MAX: u32 = 1024;

/// The file LMDB keeps an index in; where it is, there is an index.
const DATA_FILE: &str = "data.mdb";

/// How to open an [`Engine`].
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The folder of all indexes; created if missing.
    pub folder: PathBuf,
    /// Address space reserved for each index, in bytes, a multiple of the page size. The file
    /// grows as needed up to it. 64 GiB suits most machines.
    pub map_size: usize,
    /// Threads that index documents; shared by all indexes. Writes may take about 150 MiB for each.
    pub indexing_threads: usize,
}

/// All indexes below one folder. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: EngineOptions,
    indexer: Indexer,
    registry: Mutex<Registry>,
}

/// What a write needs besides its index.
pub(crate) struct Indexer {
    pub(crate) config: IndexerConfig,
}

impl Indexer {
    /// The threads that index; settings changes find the same ones in the configuration.
    pub(crate) fn pool(&self) -> &ThreadPoolNoAbort {
        self.config
            .thread_pool
            .as_ref()
            .expect("the pool is set where the indexer is made")
    }
}

#[derive(Default)]
struct Registry {
    slots: HashMap<String, Slot>,
    /// Counts look-ups; tells which index was used least recently.
    uses: u64,
}

struct Slot {
    open: Arc<OpenIndex>,
    last_use: u64,
}

/// An index and what is remembered beside it while it is open.
pub(crate) struct OpenIndex {
    pub(crate) index: Index,
    pub(crate) embedders: EmbedderCache,
}

/// Facts about one index.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexStats {
    /// Documents.
    pub number_of_documents: u64,
    /// Bytes of the database of documents.
    pub raw_document_db_size: u64,
    /// Bytes of a document on average.
    pub avg_document_size: u64,
    /// Vectors over all embedders.
    pub number_of_embeddings: u64,
    /// Documents that have a vector, counted for each embedder.
    pub number_of_embedded_documents: u64,
    /// Documents that have the field, by field, nested ones too.
    pub field_distribution: BTreeMap<String, u64>,
    /// Bytes of the index's file.
    pub disk_size: u64,
    /// Bytes in use within it.
    pub used_size: u64,
    /// When the index was made.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The engine over a folder, which is created if missing. No index is opened yet.
    ///
    /// # Errors
    /// When the folder cannot be created or the threads cannot be started.
    pub fn open(options: EngineOptions) -> Result<Self, EngineError> {
        std::fs::create_dir_all(&options.folder)?;
        let pool = ThreadPoolNoAbortBuilder::new()
            .thread_name(|thread_idx| format!("indexing-{thread_idx}"))
            .num_threads(options.indexing_threads.max(1))
            .build()
            .map_err(EngineError::internal)?;
        let config = IndexerConfig {
            thread_pool: Some(pool),
            ..IndexerConfig::default()
        };
        let indexer = Indexer { config };
        let registry = Mutex::default();
        Ok(Engine {
            shared: Arc::new(Shared {
                options,
                indexer,
                registry,
            }),
        })
    }

    /// Creates an empty index; one that exists already is left as it is.
    ///
    /// # Errors
    /// When the key is not a folder name or the disk refuses.
    pub fn create_index(&self, key: &str) -> Result<(), EngineError> {
        std::fs::create_dir_all(self.path_of(key)?)?;
        guard(|| self.shared.open_index(key, &self.path_of(key)?).map(|_| ()))
    }

    /// Removes an index with all it holds; one that does not exist is no error. Waits for calls on
    /// this index that are still running.
    ///
    /// # Errors
    /// When the key is not a folder name or the disk refuses.
    pub fn remove_index(&self, key: &str) -> Result<(), EngineError> {
        let path = self.path_of(key)?;
        // Held until the folder is gone, so that nobody opens it in between.
        let mut registry = self.shared.registry();
        if let Some(slot) = registry.slots.remove(key) {
            close(slot.open);
        }
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether the index exists.
    #[must_use]
    pub fn has_index(&self, key: &str) -> bool {
        self.path_of(key)
            .is_ok_and(|path| path.join(DATA_FILE).is_file())
    }

    /// The name of the field that identifies documents, once it is known.
    ///
    /// # Errors
    /// When there is no such index.
    pub fn primary_key(&self, key: &str) -> Result<Option<String>, EngineError> {
        self.with(key, |open| {
            let rtxn = open.index.read_txn()?;
            Ok(open.index.primary_key(&rtxn)?.map(str::to_owned))
        })
    }

    /// Sets or, with `None`, forgets the primary key.
    ///
    /// # Errors
    /// `index_primary_key_already_exists` when the index holds documents under another one.
    pub fn set_primary_key(&self, key: &str, name: Option<&str>) -> Result<(), EngineError> {
        self.with(key, |open| {
            let mut wtxn = open.index.write_txn()?;
            let mut settings = Settings::new(&mut wtxn, &open.index, &self.indexer().config);
            match name {
                Some(name) => settings.set_primary_key(name.to_owned()),
                None => settings.reset_primary_key(),
            }
            settings.execute(|_| (), || false)?;
            Ok(wtxn.commit()?)
        })
    }

    /// Facts about one index.
    ///
    /// # Errors
    /// When there is no such index.
    pub fn stats(&self, key: &str) -> Result<IndexStats, EngineError> {
        self.with(key, |open| {
            let index = &open.index;
            let rtxn = index.read_txn()?;
            let documents = index.documents_stats(&rtxn)?.unwrap_or_default();
            let vectors = index.arroy_stats(&rtxn)?;
            Ok(IndexStats {
                number_of_documents: index.number_of_documents(&rtxn)?,
                raw_document_db_size: documents.total_size(),
                avg_document_size: documents.average_value_size(),
                number_of_embeddings: vectors.number_of_embeddings,
                number_of_embedded_documents: vectors.documents.len(),
                field_distribution: index.field_distribution(&rtxn)?,
                disk_size: index.on_disk_size()?,
                used_size: index.used_size()?,
                created_at: index.created_at(&rtxn)?,
                updated_at: index.updated_at(&rtxn)?,
            })
        })
    }

    /// Runs one call on an open index. A panic within becomes an error.
    pub(crate) fn with<T>(
        &self,
        key: &str,
        call: impl FnOnce(&OpenIndex) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        guard(|| {
            let path = self.path_of(key)?;
            if !path.join(DATA_FILE).is_file() {
                return Err(EngineError::missing(key));
            }
            let result = self
                .shared
                .open_index(key, &path)
                .and_then(|open| call(&open));
            // Removed by another thread between the look and the opening.
            result.map_err(|error| match error.kind {
                ErrorKind::Internal if !path.join(DATA_FILE).is_file() => EngineError::missing(key),
                _ => error,
            })
        })
    }

    pub(crate) fn map_size(&self) -> u64 {
        self.shared.options.map_size as u64
    }

    pub(crate) fn indexer(&self) -> &Indexer {
        &self.shared.indexer
    }

    /// The folder of an index. Only plain names are keys, so no key leads out of the folder.
    fn path_of(&self, key: &str) -> Result<PathBuf, EngineError> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if key.is_empty() || key.starts_with('.') || !key.bytes().all(is_plain) {
            return Err(EngineError::internal(format!(
                "`{key}` is not the key of an index"
            )));
        }
        Ok(self.shared.options.folder.join(key))
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // The registry is consistent between any two statements, so a panic cannot spoil it.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_index(&self, key: &str, path: &Path) -> Result<Arc<OpenIndex>, EngineError> {
        let mut registry = self.registry();
        registry.uses += 1;
        let last_use = registry.uses;
        if let Some(slot) = registry.slots.get_mut(key) {
            slot.last_use = last_use;
            return Ok(Arc::clone(&slot.open));
        }
        if registry.slots.len() >= OPEN_INDEXES_MAX {
            registry.close_least_recently_used();
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options
            .map_size(self.options.map_size)
            .max_readers(READERS_MAX);
        let index = Index::new(options, path, true)?;
        let open = Arc::new(OpenIndex {
            index,
            embedders: EmbedderCache::default(),
        });
        registry.slots.insert(
            key.to_owned(),
            Slot {
                open: Arc::clone(&open),
                last_use,
            },
        );
        Ok(open)
    }
}

impl Registry {
    /// Closes the index that nobody uses and that was used longest ago, if there is one.
    fn close_least_recently_used(&mut self) {
        // Nobody can take a new clone meanwhile: the registry is locked.
        let idle = self
            .slots
            .iter()
            .filter(|(_, slot)| Arc::strong_count(&slot.open) == 1);
        let Some(key) = idle
            .min_by_key(|(_, slot)| slot.last_use)
            .map(|(key, _)| key.clone())
        else {
            return;
        };
        if let Some(slot) = self.slots.remove(&key) {
            close(slot.open);
        }
    }
}

/// Returns once the environment is closed, that is when the last running call has let it go.
fn close(open: Arc<OpenIndex>) {
    let event = open.index.clone().prepare_for_closing();
    drop(open);
    event.wait();
}

/// The result of the work, or an internal error in place of its panic.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // What the work shares with others is the registry, caches behind locks and LMDB, whose
    // transactions end as aborted when they are dropped: nothing is left half changed.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(EngineError::internal(format!(
            "the engine panicked: {text}"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_an_internal_error() {
        let error = guard::<()>(|| panic!("out of {}", "ideas")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(error.message.ends_with("out of ideas"));
    }

    #[test]
    fn the_engine_goes_on_after_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        let options = EngineOptions {
            folder,
            map_size: 1 << 30,
            indexing_threads: 1,
        };
        let engine = Engine::open(options).unwrap();
        engine.create_index("things").unwrap();
        let broken = engine.with("things", |open| -> Result<(), EngineError> {
            let _wtxn = open.index.write_txn()?;
            panic!("in the middle of a write");
        });
        assert_eq!(broken.unwrap_err().kind, ErrorKind::Internal);
        engine.set_primary_key("things", Some("id")).unwrap();
        assert_eq!(engine.primary_key("things").unwrap().as_deref(), Some("id"));
    }
}
