//! Documents as they are stored: one by id, or a page of them by ids, filter and order.

use crate::engine::{Engine, OpenIndex};
use crate::error::EngineError;
use crate::query::FetchQuery;
use crate::selector::Attributes;
use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::{
    AscDesc, DocumentId, FieldId, FieldsIdsMap, Filter, Index, Member, SortError, UserError,
    distance_between_two_points, is_faceted, normalize_facet, obkv_to_json,
};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// The field that carries vectors in and out.
pub(crate) const VECTORS: &str = "_vectors";
/// The field that carries a place.
const GEO: &str = "_geo";

impl Engine {
    /// One document by its external id; `None` if there is none. `fields` of `None` means all.
    ///
    /// # Errors
    /// When there is no such index.
    pub fn get_document(
        &self,
        key: &str,
        id: &str,
        fields: Option<&[String]>,
        retrieve_vectors: bool,
    ) -> Result<Option<Value>, EngineError> {
        self.with(key, |open| {
            let rtxn = open.index.read_txn()?;
            let Some(docid) = open.index.external_documents_ids().get(&rtxn, id)? else {
                return Ok(None);
            };
            let documents = Documents::load(&open.index, &rtxn)?;
            let document = documents.shown(docid, fields, retrieve_vectors)?;
            Ok(Some(Value::Object(document)))
        })
    }

    /// A page of documents, and how many match in all. Without `sort` the order is that of
    /// insertion, until ids of deleted documents are used again.
    ///
    /// # Errors
    /// `invalid_document_filter`, `invalid_document_sort`.
    pub fn fetch_documents(
        &self,
        key: &str,
        query: &FetchQuery,
    ) -> Result<(Vec<Value>, u64), EngineError> {
        self.with(key, |open| {
            fetch(open, query)
                .map_err(|error| error.recoded("invalid_search_filter", "invalid_document_filter"))
                .map_err(|error| error.recoded("invalid_search_sort", "invalid_document_sort"))
        })
    }
}

fn fetch(open: &OpenIndex, query: &FetchQuery) -> Result<(Vec<Value>, u64), EngineError> {
    let index = &open.index;
    let rtxn = index.read_txn()?;
    let documents = Documents::load(index, &rtxn)?;
    let criteria = query
        .sort
        .as_deref()
        .map(parse_sort)
        .transpose()?
        .unwrap_or_default();
    check_sortable(index, &rtxn, &criteria)?;

    let mut candidates = match &query.ids {
        Some(ids) => {
            let external = index.external_documents_ids();
            let mut found = RoaringBitmap::new();
            for id in ids {
                found.extend(external.get(&rtxn, id)?);
            }
            found
        }
        None => index.documents_ids(&rtxn)?,
    };
    if let Some(filter) = query
        .filter
        .as_ref()
        .map(Filter::from_json)
        .transpose()?
        .flatten()
    {
        candidates &= filter.evaluate(&rtxn, index)?;
    }
    let total = candidates.len();

    let ordered: Vec<DocumentId> = if criteria.is_empty() {
        candidates
            .iter()
            .skip(query.offset)
            .take(query.limit)
            .collect()
    } else {
        let sorted = documents.sorted(&candidates, &criteria)?;
        sorted
            .into_iter()
            .skip(query.offset)
            .take(query.limit)
            .collect()
    };
    let mut page = Vec::with_capacity(ordered.len());
    for docid in ordered {
        let shown = documents.shown(docid, query.fields.as_deref(), query.retrieve_vectors)?;
        page.push(Value::Object(shown));
    }
    Ok((page, total))
}

/// Sort expressions, parsed.
///
/// # Errors
/// `invalid_search_sort`.
pub(crate) fn parse_sort(sort: &[String]) -> Result<Vec<AscDesc>, EngineError> {
    sort.iter()
        .map(|text| {
            text.parse::<AscDesc>()
                .map_err(|error| UserError::SortError(SortError::from(error)).into())
        })
        .collect()
}

fn check_sortable(
    index: &Index,
    rtxn: &RoTxn<'_>,
    criteria: &[AscDesc],
) -> Result<(), EngineError> {
    let sortable = index.sortable_fields(rtxn)?;
    for criterion in criteria {
        let field = criterion.field().unwrap_or(GEO);
        if !is_faceted(field, &sortable) {
            let (valid_fields, hidden_fields) = index.remove_hidden_fields(rtxn, &sortable)?;
            let field = field.to_owned();
            let error = UserError::InvalidSortableAttribute {
                field,
                valid_fields,
                hidden_fields,
            };
            return Err(error.into());
        }
    }
    Ok(())
}

/// The documents of an index under one read transaction.
pub(crate) struct Documents<'t> {
    pub(crate) index: &'t Index,
    pub(crate) rtxn: &'t RoTxn<'t>,
    pub(crate) fields: FieldsIdsMap,
    field_ids: Vec<FieldId>,
    embedders: Vec<IndexEmbeddingConfig>,
}

impl<'t> Documents<'t> {
    pub(crate) fn load(index: &'t Index, rtxn: &'t RoTxn<'t>) -> Result<Self, EngineError> {
        let fields = index.fields_ids_map(rtxn)?;
        let field_ids = fields.ids().collect();
        let embedders = index.embedding_configs(rtxn)?;
        Ok(Documents {
            index,
            rtxn,
            fields,
            field_ids,
            embedders,
        })
    }

    /// A document as stored: without vectors that belong to embedders.
    pub(crate) fn stored(&self, docid: DocumentId) -> Result<Map<String, Value>, EngineError> {
        let reader = self.index.document(self.rtxn, docid)?;
        Ok(obkv_to_json(&self.field_ids, &self.fields, reader)?)
    }

