//! Where the shards of an index lie, and which nodes are to be trusted.
//!
//! Documents tell where a shard lies, the computed placement where one lies that has none. Replicas of
//! one shard that differ are judged: a node that carried out a later batch of the index has carried
//! out all before, since lanes are sequential, so it is right against one that did not; unless it was
//! being copied to, when it may not have all yet. Who is not to be trusted is made anew from the
//! others, if the others have all it has. Where nothing decides, the shard is marked, and the audit of
//! a running proxy gives each replica what the other has.

use super::ReplicaSeen;
use crate::digest::Buckets;
use crate::id::{BatchUid, NodeId, PhysicalIndex, ShardId};
use crate::placement::place;
use crate::rollup::may_leave;
use crate::settings::Settings;
use crate::topology::{Topology, TopologyError};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

/// Where the shards of one index lie, and what the nodes hold of it.
#[derive(Debug, Clone)]
pub struct Replicas<'a> {
    /// Which.
    pub index: &'a PhysicalIndex,
    /// Copies of each shard.
    pub replication_factor: u32,
    /// By shard, the best first.
    pub sets: Vec<Vec<NodeId>>,
    /// What each node that has the index shows of it.
    pub seen: BTreeMap<NodeId, &'a ReplicaSeen>,
}

impl<'a> Replicas<'a> {
    /// Finds out where they lie. `usual` is the replication factor of new indexes.
    ///
    /// # Errors
    /// There are fewer nodes than copies.
    pub fn find(
        index: &'a PhysicalIndex,
        shard_count: NonZeroU32,
        usual: u32,
        topology: &Topology,
        seen: BTreeMap<NodeId, &'a ReplicaSeen>,
    ) -> Result<Self, TopologyError> {
        let holders: Vec<Vec<NodeId>> = (0..shard_count.get())
            .map(|shard| holders_of(ShardId(shard), &seen))
            .collect();
        let computed = |factor: u32| {
            let placement = place(index.as_str(), shard_count, factor, topology)?;
            Ok::<_, TopologyError>(placement.to_replica_sets())
        };
        let ideal = computed(usual)?;
        let replication_factor = factor_of(&holders, &ideal, usual, &seen);
        let ideal = computed(replication_factor)?;
        let sets = holders.into_iter().zip(ideal);
        let sets = sets.map(|(holders, ideal)| joined(holders, ideal, replication_factor));
        Ok(Self {
            index,
            replication_factor,
            sets: sets.collect(),
            seen,
        })
    }

    fn held_by(&self, node: &NodeId, shard: ShardId) -> Option<Buckets> {
        let seen = self.seen.get(node)?;
        let held = seen.shards.get(&shard).cloned();
        Some(held.unwrap_or_else(|| Buckets::new(1)))
    }
}

fn holders_of(shard: ShardId, seen: &BTreeMap<NodeId, &ReplicaSeen>) -> Vec<NodeId> {
    let holds = |replica: &ReplicaSeen| replica.shards.contains_key(&shard);
    let holders = seen.iter().filter(|(_, replica)| holds(replica));
    holders.map(|(node, _)| node.clone()).collect()
}

/// The copies of each shard: the usual number, unless the shards show another and no node that should
/// hold some lacks the index.
fn factor_of(
    holders: &[Vec<NodeId>],
    ideal: &[Vec<NodeId>],
    usual: u32,
    seen: &BTreeMap<NodeId, &ReplicaSeen>,
) -> u32 {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for set in holders.iter().filter(|set| !set.is_empty()) {
        *counts.entry(set.len()).or_default() += 1;
    }
    let Some(most) = counts.keys().next_back().copied() else {
        return usual;
    };
    let as_factor = |count: usize| u32::try_from(count).unwrap_or(usual).max(1);
    let common = counts.iter().max_by_key(|(_, shards)| **shards);
    let common = as_factor(common.map_or(most, |(count, _)| *count));
    let is_lacking = ideal.iter().flatten().any(|node| !seen.contains_key(node));
    if as_factor(most) < usual && !is_lacking {
        as_factor(most)
    } else {
        usual.max(common)
    }
}

