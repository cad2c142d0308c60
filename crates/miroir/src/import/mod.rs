//! Imports a Meilisearch dump (format v6) into an empty Miroir, through the ordinary write path: so
//! what is imported is checked, cut and delivered like anything that clients write.
//!
//! The order: instance uid, keys, history of tasks, then each index (settings before documents), and
//! at last the tasks that waited when the dump was written. An import that dies leaves a mark in the
//! store: the next start does not serve half of a dump, and the next import begins afresh.

mod archive;
mod documents;
mod task;

use anyhow::{Context, bail, ensure};
use archive::Unpacked;
use bytes::Bytes;
use documents::{Limits, Pieces};
use miroir_api::chat::workspace::Workspace;
use miroir_api::feature::FEATURES;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::rules::{RULES_INDEX, Rule, has_filter_condition};
use miroir_core::task::{AdditionMethod, Operation, TaskFilter, TaskStatus};
use miroir_engine::Engine;
use miroir_engine::coordination::WebhookRecord;
use miroir_engine::engine::Write;
use miroir_engine::import::GATED_SETTINGS;
use miroir_engine::keys::ApiKey;
use miroir_engine::port::{Payload, TaskQuery, TaskRecord};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;
use task::{DumpedTask, date};
use uuid::Uuid;

/// How often a task is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Payloads on their way at a time: enough to keep the nodes busy, little on disk.
const UNDER_WAY_MAX: usize = 4;
/// Tasks of the history stored at a time.
const HISTORY_PAGE: usize = 500;

/// What to do at a start about a dump.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// The dump.
    pub(crate) file: PathBuf,
    /// Go on without it if it is not there.
    pub(crate) ignore_missing: bool,
    /// Go on without it if something is there already.
    pub(crate) ignore_if_not_empty: bool,
}

/// What was imported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) indexes: u64,
    pub(crate) documents: u64,
    pub(crate) keys: u64,
    pub(crate) past_tasks: u64,
    /// Tasks of kinds that Miroir does not have.
    pub(crate) unknown_tasks: u64,
    pub(crate) waiting_tasks: u64,
}

/// Does what is wished at a start; refuses to go on over half of an import.
///
/// # Errors
/// With the way out.
pub(crate) async fn at_start(
    engine: &Engine,
    wish: Option<&Wish>,
    home: &Path,
) -> anyhow::Result<Option<Report>> {
    let is_open = engine.has_open_import().await?;
    let Some(wish) = wish else {
        ensure!(
            !is_open,
            "an import of a dump into this data folder was not finished: start with --import-dump \
             FILE to do it again from its beginning, or with a new data folder"
        );
        return Ok(None);
    };
    if !is_open && !engine.is_fresh().await? {
        if wish.ignore_if_not_empty {
            tracing::info!("the dump is ignored: there is data already");
            return Ok(None);
        }
        bail!(
            "a dump is imported into an empty Miroir only, and there is data already: start with a \
             new data folder, or with --ignore-dump-if-db-exists to go on without the dump"
        );
    }
    if !wish.file.exists() {
        if wish.ignore_missing && !is_open {
            tracing::info!("the dump is ignored: there is no such file");
            return Ok(None);
        }
        bail!(
            "there is no dump {}: correct the path, or start with --ignore-missing-dump to go on \
             without it",
            wish.file.display()
        );
    }
    let (file, folder) = (wish.file.clone(), home.to_owned());
    let dump = tokio::task::spawn_blocking(move || Unpacked::open(&file, &folder)).await??;
    let import = Import {
        engine,
        dump,
        features: BTreeMap::new(),
        report: Report::default(),
    };
    let report = Box::pin(import.run(is_open)).await?;
    tracing::info!(?report, "the dump is imported");
    Ok(Some(report))
}

/// Miroir can switch the feature on.
fn is_honoured(name: &str) -> bool {
    FEATURES
        .iter()
        .any(|feature| feature.name == name && feature.refusal.is_none())
}

struct Import<'e> {
    engine: &'e Engine,
    dump: Unpacked,
    /// The experimental features of the dump that Miroir has.
    features: BTreeMap<String, bool>,
    report: Report,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexMetadata {
    uid: String,
    primary_key: Option<String>,
}

