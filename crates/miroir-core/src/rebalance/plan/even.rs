//! Evening out: from nodes that are too full to nodes that are too empty.
//!
//! A move is made only if it makes the sum of `(load - share)² / share` smaller, so evening out ends,
//! and where it ended it does not begin again.

use super::board::{Board, as_f64};
use super::{FILL_MAX, FILL_MIN};

/// Partners tried for one node before it is left as it is.
const PARTNERS_MAX: usize = 128;
/// Partners tried at first: mostly one of them will do.
const PARTNERS_FIRST: usize = 4;
/// Shards of one index compared for one move.
const SHARDS_MAX: usize = 16;
/// Shards of one index looked at to find them: where there are few nodes, most shards of the giver
/// lie on the taker too.
const SHARDS_SEEN_MAX: usize = 8192;
/// Times all nodes are gone through: the second time finds what the first made possible; more are
/// for clusters in which zones and large shards leave little choice.
const PASSES_MAX: usize = 16;
/// What a move must gain, so that rounding does not make two states each better than the other.
const GAIN_MIN: f64 = 1e-9;

impl Board {
    /// Moves shards until every node that takes shards is near its share, as far as can be.
    pub(super) fn even_out(&mut self) {
        for _ in 0..PASSES_MAX {
            let moved = self.pass();
            let undone = self.undo();
            if !moved && !undone {
                return;
            }
        }
    }

    /// Once through all nodes; whether anything moved.
    fn pass(&mut self) -> bool {
        let mut has_moved = false;
        // The emptiest first; each is filled up to its share.
        let too_empty: Vec<u32> = self
            .by_fill
            .iter()
            .take_while(|(fill, _)| f64::from_bits(*fill) < FILL_MIN)
            .map(|(_, node)| *node)
            .collect();
        let mut open = too_empty;
        while !open.is_empty() {
            let emptiest = (0..open.len())
                .min_by(|a, b| self.fill(open[*a]).total_cmp(&self.fill(open[*b])))
                .unwrap_or(0);
            let taker = open[emptiest];
            let is_filled = self.fill(taker) >= 1.0;
            if is_filled || !self.take_from_the_fullest(taker) {
                open.swap_remove(emptiest);
            } else {
                has_moved = true;
            }
        }
        let too_full: Vec<u32> = self
            .by_fill
            .iter()
            .rev()
            .take_while(|(fill, _)| f64::from_bits(*fill) > FILL_MAX)
            .map(|(_, node)| *node)
            .collect();
        for giver in too_full {
            while self.fill(giver) > FILL_MAX && self.give_to_the_emptiest(giver) {
                has_moved = true;
            }
        }
        has_moved
    }

    fn take_from_the_fullest(&mut self, taker: u32) -> bool {
        let fill = self.fill(taker);
        for count in [PARTNERS_FIRST, PARTNERS_MAX] {
            let fullest = self.by_fill.iter().rev();
            let givers: Vec<u32> = fullest
                .take_while(|(giver_fill, _)| f64::from_bits(*giver_fill) > fill)
                .map(|(_, node)| *node)
                .filter(|giver| *giver != taker && self.may_trade(*giver, taker))
                .take(count)
                .collect();
            if givers.into_iter().any(|giver| self.trade(giver, taker)) {
                return true;
            }
        }
        false
    }

    fn give_to_the_emptiest(&mut self, giver: u32) -> bool {
        let fill = self.fill(giver);
        for count in [PARTNERS_FIRST, PARTNERS_MAX] {
            let takers: Vec<u32> = self
                .by_fill
                .iter()
                .take_while(|(taker_fill, _)| f64::from_bits(*taker_fill) < fill)
                .map(|(_, node)| *node)
                .filter(|taker| *taker != giver && self.may_trade(giver, *taker))
                .take(count)
                .collect();
            if takers.into_iter().any(|taker| self.trade(giver, taker)) {
                return true;
            }
        }
        false
    }

