//! The reference store behind a door: its commits fail while a test says so, and a simulation hears,
//! delays, fails and falsifies every call.

use async_trait::async_trait;
use miroir_core::id::{BatchUid, Epoch, NodeId, PhysicalIndex, TaskUid};
use miroir_core::task::TaskStatus;
use miroir_engine::port::{
    BackupReport, BatchPage, BatchQuery, BatchRecord, Catalog, Change, IndexRecord, KeptPayload,
    NewEntry, NodeRecord, NodeSettingsVersion, StoreError, TaskLog, TaskPage, TaskQuery,
    TaskRecord,
};
use miroir_store::MemoryStore;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What stands between the engine and its store.
#[async_trait]
pub trait Door: Send + Sync {
    /// Before a call reaches the store.
    async fn enter(&self, call: &'static str) -> Result<(), StoreError>;
    /// The store has done it and the engine has not heard of it.
    async fn leave(&self, call: &'static str);
    /// What the store gets to write.
    fn to_commit(&self, changes: Vec<Change>) -> Vec<Change>;
    /// It is written.
    fn committed(&self, changes: &[Change]);
    /// Entries are in the log.
    fn appended(&self, entries: &[NewEntry], uids: &[TaskUid]);
    /// What the engine is told of the batches that are open.
    fn open_batches(&self, batches: Vec<BatchRecord>) -> Vec<BatchRecord>;
}

/// The reference store behind a door.
#[derive(Default)]
pub struct FlakyStore {
    inner: MemoryStore,
    /// So many commits fail.
    pub failing_commits: AtomicU32,
    /// Nothing can be written, for this reason.
    pub fault: Mutex<Option<StoreError>>,
    /// The last copy that was asked for.
    backup: Mutex<Option<MemoryStore>>,
    door: RwLock<Option<Arc<dyn Door>>>,
}

impl FlakyStore {
    pub fn fail(&self, fault: Option<StoreError>) {
        *self.fault.lock() = fault;
    }

    /// What a backup taken now holds.
    pub fn copy(&self) -> Self {
        Self {
            inner: self.inner.fork(),
            ..Self::default()
        }
    }

    /// A store with what the last copy that was asked for holds.
    pub fn take_backup(&self) -> Option<Self> {
        let inner = self.backup.lock().take()?;
        Some(Self {
            inner,
            ..Self::default()
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        self.fault.lock().clone().map_or(Ok(()), Err)
    }

    /// Sets what stands before it from now on.
    pub fn set_door(&self, door: Option<Arc<dyn Door>>) {
        *self.door.write() = door;
    }

    /// The store itself.
    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    fn door(&self) -> Option<Arc<dyn Door>> {
        self.door.read().clone()
    }

    /// Makes a call through the door.
    async fn pass<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let door = self.door();
        if let Some(door) = &door {
            door.enter(call).await?;
        }
        let result = work.await;
        if let Some(door) = &door {
            door.leave(call).await;
        }
        result
    }
}

#[async_trait]
impl TaskLog for FlakyStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError> {
        self.check()?;
        let door = self.door();
        let work = async {
            let uids = self.inner.append(entries.clone()).await?;
            if let Some(door) = &door {
                door.appended(&entries, &uids);
            }
            Ok(uids)
        };
        self.pass("append", work).await
    }

    async fn load_task(&self, uid: TaskUid) -> Result<Option<TaskRecord>, StoreError> {
        self.pass("load_task", self.inner.load_task(uid)).await
    }

    async fn load_kept(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<KeptPayload>, StoreError> {
        self.pass("load_kept", self.inner.load_kept(after, limit))
            .await
    }

    async fn load_pending(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        self.pass("load_pending", self.inner.load_pending(after, limit))
            .await
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        self.pass("list_tasks", self.inner.list_tasks(query)).await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let one_less = |left: u32| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self
            .failing_commits
            .fetch_update(order, order, one_less)
            .is_ok()
        {
            return Err(StoreError::Io("the test says so".into()));
        }
        self.check()?;
        let door = self.door();
        let work = async {
            let Some(door) = &door else {
                return self.inner.commit(changes).await;
            };
            let changes = door.to_commit(changes);
            self.inner.commit(changes.clone()).await?;
            door.committed(&changes);
            Ok(())
        };
        self.pass("commit", work).await
    }

    async fn load_open_batches(&self) -> Result<Vec<BatchRecord>, StoreError> {
        let open = self
            .pass("load_open_batches", self.inner.load_open_batches())
            .await?;
        Ok(match self.door() {
            Some(door) => door.open_batches(open),
            None => open,
        })
    }

    async fn load_batch(&self, uid: BatchUid) -> Result<Option<BatchRecord>, StoreError> {
        self.pass("load_batch", self.inner.load_batch(uid)).await
    }

    async fn list_batches(&self, query: BatchQuery) -> Result<BatchPage, StoreError> {
        self.inner.list_batches(query).await
    }

    async fn last_batch_uid(&self) -> Result<Option<BatchUid>, StoreError> {
        self.pass("last_batch_uid", self.inner.last_batch_uid())
            .await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn backup(&self, to: PathBuf) -> Result<BackupReport, StoreError> {
        *self.backup.lock() = Some(self.inner.fork());
        Ok(BackupReport {
            folder: to,
            database_bytes: 0,
            payload_files: 0,
            payload_bytes: 0,
            last_task: None,
            last_batch: None,
        })
    }

    async fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>, StoreError> {
        self.pass("count_tasks", self.inner.count_tasks()).await
    }
}

#[async_trait]
impl Catalog for FlakyStore {
    async fn load_indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        self.pass("load_indexes", self.inner.load_indexes()).await
    }

    async fn load_placement(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<(Epoch, Vec<Vec<NodeId>>)>, StoreError> {
        self.pass("load_placement", self.inner.load_placement(index))
            .await
    }

    async fn load_nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        self.pass("load_nodes", self.inner.load_nodes()).await
    }

    async fn load_node_settings_versions(&self) -> Result<Vec<NodeSettingsVersion>, StoreError> {
        self.pass(
            "load_node_settings_versions",
            self.inner.load_node_settings_versions(),
        )
        .await
    }

    async fn load_fact(&self, key: &str) -> Result<Option<Value>, StoreError> {
        self.pass("load_fact", self.inner.load_fact(key)).await
    }
}
