//! Drives re-shards: looks where each stands, waits for what must be, and asks the dispatcher for the
//! next step. It holds nothing of its own but the pace, and whether it has compared.

use super::turn::Turn;
use super::verify::Verdict;
use super::{After, Reshard, Step};
use crate::copy::barrier::{Answer, Ask};
use crate::copy::copier::{Copier, OWED_MAX, nobody};
use crate::copy::read::Replica;
use crate::error::EngineError;
use crate::state::{IndexEntry, NodeView, Shared};
use miroir_core::id::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// With nothing to do it looks again after this, if nothing wakes it before.
const IDLE: Duration = Duration::from_secs(1);
/// Before what did not go is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// While nodes work on what they were sent, or readers end.
const WORK_DELAY: Duration = Duration::from_millis(20);
/// Nodes are waited for so long to have taken in by themselves what they were sent. Where writes never
/// cease they may never have: then the index is held back for them.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads by the physical index that was read before are waited for no longer than so many searches may
/// take: one is several rounds at most.
const SEARCHES_WAITED_FOR: u32 = 4;

/// With more batches before it that a node has not applied, a comparison would find what is only on its
/// way.
const UNAPPLIED_MAX: usize = 16;

/// Documents of several shards that are listed or walked at once, about. Small shards cost more by what
/// each takes at least than by what is in them; large ones are walked one by one, since a node counts
/// off all that is before a page.
const TOGETHER_DOCUMENTS: u64 = 50_000;

/// Works until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut worker = Worker {
        copier: Copier::new(shared.clone()),
        shared: shared.clone(),
        compared: None,
        waiting: BTreeMap::new(),
    };
    loop {
        let changed = shared.reshards.changed.notified();
        let wait = match worker.round().await {
            Ok(wait) => wait,
            Err(EngineError::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(%error, "a re-shard cannot go on; trying again");
                RETRY_DELAY
            }
        };
        if wait.is_zero() {
            continue;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(wait) => {}
            () = changed, if wait == IDLE => {}
        }
    }
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) copier: Copier,
    /// The re-shard, as it stands, whose two halves were compared and agree.
    compared: Option<(u64, u64)>,
    /// How each stood when nodes were found to lag, and since when.
    waiting: BTreeMap<u64, (u64, Duration)>,
}

impl Worker {
    /// Does one thing for each; returns how long to wait before the next round.
    async fn round(&mut self) -> Result<Duration, EngineError> {
        let litter = self.shared.reshards.take_litter();
        self.shared.discard(&litter).await;
        let mut wait = IDLE;
        let open = self.shared.reshards.open();
        if !open
            .iter()
            .any(|reshard| reshard.is_copying() && !reshard.is_paused)
        {
            self.copier.pace.pause();
        }
        for reshard in open {
            wait = wait.min(self.step(reshard).await?);
        }
        Ok(wait)
    }

    async fn step(&mut self, reshard: Reshard) -> Result<Duration, EngineError> {
        match reshard.step {
            Step::Waiting | Step::Copying if reshard.is_paused => Ok(IDLE),
            Step::Waiting => self.turn(&reshard, Turn::Create(reshard.clone())).await,
            Step::Copying => self.copy(reshard).await,
            Step::Kept => self.keep(reshard).await,
            Step::Leaving { .. } => {
                let now = self.shared.ports.clock.monotonic();
                let limit = self.shared.config.search_timeout * SEARCHES_WAITED_FOR;
                if !self.shared.movement.have_readers_ended(now, limit) {
                    return Ok(WORK_DELAY);
                }
                self.turn(&reshard, Turn::Drop(reshard.clone())).await
            }
            Step::Dropping { .. } => self.clear(reshard).await,
            Step::Ended { .. } => Ok(IDLE),
        }
    }

    /// Asks the dispatcher for a step; returns how long to wait before the next.
    async fn turn(&mut self, reshard: &Reshard, turn: Turn) -> Result<Duration, EngineError> {
        let board = &self.shared.clone().reshards;
        match self.copier.ask(Ask::Reshard(turn)).await? {
            Answer::Failed(cause) | Answer::Refused(cause) => {
                board.wait_for(reshard.id, cause);
                Ok(RETRY_DELAY)
            }
            Answer::Busy => {
                board.wait_for(reshard.id, "the index does not come to rest");
                Ok(RETRY_DELAY)
            }
            Answer::Gone => Ok(WORK_DELAY),
            _ => Ok(Duration::ZERO),
        }
    }

