//! The dispatcher's part in movements: it alone knows the order of batches, so it alone says from
//! which batch on a node is written to, and when it may be read.

use super::{
    After, Group, GroupMove, Header, Step, TargetCopy, group_change, groups_of, header_change,
};
use crate::completer::Event;
use crate::copy::IndexCopy;
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::Placing;
use crate::plan::Work;
use crate::port::{Change, IndexRecord, NodeSettingsVersion, PayloadRef};
use crate::state::{IndexEntry, NodeSpec, NodeView};
use miroir_core::health::NodeHealth;
use miroir_core::id::{Epoch, NodeId, PhysicalIndex, ShardId};
use miroir_core::placement::Transit;
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::MovementState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What is asked of the dispatcher. Those with a number and a revision speak of the current group as
/// it was then.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Begin a movement.
    Start(Vec<ShardMove>),
    /// Let it stand still, go on, or be taken back.
    Steer(MovementState),
    /// Readers are to know of the targets.
    Announce(u64, Group),
    /// The targets are to be written to.
    Join(u64, Group),
    /// The group stands as given; nothing of the order changes.
    Note(u64, Group),
    /// Readers are to use the targets.
    Switch(u64, Group),
    /// What was copied is to be removed.
    Withdraw(u64, Group, After),
    /// What lies beside is to be removed.
    Drop(u64, Group),
    /// The index is at rest, and these nodes have all of it.
    Settle(u64, Group, Vec<NodeId>),
    /// What was removed is to be forgotten. If nodes are named, not before the index is at rest and
    /// they have all of it.
    Clear(u64, Group, Vec<NodeId>),
    /// What lies beside and is no group's any more is to be forgotten, once it is removed.
    Sweep(PhysicalIndex),
    /// Take nodes into the cluster.
    Admit(Vec<NodeSpec>),
    /// Change what is said of nodes.
    Update(Vec<NodeSpec>),
    /// Take nodes out of the cluster.
    Retire(Vec<NodeId>),
    /// These nodes get no shards of new indexes.
    Close(BTreeSet<NodeId>),
    /// These shards of an index, which only lost nodes held, begin anew on others.
    BeginAnew {
        index: PhysicalIndex,
        sets: BTreeMap<ShardId, Vec<NodeId>>,
        given_up: Arc<BTreeSet<NodeId>>,
    },
    /// Remove from a node what no placement puts there: these shards of an index, or all of it.
    DropOrphan {
        node: NodeId,
        index: PhysicalIndex,
        shards: Option<Vec<ShardId>>,
    },
}

impl Turn {
    /// The index that must be at rest.
    pub(crate) fn index(&self) -> Option<&PhysicalIndex> {
        match self {
            Self::Join(_, group) | Self::Switch(_, group) | Self::Settle(_, group, _) => {
                Some(&group.index)
            }
            Self::Clear(_, group, awaited) if !awaited.is_empty() => Some(&group.index),
            Self::BeginAnew { index, .. } => Some(index),
            _ => None,
        }
    }
}

/// A placement about to replace the one there is, and what goes with it.
pub(crate) struct Replacement {
    index: PhysicalIndex,
    pub(super) placing: Placing,
    pub(super) record: IndexRecord,
    group: Option<(u64, Group)>,
}

impl Replacement {
    /// What stores it.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = self.placing.changes(&self.index).to_vec();
        changes.push(Change::PutIndex(Box::new(self.record.clone())));
        let group = self.group.as_ref();
        changes.extend(group.map(|(number, group)| group_change(*number, group)));
        changes
    }
}

pub(super) fn failed(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Failed(cause.into())))
}

