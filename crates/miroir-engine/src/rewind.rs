//! An index as it was at a task: its history is carried out again from the log, as ordinary writes,
//! into a new index.
//!
//! Laws: the history begins with the task that made the index, and not one task between it and the
//! last one wanted is missing from the log, else the rewind is refused before anything is written;
//! the index appears under its name when it is whole, never before (it is built under another).

mod plan;

use crate::engine::{Engine, Write};
use crate::error::EngineError;
use crate::litter::Unnamed;
use crate::port::{Payload, PayloadRef, StoreError, TaskRecord};
use bytes::Bytes;
use miroir_api::admin;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{Operation, TaskStatus};
use parking_lot::Mutex;
use plan::Plan;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// Tasks carried out again that have not ended, at most: enough that nodes are busy, few enough that
/// other clients' writes find their turn.
const WINDOW: usize = 32;
/// Rewinds under way at most.
const RUNNING_MAX: usize = 2;
/// Reports kept.
const REPORTS_MAX: usize = 16;
/// A task is looked at this often even if nobody rang.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// What the log cannot take now is tried again after this.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Payload files are copied in pieces of this size.
const PIECE_BYTES: usize = 1024 * 1024;
/// Behind the name of the index to be, the name under which it is built.
const BUILDING_SUFFIX: &str = "-rewinding";

/// Rewinds of this process.
#[derive(Debug, Default)]
pub(crate) struct RewindBoard(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    reports: BTreeMap<u64, admin::Rewind>,
    last: u64,
}

impl RewindBoard {
    /// Those under way.
    pub(crate) fn running(&self) -> usize {
        let board = self.0.lock();
        let states = board.reports.values();
        states.filter(|report| report.state == "running").count()
    }

    fn open(&self, report: admin::Rewind) -> Result<admin::Rewind, EngineError> {
        let mut board = self.0.lock();
        let running: Vec<_> = board
            .reports
            .values()
            .filter(|report| report.state == "running")
            .collect();
        if running.len() >= RUNNING_MAX {
            return Err(refused(format!("{RUNNING_MAX} rewinds are under way.")));
        }
        if running.iter().any(|other| other.new_uid == report.new_uid) {
            let message = format!("A rewind into `{}` is under way.", report.new_uid);
            return Err(refused(message));
        }
        board.last += 1;
        let report = admin::Rewind {
            job: board.last,
            ..report
        };
        board.reports.insert(report.job, report.clone());
        while board.reports.len() > REPORTS_MAX {
            board.reports.pop_first();
        }
        Ok(report)
    }

    fn update(&self, job: u64, change: impl FnOnce(&mut admin::Rewind)) {
        if let Some(report) = self.0.lock().reports.get_mut(&job) {
            change(report);
        }
    }
}

fn refused(message: String) -> EngineError {
    EngineError::Client {
        code: "bad_request",
        message,
    }
}

impl Engine {
    /// Begins to build an index as it was at a task, under a new name.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the log does not hold its history, or the name is taken; then
    /// nothing was written.
    pub async fn rewind(
        &self,
        index: IndexUid,
        to: TaskUid,
        new: IndexUid,
    ) -> Result<admin::Rewind, EngineError> {
        if self.index(&new).is_ok() {
            return Err(EngineError::Client {
                code: "index_already_exists",
                message: format!("Index `{new}` already exists."),
            });
        }
        let building = IndexUid::new(format!("{new}{BUILDING_SUFFIX}"))
            .map_err(|_| refused(format!("`{new}` is too long a name.")))?;
        let plan = plan::make(&*self.shared().ports.store, &index, to).await?;
        let report = self.shared().rewinds.open(admin::Rewind {
            state: "running".into(),
            index_uid: index.to_string(),
            to_task: to.0,
            new_uid: new.to_string(),
            from_task: plan.first.0,
            tasks_total: plan.steps.len() as u64,
            started_at: self.now_text(),
            ..admin::Rewind::default()
        })?;
        let engine = self.clone();
        let job = report.job;
        self.spawn(async move { engine.run_rewind(job, plan, building, new).await });
        Ok(report)
    }

    /// How far a rewind is; `None` if it is not known (any more).
    #[must_use]
    pub fn rewinding(&self, job: u64) -> Option<admin::Rewind> {
        self.shared().rewinds.0.lock().reports.get(&job).cloned()
    }

    fn now_text(&self) -> String {
        let now = self.shared().ports.clock.now();
        now.format(&Rfc3339).unwrap_or_default()
    }

    async fn run_rewind(&self, job: u64, plan: Plan, building: IndexUid, new: IndexUid) {
        let result = self.build(job, &plan, &building, &new).await;
        if let Err(error) = &result {
            tracing::warn!(job, error, index = %new, "a rewind failed");
            // What was built is nothing to be kept; the next rewind into this name removes it too.
            if self.index(&building).is_ok() {
                let _ = self
                    .write_again(&building, Operation::DeleteIndex, None)
                    .await;
            }
        } else {
            tracing::info!(job, index = %new, "an index was built as it was");
        }
        let finished_at = self.now_text();
        self.shared().rewinds.update(job, |report| {
            report.state = match &result {
                Ok(()) => "succeeded".into(),
                Err(_) => "failed".into(),
            };
            report.finished_at = Some(finished_at);
            report.error = result.err();
        });
    }