    fn entry(&self, reshard: &Reshard) -> Option<Arc<IndexEntry>> {
        let entry = self.shared.shown(reshard.main())?;
        let twin = entry.twin.as_ref()?;
        (twin.physical == *reshard.twin()).then_some(entry.clone())
    }

    /// The first node of the twin that cannot be worked with now.
    fn missing(&self, entry: &IndexEntry) -> Option<NodeId> {
        let snapshot = self.shared.snapshot.load();
        let transit = entry.twin.iter().map(|twin| twin.transit.clone());
        let nodes = transit.flat_map(|transit| {
            let nodes = transit.joining().map(|(node, _)| node.clone());
            nodes.collect::<Vec<_>>()
        });
        let is_fit = |node: &NodeId| {
            snapshot.nodes.get(node).is_some_and(NodeView::is_readable)
                && self.shared.is_up(node)
                && !self.shared.copy.is_refilling(node)
        };
        nodes.into_iter().find(|node| !is_fit(node))
    }

    /// What the twin's nodes have not applied of it: nothing, or too much, or it cannot be told.
    async fn owed(&self, reshard: &Reshard, entry: &IndexEntry) -> Result<usize, EngineError> {
        let mut most = 0;
        let nodes: Vec<NodeId> = nodes_of(entry).into_iter().collect();
        for node in nodes {
            let owed = self
                .shared
                .copy
                .owed(&self.shared, &node, reshard.twin())
                .await;
            most = most.max(owed.ok_or(EngineError::ShuttingDown)?);
        }
        Ok(most)
    }

    /// Waits until the twin's nodes are behind by no more than so many batches: at first as it comes,
    /// then with the index held back. `None` if they are.
    async fn settle(
        &mut self,
        reshard: &Reshard,
        entry: &IndexEntry,
        most: usize,
    ) -> Result<Option<Duration>, EngineError> {
        if self.owed(reshard, entry).await? <= most {
            self.waiting.remove(&reshard.id);
            return Ok(None);
        }
        let text = "nodes have not taken in what was copied before";
        self.shared.reshards.wait_for(reshard.id, text);
        let now = self.shared.ports.clock.monotonic();
        let (revision, since) = *self
            .waiting
            .entry(reshard.id)
            .or_insert((reshard.revision, now));
        if revision != reshard.revision {
            self.waiting.insert(reshard.id, (reshard.revision, now));
            return Ok(Some(WORK_DELAY));
        }
        if now.saturating_sub(since) < PATIENCE {
            return Ok(Some(WORK_DELAY));
        }
        let wait = self.turn(reshard, Turn::Settle(reshard.clone())).await?;
        Ok((!wait.is_zero()).then_some(wait))
    }

    /// How long to wait until the next piece of work is fair to those who search meanwhile, if not now.
    async fn hold(
        &mut self,
        reshard: &Reshard,
        entry: &IndexEntry,
    ) -> Result<Option<Duration>, EngineError> {
        let nodes = nodes_of(entry);
        let wait = self.copier.hold(entry, reshard.twin(), &nodes).await?;
        if wait.is_some() && self.copier.pace.is_resting() {
            let text = "too many searches were slow beside the copy (`copy_share`)";
            self.shared.reshards.wait_for(reshard.id, text);
        }
        Ok(wait)
    }

    async fn copy(&mut self, reshard: Reshard) -> Result<Duration, EngineError> {
        let board = &self.shared.clone().reshards;
        let Some(entry) = self.entry(&reshard) else {
            board.wait_for(reshard.id, "the index is being made or removed");
            return Ok(RETRY_DELAY);
        };
        if let Some(node) = self.missing(&entry) {
            let text = format!("node {node} does not answer or is not in sync");
            self.copier.pace.pause();
            board.wait_for(reshard.id, text);
            return Ok(RETRY_DELAY);
        }
        let Some(shard) = reshard.shards.first().copied() else {
            return self.verify(reshard, &entry).await;
        };
        board.see(reshard.id, |seen| seen.is_verifying = false);
        if let Some(wait) = self.hold(&reshard, &entry).await? {
            return Ok(wait);
        }
        match reshard.list.clone() {
            None => self.list(reshard, &entry, shard).await,
            Some(list) => {
                let current = reshard.current();
                let together = self.copier.companions(&entry, current, &nobody());
                if together.len() < current.len() {
                    // Whom they were listed from is away, and nobody else has them all.
                    let next = reshard.unlisted();
                    return self.turn(&reshard, Turn::Note(next)).await;
                }
                self.copy_piece(reshard, &entry, list).await
            }
        }
    }