impl Dispatcher {
    /// Takes one step of a movement.
    pub(crate) async fn turn_movement(&mut self, turn: &Turn) -> Served {
        match turn {
            Turn::Start(moves) => self.start_movement(moves).await,
            Turn::Steer(state) => self.steer(*state).await,
            Turn::Admit(specs) => self.admit(specs).await,
            Turn::Update(specs) => self.update_nodes(specs).await,
            Turn::Retire(nodes) => self.retire(nodes).await,
            Turn::Close(nodes) => self.close(nodes).await,
            Turn::Sweep(index) => self.sweep_beside(index).await,
            Turn::BeginAnew {
                index,
                sets,
                given_up,
            } => self.begin_anew(index, sets, given_up).await,
            Turn::DropOrphan {
                node,
                index,
                shards,
            } => self.drop_orphan(node, index, shards.as_deref()).await,
            Turn::Announce(number, group)
            | Turn::Join(number, group)
            | Turn::Note(number, group)
            | Turn::Switch(number, group)
            | Turn::Withdraw(number, group, _)
            | Turn::Drop(number, group)
            | Turn::Settle(number, group, _)
            | Turn::Clear(number, group, _) => {
                let known = group.revision - u64::from(matches!(turn, Turn::Note(..)));
                if !self.shared.movement.is_at(*number, known) {
                    return Ok(Some(Answer::Gone));
                }
                if self.planned(&group.index).is_none() {
                    return self.end(*number, group, true, Vec::new()).await;
                }
                match turn {
                    Turn::Announce(..) => self.announce(*number, group).await,
                    Turn::Join(..) => self.join(*number, group).await,
                    Turn::Switch(..) => self.switch(*number, group).await,
                    Turn::Withdraw(_, _, then) => self.withdraw(*number, group, *then).await,
                    Turn::Drop(..) => self.drop_beside(*number, group).await,
                    Turn::Settle(_, _, nodes) => {
                        let is_level = self.are_level(&group.index, nodes).await?;
                        Ok(is_level.then_some(Answer::Done))
                    }
                    Turn::Clear(_, _, awaited) => {
                        if !awaited.is_empty() && !self.are_level(&group.index, awaited).await? {
                            return Ok(None);
                        }
                        self.clear(*number, group).await
                    }
                    _ => self.note(*number, group.clone()).await,
                }
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // The movement as a whole

    async fn start_movement(&mut self, moves: &[ShardMove]) -> Served {
        if let Some(header) = self.shared.movement.header()
            && !header.state.is_final()
        {
            let text = format!("movement {} is under way", header.id);
            return Ok(Some(Answer::Refused(text)));
        }
        if let Some(reshard) = self.shared.reshards.copying()
            && !moves.is_empty()
        {
            let text = format!(
                "index {} is being re-sharded: wait for its end, or cancel it",
                reshard.index_uid
            );
            return Ok(Some(Answer::Refused(text)));
        }
        if let Err(text) = self.check_moves(moves) {
            return Ok(Some(Answer::Refused(text)));
        }
        let before = self.shared.movement.header();
        let groups = groups_of(moves);
        let header = Header {
            id: before.map_or(1, |header| header.id + 1),
            state: match groups.is_empty() {
                true => MovementState::Done,
                false => MovementState::Running,
            },
            groups: groups.len() as u64,
            current: 0,
        };
        let mut changes = vec![header_change(&header)];
        let stored = (0..).zip(&groups);
        changes.extend(stored.map(|(number, group)| group_change(number, group)));
        self.commit(&changes).await?;
        self.shared.step("move.started").await;
        tracing::info!(id = header.id, moves = moves.len(), "shards begin to move");
        let id = header.id;
        self.shared.movement.begin(header, groups);
        Ok(Some(Answer::Started(id)))
    }

    /// What is wrong with a list of moves, now.
    fn check_moves(&self, moves: &[ShardMove]) -> Result<(), String> {
        let snapshot = self.shared.snapshot.load();
        let mut named = BTreeSet::new();
        for ShardMove {
            index,
            shard,
            from,
            to,
        } in moves
        {
            let name = format!("shard {shard} of {index}");
            if !named.insert((index, shard)) {
                return Err(format!("{name} is named twice"));
            }
            let Some(planned) = self.planned(index) else {
                return Err(format!("index {index} does not exist"));
            };
            let Some(set) = planned.placing.replica_sets.get(shard.0 as usize) else {
                return Err(format!("{name} does not exist"));
            };
            if set != from {
                let listed: Vec<&str> = set.iter().map(NodeId::as_str).collect();
                let listed = listed.join(", ");
                return Err(format!(
                    "{name} is no longer where the plan found it: {listed}"
                ));
            }
            if to.is_empty() {
                return Err(format!("{name} would be nowhere"));
            }
            if to.iter().collect::<BTreeSet<_>>().len() != to.len() {
                return Err(format!("{name} would be on a node twice"));
            }
            let unknown = to.iter().find(|node| !snapshot.nodes.contains_key(*node));
            if let Some(node) = unknown {
                return Err(format!("{name} would go to {node}, which is no node"));
            }
        }
        Ok(())
    }

    async fn steer(&mut self, state: MovementState) -> Served {
        let Some(mut header) = self.shared.movement.header() else {
            return Ok(Some(Answer::Refused("no movement is under way".into())));
        };
        let is_allowed = match state {
            MovementState::Paused => header.state == MovementState::Running,
            MovementState::Running => header.state == MovementState::Paused,
            MovementState::Cancelling => {
                matches!(header.state, MovementState::Running | MovementState::Paused)
            }
            MovementState::Done | MovementState::Cancelled => false,
        };
        if header.state == state {
            return Ok(Some(Answer::Done));
        }
        if !is_allowed {
            let text = format!("movement {} is {}", header.id, header.state.as_str());
            return Ok(Some(Answer::Refused(text)));
        }
        header.state = state;
        self.commit(&[header_change(&header)]).await?;
        self.shared.step("move.steered").await;
        self.shared.movement.put_header(header);
        Ok(Some(Answer::Done))
    }

    /// The group is over, and the next has its turn.
    async fn end(
        &mut self,
        number: u64,
        group: &Group,
        is_cancelled: bool,
        mut changes: Vec<Change>,
    ) -> Served {
        let Some(mut header) = self.shared.movement.header() else {
            return Ok(Some(Answer::Gone));
        };
        let lists = group.lists();
        let group = group.at(Step::Ended { is_cancelled });
        header.current = number + 1;
        let is_last = header.current >= header.groups;
        header.state = match header.state {
            MovementState::Cancelling => MovementState::Cancelled,
            _ if is_last => MovementState::Done,
            state => state,
        };
        changes.push(group_change(number, &group));
        changes.push(header_change(&header));
        self.commit(&changes).await?;
        self.shared.step("move.ended").await;
        if header.state.is_final() {
            tracing::info!(
                id = header.id,
                state = header.state.as_str(),
                "shards move no more"
            );
        }
        self.shared.movement.put(number, group);
        self.shared.movement.put_header(header);
        self.shared.discard(&lists).await;
        Ok(Some(Answer::Done))
    }

    async fn note(&mut self, number: u64, group: Group) -> Served {
        self.commit(&[group_change(number, &group)]).await?;
        self.shared.step("move.noted").await;
        self.shared.movement.put(number, group);
        Ok(Some(Answer::Done))
    }

    // -----------------------------------------------------------------------------------------
    // Placements

    /// The oldest epoch of an index of which a batch is owed to any node.
    pub(crate) async fn oldest_epoch(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<Epoch>, EngineError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.events.send(Event::OldestEpoch {
            index: index.clone(),
            reply,
        });
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Err(EngineError::ShuttingDown),
            oldest = answer => oldest.map_err(|_| EngineError::ShuttingDown),
        }
    }

    /// The next epoch of an index; `None` if the index is gone.
    pub(super) async fn replace(
        &mut self,
        index: &PhysicalIndex,
        changed: &BTreeMap<ShardId, Vec<NodeId>>,
        transit: Transit,
        group: Option<(u64, Group)>,
    ) -> Result<Option<Replacement>, EngineError> {
        let oldest = self.oldest_epoch(index).await?;
        let Some(planned) = self.planned(index) else {
            return Ok(None);
        };
        // With no batch open, all that was before is forgotten.
        let oldest = oldest.unwrap_or(Epoch(planned.placing.epoch.0 + 1));
        let placing = planned.placing.next(changed, transit, oldest);
        let mut record = planned.record.clone();
        record.epoch = placing.epoch;
        let mut sizes = placing.replica_sets.iter().map(Vec::len);
        let first = sizes.next().unwrap_or(0);
        if !changed.is_empty() && sizes.all(|size| size == first) {
            record.replication_factor = u32::try_from(first).unwrap_or(u32::MAX);
        }
        Ok(Some(Replacement {
            index: index.clone(),
            placing,
            record,
            group,
        }))
    }

    /// What was stored holds from the next batch on, and for every read that begins now.
    pub(crate) fn adopt(&mut self, replacement: Replacement) {
        let Replacement {
            index,
            placing,
            record,
            group,
        } = replacement;
        let mut indexes = self.preparer.indexes.values_mut();
        if let Some(planned) = indexes.find(|planned| planned.record.physical == index) {
            planned.placing = placing.clone();
            planned.record.epoch = record.epoch;
            planned.record.replication_factor = record.replication_factor;
        }
        let shared = &self.shared;
        let mut readers = None;
        shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(entry) = indexes.find(|entry| entry.record.physical == index) {
                readers = Some(entry.readers());
                let shown = IndexRecord {
                    epoch: record.epoch,
                    replication_factor: record.replication_factor,
                    ..entry.record.clone()
                };
                let sets = placing.replica_sets.clone();
                let twin = entry.twin.clone();
                *entry = Arc::new(IndexEntry::new(shown, sets, &placing.transit).with_twin(twin));
            }
        });
        if let Some(readers) = readers {
            let now = shared.ports.clock.monotonic();
            shared.movement.note_readers(now, readers);
        }
        if let Some((number, group)) = group {
            shared.movement.put(number, group);
        }
    }

