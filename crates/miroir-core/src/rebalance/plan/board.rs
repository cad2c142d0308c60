//! The working state of a plan: sets by number, loads, and the nodes in order of their fill.

use super::Refusal;
use crate::id::NodeId;
use crate::placement::fair_shares;
use crate::rebalance::observed::{Observed, TwinBytes};
use crate::rebalance::stage::Desired;
use crate::topology::NodeRole;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Nodes that are about as empty as the emptiest are compared by how much they hold of the index.
const FILL_NEAR: f64 = 0.02;
/// So many of them at most.
const CANDIDATES_MAX: usize = 8;
/// Up to so many failure domains are looked through one by one; with more of them, most nodes are in
/// a domain that a shard does not use yet, and the emptiest are found by skipping.
const DOMAINS_FEW: usize = 16;

/// A node.
pub(super) struct Slot {
    pub(super) id: NodeId,
    /// It takes shards.
    pub(super) is_active: bool,
    /// It cannot be copied from, now or ever.
    pub(super) is_unreadable: bool,
    pub(super) domain: u32,
    /// Its share of the whole load; above 0 if active.
    pub(super) share: f64,
    pub(super) weight: f64,
    pub(super) load: u64,
    /// What it can be copied, if known: what is promised is not free any more.
    pub(super) free: Option<u64>,
    /// What indexes that are being re-sharded still take of its disk.
    pub(super) promised: u64,
    /// What it holds of them beside its shards.
    pub(super) twin: TwinBytes,
    /// What of its disk is taken by what is copied to it.
    pub(super) received: u64,
}

/// A shard and where it shall lie.
pub(super) struct Item {
    /// Position of its index.
    pub(super) index: u32,
    pub(super) shard: u32,
    /// The set there is.
    pub(super) from: Vec<u32>,
    /// The set there shall be.
    pub(super) to: Vec<u32>,
}

/// What is the same for all shards of an index.
pub(super) struct IndexFacts {
    pub(super) load: u64,
    /// What it takes of a disk.
    pub(super) disk_bytes: u64,
    pub(super) replication_factor: usize,
}

pub(super) struct Board {
    /// All nodes that are there before or after, sorted by id.
    pub(super) slots: Vec<Slot>,
    pub(super) items: Vec<Item>,
    pub(super) indexes: Vec<IndexFacts>,
    /// The shards of each node by index, of the sets that shall be.
    pub(super) on_node: Vec<BTreeMap<u32, BTreeSet<u32>>>,
    /// Active nodes by domain.
    pub(super) domains: Vec<Vec<u32>>,
    /// Active nodes by fill, and by fill within each domain.
    pub(super) by_fill: BTreeSet<(u64, u32)>,
    by_fill_in: Vec<BTreeSet<(u64, u32)>>,
    /// Newcomers by the node whose place they take.
    replacements: BTreeMap<u32, u32>,
    may_touch_all: bool,
}

