//! The copy of a shard replica while it takes writes: what refilling a node, repairing replicas
//! and every move rest on.
//!
//! **The primitive.** Documents are copied at an exact position of the log. The dispatcher holds an
//! index back until nothing of it is in flight: then every in-sync replica has applied the same
//! prefix of the log and no more. It reads the documents asked for from one of them, makes them
//! durable as a payload, and puts a batch for the target alone into the order of batches, there and
//! nowhere else. The target's lane delivers it like any other. So what the target holds of those
//! documents is, from that batch on, what every replica holds: whatever it did with them before,
//! and whatever kinds of writes come behind (partial updates, deletions by filter, edits). The
//! position is held for one read, not for the copy: writes go on between two pieces.
//!
//! **A refill** makes one node's replicas anew out of it:
//!
//! ```text
//!            lost, or beyond retention
//!  in sync ───────────────────────────► waiting ──node is up──► running ──no index left──► level ─► in sync
//!                                          ▲                      │  for each index:
//!                                          │                      │  recreate ─► for each shard: list, copy piece by piece
//!                                          └──lost once more──────┘          ─► verify (and copy what differs) ─► done
//! ```
//! Laws:
//! - A refill begins at a batch number, durably. The node is owed no batch below it (but removals of
//!   indexes), so their payloads can go. While an index waits to be recreated on the node, the node
//!   gets no batch of it; from the batch that recreates it on, it gets all.
//! - The state is stored in the commit that stores the batch it speaks of. A crash repeats nothing
//!   and skips nothing: the next start reads the state and goes on.
//! - A node being refilled is not in sync, whatever its record says, and serves no read.
//! - Documents are read from in-sync replicas only.
//! - While an index is being copied, the node may fail writes that its replicas carry out (a partial
//!   update of a document not copied yet may be no whole document). That is no illness; the index is
//!   marked and not done before its documents were compared once more.
//! - A node that fails a copy is ill: it is tried again and nothing later is applied before.
//! - An index is done when the node's documents were compared with a replica's and are the same.

pub(crate) mod audit;
pub(crate) mod barrier;
pub(crate) mod copier;
pub(crate) mod pace;
pub(crate) mod read;
pub(crate) mod refill;
pub(crate) mod witness;

use audit::AuditReport;
pub(crate) use audit::run as run_audits;

use crate::completer::{Event, Lag};
use crate::error::EngineError;
use crate::kept::LogRetention;
use crate::plan::Work;
use crate::port::{Change, PayloadRef, Store};
use barrier::{Answer, Ask, Request};
use miroir_core::id::{BatchUid, NodeId, PhysicalIndex, ShardId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use witness::Witness;

/// How copies are bounded, and when a copy takes the place of the log.
#[derive(Debug, Clone)]
pub struct CopyConfig {
    /// Documents copied or compared in a second, on average; 0 is no bound.
    pub documents_per_second: u64,
    /// Bytes copied or compared in a second, on average; 0 is no bound.
    pub bytes_per_second: u64,
    /// While searches feel a copy it works for so many hundredths of its time, and rests for the others;
    /// 100 is no rest. See [`miroir_core::rebalance::duty`].
    pub copy_share: u32,
    /// Payloads kept for a node that is away, in bytes. Beyond it the node is refilled instead.
    pub retention_bytes: u64,
    /// The age up to which they are kept.
    pub retention_age: Duration,
    /// While a node comes back, so many new batches of its indexes are made for a hundred that it
    /// applies; 100 and more is no bound. See [`crate::convoy`].
    pub catch_up_share: u32,
    /// Between two audits of all replicas; `None` for none.
    pub audit_interval: Option<Duration>,
    /// How much of the log is kept beyond what nodes need, so that an index can be built again as it
    /// was; `None` for nothing.
    pub log: Option<LogRetention>,
}

impl Default for CopyConfig {
    fn default() -> Self {
        Self {
            documents_per_second: 0,
            bytes_per_second: 32 * 1024 * 1024,
            copy_share: 10,
            retention_bytes: 16 * 1024 * 1024 * 1024,
            retention_age: Duration::from_hours(72),
            catch_up_share: 50,
            audit_interval: None,
            log: None,
        }
    }
}

/// Requests that wait for the dispatcher. Each comes from a worker that waits for its answer, so
/// there are never more than workers.
const REQUESTS_MAX: usize = 256;

/// The refill of one node. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refill {
    /// The node is owed no batch below this one.
    pub(crate) below: BatchUid,
    /// Why.
    pub(crate) reason: String,
    /// The node was there and the indexes to copy are known.
    pub(crate) is_running: bool,
    /// What is still to be copied; the first is being copied.
    #[serde(default)]
    pub(crate) indexes: Vec<IndexCopy>,
    /// Shards to copy, over all indexes.
    #[serde(default)]
    pub(crate) shard_count: u64,
    /// Shards copied.
    #[serde(default)]
    pub(crate) shards_done: u64,
    /// Documents copied.
    #[serde(default)]
    pub(crate) documents: u64,
    /// Bytes copied.
    #[serde(default)]
    pub(crate) bytes: u64,
}

