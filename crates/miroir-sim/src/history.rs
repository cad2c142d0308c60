//! What happened, as told by the ports and the clients, for the checkers to judge: nothing here is
//! asked of the engine.

use crate::workload::{Op, Pred};
use miroir_core::id::{NodeId, TaskUid};
use miroir_core::task::TaskStatus;
use miroir_engine::port::{Change, NewEntry};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A document without reserved fields.
pub type Document = Map<String, Value>;
/// Documents by id.
pub type Documents = BTreeMap<String, Document>;

/// The nodes of each shard.
pub type ReplicaSets = Arc<Vec<Vec<NodeId>>>;

/// A write as a client made it.
#[derive(Debug, Clone)]
pub struct OpRecord {
    /// What was asked.
    pub op: Op,
    /// The place in the log that the client was told; `None` if it was told nothing.
    pub acked: Option<TaskUid>,
    /// The client was told that it was not accepted.
    pub is_refused: bool,
}

/// The end of a task, in the order in which ends became durable.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Which.
    pub uid: u64,
    /// How.
    pub status: TaskStatus,
    /// The code of its error.
    pub code: Option<String>,
    /// Those that ended at once have one number; later ones a higher one.
    pub round: usize,
}

/// Of what something was read.
#[derive(Debug, Clone)]
pub enum Target {
    /// An index by its name, by a client.
    Name(String),
    /// One replica, by its physical name, on its node: no client sees it so, but any in-sync one may
    /// be asked. With its replica sets at that moment.
    Replica(NodeId, String, ReplicaSets),
}

/// What was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Everything the filter chooses.
    Whole(Option<Pred>, Documents),
    /// Some of it.
    Page(Documents),
    /// One document asked for by id.
    One(String, Option<Document>),
    /// There is no such index.
    NoIndex,
    /// An error, which is right while something is broken.
    Error(String),
}

/// A read.
#[derive(Debug, Clone)]
pub struct Read {
    /// When it ended.
    pub at: Duration,
    /// Of what.
    pub target: Target,
    /// How many tasks had ended when it began.
    pub ended: usize,
    /// How many entries the log had when it ended.
    pub appended: u64,
    /// What it saw.
    pub seen: Seen,
    /// Nothing was broken while it was made.
    pub is_calm: bool,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Events {
    /// By number.
    pub ops: Vec<OpRecord>,
    /// The number of the write at each place of the log.
    pub log: Vec<usize>,
    /// How many tasks had ended when each entry came.
    pub ended_before: Vec<usize>,
    /// In order.
    pub ended: Vec<Ended>,
    /// In order.
    pub reads: Vec<Read>,
    /// As stored.
    pub in_sync: BTreeMap<NodeId, bool>,
    /// Replica sets by physical index, also of those removed.
    pub placements: BTreeMap<String, ReplicaSets>,
    /// Physical indexes that are written to and not read, as stored: the other halves of re-shards.
    pub twins: BTreeSet<String>,
    /// How often one was changed.
    pub epochs: usize,
    /// Nodes whose disk was lost and whose loss is not stored yet.
    pub damaged: BTreeSet<NodeId>,
    /// Since when nodes fail what the client is not to blame for.
    pub illness_since: Option<Duration>,
    /// What was wrong at sight.
    pub violations: Vec<String>,
    /// The trace.
    pub trace: Vec<String>,
}

/// The book in which it is written.
#[derive(Debug, Default)]
pub struct History {
    /// What happened so far.
    pub events: Mutex<Events>,
    /// The trace is kept.
    pub is_traced: bool,
}

impl History {
    /// Adds to the trace.
    pub fn note(&self, at: Duration, text: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>9.3} {}", at.as_secs_f64(), text());
            self.events.lock().trace.push(line);
        }
    }

    /// Something is wrong.
    pub fn violate(&self, text: String) {
        self.events.lock().violations.push(text);
    }

    /// A client is about to ask for this.
    pub fn plan(&self, op: Op) -> usize {
        let mut events = self.events.lock();
        events.ops.push(OpRecord {
            op,
            acked: None,
            is_refused: false,
        });
        events.ops.len() - 1
    }

    /// What the client was told.
    pub fn told(&self, number: usize, acked: Option<TaskUid>) {
        let mut events = self.events.lock();
        if let Some(record) = events.ops.get_mut(number) {
            record.acked = acked;
            record.is_refused = acked.is_none();
        }
    }

    /// How many tasks have ended and how many entries there are.
    #[must_use]
    pub fn position(&self) -> (usize, u64) {
        let events = self.events.lock();
        (events.ended.len(), events.log.len() as u64)
    }

    /// Entries are in the log.
    pub fn appended(&self, entries: &[NewEntry], uids: &[TaskUid]) {
        let mut events = self.events.lock();
        for (entry, uid) in entries.iter().zip(uids) {
            let number = entry
                .custom_metadata
                .as_deref()
                .and_then(|text| text.parse().ok());
            if uid.0 != events.log.len() as u64 {
                let text = format!("entry {uid} follows {} others", events.log.len());
                events.violations.push(text);
            }
            events.log.push(number.unwrap_or(usize::MAX));
            let ended = events.ended.len();
            events.ended_before.push(ended);
        }
    }

    /// Changes are durable. Returns whether tasks ended by them.
    pub fn committed(&self, changes: &[Change]) -> bool {
        let mut events = self.events.lock();
        let before = events.ended.len();
        let round = events.ended.last().map_or(0, |ended| ended.round + 1);
        for change in changes {
            match change {
                Change::UpdateTask(task) if task.status.is_final() => {
                    let code = task.error.as_ref().and_then(|error| error.get("code"));
                    let ended = Ended {
                        uid: task.uid.0,
                        status: task.status,
                        code: code.and_then(Value::as_str).map(str::to_owned),
                        round,
                    };
                    if events.ended.iter().any(|other| other.uid == ended.uid) {
                        let text = format!("task {} ended twice", ended.uid);
                        events.violations.push(text);
                    }
                    events.ended.push(ended);
                }
                Change::PutNode(node) => {
                    if !node.is_in_sync {
                        events.damaged.remove(&node.id);
                    }
                    events.in_sync.insert(node.id.clone(), node.is_in_sync);
                }
                Change::PutPlacement {
                    index,
                    replica_sets,
                    ..
                } => {
                    events.epochs += 1;
                    events
                        .placements
                        .insert(index.to_string(), Arc::new(replica_sets.clone()));
                }
                Change::RemovePlacement(index) => {
                    events.placements.remove(index.as_str());
                }
                Change::PutFact { key, value } if key == "reshards" => {
                    events.twins = twins(value);
                }
                _ => {}
            }
        }
        events.ended.len() > before
    }
}

/// The twins that the stored book of re-shards names, also those on their way out.
pub(crate) fn twins(book: &Value) -> BTreeSet<String> {
    let all = book["all"].as_array().into_iter().flatten();
    let open = all.filter(|one| !matches!(one["step"]["at"].as_str(), Some("ended" | "waiting")));
    open.filter_map(|one| {
        let side = if one["isSwitched"] == true {
            "source"
        } else {
            "target"
        };
        one[side].as_str().map(str::to_owned)
    })
    .collect()
}

/// The entry that made the index of that physical name.
#[must_use]
pub fn born(physical: &str) -> Option<u64> {
    let physical = miroir_core::id::PhysicalIndex::from_stored(physical);
    miroir_core::recover::form_of(&physical).map(|(_, task)| task.0)
}
