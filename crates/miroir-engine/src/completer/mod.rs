//! The one owner of "what is done": takes in what the lanes report, ends tasks, and moves nodes
//! out of and into the in-sync set.
//!
//! Laws: a task is ended only when every in-sync replica it touched has reported; a node's leaving
//! the set is durable no later than the first task that ends without it; tasks of one index end in
//! log order; readers are shown what the nodes have before any task is reported as ended.

mod decide;
mod effect;
mod judge;
mod retention;
mod tally;
mod voice;

pub(crate) use tally::{Lag, NodeOutcome, Ruling};

use crate::plan::Work;
use crate::port::{Change, Delivery, PayloadRef};
use crate::state::{LaneMessage, LiveBatch, Shared};
use effect::apply_effect;
use miroir_core::condition::Condition;
use miroir_core::id::{BatchUid, Epoch, NodeId, NodeTaskUid, PhysicalIndex, ShardId, TaskUid};
use miroir_core::task::TaskStatus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tally::Tally;
use tokio::sync::{mpsc, oneshot};

/// The wait before a failed commit is tried again.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);
/// How often it is looked at what is kept for nodes that are away.
const RETENTION_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A node that has ended nothing for so long, though it answers, does not go on.
const GOING_ON_MAX: Duration = Duration::from_mins(1);
/// Events taken in before one commit.
const EVENTS_MAX: usize = 4096;

/// A report to the completer.
#[derive(Debug)]
pub(crate) enum Event {
    /// A batch was made, durably.
    Opened(Arc<LiveBatch>, BTreeMap<NodeId, Delivery>),
    /// A batch was found at start.
    Revived {
        batch: Arc<LiveBatch>,
        deliveries: BTreeMap<NodeId, Delivery>,
        is_done: bool,
    },
    /// A node has enqueued all of a batch.
    Sent {
        node: NodeId,
        batch: BatchUid,
        node_tasks: Vec<NodeTaskUid>,
    },
    /// A node has ended all of a batch; a failure awaits a ruling.
    Applied {
        node: NodeId,
        batch: BatchUid,
        outcome: Box<NodeOutcome>,
        reply: Option<oneshot::Sender<Ruling>>,
    },
    /// Who asks is answered when all that was reported before is stored.
    Noted { reply: oneshot::Sender<()> },
    /// A node is sent again, over documents that have seen them, batches up to this one.
    Mixed { node: NodeId, last: BatchUid },
    /// A node is made anew from the others: it is owed no batch below this one.
    Forgiven { node: NodeId, below: BatchUid },
    /// A node is no longer of the cluster: it is owed nothing.
    Retired { node: NodeId },
    /// These nodes are lost, and so is what only they held: no open batch waits for them any more.
    GivenUp { nodes: Arc<BTreeSet<NodeId>> },
    /// Which is the oldest epoch of an index of which a batch is open?
    OldestEpoch {
        index: PhysicalIndex,
        reply: oneshot::Sender<Option<Epoch>>,
    },
    /// How many batches of an index has a node not applied?
    Owed {
        node: NodeId,
        index: PhysicalIndex,
        reply: oneshot::Sender<usize>,
    },
    /// Has a node still to remove something of an index?
    ClearingOwed {
        node: NodeId,
        index: PhysicalIndex,
        reply: oneshot::Sender<bool>,
    },
    /// What has each node not applied? Nodes that have applied all are absent.
    Lags {
        reply: oneshot::Sender<BTreeMap<NodeId, Lag>>,
    },
}

/// The owner. One for each engine.
pub(crate) struct Completer {
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<Event>,
    tallies: BTreeMap<BatchUid, Tally>,
    /// Joining replicas that could not be written, to be stored.
    spoilt: BTreeSet<(NodeId, PhysicalIndex)>,
    /// The newest witnesses of nodes, to be stored.
    witnesses: BTreeMap<NodeId, Change>,
    /// When it was last looked how much is kept for nodes that are away.
    looked_at: Duration,
    /// When each node last ended a batch, or this began.
    progressed_at: BTreeMap<NodeId, Duration>,
    /// When each node last ended one for good: not one that it has to try again.
    went_on_at: BTreeMap<NodeId, Duration>,
    /// Up to which batch a node is being sent what it was sent before: until then its documents are
    /// those of no moment.
    mixed: BTreeMap<NodeId, BatchUid>,
    /// Lanes that go on when what they reported is stored.
    waiting: Vec<oneshot::Sender<()>>,
}

