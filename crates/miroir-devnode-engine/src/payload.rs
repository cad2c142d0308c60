//! Payload files in memory, and which document ids are known at each point of a batch.
//!
//! `skipCreation` is younger than this engine, and the engine counts deletions of ids that never
//! were. Both need the same answer: does this id exist at this point of the batch?

use crate::error::EngineError;
use memmap2::{Mmap, MmapMut};
use milli_core::Index;
use milli_core::heed::RoTxn;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The longest document id, in bytes.
const DOCUMENT_ID_BYTES_MAX: usize = 511;

/// One operation with its documents in memory.
pub(crate) enum Payload {
    Replace(Mmap),
    Update(Mmap),
    Delete {
        ids: Vec<String>,
        /// How many of the ids existed at this point of the batch.
        existing: u64,
    },
}

/// The file's bytes, copied into anonymous memory.
///
/// Mapping the file itself would be cheaper, but is unsound when someone shortens it meanwhile.
pub(crate) fn read_payload(file: &Path) -> Result<Mmap, EngineError> {
    let mut file = File::open(file)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(EngineError::internal)?;
    let mut map = MmapMut::map_anon(size)?;
    file.read_exact(&mut map)?;
    Ok(map.make_read_only()?)
}

/// Which ids exist: those of the index, changed by the operations seen so far.
pub(crate) struct Known<'t> {
    index: &'t Index,
    rtxn: &'t RoTxn<'t>,
    primary_key: Option<String>,
    changed: HashMap<String, bool>,
}

impl<'t> Known<'t> {
    pub(crate) fn new(
        index: &'t Index,
        rtxn: &'t RoTxn<'t>,
        primary_key: Option<&str>,
    ) -> Result<Self, EngineError> {
        let primary_key = index.primary_key(rtxn)?.or(primary_key).map(str::to_owned);
        Ok(Known {
            index,
            rtxn,
            primary_key,
            changed: HashMap::new(),
        })
    }

    fn contains(&self, id: &str) -> Result<bool, EngineError> {
        match self.changed.get(id) {
            Some(exists) => Ok(*exists),
            None => Ok(self
                .index
                .external_documents_ids()
                .get(self.rtxn, id)?
                .is_some()),
        }
    }

    /// Notes the removal of these ids; returns how many existed.
    pub(crate) fn remove(&mut self, ids: &[String]) -> Result<u64, EngineError> {
        let mut existing = 0;
        for id in ids {
            if self.contains(id)? {
                existing += 1;
                self.changed.insert(id.clone(), false);
            }
        }
        Ok(existing)
    }

    /// Notes the ids of a payload. The payload returned lacks the documents whose id is unknown, if
    /// those are to be skipped. A payload that the engine will refuse is returned as it is: its
    /// error is the engine's to tell.
    pub(crate) fn add(&mut self, payload: Mmap, skip_creation: bool) -> Result<Mmap, EngineError> {
        let Some(ids) = self.ids_of(&payload) else {
            return Ok(payload);
        };
        if !skip_creation {
            self.changed
                .extend(ids.into_iter().map(|(id, _)| (id, true)));
            return Ok(payload);
        }
        let mut kept = Vec::new();
        for (id, document) in &ids {
            if self.contains(id)? {
                kept.extend_from_slice(document.get().as_bytes());
                kept.push(b'\n');
            }
        }
        let mut map = MmapMut::map_anon(kept.len())?;
        map.copy_from_slice(&kept);
        Ok(map.make_read_only()?)
    }

    /// Every document with its id, in order; `None` when one of them is wrong.
    fn ids_of<'p>(&mut self, payload: &'p [u8]) -> Option<Vec<(String, &'p RawValue)>> {
        let mut ids = Vec::new();
        let documents = serde_json::Deserializer::from_slice(payload).into_iter::<&RawValue>();
        for document in documents {
            let document = document.ok()?;
            let fields: Map<String, Value> = serde_json::from_str(document.get()).ok()?;
            if self.primary_key.is_none() {
                self.primary_key = infer_primary_key(&fields);
            }
            ids.push((
                document_id(&fields, self.primary_key.as_deref()?)?,
                document,
            ));
        }
        Some(ids)
    }
}

/// The one field whose name ends in `id`, in any case.
fn infer_primary_key(document: &Map<String, Value>) -> Option<String> {
    let mut candidates = document
        .keys()
        .filter(|name| name.to_lowercase().ends_with("id"));
    match (candidates.next(), candidates.next()) {
        (Some(name), None) => Some(name.clone()),
        _ => None,
    }
}

/// The id of a document in text form, if it is valid and there is exactly one.
fn document_id(document: &Map<String, Value>, primary_key: &str) -> Option<String> {
    let mut found = Vec::new();
    match document.get(primary_key) {
        Some(value) => found.push(value),
        None => collect_nested(document, primary_key, &mut found),
    }
    let [value] = found[..] else { return None };
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::String(id) => {
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let length_is_legal = (1..=DOCUMENT_ID_BYTES_MAX).contains(&id.len());
            (length_is_legal && id.bytes().all(is_legal)).then(|| id.clone())
        }
        _ => None,
    }
}

/// Values at a dotted path, whose parts may themselves be keys with dots.
fn collect_nested<'d>(object: &'d Map<String, Value>, path: &str, found: &mut Vec<&'d Value>) {
    for (dot, _) in path.match_indices('.') {
        let (first, rest) = (&path[..dot], &path[dot + 1..]);
        let Some(value) = object.get(first) else {
            continue;
        };
        let objects = match value {
            Value::Object(object) => vec![object],
            Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
            _ => Vec::new(),
        };
        for object in objects {
            match object.get(rest) {
                Some(value) => found.push(value),
                None => collect_nested(object, rest, found),
            }
        }
    }
}
