//! Weighted rendezvous hashing with bounded load.
//!
//! Each node draws a cost for each shard, `-ln(uniform) / weight`, and the lowest costs win: the
//! chance to win is the weight's part of the whole (Schindelhauer and Schomaker 2005). Shards are
//! placed one after the other; a node that has reached its capacity is passed over (Mirrokni,
//! Thorup, Zadimoghaddam 2018), because memory, not luck, bounds what a node can take.

use super::Placement;
use crate::hash::{node_key, pair_hash, shard_key};
use crate::id::{NodeId, ShardId};
use crate::topology::{Topology, TopologyError};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// How far a node may exceed its fair share: 10 %. Less evens out a little more and moves more
/// when the nodes change; the property tests measure both.
pub const LOAD_SLACK: f64 = 0.10;

/// Added to a capacity before rounding up, so that a share that is whole but for its last bits
/// does not gain a shard.
const ROUNDING: f64 = 1e-6;

/// The ideal placement of an index on the active nodes of a topology.
///
/// # Errors
/// [`TopologyError::NoReplica`] and [`TopologyError::TooFewNodes`].
///
/// ```
/// use miroir_core::{id::{NodeId, ShardId}, placement::place, topology::{Node, Topology}};
/// let nodes = ["a", "b", "c"].map(|n| Node::new(NodeId::new(n), format!("http://{n}")));
/// let topology = Topology::new(nodes.to_vec())?;
/// let placement = place("movies", 12.try_into().unwrap(), 2, &topology)?;
/// assert_eq!(placement.replica_set(ShardId(0)).count(), 2);
/// # Ok::<(), miroir_core::topology::TopologyError>(())
/// ```
pub fn place(
    index: &str,
    shard_count: NonZeroU32,
    replication_factor: u32,
    topology: &Topology,
) -> Result<Placement, TopologyError> {
    topology.check_replication_factor(replication_factor)?;
    let mut placer = Placer::new(shard_count, replication_factor, topology);
    for shard in (0..shard_count.get()).map(ShardId) {
        placer.place_shard(shard_key(index, shard));
    }
    let nodes: Vec<NodeId> = topology
        .active_nodes()
        .map(|node| node.id.clone())
        .collect();
    Ok(compact(nodes, placer.sets))
}

/// The active nodes in the order in which they are wanted for a shard, were no node ever full and
/// were there no zones: what [`place`] begins with.
#[must_use]
pub fn rank(index: &str, shard: ShardId, topology: &Topology) -> Vec<NodeId> {
    let key = shard_key(index, shard);
    let mut costs: Vec<(f64, &NodeId)> = topology
        .active_nodes()
        .map(|node| {
            let candidate = Candidate {
                key: node_key(node.id.as_str()),
                weight_inverse: 1.0 / f64::from(node.weight_milli),
                domain: 0,
                room: 0,
            };
            (cost(uniform(key, &candidate), &candidate), &node.id)
        })
        .collect();
    costs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    costs.into_iter().map(|(_, node)| node.clone()).collect()
}

/// The table without the nodes that hold nothing.
fn compact(nodes: Vec<NodeId>, mut sets: Vec<Vec<u32>>) -> Placement {
    let mut is_used = vec![false; nodes.len()];
    sets.iter()
        .flatten()
        .for_each(|node_idx| is_used[*node_idx as usize] = true);
    if is_used.contains(&false) {
        let mut used_before = 0;
        let renumbered: Vec<u32> = is_used
            .iter()
            .map(|used| {
                let number = used_before;
                used_before += u32::from(*used);
                number
            })
            .collect();
        for node_idx in sets.iter_mut().flatten() {
            *node_idx = renumbered[*node_idx as usize];
        }
    }
    let used = nodes
        .into_iter()
        .zip(is_used)
        .filter_map(|(node, used)| used.then_some(node));
    Placement::from_indexes(used.collect(), &sets)
}

struct Candidate {
    key: u64,
    weight_inverse: f64,
    domain: u32,
    /// Replicas it may still take.
    room: u32,
}

struct Placer {
    replication_factor: usize,
    candidates: Vec<Candidate>,
    /// Positions of the candidates with room. Their order does not matter: ties go by position.
    open: Vec<u32>,
    /// Candidates by failure domain.
    domains: Vec<Vec<u32>>,
    /// Replicas of the shard at hand in each domain; all zero between shards.
    domain_use: Vec<u32>,
    sets: Vec<Vec<u32>>,
}

/// A candidate that may become a replica of the shard at hand.
#[derive(Clone, Copy)]
struct Pick {
    cost: f64,
    node_idx: u32,
}

impl Pick {
    fn is_before(&self, other: &Self) -> bool {
        (self.cost, self.node_idx) < (other.cost, other.node_idx)
    }
}