    pub(super) fn transit(&self, index: &PhysicalIndex) -> Transit {
        let planned = self.planned(index);
        planned.map_or_else(Transit::default, |planned| {
            (*planned.placing.transit).clone()
        })
    }

    // -----------------------------------------------------------------------------------------
    // Steps of a group

    async fn announce(&mut self, number: u64, group: &Group) -> Served {
        if self.shared.shown(&group.index).is_none() {
            return failed("the index is being made or removed");
        }
        let Some(planned) = self.planned(&group.index) else {
            return Ok(Some(Answer::Gone));
        };
        let is_there = |one: &GroupMove| {
            let set = planned.placing.replica_sets.get(one.shard.0 as usize);
            set == Some(&one.from)
        };
        if !group.moves.iter().all(is_there) {
            tracing::error!(index = %group.index, "shards are not where a move found them; it is left out");
            return self.end(number, group, true, Vec::new()).await;
        }
        let targets = group.targets();
        if targets.is_empty() {
            return self.note(number, group.at(Step::Copying)).await;
        }
        let mut transit = self.transit(&group.index);
        for (shard, node) in &targets {
            if transit.is_beside(*shard, node) {
                return failed(format!(
                    "{node} has not removed what it held of shard {shard}"
                ));
            }
            transit.put_beside(*shard, node);
        }
        let next = (number, group.at(Step::Announced));
        let none = BTreeMap::new();
        let Some(replacement) = self
            .replace(&group.index, &none, transit, Some(next))
            .await?
        else {
            return Ok(Some(Answer::Gone));
        };
        self.commit(&replacement.changes()).await?;
        self.shared.step("move.announced").await;
        self.adopt(replacement);
        Ok(Some(Answer::Done))
    }

