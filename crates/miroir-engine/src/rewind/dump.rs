//! Dumps that a rewind begins with: which of them are this instance's own, where they stand in the log,
//! and what they hold of one index.
//!
//! A dump says nothing of a log: it is Meilisearch's own form. But its uid follows from the moment at
//! which its task began, and the log holds that task with that uid. A dump is a barrier in the log, so
//! what it holds is what all tasks before its own have made, and nothing else.

use super::record::Base;
use super::refused;
use super::worker::Stop;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::job;
use crate::job::port::{DumpReader, DumpSource, DumpStore};
use crate::port::{Payload, StoreError, TaskQuery, TaskRecord};
use crate::state::Shared;
use bytes::Bytes;
use miroir_core::id::{IndexUid, TaskUid};
use miroir_core::task::{TaskFilter, TaskKind, TaskStatus};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Dumps of the folder that are tried, the newest first: one that is damaged or was moved away is not
/// the end, and each is read.
const TRIED_MAX: usize = 4;
/// Files of a dump that are no documents are read whole, up to this size. Settings with all their
/// synonyms are the largest.
const SMALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Documents come in tasks of about this size: few enough for neighbours to go together, and the next
/// start repeats no more than one of them.
const PIECE_BYTES: u64 = 2 * 1024 * 1024;
/// Tasks read from the log at a time.
const PAGE: usize = 100;

const METADATA: &str = "metadata.json";
const INSTANCE: &str = "instance_uid.uuid";

/// A dump of this instance, and the task that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnDump {
    pub(super) task: TaskUid,
    pub(super) uid: String,
    /// Where it is, if it was named.
    pub(super) file: Option<PathBuf>,
}

impl OwnDump {
    fn source(&self) -> DumpSource {
        source(&self.uid, self.file.clone())
    }

    /// What it holds of an index, by the name it had then.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn base(
        &self,
        shared: &Shared,
        index: &IndexUid,
    ) -> Result<Option<Base>, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            primary_key: Option<String>,
        }
        let path = format!("indexes/{index}/metadata.json");
        let paths = [path.clone()];
        let files = read_small(&*shared.ports.dumps, &self.source(), &paths).await?;
        let Some(text) = files.and_then(|mut files| files.remove(&path)) else {
            return Ok(None);
        };
        let metadata: Metadata = serde_json::from_slice(&text)
            .map_err(|error| refused(format!("`{path}` of the dump: {error}.")))?;
        Ok(Some(Base::Dump {
            task: self.task,
            uid: self.uid.clone(),
            file: self.file.as_ref().map(|file| file.display().to_string()),
            index: index.to_string(),
            primary_key: metadata.primary_key,
        }))
    }
}

fn source(uid: &str, file: Option<PathBuf>) -> DumpSource {
    match file {
        Some(file) => DumpSource::File(file),
        None => DumpSource::Uid(uid.to_owned()),
    }
}

/// The dump of that file, if it is this instance's own and the log knows it.
///
/// # Errors
/// [`EngineError::Client`] with what it is instead.
pub(super) async fn named(shared: &Shared, file: PathBuf) -> Result<OwnDump, EngineError> {
    let shown = file.display().to_string();
    match identify(shared, DumpSource::File(file.clone())).await? {
        None => Err(refused(format!(
            "There is no dump {shown} on the machine of the proxy."
        ))),
        Some((task, uid)) => Ok(OwnDump {
            task,
            uid,
            file: Some(file),
        }),
    }
}

/// This instance's own dumps that the log knows, not behind this task, the newest first. Their files
/// may be gone.
///
/// # Errors
/// The store failed.
pub(super) async fn candidates(shared: &Shared, to: TaskUid) -> Result<Vec<OwnDump>, EngineError> {
    let tasks = dump_tasks(shared, Some(to), TRIED_MAX, |_| true).await?;
    let own = tasks.into_iter().filter_map(|task| {
        Some(OwnDump {
            task: task.uid,
            uid: uid_of(&task)?.to_owned(),
            file: None,
        })
    });
    Ok(own.collect())
}

/// It is in the dump folder, and is what the log says.
///
/// # Errors
/// As [`named`].
pub(super) async fn is_there(shared: &Shared, dump: &OwnDump) -> Result<bool, EngineError> {
    let found = identify(shared, dump.source()).await?;
    Ok(found.is_some_and(|(task, uid)| task == dump.task && uid == dump.uid))
}

