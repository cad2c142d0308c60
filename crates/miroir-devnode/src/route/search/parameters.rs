//! The parameters of a search, from a body or from a query string, checked for their form.

use crate::error::ApiError;
use crate::http::{Object, Query};
use miroir_devnode_engine::{FacetSearchQuery, HybridQuery, MatchingStrategy, Page, SearchQuery};
use serde_json::Value;

/// Fields of a search body.
pub(super) const FIELDS: &[&str] = &[
    "q",
    "vector",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "attributesToRetrieve",
    "retrieveVectors",
    "attributesToCrop",
    "cropLength",
    "attributesToHighlight",
    "showMatchesPosition",
    "showRankingScore",
    "showRankingScoreDetails",
    "filter",
    "sort",
    "distinct",
    "facets",
    "highlightPreTag",
    "highlightPostTag",
    "cropMarker",
    "matchingStrategy",
    "attributesToSearchOn",
    "hybrid",
    "rankingScoreThreshold",
    "locales",
    "showPerformanceDetails",
];

/// Parameters of a search by query string.
pub(super) const PARAMETERS: &[&str] = &[
    "q",
    "vector",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "attributesToRetrieve",
    "retrieveVectors",
    "attributesToCrop",
    "cropLength",
    "attributesToHighlight",
    "showMatchesPosition",
    "showRankingScore",
    "showRankingScoreDetails",
    "filter",
    "sort",
    "distinct",
    "facets",
    "highlightPreTag",
    "highlightPostTag",
    "cropMarker",
    "matchingStrategy",
    "attributesToSearchOn",
    "hybridEmbedder",
    "hybridSemanticRatio",
    "rankingScoreThreshold",
    "locales",
    "showPerformanceDetails",
];

const DEFAULT_LIMIT: usize = 20;
const DEFAULT_CROP_LENGTH: usize = 10;
const DEFAULT_SEMANTIC_RATIO: f64 = 0.5;

/// A search from a body, or from one query of a multi-search.
pub(super) fn from_object(object: &Object<'_>) -> Result<SearchQuery, ApiError> {
    object.boolean_or(
        "showPerformanceDetails",
        false,
        "invalid_search_show_performance_details",
    )?;
    let page = page_of(
        object.usize_or("offset", 0, "invalid_search_offset")?,
        object.usize_or("limit", DEFAULT_LIMIT, "invalid_search_limit")?,
        object.optional_usize("page", "invalid_search_page")?,
        object.optional_usize("hitsPerPage", "invalid_search_hits_per_page")?,
    );
    let strategy = object.string_or("matchingStrategy", "last", STRATEGY_CODE)?;
    let query = SearchQuery {
        q: object.string("q", "invalid_search_q")?,
        vector: object.vector("vector", "invalid_search_vector")?,
        hybrid: hybrid_of(object)?,
        page,
        filter: object.filter("filter", "invalid_search_filter")?,
        sort: object.strings("sort", "invalid_search_sort")?,
        distinct: object.string("distinct", "invalid_search_distinct")?,
        facets: object.strings("facets", "invalid_search_facets")?,
        attributes_to_retrieve: object.strings(
            "attributesToRetrieve",
            "invalid_search_attributes_to_retrieve",
        )?,
        attributes_to_search_on: object.strings(
            "attributesToSearchOn",
            "invalid_search_attributes_to_search_on",
        )?,
        attributes_to_highlight: object.strings(
            "attributesToHighlight",
            "invalid_search_attributes_to_highlight",
        )?,
        highlight_pre_tag: object.string_or(
            "highlightPreTag",
            "<em>",
            "invalid_search_highlight_pre_tag",
        )?,
        highlight_post_tag: object.string_or(
            "highlightPostTag",
            "</em>",
            "invalid_search_highlight_post_tag",
        )?,
        attributes_to_crop: object
            .strings("attributesToCrop", "invalid_search_attributes_to_crop")?,
        crop_length: object.usize_or(
            "cropLength",
            DEFAULT_CROP_LENGTH,
            "invalid_search_crop_length",
        )?,
        crop_marker: object.string_or("cropMarker", "…", "invalid_search_crop_marker")?,
        show_matches_position: object.boolean_or(
            "showMatchesPosition",
            false,
            "invalid_search_show_matches_position",
        )?,
        show_ranking_score: object.boolean_or(
            "showRankingScore",
            false,
            "invalid_search_show_ranking_score",
        )?,
        show_ranking_score_details: object.boolean_or(
            "showRankingScoreDetails",
            false,
            "invalid_search_show_ranking_score_details",
        )?,
        retrieve_vectors: object.boolean_or(
            "retrieveVectors",
            false,
            "invalid_search_retrieve_vectors",
        )?,
        matching_strategy: strategy_of(&strategy, " at `.matchingStrategy`")?,
        ranking_score_threshold: threshold_of(
            object.number("rankingScoreThreshold", THRESHOLD_CODE)?,
        )?,
        locales: object.strings("locales", "invalid_search_locales")?,
    };
    check_vector(query)
}