/// One round's decision: what to write, and what follows once it is written.
#[derive(Default)]
struct Round {
    changes: Vec<Change>,
    done: Vec<(BatchUid, BTreeSet<TaskUid>)>,
    rulings: Vec<(BatchUid, NodeId, Ruling)>,
    left: Vec<(NodeId, String)>,
    joined: Vec<NodeId>,
    /// Nodes that end nothing, while their replicas do, with what shows it.
    still: Vec<(NodeId, String)>,
    /// Copies during which the node failed something.
    spoilt: Vec<(NodeId, PhysicalIndex)>,
    /// Shards of which one replica carried out what another refused.
    unlike: Vec<(PhysicalIndex, Vec<ShardId>)>,
    closed: Vec<BatchUid>,
    files: Vec<PayloadRef>,
    /// Bytes of payload files that nobody needs any more and that are kept on purpose.
    kept_bytes: u64,
}

impl Completer {
    pub(crate) fn new(shared: Arc<Shared>, events: mpsc::UnboundedReceiver<Event>) -> Self {
        Self {
            shared,
            events,
            tallies: BTreeMap::new(),
            spoilt: BTreeSet::new(),
            witnesses: BTreeMap::new(),
            looked_at: Duration::ZERO,
            progressed_at: BTreeMap::new(),
            went_on_at: BTreeMap::new(),
            mixed: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Runs until the engine shuts down.
    pub(crate) async fn run(mut self) {
        let shutdown = self.shared.shutdown.clone();
        let mut nodes_changed = self.shared.nodes_changed.listen();
        // Nodes may have been looked at before this began.
        nodes_changed.mark_changed();
        let mut batch_of_events = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                count = self.events.recv_many(&mut batch_of_events, EVENTS_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = nodes_changed.changed() => {}
                () = self.shared.ports.clock.sleep(RETENTION_LOOK_INTERVAL), if !self.tallies.is_empty() => {}
            }
            for event in batch_of_events.drain(..) {
                self.take(event);
            }
            self.round().await;
            self.bound_retention();
            if shutdown.is_cancelled() {
                return;
            }
            for lane in self.waiting.drain(..) {
                let _ = lane.send(());
            }
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.shared.ports.clock.monotonic();
        match event {
            Event::Opened(batch, deliveries) => {
                self.shared.movement.coming.lock().new.remove(&batch.uid);
                self.tallies
                    .insert(batch.uid, Tally::new(batch, deliveries, now));
            }
            Event::Revived {
                batch,
                deliveries,
                is_done,
            } => {
                let failed = batch
                    .tasks
                    .iter()
                    .filter(|task| task.status == TaskStatus::Failed);
                let failed: BTreeSet<TaskUid> = failed.map(|task| task.uid).collect();
                let mut tally = Tally::new(batch, deliveries, now);
                tally.done = is_done.then_some(failed);
                // What an earlier process had sent may be sent again.
                let sent = tally.deliveries.iter();
                for (node, _) in sent.filter(|(_, d)| d.is_sent && !d.is_applied) {
                    let last = self.mixed.entry(node.clone()).or_insert(tally.batch.uid);
                    *last = (*last).max(tally.batch.uid);
                }
                self.tallies.insert(tally.batch.uid, tally);
            }
            Event::Sent {
                node,
                batch,
                node_tasks,
            } => {
                if let Some(tally) = self.tallies.get_mut(&batch) {
                    let delivery = tally.deliveries.entry(node.clone()).or_default();
                    delivery.node_tasks = node_tasks;
                    delivery.is_sent = true;
                    tally.touched.insert(node);
                }
            }
            Event::Applied {
                node,
                batch,
                outcome,
                reply,
            } => {
                let Some(tally) = self.tallies.get_mut(&batch) else {
                    return;
                };
                tally.reported_at.insert(node.clone(), now);
                self.progressed_at.insert(node.clone(), now);
                if !outcome.is_failure() {
                    went_on(&mut self.went_on_at, &self.shared, &node, now);
                }
                let (full, still) = (Condition::Full, Condition::StandingStill);
                match outcome.is_failure() {
                    false => self
                        .shared
                        .ills
                        .clear(&node, &[full, still, Condition::FailingBatches]),
                    true => self.shared.ills.clear(&node, &[still]),
                }
                if outcome.has_spoilt {
                    let copy = (node.clone(), tally.batch.plan.physical.clone());
                    self.spoilt.insert(copy);
                }
                if let Some(twin) = &tally.batch.plan.twin
                    && outcome.has_spoilt_twin
                {
                    self.spoilt.insert((node.clone(), twin.physical.clone()));
                }
                if let Some(witness) = &outcome.witness {
                    let change = self.shared.copy.note_witness(&node, witness);
                    self.witnesses.extend(change.map(|c| (node.clone(), c)));
                }
                tally.outcomes.insert(node.clone(), *outcome);
                if let Some(reply) = reply {
                    tally.replies.insert(node.clone(), reply);
                }
                tally.touched.insert(node);
            }
            Event::Noted { reply } => self.waiting.push(reply),
            Event::Mixed { node, last } => {
                let known = self.mixed.entry(node).or_insert(last);
                *known = (*known).max(last);
            }
            Event::Forgiven { node, below } => {
                // It begins anew, and so does its time.
                self.mixed.remove(&node);
                self.went_on_at.insert(node.clone(), now);
                self.forgive(&node, below, false);
            }
            Event::Retired { node } => {
                self.mixed.remove(&node);
                self.went_on_at.remove(&node);
                self.shared.convoy.leave(&node);
                self.forgive(&node, BatchUid(u64::MAX), true);
            }
            Event::GivenUp { nodes } => self.give_up(&nodes),
            Event::OldestEpoch { index, reply } => {
                let tallies = self.tallies.values();
                let epochs = tallies.filter_map(|tally| tally.batch.plan.epoch_of(&index));
                let _ = reply.send(epochs.min());
            }
            Event::Lags { reply } => drop(reply.send(self.lags())),
            Event::Owed { node, index, reply } => {
                let owed = self
                    .tallies
                    .values()
                    .filter(|tally| tally.batch.plan.concerns(&index) && tally.is_owed_by(&node));
                let _ = reply.send(owed.count());
            }
            Event::ClearingOwed { node, index, reply } => {
                let is_owed = self.tallies.values().any(|tally| {
                    let plan = &tally.batch.plan;
                    plan.physical == index && plan.work.is_clearing() && tally.is_owed_by(&node)
                });
                let _ = reply.send(is_owed);
            }
        }
    }

    fn lags(&self) -> BTreeMap<NodeId, Lag> {
        let mut lags: BTreeMap<NodeId, Lag> = BTreeMap::new();
        for tally in self.tallies.values() {
            let has_applied = |node: &NodeId| {
                tally.outcomes.contains_key(node) && !tally.replies.contains_key(node)
            };
            let tasks = tally.batch.tasks.iter();
            let since = tasks.filter_map(|task| task.started_at).min();
            for node in tally.batch.nodes.iter().filter(|node| !has_applied(node)) {
                let lag = lags.entry(node.clone()).or_default();
                lag.batches += 1;
                lag.entries += tally.batch.tasks.len() as u64;
                lag.payload_bytes += tally.batch.payload_bytes;
                lag.since = match (lag.since, since) {
                    (Some(old), Some(new)) => Some(old.min(new)),
                    (old, new) => old.or(new),
                };
            }
        }
        lags
    }

    fn forgive(&mut self, node: &NodeId, below: BatchUid, is_for_ever: bool) {
        for tally in self.tallies.range_mut(..below).map(|(_, tally)| tally) {
            let is_owed = tally.batch.nodes.contains(node)
                && !tally.outcomes.contains_key(node)
                && (is_for_ever || !tally.batch.plan.work.is_removal());
            if is_owed {
                let moot = NodeOutcome {
                    is_moot: true,
                    ..NodeOutcome::default()
                };
                tally.outcomes.insert(node.clone(), moot);
                tally.touched.insert(node.clone());
            }
            if is_for_ever {
                tally.replies.remove(node);
            }
        }
    }

    /// Speaks for nodes that are lost with what only they held. A task that brought documents to a
    /// shard of theirs fails, for nobody has them there; of any other kind, what it asked is true of
    /// a shard that begins anew.
    fn give_up(&mut self, nodes: &BTreeSet<NodeId>) {
        for tally in self
            .tallies
            .values_mut()
            .filter(|tally| tally.done.is_none())
        {
            let batch = tally.batch.clone();
            let is_gone = |set: &[NodeId]| set.iter().all(|node| nodes.contains(node));
            let brings = matches!(batch.plan.work, Work::AddDocuments { .. });
            let loses = brings && batch.touched().iter().any(|(_, set)| is_gone(set));
            for node in batch.nodes.iter().filter(|node| nodes.contains(*node)) {
                if tally.outcomes.contains_key(node) {
                    continue;
                }
                let outcome = NodeOutcome {
                    is_moot: !loses,
                    error: loses.then(|| given_up_error(node)),
                    ..NodeOutcome::default()
                };
                tally.outcomes.insert(node.clone(), outcome);
                tally.touched.insert(node.clone());
            }
        }
    }

    /// Decides; shows readers what the nodes have; makes it durable; tells the lanes.
    ///
    /// Readers come first, because a client that sees its task succeeded must find the write, and
    /// not a node that missed it. They lose nothing if the process dies in between.
    async fn round(&mut self) {
        let mut round = {
            let coming = self.shared.movement.coming.lock();
            let round = self.decide(&coming.sets());
            self.publish_before(&round);
            round
        };
        round
            .changes
            .extend(std::mem::take(&mut self.witnesses).into_values());
        for (index, shards) in std::mem::take(&mut round.unlike) {
            let change = self.shared.copy.note_unlike(&index, shards);
            round.changes.push(change);
        }
        let is_joiner =
            |(node, index): &(NodeId, PhysicalIndex)| !self.shared.copy.is_copying(node, index);
        let joiners: Vec<_> = round.spoilt.extract_if(.., |one| is_joiner(one)).collect();
        self.spoilt.extend(joiners);
        for (node, index) in std::mem::take(&mut self.spoilt) {
            let change = self.shared.copy.note_spoilt(node, index);
            round.changes.push(change);
        }
        if !round.changes.is_empty() {
            let has_applied = self.tallies.values().any(|tally| !tally.touched.is_empty());
            if has_applied {
                self.shared.step("delivery.noting").await;
            }
            if !self.commit(&round.changes).await {
                return;
            }
            if has_applied {
                self.shared.step("delivery.noted").await;
            }
        }
        if !round.done.is_empty() {
            self.shared.step("tasks.completed").await;
        }
        self.publish_after(round).await;
    }

    /// Commits, again and again until the store takes it; false if the engine shuts down first.
    async fn commit(&self, changes: &[Change]) -> bool {
        loop {
            match self.shared.ports.store.commit(changes.to_vec()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(%error, "the store does not take what the nodes did; trying again");
                    self.shared.gate.note(&error, self.shared.ports.clock.now());
                }
            }
            tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => return false,
                () = self.shared.ports.clock.sleep(STORE_RETRY_DELAY) => {}
            }
        }
    }

