//! Choosing the nodes of a cover: set cover, exact while small, greedy beyond.

use super::{CoverPolicy, UncoveredShards};
use crate::hash::{mix, node_key};
use crate::id::ShardId;
use crate::placement::Placement;
use std::collections::BTreeMap;

/// Subsets tried before the greedy answer is taken: about a hundred microseconds.
const SUBSETS_TRIED_MAX: usize = 4096;

/// The nodes to ask, by position in the placement and ascending, each with its shards, ascending.
/// `shards` is sorted and without repeats.
pub(super) fn assign(
    placement: &Placement,
    shards: &[ShardId],
    policy: &CoverPolicy<'_>,
) -> Result<BTreeMap<usize, Vec<ShardId>>, UncoveredShards> {
    let problem = Problem::new(placement, shards, policy);
    let is_covered = |shard: &&ShardId| !problem.holders(**shard).is_empty();
    let uncovered: Vec<ShardId> = shards.iter().filter(|s| !is_covered(s)).copied().collect();
    if !uncovered.is_empty() {
        return Err(UncoveredShards(uncovered));
    }
    Ok(problem.divide(&problem.choose(policy)))
}

/// The usable nodes in order of preference, and what each can serve.
struct Problem<'a> {
    placement: &'a Placement,
    shards: &'a [ShardId],
    /// Positions in the placement, preferred first.
    ranked: Vec<usize>,
    /// Position in `ranked` by position in the placement.
    rank_by_node: Vec<Option<u32>>,
    /// The wanted shards that each ranked node holds, one bit for each of `shards`.
    served: Vec<Bits>,
}

type Bits = Vec<u64>;