    async fn join(&mut self, number: u64, group: &Group) -> Served {
        if self.shared.is_indexing(&group.index) {
            return Ok(None);
        }
        self.preparer.settle(&group.index);
        let Some(entry) = self.rested_entry(&group.index) else {
            return Ok(Some(Answer::Gone));
        };
        let targets = group.targets();
        let mut by_node: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        let mut transit = self.transit(&group.index);
        for (shard, node) in &targets {
            if !self.is_fit(node) {
                return failed(format!("{node} is not in sync"));
            }
            transit.put_joining(*shard, node);
            by_node.entry(node.clone()).or_default().push(*shard);
        }
        let mut pieces = Vec::new();
        for (node, shards) in &by_node {
            let old = entry.placement.transit();
            let has_index = !entry.placement.shards_of(node).is_empty()
                || old.joining_at(node).next().is_some();
            if has_index {
                continue;
            }
            let source = shards
                .first()
                .and_then(|shard| self.sources(&entry, *shard, node).into_iter().next());
            let Some(source) = source else {
                return failed("no replica is in sync and answers");
            };
            let work = match self.recreation(&entry, &source).await {
                Ok(work) => work,
                Err(cause) => return failed(cause),
            };
            pieces.push(Piece::new(node, shards.iter().copied(), work));
        }
        let mut next = group.at(Step::Copying);
        next.copies = by_node
            .into_iter()
            .map(|(node, shards)| {
                let mut copy = IndexCopy::new(group.index.clone());
                copy.is_begun = true;
                copy.shards = shards;
                TargetCopy { node, copy }
            })
            .collect();
        let settled: Vec<Change> = next
            .copies
            .iter()
            .filter_map(|copy| self.shared.copy.settle_spoilt(&copy.node, &group.index))
            .collect();
        let next = Some((number, next));
        let none = BTreeMap::new();
        let Some(replacement) = self.replace(&group.index, &none, transit, next).await? else {
            return Ok(Some(Answer::Gone));
        };
        let Placing {
            replica_sets,
            transit,
            ..
        } = &replacement.placing;
        let entry = IndexEntry::new(replacement.record.clone(), replica_sets.clone(), transit);
        let mut changes = replacement.changes();
        changes.extend(settled);
        self.open_copies(&entry, pieces, changes).await?;
        self.shared.step("move.joined").await;
        self.adopt(replacement);
        Ok(Some(Answer::Done))
    }

