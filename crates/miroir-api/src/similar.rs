//! Documents like one document: the body of `POST /indexes/{uid}/similar` and the query string of
//! `GET`.

use crate::error::{Code, ResponseError};
use crate::filter::filter_from_text;
use crate::query::{Parameter, parameters, unknown_parameter};
use crate::search::LIMIT_DEFAULT;
use crate::validate::{At, optional};
use serde_json::Value;

/// The fields of a body, in the order in which refusals list them.
const FIELDS: &[&str] = &[
    "id",
    "offset",
    "limit",
    "filter",
    "embedder",
    "attributesToRetrieve",
    "retrieveVectors",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
    "rankingScoreThreshold",
];

/// The parameters of a query string, in the order in which refusals list them.
const PARAMETERS: &[&str] = &[
    "id",
    "embedder",
    "offset",
    "limit",
    "attributesToRetrieve",
    "retrieveVectors",
    "filter",
    "showRankingScore",
    "showRankingScoreDetails",
    "showPerformanceDetails",
    "rankingScoreThreshold",
];

/// A search for similar documents, checked in form.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarQuery {
    /// The document's id as sent; [`SimilarQuery::document_id`] checks it, because a missing index
    /// is reported first.
    pub id: Value,
    /// The embedder whose vectors are compared.
    pub embedder: String,
    /// Hits to skip.
    pub offset: usize,
    /// Hits to show at most.
    pub limit: usize,
    /// The filter as sent.
    pub filter: Option<Value>,
    /// `None` is all.
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
    /// Adds `_rankingScore`.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails`.
    pub show_ranking_score_details: bool,
    /// Adds `performanceDetails`.
    pub show_performance_details: bool,
    /// Drops hits below this similarity, 0.0 to 1.0.
    pub ranking_score_threshold: Option<f64>,
}

impl Default for SimilarQuery {
    fn default() -> Self {
        Self {
            id: Value::Null,
            embedder: String::new(),
            offset: 0,
            limit: LIMIT_DEFAULT,
            filter: None,
            attributes_to_retrieve: None,
            retrieve_vectors: false,
            show_ranking_score: false,
            show_ranking_score_details: false,
            show_performance_details: false,
            ranking_score_threshold: None,
        }
    }
}

impl SimilarQuery {
    /// The document's id as text.
    ///
    /// # Errors
    /// No document can have it.
    pub fn document_id(&self) -> Result<String, ResponseError> {
        let text = match &self.id {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            _ => None,
        };
        text.filter(|text| is_document_id(text)).ok_or_else(|| {
            let message = format!(
                "Invalid value at `.id`: Document identifier `{}` is invalid. A document \
                 identifier can be of type integer or string, only composed of alphanumeric \
                 characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more \
                 than 511 bytes.",
                self.id
            );
            ResponseError::new(Code::InvalidSimilarId, message)
        })
    }
}

/// The longest document id, in bytes.
const DOCUMENT_ID_BYTES_MAX: usize = 511;

fn is_document_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= DOCUMENT_ID_BYTES_MAX && text.bytes().all(is_allowed)
}

/// There is no such document.
#[must_use]
pub fn not_found(id: &str) -> ResponseError {
    ResponseError::new(
        Code::NotFoundSimilarId,
        format!("Document `{id}` not found."),
    )
}

/// Checks the body of `POST /indexes/{uid}/similar`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<SimilarQuery, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut query = SimilarQuery::default();
    let (mut has_id, mut has_embedder) = (false, false);
    for (name, value) in root.object(body)? {
        let Some(code) = code_of(name) else {
            return Err(root.unknown_field(name, FIELDS));
        };
        let at = root.field(name, code);
        match name.as_str() {
            "id" => (query.id, has_id) = (value.clone(), true),
            "embedder" => (query.embedder, has_embedder) = (at.string(value)?.to_owned(), true),
            "offset" => query.offset = at.size(value)?,
            "limit" => query.limit = at.size(value)?,
            "filter" => query.filter = optional(value, |value| Ok(value.clone()))?,
            "attributesToRetrieve" => {
                query.attributes_to_retrieve = optional(value, |value| at.strings(value))?;
            }
            "rankingScoreThreshold" => {
                query.ranking_score_threshold = optional(value, |value| {
                    let number = at.number(value)?;
                    threshold(number).ok_or_else(|| at.unexpected(NOT_A_THRESHOLD))
                })?;
            }
            "retrieveVectors" => query.retrieve_vectors = at.boolean(value)?,
            "showRankingScore" => query.show_ranking_score = at.boolean(value)?,
            "showRankingScoreDetails" => query.show_ranking_score_details = at.boolean(value)?,
            _ => query.show_performance_details = at.boolean(value)?,
        }
    }
    for (name, is_there) in [("id", has_id), ("embedder", has_embedder)] {
        if !is_there {
            return Err(root.missing_field(name, Code::BadRequest));
        }
    }
    Ok(query)
}