fn uid_of(task: &TaskRecord) -> Option<&str> {
    task.details.get("dumpUid").and_then(Value::as_str)
}

/// The task that wrote a dump, and the dump's uid; `None` if there is no such dump.
async fn identify(
    shared: &Shared,
    source: DumpSource,
) -> Result<Option<(TaskUid, String)>, EngineError> {
    let paths = [METADATA.to_owned(), INSTANCE.to_owned()];
    let Some(files) = read_small(&*shared.ports.dumps, &source, &paths).await? else {
        return Ok(None);
    };
    let text = |path: &str| {
        let bytes = files.get(path)?;
        Some(String::from_utf8_lossy(bytes).trim().to_owned())
    };
    let metadata = text(METADATA).unwrap_or_default();
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|_| refused("It is no dump: it has no `metadata.json`.".to_owned()))?;
    let of = text(INSTANCE).and_then(|uid| Uuid::parse_str(&uid).ok());
    let own = job::instance_uid(shared).await?;
    if of != own {
        let shown = |uid: Option<Uuid>| {
            uid.map_or_else(|| "without a uid".to_owned(), |uid| uid.to_string())
        };
        return Err(refused(format!(
            "The dump is of another instance ({}; this one is {}): an index can be rewound from a \
             dump of its own instance only.",
            shown(of),
            shown(own)
        )));
    }
    let date = metadata.get("dumpDate").and_then(Value::as_str);
    let date = date.and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok());
    let Some(date) = date else {
        return Err(refused("The dump does not tell its date.".to_owned()));
    };
    let uid = job::uid_of(date)?;
    let is_it = |task: &TaskRecord| uid_of(task) == Some(&uid);
    let tasks = dump_tasks(shared, None, 1, is_it).await?;
    match tasks.first() {
        Some(task) => Ok(Some((task.uid, uid))),
        None => Err(refused(format!(
            "The log does not know the dump {uid}: the task that wrote it was deleted, or it was \
             written before this log began. So nobody can tell which tasks it holds."
        ))),
    }
}

/// Tasks of this log that wrote a dump, the newest first.
async fn dump_tasks(
    shared: &Shared,
    from: Option<TaskUid>,
    count_max: usize,
    is_wanted: impl Fn(&TaskRecord) -> bool + Send,
) -> Result<Vec<TaskRecord>, EngineError> {
    let mut query = TaskQuery {
        filter: TaskFilter {
            types: Some(vec![TaskKind::DumpCreation]),
            statuses: Some(vec![TaskStatus::Succeeded]),
            ..TaskFilter::default()
        },
        from,
        limit: PAGE,
        is_reversed: false,
    };
    let mut found = Vec::new();
    loop {
        let page = shared.ports.store.list_tasks(query.clone()).await?;
        // A task without a batch came with an import: it stands in another log.
        let own = page
            .tasks
            .into_iter()
            .filter(|task| task.batch_uid.is_some());
        found.extend(own.filter(|task| is_wanted(task)));
        found.truncate(count_max);
        match page.next {
            Some(next) if found.len() < count_max => query.from = Some(next),
            _ => return Ok(found),
        }
    }
}

/// Reads files that are no documents; `None` if there is no such dump. Files that it lacks are left out.
async fn read_small(
    dumps: &dyn DumpStore,
    source: &DumpSource,
    paths: &[String],
) -> Result<Option<BTreeMap<String, Vec<u8>>>, EngineError> {
    let Some(mut reader) = opened(dumps.open(source, paths).await)? else {
        return Ok(None);
    };
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut whole = 0;
    // What comes behind the last one is not read.
    while whole < paths.len()
        && let Some(piece) = opened(reader.next().await)?
    {
        let file = files.entry(piece.path).or_default();
        if file.len() + piece.bytes.len() > SMALL_BYTES_MAX {
            return Err(refused(
                "It is no dump: a file of it is too large.".to_owned(),
            ));
        }
        file.extend_from_slice(&piece.bytes);
        whole += usize::from(piece.is_last);
    }
    Ok(Some(files))
}

/// What is wrong with a file that somebody named is the asker's affair, not the store's.
fn opened<T>(result: Result<T, StoreError>) -> Result<T, EngineError> {
    result.map_err(|error| match error {
        StoreError::Corrupt {
            what: "dump",
            cause,
        } => refused(format!("The dump cannot be read: {cause}.")),
        error => refused(format!("The dump cannot be read: {error}.")),
    })
}