    async fn build(
        &self,
        job: u64,
        plan: &Plan,
        building: &IndexUid,
        new: &IndexUid,
    ) -> Result<(), String> {
        if self.index(building).is_ok() {
            let removal = self
                .write_again(building, Operation::DeleteIndex, None)
                .await?;
            self.ended_well(removal, "what an earlier rewind left")
                .await?;
        }
        let creation = Operation::CreateIndex {
            primary_key: plan.primary_key.clone(),
        };
        let task = self.write_again(building, creation, None).await?;
        self.ended_well(task, "the new index").await?;
        let mut waiting: VecDeque<(TaskUid, TaskUid)> = VecDeque::new();
        for step in &plan.steps {
            if waiting.len() >= WINDOW
                && let Some((old, again)) = waiting.pop_front()
            {
                self.step_ended(job, old, again).await?;
            }
            let task = self.task(*step).await.map_err(|error| error.to_string())?;
            let payload = self.payload_again(&task).await?;
            let operation = plan::again(task.operation);
            let again = self.write_again(building, operation, payload).await?;
            waiting.push_back((*step, again));
        }
        for (old, again) in waiting {
            self.step_ended(job, old, again).await?;
        }
        let naming = Operation::UpdateIndex {
            primary_key: None,
            new_uid: Some(new.clone()),
        };
        let task = self.write_again(building, naming, None).await?;
        self.ended_well(task, "its naming").await
    }

    async fn step_ended(&self, job: u64, old: TaskUid, again: TaskUid) -> Result<(), String> {
        self.ended_well(again, &format!("what task {old} did"))
            .await?;
        let rewinds = &self.shared().rewinds;
        rewinds.update(job, |report| report.tasks_done += 1);
        Ok(())
    }

    /// Returns when the task has succeeded.
    async fn ended_well(&self, uid: TaskUid, what: &str) -> Result<(), String> {
        let shared = self.shared();
        loop {
            let ended = shared.batch_ended.notified();
            let task = self.task(uid).await.map_err(|error| error.to_string())?;
            match task.status {
                TaskStatus::Succeeded => return Ok(()),
                TaskStatus::Failed | TaskStatus::Canceled => {
                    let error = task.error.as_ref();
                    let message = error.and_then(|error| error.get("message")?.as_str());
                    return Err(format!(
                        "{what} could not be done again (task {uid} {}): {}",
                        task.status.as_str(),
                        message.unwrap_or("no message")
                    ));
                }
                TaskStatus::Enqueued | TaskStatus::Processing => {}
            }
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return Err(shutting_down()),
                () = ended => {}
                () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Registers a write, as soon as the log can take it.
    async fn write_again(
        &self,
        index: &IndexUid,
        operation: Operation,
        payload: Option<Payload>,
    ) -> Result<TaskUid, String> {
        let file = payload.as_ref().and_then(Payload::file).cloned();
        let owner = Unnamed::new(self.shared(), file);
        loop {
            let write = Write {
                index_uid: Some(index.clone()),
                operation: operation.clone(),
                payload: payload.clone(),
                custom_metadata: None,
            };
            match self.append(write, Unnamed::new(self.shared(), None)).await {
                Ok(task) => {
                    _ = owner.keep();
                    return Ok(task.uid);
                }
                Err(error) if is_passing(&error) => self.wait_to_retry().await?,
                Err(error) => {
                    if matches!(error, EngineError::Store(_)) {
                        // Nobody knows whether the log names it.
                        _ = owner.keep();
                    }
                    return Err(error.to_string());
                }
            }
        }
    }

    async fn wait_to_retry(&self) -> Result<(), String> {
        let shared = self.shared();
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => Err(shutting_down()),
            () = shared.ports.clock.sleep(RETRY_DELAY) => Ok(()),
        }
    }

    /// The payload of a finished task, once more.
    async fn payload_again(&self, task: &TaskRecord) -> Result<Option<Payload>, String> {
        if let Some(bytes) = &task.inline_payload {
            return Ok(Some(Payload::Inline(bytes.clone())));
        }
        let Some(file) = &task.payload else {
            let is_needed = plan::has_payload(&task.operation);
            return Ok(is_needed.then(|| Payload::Inline(Bytes::new())));
        };
        loop {
            match self.copy_payload(file).await {
                Ok(copy) => return Ok(Some(Payload::Stored(copy))),
                Err(error) if is_passing(&error) => self.wait_to_retry().await?,
                Err(error) => {
                    return Err(format!("the payload of task {}: {error}", task.uid));
                }
            }
        }
    }

    async fn copy_payload(&self, file: &PayloadRef) -> Result<PayloadRef, EngineError> {
        let mut copy = self.create_payload().await?;
        let mut offset = 0;
        let PayloadRef::File { bytes: end, .. } = file;
        while offset < *end {
            let payloads = &self.shared().ports.payloads;
            let piece = payloads.read_at(file, offset, PIECE_BYTES).await?;
            if piece.is_empty() {
                let cause = "a payload is shorter than it was".into();
                return Err(StoreError::Corrupt {
                    what: "payload",
                    cause,
                }
                .into());
            }
            offset += piece.len() as u64;
            copy.append(piece).await?;
        }
        Ok(copy.finish().await?)
    }
}

fn shutting_down() -> String {
    "the proxy is shutting down".to_owned()
}

/// It may be better later: the store's disk is full, or the log.
fn is_passing(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::LogFull
            | EngineError::ReadOnly(_)
            | EngineError::Store(StoreError::NoSpace(_))
    )
}