    /// The node is there and has all it should have.
    pub(crate) fn is_fit(&self, node: &NodeId) -> bool {
        let snapshot = self.shared.snapshot.load();
        let view = snapshot.nodes.get(node);
        view.is_some_and(|view| view.is_readable() && view.health == NodeHealth::Up)
            && !self.shared.copy.is_refilling(node)
    }

    async fn switch(&mut self, number: u64, group: &Group) -> Served {
        let shared = self.shared.clone();
        if shared.is_indexing(&group.index) {
            return Ok(None);
        }
        let targets: BTreeSet<NodeId> = group.targets().into_iter().map(|(_, n)| n).collect();
        if let Some(cause) = self.claim(group, &targets) {
            return failed(cause);
        }
        let served = self.switch_claimed(number, group, targets).await;
        shared.movement.coming.lock().replacing.clear();
        served
    }

    /// Sees to it that a node in sync stays in each replica set to come; tells what is in the way, if
    /// anything is.
    fn claim(&self, group: &Group, targets: &BTreeSet<NodeId>) -> Option<String> {
        let mut coming = self.shared.movement.coming.lock();
        if let Some(node) = targets.iter().find(|node| !self.is_fit(node)) {
            return Some(format!("{node} is not in sync"));
        }
        let lonely = |one: &&GroupMove| !one.to.iter().any(|node| self.is_fit(node));
        if let Some(one) = group.moves.iter().find(lonely) {
            return Some(format!(
                "no replica of shard {} would be in sync",
                one.shard
            ));
        }
        coming.replacing = group.moves.iter().map(|one| one.to.clone()).collect();
        None
    }

