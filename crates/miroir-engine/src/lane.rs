//! The lane of one node: batches go to it one after the other, and their ends are reported in the
//! same order.
//!
//! ```text
//! pending ──send──► sent ──all its node tasks ended──► reported (to the completer)
//!    ▲               │
//!    └───────────────┴── failed: wait for the rest, deliver it entry by entry, send the rest again
//! ```
//! Laws: request *k+1* is sent when request *k* is known to be enqueued on the node; after an
//! unknown outcome, or a restart, the node's own task list is asked before anything is sent; ends
//! are reported in log order, so that what was reported is a prefix of the log.

mod order;
mod outcome;

use self::order::{is_edit, must_follow_the_end_of};
use self::outcome::outcome;
use crate::completer::{Event, NodeOutcome, Ruling};
use crate::deliver::{Requests, Section};
use crate::error::EngineError;
use crate::features;
use crate::ills::{CANCELED, is_nodes_own};
use crate::plan::Work;
use crate::port::{NodeError, NodeTask, NodeTaskQuery, NodeWrite, Timestamp};
use crate::prober;
use crate::state::{LaneMessage, LiveBatch, Shared};
use miroir_core::condition::{Condition, SKEW_SECONDS_MAX};
use miroir_core::id::{BatchUid, NodeId, NodeTaskUid, PhysicalIndex, TaskUid};
use miroir_core::mark;
use miroir_core::task::TaskStatus;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot};

/// Batches sent and not yet ended. A node groups what waits for it, so many may wait; the bound
/// keeps what must be asked for, and sent again after a failure, small.
const SENT_MAX: usize = 256;
/// Uids in one question to the node.
const POLL_UIDS_MAX: usize = 100;
/// The node is asked again after these delays, growing while nothing ends.
const POLL_DELAY_MIN: Duration = Duration::from_millis(2);
/// See above.
const POLL_DELAY_MAX: Duration = Duration::from_millis(100);
/// After a failed call; growing.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
/// See above.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// A node that fails what its replicas do is tried again after this.
const ILL_DELAY: Duration = Duration::from_secs(5);
/// A request without an answer may arrive after it was given up: so much later than the node answers
/// again, at most. What a stalled process finds in its connections when it goes on is there at once;
/// this leaves room for a busy machine and a slow way.
const LATE_MAX: Duration = Duration::from_secs(3);
/// Pages of the node's task list read at most when a lane finds its place again.
const RECONCILE_PAGES_MAX: usize = 100;
/// Tasks on such a page.
const RECONCILE_PAGE: u32 = 1000;

/// The lane of one node.
pub(crate) struct Lane {
    node: NodeId,
    shared: Arc<Shared>,
    messages: mpsc::UnboundedReceiver<LaneMessage>,
    events: mpsc::UnboundedSender<Event>,
    pending: VecDeque<BatchUid>,
    sent: VecDeque<Sent>,
    /// The first pending batch, while it waits for the end of one sent before.
    kept_back: Option<Arc<LiveBatch>>,
    /// Node tasks found in the node's own list, by marker, that need not be made again, with the
    /// index they are of.
    adoptable: HashMap<String, (NodeTaskUid, Option<PhysicalIndex>)>,
    has_its_place: bool,
    doubt: Option<Doubt>,
    /// The greatest uid the node gave.
    newest_task: Option<NodeTaskUid>,
    /// The greatest uid of a task that it was seen to have ended.
    newest_end: Option<NodeTaskUid>,
    poll_delay: Duration,
    retry_delay: Duration,
    last_poll: Duration,
}

struct Sent {
    batch: Arc<LiveBatch>,
    parts: Vec<Part>,
    is_moot: bool,
}

/// A request had no answer: it may have been lost, or be on its way still. Nothing is sent before it
/// would have arrived; behind newer requests it would put back what they changed.
enum Doubt {
    /// The node has not answered since. The request's key, if it has one.
    Open(Option<String>),
    /// It has, first at this moment.
    AnsweredAt(Duration),
}

