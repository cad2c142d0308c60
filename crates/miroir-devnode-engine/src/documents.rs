//! Writes of documents: additions, updates and deletions, many in one transaction.

use crate::engine::{Engine, Indexer, OpenIndex};
use crate::error::EngineError;
use crate::payload::{Known, Payload, read_payload};
use crate::query::{DocumentOp, OpOutcome};
use bumpalo::Bump;
use milli_core::Filter;
use milli_core::documents::PrimaryKey;
use milli_core::progress::Progress;
use milli_core::update::ClearDocuments;
use milli_core::update::new::indexer::{self, DocumentDeletion, DocumentOperation};
use serde_json::Value;

/// Nothing interrupts a write here. One function for all calls: the indexer is generic over it, and
/// each kind of closure would compile the whole indexer again.
fn never_stop() -> bool {
    false
}

impl Engine {
    /// Applies changes in order, in one transaction. Outcome `i` belongs to operation `i`: an
    /// operation whose documents are wrong is left out alone, with its error; the others happen.
    ///
    /// The primary key is the index's own, else the given one, else inferred from the first
    /// document that is met.
    ///
    /// # Errors
    /// When the whole transaction failed: nothing happened then. Errors in `_geo` and `_vectors`
    /// come to light only here.
    pub fn apply_documents(
        &self,
        key: &str,
        operations: &[DocumentOp],
        primary_key: Option<&str>,
    ) -> Result<Vec<OpOutcome>, EngineError> {
        let incoming_bytes: u64 = operations.iter().map(payload_bytes).sum();
        self.with(key, |open| {
            // The engine may also panic in a thread of its own when the map fills up under it, and
            // then does not say why. What cannot fit is refused before.
            if open.index.used_size()? + incoming_bytes > self.map_size() {
                return Err(EngineError::full_map());
            }
            apply(open, self.indexer(), operations, primary_key)
        })
    }

    /// Removes the documents that match; returns how many there were.
    ///
    /// # Errors
    /// `invalid_document_filter` when the filter is wrong.
    pub fn delete_by_filter(&self, key: &str, filter: &Value) -> Result<u64, EngineError> {
        self.with(key, |open| {
            delete_matching(open, self.indexer(), filter)
                .map_err(|error| error.recoded("invalid_search_filter", "invalid_document_filter"))
        })
    }

    /// Removes all documents; returns how many there were. Settings and primary key stay.
    ///
    /// # Errors
    /// When there is no such index.
    pub fn clear_documents(&self, key: &str) -> Result<u64, EngineError> {
        self.with(key, |open| {
            let mut wtxn = open.index.write_txn()?;
            let count = ClearDocuments::new(&mut wtxn, &open.index).execute()?;
            wtxn.commit()?;
            Ok(count)
        })
    }
}

/// The length of an operation's payload; 0 if it cannot be read, which is found out later.
fn payload_bytes(operation: &DocumentOp) -> u64 {
    match operation {
        DocumentOp::Replace { file, .. } | DocumentOp::Update { file, .. } => {
            std::fs::metadata(file).map_or(0, |metadata| metadata.len())
        }
        DocumentOp::Delete { .. } => 0,
    }
}

