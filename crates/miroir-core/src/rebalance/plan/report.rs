//! What a plan comes to: the moves in order, the loads, the reasons against it.

use super::board::{Board, Item, Slot, as_f64};
use super::{GivenUp, LeastReplicas, NodeLoad, Plan, PlannedMove, Refusal, Warning};
use crate::id::{NodeId, PhysicalIndex, ShardId};
use crate::rebalance::ShardMove;
use crate::rebalance::observed::{IndexState, Observed};
use crate::rebalance::stage::Desired;
use std::collections::{BTreeMap, BTreeSet};

/// A node that holds more than this beyond its share in the end is told of: a factor.
const UNEVEN: f64 = 1.25;
/// A node whose zone makes it hold so much more than its weight says is told of: a factor.
const ZONE_TOO_SMALL: f64 = 1.5;

/// What no plan can do.
pub(super) fn impossible(observed: &Observed, desired: &Desired) -> Vec<Refusal> {
    let active_count = desired.topology.active_nodes().count();
    let mut refusals = Vec::new();
    for state in &observed.indexes {
        let replication_factor = wanted(state, desired);
        if replication_factor as usize > active_count {
            refusals.push(Refusal::TooFewNodes {
                index: state.uid.to_string(),
                replication_factor,
                active_count,
            });
        }
        let is_gone = |set: &Vec<NodeId>| desired.is_gone(set) && !desired.is_given_up(set);
        let sets = (0u32..).zip(&state.replica_sets);
        let gone: Vec<u32> = sets
            .filter(|(_, set)| is_gone(set))
            .map(|(s, _)| s)
            .collect();
        if let Some(first) = gone.first() {
            refusals.push(Refusal::ShardLost {
                index: state.uid.to_string(),
                count: gone.len() as u64,
                first: *first,
            });
        }
    }
    refusals
}

/// What begins anew, empty.
fn given_up(observed: &Observed, desired: &Desired) -> Vec<GivenUp> {
    let of_index = |state: &IndexState| {
        let sets = (0u32..).map(ShardId).zip(&state.replica_sets);
        let shards: Vec<ShardId> = sets
            .filter(|(_, set)| desired.is_given_up(set))
            .map(|(shard, _)| shard)
            .collect();
        let count = shards.len() as u64;
        // Sizes are those of the nodes that answer: with none of the index among them, they are 0.
        let documents = state.shard_documents().saturating_mul(count);
        (count > 0).then(|| GivenUp {
            index: state.uid.to_string(),
            shards,
            shard_count: state.replica_sets.len() as u64,
            documents: (documents > 0).then_some(documents),
        })
    };
    observed.indexes.iter().filter_map(of_index).collect()
}

fn wanted(state: &IndexState, desired: &Desired) -> u32 {
    desired.replication_factor(&state.uid, state.replication_factor)
}

/// The plan that the board shows.
pub(super) fn report(
    board: &Board,
    observed: &Observed,
    desired: &Desired,
    bytes_per_second: Option<u64>,
    refusals: Vec<Refusal>,
) -> Plan {
    let loads = loads(board);
    let imbalance = |load_of: &dyn Fn(&NodeLoad) -> u64| {
        let fills = loads
            .iter()
            .zip(&board.slots)
            .filter(|(_, slot)| slot.is_active)
            .map(|(load, slot)| as_f64(load_of(load)) / slot.share.max(1.0));
        fills.fold(0.0, f64::max)
    };
    let mut plan = Plan {
        imbalance_before: imbalance(&|load| load.bytes_before),
        imbalance_after: imbalance(&|load| load.bytes_after),
        refusals,
        ..Plan::default()
    };
    if plan.refusals.is_empty() {
        let endangered = order(board, observed, desired, &mut plan);
        plan.given_up = given_up(observed, desired);
        plan.documents = plan.moves.iter().map(|planned| planned.documents).sum();
        plan.bytes = plan.moves.iter().map(|planned| planned.bytes).sum();
        plan.seconds = bytes_per_second
            .filter(|rate| *rate > 0)
            .map(|rate| plan.bytes.div_ceil(rate));
        plan.warnings = warnings(board, observed, desired, &loads, &endangered);
    }
    plan.nodes = loads;
    plan
}

