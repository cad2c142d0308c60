//! The order in which waiting entries are taken: that of the log, except that entries of an index
//! that cannot go on let those of others pass.
//!
//! Law: two entries that name the same index are dispatched in the order of the log. An entry that
//! names several (a swap, a renaming) holds back all of them while it waits.

use super::{PAGE, is_control};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::port::TaskRecord;
use crate::state::NodeView;
use miroir_core::health::NodeHealth;
use miroir_core::id::{BatchUid, IndexUid, PhysicalIndex, TaskUid};
use miroir_core::task::Operation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The wait before an entry that could not be prepared is tried again, ...
const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// ... at most ...
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// ... and as a multiple of the time the last try took: nodes that do not answer take no more than
/// this part of the dispatcher's time.
const RETRY_FACTOR: u32 = 4;

/// Entries of one name that wait.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The first of them; all later ones wait behind it.
    first: TaskUid,
    /// Not to be tried before this.
    retry_at: Duration,
}

/// Where the dispatcher stands in the log.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Every entry up to this was dispatched, or is of a name that waits.
    seen: Option<TaskUid>,
    waiting: BTreeMap<IndexUid, Waiting>,
    /// Batches of an earlier process that are in flight, with the names they speak of.
    inherited: Vec<Inherited>,
}

/// What an earlier process left in flight of an index is done first, so that the planned state is
/// the nodes' state when the first new batch of that index is numbered.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) batch: BatchUid,
    pub(super) index: PhysicalIndex,
    pub(super) names: Vec<IndexUid>,
}

/// What came of a walk along the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// To its end.
    Through,
    /// Something else comes first, at once.
    Interrupted,
    /// Nothing more can be taken for now.
    Stopped,
    /// The last group waits for others to travel with.
    Gathering,
}

/// A walk: where it is, and whose entries it takes.
struct Walk {
    after: Option<TaskUid>,
    until: Option<TaskUid>,
    /// `None` is: all that do not wait.
    of: Option<BTreeSet<IndexUid>>,
    has_dispatched: bool,
}

impl Walk {
    fn takes(&self, names: &BTreeSet<IndexUid>) -> bool {
        self.of.as_ref().is_none_or(|of| !of.is_disjoint(names))
    }