#[derive(Deserialize)]
struct DumpedKey {
    description: Option<String>,
    name: Option<String>,
    uid: Uuid,
    actions: Vec<String>,
    indexes: Vec<String>,
    expires_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl Import<'_> {
    async fn run(mut self, is_again: bool) -> anyhow::Result<Report> {
        self.check_version()?;
        if is_again {
            self.clear().await?;
        }
        self.engine.set_open_import(true).await?;
        self.instance_uid().await?;
        self.keys().await?;
        self.switches().await?;
        let waiting = self.history().await?;
        let first = self.next_task().await?;
        for name in self.dump.folders("indexes")? {
            self.index(&name).await?;
        }
        // The dump's own tasks are its history; those that made the indexes here are not.
        self.engine.forget_tasks_from(first).await?;
        for line in waiting {
            self.enqueue(&line).await?;
        }
        self.engine.set_open_import(false).await?;
        Ok(self.report)
    }

    fn check_version(&self) -> anyhow::Result<()> {
        let metadata = self.dump.text("metadata.json")?;
        let metadata = metadata.context("it is no dump: it has no `metadata.json`")?;
        let metadata: Value =
            serde_json::from_str(&metadata).context("`metadata.json` of the dump is no JSON")?;
        let version = metadata["dumpVersion"].as_str().unwrap_or("?");
        if version != "V6" {
            bail!(
                "the dump has format {version} and Miroir reads V6, which Meilisearch writes since \
                 1.0: import it into a Meilisearch of 1.0 or later and dump it there again"
            );
        }
        tracing::info!(
            meilisearch = metadata["dbVersion"].as_str().unwrap_or("?"),
            date = metadata["dumpDate"].as_str().unwrap_or("?"),
            "importing a dump"
        );
        Ok(())
    }

    /// The workspaces of chats.
    async fn chats(&self) -> anyhow::Result<()> {
        const FOLDER: &str = "chat-completions-settings";
        for uid in self.dump.json_files(FOLDER)? {
            let text = self.dump.text(&format!("{FOLDER}/{uid}.json"))?;
            let workspace: Workspace = serde_json::from_str(&text.unwrap_or_default())
                .with_context(|| format!("the chat workspace `{uid}` cannot be read"))?;
            let adopt = |_| Ok::<_, Infallible>(Some(workspace));
            match self.engine.change_workspace(&uid, adopt).await? {
                Ok(()) => {}
                Err(never) => match never {},
            }
        }
        Ok(())
    }

