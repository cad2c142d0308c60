//! The body of `POST /indexes/{uid}/search`.

use super::{MATCHING_STRATEGIES, SearchQuery, code_of, not_a_fraction};
use crate::error::{Code, ResponseError};
use crate::locale::check_locales;
use crate::validate::{At, optional};
use serde_json::{Map, Value};

/// The fields of a body, in the order in which refusals list them.
#[rustfmt::skip]
pub(crate) const FIELDS: &[&str] = &[
    "q", "offset", "limit", "page", "hitsPerPage", "attributesToRetrieve", "attributesToCrop",
    "cropLength", "cropMarker", "attributesToHighlight", "highlightPreTag", "highlightPostTag",
    "showMatchesPosition", "filter", "sort", "distinct", "facets", "matchingStrategy",
    "attributesToSearchOn", "rankingScoreThreshold", "locales", "hybrid", "vector",
    "retrieveVectors", "media", "personalize", "useNetwork", "showRankingScore",
    "showRankingScoreDetails", "showPerformanceDetails",
];

/// Checks the body of `POST /indexes/{uid}/search`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<SearchQuery, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut query = SearchQuery::default();
    for (name, value) in root.object(body)? {
        if !read_known(&mut query, &root, name, value)? {
            return Err(root.unknown_field(name, FIELDS));
        }
    }
    check_vector_has_hybrid(&query)?;
    Ok(query)
}

/// Takes in the field `name` of the object at `at`; false if a search has no such field.
pub(crate) fn read_known(
    query: &mut SearchQuery,
    at: &At<'_>,
    name: &str,
    value: &Value,
) -> Result<bool, ResponseError> {
    let Some(code) = code_of(name).filter(|_| FIELDS.contains(&name)) else {
        return Ok(false);
    };
    read_field(query, &at.field(name, code), name, value)?;
    Ok(true)
}

fn read_field(
    query: &mut SearchQuery,
    at: &At<'_>,
    name: &str,
    value: &Value,
) -> Result<(), ResponseError> {
    let text = |value: &Value| at.string(value).map(str::to_owned);
    let texts = |value: &Value| at.strings(value);
    match name {
        "q" => query.q = optional(value, text)?,
        "offset" => query.offset = at.size(value)?,
        "limit" => query.limit = at.size(value)?,
        "page" => query.page = optional(value, |value| at.size(value))?,
        "hitsPerPage" => query.hits_per_page = optional(value, |value| at.size(value))?,
        "attributesToRetrieve" => query.attributes_to_retrieve = optional(value, texts)?,
        "attributesToCrop" => query.attributes_to_crop = optional(value, texts)?,
        "attributesToHighlight" => query.attributes_to_highlight = optional(value, texts)?,
        "showMatchesPosition" => query.show_matches_position = at.boolean(value)?,
        "filter" => query.filter = optional(value, |value| Ok(value.clone()))?,
        "sort" => query.sort = optional(value, texts)?,
        "distinct" => query.distinct = optional(value, text)?,
        "facets" => query.facets = optional(value, texts)?,
        "rankingScoreThreshold" => {
            query.ranking_score_threshold =
                optional(value, |value| fraction(at, value, "rankingScoreThreshold"))?;
        }
        "hybrid" => query.hybrid = optional(value, |value| read_hybrid(at, value))?,
        "vector" => query.vector = optional(value, |value| read_vector(at, value))?,
        "retrieveVectors" => query.retrieve_vectors = at.boolean(value)?,
        "media" => query.media = optional(value, |value| Ok(value.clone()))?,
        "personalize" => query.personalize = optional(value, |value| read_personalize(at, value))?,
        "useNetwork" => query.use_network = optional(value, |value| at.boolean(value))?,
        "showRankingScore" => query.show_ranking_score = at.boolean(value)?,
        "showRankingScoreDetails" => query.show_ranking_score_details = at.boolean(value)?,
        "showPerformanceDetails" => query.show_performance_details = at.boolean(value)?,
        _ => {
            check_passthrough(at, name, value)?;
            if !value.is_null() {
                query.passthrough.insert(name.to_owned(), value.clone());
            }
        }
    }
    Ok(())
}

/// Fields that the nodes interpret; here only their types are checked.
fn check_passthrough(at: &At<'_>, name: &str, value: &Value) -> Result<(), ResponseError> {
    match name {
        "cropLength" => at.size(value).map(drop),
        "matchingStrategy" => at.one_of(value, MATCHING_STRATEGIES).map(drop),
        "attributesToSearchOn" => optional(value, |value| at.strings(value)).map(drop),
        "locales" => optional(value, |value| check_locales(at, value)).map(drop),
        // `cropMarker` and the highlight tags.
        _ => at.string(value).map(drop),
    }
}

fn fraction(at: &At<'_>, value: &Value, name: &str) -> Result<f64, ResponseError> {
    let number = at.number(value)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err(at.unexpected(not_a_fraction(name)))
    }
}

fn read_hybrid(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let mut hybrid = Map::new();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "semanticRatio" => {
                let at = at.field("semanticRatio", Code::InvalidSearchSemanticRatio);
                fraction(&at, value, "semanticRatio")?;
            }
            "embedder" => drop(
                at.field("embedder", Code::InvalidSearchEmbedder)
                    .string(value)?,
            ),
            _ => return Err(at.unknown_field(name, &["semanticRatio", "embedder"])),
        }
        hybrid.insert(name.clone(), value.clone());
    }
    if hybrid.contains_key("embedder") {
        Ok(Value::Object(hybrid))
    } else {
        Err(at.missing_field("embedder", Code::InvalidSearchHybridQuery))
    }
}