impl Placer {
    fn new(shard_count: NonZeroU32, replication_factor: u32, topology: &Topology) -> Self {
        let mut domains: Vec<Vec<u32>> = Vec::new();
        let mut domain_by_zone: BTreeMap<&str, usize> = BTreeMap::new();
        let mut candidates = Vec::new();
        let mut weights = Vec::new();
        for (node_idx, node) in (0..).zip(topology.active_nodes()) {
            let next = domains.len();
            let domain = match node.zone.as_deref() {
                Some(zone) => *domain_by_zone.entry(zone).or_insert(next),
                None => next,
            };
            if domain == next {
                domains.push(Vec::new());
            }
            domains[domain].push(node_idx);
            let weight = f64::from(node.weight_milli);
            weights.push(weight);
            candidates.push(Candidate {
                key: node_key(node.id.as_str()),
                weight_inverse: 1.0 / weight,
                domain: u32::try_from(domain).expect("no more domains than nodes"),
                room: 0,
            });
        }
        let shares = fair_shares(&domains, &weights, replication_factor);
        for (candidate, share) in candidates.iter_mut().zip(shares) {
            candidate.room = capacity(shard_count.get(), share);
        }
        let node_count = u32::try_from(candidates.len()).expect("nodes fit in memory");
        Self {
            replication_factor: replication_factor as usize,
            open: (0..node_count)
                .filter(|n| candidates[*n as usize].room > 0)
                .collect(),
            domain_use: vec![0; domains.len()],
            candidates,
            domains,
            sets: Vec::with_capacity(shard_count.get() as usize),
        }
    }

    /// Chooses the replica set of the next shard: one node of every domain as far as replicas go,
    /// then a second of every domain that has one, and so on.
    fn place_shard(&mut self, key: u64) {
        let mut set: Vec<u32> = Vec::with_capacity(self.replication_factor);
        let mut level = 0;
        while set.len() < self.replication_factor {
            let domain_count = self
                .domains
                .iter()
                .filter(|d| d.len() > level as usize)
                .count();
            let wanted = domain_count.min(self.replication_factor - set.len());
            let picks = self.cheapest(key, &set, level, wanted);
            for pick in &picks {
                self.take(&mut set, pick.node_idx);
            }
            for _ in picks.len()..wanted {
                let node_idx = self.make_room(key, &set, level);
                self.take(&mut set, node_idx);
            }
            level += 1;
        }
        for node_idx in &set {
            self.domain_use[self.candidates[*node_idx as usize].domain as usize] = 0;
        }
        self.sets.push(set);
    }

    /// The cheapest open nodes, at most `wanted`, in as many domains, each domain holding `level`
    /// replicas already; ascending by cost.
    ///
    /// One pass. A domain pushed out by `wanted` better ones can only come back by a better node
    /// of its own, so nothing needs to be remembered of it.
    fn cheapest(&self, key: u64, set: &[u32], level: u32, wanted: usize) -> Vec<Pick> {
        let mut picks: Vec<Pick> = Vec::with_capacity(wanted + 1);
        let mut limit = f64::INFINITY;
        for node_idx in &self.open {
            let candidate = &self.candidates[*node_idx as usize];
            let uniform = uniform(key, candidate);
            // -ln(1 - u) is at least u: most candidates are refused without a logarithm.
            if uniform * candidate.weight_inverse * (1.0 - 1e-12) > limit {
                continue;
            }
            if self.domain_use[candidate.domain as usize] != level || set.contains(node_idx) {
                continue;
            }
            let pick = Pick {
                cost: cost(uniform, candidate),
                node_idx: *node_idx,
            };
            let domain_of = |p: &Pick| self.candidates[p.node_idx as usize].domain;
            match picks.iter().position(|p| domain_of(p) == candidate.domain) {
                Some(rival) if picks[rival].is_before(&pick) => continue,
                Some(rival) => _ = picks.remove(rival),
                None => {}
            }
            let place = picks.partition_point(|p| p.is_before(&pick));
            picks.insert(place, pick);
            picks.truncate(wanted);
            if picks.len() == wanted {
                limit = picks.last().map_or(f64::INFINITY, |p| p.cost);
            }
        }
        picks
    }

    fn take(&mut self, set: &mut Vec<u32>, node_idx: u32) {
        set.push(node_idx);
        let candidate = &mut self.candidates[node_idx as usize];
        self.domain_use[candidate.domain as usize] += 1;
        candidate.room = candidate.room.saturating_sub(1);
        if candidate.room == 0 {
            self.open.retain(|open| *open != node_idx);
        }
    }

