//! One hit, from a stored document to what the client sees.

use super::format::{Formatted, Formatter};
use super::score::ranking_score;
use crate::error::EngineError;
use crate::read::{Documents, VECTORS, parse_sort, point_of};
use crate::selector::Attributes;
use milli_core::score_details::ScoreDetails;
use milli_core::{AscDesc, DocumentId, Member, distance_between_two_points};
use serde_json::{Map, Value};

/// What a hit shows.
pub(super) struct Shown {
    pub(super) displayed: Attributes,
    /// Never more than is displayed.
    pub(super) retrieved: Attributes,
    pub(super) vectors: bool,
    pub(super) score: bool,
    pub(super) score_details: bool,
    /// Where `_geoDistance` is measured from.
    pub(super) geo_base: Option<[f64; 2]>,
}

/// The place that the first `_geoPoint` of a sort measures from.
pub(super) fn geo_base(sort: &[String]) -> Result<Option<[f64; 2]>, EngineError> {
    let criteria = parse_sort(sort)?;
    Ok(criteria
        .iter()
        .map(AscDesc::member)
        .find_map(Member::geo_point)
        .copied())
}

impl Shown {
    /// The attributes asked for, as far as they are displayed; no scores.
    pub(super) fn load(
        documents: &Documents<'_>,
        attributes_to_retrieve: Option<&[String]>,
        retrieve_vectors: bool,
    ) -> Result<Self, EngineError> {
        let names = documents.index.displayed_fields(documents.rtxn)?;
        let displayed = Attributes::resolve(names.as_deref(), &documents.fields);
        let retrieved = Attributes::resolve(attributes_to_retrieve, &documents.fields);
        // Vectors need not be a known field to be displayed.
        let displays_vectors = names.is_none_or(|names| names.contains(&VECTORS));
        Ok(Shown {
            retrieved: retrieved.intersection(&displayed),
            displayed,
            vectors: retrieve_vectors && displays_vectors,
            score: false,
            score_details: false,
            geo_base: None,
        })
    }

    /// The attributes asked for, then what was computed for this search.
    pub(super) fn hit(
        &self,
        documents: &Documents<'_>,
        formatter: Option<&Formatter<'_>>,
        docid: DocumentId,
        scores: &[ScoreDetails],
    ) -> Result<Map<String, Value>, EngineError> {
        let mut stored = documents.stored(docid)?;
        let stored_vectors = stored.shift_remove(VECTORS);
        let formatted = match formatter {
            Some(formatter) => {
                formatter.format(self.displayed.prune(stored.clone()), &self.displayed)?
            }
            None => Formatted::default(),
        };
        let mut hit = self.retrieved.prune(stored);
        if self.vectors {
            hit.insert(
                VECTORS.to_owned(),
                documents.vectors(docid, stored_vectors)?,
            );
        }
        if let Some(base) = &self.geo_base
            && let Some(point) = hit.get("_geo").and_then(point_of)
        {
            // Whole metres, as Meilisearch shows them; half the earth's girth fits easily.
            let metres = distance_between_two_points(base, &point).round() as u64;
            hit.insert("_geoDistance".to_owned(), Value::from(metres));
        }
        if let Some(document) = formatted.document {
            hit.insert("_formatted".to_owned(), Value::Object(document));
        }
        if let Some(positions) = formatted.positions {
            hit.insert("_matchesPosition".to_owned(), Value::Object(positions));
        }
        if self.score {
            hit.insert(
                "_rankingScore".to_owned(),
                Value::from(ranking_score(scores)),
            );
        }
        if self.score_details {
            let details = ScoreDetails::to_json_map(scores.iter());
            hit.insert("_rankingScoreDetails".to_owned(), Value::Object(details));
        }
        Ok(hit)
    }
}
