//! What a client asked of a search, checked and typed; wire names and errors live at the edge.

use serde_json::{Map, Value};

/// Which window of the ranking is wanted, and so which totals the answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// `offset` and `limit`; the answer shows `estimatedTotalHits`.
    Offset {
        /// Hits to skip.
        offset: usize,
        /// Hits to show at most.
        limit: usize,
    },
    /// `page` and `hitsPerPage`; the answer shows `totalHits` and `totalPages`.
    Page {
        /// 1-based; 0 shows no hits but the totals.
        page: usize,
        /// Hits on a page; 0 shows no hits but the totals.
        hits_per_page: usize,
    },
}

/// One search on one index, as the client asked it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// The words; `None` and blank text rank nothing (placeholder search).
    pub q: Option<String>,
    /// The window.
    pub paging: Paging,
    /// A filter string or nested arrays, as sent.
    pub filter: Option<Value>,
    /// `field:asc|desc` and `_geoPoint(lat,lng):asc|desc`, in order.
    pub sort: Option<Vec<String>>,
    /// Overrides the index's distinct attribute.
    pub distinct: Option<String>,
    /// Facet names or patterns.
    pub facets: Option<Vec<String>>,
    /// `None` is `["*"]`.
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// Attributes to highlight in `_formatted`.
    pub attributes_to_highlight: Option<Vec<String>>,
    /// `attribute` or `attribute:length` to crop in `_formatted`.
    pub attributes_to_crop: Option<Vec<String>>,
    /// Adds `_matchesPosition` to hits.
    pub show_matches_position: bool,
    /// Adds `_rankingScore` to hits.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails` to hits.
    pub show_ranking_score_details: bool,
    /// Adds `_vectors` to hits.
    pub retrieve_vectors: bool,
    /// Drops hits whose ranking score is lower, 0.0 to 1.0.
    pub ranking_score_threshold: Option<f64>,
    /// `{embedder, semanticRatio}`, as sent.
    pub hybrid: Option<Value>,
    /// The query vector, as sent.
    pub vector: Option<Value>,
    /// The query as media, for an embedder that takes them, as sent.
    pub media: Option<Value>,
    /// Everything else of the request, passed to the nodes as it is, under its wire name:
    /// `matchingStrategy`, `attributesToSearchOn`, `locales`, `cropLength`, `cropMarker`,
    /// `highlightPreTag`, `highlightPostTag`, ...
    pub passthrough: Map<String, Value>,
}

impl Default for SearchRequest {
    fn default() -> Self {
        Self {
            q: None,
            paging: Paging::Offset {
                offset: 0,
                limit: 20,
            },
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
            retrieve_vectors: false,
            ranking_score_threshold: None,
            hybrid: None,
            vector: None,
            media: None,
            passthrough: Map::new(),
        }
    }
}