    /// `_vectors` of a document: what the user stores there, and the vectors of every embedder.
    pub(crate) fn vectors(
        &self,
        docid: DocumentId,
        stored: Option<Value>,
    ) -> Result<Value, EngineError> {
        let mut vectors = match stored {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        for (name, embeddings) in self.index.embeddings(self.rtxn, docid)? {
            let config = self.embedders.iter().find(|config| config.name == name);
            let is_user_provided =
                config.is_some_and(|config| config.user_provided.contains(docid));
            vectors.insert(
                name,
                json!({ "embeddings": embeddings, "regenerate": !is_user_provided }),
            );
        }
        Ok(Value::Object(vectors))
    }

    fn shown(
        &self,
        docid: DocumentId,
        fields: Option<&[String]>,
        retrieve_vectors: bool,
    ) -> Result<Map<String, Value>, EngineError> {
        let stored = self.stored(docid)?;
        let mut document = match fields {
            // A `*` among the names is not special here, unlike in a search.
            Some(names) => Attributes::named(names, &self.fields).prune(stored),
            None => stored,
        };
        let stored_vectors = document.shift_remove(VECTORS);
        if retrieve_vectors {
            let vectors = self.vectors(docid, stored_vectors)?;
            document.insert(VECTORS.to_owned(), vectors);
        }
        Ok(document)
    }

    /// The documents in the order of the criteria; equal ones by internal id.
    fn sorted(
        &self,
        docids: &RoaringBitmap,
        criteria: &[AscDesc],
    ) -> Result<Vec<DocumentId>, EngineError> {
        let mut keyed = Vec::new();
        for docid in docids {
            let key = self.sort_key(docid, criteria)?;
            keyed.push((key, docid));
        }
        keyed.sort_by(|(left, _), (right, _)| {
            let pairs = left.iter().zip(right).zip(criteria);
            pairs
                .map(|((left, right), criterion)| left.compare(right, is_ascending(criterion)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        Ok(keyed.into_iter().map(|(_, docid)| docid).collect())
    }

    fn sort_key(
        &self,
        docid: DocumentId,
        criteria: &[AscDesc],
    ) -> Result<Vec<SortValue>, EngineError> {
        let mut key = Vec::with_capacity(criteria.len());
        for criterion in criteria {
            let name = criterion.field().unwrap_or(GEO);
            let mut values = Vec::new();
            self.collect(docid, name, &mut values)?;
            key.push(match criterion.member() {
                Member::Field(_) => SortValue::pick(&values, is_ascending(criterion)),
                Member::Geo(base) => match values.first().and_then(point_of) {
                    Some(point) => SortValue::Number(distance_between_two_points(base, &point)),
                    None => SortValue::Missing,
                },
            });
        }
        Ok(key)
    }

    /// The values of a document at a dotted name.
    pub(crate) fn collect(
        &self,
        docid: DocumentId,
        name: &str,
        values: &mut Vec<Value>,
    ) -> Result<(), EngineError> {
        let reader = self.index.document(self.rtxn, docid)?;
        let dots = name.match_indices('.').map(|(dot, _)| dot);
        for end in dots.chain([name.len()]) {
            let Some(bytes) = self.fields.id(&name[..end]).and_then(|id| reader.get(id)) else {
                continue;
            };
            let value: Value = serde_json::from_slice(bytes)?;
            let rest = name[end..].strip_prefix('.').unwrap_or("");
            collect_values(value, rest, values);
        }
        Ok(())
    }
}

fn is_ascending(criterion: &AscDesc) -> bool {
    matches!(criterion, AscDesc::Asc(_))
}

fn collect_values(value: Value, path: &str, values: &mut Vec<Value>) {
    match value {
        Value::Array(items) => {
            for item in items {
                collect_values(item, path, values);
            }
        }
        Value::Object(mut object) if !path.is_empty() => {
            if let Some(value) = object.remove(path) {
                collect_values(value, "", values);
            }
            for (dot, _) in path.match_indices('.') {
                if let Some(value) = object.remove(&path[..dot]) {
                    collect_values(value, &path[dot + 1..], values);
                }
            }
        }
        value if path.is_empty() => values.push(value),
        _ => (),
    }
}

/// Latitude and longitude of a `_geo` object.
pub(crate) fn point_of(geo: &Value) -> Option<[f64; 2]> {
    let coordinate = |name: &str| match geo.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    Some([coordinate("lat")?, coordinate("lng")?])
}

/// What a document is sorted by. Numbers come before texts and nothing comes last, whichever the
/// direction, as in a search.
enum SortValue {
    Number(f64),
    Text(String),
    Missing,
}

impl SortValue {
    /// Of several values the one that puts the document first; numbers win over texts.
    fn pick(values: &[Value], ascending: bool) -> Self {
        let numbers = values.iter().filter_map(Value::as_f64);
        let number = if ascending {
            numbers.min_by(f64::total_cmp)
        } else {
            numbers.max_by(f64::total_cmp)
        };
        if let Some(number) = number {
            return SortValue::Number(number);
        }
        let texts = values.iter().filter_map(|value| match value {
            Value::String(text) => Some(normalize_facet(text)),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        });
        let text = if ascending { texts.min() } else { texts.max() };
        text.map_or(SortValue::Missing, SortValue::Text)
    }

    fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let directed = |order: Ordering| if ascending { order } else { order.reverse() };
        match (self, other) {
            (SortValue::Number(left), SortValue::Number(right)) => directed(left.total_cmp(right)),
            (SortValue::Text(left), SortValue::Text(right)) => directed(left.cmp(right)),
            (left, right) => left.class().cmp(&right.class()),
        }
    }

    fn class(&self) -> u8 {
        match self {
            SortValue::Number(_) => 0,
            SortValue::Text(_) => 1,
            SortValue::Missing => 2,
        }
    }
}
