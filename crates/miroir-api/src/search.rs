//! A search as a client sends it: the body of `POST …/search` and the query string of `GET`.
//!
//! What decides how shards are asked and merged is typed; everything else is kept under its wire
//! name in [`SearchQuery::passthrough`] and reaches the nodes as it is.

use crate::error::{Code, ResponseError};
use crate::filter::filter_from_text;
use crate::locale::{check_locales, read_locales};
use crate::query::{Parameter, parameters, unknown_parameter};
use crate::validate::{At, optional};
use serde_json::{Map, Value, json};

/// How many hits a search shows when the client does not say.
pub const LIMIT_DEFAULT: usize = 20;

const MATCHING_STRATEGIES: &[&str] = &["last", "all", "frequency"];

/// The fields of a body, in the order in which refusals list them.
#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "q", "offset", "limit", "page", "hitsPerPage", "attributesToRetrieve", "attributesToCrop",
    "cropLength", "cropMarker", "attributesToHighlight", "highlightPreTag", "highlightPostTag",
    "showMatchesPosition", "filter", "sort", "distinct", "facets", "matchingStrategy",
    "attributesToSearchOn", "rankingScoreThreshold", "locales", "hybrid", "vector",
    "retrieveVectors", "media", "personalize", "useNetwork", "showRankingScore",
    "showRankingScoreDetails", "showPerformanceDetails",
];

/// The parameters of a query string, in the order in which refusals list them.
#[rustfmt::skip]
const PARAMETERS: &[&str] = &[
    "q", "offset", "limit", "page", "hitsPerPage", "attributesToRetrieve", "attributesToCrop",
    "cropLength", "cropMarker", "attributesToHighlight", "highlightPreTag", "highlightPostTag",
    "showMatchesPosition", "filter", "sort", "distinct", "facets", "matchingStrategy",
    "attributesToSearchOn", "rankingScoreThreshold", "locales", "hybridEmbedder",
    "hybridSemanticRatio", "vector", "retrieveVectors", "personalizeUserContext", "useNetwork",
    "showRankingScore", "showRankingScoreDetails", "showPerformanceDetails",
];

/// A search, checked in form.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// The words.
    pub q: Option<String>,
    /// Hits to skip; ignored in page mode.
    pub offset: usize,
    /// Hits to show at most; ignored in page mode.
    pub limit: usize,
    /// The page; its presence means page mode.
    pub page: Option<usize>,
    /// Hits on a page; its presence means page mode.
    pub hits_per_page: Option<usize>,
    /// The filter as sent; its form is not checked yet ([`crate::filter::check_filter`]), because
    /// a missing index is reported first.
    pub filter: Option<Value>,
    /// `field:asc|desc`, in order.
    pub sort: Option<Vec<String>>,
    /// Overrides the index's distinct attribute.
    pub distinct: Option<String>,
    /// Facet names or patterns.
    pub facets: Option<Vec<String>>,
    /// `None` is all.
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// Attributes to highlight.
    pub attributes_to_highlight: Option<Vec<String>>,
    /// Attributes to crop, each with an optional `:length`.
    pub attributes_to_crop: Option<Vec<String>>,
    /// Adds `_matchesPosition`.
    pub show_matches_position: bool,
    /// Adds `_rankingScore`.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails`.
    pub show_ranking_score_details: bool,
    /// Adds `performanceDetails`.
    pub show_performance_details: bool,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
    /// Drops hits below this score, 0.0 to 1.0.
    pub ranking_score_threshold: Option<f64>,
    /// `{embedder, semanticRatio}`.
    pub hybrid: Option<Value>,
    /// The query vector.
    pub vector: Option<Value>,
    /// The query as media, for a multimodal embedder.
    pub media: Option<Value>,
    /// Re-ranking for one user.
    pub personalize: Option<Value>,
    /// Asks the remotes of a node's own network.
    pub use_network: Option<bool>,
    /// The rest, under its wire names.
    pub passthrough: Map<String, Value>,
}