    fn publish_before(&self, round: &Round) {
        if round.done.is_empty() && round.left.is_empty() {
            return;
        }
        let effects = round
            .done
            .iter()
            .filter_map(|(uid, failed)| self.tallies.get(uid).map(|tally| (tally, failed)));
        self.shared.update(|snapshot| {
            for (node, reason) in &round.left {
                if let Some(view) = snapshot.nodes.get_mut(node) {
                    view.record.is_in_sync = false;
                    view.record.out_of_sync_reason = Some(reason.clone());
                }
            }
            for (tally, failed_tasks) in effects {
                apply_effect(snapshot, &tally.batch, failed_tasks);
            }
        });
    }

    async fn publish_after(&mut self, round: Round) {
        let wall_now = self.shared.ports.clock.now();
        for (node, words) in &round.still {
            let condition = Condition::StandingStill;
            self.shared.ills.note(node, condition, words, wall_now);
        }
        for (node, index) in &round.spoilt {
            self.shared.copy.spoil(node.clone(), index.clone());
        }
        for tally in self.tallies.values_mut() {
            tally.touched.clear();
        }
        if !round.joined.is_empty() {
            self.shared.update(|snapshot| {
                for node in &round.joined {
                    if let Some(view) = snapshot.nodes.get_mut(node) {
                        view.record.is_in_sync = true;
                        view.record.out_of_sync_reason = None;
                    }
                }
            });
        }
        for (node, reason) in &round.left {
            tracing::warn!(%node, reason, "node left the in-sync set; it catches up when it returns");
        }
        for node in &round.joined {
            self.mixed.remove(node);
            if self.shared.convoy.leave(node) {
                self.shared.batch_ended.notify_waiters();
            }
            tracing::info!(%node, "node is level and in sync again");
        }
        for (uid, failed) in round.done {
            let Some(tally) = self.tallies.get_mut(&uid) else {
                continue;
            };
            if !failed.is_empty() && matches!(tally.batch.plan.work, Work::UpdateSettings { .. }) {
                self.shared
                    .refused_settings
                    .lock()
                    .insert(tally.batch.plan.physical.clone());
                self.shared.log_grew.notify_one();
            }
            tally.done = Some(failed);
            tally.batch.window.lock().take();
            self.shared.end_in_flight(&tally.batch);
            if !round.closed.contains(&uid) {
                tally.batch = Arc::new(tally.batch.without_payloads());
            }
        }
        for (uid, node, ruling) in round.rulings {
            let Some(tally) = self.tallies.get_mut(&uid) else {
                continue;
            };
            let now = self.shared.ports.clock.monotonic();
            match ruling {
                Ruling::Accepted => went_on(&mut self.went_on_at, &self.shared, &node, now),
                Ruling::TryAgain => {
                    tally.contested_at.get_or_insert(now);
                    if let Some(outcome) = tally.outcomes.remove(&node) {
                        note_illness(&self.shared, &node, &outcome);
                    }
                }
            }
            if let Some(reply) = tally.replies.remove(&node) {
                let _ = reply.send(ruling);
            }
        }
        for uid in &round.closed {
            self.tallies.remove(uid);
            self.shared.live.lock().remove(uid);
        }
        let kept_bytes = &self.shared.gate.kept_bytes;
        kept_bytes.fetch_add(round.kept_bytes, Ordering::Relaxed);
        if !round.files.is_empty() {
            self.shared.step("payload.removing").await;
            self.shared.discard(&round.files).await;
            self.shared.step("payload.removed").await;
        }
        if !round.joined.is_empty() {
            // Another, whose data is lost, may have waited for this to leave.
            self.shared.nodes_changed.ring();
        }
        if !round.left.is_empty() || !round.joined.is_empty() {
            for lane in self.shared.lanes.read().values() {
                let _ = lane.send(LaneMessage::Wake);
            }
        }
        self.trim_live();
    }

