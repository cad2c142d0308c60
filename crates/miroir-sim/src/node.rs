//! A fleet of nodes in memory: enough of Meilisearch for the engine's promises, with faults that a
//! test switches.

use crate::filter::{Filter, text_of as id_text};
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::task::{AdditionMethod, TaskStatus};
use miroir_engine::port::{NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery, NodeWrite};
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

    fn work(&mut self) {
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

/// Carries out one write: the details, or the error object.
fn apply(
    indexes: &mut BTreeMap<String, Index>,
    allergies: &BTreeSet<String>,
    write: &NodeWrite,
) -> Result<Value, Value> {
    let name = name_of(write).0.to_string();
    let not_found = || error("index_not_found", format!("Index `{name}` not found."));
    match write {
        NodeWrite::CreateIndex { primary_key, .. } => {
            if indexes.contains_key(&name) {
                let message = format!("Index `{name}` already exists.");
                return Err(error("index_already_exists", message));
            }
            let primary_key = primary_key.clone();
            indexes.insert(
                name,
                Index {
                    primary_key,
                    ..Index::default()
                },
            );
            Ok(json!({}))
        }
        NodeWrite::UpdateIndex { primary_key, .. } => {
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            index.primary_key = Some(primary_key.clone());
            Ok(json!({}))
        }
        NodeWrite::DeleteIndex { .. } => {
            let index = indexes.remove(&name).ok_or_else(not_found)?;
            Ok(json!({"deletedDocuments": index.documents.len()}))
        }
        NodeWrite::UpdateSettings { body, .. } => {
            let patch: Map<String, Value> = serde_json::from_slice(body).expect("an object");
            let index = indexes.entry(name.clone()).or_default();
            if patch
                .get("synonyms")
                .is_some_and(|synonyms| synonyms.get("poison").is_some())
            {
                let message = format!("Index `{name}`: these settings are poison.");
                return Err(error("invalid_settings_synonyms", message));
            }
            for (field, value) in patch {
                index.settings.insert(field, value);
            }
            Ok(json!({}))
        }
        NodeWrite::AddDocuments {
            method,
            primary_key,
            body,
            skip_creation,
            ..
        } => {
            let index = indexes.entry(name.clone()).or_default();
            let body = body.concat();
            let mut documents = Vec::new();
            for line in body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let document: Document = serde_json::from_slice(line).expect("a JSON object");
                let id = id_text(&document[primary_key]);
                if document.contains_key("poison") || allergies.contains(&id) {
                    let message = format!("Index `{name}`: document `{id}` is poison.");
                    return Err(error("internal", message));
                }
                documents.push((id, document));
            }
            index.primary_key = Some(primary_key.clone());
            for (id, document) in documents {
                if *skip_creation && !index.documents.contains_key(&id) {
                    continue;
                }
                match method {
                    AdditionMethod::Replace => {
                        index.documents.insert(id, document);
                    }
                    AdditionMethod::Update => {
                        index.documents.entry(id).or_default().extend(document);
                    }
                }
            }
            Ok(json!({"indexedDocuments": 1}))
        }
        NodeWrite::DeleteDocuments { body, .. } => {
            let ids: Vec<String> = serde_json::from_slice(body).expect("ids");
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let deleted = ids
                .iter()
                .filter(|id| index.documents.remove(*id).is_some())
                .count();
            Ok(json!({"deletedDocuments": deleted}))
        }
        NodeWrite::DeleteByFilter { body, .. } => {
            let body: Value = serde_json::from_slice(body).expect("an object");
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let before = index.documents.len();
            let filter = Filter::read(&body["filter"]);
            index.documents.retain(|_, d| !filter.matches(d));
            Ok(json!({"deletedDocuments": before - index.documents.len()}))
        }
        NodeWrite::EditDocuments { body, .. } => {
            let body: Value = serde_json::from_slice(body).expect("an object");
            edit(indexes.get_mut(&name).ok_or_else(not_found)?, &name, &body)
        }
        NodeWrite::CompactIndex { .. } => {
            indexes.get(&name).ok_or_else(not_found)?;
            Ok(json!({"preCompactionSize": "2 KiB", "postCompactionSize": "1 KiB"}))
        }
        NodeWrite::DeleteAllDocuments { .. } => {
            let index = indexes.get_mut(&name).ok_or_else(not_found)?;
            let deleted = index.documents.len();
            index.documents.clear();
            Ok(json!({"deletedDocuments": deleted}))
        }
    }
}