/// A search from a query string, where lists are separated by commas.
pub(super) fn from_query(query: &Query) -> Result<SearchQuery, ApiError> {
    query.boolean(
        "showPerformanceDetails",
        "invalid_search_show_performance_details",
    )?;
    let page = page_of(
        query.usize_or("offset", 0, "invalid_search_offset")?,
        query.usize_or("limit", DEFAULT_LIMIT, "invalid_search_limit")?,
        query.optional_usize("page", "invalid_search_page")?,
        query.optional_usize("hitsPerPage", "invalid_search_hits_per_page")?,
    );
    let hybrid = match (
        query.string("hybridEmbedder"),
        query.get("hybridSemanticRatio"),
    ) {
        (None, None) => None,
        (None, Some(_)) => {
            let message = "Missing parameter `hybridEmbedder`";
            return Err(ApiError::new("invalid_search_embedder", message));
        }
        (Some(embedder), _) => {
            let ratio = query.number("hybridSemanticRatio", RATIO_CODE)?;
            Some(HybridQuery {
                embedder,
                semantic_ratio: ratio_of(ratio)?,
            })
        }
    };
    let strategy = query.get("matchingStrategy").unwrap_or("last");
    let strategy = strategy_of(strategy, " for parameter `matchingStrategy`")?;
    let text = |name: &str, default: &str| query.get(name).unwrap_or(default).to_owned();
    let search = SearchQuery {
        q: query.string("q"),
        vector: vector_of(query)?,
        hybrid,
        page,
        filter: query.get("filter").map(filter_of),
        sort: query.sort("sort"),
        distinct: query.string("distinct"),
        facets: query.csv("facets"),
        attributes_to_retrieve: query.csv("attributesToRetrieve"),
        attributes_to_search_on: query.csv_or_star("attributesToSearchOn"),
        attributes_to_highlight: query.csv("attributesToHighlight"),
        highlight_pre_tag: text("highlightPreTag", "<em>"),
        highlight_post_tag: text("highlightPostTag", "</em>"),
        attributes_to_crop: query.csv("attributesToCrop"),
        crop_length: query.usize_or(
            "cropLength",
            DEFAULT_CROP_LENGTH,
            "invalid_search_crop_length",
        )?,
        crop_marker: text("cropMarker", "…"),
        show_matches_position: query.boolean(
            "showMatchesPosition",
            "invalid_search_show_matches_position",
        )?,
        show_ranking_score: query
            .boolean("showRankingScore", "invalid_search_show_ranking_score")?,
        show_ranking_score_details: query.boolean(
            "showRankingScoreDetails",
            "invalid_search_show_ranking_score_details",
        )?,
        retrieve_vectors: query.boolean("retrieveVectors", "invalid_search_retrieve_vectors")?,
        matching_strategy: strategy,
        ranking_score_threshold: threshold_of(
            query.number("rankingScoreThreshold", THRESHOLD_CODE)?,
        )?,
        locales: query.csv("locales"),
    };
    check_vector(search)
}

/// A search for facet values. Fields it does not know are ignored, so that the body of a search
/// can be sent as it is.
pub(super) fn facet_search(object: &Object<'_>) -> Result<FacetSearchQuery, ApiError> {
    let strategy = object.string_or("matchingStrategy", "last", STRATEGY_CODE)?;
    Ok(FacetSearchQuery {
        facet_name: object.required_string(
            "facetName",
            "missing_facet_search_facet_name",
            "invalid_facet_search_facet_name",
        )?,
        facet_query: object.string("facetQuery", "invalid_facet_search_query")?,
        q: object.string("q", "invalid_search_q")?,
        vector: object.vector("vector", "invalid_search_vector")?,
        hybrid: hybrid_of(object)?,
        filter: object.filter("filter", "invalid_search_filter")?,
        matching_strategy: strategy_of(&strategy, " at `.matchingStrategy`")?,
        attributes_to_search_on: object.strings(
            "attributesToSearchOn",
            "invalid_search_attributes_to_search_on",
        )?,
        ranking_score_threshold: threshold_of(
            object.number("rankingScoreThreshold", THRESHOLD_CODE)?,
        )?,
        locales: object.strings("locales", "invalid_search_locales")?,
        exhaustive_facet_count: match object.get("exhaustiveFacetCount") {
            None => false,
            Some(_) => object.boolean_or(
                "exhaustiveFacetCount",
                false,
                "invalid_facet_search_exhaustive_facet_count",
            )?,
        },
    })
}

