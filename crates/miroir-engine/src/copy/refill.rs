//! Refills one node: the worker that walks the machine drawn in [`crate::copy`]. One for each node.
//!
//! It holds nothing of its own but the pace: every step reads the state, does one thing, and the
//! state is stored with it.

use super::audit::{self, Comparison};
use super::barrier::{Answer, Ask, CopyNote};
use super::copier::{Copier, OWED_MAX};
use super::{IndexCopy, Refill, refill_change};
use crate::error::EngineError;
use crate::port::PayloadRef;
use crate::state::{IndexEntry, Shared};
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// With nothing to do the worker looks again after this, if nothing wakes it before.
const IDLE: Duration = Duration::from_secs(1);
/// Before what did not go is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// While the node works on what it was sent.
const WORK_DELAY: Duration = Duration::from_millis(50);
/// The node is waited for so long to take in by itself what was copied. Where writes never cease it may
/// never have: then they wait for it, as for any node that comes back ([`crate::convoy`]).
const PATIENCE: Duration = Duration::from_secs(2);
/// Works until the engine shuts down.
pub(crate) async fn run(node: NodeId, shared: Arc<Shared>) {
    let mut changed = shared.nodes_changed.listen();
    let mut worker = Worker {
        node,
        shared: shared.clone(),
        copier: Copier::new(shared.clone()),
        is_clean: false,
        loose: Vec::new(),
        behind_since: None,
    };
    loop {
        let wait = match worker.step().await {
            Ok(wait) => wait,
            Err(EngineError::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(node = %worker.node, %error, "a refill cannot go on; trying again");
                RETRY_DELAY
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(wait) => {}
            () = changed.changed(), if wait == IDLE => {}
        }
    }
}

struct Worker {
    node: NodeId,
    shared: Arc<Shared>,
    copier: Copier,
    /// Since it is in sync it was looked for what an old copy brought back.
    is_clean: bool,
    /// Lists that may not be noted as stored. While the store fails it may name them or not; they go
    /// when it names others.
    loose: Vec<PayloadRef>,
    /// Since when it has been too far behind to be sent more.
    behind_since: Option<Duration>,
}

impl Worker {
    /// Does one thing; returns how long to wait before the next.
    async fn step(&mut self) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let is_in_sync = shared
            .snapshot
            .load()
            .nodes
            .get(&self.node)
            .is_none_or(|view| view.record.is_in_sync);
        if is_in_sync {
            self.rest_from_work();
            if !self.is_clean && shared.is_up(&self.node) {
                match self.clean().await {
                    Err(EngineError::ShuttingDown) => return Err(EngineError::ShuttingDown),
                    Err(error) => tracing::debug!(node = %self.node, %error,
                        "it cannot be looked for what an old copy brought back; trying again"),
                    Ok(()) => {}
                }
            }
            return Ok(IDLE);
        }
        self.is_clean = false;
        if shared.copy.impostor(&self.node).is_some() {
            // What would be made anew is another node's data.
            return Ok(IDLE);
        }
        let lost = shared.quarantine.lock().get(&self.node).cloned();
        let is_lost = lost.is_some();
        if let Some(reason) = lost.or_else(|| shared.copy.take_wanted(&self.node)) {
            let node = self.node.clone();
            let ask = Ask::Start {
                node,
                reason,
                is_lost,
            };
            return self.ask(ask).await.map(|_| Duration::ZERO);
        }
        let Some(refill) = shared.copy.refill(&self.node) else {
            self.rest_from_work();
            return Ok(IDLE);
        };
        if !shared.is_up(&self.node) {
            self.rest_from_work();
            return Ok(IDLE);
        }
        if !refill.is_running {
            let node = self.node.clone();
            return self.ask(Ask::Run { node }).await.map(|_| Duration::ZERO);
        }
        self.advance(refill).await
    }

    /// Removes what an old copy of the node brought back.
    async fn clean(&mut self) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let remains = crate::orphans::remains::find(&shared, &self.node).await?;
        let mut is_clean = !remains.is_passing;
        for turn in remains.turns {
            let answer = self.ask(Ask::Move(turn)).await?;
            is_clean &= matches!(answer, Answer::Done | Answer::Gone);
        }
        self.is_clean = is_clean;
        Ok(())
    }

    /// Nothing is copied for now, and nobody waits for it.
    fn rest_from_work(&mut self) {
        self.copier.pace.pause();
        if self.behind_since.take().is_some() {
            self.shared.copy.note_behind(&self.node, None);
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Answer, EngineError> {
        self.copier.ask(ask).await
    }

    fn entry(&self, index: &PhysicalIndex) -> Option<Arc<IndexEntry>> {
        self.shared.shown(index)
    }

    /// A replica of a shard that can be read.
    fn source(&self, entry: &IndexEntry, shard: ShardId) -> Option<NodeId> {
        self.copier.source(entry, shard, &self.node)
    }

    async fn store(&mut self, refill: Refill) -> Result<(), EngineError> {
        let change = refill_change(&self.node, Some(&refill));
        let stored = self.shared.ports.store.commit(vec![change]).await;
        self.shared.noted(stored)?;
        self.shared.step("refill.noted").await;
        let mut loose = std::mem::take(&mut self.loose);
        loose.retain(|file| refill.list_file() != Some(file));
        self.shared.copy.put(&self.node, Some(refill));
        self.shared.discard(&loose).await;
        Ok(())
    }

    async fn remove(&self, file: Option<PayloadRef>) {
        self.copier.remove(file).await;
    }

    async fn advance(&mut self, mut refill: Refill) -> Result<Duration, EngineError> {
        let Some(copy) = refill.indexes.first() else {
            let node = self.node.clone();
            return self.ask(Ask::Finish { node }).await.map(|_| Duration::ZERO);
        };
        if !copy.is_begun {
            return self.recreate(refill).await;
        }
        match (copy.shards.first().copied(), copy.list.clone()) {
            (None, _) => self.verify(refill).await,
            (Some(shard), None) => {
                let Some(entry) = self.entry(&copy.index) else {
                    return self.drop_index(refill).await;
                };
                if !entry.placement.is_on(shard, &self.node) {
                    return self.pass_over(refill).await;
                }
                if !self.loose.is_empty() && self.shared.gate.fault().is_some() {
                    // Each list that cannot be noted would only take room.
                    return Ok(RETRY_DELAY);
                }
                let list = self.copier.list(&entry, &[shard], &self.node).await?;
                let Some(list) = list else {
                    return Ok(RETRY_DELAY);
                };
                self.loose.push(list.clone());
                if let Some(copy) = refill.indexes.first_mut() {
                    copy.list = Some(list);
                    copy.offset = 0;
                }
                self.store(refill).await?;
                Ok(Duration::ZERO)
            }
            (Some(shard), Some(list)) => self.copy(refill, shard, &list).await,
        }
    }

    async fn recreate(&mut self, refill: Refill) -> Result<Duration, EngineError> {
        let Some(copy) = refill.indexes.first() else {
            return Ok(Duration::ZERO);
        };
        let Some(entry) = self.entry(&copy.index) else {
            return self.drop_index(refill).await;
        };
        let shards = entry.placement.shards_of(&self.node);
        if shards
            .iter()
            .any(|shard| self.source(&entry, *shard).is_none())
        {
            // What the node has may be all there is.
            return Ok(IDLE);
        }
        let node = self.node.clone();
        let again = refill.clone();
        match self.ask(Ask::Recreate { node, refill }).await? {
            Answer::Gone => self.drop_index(again).await,
            Answer::Done => Ok(Duration::ZERO),
            _ => Ok(RETRY_DELAY),
        }
    }

    /// The first shard was moved away from the node meanwhile.
    async fn pass_over(&mut self, mut refill: Refill) -> Result<Duration, EngineError> {
        let Some(copy) = refill.indexes.first_mut() else {
            return Ok(Duration::ZERO);
        };
        if !copy.shards.is_empty() {
            copy.shards.remove(0);
        }
        copy.offset = 0;
        let list = copy.list.take();
        self.store(refill).await?;
        self.remove(list).await;
        Ok(Duration::ZERO)
    }

    /// The index was removed, or moved away: nothing of it is to be copied.
    async fn drop_index(&mut self, mut refill: Refill) -> Result<Duration, EngineError> {
        if refill.indexes.is_empty() {
            return Ok(Duration::ZERO);
        }
        // An index in the making is not shown to readers yet, and one being removed still is.
        if let Some(copy) = refill.indexes.first() {
            let entry = self.entry(&copy.index);
            let is_there =
                |entry: &Arc<IndexEntry>| !entry.placement.shards_of(&self.node).is_empty();
            if self.shared.is_indexing(&copy.index) || entry.as_ref().is_some_and(is_there) {
                return Ok(WORK_DELAY);
            }
        }
        let copy = refill.indexes.remove(0);
        self.store(refill).await?;
        self.remove(copy.list).await;
        Ok(Duration::ZERO)
    }

    /// All documents of the index are copied once more, over those that are there.
    async fn restart(&mut self, mut refill: Refill) -> Result<(), EngineError> {
        let Some(copy) = refill.indexes.first_mut() else {
            return Ok(());
        };
        let list = copy.list.take();
        let left = copy.shards.len() as u64;
        if let Some(entry) = self.entry(&copy.index) {
            copy.shards = entry.placement.shards_of(&self.node).to_vec();
        }
        let done = (copy.shards.len() as u64).saturating_sub(left);
        refill.shards_done = refill.shards_done.saturating_sub(done);
        self.store(refill).await?;
        self.remove(list).await;
        Ok(())
    }

    /// How long to wait until the next piece is fair to those who search meanwhile, if not now.
    async fn hold(
        &mut self,
        entry: &IndexEntry,
        index: &PhysicalIndex,
    ) -> Result<Option<Duration>, EngineError> {
        let target = BTreeSet::from([self.node.clone()]);
        self.copier.hold(entry, index, &target).await
    }

    /// Copies the next piece of the first shard.
    async fn copy(
        &mut self,
        mut refill: Refill,
        shard: ShardId,
        list: &PayloadRef,
    ) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let Some(copy) = refill.indexes.first_mut() else {
            return Ok(Duration::ZERO);
        };
        match shared.copy.owed(&shared, &self.node, &copy.index).await {
            Some(owed) if owed > OWED_MAX => {
                let now = shared.ports.clock.monotonic();
                let since = *self.behind_since.get_or_insert(now);
                if now.saturating_sub(since) >= PATIENCE {
                    shared.copy.note_behind(&self.node, Some(&copy.index));
                }
                return Ok(WORK_DELAY);
            }
            Some(_) if self.behind_since.take().is_some() => {
                shared.copy.note_behind(&self.node, None);
            }
            Some(_) => {}
            None => return Err(EngineError::ShuttingDown),
        }
        if let Some(entry) = self.entry(&copy.index)
            && let Some(wait) = self.hold(&entry, &copy.index).await?
        {
            return Ok(wait);
        }
        let (ids, offset) = self.copier.next_ids(list, copy.offset).await?;
        copy.offset = offset;
        if ids.is_empty() {
            copy.pass();
            refill.shards_done += 1;
            self.store(refill).await?;
            self.remove(Some(list.clone())).await;
            return Ok(Duration::ZERO);
        }
        let index = copy.index.clone();
        let ask = Ask::Copy {
            node: self.node.clone(),
            index: index.clone(),
            shards: vec![shard],
            ids,
            note: CopyNote::Refill(refill.clone()),
        };
        match self.ask(ask).await? {
            Answer::Copied { documents, bytes } => Ok(self.copier.note(documents, bytes)),
            Answer::Gone => {
                let entry = self.entry(&index);
                match entry.filter(|entry| !entry.placement.is_on(shard, &self.node)) {
                    Some(_) => self.pass_over(refill).await,
                    None => self.drop_index(refill).await,
                }
            }
            Answer::Failed(cause) => {
                tracing::debug!(node = %self.node, cause, "a piece cannot be copied now");
                Ok(RETRY_DELAY)
            }
            _ => Ok(RETRY_DELAY),
        }
    }

    /// Compares what the node holds with the other replicas, and copies what differs; the index is
    /// done when nothing does.
    async fn verify(&mut self, mut refill: Refill) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let Some(IndexCopy { index, .. }) = refill.indexes.first().cloned() else {
            return Ok(Duration::ZERO);
        };
        match shared.copy.owed(&shared, &self.node, &index).await {
            Some(0) => {}
            Some(_) => return Ok(WORK_DELAY),
            None => return Err(EngineError::ShuttingDown),
        }
        let Some(entry) = self.entry(&index) else {
            return self.drop_index(refill).await;
        };
        // What it lacks since it failed a write is found below, but for vectors.
        let has_vectors = miroir_core::settings::has_embedders(&entry.record.settings);
        if self.shared.copy.take_spoilt(&self.node, &index) && has_vectors {
            tracing::warn!(node = %self.node, %index,
                "the node failed a write while it was copied to; its documents are copied again");
            return self.restart(refill).await.map(|()| RETRY_DELAY);
        }
        for shard in entry.placement.shards_of(&self.node) {
            let Some(reference) = self.source(&entry, *shard) else {
                return Ok(IDLE);
            };
            self.copier.pace.watch(entry.placement.nodes());
            let comparison = Comparison {
                shared: &shared,
                entry: &entry,
                shard: *shard,
                reference: &reference,
                nodes: std::slice::from_ref(&self.node),
                is_even: false,
                is_repairing: true,
            };
            let found = match comparison.run(&mut self.copier.pace).await {
                Ok(found) => found,
                Err(audit::Failure::Engine(error)) => return Err(error),
                Err(audit::Failure::Gone) => return self.drop_index(refill).await,
                Err(audit::Failure::NotNow(cause)) => {
                    tracing::debug!(node = %self.node, %index, cause, "a copy cannot be verified now");
                    return Ok(RETRY_DELAY);
                }
            };
            if !found.is_empty() {
                tracing::warn!(node = %self.node, %index, %shard, count = found.len(),
                    "documents differed after the copy and were copied again");
                return Ok(WORK_DELAY);
            }
        }
        if self.shared.copy.is_spoilt(&self.node, &index) {
            return Ok(RETRY_DELAY);
        }
        refill.indexes.remove(0);
        self.store(refill).await?;
        if self.shared.copy.is_spoilt(&self.node, &index) {
            // Between the look and the note. What the node failed then was let pass as part of a
            // copy, so the copy is not over.
            let mut copy = IndexCopy::new(index);
            copy.is_begun = true;
            if let Some(mut refill) = self.shared.copy.refill(&self.node) {
                refill.indexes.insert(0, copy);
                self.store(refill).await?;
            }
        }
        Ok(Duration::ZERO)
    }
}