    /// A node for the shard at hand when every node that may take it is full: an earlier shard
    /// gives way to a node with room. If none can, the cheapest node takes one too many, since a
    /// missing replica is worse than a fuller node.
    fn make_room(&mut self, key: u64, set: &[u32], level: u32) -> u32 {
        let mut eligible: Vec<Pick> = Vec::new();
        for (domain, nodes) in self.domains.iter().enumerate() {
            if self.domain_use[domain] == level {
                for node_idx in nodes.iter().filter(|n| !set.contains(n)) {
                    let candidate = &self.candidates[*node_idx as usize];
                    let cost = cost(uniform(key, candidate), candidate);
                    eligible.push(Pick {
                        cost,
                        node_idx: *node_idx,
                    });
                }
            }
        }
        eligible.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.node_idx.cmp(&b.node_idx)));
        for pick in &eligible {
            for shard_idx in (0..self.sets.len()).rev() {
                let Some(place) = self.sets[shard_idx]
                    .iter()
                    .position(|n| *n == pick.node_idx)
                else {
                    continue;
                };
                if let Some(substitute) = self.substitute(shard_idx, pick.node_idx) {
                    self.sets[shard_idx][place] = substitute;
                    self.candidates[pick.node_idx as usize].room += 1;
                    let room = &mut self.candidates[substitute as usize].room;
                    *room -= 1;
                    if *room == 0 {
                        self.open.retain(|open| *open != substitute);
                    }
                    // `take` closes it again; until then its place among the open is unread.
                    self.open.push(pick.node_idx);
                    return pick.node_idx;
                }
            }
        }
        eligible
            .first()
            .map(|pick| pick.node_idx)
            .expect("the level has a domain with a node left")
    }

    /// A node with room that can stand in for `node_idx` in an earlier shard's set, without
    /// crowding a domain.
    fn substitute(&self, shard_idx: usize, node_idx: u32) -> Option<u32> {
        let set = &self.sets[shard_idx];
        let domain_of = |n: u32| self.candidates[n as usize].domain;
        let use_of = |domain: u32| set.iter().filter(|n| domain_of(**n) == domain).count();
        let domain = domain_of(node_idx);
        let fits = |n: &&u32| {
            let other = domain_of(**n);
            !set.contains(n) && (other == domain || use_of(other) < use_of(domain))
        };
        self.open.iter().filter(fits).min().copied()
    }
}

/// A number strictly between 0 and 1 that the pair of shard and node draws.
#[inline]
fn uniform(shard_key: u64, candidate: &Candidate) -> f64 {
    let hash = pair_hash(shard_key, candidate.key);
    // 53 bits are what a double holds; the half keeps off 0 and 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let uniform = ((hash >> 11) as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0);
    uniform
}

/// `libm` gives the same bits on every platform; the standard library does not promise that.
fn cost(uniform: f64, candidate: &Candidate) -> f64 {
    -libm::log1p(-uniform) * candidate.weight_inverse
}

/// The replicas that a node with this share may hold.
fn capacity(shard_count: u32, share: f64) -> u32 {
    let bound = (f64::from(shard_count) * share * (1.0 + LOAD_SLACK) - ROUNDING).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let bound = bound.clamp(0.0, f64::from(shard_count)) as u32;
    bound
}

/// The replicas of a shard that each node holds on average, 0 to 1, summing to the replication
/// factor: by weight, as far as the rules on domains and "one replica a node" allow.
pub(crate) fn fair_shares(
    domains: &[Vec<u32>],
    weights: &[f64],
    replication_factor: u32,
) -> Vec<f64> {
    // Replicas that every domain gets for sure: whole rounds over the domains that still have a
    // node left.
    let mut sure: Vec<u32> = vec![0; domains.len()];
    let mut left = replication_factor as usize;
    loop {
        let has_more = |d: &usize| domains[*d].len() > sure[*d] as usize;
        let open: Vec<usize> = (0..domains.len()).filter(has_more).collect();
        if open.len() > left || open.is_empty() {
            break;
        }
        left -= open.len();
        open.iter().for_each(|d| sure[*d] += 1);
    }
    let bounds: Vec<Bound> = domains
        .iter()
        .zip(&sure)
        .map(|(nodes, sure)| {
            let can_get_more = left > 0 && nodes.len() > *sure as usize;
            Bound {
                weight: nodes.iter().map(|n| weights[*n as usize]).sum(),
                min: f64::from(*sure),
                max: f64::from(*sure + u32::from(can_get_more)),
            }
        })
        .collect();
    let mut shares = vec![0.0; weights.len()];
    for (nodes, domain_share) in domains
        .iter()
        .zip(fill(&bounds, f64::from(replication_factor)))
    {
        let one = |n: &u32| Bound {
            weight: weights[*n as usize],
            min: 0.0,
            max: 1.0,
        };
        let bounds: Vec<Bound> = nodes.iter().map(one).collect();
        for (node_idx, share) in nodes.iter().zip(fill(&bounds, domain_share)) {
            shares[*node_idx as usize] = share;
        }
    }
    shares
}

struct Bound {
    weight: f64,
    min: f64,
    max: f64,
}

/// Divides `total` in proportion to the weights, each part kept within its bounds.
///
/// The common factor is found by halving an interval: only basic arithmetic, so every platform
/// finds the same.
fn fill(bounds: &[Bound], total: f64) -> Vec<f64> {
    let part = |b: &Bound, factor: f64| (b.weight * factor).clamp(b.min, b.max);
    let (mut low, mut high) = (
        0.0,
        bounds.iter().map(|b| b.max / b.weight).fold(0.0, f64::max),
    );
    // 100 halvings exhaust the 53 bits of any double between the two.
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if bounds.iter().map(|b| part(b, middle)).sum::<f64>() < total {
            low = middle;
        } else {
            high = middle;
        }
    }
    bounds.iter().map(|b| part(b, high)).collect()
}

#[cfg(test)]
mod tests;
