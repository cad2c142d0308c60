//! What goes into the engine and what comes out of it, as plain values.
//!
//! Names and defaults are those of the Meilisearch API; checks of form (types, ranges) are the
//! caller's business, checks of meaning (is this attribute filterable?) are the engine's.

use crate::error::EngineError;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// One change of documents; several in order make one transaction.
#[derive(Debug, Clone)]
pub enum DocumentOp {
    /// Adds documents, replacing those with the same id as a whole.
    Replace {
        /// Concatenated JSON objects; must not change while the call runs.
        file: PathBuf,
        /// Whether documents whose id is not known yet are left out.
        skip_creation: bool,
    },
    /// Adds documents, merging their top-level fields into those with the same id.
    Update {
        /// Concatenated JSON objects; must not change while the call runs.
        file: PathBuf,
        /// Whether documents whose id is not known yet are left out.
        skip_creation: bool,
    },
    /// Removes the documents with these ids; unknown ids are no error.
    Delete {
        /// External ids in text form.
        ids: Vec<String>,
    },
}

/// What became of one [`DocumentOp`].
#[derive(Debug)]
pub struct OpOutcome {
    /// Additions: distinct ids of the payload. Deletions: documents that were there and are gone.
    /// Zero when the operation failed.
    pub documents: u64,
    /// Why this operation alone was left out of the transaction.
    pub error: Option<EngineError>,
}

/// Which slice of the hits is asked for; it decides how totals are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// `offset` and `limit`: the total is an estimate.
    Offset {
        /// Hits skipped.
        offset: usize,
        /// Hits returned at most.
        limit: usize,
    },
    /// `page` (from 1; 0 shows nothing) and `hitsPerPage`: the total is exhaustive.
    Numbered {
        /// Page number, from 1.
        page: usize,
        /// Hits a page.
        hits_per_page: usize,
    },
}

impl Default for Page {
    fn default() -> Self {
        Page::Offset {
            offset: 0,
            limit: 20,
        }
    }
}

/// What to do when not every word of the query is in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatchingStrategy {
    /// Drop words from the end.
    #[default]
    Last,
    /// Drop nothing.
    All,
    /// Drop the most frequent words first.
    Frequency,
}

/// The `hybrid` object of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct HybridQuery {
    /// Name of the embedder.
    pub embedder: String,
    /// 0 is keyword only, 1 semantic only.
    pub semantic_ratio: f32,
}

/// A search, in the words of the Meilisearch API.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The words; `None` is a placeholder search.
    pub q: Option<String>,
    /// A query vector; needs [`SearchQuery::hybrid`].
    pub vector: Option<Vec<f32>>,
    /// Hybrid or semantic search.
    pub hybrid: Option<HybridQuery>,
    /// Which hits.
    pub page: Page,
    /// Text, or an array of texts and inner arrays.
    pub filter: Option<Value>,
    /// `field:asc`, `_geoPoint(lat,lng):desc`, …
    pub sort: Option<Vec<String>>,
    /// Overrides the `distinctAttribute` setting.
    pub distinct: Option<String>,
    /// Names or patterns (`*`, `prefix*`).
    pub facets: Option<Vec<String>>,
    /// `None` and `*` mean all displayed attributes.
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// A subset of the searchable attributes.
    pub attributes_to_search_on: Option<Vec<String>>,
    /// Attributes to highlight, `*` for all.
    pub attributes_to_highlight: Option<Vec<String>>,
    /// Before a highlighted word.
    pub highlight_pre_tag: String,
    /// After a highlighted word.
    pub highlight_post_tag: String,
    /// `attribute` or `attribute:length`, `*` for all.
    pub attributes_to_crop: Option<Vec<String>>,
    /// Words kept by a crop without a length of its own.
    pub crop_length: usize,
    /// Marks where text was cut away.
    pub crop_marker: String,
    /// Adds `_matchesPosition`.
    pub show_matches_position: bool,
    /// Adds `_rankingScore`.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails`.
    pub show_ranking_score_details: bool,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
    /// See [`MatchingStrategy`].
    pub matching_strategy: MatchingStrategy,
    /// Hits below this score are left out.
    pub ranking_score_threshold: Option<f64>,
    /// ISO-639 codes of the query's language, two or three letters.
    pub locales: Option<Vec<String>>,
}

