//! One in-sync replica for each shard that a search needs.
//!
//! A cover asks few nodes (each pays for a whole search) and stays in one zone if that asks no more
//! of them. Among equal covers the affinity decides: another query, another cover, so load spreads;
//! another page of the same query, the same cover.
//!
//! Laws: every wanted shard is in exactly one part; only usable nodes that hold it serve it; equal
//! inputs give equal covers.

mod choose;

use crate::id::{NodeId, ShardId};
use crate::placement::Placement;
use crate::reserved::shard_filter;
use std::collections::BTreeMap;

/// What one node has to answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverPart {
    /// Who is asked.
    pub node: NodeId,
    /// For which shards, ascending.
    pub shards: Vec<ShardId>,
    /// The filter to AND into the query, or `None` if the node holds nothing else of the index.
    pub filter: Option<String>,
}

/// One part for each node asked, sorted by node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cover {
    /// The parts; no shard is in two.
    pub parts: Vec<CoverPart>,
}

/// No usable node holds these shards, ascending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no in-sync node holds {} of the shards", .0.len())]
pub struct UncoveredShards(pub Vec<ShardId>);

/// What a cover is chosen by.
#[derive(Clone, Copy)]
pub struct CoverPolicy<'a> {
    /// Whether a node may be asked: in sync, reachable, not failed in this request already.
    pub is_usable: &'a dyn Fn(&NodeId) -> bool,
    /// The present cost of asking a node, in coarse steps; the cheaper of two otherwise equal nodes
    /// is asked. Coarse, because every change of it changes the cover of a query's next page.
    pub load_cost: &'a dyn Fn(&NodeId) -> u32,
    /// The zone of a node.
    pub zone_of: &'a dyn Fn(&NodeId) -> Option<&'a str>,
    /// The zone to stay in if it costs no further node, usually the proxy's own.
    pub preferred_zone: Option<&'a str>,
    /// A hash of the query without its paging.
    pub affinity: u64,
    /// Shards whose documents are on a node beside what the placement knows of: they are not read
    /// from there, but must be filtered out.
    pub also_held: Option<&'a BTreeMap<NodeId, Vec<ShardId>>>,
}

impl<'a> CoverPolicy<'a> {
    /// Every node `is_usable` says yes to, all equally dear, no zones, no move under way.
    pub fn new(is_usable: &'a dyn Fn(&NodeId) -> bool, affinity: u64) -> Self {
        Self {
            is_usable,
            load_cost: &|_| 0,
            zone_of: &|_| None,
            preferred_zone: None,
            affinity,
            also_held: None,
        }
    }
}

/// A cover of all shards.
///
/// # Errors
/// [`UncoveredShards`], all of them.
///
/// ```
/// use miroir_core::{cover::{CoverPolicy, choose_cover}, id::NodeId, placement::Placement};
/// let [a, b] = ["a", "b"].map(NodeId::new);
/// let placement = Placement::from_replica_sets(&[vec![a.clone(), b.clone()], vec![b.clone()]]);
/// let cover = choose_cover(&placement, &CoverPolicy::new(&|_| true, 7))?;
/// assert_eq!((cover.parts.len(), &cover.parts[0].node), (1, &b));
/// # Ok::<(), miroir_core::cover::UncoveredShards>(())
/// ```
pub fn choose_cover(
    placement: &Placement,
    policy: &CoverPolicy<'_>,
) -> Result<Cover, UncoveredShards> {
    let shards: Vec<ShardId> = placement.shards().collect();
    choose_cover_for(placement, &shards, policy)
}

/// A cover of some shards: those a narrowed query needs, or those of a node that failed.
///
/// # Errors
/// [`UncoveredShards`], all of them, also those that the placement does not know.
pub fn choose_cover_for(
    placement: &Placement,
    shards: &[ShardId],
    policy: &CoverPolicy<'_>,
) -> Result<Cover, UncoveredShards> {
    let mut shards = shards.to_vec();
    shards.sort_unstable();
    shards.dedup();
    let assigned = choose::assign(placement, &shards, policy)?;
    let to_part = |(node_idx, shards): (usize, Vec<ShardId>)| {
        let node = placement.nodes()[node_idx].clone();
        let held = held_shards(placement, node_idx, policy.also_held);
        let filter = shard_filter(&shards, &held, placement.shard_count());
        CoverPart {
            node,
            shards,
            filter,
        }
    };
    Ok(Cover {
        parts: assigned.into_iter().map(to_part).collect(),
    })
}

/// A cover of as many of some shards as can be, and the shards that no usable node holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BestCover {
    /// What can be covered.
    pub cover: Cover,
    /// The rest, ascending.
    pub missing: Vec<ShardId>,
}

/// A cover in which a spared node is asked only for shards that no other usable node holds.
pub fn choose_cover_sparing(
    placement: &Placement,
    shards: &[ShardId],
    policy: &CoverPolicy<'_>,
    is_spared: &dyn Fn(&NodeId) -> bool,
) -> BestCover {
    let is_usable = |node: &NodeId| (policy.is_usable)(node) && !is_spared(node);
    let (mut parts, rest) = cover_what_can_be(placement, shards, policy, &is_usable);
    let mut missing = Vec::new();
    if !rest.is_empty() {
        let is_usable = |node: &NodeId| (policy.is_usable)(node) && is_spared(node);
        let (more, uncovered) = cover_what_can_be(placement, &rest, policy, &is_usable);
        parts.extend(more);
        parts.sort_by(|a, b| a.node.cmp(&b.node));
        missing = uncovered;
    }
    BestCover {
        cover: Cover { parts },
        missing,
    }
}

fn cover_what_can_be(
    placement: &Placement,
    shards: &[ShardId],
    policy: &CoverPolicy<'_>,
    is_usable: &dyn Fn(&NodeId) -> bool,
) -> (Vec<CoverPart>, Vec<ShardId>) {
    let policy = CoverPolicy {
        is_usable,
        load_cost: &|node| (policy.load_cost)(node),
        zone_of: &|node| (policy.zone_of)(node),
        preferred_zone: policy.preferred_zone,
        affinity: policy.affinity,
        also_held: policy.also_held,
    };
    let uncovered = match choose_cover_for(placement, shards, &policy) {
        Ok(cover) => return (cover.parts, Vec::new()),
        Err(UncoveredShards(uncovered)) => uncovered,
    };
    let is_covered = |shard: &ShardId| uncovered.binary_search(shard).is_err();
    let covered: Vec<ShardId> = shards.iter().copied().filter(is_covered).collect();
    // Nothing of it is uncovered: all that is was named.
    let cover = choose_cover_for(placement, &covered, &policy).unwrap_or_default();
    (cover.parts, uncovered)
}

fn held_shards(
    placement: &Placement,
    node_idx: usize,
    also_held: Option<&BTreeMap<NodeId, Vec<ShardId>>>,
) -> Vec<ShardId> {
    let mut held = placement.held_by(&placement.nodes()[node_idx]);
    if let Some(others) = also_held.and_then(|by_node| by_node.get(&placement.nodes()[node_idx])) {
        held.extend_from_slice(others);
        held.sort_unstable();
        held.dedup();
    }
    held
}

#[cfg(test)]
mod tests;