    async fn switch_claimed(
        &mut self,
        number: u64,
        group: &Group,
        targets: BTreeSet<NodeId>,
    ) -> Served {
        let shared = self.shared.clone();
        for node in &targets {
            match shared.copy.owed(&shared, node, &group.index).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
            if shared.copy.is_join_spoilt(node, &group.index) {
                return Ok(Some(Answer::Busy));
            }
        }
        let mut transit = self.transit(&group.index);
        let mut changed = BTreeMap::new();
        for one in &group.moves {
            for node in one.targets() {
                transit.forget(one.shard, node);
            }
            for node in one.leavers() {
                transit.put_beside(one.shard, node);
            }
            changed.insert(one.shard, one.to.clone());
        }
        let next = group.at(Step::Leaving { then: After::Done });
        let next = Some((number, next));
        let Some(replacement) = self.replace(&group.index, &changed, transit, next).await? else {
            return Ok(Some(Answer::Gone));
        };
        let mut changes = replacement.changes();
        if let Some(planned) = self.planned(&group.index)
            && let Some(version) = planned.record.settings_version
            && planned.patches.is_empty()
        {
            let updated_at = shared.ports.clock.now();
            changes.extend(targets.into_iter().map(|node| {
                Change::PutNodeSettingsVersion(NodeSettingsVersion {
                    index: group.index.clone(),
                    node,
                    version,
                    updated_at,
                })
            }));
        }
        self.commit(&changes).await?;
        shared.step("move.switched").await;
        self.adopt(replacement);
        Ok(Some(Answer::Done))
    }

    async fn withdraw(&mut self, number: u64, group: &Group, then: After) -> Served {
        let lists = group.lists();
        match group.step {
            Step::Waiting => return self.end(number, group, true, Vec::new()).await,
            Step::Announced | Step::Copying => {}
            Step::Leaving { .. } | Step::Dropping { .. } | Step::Ended { .. } => {
                return Ok(Some(Answer::Gone));
            }
        }
        let Some(replacement) = self.withdrawal(number, group, then).await? else {
            return Ok(Some(Answer::Gone));
        };
        self.commit(&replacement.changes()).await?;
        self.shared.step("move.withdrawn").await;
        self.adopt(replacement);
        self.shared.discard(&lists).await;
        Ok(Some(Answer::Done))
    }

    async fn withdrawal(
        &mut self,
        number: u64,
        group: &Group,
        then: After,
    ) -> Result<Option<Replacement>, EngineError> {
        let mut transit = self.transit(&group.index);
        for (shard, node) in group.targets() {
            transit.put_beside(shard, &node);
        }
        let next = Some((number, group.at(Step::Leaving { then })));
        self.replace(&group.index, &BTreeMap::new(), transit, next)
            .await
    }

    /// A node is made anew: what a move copied to it is void. `None` if none does. With the lists that
    /// nothing names once this is stored.
    pub(crate) async fn plan_withdrawal_of(
        &mut self,
        node: &NodeId,
    ) -> Result<Option<(Replacement, Vec<PayloadRef>)>, EngineError> {
        let Some((header, group)) = self.shared.movement.current() else {
            return Ok(None);
        };
        let is_target = group.targets().iter().any(|(_, target)| target == node);
        if !is_target || !matches!(group.step, Step::Announced | Step::Copying) {
            return Ok(None);
        }
        let withdrawal = self
            .withdrawal(header.current, &group, After::Again)
            .await?;
        Ok(withdrawal.map(|withdrawal| (withdrawal, group.lists())))
    }