/// Checks the query string of `GET /indexes/{uid}/similar`.
///
/// # Errors
/// The first mistake.
pub fn read_parameters(raw: &str) -> Result<SimilarQuery, ResponseError> {
    let mut query = SimilarQuery::default();
    let (mut has_id, mut has_embedder) = (false, false);
    for (name, value) in parameters(raw) {
        let Some(code) = code_of(&name) else {
            return Err(unknown_parameter(&name, PARAMETERS));
        };
        let parameter = Parameter::new(&name, &value, code);
        match name.as_str() {
            "id" => (query.id, has_id) = (Value::String(value), true),
            "embedder" => (query.embedder, has_embedder) = (value, true),
            "offset" => query.offset = parameter.size()?,
            "limit" => query.limit = parameter.size()?,
            "filter" => {
                query.filter = Some(filter_from_text(&value)).filter(|value| !value.is_null());
            }
            "attributesToRetrieve" => query.attributes_to_retrieve = Some(parameter.list()),
            "rankingScoreThreshold" => {
                let number = value.parse().ok().and_then(threshold);
                query.ranking_score_threshold =
                    Some(number.ok_or_else(|| parameter.invalid(NOT_A_THRESHOLD))?);
            }
            "retrieveVectors" => query.retrieve_vectors = parameter.boolean()?,
            "showRankingScore" => query.show_ranking_score = parameter.boolean()?,
            "showRankingScoreDetails" => query.show_ranking_score_details = parameter.boolean()?,
            _ => query.show_performance_details = parameter.boolean()?,
        }
    }
    for (name, is_there) in [("id", has_id), ("embedder", has_embedder)] {
        if !is_there {
            return Err(ResponseError::new(
                Code::BadRequest,
                format!("Missing parameter `{name}`"),
            ));
        }
    }
    Ok(query)
}

const NOT_A_THRESHOLD: &str = "the value of `rankingScoreThreshold` is invalid, expected a float \
                               between `0.0` and `1.0`.";

fn threshold(number: f64) -> Option<f64> {
    (0.0..=1.0).contains(&number).then_some(number)
}

fn code_of(name: &str) -> Option<Code> {
    Some(match name {
        "id" => Code::InvalidSimilarId,
        "embedder" => Code::InvalidSimilarEmbedder,
        "offset" => Code::InvalidSimilarOffset,
        "limit" => Code::InvalidSimilarLimit,
        "filter" => Code::InvalidSimilarFilter,
        "attributesToRetrieve" => Code::InvalidSimilarAttributesToRetrieve,
        "retrieveVectors" => Code::InvalidSimilarRetrieveVectors,
        "showRankingScore" => Code::InvalidSimilarShowRankingScore,
        "showRankingScoreDetails" => Code::InvalidSimilarShowRankingScoreDetails,
        "showPerformanceDetails" => Code::InvalidSimilarShowPerformanceDetails,
        "rankingScoreThreshold" => Code::InvalidSimilarRankingScoreThreshold,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refuse(body: Value) -> (String, String) {
        let error = read_body(&body).expect_err("the body is wrong");
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn a_query_string_says_the_same_as_a_body() {
        let raw = "id=a1&embedder=e&limit=3&attributesToRetrieve=x,y&filter=a%20%3D%201\
                   &rankingScoreThreshold=0.5&showRankingScore=true";
        let body = json!({
            "id": "a1", "embedder": "e", "limit": 3, "attributesToRetrieve": ["x", "y"],
            "filter": "a = 1", "rankingScoreThreshold": 0.5, "showRankingScore": true,
        });
        assert_eq!(read_parameters(raw), read_body(&body));
    }

    #[test]
    fn wrong_bodies_are_refused_in_meilisearch_words() {
        let missing = |name: &str| ("bad_request".to_owned(), format!("Missing field `{name}`"));
        assert_eq!(refuse(json!({})), missing("id"));
        assert_eq!(refuse(json!({"id": 1})), missing("embedder"));
        assert_eq!(
            refuse(json!({"id": 1, "embedder": null})),
            (
                "invalid_similar_embedder".to_owned(),
                "Invalid value type at `.embedder`: expected a string, but found null".to_owned()
            )
        );
        assert_eq!(
            refuse(json!({"id": 1, "embedder": "e", "rankingScoreThreshold": 2})),
            (
                "invalid_similar_ranking_score_threshold".to_owned(),
                "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` \
                 is invalid, expected a float between `0.0` and `1.0`."
                    .to_owned()
            )
        );
        assert_eq!(refuse(json!({"id": 1, "zz": 1})).0, "bad_request");
    }

    #[test]
    fn wrong_parameters_are_refused_in_meilisearch_words() {
        for (raw, code, message) in [
            ("", "bad_request", "Missing parameter `id`"),
            ("id=1", "bad_request", "Missing parameter `embedder`"),
            (
                "id=1&embedder=e&limit=x",
                "invalid_similar_limit",
                "Invalid value in parameter `limit`: could not parse `x` as a positive integer",
            ),
            (
                "id=1&embedder=e&rankingScoreThreshold=x",
                "invalid_similar_ranking_score_threshold",
                "Invalid value in parameter `rankingScoreThreshold`: the value of \
                 `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`.",
            ),
        ] {
            let error = read_parameters(raw).expect_err("the query string is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        }
    }

    #[test]
    fn ids_are_integers_or_plain_text() {
        let id = |id: Value| {
            let query = SimilarQuery {
                id,
                ..SimilarQuery::default()
            };
            query.document_id().ok()
        };
        assert_eq!(id(json!(-5)).as_deref(), Some("-5"));
        assert_eq!(id(json!("a_B-1")).as_deref(), Some("a_B-1"));
        for wrong in [json!(1.5), json!("a b"), json!(""), json!(null), json!([])] {
            assert_eq!(id(wrong.clone()), None, "{wrong}");
        }
    }
}
