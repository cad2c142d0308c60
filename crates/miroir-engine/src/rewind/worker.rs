//! Carries out one rewind, from wherever an earlier process left it.
//!
//! Nothing is held that the log does not tell: each write is marked ([`super::mark`]), and what is
//! about to be written is stored before it is. So an attempt begins with reading what is there, and
//! may be broken off anywhere.

use super::dump::{self, Documents};
use super::mark::{self, At, Cursor, Step};
use super::plan::{self, Plan};
use super::record::{End, Record, Stage};
use crate::engine::{Engine, Write};
use crate::error::EngineError;
use crate::port::{Payload, PayloadRef, StoreError, TaskQuery, TaskRecord};
use bytes::Bytes;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{AdditionMethod, Operation, TaskFilter, TaskKind, TaskStatus};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;

/// Tasks carried out again that have not ended, at most: enough that nodes are busy, few enough that
/// other clients' writes find their turn.
const WINDOW: usize = 32;
/// A task is looked at this often even if nobody rang.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// What the log cannot take now is tried again after this at first, ...
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// ... then ever later, up to this: an attempt begins with reading what is there, which is much of a log
/// that is full.
const RETRY_DELAY_MAX: Duration = Duration::from_mins(1);
/// Payload files are copied in pieces of this size.
const PIECE_BYTES: usize = 1024 * 1024;
/// Tasks read from the log at a time.
const PAGE: usize = 1000;

/// Why an attempt ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The next start goes on.
    Shutdown,
    /// It may be better later: the store's disk is full, or the log, or the store failed.
    Passing(String),
    /// It will not be better.
    Failed(String),
    /// Somebody wants it so.
    Cancelled,
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::ShuttingDown => Self::Shutdown,
            EngineError::LogFull
            | EngineError::ReadOnly(_)
            | EngineError::Store(StoreError::NoSpace(_) | StoreError::Io(_)) => {
                Self::Passing(chain(&error))
            }
            EngineError::Client { message, .. } => Self::Failed(message),
            error => Self::Failed(chain(&error)),
        }
    }
}

fn chain(error: &EngineError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Works until it has ended or the engine shuts down.
pub(super) async fn drive(engine: Engine, id: u64) {
    let shared = engine.shared_arc();
    let board = &shared.rewinds;
    let mut delay = RETRY_DELAY;
    while let Some(record) = board.get(id) {
        let worker = Worker {
            engine: &engine,
            record: &record,
        };
        let result = match record.stage {
            Stage::Building => Box::pin(worker.build()).await,
            Stage::Naming => Box::pin(worker.name()).await,
            Stage::Removing { then } => Box::pin(worker.remove(then)).await,
            Stage::Ended { .. } => return,
        };
        let result = match result {
            Err(Stop::Failed(error)) => worker.fail(error).await,
            Err(Stop::Cancelled) => worker.give_up(End::Cancelled, None).await,
            result => result,
        };
        match result {
            Ok(()) => {
                delay = RETRY_DELAY;
                board.see(id, |seen| seen.waits_for = None);
            }
            Err(Stop::Shutdown) => return,
            Err(Stop::Passing(why) | Stop::Failed(why)) => {
                tracing::warn!(rewind = id, why, "a rewind cannot go on now; trying again");
                board.see(id, |seen| seen.waits_for = Some(why));
                if !has_waited(&engine, &record, delay).await {
                    return;
                }
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
            Err(Stop::Cancelled) => {}
        }
    }
}

/// Waits before the next attempt, no longer than until somebody wants something else of the rewind.
/// `false` if the engine shuts down.
async fn has_waited(engine: &Engine, record: &Record, delay: Duration) -> bool {
    let shared = engine.shared();
    let until = shared.ports.clock.monotonic() + delay;
    loop {
        let left = until.saturating_sub(shared.ports.clock.monotonic());
        let now = shared.rewinds.get(record.id);
        if left.is_zero() || now.is_none_or(|now| now.stage != record.stage) {
            return true;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return false,
            () = shared.ports.clock.sleep(left.min(RETRY_DELAY)) => {}
        }
    }
}

/// What the log tells of a building.
struct Own<'p> {
    cursor: Cursor<'p>,
    /// Written and not ended, with what it is for.
    waiting: VecDeque<(Step, TaskUid)>,
    tasks_done: u64,
    documents: u64,
}

struct Worker<'a> {
    engine: &'a Engine,
    record: &'a Record,
}