    async fn drop_beside(&mut self, number: u64, group: &Group) -> Served {
        let Step::Leaving { then } = group.step else {
            return Ok(Some(Answer::Gone));
        };
        let Some(entry) = self.rested_entry(&group.index) else {
            return Ok(Some(Answer::Gone));
        };
        let mut by_node: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
        for (shard, node) in group.leaving(then) {
            by_node.entry(node).or_default().push(shard);
        }
        let snapshot = self.shared.snapshot.load_full();
        let mut pieces = Vec::new();
        for (node, shards) in by_node {
            if !snapshot.nodes.contains_key(&node) {
                continue;
            }
            let transit = entry.placement.transit();
            let is_needed = !entry.placement.shards_of(&node).is_empty()
                || transit.joining_at(&node).next().is_some();
            if is_needed && self.shared.copy.is_awaiting(&node, &group.index) {
                // The index is made anew there, without them.
                continue;
            }
            let work = match is_needed {
                true => Work::DropShards {
                    dropped: shards.clone(),
                },
                false => Work::DropIndex,
            };
            pieces.push(Piece::new(&node, shards, work));
        }
        let next = group.at(Step::Dropping { then });
        let changes = vec![group_change(number, &next)];
        self.open_copies(&entry, pieces, changes).await?;
        self.shared.step("move.dropped").await;
        self.shared.movement.put(number, next);
        Ok(Some(Answer::Done))
    }

    /// What of these lies beside and is gone from its node, as far as it is known.
    async fn removed(
        &self,
        index: &PhysicalIndex,
        beside: Vec<(ShardId, NodeId)>,
    ) -> Result<Vec<(ShardId, NodeId)>, EngineError> {
        let shared = &self.shared;
        let mut settled: BTreeMap<NodeId, bool> = BTreeMap::new();
        for node in beside.iter().map(|(_, node)| node) {
            if settled.contains_key(node) {
                continue;
            }
            let is_gone = !shared.snapshot.load().nodes.contains_key(node);
            let is_settled = is_gone
                || !shared.copy.is_awaiting(node, index)
                    && match shared.copy.owed(shared, node, index).await {
                        Some(owed) => owed == 0,
                        None => return Err(EngineError::ShuttingDown),
                    };
            settled.insert(node.clone(), is_settled);
        }
        let is_removed = |(_, node): &(ShardId, NodeId)| settled.get(node) == Some(&true);
        Ok(beside.into_iter().filter(is_removed).collect())
    }