fn loads(board: &Board) -> Vec<NodeLoad> {
    let mut before = vec![(0u64, 0u64); board.slots.len()];
    let mut dropped = vec![0u64; board.slots.len()];
    for item in &board.items {
        let load = board.indexes[item.index as usize].load;
        for node in &item.from {
            let (bytes, replicas) = &mut before[*node as usize];
            (*bytes, *replicas) = (*bytes + load, *replicas + 1);
            if !item.to.contains(node) {
                dropped[*node as usize] += load;
            }
        }
    }
    let load_of = |(number, slot): (usize, &Slot)| NodeLoad {
        node: slot.id.clone(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shares are parts of a sum of loads"
        )]
        share_bytes: slot.share as u64,
        bytes_before: before[number].0,
        bytes_after: slot.load,
        bytes_peak: slot.load + dropped[number] + slot.twin.bytes,
        bytes_twins: slot.twin.bytes,
        replicas_before: before[number].1,
        replicas_after: board.on_node[number]
            .values()
            .map(|held| held.len() as u64)
            .sum(),
        bytes_received: slot.received,
    };
    board.slots.iter().enumerate().map(load_of).collect()
}

/// What moves put at risk.
struct Endangered {
    /// Shards to copy that cannot be read now.
    unread: u64,
    /// Shards with a single copy at some moment, though more are wanted.
    single: u64,
}

/// Fills in the moves, the shards with the fewest copies first, and how many copies the worst-off
/// shard has meanwhile.
fn order(board: &Board, observed: &Observed, desired: &Desired, plan: &mut Plan) -> Endangered {
    let readable = |set: &[u32]| board.readable(set);
    let mut endangered = Endangered {
        unread: 0,
        single: 0,
    };
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    let mut moving: Vec<(usize, &Item)> = Vec::new();
    for item in &board.items {
        let now = readable(&item.from);
        *counts.entry(now).or_default() += 1;
        let has_target = item.to.iter().any(|node| !item.from.contains(node));
        let has_leaver = item.from.iter().any(|node| !item.to.contains(node));
        if !has_target && !has_leaver {
            continue;
        }
        let state = &observed.indexes[item.index as usize];
        let set = state.replica_sets.get(item.shard as usize);
        let is_given_up = set.is_some_and(|set| desired.is_given_up(set));
        endangered.unread += u64::from(has_target && now == 0 && !is_given_up);
        endangered.single += u64::from(now == 1 && item.to.len() > 1);
        let wanted = board.indexes[item.index as usize].replication_factor;
        let urgency = match (has_target, now < wanted.min(item.to.len())) {
            (true, true) => now,
            (true, false) => usize::MAX - 1,
            // What only drops copies waits until all that is copied is safe.
            (false, _) => usize::MAX,
        };
        moving.push((urgency, item));
    }
    moving.sort_by_key(|(urgency, item)| (*urgency, item.index, item.shard));
    let least = |counts: &BTreeMap<usize, u64>| counts.keys().next().copied().unwrap_or(0);
    let as_count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    plan.least_replicas.before = as_count(least(&counts));
    let mut worst = least(&counts);
    for (_, item) in moving {
        let (now, then) = (readable(&item.from), item.to.len());
        let during = least(&counts).min(then);
        worst = worst.min(during);
        if let Some(count) = counts.get_mut(&now) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&now);
            }
        }
        *counts.entry(then).or_default() += 1;
        let state = &observed.indexes[item.index as usize];
        plan.moves
            .push(to_move(board, state, item, desired, as_count(during)));
    }
    plan.least_replicas = LeastReplicas {
        during: as_count(worst),
        after: as_count(least(&counts)),
        ..plan.least_replicas
    };
    endangered
}

