//! The dispatcher's part in copies: it alone knows the order of batches, so it alone can say at
//! which position of the log something is read, and put a copy there.
//!
//! A request that reads an index waits until nothing of the index is in flight; meanwhile no further
//! batch of the index is made. The wait has a limit, after which the request is sent back and writes
//! have their turn; whoever asked comes again with a longer limit.

mod begin;
mod compare;

pub(crate) use compare::{Unlike, unlike};

use super::read::{Replica, Shown};
use super::{Refill, refill_change};
use crate::completer::Event;
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::movement::{Group, group_change};
use crate::plan::{BatchPlan, REQUEST_BYTES_MAX, Work};
use crate::port::{BatchRecord, Change, Delivery, PayloadRef};
use crate::prepare::PlannedIndex;
use crate::state::{Effect, IndexEntry, LaneMessage, LiveBatch, NodeView};
use bytes::Bytes;
use compare::Pair;
use miroir_core::hash::shard_of;
use miroir_core::id::{BatchUid, NodeId, PhysicalIndex, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a worker asks of the dispatcher.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Begin a refill, or begin it again.
    Start {
        node: NodeId,
        reason: String,
        /// The node's data is not what it was: what is known of its tasks is void.
        is_lost: bool,
    },
    /// The node is there: find out what is to be copied.
    Run { node: NodeId },
    /// Make the first index of the refill anew on the node.
    Recreate { node: NodeId, refill: Refill },
    /// Copy these documents; then the copy they are of stands as noted.
    Copy {
        node: NodeId,
        index: PhysicalIndex,
        /// The shards that the documents are of.
        shards: Vec<ShardId>,
        ids: Vec<String>,
        note: CopyNote,
    },
    /// Compare these documents at one position with those of `reference`.
    Compare {
        index: PhysicalIndex,
        shard: ShardId,
        ids: Vec<String>,
        reference: NodeId,
        node: NodeId,
        /// Nothing speaks for the reference: what it lacks and the other has is missing on it.
        is_even: bool,
        /// Copy what differs.
        is_repairing: bool,
    },
    /// Nothing is left to copy.
    Finish { node: NodeId },
    /// A step of a movement.
    Move(Turn),
    /// A step of a re-shard.
    Reshard(crate::reshard::turn::Turn),
}

/// Whose copy a piece is, and how it stands when the piece is on its way.
#[derive(Debug)]
pub(crate) enum CopyNote {
    /// A refill's.
    Refill(Refill),
    /// A move's.
    Move {
        /// Of which group of the movement.
        number: u64,
        /// The group.
        group: Group,
    },
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is done, durably.
    Done,
    /// Documents are on their way, durably.
    Copied { documents: u64, bytes: u64 },
    /// The documents that differ, by node.
    Compared(Vec<(NodeId, String, Unlike)>),
    /// The index is gone, or is not on that node.
    Gone,
    /// The movement has this number.
    Started(u64),
    /// It will not be done, for this reason.
    Refused(String),
    /// Not now; ask again.
    Busy,
    /// It cannot be done now, for this reason.
    Failed(String),
}

/// A request with the way back.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) ask: Ask,
    /// How long the index may be held back for it.
    pub(super) limit: Duration,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The requests that wait in the dispatcher.
pub(crate) struct Barrier {
    receiver: Option<mpsc::Receiver<Request>>,
    waiting: VecDeque<(Request, Duration)>,
}

impl Barrier {
    pub(crate) fn new(receiver: Option<mpsc::Receiver<Request>>) -> Self {
        Self {
            receiver,
            waiting: VecDeque::new(),
        }
    }

    /// Something waits for an index to come to rest.
    pub(crate) fn is_holding(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// No further batch of this index is to be made for now.
    pub(crate) fn is_held(&self, index: &PhysicalIndex) -> bool {
        self.waiting
            .iter()
            .any(|(request, _)| request.ask.index() == Some(index))
    }
}

impl Ask {
    /// The index that must be at rest.
    pub(super) fn index(&self) -> Option<&PhysicalIndex> {
        match self {
            Self::Recreate { refill, .. } => refill.indexes.first().map(|copy| &copy.index),
            Self::Compare { index, .. } | Self::Copy { index, .. } => Some(index),
            Self::Move(turn) => turn.index(),
            Self::Reshard(turn) => turn.index(),
            Self::Start { .. } | Self::Run { .. } | Self::Finish { .. } => None,
        }
    }
}

/// `None` is: not yet.
pub(crate) type Served = Result<Option<Answer>, EngineError>;

impl Dispatcher {
    /// Serves what can be served.
    pub(crate) async fn serve_copies(&mut self) -> Result<(), EngineError> {
        let now = self.shared.ports.clock.monotonic();
        while let Some(request) = self
            .barrier
            .receiver
            .as_mut()
            .and_then(|receiver| receiver.try_recv().ok())
        {
            self.barrier.waiting.push_back((request, now));
        }
        for _ in 0..self.barrier.waiting.len() {
            let Some((request, since)) = self.barrier.waiting.pop_front() else {
                break;
            };
            if request.reply.is_closed() {
                continue;
            }
            match self.serve(&request.ask).await {
                Ok(Some(answer)) => drop(request.reply.send(answer)),
                Ok(None) if now.saturating_sub(since) < request.limit => {
                    self.barrier.waiting.push_back((request, since));
                }
                Ok(None) => drop(request.reply.send(Answer::Busy)),
                Err(EngineError::ShuttingDown) => return Err(EngineError::ShuttingDown),
                Err(error) => drop(request.reply.send(Answer::Failed(error.to_string()))),
            }
        }
        Ok(())
    }