impl Default for SearchQuery {
    fn default() -> Self {
        Self {
            q: None,
            offset: 0,
            limit: LIMIT_DEFAULT,
            page: None,
            hits_per_page: None,
            filter: None,
            sort: None,
            distinct: None,
            facets: None,
            attributes_to_retrieve: None,
            attributes_to_highlight: None,
            attributes_to_crop: None,
            show_matches_position: false,
            show_ranking_score: false,
            show_ranking_score_details: false,
            show_performance_details: false,
            retrieve_vectors: false,
            ranking_score_threshold: None,
            hybrid: None,
            vector: None,
            media: None,
            personalize: None,
            use_network: None,
            passthrough: Map::new(),
        }
    }
}

/// Checks the body of `POST /indexes/{uid}/search`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<SearchQuery, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut query = SearchQuery::default();
    for (name, value) in root.object(body)? {
        let Some(code) = code_of(name).filter(|_| FIELDS.contains(&name.as_str())) else {
            return Err(root.unknown_field(name, FIELDS));
        };
        read_field(&mut query, &root.field(name, code), name, value)?;
    }
    check_vector_has_hybrid(&query)?;
    Ok(query)
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

fn not_a_fraction(name: &str) -> String {
    format!("the value of `{name}` is invalid, expected a float between `0.0` and `1.0`.")
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

fn check_vector_has_hybrid(query: &SearchQuery) -> Result<(), ResponseError> {
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

/// The code that mistakes in a field or parameter get; `None` for an unknown name.
fn code_of(name: &str) -> Option<Code> {
    Some(match name {
        "q" => Code::InvalidSearchQ,
        "offset" => Code::InvalidSearchOffset,
        "limit" => Code::InvalidSearchLimit,
        "page" => Code::InvalidSearchPage,
        "hitsPerPage" => Code::InvalidSearchHitsPerPage,
        "attributesToRetrieve" => Code::InvalidSearchAttributesToRetrieve,
        "attributesToCrop" => Code::InvalidSearchAttributesToCrop,
        "cropLength" => Code::InvalidSearchCropLength,
        "cropMarker" => Code::InvalidSearchCropMarker,
        "attributesToHighlight" => Code::InvalidSearchAttributesToHighlight,
        "highlightPreTag" => Code::InvalidSearchHighlightPreTag,
        "highlightPostTag" => Code::InvalidSearchHighlightPostTag,
        "showMatchesPosition" => Code::InvalidSearchShowMatchesPosition,
        "filter" => Code::InvalidSearchFilter,
        "sort" => Code::InvalidSearchSort,
        "distinct" => Code::InvalidSearchDistinct,
        "facets" => Code::InvalidSearchFacets,
        "matchingStrategy" => Code::InvalidSearchMatchingStrategy,
        "attributesToSearchOn" => Code::InvalidSearchAttributesToSearchOn,
        "rankingScoreThreshold" => Code::InvalidSearchRankingScoreThreshold,
        "locales" => Code::InvalidSearchLocales,
        "hybrid" => Code::InvalidSearchHybridQuery,
        "hybridEmbedder" => Code::InvalidSearchEmbedder,
        "hybridSemanticRatio" => Code::InvalidSearchSemanticRatio,
        "vector" => Code::InvalidSearchVector,
        "retrieveVectors" => Code::InvalidSearchRetrieveVectors,
        "media" => Code::InvalidSearchMedia,
        "personalize" => Code::InvalidSearchPersonalize,
        "personalizeUserContext" => Code::InvalidSearchPersonalizeUserContext,
        "useNetwork" => Code::InvalidSearchUseNetwork,
        "showRankingScore" => Code::InvalidSearchShowRankingScore,
        "showRankingScoreDetails" => Code::InvalidSearchShowRankingScoreDetails,
        "showPerformanceDetails" => Code::InvalidSearchShowPerformanceDetails,
        _ => return None,
    })
}

/// Checks the query string of `GET /indexes/{uid}/search`.
///
/// # Errors
/// The first mistake.
pub fn read_parameters(raw: &str) -> Result<SearchQuery, ResponseError> {
    let mut query = SearchQuery::default();
    let mut embedder = None;
    let mut semantic_ratio = None;
    for (name, value) in parameters(raw) {
        let Some(code) = code_of(&name).filter(|_| PARAMETERS.contains(&name.as_str())) else {
            return Err(unknown_parameter(&name, PARAMETERS));
        };
        let parameter = Parameter::new(&name, &value, code);
        match name.as_str() {
            "hybridEmbedder" => embedder = Some(value),
            "hybridSemanticRatio" => {
                semantic_ratio = Some(read_fraction(&parameter, "semanticRatio")?);
            }
            _ => read_parameter(&mut query, &name, &parameter)?,
        }
    }
    query.hybrid = match (embedder, semantic_ratio) {
        (Some(embedder), Some(ratio)) => {
            Some(json!({"embedder": embedder, "semanticRatio": ratio}))
        }
        (Some(embedder), None) => Some(json!({"embedder": embedder})),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(ResponseError::new(
                Code::InvalidSearchHybridQuery,
                "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
            ));
        }
    };
    if query.vector.is_some() && query.hybrid.is_none() {
        return Err(ResponseError::new(
            Code::MissingSearchHybrid,
            "`hybridEmbedder` is mandatory when `vector` is present",
        ));
    }
    Ok(query)
}

fn read_parameter(
    query: &mut SearchQuery,
    name: &str,
    parameter: &Parameter<'_>,
) -> Result<(), ResponseError> {
    let text = parameter.value().to_owned();
    match name {
        "q" => query.q = Some(text),
        "offset" => query.offset = parameter.size()?,
        "limit" => query.limit = parameter.size()?,
        "page" => query.page = Some(parameter.size()?),
        "hitsPerPage" => query.hits_per_page = Some(parameter.size()?),
        "attributesToRetrieve" => query.attributes_to_retrieve = Some(parameter.list()),
        "attributesToCrop" => query.attributes_to_crop = Some(parameter.list()),
        "attributesToHighlight" => query.attributes_to_highlight = Some(parameter.list()),
        "showMatchesPosition" => query.show_matches_position = parameter.boolean()?,
        "filter" => query.filter = Some(filter_from_text(&text)).filter(|value| !value.is_null()),
        "sort" => query.sort = Some(split_sort(&text)),
        "distinct" => query.distinct = Some(text),
        "facets" => query.facets = Some(parameter.list()),
        "rankingScoreThreshold" => {
            query.ranking_score_threshold = Some(read_fraction(parameter, name)?);
        }
        "vector" => query.vector = Some(read_numbers(parameter)?),
        "retrieveVectors" => query.retrieve_vectors = parameter.boolean()?,
        "personalizeUserContext" => query.personalize = Some(json!({ "userContext": text })),
        "useNetwork" => query.use_network = Some(parameter.boolean()?),
        "showRankingScore" => query.show_ranking_score = parameter.boolean()?,
        "showRankingScoreDetails" => query.show_ranking_score_details = parameter.boolean()?,
        "showPerformanceDetails" => query.show_performance_details = parameter.boolean()?,
        _ => {
            let value = match name {
                "cropLength" => json!(parameter.size()?),
                "matchingStrategy" => json!(parameter.one_of(MATCHING_STRATEGIES)?),
                "attributesToSearchOn" => json!(parameter.list()),
                "locales" => json!(read_locales(parameter)?),
                // `cropMarker` and the highlight tags.
                _ => Value::String(text),
            };
            query.passthrough.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn read_fraction(parameter: &Parameter<'_>, name: &str) -> Result<f64, ResponseError> {
    let number = parameter.value().parse::<f64>().ok();
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| parameter.invalid(not_a_fraction(name)))
}

fn read_numbers(parameter: &Parameter<'_>) -> Result<Value, ResponseError> {
    let mut numbers = Vec::new();
    for element in parameter.value().split(',') {
        let number = element
            .trim()
            .parse::<f32>()
            .map_err(|error| parameter.invalid(error))?;
        if !number.is_finite() {
            return Err(parameter.invalid("invalid float literal"));
        }
        numbers.push(number);
    }
    Ok(json!(numbers))
}

/// Splits the `sort` of a query string at its commas, but not at those of `_geoPoint(lat, lng)`.
#[must_use]
pub fn split_sort(text: &str) -> Vec<String> {
    let mut criteria: Vec<String> = Vec::new();
    let mut is_inside = false;
    for part in text.split(',') {
        match criteria.last_mut().filter(|_| is_inside) {
            Some(criterion) => {
                criterion.push(',');
                criterion.push_str(part);
            }
            None => criteria.push(part.trim_start().to_owned()),
        }
        if part.contains('(') {
            is_inside = true;
        }
        if part.contains(')') {
            is_inside = false;
        }
    }
    criteria
        .iter()
        .map(|criterion| criterion.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(body: Value) -> (String, String) {
        let error = read_body(&body).expect_err("the body is wrong");
        (error.code.into_owned(), error.message)
    }

    fn refuse_parameters(raw: &str) -> (String, String) {
        let error = read_parameters(raw).expect_err("the query string is wrong");
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

    #[test]
    fn a_query_string_says_the_same_as_a_body() {
        let raw = "q=a%20b&limit=3&facets=x,y&filter=%5B%22a%20%3D%201%22%5D&sort=p:asc,\
                   _geoPoint(1,2):desc&hybridEmbedder=e&vector=1,0.5&cropLength=4\
                   &matchingStrategy=all&showRankingScore=true";
        let body = json!({
            "q": "a b", "limit": 3, "facets": ["x", "y"], "filter": ["a = 1"],
            "sort": ["p:asc", "_geoPoint(1,2):desc"], "hybrid": {"embedder": "e"},
            "vector": [1.0, 0.5], "cropLength": 4, "matchingStrategy": "all",
            "showRankingScore": true,
        });
        assert_eq!(read_parameters(raw), read_body(&body));
    }

    #[test]
    fn wrong_parameters_are_refused_in_meilisearch_words() {
        assert_eq!(
            refuse_parameters("offset=doggo"),
            (
                "invalid_search_offset".to_owned(),
                "Invalid value in parameter `offset`: could not parse `doggo` as a positive integer"
                    .to_owned()
            )
        );
        assert_eq!(
            refuse_parameters("retrieveVectors=").1,
            "Invalid value in parameter `retrieveVectors`: could not parse `` as a boolean, \
             expected either `true` or `false`"
        );
        assert_eq!(
            refuse_parameters("matchingStrategy=doggo").1,
            "Unknown value `doggo` for parameter `matchingStrategy`: expected one of `last`, \
             `all`, `frequency`"
        );
        assert_eq!(
            refuse_parameters("hybridSemanticRatio=2").1,
            "Invalid value in parameter `hybridSemanticRatio`: the value of `semanticRatio` is \
             invalid, expected a float between `0.0` and `1.0`."
        );
        assert_eq!(refuse_parameters("vector=1").0, "missing_search_hybrid");
        assert_eq!(refuse_parameters("hybrid=x").0, "bad_request");
    }

    #[test]
    fn sorts_are_split_but_points_are_not() {
        assert_eq!(
            split_sort("_geoPoint(12, 13):asc"),
            ["_geoPoint(12, 13):asc"]
        );
        assert_eq!(
            split_sort("doggo:asc , _geoPoint(12.45, 13.56):desc , catto:desc"),
            ["doggo:asc", "_geoPoint(12.45, 13.56):desc", "catto:desc"]
        );
    }
}
