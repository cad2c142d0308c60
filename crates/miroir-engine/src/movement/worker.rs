//! Drives the movement: looks where it stands, waits for what must be, and asks the dispatcher for
//! the next step. It holds nothing of its own but the pace, and what it has compared.

use super::turn::Turn;
use super::{After, Group, Header, Step};
use crate::copy::audit::{Comparison, Failure};
use crate::copy::barrier::{Answer, Ask, CopyNote};
use crate::copy::copier::{Copier, OWED_MAX};
use crate::copy::read::Replica;
use crate::error::EngineError;
use crate::state::{IndexEntry, NodeView, Shared};
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::movement::MovementState;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// With nothing to do it looks again after this, if nothing wakes it before.
const IDLE: Duration = Duration::from_secs(1);
/// Before what did not go is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// While nodes work on what they were sent, or readers end.
const WORK_DELAY: Duration = Duration::from_millis(20);
/// A node is waited for so long to have taken in everything by itself. Where writes never cease it
/// never has: then the index is held back for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads by a placement that was replaced are waited for no longer than so many searches may take:
/// one is several rounds at most.
const SEARCHES_WAITED_FOR: u32 = 4;

/// Works until the engine shuts down.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut worker = Worker {
        copier: Copier::new(shared.clone()),
        shared: shared.clone(),
        compared: BTreeSet::new(),
        compared_of: (0, 0),
        waiting: None,
        level: None,
    };
    loop {
        let changed = shared.movement.changed.notified();
        let wait = match worker.step().await {
            Ok(wait) => wait,
            Err(EngineError::ShuttingDown) => return,
            Err(error) => {
                tracing::warn!(%error, "a movement cannot go on; trying again");
                shared
                    .movement
                    .wait_for("the store or a node", error.to_string());
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

struct Worker {
    shared: Arc<Shared>,
    copier: Copier,
    /// Replicas of the group at hand that were compared and agree.
    compared: BTreeSet<(ShardId, NodeId)>,
    /// The movement and the group that these are of.
    compared_of: (u64, u64),
    /// Where the group stood when a node was found to lag, and since when.
    waiting: Option<(Place, Duration)>,
    /// Where it stood when its targets had taken in all that was copied.
    level: Option<Place>,
}

/// A movement, a group, its revision.
type Place = (u64, u64, u64);

fn place(header: &Header, group: &Group) -> Place {
    (header.id, header.current, group.revision)
}

impl Worker {
    /// Does one thing; returns how long to wait before the next.
    async fn step(&mut self) -> Result<Duration, EngineError> {
        let Some((header, group)) = self.shared.movement.current() else {
            self.copier.pace.pause();
            self.sweep().await?;
            return Ok(IDLE);
        };
        if self.compared_of != (header.id, header.current) || group.step != Step::Copying {
            self.compared_of = (header.id, header.current);
            self.compared.clear();
        }
        let is_begun = matches!(group.step, Step::Leaving { .. } | Step::Dropping { .. });
        match header.state {
            MovementState::Cancelling if !is_begun => {
                let turn = Turn::Withdraw(header.current, group, After::Cancelled);
                return self.turn(turn).await;
            }
            MovementState::Paused if !is_begun => {
                self.copier.pace.pause();
                self.sweep().await?;
                return Ok(IDLE);
            }
            _ => {}
        }
        match group.step {
            Step::Waiting => self.announce(header, group).await,
            Step::Announced => self.join(header, group).await,
            Step::Copying => self.copy(header, group).await,
            Step::Leaving { .. } => self.drop_beside(header, group).await,
            Step::Dropping { then } => self.clear(header, group, then).await,
            Step::Ended { .. } => Ok(IDLE),
        }
    }

    /// Asks the dispatcher for a step; returns how long to wait before the next.
    async fn turn(&mut self, turn: Turn) -> Result<Duration, EngineError> {
        let index = turn.index().cloned();
        match self.copier.ask(Ask::Move(turn)).await? {
            Answer::Failed(cause) | Answer::Refused(cause) => {
                self.shared.movement.wait_for("a step", cause);
                Ok(RETRY_DELAY)
            }
            Answer::Busy => {
                let what = index.map_or_else(|| "the log".into(), |index| format!("index {index}"));
                let why = "it does not come to rest";
                self.shared.movement.wait_for(what, why);
                Ok(RETRY_DELAY)
            }
            Answer::Gone => Ok(WORK_DELAY),
            _ => Ok(Duration::ZERO),
        }
    }

    fn entry(&self, index: &PhysicalIndex) -> Option<Arc<IndexEntry>> {
        self.shared.shown(index)
    }

    fn is_readable(&self, node: &NodeId) -> bool {
        let snapshot = self.shared.snapshot.load();
        snapshot.nodes.get(node).is_some_and(NodeView::is_readable)
    }

    /// The first target that cannot be worked with now.
    fn missing_target(&self, group: &Group) -> Option<NodeId> {
        let targets = group.targets().into_iter().map(|(_, node)| node);
        let mut missing = targets.filter(|node| {
            !self.is_readable(node)
                || !self.shared.is_up(node)
                || self.shared.copy.is_refilling(node)
        });
        missing.next()
    }

    /// The first shard to be copied that no replica can be read of now.
    fn missing_source(&self, group: &Group, entry: &IndexEntry) -> Option<ShardId> {
        let targets = group.targets().into_iter();
        let mut missing =
            targets.filter(|(shard, node)| self.copier.source(entry, *shard, node).is_none());
        missing.next().map(|(shard, _)| shard)
    }

    /// What is in the way of a group that has targets, if anything is.
    fn is_blocked(&self, group: &Group) -> bool {
        let board = &self.shared.movement;
        if let Some(node) = self.missing_target(group) {
            board.wait_for(
                format!("node {node}"),
                "it does not answer or is not in sync",
            );
            return true;
        }
        let Some(entry) = self.entry(&group.index) else {
            return false;
        };
        if let Some(shard) = self.missing_source(group, &entry) {
            let what = format!("shard {shard} of {}", group.index);
            board.wait_for(what, "no replica of it answers and is in sync");
            return true;
        }
        false
    }

    /// How long to wait until the next piece of work is fair to those who search meanwhile, if not now.
    async fn hold(
        &mut self,
        group: &Group,
        entry: &IndexEntry,
    ) -> Result<Option<Duration>, EngineError> {
        let targets = group.targets().into_iter().map(|(_, node)| node).collect();
        let wait = self.copier.hold(entry, &group.index, &targets).await?;
        if wait.is_some() && self.copier.pace.is_resting() {
            self.shared.movement.wait_for(
                "searches",
                "too many of them were slow beside the copy (`copy_share`)",
            );
        }
        Ok(wait)
    }

    /// A node lags, and may yet be level by itself.
    fn is_patient(&mut self, place: Place) -> bool {
        let now = self.shared.ports.clock.monotonic();
        match self.waiting {
            Some((since_place, since)) if since_place == place => {
                now.saturating_sub(since) < PATIENCE
            }
            _ => {
                self.waiting = Some((place, now));
                true
            }
        }
    }

    /// Waits until the targets have taken in what was copied; `None` if they have.
    async fn settle(
        &mut self,
        header: &Header,
        group: &Group,
    ) -> Result<Option<Duration>, EngineError> {
        let place = place(header, group);
        if self.level == Some(place) {
            return Ok(None);
        }
        let shared = self.shared.clone();
        let mut behind = BTreeSet::new();
        for (_, node) in group.targets() {
            match shared.copy.owed(&shared, &node, &group.index).await {
                Some(0) => {}
                Some(_) => drop(behind.insert(node)),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        if let Some(node) = behind.first() {
            shared.movement.wait_for(
                format!("node {node}"),
                "it has not taken in what was copied",
            );
            if self.is_patient(place) {
                return Ok(Some(WORK_DELAY));
            }
            let nodes = behind.into_iter().collect();
            let turn = Turn::Settle(header.current, group.clone(), nodes);
            let wait = self.turn(turn).await?;
            if !wait.is_zero() {
                return Ok(Some(wait));
            }
        }
        self.level = Some(place);
        Ok(None)
    }

    fn have_readers_ended(&self) -> bool {
        let now = self.shared.ports.clock.monotonic();
        let limit = self.shared.config.search_timeout * SEARCHES_WAITED_FOR;
        self.shared.movement.have_readers_ended(now, limit)
    }

    async fn announce(&mut self, header: Header, group: Group) -> Result<Duration, EngineError> {
        if self.is_blocked(&group) {
            self.sweep().await?;
            return Ok(RETRY_DELAY);
        }
        let index = group.index.clone();
        let wait = self.turn(Turn::Announce(header.current, group)).await?;
        if !wait.is_zero() {
            // What an earlier move left there may be in the way.
            self.sweep_index(&index).await?;
        }
        Ok(wait)
    }

    async fn join(&mut self, header: Header, group: Group) -> Result<Duration, EngineError> {
        if !self.have_readers_ended() {
            return Ok(WORK_DELAY);
        }
        if self.is_blocked(&group) {
            return Ok(RETRY_DELAY);
        }
        self.turn(Turn::Join(header.current, group)).await
    }

    async fn copy(&mut self, header: Header, group: Group) -> Result<Duration, EngineError> {
        let Some(first) = group.copies.first() else {
            return self.verify(header, group).await;
        };
        let Some(entry) = self.entry(&group.index) else {
            // Gone: the dispatcher knows.
            let turn = Turn::Note(header.current, group.revised());
            return self.turn(turn).await.map(|_| WORK_DELAY);
        };
        if self.is_blocked(&group) {
            self.copier.pace.pause();
            return Ok(RETRY_DELAY);
        }
        if let Some(wait) = self.hold(&group, &entry).await? {
            return Ok(wait);
        }
        let node = first.node.clone();
        match (first.copy.shards.first().copied(), first.copy.list.clone()) {
            (None, _) => {
                let mut next = group.revised();
                next.copies.remove(0);
                self.turn(Turn::Note(header.current, next)).await
            }
            (Some(_), None) => {
                // Each piece waits for the index to come to rest: the fewer, the better.
                let shards = &first.copy.shards;
                let together = self.copier.companions(&entry, shards, &node);
                let Some(list) = self.copier.list(&entry, &together, &node).await? else {
                    return Ok(RETRY_DELAY);
                };
                let mut next = group.revised();
                if let Some(target) = next.copies.first_mut() {
                    target.copy.shards.retain(|shard| !together.contains(shard));
                    target.copy.together = together.len().saturating_sub(1);
                    target.copy.shards.splice(..0, together);
                    target.copy.list = Some(list.clone());
                    target.copy.offset = 0;
                }
                let wait = self.turn(Turn::Note(header.current, next)).await?;
                if !wait.is_zero() {
                    // It stands elsewhere.
                    self.copier.remove(Some(list)).await;
                }
                Ok(wait)
            }
            (Some(_), Some(list)) => {
                let current = first.copy.current();
                let together = self.copier.companions(&entry, current, &node);
                if together.len() == current.len() {
                    return self.copy_piece(header, group, &node, list).await;
                }
                // Whom they were listed from is away, and nobody else has them all.
                let mut next = group.revised();
                if let Some(target) = next.copies.first_mut() {
                    target.copy.begin_again();
                }
                let wait = self.turn(Turn::Note(header.current, next)).await?;
                if wait.is_zero() {
                    self.copier.remove(Some(list)).await;
                }
                Ok(wait)
            }
        }
    }

    async fn copy_piece(
        &mut self,
        header: Header,
        mut group: Group,
        node: &NodeId,
        list: crate::port::PayloadRef,
    ) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        match shared.copy.owed(&shared, node, &group.index).await {
            Some(owed) if owed > OWED_MAX => {
                let what = format!("node {node}");
                shared
                    .movement
                    .wait_for(what, "it has not taken in what was copied before");
                if self.is_patient(place(&header, &group)) {
                    return Ok(WORK_DELAY);
                }
                // Writes come faster than it works: they wait until it is level.
                let turn = Turn::Settle(header.current, group.clone(), vec![node.clone()]);
                let wait = self.turn(turn).await?;
                if !wait.is_zero() {
                    return Ok(wait);
                }
            }
            Some(_) => {}
            None => return Err(EngineError::ShuttingDown),
        }
        let Some(target) = group.copies.first_mut() else {
            return Ok(Duration::ZERO);
        };
        let (ids, offset) = self.copier.next_ids(&list, target.copy.offset).await?;
        target.copy.offset = offset;
        if ids.is_empty() {
            let mut next = group.revised();
            if let Some(target) = next.copies.first_mut() {
                target.copy.pass();
            }
            let wait = self.turn(Turn::Note(header.current, next)).await?;
            if wait.is_zero() {
                self.copier.remove(Some(list)).await;
            }
            return Ok(wait);
        }
        let index = group.index.clone();
        let shards = target.copy.current().to_vec();
        let named: Vec<String> = shards.iter().map(ToString::to_string).collect();
        let ask = Ask::Copy {
            node: node.clone(),
            index: index.clone(),
            shards,
            ids,
            note: CopyNote::Move {
                number: header.current,
                group,
            },
        };
        match self.copier.ask(ask).await? {
            Answer::Copied { documents, bytes } => Ok(self.copier.note(documents, bytes)),
            Answer::Failed(cause) => {
                let what = format!("shard {} of {index}", named.join(", "));
                shared.movement.wait_for(what, cause);
                Ok(RETRY_DELAY)
            }
            Answer::Busy => {
                let what = format!("index {index}");
                shared.movement.wait_for(what, "it does not come to rest");
                Ok(RETRY_DELAY)
            }
            // The group stands elsewhere, or the index is gone: looked at anew.
            _ => Ok(WORK_DELAY),
        }
    }

    /// Compares what the targets hold with their replicas, copies what differs, and switches when
    /// nothing does.
    async fn verify(&mut self, header: Header, group: Group) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        let Some(entry) = self.entry(&group.index) else {
            let turn = Turn::Note(header.current, group.revised());
            return self.turn(turn).await.map(|_| WORK_DELAY);
        };
        if self.is_blocked(&group) {
            self.copier.pace.pause();
            return Ok(RETRY_DELAY);
        }
        if let Some(wait) = self.settle(&header, &group).await? {
            return Ok(wait);
        }
        let has_vectors = miroir_core::settings::has_embedders(&entry.record.settings);
        for (shard, node) in group.targets() {
            if shared.copy.is_join_spoilt(&node, &group.index) {
                // What it lacks is found by a comparison, but for vectors, and for settings.
                let Some(is_alike) = self.has_same_settings(&entry, shard, &node).await else {
                    return Ok(RETRY_DELAY);
                };
                if has_vectors || !is_alike {
                    tracing::warn!(%node, index = %group.index,
                        "a write did not come to a joining replica; it is copied again");
                    let turn = Turn::Withdraw(header.current, group, After::Again);
                    return self.turn(turn).await;
                }
                if let Some(change) = shared.copy.settle_spoilt(&node, &group.index) {
                    shared.ports.store.commit(vec![change]).await?;
                }
                self.compared.retain(|(_, compared)| *compared != node);
                self.level = None;
                return Ok(Duration::ZERO);
            }
            if self.compared.contains(&(shard, node.clone())) {
                continue;
            }
            if let Some(wait) = self.hold(&group, &entry).await? {
                return Ok(wait);
            }
            if let Some(wait) = self.compare(&entry, shard, &node).await? {
                // What differed is on its way.
                self.level = None;
                return Ok(wait);
            }
            self.compared.insert((shard, node));
            if !self.shared.movement.is_at(header.current, group.revision) {
                return Ok(Duration::ZERO);
            }
        }
        self.shared.step("move.verified").await;
        self.turn(Turn::Switch(header.current, group)).await
    }

    /// Whether the node has the settings that a replica of the shard has; `None` if that cannot be
    /// told now.
    async fn has_same_settings(
        &self,
        entry: &IndexEntry,
        shard: ShardId,
        node: &NodeId,
    ) -> Option<bool> {
        let reference = self.copier.source(entry, shard, node)?;
        let read = async |node: &NodeId| {
            let replica = Replica {
                shared: &self.shared,
                node,
                entry,
            };
            replica.settings().await.ok()
        };
        let expected = read(&reference).await?;
        Some(read(node).await? == expected)
    }

    /// `None` if the replica is like the others; otherwise how long to wait before the next look.
    async fn compare(
        &mut self,
        entry: &IndexEntry,
        shard: ShardId,
        node: &NodeId,
    ) -> Result<Option<Duration>, EngineError> {
        let Some(reference) = self.copier.source(entry, shard, node) else {
            return Ok(Some(RETRY_DELAY));
        };
        let comparison = Comparison {
            shared: &self.shared,
            entry,
            shard,
            reference: &reference,
            nodes: std::slice::from_ref(node),
            is_even: false,
            is_repairing: true,
        };
        match comparison.run(&mut self.copier.pace).await {
            Ok(found) if found.is_empty() => Ok(None),
            Ok(found) => {
                tracing::info!(%node, index = %entry.record.physical, %shard, count = found.len(),
                    "documents differed after the copy and are copied again");
                Ok(Some(WORK_DELAY))
            }
            Err(Failure::Engine(error)) => Err(error),
            Err(Failure::Gone) => Ok(Some(WORK_DELAY)),
            Err(Failure::NotNow(cause)) => {
                let what = format!("shard {shard} of {}", entry.record.physical);
                self.shared.movement.wait_for(what, cause);
                Ok(Some(RETRY_DELAY))
            }
        }
    }

    async fn drop_beside(&mut self, header: Header, group: Group) -> Result<Duration, EngineError> {
        if !self.have_readers_ended() {
            return Ok(WORK_DELAY);
        }
        if let Some(entry) = self.entry(&group.index)
            && let Some(wait) = self.hold(&group, &entry).await?
        {
            return Ok(wait);
        }
        self.turn(Turn::Drop(header.current, group)).await
    }

    async fn clear(
        &mut self,
        header: Header,
        group: Group,
        then: After,
    ) -> Result<Duration, EngineError> {
        let shared = self.shared.clone();
        for (_, node) in group.leaving(then) {
            // What is away removes it when it is back; the placement remembers it until then.
            let is_away = !self.is_readable(&node) || !shared.is_up(&node);
            if is_away && then != After::Again {
                continue;
            }
            let is_awaiting = shared.copy.is_awaiting(&node, &group.index);
            let is_owed = shared.copy.is_clearing_owed(&shared, &node, &group.index);
            if is_owed.await.ok_or(EngineError::ShuttingDown)? || is_awaiting {
                let what = format!("node {node}");
                let why = "it has not removed what is no longer its own";
                shared.movement.wait_for(what, why);
                return Ok(match is_away {
                    true => RETRY_DELAY,
                    false => WORK_DELAY,
                });
            }
        }
        self.turn(Turn::Clear(header.current, group)).await
    }

    /// Forgets what lies beside nowhere any more.
    async fn sweep(&mut self) -> Result<(), EngineError> {
        let snapshot = self.shared.snapshot.load_full();
        for entry in snapshot.indexes.values() {
            if entry.placement.transit().beside().next().is_some() {
                self.sweep_index(&entry.record.physical).await?;
            }
        }
        Ok(())
    }

    async fn sweep_index(&mut self, index: &PhysicalIndex) -> Result<(), EngineError> {
        let ask = Ask::Move(Turn::Sweep(index.clone()));
        self.copier.ask(ask).await.map(drop)
    }
}