impl Worker<'_> {
    fn names(&self) -> Result<(IndexUid, IndexUid, IndexUid), Stop> {
        let name = |text: String| {
            let invalid = format!("`{text}` is no name of an index");
            IndexUid::new(text).map_err(|_| Stop::Failed(invalid))
        };
        Ok((
            name(self.record.index_uid.clone())?,
            name(self.record.building())?,
            name(self.record.new_uid.clone())?,
        ))
    }

    // -----------------------------------------------------------------------------------------
    // Building

    async fn build(&self) -> Result<(), Stop> {
        let Record {
            id, base, to_task, ..
        } = self.record;
        let store = self.engine.shared().ports.store.clone();
        let (index, building, _) = self.names()?;
        let plan = plan::again(&*store, &index, base, *to_task).await?;
        let mut own = self.look(&plan, &building).await?;
        self.engine.shared().rewinds.see(*id, |seen| {
            seen.tasks_done = own.tasks_done;
            seen.documents = own.documents;
        });
        if own.cursor.at == At::Start {
            let creation = Operation::CreateIndex {
                primary_key: base.primary_key(),
            };
            self.write(&mut own, &building, Step::Create, creation, None)
                .await?;
        }
        if own.cursor.at == At::Created {
            let settings = Operation::UpdateSettings {
                settings: Value::Object(dump::settings(self.engine, base).await?),
                is_reset: false,
                may_create_index: false,
            };
            self.write(&mut own, &building, Step::Settings, settings, None)
                .await?;
        }
        if let At::Documents(from) = own.cursor.at {
            let mut documents = Documents::open(self.engine, base, from).await?;
            let mut from = from;
            while let Some(piece) = documents.next(self.engine).await? {
                let addition = Operation::AddDocuments {
                    method: AdditionMethod::Replace,
                    primary_key: base.primary_key(),
                    skip_creation: false,
                    may_create_index: false,
                    document_count: piece.count,
                };
                let step = Step::Documents { from, to: piece.to };
                from = piece.to;
                self.write(&mut own, &building, step, addition, Some(piece.payload))
                    .await?;
            }
        }
        let done = match own.cursor.at {
            At::Tasks(done) => done,
            _ => 0,
        };
        for task in plan.steps.iter().skip(done) {
            let record = self.engine.task(*task).await?;
            let payload = self.payload_again(&record).await?;
            let operation = plan::repeated(record.operation);
            let step = Step::Task { task: *task };
            self.write(&mut own, &building, step, operation, payload)
                .await?;
        }
        while let Some((step, task)) = own.waiting.pop_front() {
            self.ended_well(step, task).await?;
        }
        // Once more, for what others may have done to it meanwhile.
        let own = self.look(&plan, &building).await?;
        if !own.waiting.is_empty() {
            return Ok(());
        }
        self.engine.shared().step("rewind.built").await;
        let change = |record: &mut Record| {
            let is_wanted = record.stage == Stage::Building;
            record.stage = Stage::Naming;
            record.tasks_done = own.tasks_done;
            record.documents = own.documents;
            is_wanted
        };
        self.change(change).await
    }

    /// What is there already.
    async fn look<'p>(&self, plan: &'p Plan, building: &IndexUid) -> Result<Own<'p>, Stop> {
        let id = self.record.id;
        let mut own = Own {
            cursor: Cursor::new(self.record.base.is_dump(), &plan.steps),
            waiting: VecDeque::new(),
            tasks_done: 0,
            documents: 0,
        };
        let gone = || {
            Stop::Failed("tasks of this rewind are no longer in the log: they were deleted".into())
        };
        let mut last = None;
        let filter = TaskFilter {
            index_uids: Some(vec![building.as_str().to_owned()]),
            ..TaskFilter::default()
        };
        let mut from = Some(self.first());
        while let Some(first) = from {
            let page = self.page(&filter, first).await?;
            from = page.1;
            for task in page.0 {
                let Some(step) = mark::read(id, task.custom_metadata.as_deref()) else {
                    if matches!(task.status, TaskStatus::Failed | TaskStatus::Canceled) {
                        continue;
                    }
                    return Err(Stop::Failed(format!(
                        "task {} of somebody else wrote to `{building}` while it was built",
                        task.uid
                    )));
                };
                own.cursor = own.cursor.after(step).ok_or_else(gone)?;
                last = Some(step);
                match task.status {
                    TaskStatus::Succeeded => own.count(&task, step),
                    TaskStatus::Failed | TaskStatus::Canceled => return Err(failed(step, &task)),
                    _ => own.waiting.push_back((step, task.uid)),
                }
            }
        }
        // The newest word, for this attempt may be older than it.
        let record = self.engine.shared().rewinds.get(id);
        let intent = record.and_then(|record| record.intent);
        if !own.cursor.agrees_with(last, intent) {
            return Err(gone());
        }
        Ok(own)
    }

    /// Registers the next write of the building, once few enough of those before are under way.
    async fn write(
        &self,
        own: &mut Own<'_>,
        building: &IndexUid,
        step: Step,
        operation: Operation,
        payload: Option<Payload>,
    ) -> Result<(), Stop> {
        let after = own.cursor.after(step);
        let after = after.ok_or_else(|| Stop::Failed(format!("{step:?} is out of turn")))?;
        if own.waiting.len() >= WINDOW
            && let Some((old, task)) = own.waiting.pop_front()
        {
            self.ended_well(old, task).await?;
        }
        self.check_wanted()?;
        let intent = |record: &mut Record| {
            record.intent = Some(step);
            record.stage == Stage::Building
        };
        self.change(intent).await?;
        self.engine.shared().step("rewind.intended").await;
        let task = self.register(building, step, operation, payload).await?;
        self.engine.shared().step("rewind.written").await;
        own.cursor = after;
        own.waiting.push_back((step, task));
        Ok(())
    }

    async fn register(
        &self,
        index: &IndexUid,
        step: Step,
        operation: Operation,
        payload: Option<Payload>,
    ) -> Result<TaskUid, Stop> {
        let write = Write {
            index_uid: Some(index.clone()),
            operation,
            payload,
            custom_metadata: Some(mark::mark(self.record.id, step)),
        };
        Ok(self.engine.register(write).await?.uid)
    }

    /// The payload of a finished task, once more.
    async fn payload_again(&self, task: &TaskRecord) -> Result<Option<Payload>, Stop> {
        if let Some(bytes) = &task.inline_payload {
            return Ok(Some(Payload::Inline(bytes.clone())));
        }
        let Some(file) = &task.payload else {
            let is_needed = plan::has_payload(&task.operation);
            return Ok(is_needed.then(|| Payload::Inline(Bytes::new())));
        };
        let copy = self.copy_payload(file).await;
        let copy = copy.map_err(|error| match Stop::from(error) {
            Stop::Failed(cause) => {
                Stop::Failed(format!("the payload of task {}: {cause}", task.uid))
            }
            stop => stop,
        })?;
        Ok(Some(Payload::Stored(copy)))
    }

    async fn copy_payload(&self, file: &PayloadRef) -> Result<PayloadRef, EngineError> {
        let mut copy = self.engine.create_payload().await?;
        let mut offset = 0;
        let PayloadRef::File { bytes: end, .. } = file;
        while offset < *end {
            let payloads = &self.engine.shared().ports.payloads;
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

    /// Returns when a task of the building has succeeded.
    async fn ended_well(&self, step: Step, uid: TaskUid) -> Result<(), Stop> {
        let task = self.ended(uid, true).await?;
        match task.status {
            TaskStatus::Succeeded => {
                self.engine.shared().rewinds.see(self.record.id, |seen| {
                    let (tasks, documents) = amount(&task, step);
                    seen.tasks_done += tasks;
                    seen.documents += documents;
                });
                Ok(())
            }
            _ => Err(failed(step, &task)),
        }
    }

    /// A task once it is final.
    async fn ended(&self, uid: TaskUid, is_cancellable: bool) -> Result<TaskRecord, Stop> {
        let shared = self.engine.shared();
        loop {
            let ended = shared.batch_ended.notified();
            let task = match self.engine.task(uid).await {
                Err(EngineError::TaskNotFound(_)) => {
                    let text = format!("task {uid} of this rewind was deleted from the log");
                    return Err(Stop::Failed(text));
                }
                task => task?,
            };
            if task.status.is_final() {
                return Ok(task);
            }
            if is_cancellable {
                self.check_wanted()?;
            }
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return Err(Stop::Shutdown),
                () = ended => {}
                () = shared.ports.clock.sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    /// Whether it was cancelled since this attempt began.
    fn check_wanted(&self) -> Result<(), Stop> {
        let shared = self.engine.shared();
        if shared.shutdown.is_cancelled() {
            return Err(Stop::Shutdown);
        }
        let record = shared.rewinds.get(self.record.id);
        match record.is_some_and(|record| record.stage == Stage::Building) {
            true => Ok(()),
            false => Err(Stop::Cancelled),
        }
    }

    // -----------------------------------------------------------------------------------------
    // Naming

    async fn name(&self) -> Result<(), Stop> {
        let (_, building, new) = self.names()?;
        let task = match self.find(TaskKind::IndexUpdate, Step::Name).await? {
            Some(task) => task.uid,
            None => {
                let naming = Operation::UpdateIndex {
                    primary_key: None,
                    new_uid: Some(new),
                };
                let task = self.register(&building, Step::Name, naming, None).await?;
                self.engine.shared().step("rewind.named").await;
                task
            }
        };
        let task = self.ended(task, false).await?;
        if task.status != TaskStatus::Succeeded {
            return Err(failed(Step::Name, &task));
        }
        tracing::info!(index = self.record.new_uid, "an index was built as it was");
        self.end(End::Succeeded).await
    }

    /// Its own task of that step; the index it is listed under may have another name by now.
    async fn find(&self, kind: TaskKind, step: Step) -> Result<Option<TaskRecord>, Stop> {
        let filter = TaskFilter {
            types: Some(vec![kind]),
            ..TaskFilter::default()
        };
        let mut from = Some(self.first());
        while let Some(first) = from {
            let page = self.page(&filter, first).await?;
            from = page.1;
            let id = self.record.id;
            let is_it =
                |task: &TaskRecord| mark::read(id, task.custom_metadata.as_deref()) == Some(step);
            if let Some(task) = page.0.into_iter().find(is_it) {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }

    // -----------------------------------------------------------------------------------------
    // The end

    /// Removes what was built, if it is there and its own.
    async fn remove(&self, then: End) -> Result<(), Stop> {
        let (_, building, _) = self.names()?;
        let creation = self.find(TaskKind::IndexCreation, Step::Create).await?;
        let Some(creation) = creation else {
            return self.end(then).await;
        };
        let removal = match self.find(TaskKind::IndexDeletion, Step::Remove).await? {
            Some(removal) => removal.uid,
            None => {
                let creation = match creation.status.is_final() {
                    true => creation,
                    false => self.ended(creation.uid, false).await?,
                };
                let index = self
                    .engine
                    .shared()
                    .snapshot
                    .load()
                    .indexes
                    .get(&building)
                    .cloned();
                let made_by = index.and_then(|index| index.record.physical.made_by());
                if creation.status != TaskStatus::Succeeded || made_by != Some(creation.uid) {
                    return self.end(then).await;
                }
                self.register(&building, Step::Remove, Operation::DeleteIndex, None)
                    .await?
            }
        };
        self.engine.shared().step("rewind.removing").await;
        // Should it fail, there is nothing any more that could be removed.
        self.ended(removal, false).await?;
        self.end(then).await
    }

    async fn fail(&self, error: String) -> Result<(), Stop> {
        tracing::warn!(
            rewind = self.record.id,
            error,
            index = self.record.new_uid,
            "a rewind failed"
        );
        match self.record.stage {
            // The removal itself: nothing more can be done.
            Stage::Removing { then } => self.end(then).await,
            _ => self.give_up(End::Failed, Some(error)).await,
        }
    }

    async fn give_up(&self, then: End, error: Option<String>) -> Result<(), Stop> {
        let change = |record: &mut Record| {
            if !matches!(record.stage, Stage::Building | Stage::Naming) {
                return false;
            }
            record.stage = Stage::Removing { then };
            record.error = error;
            true
        };
        self.change(change).await
    }

    async fn end(&self, how: End) -> Result<(), Stop> {
        let finished_at = self.engine.now_text();
        let seen = self.engine.shared().rewinds.seen(self.record.id);
        let change = |record: &mut Record| {
            record.stage = Stage::Ended { how };
            record.finished_at = Some(finished_at);
            record.intent = None;
            record.tasks_done = record.tasks_done.max(seen.tasks_done);
            record.documents = record.documents.max(seen.documents);
            true
        };
        self.change(change).await?;
        self.engine.shared().step("rewind.ended").await;
        Ok(())
    }

    /// Changes what is stored of it. A change that is refused meets another one, which the next
    /// attempt sees.
    async fn change(&self, change: impl FnOnce(&mut Record) -> bool + Send) -> Result<(), Stop> {
        let shared = self.engine.shared();
        let changed = shared
            .rewinds
            .change(shared, self.record.id, change)
            .await?;
        match changed {
            Some(_) => Ok(()),
            None => Err(Stop::Cancelled),
        }
    }

    fn first(&self) -> TaskUid {
        TaskUid(self.record.begun_behind.0.saturating_add(1))
    }

    /// Tasks from one on, oldest first, and the first behind them.
    async fn page(
        &self,
        filter: &TaskFilter,
        from: TaskUid,
    ) -> Result<(Vec<TaskRecord>, Option<TaskUid>), Stop> {
        let query = TaskQuery {
            filter: filter.clone(),
            from: Some(from),
            limit: PAGE,
            is_reversed: true,
        };
        let page = self.engine.tasks(query).await?;
        Ok((page.tasks, page.next))
    }
}

impl Own<'_> {
    fn count(&mut self, task: &TaskRecord, step: Step) {
        let (tasks, documents) = amount(task, step);
        self.tasks_done += tasks;
        self.documents += documents;
    }
}

/// Tasks carried out again, and documents taken from a dump, by one task.
fn amount(task: &TaskRecord, step: Step) -> (u64, u64) {
    match (step, &task.operation) {
        (Step::Task { .. }, _) => (1, 0),
        (Step::Documents { .. }, Operation::AddDocuments { document_count, .. }) => {
            (0, *document_count)
        }
        _ => (0, 0),
    }
}

fn failed(step: Step, task: &TaskRecord) -> Stop {
    let what = match step {
        Step::Create => "the new index".to_owned(),
        Step::Settings => "the settings of the dump".to_owned(),
        Step::Documents { .. } => "documents of the dump".to_owned(),
        Step::Task { task } => format!("what task {task} did"),
        Step::Name => "its naming".to_owned(),
        Step::Remove => "its removal".to_owned(),
    };
    let error = task.error.as_ref();
    let message = error.and_then(|error| error.get("message")?.as_str());
    Stop::Failed(format!(
        "{what} could not be done again (task {} {}): {}",
        task.uid,
        task.status.as_str(),
        message.unwrap_or("no message")
    ))
}