    fn is_over(&self) -> bool {
        self.of.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

impl Line {
    pub(super) fn inherit(&mut self, inherited: Vec<Inherited>) {
        self.inherited = inherited;
    }

    /// Some entries wait for a batch to end.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When something that failed is to be tried again.
    pub(super) fn next_retry(&self) -> Option<Duration> {
        let retries = self.waiting.values().map(|waiting| waiting.retry_at);
        retries.filter(|at| !at.is_zero()).min()
    }

    fn hold(&mut self, names: &BTreeSet<IndexUid>, first: TaskUid, retry_at: Duration) {
        for name in names {
            let entry = self.waiting.entry(name.clone());
            entry.or_insert(Waiting { first, retry_at });
        }
    }

    fn is_behind(&self, task: TaskUid, names: &BTreeSet<IndexUid>) -> bool {
        names.iter().any(|name| {
            let waiting = self.waiting.get(name);
            waiting.is_some_and(|waiting| waiting.first < task)
        })
    }
}

impl Dispatcher {
    /// Dispatches what can be; returns whether there is more to do at once.
    pub(super) async fn advance(&mut self) -> Result<bool, EngineError> {
        {
            let in_flight = self.shared.in_flight.lock();
            let inherited = &mut self.line.inherited;
            inherited.retain(|left| in_flight.contains(&left.batch));
        }
        let mut has_dispatched = false;
        let now = self.shared.ports.clock.monotonic();
        let opened: BTreeSet<IndexUid> = self
            .line
            .waiting
            .iter()
            .filter(|(name, waiting)| waiting.retry_at <= now && self.is_open(name))
            .map(|(name, _)| name.clone())
            .collect();
        let firsts = opened.iter().filter_map(|n| self.line.waiting.remove(n));
        if let Some(first) = firsts.map(|waiting| waiting.first).min() {
            let mut walk = Walk {
                after: first.0.checked_sub(1).map(TaskUid),
                until: self.line.seen,
                of: Some(opened),
                has_dispatched: false,
            };
            let result = self.walk(&mut walk).await;
            has_dispatched |= walk.has_dispatched;
            let is_through = matches!(result, Ok(Walked::Through));
            if !is_through && let Some(names) = &walk.of {
                let next = TaskUid(walk.after.map_or(0, |uid| uid.0 + 1));
                self.line.hold(names, next, Duration::ZERO);
            }
            match result? {
                Walked::Through => {}
                Walked::Interrupted => return Ok(true),
                Walked::Stopped | Walked::Gathering => return Ok(has_dispatched),
            }
        }
        let mut walk = Walk {
            after: self.line.seen,
            until: None,
            of: None,
            has_dispatched: false,
        };
        let result = self.walk(&mut walk).await;
        self.line.seen = walk.after;
        has_dispatched |= walk.has_dispatched;
        let walked = result?;
        if walked != Walked::Gathering {
            self.gathering = None;
        }
        Ok(match walked {
            Walked::Interrupted => true,
            Walked::Gathering => false,
            Walked::Through | Walked::Stopped => has_dispatched,
        })
    }

    async fn walk(&mut self, walk: &mut Walk) -> Result<Walked, EngineError> {
        let shared = self.shared.clone();
        while !walk.is_over() {
            let store = &shared.ports.store;
            let mut tasks = store.load_pending(walk.after, PAGE).await?;
            let is_last = tasks.len() < PAGE;
            if let Some(until) = walk.until {
                tasks.retain(|task| task.uid <= until);
            }
            let is_last = is_last || tasks.len() < PAGE;
            let mut rest: &[TaskRecord] = &tasks;
            while let Some(first) = rest.first() {
                if walk.is_over() {
                    return Ok(Walked::Through);
                }
                if shared.control_waits.load(Ordering::Acquire) || shared.shutdown.is_cancelled() {
                    return Ok(Walked::Interrupted);
                }
                if self.window.is_full() {
                    return Ok(Walked::Stopped);
                }
                let names = names_of(first);
                let mut len = 1;
                if first.operation.is_job() && walk.of.is_none() {
                    // It comes after all before it, whatever their index.
                    if self.line.is_waiting() {
                        return Ok(Walked::Stopped);
                    }
                    self.carry_out(first).await?;
                    walk.after = Some(first.uid);
                    walk.has_dispatched = true;
                    return Ok(Walked::Interrupted);
                }
                if first.operation.is_of_rules() {
                    // Concerns no node, and waits for nothing.
                    self.change_rules(first).await?;
                    walk.has_dispatched = true;
                } else if is_control(&first.operation) || !walk.takes(&names) {
                    // Not ours to take.
                } else if self.line.is_behind(first.uid, &names)
                    || self.must_wait(first, &names)
                    || self.exchange_before(first).is_some()
                {
                    self.pass_over(walk, first.uid, &names, Duration::ZERO);
                } else {
                    len = super::group_len(rest);
                    if walk.of.is_none() && len == rest.len() && self.gathers(rest) {
                        return Ok(Walked::Gathering);
                    }
                    let began = shared.ports.clock.monotonic();
                    match self.dispatch(&rest[..len]).await {
                        Ok(()) => {
                            walk.has_dispatched = true;
                            for name in &names {
                                self.line.waiting.remove(name);
                            }
                            if let Some(of) = &mut walk.of {
                                of.extend(names);
                            }
                        }
                        Err(error @ (EngineError::Store(_) | EngineError::ShuttingDown)) => {
                            return Err(error);
                        }
                        Err(error) => {
                            let now = shared.ports.clock.monotonic();
                            let delay = (now.saturating_sub(began) * RETRY_FACTOR)
                                .clamp(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
                            tracing::warn!(task = %first.uid, %error, "an entry cannot be prepared; trying again");
                            self.pass_over(walk, first.uid, &names, now + delay);
                            len = 1;
                        }
                    }
                }
                walk.after = rest.get(len - 1).map(|task| task.uid);
                rest = rest.get(len..).unwrap_or_default();
            }
            if is_last {
                break;
            }
        }
        Ok(Walked::Through)
    }

    fn pass_over(
        &mut self,
        walk: &mut Walk,
        task: TaskUid,
        names: &BTreeSet<IndexUid>,
        retry_at: Duration,
    ) {
        self.line.hold(names, task, retry_at);
        if let Some(of) = &mut walk.of {
            of.retain(|name| !names.contains(name));
        }
    }

    /// Another batch of this name may be made, as far as is known without its next entry.
    fn is_open(&self, name: &IndexUid) -> bool {
        let physical = self
            .preparer
            .indexes
            .get(name)
            .map(|index| &index.record.physical);
        let is_inherited = self
            .line
            .inherited
            .iter()
            .any(|left| left.names.contains(name) || physical == Some(&left.index));
        !is_inherited
            && physical.is_none_or(|index| {
                self.window.has_room(index)
                    && !self.barrier.is_held(index)
                    && !self.waits_for_a_node(index)
            })
    }

    /// A node that comes back has to get nearer first.
    fn waits_for_a_node(&self, index: &PhysicalIndex) -> bool {
        let shared = &self.shared;
        let snapshot = shared.snapshot.load();
        let comes_back = |view: &NodeView| {
            !view.record.is_in_sync && !view.is_apart && view.health == NodeHealth::Up
        };
        let mut coming = snapshot.nodes.iter().filter(|(_, view)| comes_back(view));
        let Some(planned) = self.planned(index) else {
            return false;
        };
        let now = shared.ports.clock.monotonic();
        coming.any(|(node, _)| {
            let is_filled = shared.copy.is_refilling(node);
            let mut sets = planned.placing.replica_sets.iter();
            sets.any(|set| set.contains(node))
                && (!is_filled || shared.copy.has_to_get_level(node, index))
                && !shared.convoy.lets_pass(node, now)
        })
    }

    /// The entry has to wait for the end of a batch.
    fn must_wait(&self, task: &TaskRecord, names: &BTreeSet<IndexUid>) -> bool {
        if names.iter().any(|name| !self.is_open(name)) {
            return true;
        }
        let Some(index) = task
            .index_uid
            .as_ref()
            .and_then(|uid| self.preparer.indexes.get(uid))
        else {
            return false;
        };
        match &task.operation {
            // What documents it finds is known when the batch in its way is done.
            Operation::AddDocuments { .. } => index
                .overlay
                .barrier()
                .is_some_and(|batch| self.shared.in_flight.lock().contains(&batch)),
            // Whether there are documents is asked of the nodes.
            Operation::UpdateIndex {
                primary_key: Some(_),
                ..
            } => self.shared.is_indexing(&index.record.physical),
            _ => false,
        }
    }
}

/// The names an entry speaks of.
fn names_of(task: &TaskRecord) -> BTreeSet<IndexUid> {
    let mut names: BTreeSet<IndexUid> = task.index_uid.iter().cloned().collect();
    match &task.operation {
        Operation::UpdateIndex {
            new_uid: Some(uid), ..
        } => {
            names.insert(uid.clone());
        }
        Operation::SwapIndexes { swaps } => {
            for swap in swaps {
                names.insert(swap.indexes.0.clone());
                names.insert(swap.indexes.1.clone());
            }
        }
        _ => {}
    }
    names
}
