//! What refills and moves have in common: lists of ids, pieces, their size and their pace.

use super::barrier::{Answer, Ask};
use super::pace::Pace;
use super::read::{IDS_PAGE, Replica, fitted};
use crate::deliver::{LineReader, PayloadReader};
use crate::error::EngineError;
use crate::port::PayloadRef;
use crate::state::{IndexEntry, NodeView, Shared};
use bytes::Bytes;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An index is held back for so long at first, ...
pub(crate) const HOLD_MIN: Duration = Duration::from_secs(2);
/// ... and at most this long, however often it did not come to rest before: longer than any batch
/// should take, since writes of other indexes wait behind.
pub(crate) const HOLD_MAX: Duration = Duration::from_mins(5);
/// Batches of the index that the node may have before it. More would only fill the disk with
/// copies that wait.
pub(crate) const OWED_MAX: usize = 4;
/// Documents in the first piece; then pieces are fitted to a size.
const PIECE_FIRST: usize = 64;
/// Documents in a piece at most: as many ids as a node looks up gladly.
const PIECE_MAX: usize = 2_000;

/// To be named where no node is to be left out: the name of none.
pub(crate) fn nobody() -> NodeId {
    NodeId::new("")
}

/// One who copies.
pub(crate) struct Copier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pace: Pace,
    /// Documents in the next piece.
    piece: usize,
    /// How long the next request may hold its index back.
    hold: Duration,
}

impl Copier {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pace: Pace::default(),
            piece: PIECE_FIRST,
            hold: HOLD_MIN,
        }
    }

    /// Asks the dispatcher; after a refusal for now the index may be held back for longer.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`].
    pub(crate) async fn ask(&mut self, ask: Ask) -> Result<Answer, EngineError> {
        let is_holding = ask.index().is_some();
        let answer = self.shared.copy.ask(&self.shared, ask, self.hold).await;
        if self.shared.shutdown.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        match &answer {
            Answer::Busy => self.hold = (self.hold * 2).min(HOLD_MAX),
            // What took so long once will again: the next request does not begin from nothing.
            _ if is_holding => self.hold = (self.hold / 2).max(HOLD_MIN),
            _ => {}
        }
        Ok(answer)
    }

    /// A replica of a shard that can be read, but for one node.
    pub(crate) fn source(
        &self,
        entry: &IndexEntry,
        shard: ShardId,
        but: &NodeId,
    ) -> Option<NodeId> {
        let snapshot = self.shared.snapshot.load();
        let is_source = |node: &&NodeId| {
            *node != but && snapshot.nodes.get(*node).is_some_and(NodeView::is_readable)
        };
        entry.placement.replica_set(shard).find(is_source).cloned()
    }

    /// Those of the shards that the replica of the first, which would be its source, has too: they
    /// can be copied together. The first is the first of them.
    pub(crate) fn companions(
        &self,
        entry: &IndexEntry,
        shards: &[ShardId],
        but: &NodeId,
    ) -> Vec<ShardId> {
        let first = shards.first();
        let Some(source) = first.and_then(|shard| self.source(entry, *shard, but)) else {
            return first.copied().into_iter().collect();
        };
        let shards = shards.iter().copied();
        shards
            .filter(|shard| entry.placement.is_on(*shard, &source))
            .collect()
    }

    /// Writes the ids of shards to a file, from the source of the first; `None` if it does not answer.
    ///
    /// # Errors
    /// The payload store failed, or an answer cannot be understood.
    pub(crate) async fn list(
        &self,
        entry: &IndexEntry,
        shards: &[ShardId],
        but: &NodeId,
    ) -> Result<Option<PayloadRef>, EngineError> {
        let first = shards.first();
        let Some(source) = first.and_then(|shard| self.source(entry, *shard, but)) else {
            return Ok(None);
        };
        let replica = Replica {
            shared: &self.shared,
            node: &source,
            entry,
        };
        let mut file = self.shared.ports.payloads.create().await?;
        // An empty file is nothing to a reader of lines, and a store need not know any.
        file.append(Bytes::from_static(b"\n")).await?;
        let mut offset = 0;
        loop {
            let ids = match replica.ids(shards, offset).await {
                Ok(ids) => ids,
                Err(error) => {
                    tracing::debug!(%source, %error, "the ids of shards cannot be listed");
                    return Ok(None);
                }
            };
            let mut lines = Vec::new();
            for id in &ids {
                serde_json::to_writer(&mut lines, id)
                    .map_err(|error| EngineError::Answer(error.to_string()))?;
                lines.push(b'\n');
            }
            offset += ids.len();
            if ids.is_empty() {
                break;
            }
            file.append(lines.into()).await?;
            if ids.len() < IDS_PAGE {
                break;
            }
        }
        self.shared.step("refill.listed").await;
        Ok(Some(file.finish().await?))
    }

    /// The next ids of a list, and where those behind them begin.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) async fn next_ids(
        &self,
        list: &PayloadRef,
        offset: u64,
    ) -> Result<(Vec<String>, u64), EngineError> {
        let payloads = &*self.shared.ports.payloads;
        let mut lines = LineReader::over_from(PayloadReader::of_file(list.clone()), offset);
        let mut ids = Vec::new();
        while ids.len() < self.piece {
            let Some(line) = lines.next(payloads).await? else {
                break;
            };
            let id = serde_json::from_slice(&line).map_err(|error| {
                EngineError::Answer(format!("a list of ids cannot be read: {error}"))
            })?;
            ids.push(id);
        }
        Ok((ids, lines.position()))
    }

    /// Asked before each piece of work on an index for these nodes: how long to wait before it is asked
    /// again, if now is not the time. Searches on the index feel it, and whoever else asks those nodes.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`].
    pub(crate) async fn hold(
        &mut self,
        entry: &IndexEntry,
        index: &PhysicalIndex,
        targets: &BTreeSet<NodeId>,
    ) -> Result<Option<Duration>, EngineError> {
        let shared = self.shared.clone();
        self.pace
            .watch(entry.placement.nodes().iter().chain(targets));
        let mut is_level = true;
        if self.pace.asks_level(&shared) {
            for node in targets {
                match shared.copy.owed(&shared, node, index).await {
                    Some(owed) => is_level &= owed == 0,
                    None => return Err(EngineError::ShuttingDown),
                }
            }
        }
        Ok(self.pace.hold(&shared, is_level))
    }

    /// Notes what was copied; returns how long to wait before the next piece.
    pub(crate) fn note(&mut self, documents: u64, bytes: u64) -> Duration {
        if documents > 0 {
            self.piece = fitted(documents, bytes, PIECE_MAX);
        }
        let now = self.shared.ports.clock.monotonic();
        let config = &self.shared.config.copy;
        self.pace.note(config, now, documents, bytes)
    }

    /// Removes a list that is not needed any more.
    pub(crate) async fn remove(&self, file: Option<PayloadRef>) {
        self.shared.discard(file.as_slice()).await;
    }
}
