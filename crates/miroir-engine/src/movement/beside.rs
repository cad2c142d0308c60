//! What lies beside is removed, and forgotten when it is.

use super::turn::failed;
use super::{After, Group, Step, group_change};
use crate::copy::barrier::{Answer, Piece, Served};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::plan::Work;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use std::collections::{BTreeMap, BTreeSet};

impl Dispatcher {
    pub(super) async fn drop_beside(&mut self, number: u64, group: &Group) -> Served {
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
    ///
    /// Its removal is a batch of its own. What the node is owed behind that says nothing of what lies
    /// beside, since no batch brings it there: where writes never cease, something always is.
    pub(super) async fn removed(
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
                    && match shared.copy.is_clearing_owed(shared, node, index).await {
                        Some(is_owed) => !is_owed,
                        None => return Err(EngineError::ShuttingDown),
                    };
            settled.insert(node.clone(), is_settled);
        }
        let is_removed = |(_, node): &(ShardId, NodeId)| settled.get(node) == Some(&true);
        Ok(beside.into_iter().filter(is_removed).collect())
    }

    /// Nothing of the index is in flight, and these nodes have all of it.
    pub(super) async fn are_level(
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

    pub(super) async fn clear(&mut self, number: u64, group: &Group) -> Served {
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

    pub(super) async fn sweep_beside(&mut self, index: &PhysicalIndex) -> Served {
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
}
