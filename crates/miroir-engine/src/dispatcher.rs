//! Takes entries from the log in order, groups neighbours, has them prepared, makes the batch
//! durable, and hands it to the lanes. Also ends cancelations and deletions of tasks, which concern
//! no node.
//!
//! Law: an entry is in at most one batch; a batch is durable before any lane hears of it.

mod control;
mod job;
mod line;

use crate::completer::Event;
use crate::copy::barrier::Barrier;
use crate::error::EngineError;
use crate::plan::Work;
use crate::port::{BatchRecord, Change, Delivery, TaskRecord};
use crate::prepare::Preparer;
use crate::state::{LaneMessage, LiveBatch, Shared};
use crate::window::Window;
use bytes::Bytes;
use line::{Inherited, Line};
use miroir_core::id::{BatchUid, TaskUid};
use miroir_core::task::{Operation, TaskStatus};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Entries read from the log at a time.
const PAGE: usize = 1024;
/// Entries that travel as one: as many as one node groups gladly.
const GROUP_ENTRIES_MAX: usize = 1000;
/// Bytes that travel as one; larger entries go alone.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// With so many batches of an index in flight the nodes have work, and small writes gain by going
/// together:
/// the dispatcher then waits for more of them, or for a batch to end, ...
const GATHER_IN_FLIGHT: usize = 1;
/// ... but no longer than this.
const GATHER_MAX: Duration = Duration::from_millis(100);
/// The wait before a failed step is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The log is looked at this often even if nobody rang.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What waits for a node that comes back is looked at this often: the node may have stopped.
const CONVOY_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A deletion of tasks waits so long for those that are being done. No new batch is begun meanwhile.
const DELETION_WAIT: Duration = Duration::from_secs(2);
/// Tasks handled by one cancelation or deletion at a time.
const CONTROL_PAGE: usize = 10_000;

/// The dispatcher. One for each engine.
pub(crate) struct Dispatcher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) preparer: Preparer,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) next_batch: BatchUid,
    /// Copies that wait for an index to come to rest.
    pub(crate) barrier: Barrier,
    window: Arc<Window>,
    line: Line,
    /// The first entry that waits for others to travel with, and since when.
    gathering: Option<(TaskUid, Duration)>,
    /// The job being carried out.
    job: Option<TaskUid>,
}