fn read_vector(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    for (index, element) in at.array(value)?.iter().enumerate() {
        at.index(index).number(element)?;
    }
    Ok(value.clone())
}

fn read_personalize(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let fields = at.object(value)?;
    for (name, value) in fields {
        match name.as_str() {
            "userContext" => {
                at.field("userContext", Code::InvalidSearchPersonalizeUserContext)
                    .string(value)?;
            }
            _ => return Err(at.unknown_field(name, &["userContext"])),
        }
    }
    if fields.contains_key("userContext") {
        Ok(value.clone())
    } else {
        Err(at.missing_field("userContext", Code::InvalidSearchPersonalize))
    }
}

pub(crate) fn check_vector_has_hybrid(query: &SearchQuery) -> Result<(), ResponseError> {
    if query.media.is_some() && query.vector.is_some() {
        return Err(ResponseError::new(
            Code::InvalidSearchMediaAndVector,
            "Invalid request: both `media` and `vector` parameters are present.",
        ));
    }
    if (query.media.is_some() || query.vector.is_some()) && query.hybrid.is_none() {
        return Err(ResponseError::new(
            Code::MissingSearchHybrid,
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        ));
    }
    Ok(())
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
    fn wrong_types_are_refused_with_the_code_of_their_field() {
        let table = [
            (
                json!({"q": ["doggo"]}),
                "q",
                "a string",
                "an array: `[\"doggo\"]`",
            ),
            (
                json!({"offset": "doggo"}),
                "offset",
                "a positive integer",
                "a string: `\"doggo\"`",
            ),
            (
                json!({"limit": "doggo"}),
                "limit",
                "a positive integer",
                "a string: `\"doggo\"`",
            ),
            (
                json!({"page": -1}),
                "page",
                "a positive integer",
                "a negative integer: `-1`",
            ),
            (
                json!({"limit": null}),
                "limit",
                "a positive integer",
                "null",
            ),
            (
                json!({"sort": "doggo"}),
                "sort",
                "an array",
                "a string: `\"doggo\"`",
            ),
            (
                json!({"facets": "doggo"}),
                "facets",
                "an array",
                "a string: `\"doggo\"`",
            ),
            (
                json!({"cropLength": "doggo"}),
                "cropLength",
                "a positive integer",
                "a string: `\"doggo\"`",
            ),
            (
                json!({"cropMarker": ["doggo"]}),
                "cropMarker",
                "a string",
                "an array: `[\"doggo\"]`",
            ),
            (
                json!({"retrieveVectors": [true]}),
                "retrieveVectors",
                "a boolean",
                "an array: `[true]`",
            ),
            (
                json!({"rankingScoreThreshold": "doggo"}),
                "rankingScoreThreshold",
                "a number",
                "a string: `\"doggo\"`",
            ),
        ];
        for (body, name, expected, found) in table {
            let (code, message) = refuse(body);
            let message_expected =
                format!("Invalid value type at `.{name}`: expected {expected}, but found {found}");
            assert_eq!(message, message_expected);
            assert_eq!(code_of(name).map(Code::name), Some(&*code));
        }
    }

    #[test]
    fn wrong_values_are_refused_in_meilisearch_words() {
        assert_eq!(
            refuse(json!({"rankingScoreThreshold": 42})).1,
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is \
             invalid, expected a float between `0.0` and `1.0`."
        );
        assert_eq!(
            refuse(json!({"matchingStrategy": "doggo"})),
            (
                "invalid_search_matching_strategy".to_owned(),
                "Unknown value `doggo` at `.matchingStrategy`: expected one of `last`, `all`, \
                 `frequency`"
                    .to_owned()
            )
        );
        assert_eq!(
            refuse(json!({"hybrid": {"embedder": "e", "semanticRatio": 1.5}})).1,
            "Invalid value at `.hybrid.semanticRatio`: the value of `semanticRatio` is invalid, \
             expected a float between `0.0` and `1.0`."
        );
        assert_eq!(refuse(json!({"vector": [1.0]})).0, "missing_search_hybrid",);
        assert_eq!(
            refuse(json!({"personalize": {}})).1,
            "Missing field `userContext` inside `.personalize`"
        );
        let (code, message) = refuse(json!({"marin": "hello"}));
        assert_eq!(code, "bad_request");
        assert!(message.starts_with("Unknown field `marin`: expected one of `q`, `offset`,"));
    }

    #[test]
    fn a_body_keeps_what_only_nodes_understand() {
        let body = json!({
            "q": "x", "page": 2, "hitsPerPage": 5, "filter": ["a = 1"], "sort": ["p:asc"],
            "matchingStrategy": "all", "cropMarker": "…", "locales": ["jpn"],
            "attributesToSearchOn": null,
        });
        let query = read_body(&body).expect("the body is right");
        assert_eq!(query.page, Some(2));
        assert_eq!(query.filter, Some(json!(["a = 1"])));
        assert_eq!(
            Value::Object(query.passthrough),
            json!({"matchingStrategy": "all", "cropMarker": "…", "locales": ["jpn"]})
        );
    }
}