impl Board {
    pub(super) fn new(observed: &Observed, desired: &Desired) -> Self {
        let sets = observed
            .indexes
            .iter()
            .flat_map(|state| &state.replica_sets);
        // Gathered without order first: there are many more replicas than nodes.
        let mut seen: HashSet<&NodeId> = sets.flatten().collect();
        seen.extend(desired.topology.nodes().iter().map(|node| &node.id));
        let mut names: Vec<&NodeId> = seen.into_iter().collect();
        names.sort_unstable();
        // Only looked up, never walked.
        let numbers: HashMap<&NodeId, u32> = names.iter().copied().zip(0..).collect();

        let mut domains: Vec<Vec<u32>> = Vec::new();
        let mut domain_by_zone: BTreeMap<&str, usize> = BTreeMap::new();
        let mut slots = Vec::with_capacity(names.len());
        for (number, name) in (0..).zip(&names) {
            let node = desired.topology.get_node(name);
            let is_active = node.is_some_and(|node| node.role == NodeRole::Active);
            let mut domain = 0;
            if let Some(node) = node.filter(|_| is_active) {
                let next = domains.len();
                domain = match node.zone.as_deref() {
                    Some(zone) => *domain_by_zone.entry(zone).or_insert(next),
                    None => next,
                };
                if domain == next {
                    domains.push(Vec::new());
                }
                domains[domain].push(number);
            }
            let twin = observed.twins.get(*name).copied().unwrap_or_default();
            let promised = on_disk(observed, twin.bytes_to_come);
            let free = observed.free_bytes.get(*name);
            slots.push(Slot {
                id: (*name).clone(),
                is_active,
                is_unreadable: desired.lost.contains(*name) || observed.unreadable.contains(*name),
                domain: u32::try_from(domain).expect("no more domains than nodes"),
                share: 0.0,
                weight: node.map_or(0.0, |node| f64::from(node.weight_milli)),
                load: 0,
                free: free.map(|free| free.saturating_sub(promised)),
                promised,
                twin,
                received: 0,
            });
        }
        let number_of = |node: &NodeId| numbers.get(node).copied();
        let mut board = Self {
            on_node: vec![BTreeMap::new(); slots.len()],
            slots,
            items: Vec::new(),
            indexes: Vec::with_capacity(observed.indexes.len()),
            by_fill: BTreeSet::new(),
            by_fill_in: vec![BTreeSet::new(); domains.len()],
            domains,
            replacements: desired
                .replacements
                .iter()
                .filter_map(|(old, new)| Some((number_of(old)?, number_of(new)?)))
                .collect(),
            may_touch_all: desired.evens_out,
        };
        for state in &observed.indexes {
            let index = u32::try_from(board.indexes.len()).unwrap_or(u32::MAX);
            let wanted = desired.replication_factor(&state.uid, state.replication_factor);
            board.indexes.push(IndexFacts {
                load: state.shard_load(),
                disk_bytes: on_disk(observed, state.shard_bytes()),
                replication_factor: wanted as usize,
            });
            for (shard, set) in (0..).zip(&state.replica_sets) {
                let from: Vec<u32> = set.iter().filter_map(number_of).collect();
                let item_idx = u32::try_from(board.items.len()).unwrap_or(u32::MAX);
                let to = from.clone();
                for node in &to {
                    board.note(item_idx, index, *node);
                }
                board.items.push(Item {
                    index,
                    shard,
                    from,
                    to,
                });
            }
        }
        board.set_shares(observed);
        for number in board.domains.concat() {
            board.list(number);
        }
        board
    }

    /// Each active node's part of the load, summed over the indexes: those of one replication factor
    /// are divided alike.
    fn set_shares(&mut self, observed: &Observed) {
        let mut load_by_factor: BTreeMap<usize, f64> = BTreeMap::new();
        for (facts, state) in self.indexes.iter().zip(&observed.indexes) {
            *load_by_factor.entry(facts.replication_factor).or_default() +=
                as_f64(facts.load) * as_f64(state.replica_sets.len() as u64);
        }
        let active = self.domains.concat();
        let mut positions = vec![0; self.slots.len()];
        for (position, number) in (0..).zip(&active) {
            positions[*number as usize] = position;
        }
        let weights: Vec<f64> = active
            .iter()
            .map(|n| self.slots[*n as usize].weight)
            .collect();
        let to_position =
            |domain: &Vec<u32>| domain.iter().map(|n| positions[*n as usize]).collect();
        let domains: Vec<Vec<u32>> = self.domains.iter().map(to_position).collect();
        for (factor, load) in load_by_factor {
            let factor = u32::try_from(factor.min(active.len())).unwrap_or(u32::MAX);
            for (number, share) in active.iter().zip(fair_shares(&domains, &weights, factor)) {
                self.slots[*number as usize].share += share * load;
            }
        }
    }

    /// How full a node is, by its share: 1 is just right.
    pub(super) fn fill(&self, node: u32) -> f64 {
        let slot = &self.slots[node as usize];
        as_f64(slot.load) / slot.share.max(1.0)
    }