    /// Where every domain holds a replica of every shard, only nodes of one domain can trade. A
    /// first look that spares the search.
    fn may_trade(&self, giver: u32, taker: u32) -> bool {
        let domain_of = |node: u32| self.slots[node as usize].domain;
        let least_factor = self
            .indexes
            .iter()
            .map(|facts| facts.replication_factor)
            .min();
        domain_of(giver) == domain_of(taker)
            || least_factor.is_some_and(|factor| factor % self.domains.len() != 0)
    }

    /// Whether one shard less here and one more there is better.
    fn is_gain(&self, index: u32, giver: u32, taker: u32, margin: f64) -> bool {
        let load = as_f64(self.indexes[index as usize].load);
        let half_way = |node: u32, load: f64| {
            let slot = &self.slots[node as usize];
            (as_f64(slot.load) + load / 2.0) / slot.share.max(1.0)
        };
        half_way(giver, -load) > half_way(taker, load) + margin
    }

    /// Moves the shard that suits best, if there is one.
    ///
    /// Of the indexes whose shards are not too large for it, that one first of which the giver has
    /// the most in comparison with the taker; of its shards one whose move costs nothing, because it
    /// is on its way to the giver or comes from the taker.
    fn trade(&mut self, giver: u32, taker: u32) -> bool {
        let mut indexes: Vec<(f64, u32)> = self.on_node[giver as usize]
            .keys()
            .filter(|index| self.is_gain(**index, giver, taker, GAIN_MIN))
            .map(|index| {
                let lead = self.concentration(*index, giver) - self.concentration(*index, taker);
                (lead, *index)
            })
            .collect();
        indexes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, index) in indexes {
            if let Some(item_idx) = self.shard_to_trade(index, giver, taker) {
                let place = self.take(item_idx, giver);
                self.put(item_idx, taker, place);
                return true;
            }
        }
        false
    }

    fn shard_to_trade(&self, index: u32, giver: u32, taker: u32) -> Option<u32> {
        let held = self.on_node[giver as usize].get(&index)?;
        let mut best = None;
        let mut compared = 0;
        for item_idx in held.iter().take(SHARDS_SEEN_MAX) {
            let item = &self.items[*item_idx as usize];
            if !self.may_replace(*item_idx, giver, taker) || !self.has_room(item, taker) {
                continue;
            }
            if !item.from.contains(&giver) || item.from.contains(&taker) {
                return Some(*item_idx);
            }
            best = best.or(Some(*item_idx));
            compared += 1;
            if compared == SHARDS_MAX {
                break;
            }
        }
        best
    }

    /// Whether the set keeps the rule on domains if one node takes the place of another.
    fn may_replace(&self, item_idx: u32, giver: u32, taker: u32) -> bool {
        let set = &self.items[item_idx as usize].to;
        let domain_of = |node: u32| self.slots[node as usize].domain;
        if set.contains(&taker) {
            return false;
        }
        if domain_of(giver) == domain_of(taker) {
            return true;
        }
        let others: Vec<u32> = set.iter().copied().filter(|node| *node != giver).collect();
        self.fits(&others, taker)
    }

    /// Takes back what turned out to be needless; whether anything was.
    fn undo(&mut self) -> bool {
        let mut has_undone = false;
        for item_idx in (0..).take(self.items.len()) {
            let item = &self.items[item_idx as usize];
            if item.to == item.from {
                continue;
            }
            let came: Vec<u32> = item
                .to
                .iter()
                .copied()
                .filter(|n| !item.from.contains(n))
                .collect();
            for node in came {
                let item = &self.items[item_idx as usize];
                let index = item.index;
                let back = item.from.iter().copied().find(|old| {
                    self.slots[*old as usize].is_active
                        && self.may_replace(item_idx, node, *old)
                        && self.is_gain(index, node, *old, -GAIN_MIN)
                });
                if let Some(old) = back {
                    let place = self.take(item_idx, node);
                    self.put(item_idx, old, place);
                    has_undone = true;
                }
            }
        }
        has_undone
    }
}