    async fn serve(&mut self, ask: &Ask) -> Served {
        match ask {
            Ask::Start {
                node,
                reason,
                is_lost,
            } => self.start_refill(node, reason, *is_lost).await.map(Some),
            Ask::Run { node } => self.run_refill(node).await.map(Some),
            Ask::Finish { node } => self.finish_refill(node).await.map(Some),
            Ask::Recreate { node, refill } => self.recreate(node, refill.clone()).await,
            Ask::Copy {
                node,
                index,
                shards,
                ids,
                note,
            } => self.copy(node, index, shards, ids, note).await,
            Ask::Move(turn) => Box::pin(self.turn_movement(turn)).await,
            Ask::Reshard(turn) => Box::pin(self.turn_reshard(turn)).await,
            Ask::Compare {
                index,
                shard,
                ids,
                reference,
                node,
                is_even,
                is_repairing,
            } => {
                let pair = Pair {
                    reference,
                    node,
                    is_even: *is_even,
                    is_repairing: *is_repairing,
                };
                self.compare(index, *shard, ids, pair).await
            }
        }
    }

    pub(crate) fn planned(&self, index: &PhysicalIndex) -> Option<&PlannedIndex> {
        let mut indexes = self.preparer.indexes.values();
        indexes.find(|planned| planned.record.physical == *index)
    }

    pub(crate) fn rested_entry(&self, index: &PhysicalIndex) -> Option<IndexEntry> {
        if let Some(planned) = self.planned(index) {
            return Some(planned.to_entry());
        }
        let mut twins = self.preparer.indexes.values().filter_map(|planned| {
            let twin = planned.twin.as_ref()?;
            (twin.physical == *index).then(|| twin.view().to_entry(&planned.record))
        });
        twins.next()
    }

    // -----------------------------------------------------------------------------------------
    // Refills

    // -----------------------------------------------------------------------------------------
    // Copies

    async fn copy(
        &mut self,
        node: &NodeId,
        index: &PhysicalIndex,
        shards: &[ShardId],
        ids: &[String],
        note: &CopyNote,
    ) -> Served {
        let Some(entry) = self.rested_entry(index) else {
            return Ok(Some(Answer::Gone));
        };
        let is_wanted = match note {
            CopyNote::Refill(_) => shards
                .iter()
                .all(|shard| entry.placement.is_on(*shard, node)),
            CopyNote::Move { number, group } => {
                let transit = entry.placement.transit();
                shards.iter().all(|shard| transit.is_joining(*shard, node))
                    && self.shared.movement.is_at(*number, group.revision)
            }
        };
        if !is_wanted {
            return Ok(Some(Answer::Gone));
        }
        if self.shared.is_indexing(index) {
            return Ok(None);
        }
        let mut cause = "no replica is in sync and answers".to_owned();
        let Some((first, others)) = shards.split_first() else {
            return Ok(Some(Answer::Gone));
        };
        for source in self.sources(&entry, *first, node) {
            let has_all = others
                .iter()
                .all(|shard| entry.placement.is_on(*shard, &source));
            if !has_all {
                continue;
            }
            let replica = Replica {
                shared: &self.shared,
                node: &source,
                entry: &entry,
            };
            let shown = match replica.documents(ids).await {
                Ok(shown) => shown,
                Err(error) => {
                    cause = error.to_string();
                    continue;
                }
            };
            let (documents, bytes) = (shown.len() as u64, bytes_of(shown.values()));
            let work = self.copy_work(ids, &shown).await?;
            let pieces = vec![Piece::new(node, shards.iter().copied(), work)];
            match note {
                CopyNote::Refill(refill) => {
                    let mut refill = refill.clone();
                    refill.documents += documents;
                    refill.bytes += bytes;
                    let changes = vec![refill_change(node, Some(&refill))];
                    self.open_copies(&entry, pieces, changes).await?;
                    self.shared.copy.put(node, Some(refill));
                }
                CopyNote::Move { number, group } => {
                    let group = group.counted(&sizes_of(&shown, &entry));
                    let changes = vec![group_change(*number, &group)];
                    self.open_copies(&entry, pieces, changes).await?;
                    self.shared.movement.put(*number, group);
                    let now = self.shared.ports.clock.monotonic();
                    self.shared.movement.note_copied(now, documents, bytes);
                }
            }
            return Ok(Some(Answer::Copied { documents, bytes }));
        }
        Ok(Some(Answer::Failed(cause)))
    }

