//! What the merge must know of an index: its logical settings, as the client set them.
//!
//! Nodes are set up more generously (everything displayed, longer facet lists, the reserved
//! fields), so the logical values are applied here, on the merged answer.

use super::attribute::matches_pattern;
use std::collections::{BTreeMap, BTreeSet};

/// The order in which the values of a facet are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FacetOrder {
    /// Numbers, then strings, each in ascending order.
    #[default]
    Alpha,
    /// Most frequent first, numbers before strings.
    Count,
}

/// The logical settings of one index, as far as a search needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexView {
    /// The name of the index on the nodes.
    pub physical: String,
    /// The name that the client used.
    pub uid: String,
    /// The displayed attributes; `None`, or a list that holds `*`, displays everything.
    pub displayed: Option<Vec<String>>,
    /// The deepest rank that a page can show.
    pub max_total_hits: usize,
    /// The most values shown for one facet.
    pub max_values_per_facet: usize,
    /// The order of facet values by attribute; `*` holds the default.
    pub sort_facet_values_by: BTreeMap<String, FacetOrder>,
    /// The patterns of the filterable attributes. Facets that match none of them are taken out of
    /// the answer: nodes hold more filterable fields than the client declared.
    pub filterable: Vec<String>,
    /// The index's own distinct attribute. Nodes do not have it: it is sent with each search, and
    /// must be filterable on them.
    pub distinct_attribute: Option<String>,
    /// Whether ranking rules order documents by a field of theirs, also where nothing is searched.
    pub ranks_by_fields: bool,
    /// The primary key, if it is known.
    pub primary_key: Option<String>,
    /// The index's stop words in small letters, if words are what stands between spaces and count
    /// before every other rule; `None` if the client changed that.
    pub stop_words: Option<BTreeSet<String>>,
    /// Whether totals stop at `max_total_hits`, as they did before Meilisearch 1.47; later servers
    /// show the number of all candidates.
    pub totals_capped: bool,
}

impl Default for IndexView {
    /// An index with Meilisearch's default settings and empty names.
    fn default() -> Self {
        Self {
            physical: String::new(),
            uid: String::new(),
            displayed: None,
            max_total_hits: 1_000,
            max_values_per_facet: 100,
            sort_facet_values_by: BTreeMap::new(),
            filterable: Vec::new(),
            distinct_attribute: None,
            ranks_by_fields: false,
            primary_key: None,
            stop_words: Some(BTreeSet::new()),
            totals_capped: false,
        }
    }
}

impl IndexView {
    /// The order of the values of facet `name`.
    #[must_use]
    pub fn facet_order(&self, name: &str) -> FacetOrder {
        let by = &self.sort_facet_values_by;
        by.get(name)
            .or_else(|| by.get("*"))
            .copied()
            .unwrap_or_default()
    }

    /// Whether the client may filter and facet on `name`.
    pub(super) fn is_filterable(&self, name: &str) -> bool {
        let patterns = &self.filterable;
        patterns
            .iter()
            .any(|pattern| matches_pattern(pattern, name))
    }

    /// Whether a pattern of facets covers a filterable field or the pattern of some.
    pub(super) fn meets_filterable(&self, pattern: &str) -> bool {
        self.filterable
            .iter()
            .any(|own| matches_pattern(pattern, own) || matches_pattern(own, pattern))
    }

    /// Names what `*` means among facets, as far as that is certain: nodes hold more filterable
    /// fields than the client declared, one of them with another value in every document.
    pub(super) fn spell_out(&self, facets: &mut Vec<String>) {
        let is_plain = |own: &String| !own.starts_with(['_', '*']);
        let is_all = facets.iter().any(|facet| facet == "*");
        if is_all && !self.filterable.is_empty() && self.filterable.iter().all(is_plain) {
            facets.clone_from(&self.filterable);
        }
    }

    /// The displayed attributes, `None` when all are.
    pub(super) fn displayed_only(&self) -> Option<&[String]> {
        self.displayed
            .as_deref()
            .filter(|names| names.iter().all(|name| name != "*"))
    }
}