fn apply(
    open: &OpenIndex,
    indexer: &Indexer,
    operations: &[DocumentOp],
    primary_key: Option<&str>,
) -> Result<Vec<OpOutcome>, EngineError> {
    let index = &open.index;
    // The write lock first: the changes are computed against what the read transaction sees.
    let mut wtxn = index.write_txn()?;
    let rtxn = index.read_txn()?;

    let known = Known::new(index, &rtxn, primary_key)?;
    let payloads = read_payloads(operations, known)?;
    let deleted_ids: Vec<Vec<&str>> = payloads
        .iter()
        .map(|payload| match payload {
            Payload::Delete { ids, .. } => ids.iter().map(String::as_str).collect(),
            Payload::Replace(_) | Payload::Update(_) => Vec::new(),
        })
        .collect();

    let mut batch = DocumentOperation::new();
    for (payload, ids) in payloads.iter().zip(&deleted_ids) {
        match payload {
            Payload::Replace(map) => batch.replace_documents(map)?,
            Payload::Update(map) => batch.update_documents(map)?,
            Payload::Delete { .. } => batch.delete_documents(ids),
        }
    }

    let bump = Bump::new();
    let db_fields = index.fields_ids_map(&rtxn)?;
    let mut new_fields = db_fields.clone();
    let (changes, stats, new_primary_key) = batch.into_changes(
        &bump,
        index,
        &rtxn,
        primary_key,
        &mut new_fields,
        &never_stop,
        Progress::default(),
    )?;

    if stats.iter().any(|stats| stats.error.is_none()) {
        let embedders = open.embedders.all(index, &rtxn)?;
        indexer::index(
            &mut wtxn,
            index,
            indexer.pool(),
            indexer.config.grenad_parameters(),
            &db_fields,
            new_fields,
            new_primary_key,
            &changes,
            embedders,
            &never_stop,
            &Progress::default(),
        )?;
        wtxn.commit()?;
    }

    let outcomes = payloads
        .iter()
        .zip(stats)
        .map(|(payload, stats)| match stats.error {
            Some(error) => OpOutcome {
                documents: 0,
                error: Some(error.into()),
            },
            None => {
                let documents = match payload {
                    // The engine counts ids that are given, there or not.
                    Payload::Delete { existing, .. } => *existing,
                    Payload::Replace(_) | Payload::Update(_) => stats.document_count,
                };
                OpOutcome {
                    documents,
                    error: None,
                }
            }
        });
    Ok(outcomes.collect())
}

/// The payloads in memory, without the documents that `skip_creation` leaves out.
fn read_payloads(
    operations: &[DocumentOp],
    mut known: Known<'_>,
) -> Result<Vec<Payload>, EngineError> {
    // Following ids through the batch means parsing every document once more, so it stops after the
    // last operation that asks whether an id is known.
    let asks = |operation: &DocumentOp| match operation {
        DocumentOp::Replace { skip_creation, .. } | DocumentOp::Update { skip_creation, .. } => {
            *skip_creation
        }
        DocumentOp::Delete { .. } => true,
    };
    let followed_count = operations
        .iter()
        .rposition(asks)
        .map_or(0, |position| position + 1);

    let mut payloads = Vec::with_capacity(operations.len());
    for (operation_idx, operation) in operations.iter().enumerate() {
        let is_followed = operation_idx < followed_count;
        let mut read = |file, skip_creation| {
            let map = read_payload(file)?;
            if !is_followed {
                return Ok(map);
            }
            known.add(map, skip_creation)
        };
        payloads.push(match operation {
            DocumentOp::Replace {
                file,
                skip_creation,
            } => Payload::Replace(read(file, *skip_creation)?),
            DocumentOp::Update {
                file,
                skip_creation,
            } => Payload::Update(read(file, *skip_creation)?),
            DocumentOp::Delete { ids } => {
                let existing = known.remove(ids)?;
                Payload::Delete {
                    ids: ids.clone(),
                    existing,
                }
            }
        });
    }
    Ok(payloads)
}

fn delete_matching(
    open: &OpenIndex,
    indexer: &Indexer,
    filter: &Value,
) -> Result<u64, EngineError> {
    // An empty filter asks for nothing; it must not mean everything here.
    let Some(filter) = Filter::from_json(filter)? else {
        return Ok(0);
    };
    let index = &open.index;
    let mut wtxn = index.write_txn()?;
    let rtxn = index.read_txn()?;
    let documents = filter.evaluate(&rtxn, index)?;
    let count = documents.len();
    if count == 0 {
        return Ok(0);
    }
    let db_fields = index.fields_ids_map(&rtxn)?;
    let primary_key = index
        .primary_key(&rtxn)?
        .and_then(|name| PrimaryKey::new(name, &db_fields))
        .ok_or_else(|| EngineError::internal("an index with documents has no primary key"))?;

    let bump = Bump::new();
    let mut deletion = DocumentDeletion::new();
    deletion.delete_documents_by_docids(documents);
    let changes = deletion.into_changes(&bump, primary_key);
    let embedders = open.embedders.all(index, &rtxn)?;
    indexer::index(
        &mut wtxn,
        index,
        indexer.pool(),
        indexer.config.grenad_parameters(),
        &db_fields,
        db_fields.clone(),
        None,
        &changes,
        embedders,
        &never_stop,
        &Progress::default(),
    )?;
    wtxn.commit()?;
    Ok(count)
}