    /// Nothing of the index is in flight, and these nodes have all of it.
    async fn are_level(
        &self,
        index: &PhysicalIndex,
        nodes: &[NodeId],
    ) -> Result<bool, EngineError> {
        let shared = &self.shared;
        if shared.is_indexing(index) {
            return Ok(false);
        }
        for node in nodes {
            match shared.copy.owed(shared, node, index).await {
                Some(0) => {}
                Some(_) => return Ok(false),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        Ok(true)
    }

    async fn clear(&mut self, number: u64, group: &Group) -> Served {
        let Step::Dropping { then } = group.step else {
            return Ok(Some(Answer::Gone));
        };
        let beside = group.leaving(then);
        let count = beside.len();
        let removed = self.removed(&group.index, beside).await?;
        let is_all = removed.len() == count;
        if !is_all && then == After::Again {
            return failed("what was copied is not removed yet");
        }
        let mut transit = self.transit(&group.index);
        for (shard, node) in &removed {
            transit.forget(*shard, node);
        }
        let none = BTreeMap::new();
        let next = match then {
            After::Again => Some((number, group.at(Step::Waiting))),
            After::Done | After::Cancelled => None,
        };
        let is_again = next.is_some();
        let Some(replacement) = self.replace(&group.index, &none, transit, next).await? else {
            return Ok(Some(Answer::Gone));
        };
        if is_again {
            self.commit(&replacement.changes()).await?;
            self.shared.step("move.cleared").await;
            self.adopt(replacement);
            return Ok(Some(Answer::Done));
        }
        let changes = replacement.changes();
        let answer = self
            .end(number, group, then == After::Cancelled, changes)
            .await?;
        self.adopt(replacement);
        Ok(answer)
    }

    async fn sweep_beside(&mut self, index: &PhysicalIndex) -> Served {
        let Some(planned) = self.planned(index) else {
            return Ok(Some(Answer::Gone));
        };
        let owned: BTreeSet<(ShardId, NodeId)> = match self.shared.movement.current() {
            Some((_, group)) if group.index == *index => group.own().into_iter().collect(),
            _ => BTreeSet::new(),
        };
        let mut beside = Vec::new();
        for (node, shards) in planned.placing.transit.beside() {
            let all = shards.iter().map(|shard| (*shard, node.clone()));
            beside.extend(all.filter(|one| !owned.contains(one)));
        }
        let removed = self.removed(index, beside).await?;
        if removed.is_empty() {
            return Ok(Some(Answer::Done));
        }
        let mut transit = self.transit(index);
        for (shard, node) in &removed {
            transit.forget(*shard, node);
        }
        let none = BTreeMap::new();
        if let Some(replacement) = self.replace(index, &none, transit, None).await? {
            self.commit(&replacement.changes()).await?;
            self.shared.step("move.swept").await;
            self.adopt(replacement);
        }
        Ok(Some(Answer::Done))
    }

    // -----------------------------------------------------------------------------------------
    // Orphans

    async fn drop_orphan(
        &mut self,
        node: &NodeId,
        index: &PhysicalIndex,
        shards: Option<&[ShardId]>,
    ) -> Served {
        let snapshot = self.shared.snapshot.load_full();
        if !snapshot.nodes.get(node).is_some_and(NodeView::is_readable) {
            return failed(format!("{node} is not in sync"));
        }
        if self.shared.copy.is_awaiting(node, index) {
            return failed(format!("{index} is made anew on {node}"));
        }
        let entry = self.rested_entry(index);
        let (entry, work) = match (entry, shards) {
            (Some(entry), shards) => {
                let held = entry.placement.held_by(node);
                let work = match shards {
                    None if held.is_empty() => Work::DropIndex,
                    Some(shards) if !held.is_empty() => {
                        let dropped = shards.iter().copied();
                        let dropped: Vec<ShardId> =
                            dropped.filter(|shard| !held.contains(shard)).collect();
                        Work::DropShards { dropped }
                    }
                    _ => return Ok(Some(Answer::Gone)),
                };
                (entry, work)
            }
            (None, None) => match unnamed_entry(index, self.shared.ports.clock.now()) {
                Some(entry) => (entry, Work::DropIndex),
                None => return failed("its name is not one that Miroir gives"),
            },
            (None, Some(_)) => return Ok(Some(Answer::Gone)),
        };
        let shards: Vec<ShardId> = match &work {
            Work::DropShards { dropped } if dropped.is_empty() => return Ok(Some(Answer::Gone)),
            Work::DropShards { dropped } => dropped.clone(),
            _ => Vec::new(),
        };
        let piece = Piece::new(node, shards, work);
        self.open_copies(&entry, vec![piece], Vec::new()).await?;
        self.shared.step("orphan.dropped").await;
        Ok(Some(Answer::Done))
    }
}

/// An index that only a node knows, for the plan that removes it there.
fn unnamed_entry(index: &PhysicalIndex, now: crate::port::Timestamp) -> Option<IndexEntry> {
    let (uid, number) = index.as_str().rsplit_once("__")?;
    number.parse::<u64>().ok()?;
    let record = IndexRecord {
        uid: miroir_core::id::IndexUid::new(uid).ok()?,
        physical: index.clone(),
        primary_key: None,
        shard_count: 1,
        replication_factor: 1,
        epoch: crate::placing::FIRST_EPOCH,
        settings: serde_json::Map::new(),
        settings_version: None,
        next_seq: miroir_core::id::DocumentSeq(0),
        changed_by: None,
        created_at: now,
        updated_at: now,
    };
    Some(IndexEntry::new(record, Arc::default(), &Transit::default()))
}