impl<'a> Problem<'a> {
    fn new(placement: &'a Placement, shards: &'a [ShardId], policy: &CoverPolicy<'_>) -> Self {
        let nodes = placement.nodes();
        let mut keyed: Vec<(u32, u64, usize)> = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| (policy.is_usable)(node))
            .map(|(node_idx, node)| {
                let affinity = mix(policy.affinity ^ node_key(node.as_str()));
                ((policy.load_cost)(node), affinity, node_idx)
            })
            .collect();
        keyed.sort_unstable();
        let ranked: Vec<usize> = keyed.into_iter().map(|(.., node_idx)| node_idx).collect();
        let mut rank_by_node = vec![None; nodes.len()];
        for (rank, node_idx) in (0..).zip(&ranked) {
            rank_by_node[*node_idx] = Some(rank);
        }
        let mut problem = Self {
            placement,
            shards,
            ranked,
            rank_by_node,
            served: Vec::new(),
        };
        problem.served = vec![vec![0; shards.len().div_ceil(64)]; problem.ranked.len()];
        for (shard_idx, shard) in shards.iter().enumerate() {
            for rank in problem.holders(*shard) {
                problem.served[rank][shard_idx / 64] |= 1 << (shard_idx % 64);
            }
        }
        problem
    }

    /// The ranks of the usable nodes that hold a shard.
    fn holders(&self, shard: ShardId) -> Vec<usize> {
        let holders = self.placement.replica_idxs(shard).iter();
        holders
            .filter_map(|n| self.rank_by_node[*n as usize])
            .map(|r| r as usize)
            .collect()
    }

    /// The fewest nodes that serve all; of equal choices one within the preferred zone, else one
    /// within any zone, else the one whose nodes rank first.
    fn choose(&self, policy: &CoverPolicy<'_>) -> Vec<usize> {
        let everyone: Vec<usize> = (0..self.ranked.len()).collect();
        let mut best = self.smallest(&everyone);
        let mut best_preference = 2;
        let mut by_zone: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for rank in everyone {
            let node = &self.placement.nodes()[self.ranked[rank]];
            if let Some(zone) = (policy.zone_of)(node) {
                by_zone.entry(zone).or_default().push(rank);
            }
        }
        // Zones in order of their first-ranked node, so that affinity decides between them.
        let mut zones: Vec<(&str, Vec<usize>)> = by_zone.into_iter().collect();
        zones.sort_by_key(|(_, ranks)| ranks[0]);
        for (zone, ranks) in zones {
            let preference = u8::from(policy.preferred_zone != Some(zone));
            if preference >= best_preference || !self.is_cover(&ranks) {
                continue;
            }
            let chosen = self.smallest(&ranks);
            if chosen.len() <= best.len() {
                (best, best_preference) = (chosen, preference);
            }
        }
        best
    }

    fn is_cover(&self, ranks: &[usize]) -> bool {
        let mut missing = self.all();
        ranks
            .iter()
            .for_each(|rank| subtract(&mut missing, &self.served[*rank]));
        missing.iter().all(|word| *word == 0)
    }

    fn all(&self) -> Bits {
        let mut all = vec![u64::MAX; self.shards.len().div_ceil(64)];
        let last_bits = self.shards.len() % 64;
        if let (Some(last), true) = (all.last_mut(), last_bits > 0) {
            *last = (1 << last_bits) - 1;
        }
        all
    }

    /// A small cover out of `ranks`, which together serve all: ascending ranks.
    fn smallest(&self, ranks: &[usize]) -> Vec<usize> {
        let mut missing = self.all();
        let mut chosen = self.forced(ranks);
        chosen
            .iter()
            .for_each(|rank| subtract(&mut missing, &self.served[*rank]));
        let gain = |rank: &usize| overlap(&missing, &self.served[*rank]);
        let candidates: Vec<usize> = ranks
            .iter()
            .filter(|r| !chosen.contains(r) && gain(r) > 0)
            .copied()
            .collect();
        let rest = self.greedy(&candidates, missing.clone());
        let gain_max = candidates.iter().map(gain).max().unwrap_or(0);
        let rest = self
            .exact(&candidates, &missing, gain_max, rest.len())
            .unwrap_or(rest);
        chosen.extend(rest);
        chosen.sort_unstable();
        chosen
    }

    /// The nodes that alone hold some shard.
    fn forced(&self, ranks: &[usize]) -> Vec<usize> {
        let (mut once, mut twice) = (self.all(), self.all());
        once.fill(0);
        twice.fill(0);
        for rank in ranks {
            for (word_idx, word) in self.served[*rank].iter().enumerate() {
                twice[word_idx] |= once[word_idx] & word;
                once[word_idx] |= word;
            }
        }
        subtract(&mut once, &twice);
        ranks
            .iter()
            .filter(|rank| overlap(&once, &self.served[**rank]) > 0)
            .copied()
            .collect()
    }

    /// Takes the node that serves most of what is missing, the first-ranked of equal ones, until
    /// nothing is.
    fn greedy(&self, candidates: &[usize], mut missing: Bits) -> Vec<usize> {
        let mut chosen = Vec::new();
        while missing.iter().any(|word| *word != 0) {
            let gain = |rank: &usize| overlap(&missing, &self.served[*rank]);
            let Some(rank) = candidates.iter().rev().copied().max_by_key(gain) else {
                break;
            };
            if gain(&rank) == 0 {
                break;
            }
            subtract(&mut missing, &self.served[rank]);
            chosen.push(rank);
        }
        chosen
    }

    /// The first cover in lexicographic order of ranks among the smallest, of at most `size_max`
    /// nodes; `None` if there are too many subsets to look through.
    fn exact(
        &self,
        candidates: &[usize],
        missing: &Bits,
        gain_max: u32,
        size_max: usize,
    ) -> Option<Vec<usize>> {
        let missing_count: u32 = missing.iter().map(|word| word.count_ones()).sum();
        if missing_count == 0 {
            return Some(Vec::new());
        }
        let mut tried = 0;
        for size in missing_count.div_ceil(gain_max.max(1)) as usize..=size_max {
            let mut chosen = Vec::with_capacity(size);
            let found = self.try_subsets(candidates, missing, size, &mut chosen, &mut tried);
            if tried > SUBSETS_TRIED_MAX {
                return None;
            }
            if found {
                return Some(chosen);
            }
        }
        None
    }

    fn try_subsets(
        &self,
        candidates: &[usize],
        missing: &Bits,
        size: usize,
        chosen: &mut Vec<usize>,
        tried: &mut usize,
    ) -> bool {
        if missing.iter().all(|word| *word == 0) {
            return true;
        }
        if size == 0 {
            return false;
        }
        for (candidate_idx, rank) in candidates.iter().enumerate() {
            *tried += 1;
            if *tried > SUBSETS_TRIED_MAX || candidates.len() - candidate_idx < size {
                return false;
            }
            let mut still_missing = missing.clone();
            subtract(&mut still_missing, &self.served[*rank]);
            chosen.push(*rank);
            let rest = &candidates[candidate_idx + 1..];
            if self.try_subsets(rest, &still_missing, size - 1, chosen, tried) {
                return true;
            }
            chosen.pop();
        }
        false
    }

    /// Gives each shard to one of the chosen nodes: the first-ranked takes all it holds, so it
    /// needs no filter, the others what is left.
    fn divide(&self, chosen: &[usize]) -> BTreeMap<usize, Vec<ShardId>> {
        let mut parts: BTreeMap<usize, Vec<ShardId>> = BTreeMap::new();
        for shard in self.shards {
            let holders = self.holders(*shard);
            if let Some(rank) = chosen.iter().find(|rank| holders.contains(rank)) {
                parts.entry(self.ranked[*rank]).or_default().push(*shard);
            }
        }
        parts
    }
}

fn subtract(from: &mut Bits, what: &Bits) {
    from.iter_mut()
        .zip(what)
        .for_each(|(from, what)| *from &= !what);
}

fn overlap(a: &Bits, b: &Bits) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}
