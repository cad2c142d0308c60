//! What reads learn of the nodes, and how reads under faults are set up. One word for each fact,
//! changed without a lock: every search passes here.

use crate::port::NodeError;
use crate::state::Snapshot;
use arc_swap::ArcSwap;
use bytes::Bytes;
use miroir_api::admin;
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use miroir_core::reads::choice::SPARED_COST;
use miroir_core::reads::{
    Admission, Gate, GateEvent, HedgeBudget, Latency, NodeLoad, Strain, expected_us, is_tried_out,
    load_cost, slow_start_cost,
};
use miroir_core::rebalance::duty::Mood;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Before a node's first answer nothing is usual; it is given this long.
const UNKNOWN_USUAL: Duration = Duration::from_millis(500);
/// Nobody searches at a node at which no search ended for so long.
const ALONE_AFTER: Duration = Duration::from_secs(2);
/// Each outcome moves the share of failures by this part of the distance.
const ERROR_SHARE: u32 = 8;

/// What is done when some shards cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartialPolicy {
    /// The request fails.
    #[default]
    Error,
    /// What can be reached is shown, and what is missing is named.
    Partial,
}

/// How reads are set up.
#[derive(Debug, Clone)]
pub struct ReadConfig {
    /// How many requests to nodes may be sent a second time, in thousandths; 0 for none.
    pub hedge_milli: u32,
    /// No request is sent a second time sooner than this.
    pub hedge_after_min: Duration,
    /// The time over which a node that returned takes its part again.
    pub slow_start: Duration,
    /// What is done when shards cannot be reached.
    pub partial: PartialPolicy,
    /// The same for single indexes, by uid.
    pub partial_of: BTreeMap<String, PartialPolicy>,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self {
            hedge_milli: 50,
            hedge_after_min: Duration::from_millis(20),
            slow_start: Duration::from_secs(10),
            partial: PartialPolicy::Error,
            partial_of: BTreeMap::new(),
        }
    }
}

impl ReadConfig {
    /// Whether an answer to a read of this index may lack shards; `wish` is the request's own word.
    pub(crate) fn is_partial(&self, uid: &str, wish: Option<PartialPolicy>) -> bool {
        let of_index = || self.partial_of.get(uid).copied();
        wish.or_else(of_index).unwrap_or(self.partial) == PartialPolicy::Partial
    }
}

/// Kinds of reads, each as quick as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// A search.
    Search,
    /// A listing of documents, or their look-up.
    List,
    /// One document.
    Get,
    /// Facet searches, similar documents, fields.
    Other,
}

impl ReadKind {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Search, "search"),
        (Self::List, "list"),
        (Self::Get, "get"),
        (Self::Other, "other"),
    ];
}

/// What reads know of one node.
#[derive(Default)]
pub(crate) struct NodeReads {
    latency: [AtomicU64; 4],
    gate: AtomicU64,
    in_flight: AtomicU32,
    error_milli: AtomicU32,
    /// When it was last asked, answered, and returned, in microseconds; 0 for never.
    asked_at: AtomicU64,
    answered_at: AtomicU64,
    returned_at: AtomicU64,
    /// Whether reads could go there when it was last looked at: 0 for never.
    was_readable: AtomicU8,
    /// When a search that it took part in last ended, in microseconds; 0 for never.
    searched_at: AtomicU64,
    /// What searches feel of copies. No word holds it; it is locked for a count.
    strain: Mutex<Strain>,
    hedged: AtomicU64,
    hedges_won: AtomicU64,
}