    /// Positive doubles are in the order of their bits.
    fn fill_key(&self, node: u32) -> (u64, u32) {
        (self.fill(node).to_bits(), node)
    }

    fn list(&mut self, node: u32) {
        let key = self.fill_key(node);
        self.by_fill.insert(key);
        self.by_fill_in[self.slots[node as usize].domain as usize].insert(key);
    }

    fn unlist(&mut self, node: u32) {
        let key = self.fill_key(node);
        self.by_fill.remove(&key);
        self.by_fill_in[self.slots[node as usize].domain as usize].remove(&key);
    }

    fn note(&mut self, item_idx: u32, index: u32, node: u32) {
        let held = self.on_node[node as usize].entry(index).or_default();
        held.insert(item_idx);
        self.slots[node as usize].load += self.indexes[index as usize].load;
    }

    /// Puts a shard on an active node, at a place of its set.
    pub(super) fn put(&mut self, item_idx: u32, node: u32, place: usize) {
        self.unlist(node);
        let item = &mut self.items[item_idx as usize];
        let place = place.min(item.to.len());
        item.to.insert(place, node);
        let (index, is_new) = (item.index, !item.from.contains(&node));
        self.note(item_idx, index, node);
        let bytes = self.indexes[index as usize].disk_bytes;
        if is_new {
            self.slots[node as usize].received += bytes;
        }
        self.list(node);
    }

    /// Takes a shard from a node; returns the place it had.
    pub(super) fn take(&mut self, item_idx: u32, node: u32) -> usize {
        let is_active = self.slots[node as usize].is_active;
        if is_active {
            self.unlist(node);
        }
        let item = &mut self.items[item_idx as usize];
        let place = item
            .to
            .iter()
            .position(|n| *n == node)
            .unwrap_or(item.to.len());
        if place < item.to.len() {
            item.to.remove(place);
        }
        let (index, was_new) = (item.index, !item.from.contains(&node));
        if let Some(held) = self.on_node[node as usize].get_mut(&index) {
            held.remove(&item_idx);
            if held.is_empty() {
                self.on_node[node as usize].remove(&index);
            }
        }
        let facts = &self.indexes[index as usize];
        let slot = &mut self.slots[node as usize];
        slot.load = slot.load.saturating_sub(facts.load);
        if was_new {
            slot.received = slot.received.saturating_sub(facts.disk_bytes);
        }
        if is_active {
            self.list(node);
        }
        place
    }

    /// Replicas of the index on the node, by the node's weight: how concentrated it is there.
    pub(super) fn concentration(&self, index: u32, node: u32) -> f64 {
        let held = self.on_node[node as usize].get(&index);
        as_f64(held.map_or(0, BTreeSet::len) as u64) / self.slots[node as usize].weight.max(1.0)
    }

    /// Replicas of a set in a domain.
    fn use_of(&self, set: &[u32], domain: u32) -> usize {
        let is_there = |node: &&u32| {
            let slot = &self.slots[**node as usize];
            slot.is_active && slot.domain == domain
        };
        set.iter().filter(is_there).count()
    }

    /// Whether two replicas of a set are in one domain.
    fn shares_domains(&self, set: &[u32]) -> bool {
        let domain_of = |node: &u32| self.slots[*node as usize].domain;
        let is_shared = |(place, node): (usize, &u32)| {
            set[..place]
                .iter()
                .any(|other| domain_of(other) == domain_of(node))
        };
        set.iter().enumerate().any(is_shared)
    }