/// The copy of one index to one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexCopy {
    /// Which.
    pub(crate) index: PhysicalIndex,
    /// It was made anew on the node, and the node gets its batches.
    #[serde(default)]
    pub(crate) is_begun: bool,
    /// Shards not copied yet; the first is being copied.
    #[serde(default)]
    pub(crate) shards: Vec<ShardId>,
    /// So many of those behind the first are copied together with it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) together: usize,
    /// The ids of what is being copied, one JSON text a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) list: Option<PayloadRef>,
    /// Where the next id of the list begins.
    #[serde(default)]
    pub(crate) offset: u64,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

impl IndexCopy {
    /// The shards that are being copied.
    pub(crate) fn current(&self) -> &[ShardId] {
        let count = (self.together + 1).min(self.shards.len());
        &self.shards[..count]
    }

    /// They are copied.
    pub(crate) fn pass(&mut self) {
        let count = self.current().len();
        self.shards.drain(..count);
        self.begin_again();
    }

    /// They are to be listed anew.
    pub(crate) fn begin_again(&mut self) {
        self.together = 0;
        self.list = None;
        self.offset = 0;
    }

    pub(crate) fn new(index: PhysicalIndex) -> Self {
        Self {
            index,
            is_begun: false,
            shards: Vec::new(),
            together: 0,
            list: None,
            offset: 0,
        }
    }
}

impl Refill {
    /// One that waits for its node, which is owed no batch below this one.
    pub(crate) fn waiting(below: BatchUid, reason: String) -> Self {
        Self {
            below,
            reason,
            is_running: false,
            indexes: Vec::new(),
            shard_count: 0,
            shards_done: 0,
            documents: 0,
            bytes: 0,
        }
    }

    fn list_file(&self) -> Option<&PayloadRef> {
        self.indexes.first().and_then(|index| index.list.as_ref())
    }
}

#[derive(Debug, Default)]
struct Book {
    refills: BTreeMap<NodeId, Refill>,
    /// Nodes to refill, with the reason.
    wanted: BTreeMap<NodeId, String>,
    /// Copies in which the node failed a write that its replicas carried out.
    spoilt: BTreeSet<(NodeId, PhysicalIndex)>,
    /// The same of replicas that are joining, which are in sync for the rest.
    spoilt_joins: BTreeSet<(NodeId, PhysicalIndex)>,
    witnesses: BTreeMap<NodeId, Witness>,
    /// Nodes being refilled that do not get near enough to take more of this index while writes come.
    behind: BTreeMap<NodeId, PhysicalIndex>,
    /// Nodes that answered as if their data were lost.
    suspects: BTreeSet<NodeId>,
    /// Nodes whose address leads to another node: nothing may be copied to them.
    impostors: BTreeMap<NodeId, NodeId>,
    /// Shards whose in-sync replicas are known to differ.
    unlike: BTreeMap<PhysicalIndex, BTreeSet<ShardId>>,
    audits: BTreeMap<u64, AuditReport>,
}

/// What the parts of the engine know of copies, and where they ask for them.
#[derive(Debug)]
pub(crate) struct Desk {
    book: Mutex<Book>,
    requests: mpsc::Sender<Request>,
    receiver: Mutex<Option<mpsc::Receiver<Request>>>,
    events: OnceLock<mpsc::UnboundedSender<Event>>,
    next_audit: AtomicU64,
}

impl Default for Desk {
    fn default() -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        Self {
            book: Mutex::default(),
            requests,
            receiver: Mutex::new(Some(receiver)),
            events: OnceLock::new(),
            next_audit: AtomicU64::new(1),
        }
    }
}

fn refill_key(node: &NodeId) -> String {
    format!("refill/{node}")
}

const UNLIKE_KEY: &str = "unlikeShards";
const SPOILT_KEY: &str = "spoiltJoins";