/// A request under way; dropped when it has ended, however.
pub(crate) struct Flight(Arc<NodeReads>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

const READABLE: u8 = 1;
const UNREADABLE: u8 = 2;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

impl NodeReads {
    pub(crate) fn latency(&self, kind: ReadKind) -> Latency {
        Latency::from_bits(self.latency[kind as usize].load(Relaxed))
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::from_bits(self.gate.load(Relaxed))
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn error_milli(&self) -> u32 {
        self.error_milli.load(Relaxed)
    }

    /// Requests to it that were sent a second time, and those of them that another node answered
    /// first.
    pub(crate) fn hedges(&self) -> (u64, u64) {
        (self.hedged.load(Relaxed), self.hedges_won.load(Relaxed))
    }

    pub(crate) fn depart(self: &Arc<Self>, now: Duration) -> Flight {
        self.in_flight.fetch_add(1, Relaxed);
        self.asked_at.store(micros(now), Relaxed);
        Flight(self.clone())
    }

    /// It has answered something, be it another request, after that moment.
    pub(crate) fn has_answered_after(&self, then: Duration) -> bool {
        self.answered_at.load(Relaxed) > micros(then)
    }

    /// Takes in what became of a request.
    pub(crate) fn arrive(
        &self,
        kind: ReadKind,
        started: Duration,
        now: Duration,
        result: &Result<Bytes, NodeError>,
    ) {
        let event = match result {
            Ok(_) | Err(NodeError::Refused { .. }) => GateEvent::Answered,
            Err(NodeError::Busy { .. }) => GateEvent::Busy,
            Err(_) => GateEvent::Failed,
        };
        if event != GateEvent::Failed {
            self.answered_at.store(micros(now), Relaxed);
        }
        if result.is_ok() {
            let elapsed = now.saturating_sub(started);
            let step = |bits| Some(Latency::from_bits(bits).answered(elapsed).to_bits());
            let _ = self.latency[kind as usize].fetch_update(Relaxed, Relaxed, step);
        }
        self.note_error(event);
        self.step_gate(now, event);
    }

    fn note_error(&self, event: GateEvent) {
        let goal = match event {
            GateEvent::Answered => 0,
            GateEvent::Failed => 1000,
            GateEvent::Busy | GateEvent::Tried => return,
        };
        let step = |milli: u32| {
            let step = (milli.abs_diff(goal) / ERROR_SHARE).max(1);
            match milli.cmp(&goal) {
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Less => Some(milli + step),
                std::cmp::Ordering::Greater => Some(milli - step),
            }
        };
        let _ = self.error_milli.fetch_update(Relaxed, Relaxed, step);
    }

    /// Returns whether the gate changed by this call.
    fn step_gate(&self, now: Duration, event: GateEvent) -> bool {
        let step = |bits| {
            let next = Gate::from_bits(bits).step(now, event).to_bits();
            (next != bits).then_some(next)
        };
        let Ok(before) = self.gate.fetch_update(Relaxed, Relaxed, step) else {
            return false;
        };
        if event == GateEvent::Answered && Gate::from_bits(before).is_broken() {
            self.returned_at.store(micros(now), Relaxed);
        }
        true
    }

    /// Another node answered in its stead; silence is a failure, slowness is not.
    pub(crate) fn overtaken(&self, kind: ReadKind, started: Duration, now: Duration) {
        let elapsed = now.saturating_sub(started);
        let step = |bits| Some(Latency::from_bits(bits).overtaken(elapsed).to_bits());
        let _ = self.latency[kind as usize].fetch_update(Relaxed, Relaxed, step);
        self.hedges_won.fetch_add(1, Relaxed);
        if !self.has_answered_after(started) {
            self.step_gate(now, GateEvent::Failed);
        }
    }

    /// It took part in a search that took so long as a whole. A quiet one is one beside no copy.
    pub(crate) fn searched(&self, elapsed: Duration, now: Duration, is_quiet: bool) {
        self.searched_at.store(micros(now), Relaxed);
        self.strain.lock().searched(elapsed, is_quiet);
    }

    /// How those who search there fare beside a copy.
    pub(crate) fn mood(&self, now: Duration) -> Mood {
        let is_alone = match self.searched_at.load(Relaxed) {
            0 => true,
            at => now.saturating_sub(Duration::from_micros(at)) > ALONE_AFTER,
        };
        if is_alone {
            return Mood::Alone;
        }
        let strain = self.strain.lock();
        if strain.slow_from().is_none() {
            Mood::Unknown
        } else if strain.is_felt() {
            Mood::Strained
        } else {
            Mood::Content
        }
    }

    /// As operators see it.
    pub(crate) fn shown(&self, now: Duration) -> admin::NodeReads {
        let mean = |(kind, name): (ReadKind, &str)| {
            let millis = self.latency(kind).mean()?.as_secs_f64() * 1000.0;
            Some((name.to_owned(), (millis * 1000.0).round() / 1000.0))
        };
        let (hedges, hedges_won) = self.hedges();
        admin::NodeReads {
            latency_ms: ReadKind::ALL.into_iter().filter_map(mean).collect(),
            in_flight: self.in_flight().into(),
            error_rate: f64::from(self.error_milli()) / 1000.0,
            breaker: self.gate().name(now).to_owned(),
            hedges,
            hedges_won,
        }
    }

    pub(crate) fn note_hedged(&self) {
        self.hedged.fetch_add(1, Relaxed);
    }

    fn look(&self, is_readable: bool, now: Duration) {
        let state = if is_readable { READABLE } else { UNREADABLE };
        if self.was_readable.load(Relaxed) != state
            && self.was_readable.swap(state, Relaxed) == UNREADABLE
            && is_readable
        {
            self.returned_at.store(micros(now), Relaxed);
        }
    }

    fn since_return(&self, now: Duration) -> Duration {
        match self.returned_at.load(Relaxed) {
            0 => Duration::MAX,
            at => now.saturating_sub(Duration::from_micros(at)),
        }
    }

    /// Whether this request is the one that sees how a dear node does now.
    fn claims_try_out(&self, now: Duration, random: u64) -> bool {
        let asked_at = self.asked_at.load(Relaxed);
        is_tried_out(now.saturating_sub(Duration::from_micros(asked_at)), random)
            && self
                .asked_at
                .compare_exchange(asked_at, micros(now), Relaxed, Relaxed)
                .is_ok()
    }
}

/// What reads know of all nodes.
pub(crate) struct ReadBoard {
    nodes: ArcSwap<BTreeMap<NodeId, Arc<NodeReads>>>,
    budget: AtomicU64,
    /// Counts reads: the source of what is random in trying out.
    reads: AtomicU64,
}

impl Default for ReadBoard {
    fn default() -> Self {
        Self {
            nodes: ArcSwap::default(),
            budget: AtomicU64::new(HedgeBudget::full().to_bits()),
            reads: AtomicU64::new(0),
        }
    }
}

impl ReadBoard {
    pub(crate) fn node(&self, id: &NodeId) -> Arc<NodeReads> {
        if let Some(known) = self.nodes.load().get(id) {
            return known.clone();
        }
        self.nodes.rcu(|nodes| {
            let mut nodes = BTreeMap::clone(nodes);
            nodes.entry(id.clone()).or_default();
            nodes
        });
        self.nodes.load().get(id).cloned().unwrap_or_default()
    }

    pub(crate) fn fill_budget(&self, ratio_milli: u32) {
        let step = |bits| {
            let filled = HedgeBudget::from_bits(bits).filled(ratio_milli).to_bits();
            (filled != bits).then_some(filled)
        };
        let _ = self.budget.fetch_update(Relaxed, Relaxed, step);
    }

    pub(crate) fn take_hedge(&self) -> bool {
        let step = |bits| {
            HedgeBudget::from_bits(bits)
                .taken()
                .map(HedgeBudget::to_bits)
        };
        self.budget.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    fn has_hedge(&self) -> bool {
        HedgeBudget::from_bits(self.budget.load(Relaxed))
            .taken()
            .is_some()
    }

    pub(crate) fn return_hedge(&self) {
        let step = |bits| Some(HedgeBudget::from_bits(bits).returned().to_bits());
        let _ = self.budget.fetch_update(Relaxed, Relaxed, step);
    }

    /// How the nodes stand for one read.
    pub(crate) fn standing(
        &self,
        nodes: &[NodeId],
        snapshot: &Snapshot,
        kind: ReadKind,
        affinity: u64,
        now: Duration,
        config: &ReadConfig,
    ) -> Standing {
        let mut standing = Standing::default();
        let mut best = u64::MAX;
        for id in nodes {
            let Some(view) = snapshot.nodes.get(id) else {
                continue;
            };
            let reads = self.node(id);
            reads.look(view.is_readable(), now);
            if !view.is_readable() {
                continue;
            }
            let expected = expected_us(&NodeLoad {
                mean: reads.latency(kind).mean(),
                in_flight: reads.in_flight(),
                error_milli: reads.error_milli(),
            });
            let admission = reads.gate().admission(now);
            if admission == Admission::Asked {
                best = best.min(expected);
            }
            standing.nodes.insert(
                id.clone(),
                Stand {
                    usual: reads.latency(kind).usual_max().unwrap_or(UNKNOWN_USUAL),
                    expected,
                    admission,
                    cost: u32::from(view.health != NodeHealth::Up),
                    is_spared: false,
                    reads,
                },
            );
        }
        let count = self.reads.fetch_add(1, Relaxed);
        // A second request is at hand for the one that finds out, or there are none at all.
        let can_try = config.hedge_milli == 0 || self.has_hedge();
        let mut tried = None;
        for (id, stand) in &mut standing.nodes {
            let load = load_cost(stand.expected, best.min(stand.expected));
            stand.cost += load;
            let is_tried = tried.is_none()
                && match stand.admission {
                    Admission::MayBeTried => stand.reads.step_gate(now, GateEvent::Tried),
                    Admission::Spared => false,
                    Admission::Asked => {
                        load > 0 && can_try && stand.reads.claims_try_out(now, spread(count))
                    }
                };
            if is_tried {
                tried = Some(id.clone());
                continue;
            }
            let since_return = stand.reads.since_return(now);
            stand.cost += slow_start_cost(id.as_str(), affinity, since_return, config.slow_start);
            stand.is_spared = stand.admission != Admission::Asked || stand.cost >= SPARED_COST;
        }
        if let Some(tried) = tried {
            for (id, stand) in &mut standing.nodes {
                if *id == tried {
                    stand.cost = 0;
                } else {
                    stand.cost += 1;
                }
            }
            standing.tried = Some(tried);
        }
        standing
    }
}

/// The finaliser of a counter is random enough to spread trials.
fn spread(count: u64) -> u64 {
    miroir_core::hash::pair_hash(count, 0)
}

struct Stand {
    usual: Duration,
    expected: u64,
    admission: Admission,
    cost: u32,
    is_spared: bool,
    reads: Arc<NodeReads>,
}

/// How the nodes stand for one read.
#[derive(Default)]
pub(crate) struct Standing {
    nodes: BTreeMap<NodeId, Stand>,
    /// The node that this read tries out.
    tried: Option<NodeId>,
}

impl Standing {
    pub(crate) fn is_readable(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    pub(crate) fn cost(&self, node: &NodeId) -> u32 {
        self.nodes.get(node).map_or(0, |stand| stand.cost)
    }

    /// Asked only for what no other can answer.
    pub(crate) fn is_spared(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_none_or(|stand| stand.is_spared)
    }

    /// Silence beyond this is unusual. One that is tried out is not waited for longer than the
    /// quickest of the others.
    pub(crate) fn usual(&self, node: &NodeId) -> Duration {
        if self.tried.as_ref() == Some(node) {
            let others = self.nodes.values().map(|stand| stand.usual);
            return others.min().unwrap_or(UNKNOWN_USUAL);
        }
        self.nodes
            .get(node)
            .map_or(UNKNOWN_USUAL, |stand| stand.usual)
    }

    pub(crate) fn has_tried(&self) -> bool {
        self.tried.is_some()
    }

    pub(crate) fn is_tried(&self, node: &NodeId) -> bool {
        self.tried.as_ref() == Some(node)
    }
}
