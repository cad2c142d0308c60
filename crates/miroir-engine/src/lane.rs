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

mod care;
mod order;
mod outcome;
mod place;
mod send;

use self::order::is_edit;
use crate::completer::Event;
use crate::error::EngineError;
use crate::port::{NodeError, NodeTask, NodeTaskQuery, Timestamp};
use crate::prober;
use crate::state::{LaneMessage, LiveBatch, Shared};
use miroir_core::condition::{Condition, SKEW_SECONDS_MAX};
use miroir_core::id::{BatchUid, NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::task::TaskStatus;
use place::Doubt;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

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
    /// Ends were reported that may not be stored yet.
    has_unnoted: bool,
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
            has_unnoted: false,
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

    fn emit(&self, event: Event) {
        // The completer ends only at shutdown; what it misses then is found again at start.
        let _ = self.events.send(event);
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