const STRATEGY_CODE: &str = "invalid_search_matching_strategy";
const THRESHOLD_CODE: &str = "invalid_search_ranking_score_threshold";
const RATIO_CODE: &str = "invalid_search_semantic_ratio";

/// Either of the two page parameters switches to numbered pages.
fn page_of(offset: usize, limit: usize, page: Option<usize>, hits_per_page: Option<usize>) -> Page {
    match (page, hits_per_page) {
        (None, None) => Page::Offset { offset, limit },
        (page, hits_per_page) => Page::Numbered {
            page: page.unwrap_or(1),
            hits_per_page: hits_per_page.unwrap_or(DEFAULT_LIMIT),
        },
    }
}

fn hybrid_of(object: &Object<'_>) -> Result<Option<HybridQuery>, ApiError> {
    let Some(value) = object.get("hybrid") else {
        return Ok(None);
    };
    let hybrid = Object::at(
        value,
        object.path_of("hybrid"),
        "invalid_search_hybrid_query",
        &["embedder", "semanticRatio"],
    )?;
    let embedder = hybrid.required_string(
        "embedder",
        "invalid_search_embedder",
        "invalid_search_embedder",
    )?;
    let ratio = hybrid.number("semanticRatio", RATIO_CODE)?;
    Ok(Some(HybridQuery {
        embedder,
        semantic_ratio: ratio_of(ratio)?,
    }))
}

fn ratio_of(ratio: Option<f64>) -> Result<f32, ApiError> {
    let ratio = ratio.unwrap_or(DEFAULT_SEMANTIC_RATIO);
    if !(0.0..=1.0).contains(&ratio) {
        return Err(ApiError::new(
            RATIO_CODE,
            "Invalid value at `.hybrid.semanticRatio`: the value of `semanticRatio` is invalid, \
             expected a float between `0.0` and `1.0`.",
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the engine takes a 32-bit ratio"
    )]
    let ratio = ratio as f32;
    Ok(ratio)
}

fn threshold_of(threshold: Option<f64>) -> Result<Option<f64>, ApiError> {
    match threshold {
        Some(threshold) if !(0.0..=1.0).contains(&threshold) => Err(ApiError::new(
            THRESHOLD_CODE,
            "Invalid value at `.rankingScoreThreshold`: the value of `rankingScoreThreshold` is \
             invalid, expected a float between `0.0` and `1.0`.",
        )),
        threshold => Ok(threshold),
    }
}

fn strategy_of(name: &str, place: &str) -> Result<MatchingStrategy, ApiError> {
    match name {
        "last" => Ok(MatchingStrategy::Last),
        "all" => Ok(MatchingStrategy::All),
        "frequency" => Ok(MatchingStrategy::Frequency),
        other => Err(ApiError::new(
            STRATEGY_CODE,
            format!("Unknown value `{other}`{place}: expected one of `last`, `all`, `frequency`"),
        )),
    }
}

/// A filter in a query string is a text, or the JSON text of an array.
pub(crate) fn filter_of(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Array(_) | Value::String(_))) => value,
        _ => Value::from(text),
    }
}

fn vector_of(query: &Query) -> Result<Option<Vec<f32>>, ApiError> {
    let Some(parts) = query.csv("vector") else {
        return Ok(None);
    };
    let parse = |part: &String| {
        part.parse::<f32>().map_err(|_error| {
            ApiError::new(
                "invalid_search_vector",
                format!(
                    "Invalid value in parameter `vector`: could not parse `{part}` as a number"
                ),
            )
        })
    };
    parts.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

fn check_vector(query: SearchQuery) -> Result<SearchQuery, ApiError> {
    if query.vector.is_some() && query.hybrid.is_none() {
        return Err(ApiError::new(
            "missing_search_hybrid",
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        ));
    }
    Ok(query)
}