impl Desk {
    /// Reads what an earlier process left.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn load(
        &self,
        store: &dyn Store,
        nodes: impl Iterator<Item = &NodeId>,
    ) -> Result<(), EngineError> {
        for node in nodes {
            let refill = load_refill(store, node).await?;
            let witness = witness::load(store, node).await?;
            let mut book = self.book.lock();
            book.refills.extend(refill.map(|r| (node.clone(), r)));
            book.witnesses.extend(witness.map(|w| (node.clone(), w)));
        }
        if let Some(value) = store.load_fact(UNLIKE_KEY).await?
            && let Ok(unlike) = serde_json::from_value(value)
        {
            self.book.lock().unlike = unlike;
        }
        if let Some(value) = store.load_fact(SPOILT_KEY).await?
            && let Ok(spoilt) = serde_json::from_value(value)
        {
            self.book.lock().spoilt_joins = spoilt;
        }
        Ok(())
    }

    /// Names where the completer listens. Called once.
    pub(crate) fn connect(&self, events: mpsc::UnboundedSender<Event>) {
        for (node, refill) in &self.book.lock().refills {
            let _ = events.send(Event::Forgiven {
                node: node.clone(),
                below: refill.below,
            });
        }
        let _ = self.events.set(events);
    }

    /// The dispatcher's end. It can be taken once.
    pub(crate) fn take_receiver(&self) -> Option<mpsc::Receiver<Request>> {
        self.receiver.lock().take()
    }

    /// Files that refills need.
    pub(crate) fn files(&self) -> Vec<PayloadRef> {
        let book = self.book.lock();
        let files = book.refills.values().filter_map(Refill::list_file);
        files.cloned().collect()
    }

    pub(crate) fn refill(&self, node: &NodeId) -> Option<Refill> {
        self.book.lock().refills.get(node).cloned()
    }

    fn put(&self, node: &NodeId, refill: Option<Refill>) {
        let mut book = self.book.lock();
        match refill {
            Some(refill) => drop(book.refills.insert(node.clone(), refill)),
            None => drop(book.refills.remove(node)),
        }
    }

    /// The node is being refilled: it is not in sync, however level.
    pub(crate) fn is_refilling(&self, node: &NodeId) -> bool {
        self.book.lock().refills.contains_key(node)
    }

    /// The node is not owed this batch.
    pub(crate) fn is_forgiven(&self, node: &NodeId, batch: BatchUid, work: &Work) -> bool {
        let is_below = |refill: &Refill| batch < refill.below;
        !work.is_removal() && self.book.lock().refills.get(node).is_some_and(is_below)
    }

    /// The index is yet to be made anew on the node: no batch of it goes there.
    pub(crate) fn is_awaiting(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        book.refills.get(node).is_some_and(|refill| {
            !refill.is_running
                || refill
                    .indexes
                    .iter()
                    .any(|copy| copy.index == *index && !copy.is_begun)
        })
    }

    /// The index is being copied to the node: what the node fails meanwhile is no illness.
    pub(crate) fn is_copying(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        book.refills
            .get(node)
            .is_some_and(|refill| refill.indexes.iter().any(|copy| copy.index == *index))
    }

    /// The node failed a write during the copy: its documents are to be looked at once more.
    pub(crate) fn spoil(&self, node: NodeId, index: PhysicalIndex) {
        self.book.lock().spoilt.insert((node, index));
    }

    fn take_spoilt(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let mut book = self.book.lock();
        book.spoilt.remove(&(node.clone(), index.clone()))
    }

    fn is_spoilt(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        book.spoilt.contains(&(node.clone(), index.clone()))
    }

    /// What a joining replica was to be given did not become of it, or was kept from it: its
    /// documents are to be looked at once more. Returns the change that stores it.
    pub(crate) fn note_spoilt(&self, node: NodeId, index: PhysicalIndex) -> Change {
        let mut book = self.book.lock();
        book.spoilt_joins.insert((node, index));
        spoilt_change(&book)
    }

    pub(crate) fn is_join_spoilt(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        book.spoilt_joins.contains(&(node.clone(), index.clone()))
    }

    /// A joining replica is looked at anew. Returns the change that stores it, if it was spoilt.
    pub(crate) fn settle_spoilt(&self, node: &NodeId, index: &PhysicalIndex) -> Option<Change> {
        let mut book = self.book.lock();
        let was_there = book.spoilt_joins.remove(&(node.clone(), index.clone()));
        was_there.then(|| spoilt_change(&book))
    }

    /// Names the completer to whoever tells it something.
    pub(crate) fn events(&self) -> Option<mpsc::UnboundedSender<Event>> {
        self.events.get().cloned()
    }

    /// What is known of a node that is no longer of the cluster is forgotten. Returns the changes
    /// that store it.
    pub(crate) fn forget_node(&self, node: &NodeId) -> Vec<Change> {
        let mut book = self.book.lock();
        book.refills.remove(node);
        book.wanted.remove(node);
        book.witnesses.remove(node);
        book.suspects.remove(node);
        book.spoilt.retain(|(spoilt, _)| spoilt != node);
        book.spoilt_joins.retain(|(spoilt, _)| spoilt != node);
        vec![
            refill_change(node, None),
            witness::change(node, None),
            spoilt_change(&book),
        ]
    }

    /// Asks for a refill of a node that is out of sync.
    pub(crate) fn want(&self, node: NodeId, reason: String) {
        let mut book = self.book.lock();
        if book.refills.get(&node).is_none_or(|r| r.is_running) {
            book.wanted.entry(node).or_insert(reason);
        }
    }

    /// The node is being refilled, or is to be.
    pub(crate) fn is_to_be_refilled(&self, node: &NodeId) -> bool {
        let book = self.book.lock();
        book.refills.contains_key(node) || book.wanted.contains_key(node)
    }

    /// Of a node being refilled: writes to this index come faster than it takes in what is copied.
    pub(crate) fn note_behind(&self, node: &NodeId, index: Option<&PhysicalIndex>) {
        let mut book = self.book.lock();
        match index {
            Some(index) => drop(book.behind.insert(node.clone(), index.clone())),
            None => drop(book.behind.remove(node)),
        }
    }

    /// Of a node being refilled: the copy of this index cannot go on before the node gets nearer, or is
    /// done but for the look whether it is right, for which the node has to be level.
    pub(crate) fn has_to_get_level(&self, node: &NodeId, index: &PhysicalIndex) -> bool {
        let book = self.book.lock();
        if book.behind.get(node) == Some(index) {
            return true;
        }
        let first = book.refills.get(node).map(|refill| refill.indexes.first());
        first.is_some_and(|first| {
            first.is_none_or(|copy| copy.index == *index && copy.is_begun && copy.shards.is_empty())
        })
    }

    fn take_wanted(&self, node: &NodeId) -> Option<String> {
        self.book.lock().wanted.remove(node)
    }

    /// Replicas of these shards are known to differ. Returns the change that stores it.
    pub(crate) fn note_unlike(
        &self,
        index: &PhysicalIndex,
        shards: impl IntoIterator<Item = ShardId>,
    ) -> Change {
        let mut book = self.book.lock();
        book.unlike.entry(index.clone()).or_default().extend(shards);
        unlike_change(&book)
    }

    fn unlike(&self) -> Vec<(PhysicalIndex, BTreeSet<ShardId>)> {
        let book = self.book.lock();
        book.unlike
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Those shards were compared and made alike.
    fn settle_unlike(&self, index: &PhysicalIndex, shards: &BTreeSet<ShardId>) -> Change {
        let mut book = self.book.lock();
        if let Some(left) = book.unlike.get_mut(index) {
            left.retain(|shard| !shards.contains(shard));
            if left.is_empty() {
                book.unlike.remove(index);
            }
        }
        unlike_change(&book)
    }

    /// The newest witnesses of the other nodes.
    fn witnesses_but(&self, node: &NodeId, max: usize) -> Vec<(NodeId, Witness)> {
        let book = self.book.lock();
        let others = book.witnesses.iter().filter(|(other, _)| *other != node);
        others
            .take(max)
            .map(|(other, witness)| (other.clone(), witness.clone()))
            .collect()
    }

    /// Notes which node answers in this one's stead, or that it is itself again.
    pub(crate) fn set_impostor(&self, node: &NodeId, other: Option<NodeId>) {
        let impostors = &mut self.book.lock().impostors;
        match other {
            Some(other) => drop(impostors.insert(node.clone(), other)),
            None => drop(impostors.remove(node)),
        }
    }

    /// The node that answers in this one's stead.
    pub(crate) fn impostor(&self, node: &NodeId) -> Option<NodeId> {
        self.book.lock().impostors.get(node).cloned()
    }

    pub(crate) fn suspect(&self, node: &NodeId) {
        self.book.lock().suspects.insert(node.clone());
    }

    pub(crate) fn take_suspect(&self, node: &NodeId) -> bool {
        self.book.lock().suspects.remove(node)
    }

    pub(crate) fn witness(&self, node: &NodeId) -> Option<Witness> {
        self.book.lock().witnesses.get(node).cloned()
    }

    /// Takes in a newer task of a node; returns the change that stores it, or `None` if a newer one
    /// is known.
    pub(crate) fn note_witness(&self, node: &NodeId, witness: &Witness) -> Option<Change> {
        let mut book = self.book.lock();
        let known = book.witnesses.get(node);
        if known.is_some_and(|known| known.uid >= witness.uid) {
            return None;
        }
        book.witnesses.insert(node.clone(), witness.clone());
        Some(witness::change(node, Some(witness)))
    }

    fn forget_witness(&self, node: &NodeId) {
        self.book.lock().witnesses.remove(node);
    }

    /// A refill begins: what was known of the copies of an earlier one is void.
    fn begin(&self, node: &NodeId, refill: Refill) {
        let mut book = self.book.lock();
        book.refills.insert(node.clone(), refill);
        book.spoilt.retain(|(spoilt, _)| spoilt != node);
        book.wanted.remove(node);
    }

    /// Asks the dispatcher and waits for its answer; [`Answer::Busy`] when the engine shuts down.
    pub(crate) async fn ask(
        &self,
        shared: &crate::state::Shared,
        ask: Ask,
        limit: Duration,
    ) -> Answer {
        let (reply, answer) = oneshot::channel();
        let request = Request { ask, limit, reply };
        if self.requests.send(request).await.is_err() {
            return Answer::Busy;
        }
        shared.log_grew.notify_one();
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => Answer::Busy,
            answer = answer => answer.unwrap_or(Answer::Busy),
        }
    }

    /// What each node has not applied, as the completer knows it; `None` if it has ended.
    pub(crate) async fn lags(&self) -> Option<BTreeMap<NodeId, Lag>> {
        let (reply, answer) = oneshot::channel();
        self.events.get()?.send(Event::Lags { reply }).ok()?;
        answer.await.ok()
    }

    /// How many batches of the index the node has not applied, of those that the dispatcher had
    /// made when it was asked. `None` when the engine shuts down.
    pub(crate) async fn owed(
        &self,
        shared: &crate::state::Shared,
        node: &NodeId,
        index: &PhysicalIndex,
    ) -> Option<usize> {
        let (reply, answer) = oneshot::channel();
        let event = Event::Owed {
            node: node.clone(),
            index: index.clone(),
            reply,
        };
        self.answered(shared, event, answer).await
    }

    /// What the completer answers; `None` when the engine shuts down.
    async fn answered<T>(
        &self,
        shared: &crate::state::Shared,
        event: Event,
        answer: oneshot::Receiver<T>,
    ) -> Option<T> {
        self.events.get()?.send(event).ok()?;
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => None,
            answer = answer => answer.ok(),
        }
    }

    /// Whether the node has still to carry out a batch that removes something of the index there.
    /// What came before such a batch it has applied, too, once it has applied that. `None` when the
    /// engine shuts down.
    pub(crate) async fn is_clearing_owed(
        &self,
        shared: &crate::state::Shared,
        node: &NodeId,
        index: &PhysicalIndex,
    ) -> Option<bool> {
        let (reply, answer) = oneshot::channel();
        let event = Event::ClearingOwed {
            node: node.clone(),
            index: index.clone(),
            reply,
        };
        self.answered(shared, event, answer).await
    }
}