    async fn list(
        &mut self,
        reshard: Reshard,
        entry: &IndexEntry,
        shard: ShardId,
    ) -> Result<Duration, EngineError> {
        // Each piece waits for the index to come to rest: the fewer, the better.
        let mut together = self.copier.companions(entry, &reshard.shards, &nobody());
        together.truncate(together_max(reshard.documents_total, reshard.main_shards()));
        let Some(list) = self.copier.list(entry, &together, &nobody()).await? else {
            let text = format!("no replica of shard {shard} answers and is in sync");
            self.shared.reshards.wait_for(reshard.id, text);
            return Ok(RETRY_DELAY);
        };
        let next = reshard.listed(&together, list.clone());
        let wait = self.turn(&reshard, Turn::Note(next)).await?;
        if !wait.is_zero() {
            // It stands elsewhere.
            self.copier.remove(Some(list)).await;
        }
        Ok(wait)
    }

    async fn copy_piece(
        &mut self,
        mut reshard: Reshard,
        entry: &IndexEntry,
        list: crate::port::PayloadRef,
    ) -> Result<Duration, EngineError> {
        if let Some(wait) = self.settle(&reshard, entry, OWED_MAX).await? {
            return Ok(wait);
        }
        let (ids, offset) = match self.copier.next_ids(&list, reshard.offset).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, index = reshard.index_uid, "a list is made anew");
                return self.turn(&reshard, Turn::Note(reshard.unlisted())).await;
            }
        };
        if ids.is_empty() {
            return self.turn(&reshard, Turn::Note(reshard.passed())).await;
        }
        reshard.offset = offset;
        let turn = Turn::Copy(reshard.clone(), ids);
        match self.copier.ask(Ask::Reshard(turn)).await? {
            Answer::Copied { documents, bytes } => Ok(self.copier.note(documents, bytes)),
            Answer::Failed(cause) => {
                self.shared.reshards.wait_for(reshard.id, cause);
                Ok(RETRY_DELAY)
            }
            Answer::Busy => {
                let text = "the index does not come to rest";
                self.shared.reshards.wait_for(reshard.id, text);
                Ok(RETRY_DELAY)
            }
            _ => Ok(WORK_DELAY),
        }
    }

    /// Compares the two, copies what differs, and has them exchange their roles when nothing does.
    async fn verify(
        &mut self,
        reshard: Reshard,
        entry: &IndexEntry,
    ) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let board = &shared.reshards;
        board.see(reshard.id, |seen| seen.is_verifying = true);
        if let Some(wait) = self.settle(&reshard, entry, UNAPPLIED_MAX).await? {
            return Ok(wait);
        }
        if let Some(wait) = self.settle_spoilt(&reshard, entry).await? {
            return Ok(wait);
        }
        let now = (reshard.id, reshard.revision);
        if self.compared != Some(now) {
            match Box::pin(self.compare(&reshard, entry)).await? {
                Verdict::Alike => self.compared = Some(now),
                Verdict::Unlike(count) => {
                    tracing::info!(
                        index = reshard.index_uid,
                        count,
                        "documents differed after the copy and are copied again"
                    );
                    return Ok(WORK_DELAY);
                }
                Verdict::NotNow(cause) => {
                    board.wait_for(reshard.id, cause);
                    return Ok(RETRY_DELAY);
                }
            }
        }
        shared.step("reshard.verified").await;
        match self
            .copier
            .ask(Ask::Reshard(Turn::Switch(reshard.clone())))
            .await?
        {
            Answer::Done => {
                self.compared = None;
                Ok(Duration::ZERO)
            }
            Answer::Failed(cause) => {
                // What keeps them apart may be a document.
                self.compared = None;
                board.wait_for(reshard.id, cause);
                Ok(RETRY_DELAY)
            }
            Answer::Busy => {
                board.wait_for(reshard.id, "the index does not come to rest");
                Ok(WORK_DELAY)
            }
            _ => Ok(WORK_DELAY),
        }
    }

    /// What the twin lacks since a request failed there is found by a comparison, but for vectors and
    /// settings. `None` if nothing keeps it from being compared.
    async fn settle_spoilt(
        &mut self,
        reshard: &Reshard,
        entry: &IndexEntry,
    ) -> Result<Option<Duration>, EngineError> {
        let shared = self.shared.clone();
        let nodes = nodes_of(entry).into_iter();
        let is_spoilt = |node: &NodeId| shared.copy.is_join_spoilt(node, reshard.twin());
        let spoilt: Vec<NodeId> = nodes.filter(is_spoilt).collect();
        if spoilt.is_empty() {
            return Ok(None);
        }
        self.compared = None;
        let source = entry.placement.shards().find_map(|shard| {
            let mut sources = entry.placement.replica_set(shard);
            let snapshot = shared.snapshot.load();
            sources
                .find(|node| snapshot.nodes.get(*node).is_some_and(NodeView::is_readable))
                .cloned()
        });
        let Some(source) = source else {
            return Ok(Some(RETRY_DELAY));
        };
        let Some(expected) = self.settings(entry, &source).await else {
            return Ok(Some(RETRY_DELAY));
        };
        let twin = entry.twin.as_ref().map(|twin| twin.to_entry(&entry.record));
        for node in &spoilt {
            let shown = match &twin {
                Some(twin) => self.settings(twin, node).await,
                None => None,
            };
            match shown {
                Some(shown) if shown == expected => {}
                Some(_) if reshard.is_switched_before() => {
                    let turn = Turn::Leave(reshard.clone(), After::Lost);
                    return self.turn(reshard, turn).await.map(Some);
                }
                Some(_) => {
                    tracing::warn!(%node, index = reshard.index_uid,
                        "a change of settings did not come to the twin; it is made anew");
                    let turn = Turn::Leave(reshard.clone(), After::Again);
                    return self.turn(reshard, turn).await.map(Some);
                }
                None => return Ok(Some(RETRY_DELAY)),
            }
        }
        let mut changes = Vec::new();
        for node in &spoilt {
            changes.extend(shared.copy.settle_spoilt(node, reshard.twin()));
        }
        shared.ports.store.commit(changes).await?;
        if miroir_core::settings::has_embedders(&entry.record.settings) {
            tracing::warn!(
                index = reshard.index_uid,
                "a write did not come to the twin; all is copied again"
            );
            return self
                .turn(reshard, Turn::Note(reshard.afresh()))
                .await
                .map(Some);
        }
        Ok(Some(Duration::ZERO))
    }

    async fn settings(
        &self,
        entry: &IndexEntry,
        node: &NodeId,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let replica = Replica {
            shared: &self.shared,
            node,
            entry,
        };
        replica.settings().await.ok()
    }

    /// Lets the way back go when its time is over.
    async fn keep(&mut self, reshard: Reshard) -> Result<Duration, EngineError> {
        let now = self.shared.ports.clock.now().unix_timestamp();
        let since = reshard.switched_at.unwrap_or(now);
        let kept = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
        if kept < reshard.keep_seconds {
            return Ok(IDLE);
        }
        let turn = Turn::Leave(reshard.clone(), After::Done);
        self.turn(&reshard, turn).await
    }

    async fn clear(&mut self, reshard: Reshard) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let known: Vec<NodeId> = shared.snapshot.load().nodes.keys().cloned().collect();
        for node in known {
            let is_there = {
                let snapshot = shared.snapshot.load();
                snapshot.nodes.get(&node).is_some_and(NodeView::is_readable)
            };
            // What is away removes it when it is back.
            if !is_there || !shared.is_up(&node) {
                continue;
            }
            match shared.copy.owed(&shared, &node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => {
                    let text = format!("node {node} has not removed it");
                    shared.reshards.wait_for(reshard.id, text);
                    return Ok(WORK_DELAY);
                }
                None => return Err(EngineError::ShuttingDown),
            }
        }
        self.turn(&reshard, Turn::End(reshard.clone())).await
    }
}

/// So many shards of an index are about as many documents as are listed or walked at once.
pub(super) fn together_max(documents: u64, shard_count: u32) -> usize {
    let of_each = documents / u64::from(shard_count.max(1));
    let most = TOGETHER_DOCUMENTS / of_each.max(1);
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

/// The nodes that the twin of an index lies on.
fn nodes_of(entry: &IndexEntry) -> BTreeSet<NodeId> {
    let transit = entry.twin.iter().map(|twin| twin.transit.clone());
    let mut nodes = BTreeSet::new();
    for transit in transit {
        nodes.extend(transit.joining().map(|(node, _)| node.clone()));
    }
    nodes
}
