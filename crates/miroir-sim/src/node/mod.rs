//! A fleet of nodes in memory: enough of Meilisearch for the engine's promises, with faults that a
//! test switches.

mod apply;
mod port;
mod read;

use apply::apply;
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::task::{TaskKind, TaskStatus};
use miroir_engine::port::{NodeTask, NodeWrite};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Document = Map<String, Value>;

/// An index as a node holds it.
#[derive(Debug, Clone, Default)]
pub struct Index {
    pub primary_key: Option<String>,
    pub documents: BTreeMap<String, Document>,
    pub settings: Map<String, Value>,
}

/// What goes wrong with reads of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFault {
    #[default]
    None,
    /// It takes the request and says nothing.
    Silence,
    /// It breaks the connection in the middle of the answer.
    Reset,
    /// It has too much to do.
    Busy,
    /// It fails inside.
    Failure,
    /// Its answer is cut off, and looks whole to the transport.
    Truncation,
}

/// What goes wrong on a node.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Nothing reaches it.
    pub is_unreachable: bool,
    /// It takes tasks and works on none.
    pub is_holding: bool,
    /// It works on nothing from the first request on that is delivered with care.
    pub is_holding_care: bool,
    /// So many writes are refused for now.
    pub busy: u32,
    /// So many writes are accepted first; then `busy` and the like count.
    pub spare: u32,
    /// So many writes are done and their answers lost.
    pub lost_answers: u32,
    /// So many writes are swallowed; nothing is done.
    pub swallowed: u32,
    /// So many writes are accepted, and answered with what nobody can read.
    pub garbled: u32,
    /// So many writes arrive twice; the answer is that to the second.
    pub duplicated: u32,
    /// Its task queue or its disk is full: it refuses every write.
    pub is_full: bool,
    /// Its disk is full: it accepts what comes and fails it.
    pub is_disk_full: bool,
    /// Its address leads to this node.
    pub leads_to: Option<NodeId>,
    /// It works up to the next failure; once it has told of it, its next answer about tasks is lost.
    pub is_shaky: bool,
    loses_next_answer: bool,
    /// Documents that make this node alone fail, by id.
    pub allergies: BTreeSet<String>,
    /// Every call takes this long.
    pub delay: Duration,
    /// It does not know Miroir's key.
    pub is_denying: bool,
    /// How it treats reads of clients; probes see nothing of it.
    pub reads: ReadFault,
    /// Reads of clients take this long.
    pub read_delay: Duration,
}

#[derive(Clone)]
struct Task {
    write: NodeWrite,
    told: NodeTask,
}

#[derive(Default)]
pub struct Node {
    pub indexes: BTreeMap<String, Index>,
    pub faults: Faults,
    /// The experimental features it was told of.
    pub features: Map<String, Value>,
    /// It takes so long for a task; `None` is no time at all.
    pub pace: Option<Duration>,
    /// Years that its clock is wrong by.
    pub skew: u64,
    worked_until: Duration,
    tasks: Vec<Task>,
    next_task: u64,
    /// The snapshot it took last.
    pub snapshot: Option<Backup>,
    /// How often it was made anew; the moments of its tasks tell.
    life: u64,
    /// Its place in the fleet: no two nodes accept anything at the same nanosecond.
    place: usize,
    /// Reads of clients that reached it.
    pub reads_seen: u64,
}

/// A node's data folder at one moment.
pub struct Backup {
    indexes: BTreeMap<String, Index>,
    tasks: Vec<Task>,
    next_task: u64,
}

/// All nodes.
#[derive(Default)]
pub struct Fleet {
    nodes: Mutex<BTreeMap<NodeId, Node>>,
}

fn error(code: &str, message: String) -> Value {
    json!({"message": message, "code": code, "type": "invalid_request", "link": ""})
}

impl Fleet {
    pub fn new(names: &[&str]) -> Self {
        let nodes = names
            .iter()
            .enumerate()
            .map(|(place, name)| {
                let node = Node {
                    place,
                    ..Node::default()
                };
                (NodeId::new(*name), node)
            })
            .collect();
        Self {
            nodes: Mutex::new(nodes),
        }
    }

    /// Looks at a node, or changes it.
    pub fn on<T>(&self, node: &str, look: impl FnOnce(&mut Node) -> T) -> T {
        look(
            self.nodes
                .lock()
                .get_mut(&NodeId::new(node))
                .expect("a node of the fleet"),
        )
    }

