//! Looks at a plan without trusting who made it.
//!
//! Written apart from the planner and kept simple: it walks the sets, counts, and compares with the
//! rules. It knows nothing of how a plan is found.

use super::observed::{IndexState, Observed};
use super::plan::Plan;
use super::stage::Desired;
use crate::id::{NodeId, PhysicalIndex, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// How far above its share a node may be in the end, beside one shard of the largest it could take:
/// a factor.
pub const IMBALANCE_MAX: f64 = 1.05;

/// Something wrong with a plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Finding {
    /// A move begins where the shard is not.
    #[error("{index}/{shard}: the move does not begin at the stored replica set")]
    WrongStart {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
    },
    /// A shard is moved twice.
    #[error("{index}/{shard}: moved twice")]
    Twice {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
    },
    /// A move of nothing.
    #[error("{index}/{shard}: the move changes nothing")]
    Idle {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
    },
    /// A set has one node twice.
    #[error("{index}/{shard}: a node counts twice")]
    NotDistinct {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
    },
    /// A set has not as many nodes as wanted.
    #[error("{index}/{shard}: {found} copies where {wanted} are wanted")]
    WrongCount {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
        /// Copies.
        found: usize,
        /// Copies wanted.
        wanted: usize,
    },
    /// A set has a node that takes no shards.
    #[error("{index}/{shard}: on {node}, which takes no shards")]
    NotActive {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
    /// Two copies in one zone while another zone has none and could.
    #[error("{index}/{shard}: zone {zone} holds {held} copies while another could take one")]
    ZoneCrowded {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
        /// The crowded zone.
        zone: String,
        /// Copies in it.
        held: usize,
    },
    /// Nobody is left to copy from.
    #[error("{index}/{shard}: copied from nowhere")]
    NoSource {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
    },
    /// A node holds too much.
    #[error("{node} holds {bytes} where {bound} is the bound")]
    Overloaded {
        /// The node.
        node: NodeId,
        /// What it holds.
        bytes: u64,
        /// What it may.
        bound: u64,
    },
    /// A copy that could have been spared.
    #[error("{index}/{shard}: {node} need not have got a copy")]
    Needless {
        /// The index.
        index: PhysicalIndex,
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeId,
    },
}

/// Everything wrong with a plan that is not refused, in the order of the indexes.
///
/// `is_bounded` asks for bounded load too. It cannot be kept where zones and a few large shards leave
/// no choice, so it is for clusters where there is one.
#[must_use]
pub fn check(
    observed: &Observed,
    desired: &Desired,
    plan: &Plan,
    is_bounded: bool,
) -> Vec<Finding> {
    let mut findings = check_moves(observed, plan);
    let rules = Rules::new(desired);
    let after = plan.applied_to(observed, desired);
    let changed: BTreeSet<(&PhysicalIndex, u32)> = plan
        .moves
        .iter()
        .map(|planned| (&planned.shard_move.index, planned.shard_move.shard.0))
        .collect();
    for (state, before) in after.indexes.iter().zip(&observed.indexes) {
        for (shard, set) in (0..).zip(&state.replica_sets) {
            let is_changed = changed.contains(&(&state.index, shard));
            check_set(&rules, state, shard, set, is_changed, &mut findings);
            let old = &before.replica_sets[shard as usize];
            let comes = set.iter().any(|node| !old.contains(node));
            let is_accepted = old.iter().all(|node| desired.given_up.contains(node));
            if comes && old.iter().all(|node| desired.lost.contains(node)) && !is_accepted {
                let (index, shard) = (state.index.clone(), ShardId(shard));
                findings.push(Finding::NoSource { index, shard });
            }
        }
    }
    let loads = loads(&after);
    let shares = shares(&after, desired);
    if desired.evens_out {
        findings.extend(needless(&rules, observed, &after, &loads, &shares));
        if is_bounded {
            findings.extend(overloaded(&after, &loads, &shares));
        }
    }
    findings
}

fn check_moves(observed: &Observed, plan: &Plan) -> Vec<Finding> {
    let by_index: BTreeMap<&PhysicalIndex, &IndexState> = observed
        .indexes
        .iter()
        .map(|state| (&state.index, state))
        .collect();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for planned in &plan.moves {
        let shard_move = &planned.shard_move;
        let (index, shard) = (shard_move.index.clone(), shard_move.shard);
        let stored = by_index
            .get(&index)
            .and_then(|state| state.replica_sets.get(shard.0 as usize));
        if stored != Some(&shard_move.from) {
            let (index, shard) = (index.clone(), shard);
            findings.push(Finding::WrongStart { index, shard });
        }
        if shard_move.is_idle() {
            let (index, shard) = (index.clone(), shard);
            findings.push(Finding::Idle { index, shard });
        }
        if !seen.insert((index.clone(), shard)) {
            findings.push(Finding::Twice { index, shard });
        }
    }
    findings
}

/// What the rules on sets are checked by.
struct Rules<'a> {
    desired: &'a Desired,
    /// The failure domain of each node that takes shards: its zone, or else itself.
    domains: BTreeMap<&'a NodeId, String>,
    /// Nodes that take shards, by domain.
    sizes: BTreeMap<String, usize>,
}

