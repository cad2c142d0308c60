//! The reference store, whose commits fail while a test says so.

use async_trait::async_trait;
use miroir_core::id::{BatchUid, Epoch, NodeId, PhysicalIndex, TaskUid};
use miroir_core::task::TaskStatus;
use miroir_engine::port::{
    BatchPage, BatchQuery, BatchRecord, Catalog, Change, IndexRecord, NewEntry, NodeRecord,
    NodeSettingsVersion, StoreError, TaskLog, TaskPage, TaskQuery, TaskRecord,
};
use miroir_store::MemoryStore;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Default)]
pub(crate) struct FlakyStore {
    inner: MemoryStore,
    /// So many commits fail.
    pub(crate) failing_commits: AtomicU32,
    /// Nothing can be written, for this reason.
    pub(crate) fault: Mutex<Option<StoreError>>,
}

impl FlakyStore {
    pub(crate) fn fail(&self, fault: Option<StoreError>) {
        *self.fault.lock() = fault;
    }

    /// What a backup taken now holds.
    pub(crate) fn copy(&self) -> Self {
        Self {
            inner: self.inner.fork(),
            ..Self::default()
        }
    }

    fn pass(&self) -> Result<(), StoreError> {
        self.fault.lock().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl TaskLog for FlakyStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError> {
        self.pass()?;
        self.inner.append(entries).await
    }

    async fn load_task(&self, uid: TaskUid) -> Result<Option<TaskRecord>, StoreError> {
        self.inner.load_task(uid).await
    }

    async fn load_pending(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        self.inner.load_pending(after, limit).await
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        self.inner.list_tasks(query).await
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
        self.pass()?;
        self.inner.commit(changes).await
    }

    async fn load_open_batches(&self) -> Result<Vec<BatchRecord>, StoreError> {
        self.inner.load_open_batches().await
    }

    async fn load_batch(&self, uid: BatchUid) -> Result<Option<BatchRecord>, StoreError> {
        self.inner.load_batch(uid).await
    }

    async fn list_batches(&self, query: BatchQuery) -> Result<BatchPage, StoreError> {
        self.inner.list_batches(query).await
    }

    async fn last_batch_uid(&self) -> Result<Option<BatchUid>, StoreError> {
        self.inner.last_batch_uid().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.pass()
    }

    async fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>, StoreError> {
        self.inner.count_tasks().await
    }
}

#[async_trait]
impl Catalog for FlakyStore {
    async fn load_indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        self.inner.load_indexes().await
    }

    async fn load_placement(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<(Epoch, Vec<Vec<NodeId>>)>, StoreError> {
        self.inner.load_placement(index).await
    }

    async fn load_nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        self.inner.load_nodes().await
    }

    async fn load_node_settings_versions(&self) -> Result<Vec<NodeSettingsVersion>, StoreError> {
        self.inner.load_node_settings_versions().await
    }

    async fn load_fact(&self, key: &str) -> Result<Option<Value>, StoreError> {
        self.inner.load_fact(key).await
    }
}
