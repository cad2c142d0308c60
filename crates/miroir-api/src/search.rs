//! A search as a client sends it: the body of `POST …/search` and the query string of `GET`.
//!
//! What decides how shards are asked and merged is typed; everything else is kept under its wire
//! name in [`SearchQuery::passthrough`] and reaches the nodes as it is.

mod body;
mod parameters;

pub use body::read_body;
pub(crate) use body::{FIELDS, check_vector_has_hybrid, read_known};
pub use parameters::{read_parameters, split_sort};

use crate::error::Code;
use serde_json::{Map, Value};

/// How many hits a search shows when the client does not say.
pub const LIMIT_DEFAULT: usize = 20;

const MATCHING_STRATEGIES: &[&str] = &["last", "all", "frequency"];

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

/// Why a value is no ratio or threshold.
fn not_a_fraction(name: &str) -> String {
    format!("the value of `{name}` is invalid, expected a float between `0.0` and `1.0`.")
}