/// Runs a function of this fleet's own little language, which stands on a line of its own: `n += 1`
/// adds to a field, `doc = ()` deletes, `throw` fails where a document is `poison`.
fn edit(index: &mut Index, name: &str, body: &Value) -> Result<Value, Value> {
    let function = body["function"].as_str().expect("a function").to_owned();
    let line = function
        .lines()
        .nth(1)
        .expect("the client's function")
        .to_owned();
    let filter = body.get("filter").map(Filter::read);
    let is_chosen = |document: &Document| {
        filter
            .as_ref()
            .is_none_or(|filter| filter.matches(document))
    };
    let chosen: Vec<String> = index
        .documents
        .iter()
        .filter(|(_, document)| is_chosen(document))
        .map(|(id, _)| id.clone())
        .collect();
    for id in &chosen {
        if line.contains("throw") && index.documents[id].contains_key("poison") {
            let message = format!("Index `{name}`: it threw (line 2, position 1)");
            return Err(error("edit_documents_by_function_error", message));
        }
    }
    for id in &chosen {
        if line == "doc = ()" {
            index.documents.remove(id);
        } else if line == "n += 1" {
            let document = index.documents.get_mut(id).expect("it was chosen");
            let n = document.get("n").and_then(Value::as_u64).unwrap_or(0);
            document.insert("n".into(), json!(n + 1));
        }
    }
    Ok(json!({"deletedDocuments": chosen.len(), "editedDocuments": chosen.len()}))
}

fn answer(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// The documents asked for, by their numbers.
fn chosen<'i>(index: &'i Index, body: &Value) -> Vec<&'i Document> {
    let ids = body.get("ids").and_then(Value::as_array);
    let filter = body
        .get("filter")
        .filter(|filter| !filter.is_null())
        .map(Filter::read);
    let is_shown = |(id, document): &(&String, &Document)| {
        let is_asked = ids.is_none_or(|ids| ids.iter().any(|asked| asked == id.as_str()));
        is_asked
            && filter
                .as_ref()
                .is_none_or(|filter| filter.matches(document))
    };
    let mut found: Vec<_> = index
        .documents
        .iter()
        .filter(is_shown)
        .map(|(_, d)| d)
        .collect();
    found.sort_by_key(|document| document["_miroir_seq"].as_str().map(str::to_owned));
    found
}