    /// How many replicas the domains that may take the next one of this set have of it: one of every
    /// domain first, then a second of every domain that has two nodes, and so on.
    fn level(&self, set: &[u32]) -> usize {
        let mut used: Vec<u32> = set
            .iter()
            .filter(|node| self.slots[**node as usize].is_active)
            .map(|node| self.slots[*node as usize].domain)
            .collect();
        used.sort_unstable();
        used.dedup();
        if used.len() < self.domains.len() {
            return 0;
        }
        let of_domain = |domain: &u32| {
            let held = self.use_of(set, *domain);
            (held < self.domains[*domain as usize].len()).then_some(held)
        };
        used.iter()
            .filter_map(of_domain)
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Whether a set would keep the rule on domains if `node` came into it.
    pub(super) fn fits(&self, set: &[u32], node: u32) -> bool {
        !set.contains(&node)
            && self.use_of(set, self.slots[node as usize].domain) == self.level(set)
    }

    pub(super) fn has_room(&self, item: &Item, node: u32) -> bool {
        let bytes = self.indexes[item.index as usize].disk_bytes;
        let slot = &self.slots[node as usize];
        let is_enough = |free: u64| slot.received.saturating_add(bytes) <= free;
        item.from.contains(&node) || slot.free.is_none_or(is_enough)
    }

    /// The node for one more replica of a shard: the emptiest; of some that are about as empty, the
    /// one with the least of the index. Nodes without room are passed over while there are others.
    fn choose(&self, item_idx: u32) -> Option<u32> {
        let with_room = self.choose_among(item_idx, true);
        with_room.or_else(|| self.choose_among(item_idx, false))
    }

    fn choose_among(&self, item_idx: u32, only_with_room: bool) -> Option<u32> {
        let item = &self.items[item_idx as usize];
        let level = self.level(&item.to);
        let is_open = |domain: u32| self.use_of(&item.to, domain) == level;
        let may =
            |node: u32| !item.to.contains(&node) && (!only_with_room || self.has_room(item, node));
        let mut near: Vec<(f64, u32)> = Vec::with_capacity(CANDIDATES_MAX);
        let first_of =
            |keys: &BTreeSet<(u64, u32)>, near: &mut Vec<(f64, u32)>, is_one_domain: bool| {
                let mut limit = f64::INFINITY;
                let mut count = 0;
                for (fill, node) in keys {
                    let fill = f64::from_bits(*fill);
                    if fill > limit || count == CANDIDATES_MAX {
                        break;
                    }
                    if may(*node) && (is_one_domain || is_open(self.slots[*node as usize].domain)) {
                        limit = limit.min(fill + FILL_NEAR);
                        near.push((fill, *node));
                        count += 1;
                    }
                }
            };
        if self.domains.len() <= DOMAINS_FEW {
            for (domain, keys) in (0..).zip(&self.by_fill_in) {
                if is_open(domain) {
                    first_of(keys, &mut near, true);
                }
            }
        } else {
            first_of(&self.by_fill, &mut near, false);
        }
        let least = near
            .iter()
            .map(|(fill, _)| *fill)
            .fold(f64::INFINITY, f64::min);
        near.retain(|(fill, _)| *fill <= least + FILL_NEAR);
        let by_concentration = |a: &(f64, u32), b: &(f64, u32)| {
            let of = |node: u32| self.concentration(item.index, node);
            of(a.1)
                .total_cmp(&of(b.1))
                .then(a.0.total_cmp(&b.0))
                .then(a.1.cmp(&b.1))
        };
        near.into_iter()
            .min_by(by_concentration)
            .map(|(_, node)| node)
    }

    /// Brings every set to its number of replicas on nodes that take shards, keeping what may stay.
    pub(super) fn place_what_must(&mut self) {
        // Those with the fewest readable copies choose first, then the large ones: small ones fill
        // the gaps that are left.
        let mut order: Vec<u32> = (0..).take(self.items.len()).collect();
        order.sort_by_cached_key(|item_idx| {
            let item = &self.items[*item_idx as usize];
            let load = self.indexes[item.index as usize].load;
            (
                self.readable(&item.from),
                std::cmp::Reverse(load),
                *item_idx,
            )
        });
        // Room is made before anything is placed.
        let mut holes: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        for item_idx in &order {
            holes[*item_idx as usize] = self.clear(*item_idx);
        }
        for item_idx in order {
            let item = &self.items[item_idx as usize];
            let wanted = self.indexes[item.index as usize].replication_factor;
            let mut holes = std::mem::take(&mut holes[item_idx as usize]).into_iter();
            for _ in item.to.len()..wanted {
                let Some(node) = self.choose(item_idx) else {
                    break;
                };
                let place = holes.next().unwrap_or(usize::MAX);
                self.put(item_idx, node, place);
            }
        }
    }

    /// Copies of a set that can be read now.
    pub(super) fn readable(&self, set: &[u32]) -> usize {
        set.iter()
            .filter(|n| !self.slots[**n as usize].is_unreadable)
            .count()
    }

    /// Takes from a set what cannot stay, and puts newcomers into the places they take over. Returns
    /// the places that are free, ascending.
    fn clear(&mut self, item_idx: u32) -> Vec<usize> {
        let mut holes = Vec::new();
        let set = self.items[item_idx as usize].to.clone();
        for (hole, node) in set.into_iter().enumerate() {
            if self.slots[node as usize].is_active {
                continue;
            }
            let place = self.take(item_idx, node);
            let successor = self.replacements.get(&node).copied();
            match successor.filter(|new| self.fits(&self.items[item_idx as usize].to, *new)) {
                Some(new) => self.put(item_idx, new, place),
                None => holes.push(hole),
            }
        }
        let wanted = self.indexes[self.items[item_idx as usize].index as usize].replication_factor;
        while self.items[item_idx as usize].to.len() > wanted {
            let Some(node) = self.least_wanted(item_idx, false) else {
                break;
            };
            self.take(item_idx, node);
        }
        if self.may_touch_all || !holes.is_empty() {
            // Each time around one replica goes, so it ends.
            while let Some(node) = self.least_wanted(item_idx, true) {
                holes.push(self.take(item_idx, node));
            }
        }
        holes.sort_unstable();
        holes
    }

    /// The replica to give up: of the most crowded domain, unreadable first, then on the fullest
    /// node. With `only_crowding`, only one that shares its domain while another domain could take
    /// it.
    fn least_wanted(&self, item_idx: u32, only_crowding: bool) -> Option<u32> {
        let set = &self.items[item_idx as usize].to;
        if only_crowding && !self.shares_domains(set) {
            return None;
        }
        let is_crowding = |node: u32| {
            let others: Vec<u32> = set.iter().copied().filter(|n| *n != node).collect();
            self.use_of(&others, self.slots[node as usize].domain) > self.level(&others)
        };
        set.iter()
            .copied()
            .filter(|node| !only_crowding || is_crowding(*node))
            .max_by(|a, b| {
                let key = |node: u32| {
                    let slot = &self.slots[node as usize];
                    (self.use_of(set, slot.domain), slot.is_unreadable)
                };
                key(*a)
                    .cmp(&key(*b))
                    .then(self.fill(*a).total_cmp(&self.fill(*b)))
                    .then(a.cmp(b))
            })
    }

    /// The nodes that are known to have too little room for what they get.
    pub(super) fn space_refusals(&self) -> Vec<Refusal> {
        let short = |slot: &Slot| {
            let free_bytes = slot.free.filter(|free| slot.received > *free)?;
            Some(Refusal::TooLittleSpace {
                node: slot.id.clone(),
                bytes: slot.received,
                free_bytes: free_bytes.saturating_add(slot.promised),
                promised_bytes: slot.promised,
            })
        };
        self.slots.iter().filter_map(short).collect()
    }
}

/// What documents of this size take of a disk; as much as they are, while nothing is known.
fn on_disk(observed: &Observed, bytes: u64) -> u64 {
    let factor = u128::from(observed.disk_factor_milli.unwrap_or(1000));
    u64::try_from(u128::from(bytes) * factor / 1000).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "loads need no more than 53 bits"
)]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