    pub fn set(&self, node: &str, change: impl FnOnce(&mut Faults)) {
        self.on(node, |node| change(&mut node.faults));
    }

    pub fn names(&self) -> Vec<String> {
        self.nodes.lock().keys().map(ToString::to_string).collect()
    }

    /// The documents of the index whose physical name begins with `uid__`, without reserved fields.
    pub fn documents(&self, node: &str, uid: &str) -> BTreeMap<String, Value> {
        self.raw_documents(node, uid)
            .into_iter()
            .map(|(id, mut document)| {
                document.retain(|field, _| !field.starts_with("_miroir_"));
                (id, Value::Object(document))
            })
            .collect()
    }

    /// The same with reserved fields.
    pub fn raw_documents(&self, node: &str, uid: &str) -> BTreeMap<String, Document> {
        let prefix = format!("{uid}__");
        self.on(node, |node| {
            node.work();
            let index = node
                .indexes
                .iter()
                .find(|(name, _)| name.starts_with(&prefix));
            index
                .map(|(_, index)| index.documents.clone())
                .unwrap_or_default()
        })
    }

    /// Ids in the order of their sequence numbers, each with its number's text, over all nodes.
    pub fn order(&self, uid: &str) -> Vec<String> {
        let mut by_seq = BTreeSet::new();
        for node in self.names() {
            for (id, document) in self.raw_documents(&node, uid) {
                let seq = document["_miroir_seq"]
                    .as_str()
                    .expect("a number")
                    .to_owned();
                by_seq.insert((seq, id));
            }
        }
        by_seq.into_iter().map(|(_, id)| id).collect()
    }
}

impl Node {
    /// Everything is gone, the task list too.
    pub fn wipe(&mut self) {
        self.indexes.clear();
        self.tasks.clear();
        self.next_task = 0;
        self.life += 1;
    }

    /// It has so many tasks that nobody here made.
    pub fn live_another_life(&mut self, task_count: usize) {
        for _ in 0..task_count {
            let index = PhysicalIndex::from_stored("foreign");
            self.accept(NodeWrite::DeleteIndex { index });
        }
        self.work();
    }

    /// Its data folder as it is.
    pub fn back_up(&mut self) -> Backup {
        self.work();
        Backup {
            indexes: self.indexes.clone(),
            tasks: self.tasks.clone(),
            next_task: self.next_task,
        }
    }

    /// Takes a snapshot of itself, in which the task of it is not.
    fn take_snapshot(&mut self) -> NodeTaskUid {
        self.snapshot = Some(self.back_up());
        let uid = NodeTaskUid(self.next_task);
        self.next_task += 1;
        // Its write is never carried out.
        let index = PhysicalIndex::from_stored("none");
        let told = NodeTask {
            uid,
            index: None,
            kind: Some(TaskKind::SnapshotCreation),
            status: TaskStatus::Succeeded,
            error: None,
            details: None,
            marker: None,
            enqueued_at: format!("2027-01-01T00:00:00.{:09}Z", self.place),
        };
        let write = NodeWrite::DeleteIndex { index };
        self.tasks.push(Task { write, told });
        uid
    }

    /// Its data folder is replaced.
    pub fn restore(&mut self, backup: Backup) {
        self.indexes = backup.indexes;
        self.tasks = backup.tasks;
        self.next_task = backup.next_task;
        self.life += 1;
    }

    /// Forgets tasks that have not ended, as a node restored from a snapshot does.
    pub fn forget_open_tasks(&mut self) {
        self.tasks.retain(|task| task.told.status.is_final());
    }

    /// Cancels what waits.
    pub fn cancel_open_tasks(&mut self) {
        for task in &mut self.tasks {
            if !task.told.status.is_final() {
                task.told.status = TaskStatus::Canceled;
            }
        }
    }

    /// Somebody deletes all its tasks, as soon as they have ended.
    pub fn delete_all_tasks(&mut self) {
        self.work();
        self.tasks.clear();
    }

    /// Markers of all tasks ever made and kept, oldest first.
    pub fn markers(&self) -> Vec<String> {
        self.tasks
            .iter()
            .filter_map(|task| task.told.marker.clone())
            .collect()
    }

    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    pub fn work(&mut self) {
        if self.pace.is_none() {
            while self.work_on_one() {}
        }
    }