fn read(node: &Node, name: &NodeId, read: NodeRead) -> Result<Bytes, NodeError> {
    let find = |index: &PhysicalIndex| {
        node.indexes
            .get(index.as_str())
            .ok_or_else(|| NodeError::Refused {
                node: name.clone(),
                status: 404,
                code: "index_not_found".into(),
                message: format!("Index `{index}` not found."),
                body: error("index_not_found", format!("Index `{index}` not found.")),
            })
    };
    let window = |body: &Value, len: usize| {
        let number = |field: &str, other| body[field].as_u64().map_or(other, |n| n as usize);
        let from = number("offset", 0).min(len);
        from..from.saturating_add(number("limit", 20)).min(len)
    };
    match read {
        NodeRead::Health => Ok(answer(&json!({"status": "available"}))),
        // Its health is told to everyone, all else only to one whose key it knows.
        _ if node.faults.is_denying => Err(denial(name)),
        NodeRead::Version => Ok(answer(&json!({"pkgVersion": "1.50.0"}))),
        NodeRead::Index { index } => {
            find(&index).map(|found| answer(&json!({"primaryKey": found.primary_key})))
        }
        NodeRead::Stats => {
            let indexes = node.indexes.iter();
            let of = |index: &Index| json!({"numberOfDocuments": index.documents.len()});
            let indexes: Map<String, Value> = indexes
                .map(|(name, index)| (name.clone(), of(index)))
                .collect();
            Ok(answer(&json!({
                "databaseSize": 0,
                "usedDatabaseSize": 0,
                "lastUpdate": null,
                "indexes": indexes,
            })))
        }
        NodeRead::IndexStats { index } => {
            find(&index).map(|_| answer(&json!({"rawDocumentDbSize": 0, "fieldDistribution": {}})))
        }
        NodeRead::Settings { index } => {
            find(&index).map(|found| answer(&Value::Object(found.settings.clone())))
        }
        NodeRead::Documents { index, body } => {
            let body: Value = serde_json::from_slice(&body).expect("a body");
            let found = chosen(find(&index)?, &body);
            let range = window(&body, found.len());
            let mut results: Vec<Document> = found[range].iter().map(|d| (*d).clone()).collect();
            if body["retrieveVectors"] == true {
                for document in &mut results {
                    document.entry("_vectors").or_insert(json!({}));
                }
            }
            Ok(answer(&json!({"results": results, "total": found.len()})))
        }
        NodeRead::Search { index, body } => {
            let body: Value = serde_json::from_slice(&body).expect("a body");
            let found = chosen(find(&index)?, &body);
            let hits: Vec<Value> = found[window(&body, found.len())]
                .iter()
                .map(|document| {
                    let mut hit = Value::Object((*document).clone());
                    hit["_rankingScore"] = json!(1.0);
                    hit["_rankingScoreDetails"] = json!({
                        "_miroir_seq:asc": {"order": 0, "value": document["_miroir_seq"]},
                    });
                    hit
                })
                .collect();
            Ok(answer(
                &json!({"hits": hits, "estimatedTotalHits": found.len()}),
            ))
        }
        NodeRead::Document { index, id, .. } => {
            let found = find(&index)?.documents.get(&id);
            let not_found = || {
                let message = format!("Document `{id}` not found.");
                NodeError::Refused {
                    node: name.clone(),
                    status: 404,
                    code: "document_not_found".into(),
                    body: error("document_not_found", message.clone()),
                    message,
                }
            };
            let found = found.ok_or_else(not_found)?;
            Ok(answer(&Value::Object(found.clone())))
        }
        other => panic!("the fleet does not answer {other:?}"),
    }
}

impl Fleet {
    /// Passes the faults that concern every call.
    async fn enter(&self, id: &NodeId) -> Result<(), NodeError> {
        let delay = self.on(id.as_str(), |node| node.faults.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.on(id.as_str(), |node| {
            node.work();
            if node.faults.is_unreachable {
                let cause = "the test says so".into();
                return Err(NodeError::Unreachable {
                    node: id.clone(),
                    cause,
                });
            }
            Ok(())
        })
    }
}

/// What the client of nodes makes of a 403.
fn denial(node: &NodeId) -> NodeError {
    NodeError::Failed {
        node: node.clone(),
        status: 403,
        cause: "it turns Miroir's key away".into(),
    }
}

enum Accepted {
    Yes(NodeTaskUid),
    Busy,
    AnswerLost,
    Swallowed,
    Garbled,
    Full,
}

#[async_trait]
impl NodeClient for Fleet {
    async fn read(
        &self,
        node: &NodeId,
        what: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let unknown = |cause: &str| NodeError::UnknownOutcome {
            node: node.clone(),
            cause: cause.into(),
        };
        let behind = self.behind(node);
        let reading = self.read_in_time(&behind, what);
        match tokio::time::timeout(timeout, reading).await {
            Ok(result) => result,
            Err(_) => Err(unknown("it took too long")),
        }
    }

    async fn submit(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        let behind = self.behind(node);
        self.submit_in_time(&behind, write, timeout).await
    }

    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        _timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let behind = self.behind(node);
        self.tasks_of(&behind, query).await
    }
}

impl Fleet {
    /// The node that a node's address leads to.
    fn behind(&self, node: &NodeId) -> NodeId {
        let leads_to = self.on(node.as_str(), |state| state.faults.leads_to.clone());
        leads_to.unwrap_or_else(|| node.clone())
    }