impl Dispatcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        preparer: Preparer,
        events: mpsc::UnboundedSender<Event>,
        next_batch: BatchUid,
    ) -> Self {
        Self {
            barrier: Barrier::new(shared.copy.take_receiver()),
            shared,
            preparer,
            events,
            next_batch,
            window: Arc::default(),
            line: Line::default(),
            gathering: None,
            job: None,
        }
    }

    /// Runs until the engine shuts down.
    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        self.inherit();
        while let Err(error) = self.resume_job().await {
            if shared.shutdown.is_cancelled() {
                return;
            }
            tracing::error!(%error, "a job cannot be begun again; trying again");
            shared.ports.clock.sleep(RETRY_DELAY).await;
        }
        loop {
            if shared.shutdown.is_cancelled() {
                return;
            }
            let grown = shared.log_grew.notified();
            let ended = shared.batch_ended.notified();
            let wait = match self.turn().await {
                Ok(true) => continue,
                Ok(false) if self.gathering.is_some() || self.barrier.is_holding() => {
                    tokio::select! {
                        biased;
                        () = shared.shutdown.cancelled() => return,
                        () = ended => {}
                        () = shared.ports.clock.sleep(GATHER_MAX) => {}
                    }
                    continue;
                }
                Ok(false) => self.look_interval(),
                Err(error) => {
                    tracing::error!(%error, "the dispatcher cannot go on; trying again");
                    RETRY_DELAY
                }
            };
            let is_waiting = self.line.is_waiting() || self.window.is_full();
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled() => return,
                () = grown => {}
                () = ended, if is_waiting => {}
                () = shared.ports.clock.sleep(wait) => {}
            }
        }
    }

    /// Waits for a batch in flight. It may wait for a node that is away: cancelations and deletions of
    /// tasks concern no node and are ended meanwhile.
    async fn wait_for_batch(&mut self, batch: BatchUid) {
        let shared = self.shared.clone();
        loop {
            let wait = match self.end_control_tasks().await {
                Ok(()) => LOOK_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "cancelations and deletions cannot be ended; trying again");
                    RETRY_DELAY
                }
            };
            tokio::select! {
                biased;
                () = shared.wait_for_batch(batch) => return,
                () = shared.log_grew.notified() => {}
                () = shared.ports.clock.sleep(wait) => {}
            }
        }
    }

    /// Counts what an earlier process left in flight.
    fn inherit(&mut self) {
        let live: Vec<Arc<LiveBatch>> = self.shared.live.lock().values().cloned().collect();
        let mut inherited = Vec::with_capacity(live.len());
        for batch in live {
            let place = self
                .window
                .take(batch.plan.physical.clone(), batch.inline_bytes());
            *batch.window.lock() = Some(place);
            let exchanged = batch.plan.exchanges.iter();
            let mut names = vec![batch.plan.index_uid.clone()];
            names.extend(exchanged.flat_map(|(first, second)| [first.clone(), second.clone()]));
            inherited.push(Inherited {
                batch: batch.uid,
                index: batch.plan.physical.clone(),
                names,
            });
        }
        self.line.inherit(inherited);
    }

    fn look_interval(&self) -> Duration {
        let now = self.shared.ports.clock.monotonic();
        let retry = self.line.next_retry().map(|at| at.saturating_sub(now));
        let longest = match self.shared.convoy.is_holding(now) {
            true => CONVOY_LOOK_INTERVAL,
            false => LOOK_INTERVAL,
        };
        retry.map_or(longest, |delay| delay.min(longest))
    }

    /// Handles what waits; returns whether there is more to do at once.
    async fn turn(&mut self) -> Result<bool, EngineError> {
        self.end_control_tasks().await?;
        self.restore_refused_settings().await?;
        self.serve_copies().await?;
        self.advance().await
    }

    /// The last batch in flight that exchanges the name under which an index is removed. Until it is
    /// done readers find that index under another name, under which it is not removed.
    fn exchange_before(&self, task: &TaskRecord) -> Option<BatchUid> {
        let Operation::DeleteIndex = task.operation else {
            return None;
        };
        let name = task.index_uid.as_ref()?;
        let live = self.shared.live.lock();
        let mut exchanges = live.values().rev().filter(|batch| {
            let mut names = batch.plan.exchanges.iter();
            names.any(|(from, to)| from == name || to == name)
        });
        exchanges.next().map(|batch| batch.uid)
    }

    /// The group reaches the end of the log and may grow while the nodes are at work.
    fn gathers(&mut self, group: &[TaskRecord]) -> bool {
        let Some(first) = group.first() else {
            return false;
        };
        let is_small = group_key(first).is_some() && group.len() < GROUP_ENTRIES_MAX / 2;
        let now = self.shared.ports.clock.monotonic();
        let since = match self.gathering {
            Some((uid, since)) if uid == first.uid => since,
            _ => now,
        };
        let index = first
            .index_uid
            .as_ref()
            .and_then(|uid| self.preparer.indexes.get(uid));
        let in_flight = index.map_or(0, |index| self.window.count(&index.record.physical));
        let is_worth_it =
            is_small && in_flight >= GATHER_IN_FLIGHT && now.saturating_sub(since) < GATHER_MAX;
        self.gathering = is_worth_it.then_some((first.uid, since));
        is_worth_it
    }

    async fn restore_refused_settings(&mut self) -> Result<(), EngineError> {
        loop {
            let Some(index) = self.shared.refused_settings.lock().pop_first() else {
                return Ok(());
            };
            if let Some(change) = self.preparer.restore_settings(&index) {
                self.commit(&[change]).await?;
            }
        }
    }

    async fn dispatch(&mut self, group: &[TaskRecord]) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let uid = self.next_batch;
        let now = shared.ports.clock.now();
        let mut inline: BTreeMap<TaskUid, Bytes> = BTreeMap::new();
        let mut tasks = Vec::with_capacity(group.len());
        for task in group {
            let mut task = task.clone();
            if let Some(payload) = task.inline_payload.take() {
                inline.insert(task.uid, payload);
            }
            task.status = TaskStatus::Processing;
            task.batch_uid = Some(uid);
            task.started_at = Some(now);
            tasks.push(task);
        }
        shared.in_flight.lock().insert(uid);
        let result = self.preparer.prepare(uid, &tasks, &inline, now).await;
        let mut prepared = match result {
            Ok(prepared) => prepared,
            Err(error) => {
                shared.in_flight.lock().remove(&uid);
                shared.movement.coming.lock().new.remove(&uid);
                return Err(error);
            }
        };
        shared.step("batch.prepared").await;
        if prepared.plan.work != Work::DeleteIndex {
            // They get the index, with what this batch makes of it, by a copy.
            let physical = &prepared.plan.physical;
            prepared
                .nodes
                .retain(|node| !shared.copy.is_awaiting(node, physical));
        }
        let plan = serde_json::to_value(&prepared.plan)
            .map_err(|error| EngineError::Answer(format!("a plan cannot be written: {error}")))?;
        let deliveries: BTreeMap<_, _> = prepared
            .nodes
            .iter()
            .map(|node| (node.clone(), Delivery::default()))
            .collect();
        let record = BatchRecord {
            uid,
            tasks: tasks.iter().map(|task| task.uid).collect(),
            plan,
            deliveries: deliveries.clone(),
            is_done: false,
            started_at: now,
            finished_at: None,
        };
        let mut changes = prepared.changes;
        changes.push(Change::PutBatch(Box::new(record)));
        changes.extend(
            tasks
                .iter()
                .map(|task| Change::UpdateTask(Box::new(task.clone()))),
        );
        self.commit(&changes).await?;
        self.next_batch = BatchUid(uid.0 + 1);
        if prepared.plan.work == Work::DeleteIndex {
            // Not before it is durable: what lanes skip for it is reported as done.
            let physical = prepared.plan.physical.clone();
            let twin = prepared.plan.twin.as_ref();
            let mut removed = shared.removed.lock();
            removed.insert(physical);
            removed.extend(twin.map(|twin| twin.physical.clone()));
        }
        shared.step("batch.committed").await;
        let bytes = inline.values().map(|bytes| bytes.len() as u64).sum();
        let place = self.window.take(prepared.plan.physical.clone(), bytes);
        let batch = Arc::new(LiveBatch {
            payload_bytes: LiveBatch::payload_bytes_of(&prepared.plan, &inline),
            uid,
            plan: prepared.plan,
            tasks,
            inline,
            replica_sets: prepared.replica_sets,
            transit: prepared.transit,
            twin: prepared.twin,
            nodes: prepared.nodes,
            effect: prepared.effect,
            window: parking_lot::Mutex::new(Some(place)),
        });
        shared.live.lock().insert(uid, batch.clone());
        shared.convoy.admitted(batch.nodes.iter());
        let _ = self.events.send(Event::Opened(batch.clone(), deliveries));
        for node in &batch.nodes {
            shared.tell(node, LaneMessage::Deliver(uid));
        }
        Ok(())
    }

    /// Commits, again and again: the planned state already holds these changes, so the dispatcher
    /// cannot go on without them.
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        loop {
            match self.shared.ports.store.commit(changes.to_vec()).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, "a batch cannot be stored; trying again");
                    self.shared.gate.note(&error, self.shared.ports.clock.now());
                }
            }
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => return Err(EngineError::ShuttingDown),
                () = self.shared.ports.clock.sleep(RETRY_DELAY) => {}
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // Cancelations and deletions of tasks
}

fn is_control(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::CancelTasks { .. } | Operation::DeleteTasks { .. }
    )
}

/// How many tasks at the front travel as one.
fn group_len(tasks: &[TaskRecord]) -> usize {
    let Some(first) = tasks.first() else { return 0 };
    let Some(key) = group_key(first) else {
        return 1;
    };
    let mut bytes = 0;
    let mut len = 0;
    for task in tasks.iter().take(GROUP_ENTRIES_MAX) {
        if task.index_uid != first.index_uid || group_key(task) != Some(key) {
            break;
        }
        bytes += task.inline_payload.as_ref().map_or(0, Bytes::len);
        if bytes > GROUP_BYTES_MAX && len > 0 {
            break;
        }
        len += 1;
    }
    len.max(1)
}

/// Entries with one key may travel as one; `None` travels alone.
fn group_key(
    task: &TaskRecord,
) -> Option<(miroir_core::task::AdditionMethod, Option<&str>, bool, bool)> {
    match &task.operation {
        Operation::AddDocuments {
            method,
            primary_key,
            skip_creation,
            may_create_index,
            ..
        } if task.payload.is_none() => Some((
            *method,
            primary_key.as_deref(),
            *skip_creation,
            *may_create_index,
        )),
        _ => None,
    }
}