    /// A node that takes its time has carried out what it can by `now`.
    pub fn work_until(&mut self, now: Duration) {
        let Some(pace) = self.pace else {
            return self.work();
        };
        while self.worked_until + pace <= now && self.work_on_one() {
            self.worked_until += pace;
        }
        if self.worked_until + pace <= now {
            self.worked_until = now;
        }
    }

    /// Carries out the next task; false if there is none or it does not work.
    fn work_on_one(&mut self) -> bool {
        if self.faults.is_holding {
            return false;
        }
        let is_open = |task: &&mut Task| !task.told.status.is_final();
        let Some(task) = self.tasks.iter_mut().find(is_open) else {
            return false;
        };
        // A marker of its own part for the task: `miroir/<cluster>/<batch>/<request>/<task>`.
        let is_careful = |marker: &String| marker.split('/').count() > 4;
        if self.faults.is_holding_care && task.told.marker.as_ref().is_some_and(is_careful) {
            return false;
        }
        let result = if self.faults.is_disk_full {
            let message = "There is no more space left on the device.";
            Err(error("no_space_left_on_device", message.into()))
        } else {
            apply(&mut self.indexes, &self.faults.allergies, &task.write)
        };
        match result {
            Ok(details) => {
                task.told.status = TaskStatus::Succeeded;
                task.told.details = Some(details);
            }
            Err(error) => {
                task.told.status = TaskStatus::Failed;
                task.told.error = Some(error);
                self.faults.is_holding |= self.faults.is_shaky;
            }
        }
        true
    }

    /// The process is killed: of the tasks that have not ended it keeps the first so many, and
    /// counts on from there. What has ended is on its disk.
    pub fn crash(&mut self, kept_count: usize, counts_anew: bool) {
        let mut kept = kept_count;
        self.tasks.retain(|task| {
            let is_kept = task.told.status.is_final() || kept > 0;
            kept = kept.saturating_sub(usize::from(!task.told.status.is_final()));
            is_kept
        });
        if counts_anew {
            self.next_task = self.tasks.last().map_or(0, |task| task.told.uid.0 + 1);
        }
    }

    /// How many of its tasks have not ended.
    pub fn open_count(&self) -> usize {
        self.tasks
            .iter()
            .filter(|task| !task.told.status.is_final())
            .count()
    }

    /// The last two waiting writes of one index trade places: a node that breaks its word.
    pub fn disorder(&mut self) {
        let mut open = self
            .tasks
            .iter_mut()
            .rev()
            .filter(|task| !task.told.status.is_final());
        if let (Some(last), Some(before)) = (open.next(), open.next())
            && name_of(&last.write).0 == name_of(&before.write).0
        {
            std::mem::swap(&mut last.write, &mut before.write);
        }
    }

    /// Takes a write into its queue.
    pub fn accept(&mut self, write: NodeWrite) -> NodeTaskUid {
        let uid = NodeTaskUid(self.next_task);
        self.next_task += 1;
        let (index, marker) = name_of(&write);
        let told = NodeTask {
            uid,
            index: Some(index),
            kind: None,
            status: TaskStatus::Enqueued,
            error: None,
            details: None,
            marker,
            enqueued_at: format!(
                "{}-01-01T00:00:{:02}.{:09}Z",
                2026 + self.skew,
                self.life,
                self.place
            ),
        };
        self.tasks.push(Task { write, told });
        uid
    }
}

fn name_of(write: &NodeWrite) -> (PhysicalIndex, Option<String>) {
    match write {
        NodeWrite::CreateIndex { index, .. }
        | NodeWrite::UpdateIndex { index, .. }
        | NodeWrite::DeleteIndex { index }
        | NodeWrite::CompactIndex { index }
        | NodeWrite::UpdateSettings { index, .. } => (index.clone(), None),
        NodeWrite::AddDocuments { index, marker, .. }
        | NodeWrite::DeleteDocuments { index, marker, .. }
        | NodeWrite::DeleteByFilter { index, marker, .. }
        | NodeWrite::EditDocuments { index, marker, .. }
        | NodeWrite::DeleteAllDocuments { index, marker } => (index.clone(), Some(marker.clone())),
    }
}