    async fn read_in_time(&self, node: &NodeId, what: NodeRead) -> Result<Bytes, NodeError> {
        self.enter(node).await?;
        let is_clients = matches!(
            what,
            NodeRead::Search { .. } | NodeRead::Documents { .. } | NodeRead::Document { .. }
        );
        if is_clients {
            let (fault, delay) = self.on(node.as_str(), |state| {
                state.reads_seen += 1;
                (state.faults.reads, state.faults.read_delay)
            });
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            match fault {
                ReadFault::None => {}
                ReadFault::Silence => std::future::pending().await,
                ReadFault::Reset => {
                    return Err(NodeError::UnknownOutcome {
                        node: node.clone(),
                        cause: "the connection was reset".into(),
                    });
                }
                ReadFault::Busy => return Err(NodeError::Busy { node: node.clone() }),
                ReadFault::Failure => {
                    return Err(NodeError::Failed {
                        node: node.clone(),
                        status: 500,
                        cause: "the test says so".into(),
                    });
                }
                ReadFault::Truncation => {
                    let whole = self.on(node.as_str(), |state| read(state, node, what))?;
                    return Ok(whole.slice(..whole.len() / 2));
                }
            }
        }
        self.on(node.as_str(), |state| {
            if let NodeRead::SetFeatures { body } = &what
                && !state.faults.is_denying
            {
                state.features = serde_json::from_slice(body).expect("an object");
                return Ok(body.clone());
            }
            read(state, node, what)
        })
    }

    async fn submit_in_time(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        self.enter(node).await?;
        if self.on(node.as_str(), |state| state.faults.is_denying) {
            return Err(denial(node));
        }
        let accepted = self.on(node.as_str(), |state| {
            let faults = &mut state.faults;
            if faults.is_full {
                return Accepted::Full;
            }
            if faults.spare > 0 {
                faults.spare -= 1;
            } else if faults.busy > 0 {
                faults.busy -= 1;
                return Accepted::Busy;
            } else if faults.swallowed > 0 {
                faults.swallowed -= 1;
                return Accepted::Swallowed;
            } else if faults.lost_answers > 0 {
                faults.lost_answers -= 1;
                state.accept(write);
                return Accepted::AnswerLost;
            } else if faults.garbled > 0 {
                faults.garbled -= 1;
                state.accept(write);
                return Accepted::Garbled;
            } else if faults.duplicated > 0 {
                faults.duplicated -= 1;
                state.accept(write.clone());
            }
            Accepted::Yes(state.accept(write))
        });
        let cause = "the test says so".to_owned();
        match accepted {
            Accepted::Yes(uid) => Ok(uid),
            Accepted::Busy => Err(NodeError::Busy { node: node.clone() }),
            Accepted::Garbled => Err(NodeError::Failed {
                node: node.clone(),
                status: 202,
                cause: "its answer is not understood".into(),
            }),
            Accepted::Full => {
                let message = "There is no more room for tasks.";
                Err(NodeError::Refused {
                    node: node.clone(),
                    status: 422,
                    code: "no_space_left_on_device".into(),
                    message: message.into(),
                    body: error("no_space_left_on_device", message.into()),
                })
            }
            Accepted::AnswerLost => Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause,
            }),
            Accepted::Swallowed => {
                tokio::time::sleep(timeout).await;
                Err(NodeError::UnknownOutcome {
                    node: node.clone(),
                    cause,
                })
            }
        }
    }

    async fn tasks_of(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
    ) -> Result<Vec<NodeTask>, NodeError> {
        self.enter(node).await?;
        if self.on(node.as_str(), |state| state.faults.is_denying) {
            return Err(denial(node));
        }
        let is_lost = self.on(node.as_str(), |state| {
            let is_lost = state.faults.loses_next_answer;
            if is_lost {
                state.faults = Faults::default();
            }
            is_lost
        });
        if is_lost {
            let cause = "the test says so".into();
            return Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause,
            });
        }
        Ok(self.on(node.as_str(), |state| {
            state.faults.loses_next_answer = state.faults.is_shaky && state.faults.is_holding;
            let is_asked = |task: &&Task| {
                (query.uids.is_empty() || query.uids.contains(&task.told.uid))
                    && query.from.is_none_or(|from| task.told.uid <= from)
            };
            let tasks = state.tasks.iter().rev().filter(is_asked);
            tasks
                .take(query.limit as usize)
                .map(|task| task.told.clone())
                .collect()
        }))
    }
}