/// Those that hold documents of the shard, all of them, since what stands on a node is found there;
/// and of the others as many as are missing. In the computed order, as far as it has them.
fn joined(holders: Vec<NodeId>, ideal: Vec<NodeId>, factor: u32) -> Vec<NodeId> {
    let is_holder = |node: &&NodeId| holders.contains(node);
    let mut set: Vec<NodeId> = ideal.iter().filter(is_holder).cloned().collect();
    let strays = holders.iter().filter(|node| !ideal.contains(node));
    set.extend(strays.cloned());
    for node in ideal {
        if set.len() < factor as usize && !set.contains(&node) {
            set.push(node);
        }
    }
    set
}

/// Which nodes are to be trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Nodes to be made anew from the others, with the reason.
    pub refills: BTreeMap<NodeId, String>,
    /// Shards whose replicas differ and that no refill brings together.
    pub unlike: BTreeMap<PhysicalIndex, BTreeSet<ShardId>>,
    /// Nodes that should be made anew and have the only replica of something.
    pub kept: BTreeMap<NodeId, String>,
}

/// Why a node is not to be trusted.
#[derive(Debug, Clone, Default)]
struct Case {
    lacks: BTreeSet<PhysicalIndex>,
    behind: BTreeMap<PhysicalIndex, BTreeSet<ShardId>>,
    settings: BTreeSet<PhysicalIndex>,
}

impl Case {
    fn weight(&self) -> (usize, usize, usize) {
        let shards = self.behind.values().map(BTreeSet::len).sum();
        (self.lacks.len(), shards, self.settings.len())
    }

    fn reason(&self) -> String {
        let (lacks, shards, settings) = self.weight();
        let mut parts = Vec::new();
        if lacks > 0 {
            parts.push(format!("it lacks {lacks} of its indexes"));
        }
        if shards > 0 {
            parts.push(format!("{shards} of its shards differ from newer replicas"));
        }
        if settings > 0 {
            parts.push(format!(
                "{settings} of its indexes have other settings than the others"
            ));
        }
        format!("the store was recovered, and {}", parts.join(", "))
    }
}

/// The replicas of one shard that are right, by content: more than one content where nothing decides.
struct Right<'a> {
    set: &'a [NodeId],
    groups: Vec<Vec<&'a NodeId>>,
}

impl Right<'_> {
    /// Nothing is lost of this shard if the node is made anew.
    fn is_spared_by(&self, node: &NodeId, trusted: &BTreeSet<NodeId>) -> bool {
        if !self.set.contains(node) {
            return true;
        }
        let others = |group: &Vec<&NodeId>| {
            let mut others = group.iter().filter(|other| **other != node);
            others.any(|other| trusted.contains(*other))
        };
        match self.groups.iter().find(|group| group.contains(&node)) {
            // What only it and its like hold must stay somewhere.
            Some(group) => others(group),
            None if self.groups.is_empty() => may_leave(node, trusted, std::iter::once(self.set)),
            None => self.groups.iter().any(others),
        }
    }
}

