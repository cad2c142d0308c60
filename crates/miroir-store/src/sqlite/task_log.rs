//! The log's port, over the rows.

use super::error::Sql;
use super::writer::Tx;
use super::{SqliteStore, batches, catalog, list, list_batches, tasks};
use async_trait::async_trait;
use miroir_core::id::{BatchUid, TaskUid};
use miroir_core::task::TaskStatus;
use miroir_engine::port::{
    BackupReport, BatchPage, BatchQuery, BatchRecord, Change, KeptPayload, NewEntry, StoreError,
    TaskLog, TaskPage, TaskQuery, TaskRecord,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn apply(tx: &mut Tx<'_>, change: Change) -> Sql<()> {
    match change {
        Change::UpdateTask(task) => tasks::update(tx, &task),
        Change::AddPastTask(task) => tasks::add_past(tx, &task),
        Change::ForgetPayload(uid) => tasks::forget_payload(tx, uid),
        Change::RemoveTask(uid) => tasks::remove(tx, uid),
        Change::PutBatch(batch) => batches::put(tx, &batch),
        Change::PutDelivery {
            batch,
            node,
            delivery,
        } => batches::put_delivery(tx, batch, &node, &delivery),
        Change::FinishBatch { uid, finished_at } => batches::finish(tx, uid, finished_at),
        Change::RemoveBatch(uid) => batches::remove(tx, uid),
        Change::SweepBatches(uids) => batches::sweep(tx, &uids),
        Change::PutIndex(index) => catalog::put_index(tx, &index),
        Change::RemoveIndex(uid) => catalog::remove_index(tx, &uid),
        Change::RenameIndex { from, to } => catalog::rename_index(tx, &from, &to),
        Change::ExchangeTaskNames { before, names } => tasks::exchange_names(tx, before, &names),
        Change::PutPlacement {
            index,
            epoch,
            replica_sets,
        } => catalog::put_placement(tx, &index, epoch, &replica_sets),
        Change::RemovePlacement(index) => catalog::remove_placement(tx, &index),
        Change::PutNode(node) => catalog::put_node(tx, &node),
        Change::RemoveNode(id) => catalog::remove_node(tx, &id),
        Change::PutNodeSettingsVersion(version) => catalog::put_settings_version(tx, &version),
        Change::PutFact { key, value } => catalog::put_fact(tx, &key, &value),
    }
}

#[async_trait]
impl TaskLog for SqliteStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |tx| tasks::append(tx, entries)).await
    }

    async fn load_kept(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<KeptPayload>, StoreError> {
        self.read(move |connection| tasks::load_kept(connection, after, limit))
            .await
    }

    async fn load_task(&self, uid: TaskUid) -> Result<Option<TaskRecord>, StoreError> {
        self.read(move |connection| tasks::load(connection, uid))
            .await
    }

    async fn load_pending(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError> {
        self.read(move |connection| tasks::load_pending(connection, after, limit))
            .await
    }

    async fn list_tasks(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        self.read(move |connection| list::list(connection, &query))
            .await
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(move |tx| changes.into_iter().try_for_each(|change| apply(tx, change)))
            .await
    }

    async fn load_open_batches(&self) -> Result<Vec<BatchRecord>, StoreError> {
        self.read(batches::load_open).await
    }

    async fn load_batch(&self, uid: BatchUid) -> Result<Option<BatchRecord>, StoreError> {
        self.read(move |connection| batches::load(connection, uid))
            .await
    }

    async fn list_batches(&self, query: BatchQuery) -> Result<BatchPage, StoreError> {
        self.read(move |connection| list_batches::list(connection, &query))
            .await
    }

    async fn last_batch_uid(&self) -> Result<Option<BatchUid>, StoreError> {
        self.read(batches::load_last_uid).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.write(|tx| {
            tx.prepare_cached(
                "INSERT INTO counters VALUES ('checks', 1)
                 ON CONFLICT DO UPDATE SET value = value + 1",
            )?
            .execute([])?;
            Ok(())
        })
        .await
    }

    async fn backup(&self, to: PathBuf) -> Result<BackupReport, StoreError> {
        self.backup_to(to).await
    }

    async fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>, StoreError> {
        self.read(tasks::count_by_status).await
    }
}