impl<'a> Rules<'a> {
    fn new(desired: &'a Desired) -> Self {
        let mut domains = BTreeMap::new();
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for node in desired.topology.active_nodes() {
            let domain = match &node.zone {
                Some(zone) => format!("zone {zone}"),
                None => format!("node {}", node.id),
            };
            *sizes.entry(domain.clone()).or_default() += 1;
            domains.insert(&node.id, domain);
        }
        Self {
            desired,
            domains,
            sizes,
        }
    }

    /// The most crowded domain of a set and its copies, if another domain could take one of them.
    fn crowded(&self, set: &[NodeId]) -> Option<(String, usize)> {
        let mut held: BTreeMap<&String, usize> = BTreeMap::new();
        for domain in set.iter().filter_map(|node| self.domains.get(node)) {
            *held.entry(domain).or_default() += 1;
        }
        let could_take = |(domain, size): (&String, &usize)| {
            let held = held.get(domain).copied().unwrap_or(0);
            (held < *size).then_some(held)
        };
        let least = match held.len() < self.sizes.len() {
            true => 0,
            false => self.sizes.iter().filter_map(could_take).min()?,
        };
        let (domain, most) = held.iter().max_by_key(|(_, held)| **held)?;
        (*most > least + 1).then(|| ((*domain).clone(), *most))
    }
}

fn check_set(
    rules: &Rules<'_>,
    state: &IndexState,
    shard: u32,
    set: &[NodeId],
    is_changed: bool,
    findings: &mut Vec<Finding>,
) {
    let place = || (state.index.clone(), ShardId(shard));
    let distinct: BTreeSet<&NodeId> = set.iter().collect();
    if distinct.len() != set.len() {
        let (index, shard) = place();
        findings.push(Finding::NotDistinct { index, shard });
    }
    let wanted = state.replication_factor as usize;
    if set.len() != wanted {
        let (index, shard) = place();
        let found = set.len();
        findings.push(Finding::WrongCount {
            index,
            shard,
            found,
            wanted,
        });
    }
    for node in set.iter().filter(|node| !rules.desired.is_active(node)) {
        let (index, shard) = place();
        let node = node.clone();
        findings.push(Finding::NotActive { index, shard, node });
    }
    // What was not to be touched may be crowded as it was.
    if (is_changed || rules.desired.evens_out)
        && let Some((zone, held)) = rules.crowded(set)
    {
        let (index, shard) = place();
        findings.push(Finding::ZoneCrowded {
            index,
            shard,
            zone,
            held,
        });
    }
}