/// Judges all replicas of all indexes.
#[must_use]
pub fn judge(indexes: &[Replicas<'_>]) -> Judged {
    let mut cases: BTreeMap<NodeId, Case> = BTreeMap::new();
    let mut judged = Judged::default();
    let mut rights = Vec::new();
    for index in indexes {
        for (shard, set) in (0u32..).map(ShardId).zip(&index.sets) {
            rights.push(judge_shard(index, shard, set, &mut cases, &mut judged));
        }
        judge_settings(index, &mut cases);
    }
    let nodes = rights.iter().flat_map(|right| right.set);
    let mut trusted: BTreeSet<NodeId> = nodes.cloned().collect();
    // One that lacks indexes has the least to tell.
    let mut order: Vec<(NodeId, Case)> = cases.into_iter().collect();
    order.sort_by(|(a, one), (b, other)| other.weight().cmp(&one.weight()).then(a.cmp(b)));
    for (node, case) in order {
        if rights
            .iter()
            .all(|right| right.is_spared_by(&node, &trusted))
        {
            trusted.remove(&node);
            judged.refills.insert(node, case.reason());
            continue;
        }
        judged.kept.insert(node, case.reason());
        for (index, shards) in case.behind {
            judged.unlike.entry(index).or_default().extend(shards);
        }
    }
    // A shard all whose trusted replicas agree is alike once the others are made anew.
    for index in indexes {
        let Some(shards) = judged.unlike.get_mut(index.index) else {
            continue;
        };
        shards.retain(|shard| {
            let set = index
                .sets
                .get(shard.0 as usize)
                .map_or(&[][..], Vec::as_slice);
            let held = set.iter().filter(|node| trusted.contains(*node));
            let held: Vec<_> = held.map(|node| index.held_by(node, *shard)).collect();
            held.windows(2).any(|pair| pair[0] != pair[1])
        });
    }
    judged.unlike.retain(|_, shards| !shards.is_empty());
    judged
}

fn judge_shard<'a>(
    index: &Replicas<'_>,
    shard: ShardId,
    set: &'a [NodeId],
    cases: &mut BTreeMap<NodeId, Case>,
    judged: &mut Judged,
) -> Right<'a> {
    let mut groups: Vec<(Buckets, Vec<&'a NodeId>)> = Vec::new();
    for node in set {
        let Some(held) = index.held_by(node, shard) else {
            let case = cases.entry(node.clone()).or_default();
            case.lacks.insert(index.index.clone());
            continue;
        };
        match groups.iter_mut().find(|(other, _)| *other == held) {
            Some((_, nodes)) => nodes.push(node),
            None => groups.push((held, vec![node])),
        }
    }
    let groups: Vec<Vec<&'a NodeId>> = groups.into_iter().map(|(_, nodes)| nodes).collect();
    let best = groups.iter().map(|nodes| rank(index, nodes)).max();
    let (right, wrong): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|nodes| Some(rank(index, nodes)) == best);
    if right.len() > 1 {
        let unlike = judged.unlike.entry(index.index.clone()).or_default();
        unlike.insert(shard);
    }
    for node in wrong.into_iter().flatten() {
        let case = cases.entry(node.clone()).or_default();
        let behind = case.behind.entry(index.index.clone()).or_default();
        behind.insert(shard);
    }
    Right { set, groups: right }
}

/// How much speaks for the replicas of these nodes: that of its best, then their number.
fn rank(index: &Replicas<'_>, nodes: &[&NodeId]) -> (bool, Option<BatchUid>, usize) {
    let seen = nodes.iter().filter_map(|node| index.seen.get(*node));
    let best = seen.map(|seen| (!seen.was_copied, seen.newest_batch)).max();
    let (is_whole, batch) = best.unwrap_or_default();
    (is_whole, batch, nodes.len())
}

fn judge_settings(index: &Replicas<'_>, cases: &mut BTreeMap<NodeId, Case>) {
    let Some((reference, _)) = reference_of(index) else {
        return;
    };
    let Some(right) = index.seen.get(&reference) else {
        return;
    };
    let members: BTreeSet<&NodeId> = index.sets.iter().flatten().collect();
    for (node, seen) in &index.seen {
        if members.contains(node) && !are_alike(&seen.settings, &right.settings) {
            let case = cases.entry(node.clone()).or_default();
            case.settings.insert(index.index.clone());
        }
    }
}

/// The node whose settings of an index are the right ones: those of most, then the newest; and how
/// many have them.
pub(super) fn reference_of(index: &Replicas<'_>) -> Option<(NodeId, usize)> {
    let members: BTreeSet<&NodeId> = index.sets.iter().flatten().collect();
    let members = || index.seen.iter().filter(|(node, _)| members.contains(node));
    let agreeing = |seen: &ReplicaSeen| {
        let alike =
            |(_, other): &(&NodeId, &&ReplicaSeen)| are_alike(&other.settings, &seen.settings);
        members().filter(alike).count()
    };
    let best = members().max_by_key(|(node, seen)| {
        (
            agreeing(seen),
            seen.settings_sent_at.clone(),
            std::cmp::Reverse((*node).clone()),
        )
    });
    best.map(|(node, seen)| (node.clone(), agreeing(seen)))
}

/// What both show is the same; nodes of other versions may show more.
fn are_alike(one: &Settings, other: &Settings) -> bool {
    one.iter()
        .all(|(name, value)| other.get(name).is_none_or(|there| there == value))
}

#[cfg(test)]
mod tests;
