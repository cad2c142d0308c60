//! Writes one standard Meilisearch dump (format v6) of the whole logical instance.
//!
//! ```text
//! metadata.json  instance_uid.uuid  keys.jsonl  experimental-features.json
//! tasks/queue.jsonl  tasks/update_files/{task}.jsonl
//! indexes/{uid}/{metadata.json, settings.json, documents.jsonl}
//! ```
//! Nothing of Miroir is in it: no shard, no node, no reserved field. So any Meilisearch that reads
//! v6 imports it as if it came from one like itself.

mod tasks;

use super::documents::DocumentStream;
use super::{Failure, settings};
use crate::error::EngineError;
use crate::job::port::DumpWriter;
use crate::keys::ApiKey;
use crate::port::{PayloadRef, StoreError, TaskQuery, TaskRecord, Timestamp};
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_api::task::format_date;
use miroir_api::version::MEILISEARCH_VERSION;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::rules::RULES_INDEX;
use miroir_core::settings::ChatSetting;
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

/// The name of a dump follows from the moment its task began.
const UID_FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
    "[year repr:full][month repr:numerical][day padding:zero]-\
     [hour padding:zero][minute padding:zero][second padding:zero][subsecond digits:3]"
);
/// Lines are handed on in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;
/// Tasks read from the log at a time.
const TASKS_PAGE: usize = 1000;
/// The fact that holds the instance's uid if it came with a dump.
pub(crate) const INSTANCE_FACT: &str = "instanceUid";

/// The uid of the dump whose task began then.
pub(crate) fn uid_of(begun: Timestamp) -> Result<String, EngineError> {
    begun.format(UID_FORMAT).map_err(|error| {
        EngineError::Answer(format!("the moment of a dump cannot be written: {error}"))
    })
}

/// The uid of this instance as its dumps tell it.
pub(crate) async fn instance_uid(shared: &Shared) -> Result<Option<Uuid>, StoreError> {
    let known = shared.ports.store.load_fact(INSTANCE_FACT).await?;
    let known = known.as_ref().and_then(Value::as_str);
    Ok(Uuid::parse_str(known.unwrap_or(&shared.cluster)).ok())
}

/// Writes the dump; returns what its task shows.
pub(super) async fn run(shared: &Shared, task: &TaskRecord) -> Result<Value, Failure> {
    let uid = uid_of(task.started_at.unwrap_or(task.enqueued_at))?;
    let writer = shared.ports.dumps.create(&uid).await?;
    let mut dump = Dump {
        shared,
        writer,
        piece: Vec::with_capacity(PIECE_BYTES),
    };
    dump.instance(task).await?;
    shared.step("dump.begun").await;
    dump.keys().await?;
    dump.switches().await?;
    dump.chats().await?;
    dump.tasks(task).await?;
    dump.folder("indexes").await?;
    dump.rules(task).await?;
    let snapshot = shared.snapshot.load_full();
    for entry in snapshot.indexes.values() {
        dump.index(entry).await?;
        shared.step("dump.index").await;
    }
    dump.flush().await?;
    dump.writer.finish().await?;
    shared.step("dump.finished").await;
    Ok(json!({ "dumpUid": uid }))
}

/// A dump being written.
struct Dump<'a> {
    shared: &'a Shared,
    writer: Box<dyn DumpWriter>,
    /// Not handed on yet.
    piece: Vec<u8>,
}