impl Default for SearchQuery {
    fn default() -> Self {
        SearchQuery {
            q: None,
            vector: None,
            hybrid: None,
            page: Page::default(),
            filter: None,
            sort: None,
            distinct: None,
            facets: None,
            attributes_to_retrieve: None,
            attributes_to_search_on: None,
            attributes_to_highlight: None,
            highlight_pre_tag: "<em>".to_owned(),
            highlight_post_tag: "</em>".to_owned(),
            attributes_to_crop: None,
            crop_length: 10,
            crop_marker: "…".to_owned(),
            show_matches_position: false,
            show_ranking_score: false,
            show_ranking_score_details: false,
            retrieve_vectors: false,
            matching_strategy: MatchingStrategy::default(),
            ranking_score_threshold: None,
            locales: None,
        }
    }
}

/// How many documents match, in the form that belongs to the query's [`Page`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// Answer of [`Page::Offset`].
    Estimated {
        /// As asked.
        offset: usize,
        /// As asked.
        limit: usize,
        /// All that match, as far as is known; more than paging reaches perhaps.
        estimated_total_hits: usize,
    },
    /// Answer of [`Page::Numbered`].
    Exhaustive {
        /// As asked.
        page: usize,
        /// As asked.
        hits_per_page: usize,
        /// Zero when `hits_per_page` is.
        total_pages: usize,
        /// All that match; more than paging reaches perhaps.
        total_hits: usize,
    },
}

/// The answer of a search or of a search for similar documents.
#[derive(Debug, Clone)]
pub struct SearchOutcome {
    /// Complete hits: attributes asked for, then `_vectors`, `_formatted`, `_matchesPosition`,
    /// `_rankingScore`, `_rankingScoreDetails`, `_geoDistance` as far as asked for.
    pub hits: Vec<Value>,
    /// The page and the counts.
    pub totals: Totals,
    /// Present when at least one facet was asked for: attribute → value → count, in the order to show.
    pub facet_distribution: Option<Map<String, Value>>,
    /// Present with the distribution: attribute → `{min, max}`.
    pub facet_stats: Option<Map<String, Value>>,
    /// Present for hybrid and semantic searches: hits on this page found by their vector.
    pub semantic_hit_count: Option<u32>,
    /// The vector searched with, given or computed.
    pub query_vector: Option<Vec<f32>>,
    /// Whether the search was cut short by `searchCutoffMs`.
    pub degraded: bool,
}

/// A search for facet values.
#[derive(Debug, Clone, Default)]
pub struct FacetSearchQuery {
    /// The attribute whose values are searched.
    pub facet_name: String,
    /// What the value begins with; `None` shows the first values.
    pub facet_query: Option<String>,
    /// Restricts the documents, as in [`SearchQuery::q`].
    pub q: Option<String>,
    /// As in [`SearchQuery::vector`].
    pub vector: Option<Vec<f32>>,
    /// As in [`SearchQuery::hybrid`].
    pub hybrid: Option<HybridQuery>,
    /// As in [`SearchQuery::filter`].
    pub filter: Option<Value>,
    /// As in [`SearchQuery::matching_strategy`].
    pub matching_strategy: MatchingStrategy,
    /// As in [`SearchQuery::attributes_to_search_on`].
    pub attributes_to_search_on: Option<Vec<String>>,
    /// As in [`SearchQuery::ranking_score_threshold`].
    pub ranking_score_threshold: Option<f64>,
    /// As in [`SearchQuery::locales`].
    pub locales: Option<Vec<String>>,
    /// Counts all matching documents, not only the scored ones.
    pub exhaustive_facet_count: bool,
}

/// A search for documents like one document.
#[derive(Debug, Clone)]
pub struct SimilarQuery {
    /// External id of the document; it is not among the hits.
    pub id: String,
    /// Name of the embedder.
    pub embedder: String,
    /// Hits skipped.
    pub offset: usize,
    /// Hits returned at most.
    pub limit: usize,
    /// As in [`SearchQuery::filter`].
    pub filter: Option<Value>,
    /// As in [`SearchQuery::attributes_to_retrieve`].
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
    /// Adds `_rankingScore`.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails`.
    pub show_ranking_score_details: bool,
    /// Hits below this score are left out.
    pub ranking_score_threshold: Option<f64>,
}

/// A listing of documents.
#[derive(Debug, Clone, Default)]
pub struct FetchQuery {
    /// Only these external ids; unknown ones are skipped.
    pub ids: Option<Vec<String>>,
    /// Only matching documents.
    pub filter: Option<Value>,
    /// `field:asc`, …; without it the order is that of insertion.
    pub sort: Option<Vec<String>>,
    /// Names, dotted ones too; `None` means all. An empty list gives empty objects.
    pub fields: Option<Vec<String>>,
    /// Documents skipped.
    pub offset: usize,
    /// Documents returned at most.
    pub limit: usize,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
}