/// The settings of an index in a dump, as far as its nodes take them.
///
/// # Errors
/// [`Stop`].
pub(super) async fn settings(engine: &Engine, base: &Base) -> Result<Map<String, Value>, Stop> {
    let Some((source, index)) = place(base) else {
        return Ok(Map::new());
    };
    let path = format!("indexes/{index}/settings.json");
    let paths = [path.clone()];
    let files = read_small(&*engine.shared().ports.dumps, &source, &paths).await?;
    let text = files.and_then(|mut files| files.remove(&path));
    let text = text.ok_or_else(|| Stop::Failed(format!("the dump has no `{path}`")))?;
    let mut settings: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|error| Stop::Failed(format!("`{path}` of the dump: {error}")))?;
    for (setting, feature) in crate::import::GATED_SETTINGS {
        if !engine.has_feature(feature) {
            settings.remove(*setting);
        }
    }
    Ok(settings)
}

fn place(base: &Base) -> Option<(DumpSource, &str)> {
    match base {
        Base::Creation { .. } => None,
        Base::Dump {
            uid, file, index, ..
        } => Some((source(uid, file.as_ref().map(PathBuf::from)), index)),
    }
}

/// Some documents of a dump, durable as a payload.
pub(super) struct Piece {
    pub(super) payload: Payload,
    pub(super) count: u64,
    /// Where they end in their file.
    pub(super) to: u64,
}

/// The documents of an index in a dump, cut into payloads.
pub(super) struct Documents {
    reader: Box<dyn DumpReader>,
    /// Bytes to pass over: an earlier process has registered them.
    skip: u64,
    rest: Bytes,
    at: u64,
    has_ended: bool,
}

impl Documents {
    /// Those from a byte of their file on.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) async fn open(engine: &Engine, base: &Base, from: u64) -> Result<Self, Stop> {
        let Some((source, index)) = place(base) else {
            return Err(Stop::Failed("there is no dump to read".to_owned()));
        };
        let paths = [format!("indexes/{index}/documents.jsonl")];
        let dumps = &engine.shared().ports.dumps;
        let reader = opened(dumps.open(&source, &paths).await)?;
        let gone = || Stop::Failed(format!("the dump {source:?} is gone"));
        Ok(Self {
            reader: reader.ok_or_else(gone)?,
            skip: from,
            rest: Bytes::new(),
            at: from,
            has_ended: false,
        })
    }

    /// The next ones; `None` after the last.
    ///
    /// # Errors
    /// [`Stop`].
    pub(super) async fn next(&mut self, engine: &Engine) -> Result<Option<Piece>, Stop> {
        self.fill().await?;
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut writer = engine.create_payload().await?;
        let (mut bytes, mut count, mut ends_line) = (0u64, 0u64, true);
        while !self.rest.is_empty() {
            let wanted = usize::try_from(PIECE_BYTES.saturating_sub(bytes)).unwrap_or(usize::MAX);
            // The piece ends with the line that its last byte is in.
            let end = self.rest.get(wanted.saturating_sub(1)..);
            let end = end.and_then(|tail| tail.iter().position(|byte| *byte == b'\n'));
            let part = match end {
                Some(at) => self.rest.split_to(wanted.saturating_sub(1) + at + 1),
                None => std::mem::take(&mut self.rest),
            };
            bytes += part.len() as u64;
            let lines = part.iter().filter(|byte| **byte == b'\n').count();
            count += lines as u64;
            ends_line = part.ends_with(b"\n");
            writer.append(part).await.map_err(EngineError::from)?;
            if end.is_some() {
                break;
            }
            self.fill().await?;
        }
        self.at += bytes;
        let payload = writer.finish().await.map_err(EngineError::from)?;
        Ok(Some(Piece {
            payload: Payload::Stored(payload),
            count: count + u64::from(!ends_line),
            to: self.at,
        }))
    }

    /// Makes something known of what is left, if there is anything.
    async fn fill(&mut self) -> Result<(), Stop> {
        while self.rest.is_empty() && !self.has_ended {
            let Some(piece) = opened(self.reader.next().await)? else {
                return Err(Stop::Failed("the dump ends too early".to_owned()));
            };
            self.has_ended = piece.is_last;
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX);
            let skipped = skipped.min(piece.bytes.len());
            self.skip -= skipped as u64;
            self.rest = piece.bytes.slice(skipped..);
        }
        Ok(())
    }
}