fn unlike_change(book: &Book) -> Change {
    unlike_fact(&book.unlike)
}

/// Notes shards whose replicas are known to differ.
pub(crate) fn unlike_fact(unlike: &BTreeMap<PhysicalIndex, BTreeSet<ShardId>>) -> Change {
    Change::PutFact {
        key: UNLIKE_KEY.into(),
        value: serde_json::to_value(unlike).unwrap_or(Value::Null),
    }
}

fn spoilt_change(book: &Book) -> Change {
    Change::PutFact {
        key: SPOILT_KEY.into(),
        value: serde_json::to_value(&book.spoilt_joins).unwrap_or(Value::Null),
    }
}

/// The stored refill of a node.
pub(crate) async fn load_refill(
    store: &dyn Store,
    node: &NodeId,
) -> Result<Option<Refill>, EngineError> {
    let Some(value) = store.load_fact(&refill_key(node)).await? else {
        return Ok(None);
    };
    serde_json::from_value(value).map_err(|error| {
        EngineError::Store(crate::port::StoreError::Corrupt {
            what: "refill",
            cause: error.to_string(),
        })
    })
}

pub(crate) fn refill_change(node: &NodeId, refill: Option<&Refill>) -> Change {
    Change::PutFact {
        key: refill_key(node),
        value: serde_json::to_value(refill).unwrap_or(Value::Null),
    }
}

#[cfg(test)]
mod tests;