struct Part {
    task: NodeTaskUid,
    /// What comes of it has no say.
    is_joining: bool,
    /// The same, and it is the twin's.
    is_twin: bool,
    end: Option<NodeTask>,
    /// When it was sent; `None` if it was found on the node.
    sent_at: Option<Timestamp>,
}

enum Failure {
    /// A call failed; try again later.
    Call(NodeError),
    /// The store or a payload failed.
    Engine(EngineError),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Call(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Lane {
    /// A lane that begins with `backlog`, oldest first.
    pub(crate) fn new(
        node: NodeId,
        shared: Arc<Shared>,
        messages: mpsc::UnboundedReceiver<LaneMessage>,
        events: mpsc::UnboundedSender<Event>,
        backlog: impl IntoIterator<Item = BatchUid>,
    ) -> Self {
        let pending: VecDeque<BatchUid> = backlog.into_iter().collect();
        let newest_task = shared.copy.witness(&node).map(|witness| witness.uid);
        Self {
            node,
            shared,
            messages,
            events,
            has_its_place: pending.is_empty(),
            // What an earlier process sent last may be on its way, too.
            doubt: (!pending.is_empty()).then_some(Doubt::Open(None)),
            pending,
            sent: VecDeque::new(),
            kept_back: None,
            adoptable: HashMap::new(),
            newest_task,
            newest_end: newest_task,
            poll_delay: POLL_DELAY_MIN,
            retry_delay: RETRY_DELAY_MIN,
            last_poll: Duration::ZERO,
        }
    }

    /// Runs until the engine shuts down.
    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        let shutdown = shared.shutdown.clone();
        let mut nodes_changed = self.shared.nodes_changed.listen();
        loop {
            self.take_messages();
            if shutdown.is_cancelled() {
                return;
            }
            let wait = if self.pending.is_empty() && self.sent.is_empty() {
                None
            } else if !self.shared.is_up(&self.node) {
                self.lose_place();
                None
            } else {
                match self.turn().await {
                    Ok(wait) => {
                        self.retry_delay = RETRY_DELAY_MIN;
                        Some(wait)
                    }
                    Err(failure) => Some(self.failed(&failure)),
                }
            };
            if wait == Some(Duration::ZERO) {
                continue;
            }
            let clock = shared.ports.clock.clone();
            let sleep = async move {
                match wait {
                    Some(delay) => clock.sleep(delay).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = sleep => {}
                () = nodes_changed.changed() => {}
                message = self.messages.recv() => match message {
                    Some(LaneMessage::Deliver(batch)) => self.pending.push_back(batch),
                    Some(LaneMessage::Renewed) => self.renew(),
                    Some(LaneMessage::Wake) => {}
                    None => return,
                },
            }
        }
    }

    fn take_messages(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            match message {
                LaneMessage::Deliver(batch) => self.pending.push_back(batch),
                LaneMessage::Renewed => self.renew(),
                LaneMessage::Wake => {}
            }
        }
    }

    /// The node's data is new, and so is its task list.
    fn renew(&mut self) {
        self.lose_place();
        self.adoptable.clear();
        self.newest_task = None;
        self.newest_end = None;
    }

    /// What was sent is asked for again by its markers before anything else is sent.
    fn lose_place(&mut self) {
        self.has_its_place = false;
        // It may be owed no more, and its payload be gone.
        self.kept_back = None;
        while let Some(sent) = self.sent.pop_back() {
            self.pending.push_front(sent.batch.uid);
        }
    }

    fn failed(&mut self, failure: &Failure) -> Duration {
        match failure {
            Failure::Call(error) => {
                self.shared.observe(&self.node, Err(error));
                if !matches!(error, NodeError::Busy { .. }) {
                    self.lose_place();
                }
                tracing::debug!(node = %self.node, %error, "a call of the lane failed");
            }
            Failure::Engine(error) => {
                tracing::error!(node = %self.node, error = %chain(error), "the lane cannot go on");
                self.lose_place();
            }
        }
        let delay = self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(RETRY_DELAY_MAX);
        delay
    }

    /// One turn: find the place, send one batch, look at what ended. Returns how long to wait.
    async fn turn(&mut self) -> Result<Duration, Failure> {
        if let Some(rest) = self.late_rest() {
            return Ok(rest);
        }
        if !self.has_its_place {
            // Whatever cost the place may have been a restart without the data.
            prober::check_contents(&self.node, &self.shared).await;
            if !self.shared.is_up(&self.node) {
                return Ok(POLL_DELAY_MAX);
            }
            self.find_place().await?;
            if self.is_in_doubt() {
                self.has_its_place = false;
                return Ok(LATE_MAX);
            }
        }
        if !self.pending.is_empty() && self.sent.len() < SENT_MAX && self.send_next().await? {
            let since_poll = self
                .shared
                .ports
                .clock
                .monotonic()
                .saturating_sub(self.last_poll);
            if since_poll < POLL_DELAY_MAX && !self.pending.is_empty() {
                return Ok(Duration::ZERO);
            }
            self.poll_delay = POLL_DELAY_MIN;
        }
        let has_progressed = self.poll().await?;
        if self.sent.is_empty() && self.pending.is_empty() {
            return Ok(POLL_DELAY_MAX);
        }
        if has_progressed {
            self.poll_delay = POLL_DELAY_MIN;
            return Ok(Duration::ZERO);
        }
        let delay = self.poll_delay;
        self.poll_delay = (self.poll_delay * 3 / 2).min(POLL_DELAY_MAX);
        Ok(delay)
    }

    /// How long a request without an answer may still arrive, once the node has answered again.
    fn late_rest(&self) -> Option<Duration> {
        let Some(Doubt::AnsweredAt(at)) = self.doubt else {
            return None;
        };
        let now = self.shared.ports.clock.monotonic();
        Some((at + LATE_MAX).saturating_sub(now)).filter(|rest| !rest.is_zero())
    }

    /// The node has told its tasks. Whether one more request may still arrive behind them.
    fn is_in_doubt(&mut self) -> bool {
        let has_arrived = match &self.doubt {
            Some(Doubt::Open(Some(key))) => self.adoptable.contains_key(key),
            Some(Doubt::Open(None)) => false,
            Some(Doubt::AnsweredAt(_)) | None => true,
        };
        let now = self.shared.ports.clock.monotonic();
        self.doubt = (!has_arrived).then_some(Doubt::AnsweredAt(now));
        !has_arrived
    }

    /// Reads the node's task list back to the batches before the first pending one, and keeps the
    /// node tasks that carry our markers.
    async fn find_place(&mut self) -> Result<(), Failure> {
        self.adoptable.clear();
        let Some(first) = self.pending.front().copied() else {
            self.has_its_place = true;
            return Ok(());
        };
        let prefix = format!("miroir/{}/", self.shared.cluster);
        let mut from = None;
        // Batches come in order. Where an older one lies above a newer one it was delivered again
        // with care, and the newer one has to be sent once more behind it.
        let mut oldest_above = u64::MAX;
        let mut newest_overtaken = None;
        for _ in 0..RECONCILE_PAGES_MAX {
            let query = NodeTaskQuery {
                uids: Vec::new(),
                from,
                limit: RECONCILE_PAGE,
            };
            let tasks = self.fetch_tasks(query).await?;
            let is_last_page = tasks.len() < RECONCILE_PAGE as usize;
            let mut has_seen_older = false;
            for task in &tasks {
                from = task.uid.0.checked_sub(1).map(NodeTaskUid);
                let Some(rest) = task.marker.as_deref().and_then(|m| m.strip_prefix(&prefix))
                else {
                    continue;
                };
                let batch = rest
                    .split('/')
                    .next()
                    .and_then(|text| text.parse::<u64>().ok());
                let Some(batch) = batch else { continue };
                has_seen_older |= batch < first.0;
                if batch > oldest_above {
                    newest_overtaken = newest_overtaken.max(Some(BatchUid(batch)));
                    continue;
                }
                oldest_above = batch;
                if let Some(marker) = task.marker.as_deref().map(mark::key_of) {
                    // Newest first: of two with one marker the newer counts.
                    let found = (task.uid, task.index.clone());
                    self.adoptable.entry(marker.to_owned()).or_insert(found);
                }
            }
            if is_last_page || has_seen_older || from.is_none() {
                break;
            }
        }
        if let Some(last) = newest_overtaken {
            self.tell_mixed(last);
        }
        self.has_its_place = true;
        Ok(())
    }

    /// Batches up to this one are sent once more over documents that have seen them.
    fn tell_mixed(&self, last: BatchUid) {
        let node = self.node.clone();
        self.emit(Event::Mixed { node, last });
    }

    async fn fetch_tasks(&self, query: NodeTaskQuery) -> Result<Vec<NodeTask>, NodeError> {
        let timeout = self.shared.config.node_timeout;
        let tasks = self
            .shared
            .ports
            .nodes
            .fetch_tasks(&self.node, query, timeout)
            .await;
        if tasks.is_ok() {
            self.shared.observe(&self.node, Ok(()));
        }
        tasks
    }

    /// Sends the next batch, unless it has to wait for the end of one sent before.
    async fn send_next(&mut self) -> Result<bool, Failure> {
        let Some(&uid) = self.pending.front() else {
            return Ok(false);
        };
        let batch = match self.kept_back.take().filter(|batch| batch.uid == uid) {
            Some(batch) => Some(batch),
            None => self.shared.owed_batch(uid, &self.node).await?,
        };
        let Some(batch) = batch else {
            // Its tasks and its record are gone: nothing of it is owed any more.
            self.pending.pop_front();
            return Ok(true);
        };
        if self
            .sent
            .iter()
            .any(|sent| must_follow_the_end_of(&sent.batch, &batch))
        {
            self.kept_back = Some(batch);
            return Ok(false);
        }
        let is_moot = self.is_moot(&batch);
        let parts = if is_moot {
            Vec::new()
        } else {
            self.send(&batch, None, Section::All).await?
        };
        self.pending.pop_front();
        if !parts.is_empty() {
            let node_tasks = parts.iter().map(|part| part.task).collect();
            let node = self.node.clone();
            self.emit(Event::Sent {
                node,
                batch: uid,
                node_tasks,
            });
        }
        self.sent.push_back(Sent {
            batch,
            parts,
            is_moot,
        });
        Ok(true)
    }

    /// The index is removed by a later batch: in flight, or done, when its placement is gone.
    fn is_moot(&self, batch: &LiveBatch) -> bool {
        let is_gone = || {
            let removed = self.shared.removed.lock();
            let twin = batch.plan.twin.as_ref();
            let is_twin_gone =
                twin.is_none_or(|twin| batch.twin.is_empty() || removed.contains(&twin.physical));
            let is_own_gone =
                batch.replica_sets.is_empty() || removed.contains(&batch.plan.physical);
            is_own_gone && is_twin_gone
        };
        !batch.plan.work.is_removal() && is_gone() || self.is_forgiven(batch)
    }

    /// The node is made anew from the others from a later batch on.
    fn is_forgiven(&self, batch: &LiveBatch) -> bool {
        self.shared.is_forgiven(&self.node, batch)
    }

    fn emit(&self, event: Event) {
        // The completer ends only at shutdown; what it misses then is found again at start.
        let _ = self.events.send(event);
    }

    /// The index was removed by a batch made after this one, as the store tells.
    async fn is_gone(&self, batch: &LiveBatch) -> Result<bool, EngineError> {
        let store = &self.shared.ports.store;
        let mut is_there = store.load_placement(&batch.plan.physical).await?.is_some();
        if let Some(twin) = &batch.plan.twin {
            is_there |= store.load_placement(&twin.physical).await?.is_some();
        }
        Ok(!is_there && !batch.plan.work.is_removal())
    }

    /// Makes the node tasks of a batch, or of one entry of it, adopting those that exist.
    async fn send(
        &mut self,
        batch: &Arc<LiveBatch>,
        only: Option<TaskUid>,
        section: Section,
    ) -> Result<Vec<Part>, Failure> {
        let shared = self.shared.clone();
        let mut requests = Requests::new(
            &*shared.ports.payloads,
            &shared.cluster,
            batch,
            &self.node,
            only,
            section,
        );
        let mut parts = Vec::new();
        // What the node has of this batch, should the rest have to be tried again.
        let mut made: Vec<(String, (NodeTaskUid, Option<PhysicalIndex>))> = Vec::new();
        loop {
            let _permit = if batch.has_files() {
                let kib = u32::try_from(batch.plan.request_bytes_max / 1024).unwrap_or(u32::MAX);
                shared
                    .body_budget
                    .clone()
                    .acquire_many_owned(kib.max(1))
                    .await
                    .ok()
            } else {
                None
            };
            let Some(request) = requests.next().await? else {
                return Ok(parts);
            };
            let (is_joining, is_twin) = (request.is_joining, request.is_twin);
            let index = match &batch.plan.twin {
                Some(twin) if is_twin => &twin.physical,
                _ => &batch.plan.physical,
            };
            // What was put into the index before it is emptied has to be put in again.
            let is_recreation = matches!(batch.plan.work, Work::RecreateIndex { .. });
            let adopted = request
                .marker
                .as_ref()
                .and_then(|m| self.adoptable.remove(m));
            let sent_at = adopted.is_none().then(|| shared.ports.clock.now());
            let task = match adopted {
                Some((task, _)) => task,
                None => match self.submit(request.write).await {
                    Ok(task) => {
                        if request.marker.is_some() || is_recreation {
                            // What else was found of this index is older than this, and has to
                            // come behind it. That of others need not, and an edit must not be
                            // done twice.
                            self.adoptable
                                .retain(|_, (_, other)| other.as_ref() != Some(index));
                        }
                        task
                    }
                    Err(error @ NodeError::Refused { .. })
                        if features::is_missing(&error, &shared) =>
                    {
                        // Switched off behind our back: it is switched on again, and this waits.
                        shared.features.forget(&self.node);
                        self.adoptable.extend(made);
                        return Err(error.into());
                    }
                    Err(NodeError::Refused { body, .. }) => {
                        parts.push(Part {
                            task: NodeTaskUid(u64::MAX),
                            is_joining,
                            is_twin,
                            end: Some(refused(body)),
                            sent_at: None,
                        });
                        if is_joining {
                            // Another section, or nothing, comes behind.
                            continue;
                        }
                        return Ok(parts);
                    }
                    Err(error) => {
                        self.adoptable.extend(made);
                        return Err(error.into());
                    }
                },
            };
            let index = Some(index.clone());
            made.extend(request.marker.map(|marker| (marker, (task, index))));
            parts.push(Part {
                task,
                is_joining,
                is_twin,
                end: None,
                sent_at,
            });
        }
    }

    async fn submit(&mut self, write: NodeWrite) -> Result<NodeTaskUid, NodeError> {
        let timeout = self.shared.config.node_timeout;
        self.shared.step("node.sending").await;
        let key = write.marker().map(|mark| mark::key_of(mark).to_owned());
        let nodes = self.shared.ports.nodes.clone();
        let submitted = nodes.submit(&self.node, write, timeout).await;
        if let Err(NodeError::UnknownOutcome { .. }) = &submitted {
            self.doubt = Some(Doubt::Open(key));
        }
        let task = submitted?;
        if self.newest_task.is_some_and(|newest| task <= newest) {
            // A restart so quick that no probe and no call failed.
            let cause = "it counts its tasks anew: its data is lost or is not its own".to_owned();
            if self.newest_end.is_none_or(|newest| task <= newest) {
                prober::keep_apart(&self.node, &self.shared, cause.clone());
            } else {
                // It has what it had ended, and not all it had accepted: killed before it had
                // synced that. Its contents are looked at before anything else is sent, and what
                // it lacks is sent again.
                tracing::warn!(node = %self.node, "the node forgot tasks that it had accepted");
                self.newest_task = None;
            }
            return Err(NodeError::UnknownOutcome {
                node: self.node.clone(),
                cause,
            });
        }
        self.newest_task = Some(task);
        self.shared.step("node.sent").await;
        Ok(task)
    }

    /// Asks for the ends of what was sent and reports those at the front. Returns whether any.
    async fn poll(&mut self) -> Result<bool, Failure> {
        self.last_poll = self.shared.ports.clock.monotonic();
        let open = self
            .sent
            .iter()
            .flat_map(|sent| &sent.parts)
            .filter(|p| p.end.is_none());
        let uids: Vec<NodeTaskUid> = open.map(|part| part.task).take(POLL_UIDS_MAX).collect();
        if !uids.is_empty() {
            let limit = u32::try_from(uids.len()).unwrap_or(u32::MAX);
            let query = NodeTaskQuery {
                uids: uids.clone(),
                from: None,
                limit,
            };
            let found = self.fetch_tasks(query).await?;
            let mut by_uid: BTreeMap<NodeTaskUid, NodeTask> =
                found.into_iter().map(|task| (task.uid, task)).collect();
            let has_lost = uids.iter().any(|uid| !by_uid.contains_key(uid));
            if has_lost && self.adopt_deleted_edit().await? {
                return Ok(true);
            }
            if has_lost {
                // The node forgot a task of ours: look for its marker, else send it again.
                tracing::warn!(node = %self.node, "the node has lost a task; looking for its place");
                self.lose_place();
                return Ok(true);
            }
            let now = self.shared.ports.clock.now();
            for part in self.sent.iter_mut().flat_map(|sent| &mut sent.parts) {
                if part.end.is_none()
                    && let Some(task) = by_uid.remove(&part.task)
                {
                    note_clock(&self.shared, &self.node, &task, part.sent_at, now);
                    if task.status.is_final() {
                        self.newest_end = self.newest_end.max(Some(task.uid));
                        part.end = Some(task);
                    }
                }
            }
        }
        let mut has_progressed = false;
        while self
            .sent
            .front()
            .is_some_and(|sent| sent.parts.iter().all(|p| p.end.is_some()))
        {
            let Some(sent) = self.sent.pop_front() else {
                break;
            };
            self.shared.step("node.applied").await;
            has_progressed = true;
            let uid = sent.batch.uid;
            if let Err(failure) = self.finish(sent).await {
                self.lose_place();
                self.pending.push_front(uid);
                return Err(failure);
            }
        }
        Ok(has_progressed)
    }

    /// Takes an edit for done whose task was deleted on the node before its end was seen, if it was
    /// deleted and not lost; returns whether it was.
    ///
    /// Nodes delete only what has ended, and do not take their count back. So the task ended, well or
    /// not; it must not be done twice. Whether it was done, its replicas tell: they are compared.
    async fn adopt_deleted_edit(&mut self) -> Result<bool, Failure> {
        let Some(sent) = self.sent.front().filter(|sent| is_edit(&sent.batch)) else {
            return Ok(false);
        };
        let batch = sent.batch.clone();
        let Some(last) = sent.parts.iter().map(|part| part.task).max() else {
            return Ok(false);
        };
        // A node restored from a copy, or made anew, has lost it.
        prober::check_contents(&self.node, &self.shared).await;
        let query = NodeTaskQuery {
            uids: Vec::new(),
            from: None,
            limit: 1,
        };
        let newest = self.fetch_tasks(query).await?;
        let has_counted_on = newest.first().is_some_and(|task| task.uid > last);
        if !self.shared.is_up(&self.node) || !has_counted_on {
            return Ok(false);
        }
        tracing::warn!(node = %self.node, batch = %batch.uid,
            "an edit was deleted on the node before its end was seen; its replicas are compared");
        let shards = batch.touched().into_iter().map(|(shard, _)| shard);
        let change = self.shared.copy.note_unlike(&batch.plan.physical, shards);
        let store = &self.shared.ports.store;
        store
            .commit(vec![change])
            .await
            .map_err(EngineError::from)?;
        if let Some(sent) = self.sent.front_mut() {
            for part in &mut sent.parts {
                part.end.get_or_insert_with(|| deleted(part.task));
            }
        }
        Ok(true)
    }

    /// Reports the end of a batch, after delivering it with care if it failed.
    async fn finish(&mut self, sent: Sent) -> Result<(), Failure> {
        let batch = sent.batch;
        let mut outcome = outcome(&batch, &sent.parts);
        outcome.is_moot = sent.is_moot;
        if outcome.is_failure() && self.is_worth_care(&batch, &outcome) {
            outcome = self.deliver_with_care(&batch).await?;
        }
        loop {
            let is_failure = outcome.is_failure();
            let (reply, ruling) = oneshot::channel();
            self.emit(Event::Applied {
                node: self.node.clone(),
                batch: batch.uid,
                outcome: Box::new(outcome),
                reply: is_failure.then_some(reply),
            });
            if !is_failure {
                return Ok(());
            }
            match ruling.await {
                Ok(Ruling::Accepted) | Err(_) => return Ok(()),
                // The other replicas did it: this node is ill. It is tried again for ever, since
                // nothing later may be applied before.
                Ok(Ruling::TryAgain) => {
                    self.shared.ports.clock.sleep(ILL_DELAY).await;
                    if self.is_gone(&batch).await? || self.is_forgiven(&batch) {
                        outcome = NodeOutcome {
                            is_moot: true,
                            ..NodeOutcome::default()
                        };
                        continue;
                    }
                    outcome = self.deliver_with_care(&batch).await?;
                }
            }
        }
    }

    /// A neighbour may be to blame: another entry of the batch, or another batch that the node
    /// grouped with it.
    fn is_worth_care(&self, batch: &LiveBatch, outcome: &NodeOutcome) -> bool {
        let message = outcome
            .error
            .as_ref()
            .and_then(|e| e.get("message"))
            .and_then(Value::as_str);
        // Somebody canceled it behind our back: it was not done, and is done again.
        let is_retried = message.is_none_or(|text| text.starts_with("Index `") || text == CANCELED);
        let is_divided = batch.transit.is_at(&self.node);
        batch.plan.entries.len() > 1 || is_retried || is_divided
    }

    /// Delivers a batch entry by entry, each alone on the node, then sends again what had been
    /// sent after it, so that the node ends with the newest.
    async fn deliver_with_care(&mut self, batch: &Arc<LiveBatch>) -> Result<NodeOutcome, Failure> {
        if let Some(last) = self.sent.back() {
            self.tell_mixed(last.batch.uid);
        }
        while let Some(later) = self.sent.pop_back() {
            // Owed before anything is awaited: a call that fails must not lose it.
            self.pending.push_front(later.batch.uid);
            self.wait_for(later.parts).await?;
        }
        self.adoptable.clear();
        if !matches!(
            batch.plan.work,
            Work::AddDocuments { .. } | Work::DeleteDocuments
        ) {
            let parts = self.send(batch, None, Section::All).await?;
            let parts = self.wait_for(parts).await?;
            return Ok(outcome(batch, &parts));
        }
        let mut total = NodeOutcome::default();
        for entry in batch
            .plan
            .entries
            .iter()
            .filter(|entry| entry.error.is_none())
        {
            // What is for joining shards must not be grouped with what has a say.
            for section in [Section::Full, Section::Joining, Section::Twin] {
                let parts = self.send(batch, Some(entry.task), section).await?;
                let parts = self.wait_for(parts).await?;
                let one = outcome(batch, &parts);
                total.deleted_documents += one.deleted_documents;
                total.has_spoilt |= one.has_spoilt;
                total.has_spoilt_twin |= one.has_spoilt_twin;
                if let Some(error) = one.error.as_ref().filter(|error| is_nodes_own(error)) {
                    // The node is at fault, and would say the same of all the others.
                    return Ok(NodeOutcome {
                        error: Some(error.clone()),
                        ..NodeOutcome::default()
                    });
                }
                if let Some(error) = one.error {
                    total.task_errors.insert(entry.task, error);
                }
            }
        }
        Ok(total)
    }

    async fn wait_for(&mut self, mut parts: Vec<Part>) -> Result<Vec<Part>, Failure> {
        let mut delay = POLL_DELAY_MIN;
        loop {
            let open = parts.iter().filter(|part| part.end.is_none());
            let uids: Vec<NodeTaskUid> = open.map(|part| part.task).take(POLL_UIDS_MAX).collect();
            if uids.is_empty() {
                return Ok(parts);
            }
            let limit = u32::try_from(uids.len()).unwrap_or(u32::MAX);
            let found = self
                .fetch_tasks(NodeTaskQuery {
                    uids: uids.clone(),
                    from: None,
                    limit,
                })
                .await?;
            for part in &mut parts {
                if part.end.is_none() {
                    let task = found.iter().find(|task| task.uid == part.task);
                    match task {
                        Some(task) if task.status.is_final() => {
                            self.newest_end = self.newest_end.max(Some(task.uid));
                            part.end = Some(task.clone());
                        }
                        Some(_) => {}
                        None if uids.contains(&part.task) => {
                            let cause = format!("it has lost its task {}", part.task);
                            let node = self.node.clone();
                            return Err(NodeError::UnknownOutcome { node, cause }.into());
                        }
                        None => {}
                    }
                }
            }
            self.shared.ports.clock.sleep(delay).await;
            delay = (delay * 3 / 2).min(POLL_DELAY_MAX);
        }
    }
}

/// A task of which nothing is known but that it ended.
fn deleted(uid: NodeTaskUid) -> NodeTask {
    NodeTask {
        uid,
        status: TaskStatus::Succeeded,
        error: None,
        ..refused(Value::Null)
    }
}

/// Notes a node whose clock is far from ours, by the moment at which it says to have accepted what we
/// sent. What was found on the node may have been accepted at any time.
fn note_clock(
    shared: &Shared,
    node: &NodeId,
    task: &NodeTask,
    sent_at: Option<Timestamp>,
    now: Timestamp,
) {
    let (Some(sent_at), Ok(accepted_at)) =
        (sent_at, OffsetDateTime::parse(&task.enqueued_at, &Rfc3339))
    else {
        return;
    };
    let slow = sent_at - accepted_at;
    let fast = accepted_at - now;
    let skew = slow.max(fast).whole_seconds();
    if skew > SKEW_SECONDS_MAX {
        let direction = if slow > fast { "slow" } else { "fast" };
        let words = format!("{skew} seconds {direction}");
        shared.ills.note(node, Condition::WrongClock, &words, now);
    } else {
        shared.ills.clear(node, &[Condition::WrongClock]);
    }
}

fn refused(body: Value) -> NodeTask {
    NodeTask {
        uid: NodeTaskUid(u64::MAX),
        index: None,
        kind: None,
        status: TaskStatus::Failed,
        error: Some(body),
        details: None,
        marker: None,
        enqueued_at: String::new(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