fn loads(observed: &Observed) -> BTreeMap<NodeId, u64> {
    let mut loads: BTreeMap<NodeId, u64> = BTreeMap::new();
    for state in &observed.indexes {
        for node in state.replica_sets.iter().flatten() {
            *loads.entry(node.clone()).or_default() += state.shard_load();
        }
    }
    loads
}

/// What each node should hold: by weight alone where there are no zones and no node is so heavy that
/// it would hold a shard twice; else as `place` divides it.
fn shares(observed: &Observed, desired: &Desired) -> BTreeMap<NodeId, f64> {
    let nodes: Vec<_> = desired.topology.active_nodes().collect();
    let rules = Rules::new(desired);
    let mut domains: BTreeMap<&String, Vec<u32>> = BTreeMap::new();
    for (position, node) in (0..).zip(&nodes) {
        if let Some(domain) = rules.domains.get(&node.id) {
            domains.entry(domain).or_default().push(position);
        }
    }
    let domains: Vec<Vec<u32>> = domains.into_values().collect();
    let weights: Vec<f64> = nodes
        .iter()
        .map(|node| f64::from(node.weight_milli))
        .collect();
    let mut shares: BTreeMap<NodeId, f64> = BTreeMap::new();
    let mut parts_by_factor: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for state in &observed.indexes {
        let load = state.shard_load() as f64 * state.replica_sets.len() as f64;
        let parts = parts_by_factor
            .entry(state.replication_factor)
            .or_insert_with_key(|factor| {
                crate::placement::fair_shares(&domains, &weights, *factor)
            });
        for (node, part) in nodes.iter().zip(parts) {
            *shares.entry(node.id.clone()).or_default() += *part * load;
        }
    }
    shares
}

fn overloaded(
    after: &Observed,
    loads: &BTreeMap<NodeId, u64>,
    shares: &BTreeMap<NodeId, f64>,
) -> Vec<Finding> {
    let largest = after
        .indexes
        .iter()
        .map(IndexState::shard_load)
        .max()
        .unwrap_or(0);
    let mut findings = Vec::new();
    for (node, share) in shares {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is a part of a sum of loads"
        )]
        let bound = (share * IMBALANCE_MAX) as u64 + largest;
        let bytes = loads.get(node).copied().unwrap_or(0);
        if bytes > bound {
            let node = node.clone();
            findings.push(Finding::Overloaded { node, bytes, bound });
        }
    }
    findings
}

/// A copy was needless if its shard could just as well have stayed on a node that had it: the old
/// holder takes shards, its zone allows it, and the cluster would be no less even.
fn needless(
    rules: &Rules<'_>,
    before: &Observed,
    after: &Observed,
    loads: &BTreeMap<NodeId, u64>,
    shares: &BTreeMap<NodeId, f64>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let squares = |node: &NodeId, change: f64| {
        let load = loads.get(node).copied().unwrap_or(0) as f64 + change;
        let share = shares.get(node).copied().unwrap_or(0.0).max(1.0);
        (load - share).powi(2) / share
    };
    for (old, new) in before.indexes.iter().zip(&after.indexes) {
        let load = new.shard_load() as f64;
        for (shard, (from, to)) in (0..).zip(old.replica_sets.iter().zip(&new.replica_sets)) {
            for came in to.iter().filter(|node| !from.contains(node)) {
                let could_stay = from.iter().any(|left| {
                    if to.contains(left) || !rules.desired.is_active(left) {
                        return false;
                    }
                    let mut undone: Vec<NodeId> = to.clone();
                    undone
                        .iter_mut()
                        .filter(|n| *n == came)
                        .for_each(|n| n.clone_from(left));
                    let is_worse = squares(came, -load) + squares(left, load)
                        > squares(came, 0.0) + squares(left, 0.0);
                    rules.crowded(&undone).is_none() && !is_worse
                });
                if could_stay {
                    findings.push(Finding::Needless {
                        index: new.index.clone(),
                        shard: ShardId(shard),
                        node: came.clone(),
                    });
                }
            }
        }
    }
    findings
}