    /// In-sync replicas of a shard that answer, but for one node.
    pub(crate) fn sources(&self, entry: &IndexEntry, shard: ShardId, but: &NodeId) -> Vec<NodeId> {
        let snapshot = self.shared.snapshot.load();
        let replicas = entry.placement.replica_set(shard).cloned();
        let is_source = |node: &NodeId| {
            node != but && snapshot.nodes.get(node).is_some_and(NodeView::is_readable)
        };
        replicas.filter(is_source).collect()
    }

    /// Makes the documents durable; those not shown are to be removed.
    pub(crate) async fn copy_work(
        &self,
        ids: &[String],
        shown: &BTreeMap<String, Shown>,
    ) -> Result<Work, EngineError> {
        let absent = ids
            .iter()
            .filter(|id| !shown.contains_key(*id))
            .cloned()
            .collect();
        let documents = if shown.is_empty() {
            None
        } else {
            let mut file = self.shared.ports.payloads.create().await?;
            for document in shown.values() {
                file.append(Bytes::copy_from_slice(&document.raw)).await?;
                file.append(Bytes::from_static(b"\n")).await?;
            }
            Some(file.finish().await?)
        };
        self.shared.step("copy.read").await;
        Ok(Work::CopyDocuments { documents, absent })
    }

    /// Puts batches for one node each into the order, durably, together with these changes. They
    /// belong to the epoch of `entry`.
    pub(crate) async fn open_copies(
        &mut self,
        entry: &IndexEntry,
        pieces: Vec<Piece>,
        mut changes: Vec<Change>,
    ) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let transit = Arc::new(entry.placement.transit().clone());
        let mut opened = Vec::with_capacity(pieces.len());
        for (uid, piece) in (self.next_batch.0..).map(BatchUid).zip(pieces) {
            let plan = BatchPlan {
                index_uid: entry.record.uid.clone(),
                physical: entry.record.physical.clone(),
                shard_count: entry.record.shard_count,
                primary_key: entry.record.primary_key.clone(),
                creation: None,
                work: piece.work,
                entries: Vec::new(),
                shards: Some(piece.shards),
                request_bytes_max: REQUEST_BYTES_MAX,
                exchanges: Vec::new(),
                settings_step: None,
                epoch: entry.record.epoch,
                twin: None,
            };
            let stored = serde_json::to_value(&plan).map_err(|error| {
                EngineError::Answer(format!("a plan cannot be written: {error}"))
            })?;
            let deliveries = BTreeMap::from([(piece.node.clone(), Delivery::default())]);
            changes.push(Change::PutBatch(Box::new(BatchRecord {
                uid,
                tasks: Vec::new(),
                plan: stored,
                deliveries: deliveries.clone(),
                is_done: false,
                started_at: shared.ports.clock.now(),
                finished_at: None,
            })));
            let batch = LiveBatch {
                uid,
                plan,
                tasks: Vec::new(),
                inline: BTreeMap::new(),
                replica_sets: entry.replica_sets.clone(),
                transit: transit.clone(),
                twin: Arc::default(),
                nodes: BTreeSet::from([piece.node]),
                effect: Effect::None,
                payload_bytes: 0,
                window: parking_lot::Mutex::new(None),
            };
            opened.push((Arc::new(batch), deliveries));
        }
        self.commit(&changes).await?;
        self.next_batch.0 += opened.len() as u64;
        shared.step("copy.committed").await;
        for (batch, deliveries) in opened {
            shared.in_flight.lock().insert(batch.uid);
            shared.live.lock().insert(batch.uid, batch.clone());
            let _ = self.events.send(Event::Opened(batch.clone(), deliveries));
            for node in &batch.nodes {
                shared.tell(node, LaneMessage::Deliver(batch.uid));
            }
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // Comparison
}

/// A batch for one node.
pub(crate) struct Piece {
    node: NodeId,
    shards: BTreeSet<ShardId>,
    work: Work,
}

impl Piece {
    pub(crate) fn new(
        node: &NodeId,
        shards: impl IntoIterator<Item = ShardId>,
        work: Work,
    ) -> Self {
        Self {
            node: node.clone(),
            shards: shards.into_iter().collect(),
            work,
        }
    }
}

/// Documents and bytes, by shard.
fn sizes_of(shown: &BTreeMap<String, Shown>, entry: &IndexEntry) -> BTreeMap<ShardId, (u64, u64)> {
    let mut sizes: BTreeMap<ShardId, (u64, u64)> = BTreeMap::new();
    let Some(count) = NonZeroU32::new(entry.record.shard_count) else {
        return sizes;
    };
    for (id, document) in shown {
        let size = sizes.entry(shard_of(id, count)).or_default();
        size.0 += 1;
        size.1 += document.raw.len() as u64;
    }
    sizes
}

fn bytes_of<'a>(shown: impl Iterator<Item = &'a Shown>) -> u64 {
    shown.map(|document| document.raw.len() as u64).sum()
}

/// The files that a copy's plan names.
pub(crate) fn file_of(work: &Work) -> Option<&PayloadRef> {
    match work {
        Work::CopyDocuments { documents, .. } => documents.as_ref(),
        _ => None,
    }
}