    /// Batches done but not applied by some absent node are read from the store when it returns.
    fn trim_live(&self) {
        let mut live = self.shared.live.lock();
        live.retain(|uid, _| {
            self.tallies
                .get(uid)
                .is_none_or(|tally| tally.done.is_none())
        });
    }
}

/// A node has ended a batch for good: what waits for it may go on, too.
fn went_on(
    went_on_at: &mut BTreeMap<NodeId, Duration>,
    shared: &Shared,
    node: &NodeId,
    now: Duration,
) {
    went_on_at.insert(node.clone(), now);
    if shared.convoy.applied(node, now) {
        shared.batch_ended.notify_waiters();
    }
}

/// Why documents did not come to a shard of which nobody holds anything any more.
fn given_up_error(node: &NodeId) -> Value {
    json!({
        "message": format!(
            "Some of the documents belong to shards that were only on node `{node}`, which is lost; \
             the loss was accepted while this task waited, and these shards begin anew. The other \
             documents of the task may have been written. Send it again."
        ),
        "code": "internal",
        "type": "internal",
        "link": "https://docs.meilisearch.com/errors#internal",
    })
}

/// Notes for operators why a node has to try again.
fn note_illness(shared: &Shared, node: &NodeId, outcome: &NodeOutcome) {
    let mut errors = outcome.error.iter().chain(outcome.task_errors.values());
    let Some(error) = errors.next() else { return };
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let condition = Condition::of_failure(text("code").unwrap_or_default());
    let words = text("message").unwrap_or("it gives no reason");
    shared
        .ills
        .note(node, condition, words, shared.ports.clock.now());
}

impl Shared {
    /// A batch is done: what was kept for its flight is dropped.
    fn end_in_flight(&self, batch: &LiveBatch) {
        if batch.plan.work == Work::DeleteIndex {
            let mut removed = self.removed.lock();
            removed.remove(&batch.plan.physical);
            if let Some(twin) = &batch.plan.twin {
                removed.remove(&twin.physical);
            }
        }
        self.in_flight.lock().remove(&batch.uid);
        self.live.lock().remove(&batch.uid);
        self.batch_ended.notify_waiters();
        self.hooks_ring.notify_waiters();
    }

    /// A batch that concerns this physical index is not done yet.
    #[must_use]
    pub fn is_indexing(&self, index: &PhysicalIndex) -> bool {
        let live = self.live.lock();
        live.values().any(|batch| batch.plan.concerns(index))
    }
}
