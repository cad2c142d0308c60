//! The steps of a group on its way to its targets: announced, joined, switched, or withdrawn.

use super::epochs::Replacement;
use super::turn::failed;
use super::{After, Group, GroupMove, Step, TargetCopy};
use crate::copy::IndexCopy;
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::Placing;
use crate::port::{Change, NodeSettingsVersion, PayloadRef};
use crate::state::IndexEntry;
use miroir_core::health::NodeHealth;
use miroir_core::id::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};

impl Dispatcher {
    pub(super) async fn announce(&mut self, number: u64, group: &Group) -> Served {
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

    pub(super) async fn join(&mut self, number: u64, group: &Group) -> Served {
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

    pub(super) async fn switch(&mut self, number: u64, group: &Group) -> Served {
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
    pub(super) fn claim(&self, group: &Group, targets: &BTreeSet<NodeId>) -> Option<String> {
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

    pub(super) async fn switch_claimed(
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

    pub(super) async fn withdraw(&mut self, number: u64, group: &Group, then: After) -> Served {
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

    pub(super) async fn withdrawal(
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
}