fn to_move(
    board: &Board,
    state: &IndexState,
    item: &Item,
    desired: &Desired,
    least_replicas: u32,
) -> PlannedMove {
    let names = |set: &[u32]| -> Vec<NodeId> {
        set.iter()
            .map(|node| board.slots[*node as usize].id.clone())
            .collect()
    };
    let shard_move = ShardMove {
        index: PhysicalIndex::clone(&state.index),
        shard: ShardId(item.shard),
        from: names(&item.from),
        to: names(&item.to),
    };
    let target_count = match desired.is_given_up(&shard_move.from) {
        // There is nothing to copy.
        true => 0,
        false => shard_move.targets().count() as u64,
    };
    PlannedMove {
        documents: state.shard_documents() * target_count,
        bytes: state.shard_bytes() * target_count,
        shard_move,
        least_replicas,
    }
}

fn warnings(
    board: &Board,
    observed: &Observed,
    desired: &Desired,
    loads: &[NodeLoad],
    endangered: &Endangered,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let zones: BTreeSet<&str> = desired
        .topology
        .active_nodes()
        .filter_map(|node| node.zone.as_deref())
        .collect();
    let active_count = desired.topology.active_nodes().count();
    for state in &observed.indexes {
        let replication_factor = wanted(state, desired);
        // Nodes without a zone are domains of their own; a cluster without zones breaks no rule.
        let zone_count = board.domains.len();
        if !zones.is_empty() && replication_factor as usize > zone_count {
            warnings.push(Warning::ZonesShared {
                index: state.uid.to_string(),
                replication_factor,
                zone_count,
            });
        }
        let replica_count = state.replica_sets.len() * replication_factor as usize;
        if replica_count > 1 && replica_count < active_count {
            warnings.push(Warning::FewShards {
                index: state.uid.to_string(),
                replica_count,
                active_count,
            });
        }
    }
    let active = || {
        board
            .slots
            .iter()
            .zip(loads)
            .filter(|(slot, _)| slot.is_active)
    };
    let (share_sum, weight_sum) = active().fold((0.0, 0.0), |(shares, weights), (slot, _)| {
        (shares + slot.share, weights + slot.weight)
    });
    for (slot, _) in active() {
        let by_weight = share_sum * slot.weight / f64::max(weight_sum, 1.0);
        if share_sum > 0.0 && slot.share > by_weight * ZONE_TOO_SMALL {
            warnings.push(Warning::ZoneTooSmall {
                node: slot.id.clone(),
                percent: percent(slot.share / by_weight),
            });
        }
    }
    let fill = |(slot, load): &(&Slot, &NodeLoad)| as_f64(load.bytes_after) / slot.share.max(1.0);
    let fullest = active().max_by(|a, b| fill(a).total_cmp(&fill(b)));
    if let Some(fullest) = fullest.filter(|fullest| desired.evens_out && fill(fullest) > UNEVEN) {
        warnings.push(Warning::Uneven {
            node: fullest.0.id.clone(),
            percent: percent(fill(&fullest)),
        });
    }
    if endangered.unread > 0 {
        warnings.push(Warning::NoSource {
            count: endangered.unread,
        });
    }
    if endangered.single > 0 {
        warnings.push(Warning::SingleCopy {
            count: endangered.single,
        });
    }
    let is_unknown = |slot: &&Slot| slot.received > 0 && slot.free.is_none();
    let mut unknown = board.slots.iter().filter(is_unknown);
    if let Some(first) = unknown.next() {
        warnings.push(Warning::UnknownSpace {
            count: 1 + unknown.count() as u64,
            example: first.id.clone(),
        });
    }
    warnings
}

fn percent(factor: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a factor of loads; the cast saturates"
    )]
    let percent = (factor * 100.0).round() as u64;
    percent
}