impl Dump<'_> {
    async fn folder(&mut self, path: &str) -> Result<(), StoreError> {
        self.flush().await?;
        self.writer.folder(path).await
    }

    async fn begin(&mut self, path: &str) -> Result<(), StoreError> {
        self.flush().await?;
        self.writer.begin(path).await
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn line(&mut self, value: &Value) -> Result<(), StoreError> {
        self.put(value.to_string().as_bytes()).await?;
        self.put(b"\n").await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.writer.append(Bytes::from(piece)).await
    }

    async fn file(&mut self, path: &str, content: &Value) -> Result<(), StoreError> {
        self.begin(path).await?;
        self.put(content.to_string().as_bytes()).await
    }

    // -----------------------------------------------------------------------------------------
    // The instance

    async fn instance(&mut self, task: &TaskRecord) -> Result<(), Failure> {
        let date = task.started_at.unwrap_or(task.enqueued_at);
        let metadata = json!({
            "dumpVersion": "V6",
            "dbVersion": MEILISEARCH_VERSION,
            "dumpDate": format_date(date),
        });
        self.file("metadata.json", &metadata).await?;
        if let Some(uid) = instance_uid(self.shared).await? {
            self.begin("instance_uid.uuid").await?;
            self.put(uid.hyphenated().to_string().as_bytes()).await?;
        }
        Ok(())
    }

    async fn keys(&mut self) -> Result<(), Failure> {
        self.begin("keys.jsonl").await?;
        for record in self.shared.ports.api_keys.load_api_keys().await? {
            let Ok(key) = serde_json::from_value::<ApiKey>(record.record) else {
                // It opens nothing here either; its warning was given at the start.
                continue;
            };
            self.line(&json!({
                "description": key.description,
                "name": key.name,
                "uid": key.uid,
                "actions": key.actions,
                "indexes": key.indexes,
                "expires_at": key.expires_at.map(format_date),
                "created_at": format_date(key.created_at),
                "updated_at": format_date(key.updated_at),
            }))
            .await?;
        }
        Ok(())
    }

    async fn switches(&mut self) -> Result<(), Failure> {
        let instance = self.shared.ports.instance.clone();
        let features = json!(instance.load_features().await?);
        self.file("experimental-features.json", &features).await?;
        let hooks: Map<String, Value> = instance
            .load_webhooks()
            .await?
            .into_iter()
            .map(|hook| (hook.uuid.hyphenated().to_string(), hook.record))
            .collect();
        self.file("webhooks.json", &json!({ "webhooks": hooks }))
            .await?;
        Ok(())
    }

    /// The workspaces of chats, with their keys. One whose name can be no file's is left out.
    async fn chats(&mut self) -> Result<(), Failure> {
        let workspaces = crate::chat::load(&*self.shared.ports.store).await?;
        self.folder("chat-completions-settings").await?;
        for (uid, workspace) in &workspaces {
            if IndexUid::new(&**uid).is_err() {
                tracing::warn!(uid, "a chat workspace of this name cannot be dumped");
                continue;
            }
            let file = format!("chat-completions-settings/{uid}.json");
            self.file(&file, &json!(**workspace)).await?;
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // Tasks

    /// The log up to now: what has ended, the dump itself as if it had, and what waits behind it,
    /// which an import carries out.
    async fn tasks(&mut self, own: &TaskRecord) -> Result<(), Failure> {
        let store = self.shared.ports.store.clone();
        self.folder("tasks").await?;
        self.folder("tasks/update_files").await?;
        let newest = store
            .list_tasks(TaskQuery {
                limit: 1,
                ..TaskQuery::default()
            })
            .await?;
        let Some(last) = newest.tasks.first().map(|task| task.uid) else {
            return Ok(());
        };
        self.begin("tasks/queue.jsonl").await?;
        let mut waiting = Vec::new();
        let mut from = Some(TaskUid(0));
        while let Some(first) = from {
            let page = store
                .list_tasks(TaskQuery {
                    from: Some(first),
                    limit: TASKS_PAGE,
                    is_reversed: true,
                    ..TaskQuery::default()
                })
                .await?;
            from = page.next.filter(|next| *next <= last);
            for mut task in page.tasks.into_iter().filter(|task| task.uid <= last) {
                if task.uid == own.uid {
                    task.status = TaskStatus::Succeeded;
                    task.finished_at = Some(self.shared.ports.clock.now());
                }
                if task.status == TaskStatus::Enqueued
                    && matches!(task.operation, Operation::AddDocuments { .. })
                {
                    waiting.push(task.uid);
                }
                self.task(&task).await?;
            }
        }
        for uid in waiting {
            // It may have been canceled in between; an empty file is then as good as any.
            let task = store.load_task(uid).await?;
            self.begin(&format!("tasks/update_files/{uid}.jsonl"))
                .await?;
            if let Some(task) = task {
                self.payload(&task).await?;
            }
        }
        Ok(())
    }

    async fn task(&mut self, task: &TaskRecord) -> Result<(), Failure> {
        let Some(line) = tasks::line(task) else {
            return Ok(());
        };
        let is_waiting_deletion = task.status == TaskStatus::Enqueued
            && matches!(task.operation, Operation::DeleteDocuments { .. });
        // The ids of a waiting deletion stand in the line itself: as many as a client may send at
        // once, so they are handed on in pieces like any payload.
        let split = line
            .split_once(tasks::NO_IDS)
            .filter(|_| is_waiting_deletion);
        let Some((head, tail)) = split else {
            self.put(line.as_bytes()).await?;
            return Ok(self.put(b"\n").await?);
        };
        self.put(head.as_bytes()).await?;
        self.put(tasks::NO_IDS.trim_end_matches(']').as_bytes())
            .await?;
        let stored = self.shared.ports.store.load_task(task.uid).await?;
        if let Some(stored) = stored {
            self.ids(&stored).await?;
        }
        self.put(b"]").await?;
        self.put(tail.as_bytes()).await?;
        Ok(self.put(b"\n").await?)
    }

    /// The lines of a payload of ids, as the elements of a list.
    async fn ids(&mut self, task: &TaskRecord) -> Result<(), Failure> {
        let mut is_first = true;
        let mut rest: Vec<u8> = Vec::new();
        let mut reader = PayloadReader::new(self.shared, task);
        while let Some(piece) = reader.next().await? {
            rest.extend_from_slice(&piece);
            let whole = rest.iter().rposition(|byte| *byte == b'\n');
            let tail = rest.split_off(whole.map_or(0, |end| end + 1));
            let lines = std::mem::replace(&mut rest, tail);
            for id in lines.split(|byte| *byte == b'\n') {
                if id.is_empty() {
                    continue;
                }
                if !std::mem::take(&mut is_first) {
                    self.put(b",").await?;
                }
                self.put(id).await?;
            }
        }
        Ok(())
    }

    async fn payload(&mut self, task: &TaskRecord) -> Result<(), Failure> {
        let mut reader = PayloadReader::new(self.shared, task);
        while let Some(piece) = reader.next().await? {
            self.put(&piece).await?;
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // Indexes

    /// The rules as the hidden index that one Meilisearch keeps them in.
    async fn rules(&mut self, task: &TaskRecord) -> Result<(), Failure> {
        let book = self.shared.rules.load_full();
        if book.is_empty() {
            return Ok(());
        }
        let folder = format!("indexes/{RULES_INDEX}");
        self.folder(&folder).await?;
        let date = format_date(task.started_at.unwrap_or(task.enqueued_at));
        let metadata = json!({
            "uid": RULES_INDEX, "primaryKey": "uid", "createdAt": date, "updatedAt": date,
        });
        self.file(&format!("{folder}/metadata.json"), &metadata)
            .await?;
        self.file(&format!("{folder}/settings.json"), &rules_settings())
            .await?;
        self.begin(&format!("{folder}/documents.jsonl")).await?;
        for rule in book.rules() {
            self.line(&json!(rule)).await?;
        }
        Ok(())
    }

    async fn index(&mut self, entry: &Arc<IndexEntry>) -> Result<(), Failure> {
        let record = &entry.record;
        let folder = format!("indexes/{}", record.uid);
        self.folder(&folder).await?;
        let metadata = json!({
            "uid": record.uid.as_str(),
            "primaryKey": record.primary_key,
            "createdAt": format_date(record.created_at),
            "updatedAt": format_date(record.updated_at),
        });
        self.file(&format!("{folder}/metadata.json"), &metadata)
            .await?;
        let mut settings = settings::revealed(self.shared, entry).await?;
        if record.settings.contains_key("chat") {
            let chat = ChatSetting::of(&record.settings);
            settings.insert("chat".to_owned(), chat.view());
        }
        let embedders = settings::fragment_embedders(&settings);
        self.file(&format!("{folder}/settings.json"), &Value::Object(settings))
            .await?;
        self.begin(&format!("{folder}/documents.jsonl")).await?;
        let mut documents = DocumentStream::new(self.shared, entry.clone(), None);
        while let Some(document) = documents.next().await? {
            let document = settings::fix_vectors(document, &embedders)
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            self.put(&document).await?;
            self.put(b"\n").await?;
        }
        Ok(())
    }
}

/// The settings that one Meilisearch gives its index of rules: by them it finds what holds.
fn rules_settings() -> Value {
    let filterable = |pattern: &str, compares: bool| {
        json!({
            "attributePatterns": [pattern],
            "features": {
                "facetSearch": false,
                "filter": {"equality": true, "comparison": compares},
            },
        })
    };
    json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["conditions.query.words", "description"],
        "filterableAttributes": [
            filterable("active", false),
            filterable("conditions.time.start", true),
            filterable("conditions.time.end", true),
            filterable("conditions.query.isEmpty", false),
            filterable("conditions.filter.values.*", true),
            filterable("conditions.filter.nbConstraints", true),
        ],
        "sortableAttributes": ["lastUpdatedAt", "precedence"],
        "proximityPrecision": "byAttribute",
        "typoTolerance": {"enabled": false, "disableOnNumbers": true},
        "facetSearch": false,
        "prefixSearch": "disabled",
    })
}

/// Reads the payload of a task piece by piece, wherever it lies.
struct PayloadReader<'a> {
    shared: &'a Shared,
    inline: Option<Bytes>,
    file: Option<PayloadRef>,
    offset: u64,
}

impl<'a> PayloadReader<'a> {
    fn new(shared: &'a Shared, task: &TaskRecord) -> Self {
        Self {
            shared,
            inline: task.inline_payload.clone(),
            file: task.payload.clone(),
            offset: 0,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(inline) = self.inline.take() {
            return Ok(Some(inline));
        }
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let payloads = &self.shared.ports.payloads;
        let piece = payloads.read_at(file, self.offset, PIECE_BYTES).await?;
        self.offset += piece.len() as u64;
        Ok((!piece.is_empty()).then_some(piece))
    }
}