    /// Takes away what an import that died has left.
    async fn clear(&self) -> anyhow::Result<()> {
        tracing::info!("an import was not finished: beginning again");
        loop {
            let query = TaskQuery {
                filter: TaskFilter {
                    statuses: Some(vec![TaskStatus::Enqueued, TaskStatus::Processing]),
                    ..TaskFilter::default()
                },
                limit: 1,
                ..TaskQuery::default()
            };
            if self.engine.tasks(query).await?.total == 0 {
                break;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        for index in self.engine.indexes() {
            self.succeed(index.uid, Operation::DeleteIndex).await?;
        }
        self.engine.forget_tasks_from(TaskUid(0)).await?;
        Ok(())
    }

    async fn instance_uid(&self) -> anyhow::Result<()> {
        if let Some(uid) = self.dump.text("instance_uid.uuid")? {
            let uid = Uuid::parse_str(uid.trim()).context("the dump's instance uid is none")?;
            self.engine.adopt_instance_uid(uid).await?;
        }
        Ok(())
    }

    /// The dump's keys in place of those that are there. Their values follow from their uids and
    /// the master key.
    async fn keys(&mut self) -> anyhow::Result<()> {
        for key in self.engine.api_keys().iter() {
            self.engine.remove_api_key(key.uid).await?;
        }
        let text = self.dump.text("keys.jsonl")?.unwrap_or_default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let key: DumpedKey =
                serde_json::from_str(line).context("a key of the dump cannot be read")?;
            let key = ApiKey {
                uid: key.uid,
                name: key.name,
                description: key.description,
                actions: key.actions,
                indexes: key.indexes,
                expires_at: key.expires_at.as_deref().map(date).transpose()?,
                created_at: date(&key.created_at)?,
                updated_at: date(&key.updated_at)?,
            };
            self.engine.add_api_key(key).await?;
            self.report.keys += 1;
        }
        Ok(())
    }

    async fn switches(&mut self) -> anyhow::Result<()> {
        let object = |path: &str| -> anyhow::Result<Map<String, Value>> {
            let text = self.dump.text(path)?;
            let object = text.map(|text| serde_json::from_str(&text)).transpose();
            let object = object.with_context(|| format!("`{path}` of the dump cannot be read"))?;
            Ok(object.unwrap_or_default())
        };
        let features: BTreeMap<String, bool> = object("experimental-features.json")?
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_bool()?)))
            .collect();
        let mut webhooks = Vec::new();
        let hooks = object("webhooks.json")?.remove("webhooks");
        for (uuid, record) in hooks
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let uuid = Uuid::parse_str(uuid).context("a webhook of the dump has no uid")?;
            let record = record.clone();
            webhooks.push(WebhookRecord { uuid, record });
        }
        self.engine.adopt_webhooks(webhooks).await?;
        let (honoured, others): (BTreeMap<_, _>, BTreeMap<_, _>) = features
            .into_iter()
            .partition(|(name, _)| is_honoured(name));
        for (name, _) in others.iter().filter(|(_, is_on)| **is_on) {
            tracing::warn!(
                name,
                "an experimental feature of the dump is not switched on"
            );
        }
        // Before any settings, which may need them on the nodes.
        self.engine.switch_features(honoured.clone()).await?;
        self.features = honoured;
        self.chats().await
    }

    // -----------------------------------------------------------------------------------------
    // Tasks

    /// Stores what has ended; returns the lines of what waits.
    async fn history(&mut self) -> anyhow::Result<Vec<String>> {
        let mut waiting = Vec::new();
        let Some(file) = self.dump.file("tasks/queue.jsonl")? else {
            return Ok(waiting);
        };
        let mut page = Vec::with_capacity(HISTORY_PAGE);
        for line in BufReader::new(file).lines() {
            let line = line.context("the tasks of the dump cannot be read")?;
            if line.trim().is_empty() {
                continue;
            }
            let task = DumpedTask::read(&line)?;
            if task.is_waiting() {
                waiting.push(line);
                continue;
            }
            match task.record()? {
                Some(record) => page.push(record),
                None => self.report.unknown_tasks += 1,
            }
            if page.len() >= HISTORY_PAGE {
                self.store_history(&mut page).await?;
            }
        }
        self.store_history(&mut page).await?;
        Ok(waiting)
    }

    async fn store_history(&mut self, page: &mut Vec<TaskRecord>) -> anyhow::Result<()> {
        self.report.past_tasks += page.len() as u64;
        self.engine.add_past_tasks(std::mem::take(page)).await?;
        Ok(())
    }

    /// A uid above every task that is there.
    async fn next_task(&self) -> anyhow::Result<TaskUid> {
        let query = TaskQuery {
            limit: 1,
            ..TaskQuery::default()
        };
        let newest = self.engine.tasks(query).await?.tasks;
        Ok(TaskUid(newest.first().map_or(0, |task| task.uid.0 + 1)))
    }

    /// Puts a task that waited into the log, under a new uid.
    async fn enqueue(&mut self, line: &str) -> anyhow::Result<()> {
        let task = DumpedTask::read(line)?;
        let Some((index_uid, operation)) = task.request()? else {
            self.report.unknown_tasks += 1;
            return Ok(());
        };
        let payload = match &operation {
            Operation::AddDocuments { .. } => {
                let path = format!("tasks/update_files/{}.jsonl", task.uid);
                let file = self.dump.file(&path)?;
                let mut pieces = Pieces::new(file, Limits::UNBOUNDED);
                let piece = pieces.next(self.engine).await?;
                Some(piece.map_or(Payload::Inline(Bytes::new()), |piece| piece.payload))
            }
            Operation::DeleteDocuments { .. } => {
                let mut writer = self.engine.create_payload().await?;
                for id in task.ids() {
                    writer.append(format!("{}\n", json!(id)).into()).await?;
                }
                Some(Payload::Stored(writer.finish().await?))
            }
            // They would choose among other tasks than they were meant for.
            Operation::CancelTasks { .. } | Operation::DeleteTasks { .. } => return Ok(()),
            _ => None,
        };
        let write = Write {
            index_uid,
            operation,
            payload,
            custom_metadata: task.custom_metadata(),
        };
        self.engine.register(write).await?;
        self.report.waiting_tasks += 1;
        Ok(())
    }

    // -----------------------------------------------------------------------------------------
    // Indexes

    /// The dynamic search rules, which are the documents of a hidden index.
    async fn rules(&self, folder: &str) -> anyhow::Result<()> {
        let text = self.dump.text(&format!("{folder}/documents.jsonl"))?;
        let mut rules = Vec::new();
        for line in text.unwrap_or_default().lines() {
            if line.trim().is_empty() {
                continue;
            }
            let rule: Value = serde_json::from_str(line)
                .context("a dynamic search rule of the dump cannot be read")?;
            let uid = rule.get("uid").and_then(Value::as_str).unwrap_or("?");
            ensure!(
                !has_filter_condition(&rule),
                "the dynamic search rule `{uid}` of the dump has a condition on filters, which \
                 Miroir does not follow: delete it over there and dump again"
            );
            let rule: Rule = serde_json::from_value(rule)
                .context("a dynamic search rule of the dump cannot be read")?;
            rules.push(rule);
        }
        tracing::info!(count = rules.len(), "importing dynamic search rules");
        self.engine.adopt_rules(rules).await?;
        Ok(())
    }

    async fn index(&mut self, name: &str) -> anyhow::Result<()> {
        let folder = format!("indexes/{name}");
        let metadata = self.dump.text(&format!("{folder}/metadata.json"))?;
        let metadata = metadata.with_context(|| format!("`{folder}` has no metadata"))?;
        let metadata: IndexMetadata = serde_json::from_str(&metadata)
            .with_context(|| format!("the metadata of `{folder}` cannot be read"))?;
        if metadata.uid == RULES_INDEX {
            return self.rules(&folder).await;
        }
        let Ok(uid) = IndexUid::new(&metadata.uid) else {
            // One that no client could make: what Meilisearch keeps for itself.
            tracing::warn!(index = metadata.uid, "an internal index is not imported");
            return Ok(());
        };
        tracing::info!(index = %uid, "importing an index");
        let primary_key = metadata.primary_key.clone();
        self.succeed(uid.clone(), Operation::CreateIndex { primary_key })
            .await?;
        if let Some(settings) = self.dump.text(&format!("{folder}/settings.json"))? {
            let mut settings: Map<String, Value> = serde_json::from_str(&settings)
                .with_context(|| format!("the settings of `{uid}` cannot be read"))?;
            for (setting, feature) in GATED_SETTINGS {
                if !self.features.get(*feature).copied().unwrap_or(false) {
                    settings.remove(*setting);
                }
            }
            let operation = Operation::UpdateSettings {
                settings: Value::Object(settings),
                is_reset: false,
                may_create_index: false,
            };
            self.succeed(uid.clone(), operation).await?;
        }
        let file = self.dump.file(&format!("{folder}/documents.jsonl"))?;
        let mut pieces = Pieces::new(file, Limits::TASK);
        let mut under_way = VecDeque::new();
        while let Some(piece) = pieces.next(self.engine).await? {
            let write = Write {
                index_uid: Some(uid.clone()),
                operation: Operation::AddDocuments {
                    method: AdditionMethod::Replace,
                    primary_key: metadata.primary_key.clone(),
                    skip_creation: false,
                    may_create_index: false,
                    document_count: piece.document_count,
                },
                payload: Some(piece.payload),
                custom_metadata: None,
            };
            self.report.documents += piece.document_count;
            under_way.push_back(self.engine.register(write).await?.uid);
            if under_way.len() >= UNDER_WAY_MAX
                && let Some(first) = under_way.pop_front()
            {
                self.ended(first, &uid).await?;
            }
        }
        for task in under_way {
            self.ended(task, &uid).await?;
        }
        self.report.indexes += 1;
        Ok(())
    }

    async fn succeed(&self, uid: IndexUid, operation: Operation) -> anyhow::Result<()> {
        let write = Write {
            index_uid: Some(uid.clone()),
            operation,
            payload: None,
            custom_metadata: None,
        };
        let task = self.engine.register(write).await?.uid;
        self.ended(task, &uid).await
    }

    /// Waits for a task's success.
    async fn ended(&self, task: TaskUid, uid: &IndexUid) -> anyhow::Result<()> {
        loop {
            let record = self.engine.task(task).await?;
            match record.status {
                TaskStatus::Succeeded => return Ok(()),
                TaskStatus::Enqueued | TaskStatus::Processing => {}
                TaskStatus::Failed | TaskStatus::Canceled => {
                    let error = record.error.unwrap_or_default();
                    let message = error["message"].as_str().unwrap_or("no reason was given");
                    bail!("`{uid}` cannot be imported: {message}");
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}
