//! Cancelations and deletions of tasks: they concern no node, and are carried out between two batches.

use super::{CONTROL_PAGE, DELETION_WAIT, Dispatcher, is_control};
use crate::error::EngineError;
use crate::port::{BatchRecord, Change, TaskQuery, TaskRecord};
use miroir_core::id::{BatchUid, TaskUid};
use miroir_core::task::{Operation, TaskFilter, TaskKind, TaskStatus};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

impl Dispatcher {
    pub(super) async fn end_control_tasks(&mut self) -> Result<(), EngineError> {
        if !self.shared.control_waits.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let result = self.end_waiting_control_tasks().await;
        if result.is_err() {
            self.shared.control_waits.store(true, Ordering::Release);
        }
        result
    }

    async fn end_waiting_control_tasks(&mut self) -> Result<(), EngineError> {
        let query = TaskQuery {
            filter: TaskFilter {
                types: Some(vec![TaskKind::TaskCancelation, TaskKind::TaskDeletion]),
                statuses: Some(vec![TaskStatus::Enqueued]),
                ..TaskFilter::default()
            },
            limit: CONTROL_PAGE,
            is_reversed: true,
            ..TaskQuery::default()
        };
        for task in self.shared.ports.store.list_tasks(query).await?.tasks {
            match task.operation.clone() {
                Operation::CancelTasks { filter, .. } => self.cancel(task, filter).await?,
                Operation::DeleteTasks { filter, .. } => self.delete(task, filter).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, mut by: TaskRecord, filter: TaskFilter) -> Result<(), EngineError> {
        let now = self.shared.ports.clock.now();
        let batch = self.take_batch_uid();
        let mut matched = 0u64;
        let mut canceled = 0u64;
        let mut changes = Vec::new();
        let mut files = Vec::new();
        let mut stops_job = false;
        let mut from = None;
        loop {
            let page = self.matching(&filter, from).await?;
            for mut task in page.tasks {
                if task.uid >= by.uid {
                    continue;
                }
                matched += 1;
                // What is in a batch is on its way to nodes and will be carried out.
                // Not so a job, which is dropped where it stands.
                let is_job = self.job == Some(task.uid) && task.status == TaskStatus::Processing;
                let is_waiting =
                    task.status == TaskStatus::Enqueued && !is_control(&task.operation);
                if !is_job && !is_waiting {
                    continue;
                }
                canceled += 1;
                task.status = TaskStatus::Canceled;
                task.canceled_by = Some(by.uid);
                task.finished_at = Some(now);
                if is_job {
                    stops_job = true;
                    changes.extend(task.batch_uid.map(|uid| Change::FinishBatch {
                        uid,
                        finished_at: now,
                    }));
                } else {
                    task.batch_uid = Some(batch);
                    task.started_at = Some(now);
                }
                let counts: &[&str] = match task.operation {
                    // As of one that failed.
                    Operation::EditDocuments { .. } => &["editedDocuments"],
                    _ => &["indexedDocuments", "deletedDocuments"],
                };
                for field in counts {
                    if task.details.get(field).is_some() {
                        task.details[*field] = json!(0);
                    }
                }
                files.extend(task.payload.clone());
                changes.push(Change::ForgetPayload(task.uid));
                changes.push(Change::UpdateTask(Box::new(task)));
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        by.details["matchedTasks"] = json!(matched);
        by.details["canceledTasks"] = json!(canceled);
        self.end_control(by, batch, changes).await?;
        if stops_job {
            self.job = None;
        }
        self.shared.discard(&files).await;
        Ok(())
    }

    /// The tasks are chosen now. Those that are being done are given a moment to end, as on one
    /// Meilisearch, which does nothing else meanwhile; what then still goes on stays.
    async fn delete(&mut self, mut by: TaskRecord, filter: TaskFilter) -> Result<(), EngineError> {
        let batch = self.take_batch_uid();
        let mut chosen = Vec::new();
        let mut running = BTreeSet::new();
        let mut matched = 0u64;
        let mut from = None;
        loop {
            let page = self.matching(&filter, from).await?;
            for task in page.tasks {
                if task.uid >= by.uid {
                    continue;
                }
                matched += 1;
                if task.status == TaskStatus::Processing {
                    running.extend(task.batch_uid);
                }
                if task.status != TaskStatus::Enqueued {
                    chosen.push((task.uid, task.status, task.batch_uid, task.payload));
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        self.wait_a_moment_for(&running).await;
        let open: BTreeSet<TaskUid> = {
            let batches = self.shared.ports.store.load_open_batches().await?;
            batches.into_iter().flat_map(|batch| batch.tasks).collect()
        };
        let mut changes = Vec::new();
        let mut batches = BTreeSet::new();
        let mut files = Vec::new();
        for (uid, mut status, batch, payload) in chosen {
            if status == TaskStatus::Processing
                && let Some(task) = self.shared.ports.store.load_task(uid).await?
            {
                status = task.status;
            }
            // A node that is away still needs what its batch holds.
            if status.is_final() && !open.contains(&uid) {
                changes.push(Change::RemoveTask(uid));
                batches.extend(batch);
                // Those of tasks that ended are there only while the log is kept.
                files.extend(payload);
            }
        }
        by.details["matchedTasks"] = json!(matched);
        by.details["deletedTasks"] = json!(changes.len());
        // A batch lives as long as one of its tasks.
        changes.push(Change::SweepBatches(batches.into_iter().collect()));
        self.end_control(by, batch, changes).await?;
        self.shared.discard(&files).await;
        Ok(())
    }

    async fn wait_a_moment_for(&self, batches: &BTreeSet<BatchUid>) {
        let all = async {
            for batch in batches {
                self.shared.wait_for_batch(*batch).await;
            }
        };
        tokio::select! {
            biased;
            () = all => {}
            () = self.shared.ports.clock.sleep(DELETION_WAIT) => {}
        }
    }

    pub(crate) fn take_batch_uid(&mut self) -> BatchUid {
        let uid = self.next_batch;
        self.next_batch = BatchUid(uid.0 + 1);
        uid
    }

    async fn matching(
        &self,
        filter: &TaskFilter,
        from: Option<TaskUid>,
    ) -> Result<crate::port::TaskPage, EngineError> {
        let query = TaskQuery {
            filter: filter.clone(),
            from,
            limit: CONTROL_PAGE,
            is_reversed: false,
        };
        Ok(self.shared.ports.store.list_tasks(query).await?)
    }

    async fn end_control(
        &self,
        mut by: TaskRecord,
        batch: BatchUid,
        mut changes: Vec<Change>,
    ) -> Result<(), EngineError> {
        let now = self.shared.ports.clock.now();
        by.status = TaskStatus::Succeeded;
        by.batch_uid = Some(batch);
        by.started_at = Some(now);
        by.finished_at = Some(now);
        // A batch without deliveries, so that its number is not given again after a restart.
        changes.push(Change::PutBatch(Box::new(BatchRecord {
            uid: batch,
            tasks: vec![by.uid],
            plan: serde_json::Value::Null,
            deliveries: BTreeMap::new(),
            is_done: true,
            started_at: now,
            finished_at: Some(now),
        })));
        changes.push(Change::UpdateTask(Box::new(by)));
        self.shared
            .noted(self.shared.ports.store.commit(changes).await)?;
        self.shared.hooks_ring.notify_waiters();
        Ok(())
    }
}
