//! Point reads and listings of documents.

use crate::engine::{DocumentsQuery, Engine};
use crate::error::EngineError;
use crate::partial::ReadAnswer;
use crate::port::NodeRead;
use crate::reads::{PartialPolicy, ReadKind};
use crate::scatter::{Gathered, Scatter};
use crate::state::IndexEntry;
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::document::DOCUMENT_ID_BYTES_MAX;
use miroir_core::hash::{document_hash, shard_of};
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::listing::{Criterion, ListingKey};
use miroir_core::merge::strip_document;
use miroir_core::reserved::{SEQ_FIELD, SEQ_RULE};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::num::NonZeroU32;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    total: u64,
}

impl Engine {
    /// One document as JSON text, without reserved fields.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], [`EngineError::DocumentNotFound`],
    /// [`EngineError::Unavailable`] when no replica of its shard answers.
    pub async fn document(
        &self,
        uid: &IndexUid,
        id: &str,
        fields: Option<&[String]>,
        retrieve_vectors: bool,
    ) -> Result<Bytes, EngineError> {
        let read = || self.document_once(uid, id, fields, retrieve_vectors);
        self.read_named(std::iter::once(uid), read).await
    }

    async fn document_once(
        &self,
        uid: &IndexUid,
        id: &str,
        fields: Option<&[String]>,
        retrieve_vectors: bool,
    ) -> Result<Bytes, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if id.is_empty() || id.len() > DOCUMENT_ID_BYTES_MAX || !id.bytes().all(is_id) {
            return Err(EngineError::DocumentNotFound(id.to_owned()));
        }
        let mut query = Vec::new();
        if let Some(fields) = fields {
            let fields: Vec<String> = fields.iter().map(|field| percent_encode(field)).collect();
            query.push(format!("fields={}", fields.join(",")));
        }
        if retrieve_vectors {
            query.push("retrieveVectors=true".to_owned());
        }
        let query = query.join("&");
        let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
        let shard = shard_of(id, shard_count);
        let scatter = Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards: Some(&[shard]),
            affinity: document_hash(id),
            kind: ReadKind::Get,
            request: |_: &CoverPart| NodeRead::Document {
                index: entry.record.physical.clone(),
                id: id.to_owned(),
                query: query.clone(),
            },
        };
        let answers = match scatter.gather().await {
            Ok(answers) => answers,
            Err(EngineError::Refused { body, .. })
                if body.get("code") == Some(&json!("document_not_found")) =>
            {
                return Err(EngineError::DocumentNotFound(id.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let body = answers.first().map_or(&[][..], |answer| &answer.body[..]);
        strip_document(body)
            .map(Bytes::from)
            .map_err(|error| EngineError::Answer(error.to_string()))
    }

    /// A listing, as the whole JSON body `{results, offset, limit, total}`: by the sort asked for,
    /// then in insertion order.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn documents(
        &self,
        uid: &IndexUid,
        query: DocumentsQuery,
    ) -> Result<Bytes, EngineError> {
        let listing = self.documents_with(uid, query, Some(PartialPolicy::Error));
        Ok(Box::pin(listing).await?.body)
    }

    /// The same; of the shards that can be reached, if `wish` or else the configuration says so.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn documents_with(
        &self,
        uid: &IndexUid,
        query: DocumentsQuery,
        wish: Option<PartialPolicy>,
    ) -> Result<ReadAnswer, EngineError> {
        let read = || self.documents_once(uid, &query, wish);
        self.read_named(std::iter::once(uid), read).await
    }

    async fn documents_once(
        &self,
        uid: &IndexUid,
        query: &DocumentsQuery,
        wish: Option<PartialPolicy>,
    ) -> Result<ReadAnswer, EngineError> {
        let snapshot = self.shared().snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let criteria: Vec<Criterion> = query
            .sort
            .iter()
            .flatten()
            .filter_map(|text| Criterion::parse(text))
            .collect();
        let shards = wanted_shards(entry, query);
        let scatter = Scatter {
            shared: self.shared(),
            snapshot: &snapshot,
            entry,
            shards: shards.as_deref(),
            affinity: document_hash(uid.as_str()),
            kind: ReadKind::List,
            request: |part: &CoverPart| NodeRead::Documents {
                index: entry.record.physical.clone(),
                body: Bytes::from(node_body(query, &criteria, part).to_string()),
            },
        };
        let is_partial = self.shared().config.reads.is_partial(uid.as_str(), wish);
        let Gathered { answers, missing } = scatter.gather_as(is_partial).await?;
        let mut total = 0;
        let mut found: Vec<(ListingKey, &RawValue)> = Vec::new();
        for answer in &answers {
            let page: Page<'_> = serde_json::from_slice(&answer.body)
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            total += page.total;
            for raw in page.results {
                let document: Map<String, Value> = serde_json::from_str(raw.get())
                    .map_err(|error| EngineError::Answer(error.to_string()))?;
                found.push((ListingKey::new(&document, &criteria), raw));
            }
        }
        found.sort_by(|a, b| a.0.compare(&b.0));
        let added = added_fields(&query, &criteria);
        let mut body = Vec::from(&br#"{"results":["#[..]);
        for (position, (_, raw)) in found
            .iter()
            .skip(query.offset)
            .take(query.limit)
            .enumerate()
        {
            if position > 0 {
                body.push(b',');
            }
            let stripped = strip_document(raw.get().as_bytes())
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            if added.is_empty() {
                body.extend_from_slice(&stripped);
            } else {
                body.extend_from_slice(&without(&stripped, &added)?);
            }
        }
        let tail = format!(
            r#"],"offset":{},"limit":{},"total":{total}}}"#,
            query.offset, query.limit
        );
        body.extend_from_slice(tail.as_bytes());
        if !missing.is_empty() {
            self.shared().metrics.note_degraded();
        }
        Ok(ReadAnswer::new(body, entry, missing))
    }
}

/// The shards of the ids asked for; `None` is all.
fn wanted_shards(entry: &IndexEntry, query: &DocumentsQuery) -> Option<Vec<ShardId>> {
    let ids = query.ids.as_ref()?;
    let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
    let mut shards: BTreeSet<ShardId> = ids.iter().map(|id| shard_of(id, shard_count)).collect();
    if shards.is_empty() {
        // No id: an empty answer, but the node still checks the request.
        shards.insert(ShardId(0));
    }
    Some(shards.into_iter().collect())
}

/// What a node is asked: its own first documents, in the listing's order.
fn node_body(query: &DocumentsQuery, criteria: &[Criterion], part: &CoverPart) -> Value {
    let mut sort: Vec<&str> = query.sort.iter().flatten().map(String::as_str).collect();
    sort.push(SEQ_RULE);
    let mut body = json!({
        "offset": 0,
        "limit": query.offset.saturating_add(query.limit),
        "sort": sort,
        "retrieveVectors": query.retrieve_vectors,
    });
    if let Some(fields) = &query.fields {
        let added = added_fields(query, criteria);
        let fields: Vec<&str> = fields
            .iter()
            .map(String::as_str)
            .chain(added.iter().map(String::as_str))
            .chain([SEQ_FIELD])
            .collect();
        body["fields"] = json!(fields);
    }
    if let Some(ids) = &query.ids {
        body["ids"] = json!(ids);
    }
    let filter = shard_filtered(query.filter.as_ref(), part);
    if let Some(filter) = filter {
        body["filter"] = filter;
    }
    body
}

/// The client's filter and the one that picks the shards of a part, as one.
pub(crate) fn shard_filtered(filter: Option<&Value>, part: &CoverPart) -> Option<Value> {
    match (filter, &part.filter) {
        (None, None) => None,
        (Some(filter), None) => Some(filter.clone()),
        (None, Some(shards)) => Some(json!(shards)),
        (Some(Value::Array(filters)), Some(shards)) => {
            let mut all = filters.clone();
            all.push(json!(shards));
            Some(Value::Array(all))
        }
        (Some(filter), Some(shards)) => Some(json!([filter, shards])),
    }
}

/// Top-level fields that the nodes are asked for only to sort by.
fn added_fields(query: &DocumentsQuery, criteria: &[Criterion]) -> Vec<String> {
    let Some(fields) = &query.fields else {
        return Vec::new();
    };
    let mut added: Vec<String> = Vec::new();
    for criterion in criteria {
        let top = criterion.field().split('.').next().unwrap_or_default();
        let is_asked = fields.iter().any(|f| f.split('.').next() == Some(top));
        if !is_asked && !added.iter().any(|field| field == top) {
            added.push(top.to_owned());
        }
    }
    added
}

fn without(document: &[u8], fields: &[String]) -> Result<Vec<u8>, EngineError> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(document).map_err(|error| EngineError::Answer(error.to_string()))?;
    for field in fields {
        object.shift_remove(field);
    }
    Ok(serde_json::to_vec(&object).unwrap_or_default())
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
