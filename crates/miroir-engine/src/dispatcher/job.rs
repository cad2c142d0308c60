//! Jobs in the order of the log: begun when everything before is done, ended before anything after
//! begins. Cancelations and deletions of tasks are ended meanwhile.

use super::{Dispatcher, LOOK_INTERVAL};
use crate::error::EngineError;
use crate::job;
use crate::port::{BatchRecord, Change, TaskQuery, TaskRecord};
use miroir_core::id::BatchUid;
use miroir_core::task::{TaskFilter, TaskKind, TaskStatus};
use serde_json::Value;
use std::collections::BTreeMap;

impl Dispatcher {
    /// Begins a job and carries it out to its end.
    pub(super) async fn carry_out(&mut self, task: &TaskRecord) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let before: Vec<BatchUid> = shared.in_flight.lock().iter().copied().collect();
        for batch in before {
            self.wait_for_batch(batch).await;
        }
        if shared.shutdown.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        self.restore_refused_settings().await?;
        // It may have been withdrawn while it waited.
        let stored = shared.ports.store.load_task(task.uid).await?;
        let Some(mut task) = stored.filter(|task| task.status == TaskStatus::Enqueued) else {
            return Ok(());
        };
        let now = shared.ports.clock.now();
        let batch = self.take_batch_uid();
        task.status = TaskStatus::Processing;
        task.batch_uid = Some(batch);
        task.started_at = Some(now);
        // A batch without a plan is a job's: no lane and no tally has a part in it.
        let record = BatchRecord {
            uid: batch,
            tasks: vec![task.uid],
            plan: Value::Null,
            deliveries: BTreeMap::new(),
            is_done: false,
            started_at: now,
            finished_at: None,
        };
        let changes = [
            Change::PutBatch(Box::new(record)),
            Change::UpdateTask(Box::new(task.clone())),
        ];
        self.commit(&changes).await?;
        shared.step("job.begun").await;
        self.finish(task).await
    }

    /// Begins the job again that an earlier process did not end, if there is one.
    pub(super) async fn resume_job(&mut self) -> Result<(), EngineError> {
        let query = TaskQuery {
            filter: TaskFilter {
                types: Some(vec![
                    TaskKind::DumpCreation,
                    TaskKind::SnapshotCreation,
                    TaskKind::Export,
                ]),
                statuses: Some(vec![TaskStatus::Processing]),
                ..TaskFilter::default()
            },
            limit: 1,
            ..TaskQuery::default()
        };
        let found = self.shared.ports.store.list_tasks(query).await?.tasks;
        match found.into_iter().next() {
            Some(task) => self.finish(task).await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self, mut task: TaskRecord) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        self.job = Some(task.uid);
        let ended = {
            let mut work = Box::pin(job::run(&shared, &task));
            loop {
                tokio::select! {
                    biased;
                    ended = &mut work => break Some(ended),
                    () = shared.shutdown.cancelled() => break None,
                    () = shared.log_grew.notified() => {}
                    () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
                }
                if let Err(error) = self.end_control_tasks().await {
                    tracing::error!(%error, "cancelations and deletions cannot be ended; trying again");
                }
                if self.job.is_none() {
                    // Its task and its batch have ended with the cancelation.
                    break None;
                }
            }
        };
        self.job = None;
        let Some(ended) = ended else { return Ok(()) };
        let ended = ended?;
        let now = shared.ports.clock.now();
        task.status = match ended.error {
            Some(_) => TaskStatus::Failed,
            None => TaskStatus::Succeeded,
        };
        task.details = ended.details;
        task.error = ended.error;
        task.finished_at = Some(now);
        let mut changes = Vec::new();
        if let Some(uid) = task.batch_uid {
            let finished_at = now;
            changes.push(Change::FinishBatch { uid, finished_at });
        }
        changes.push(Change::UpdateTask(Box::new(task)));
        self.commit(&changes).await?;
        shared.step("job.ended").await;
        Ok(())
    }
}
