//! The merged page, and its JSON as Meilisearch writes a search answer.

use super::members::{write_name, write_value};
use super::page::Totals;
use super::plan::SearchPlan;
use super::spelling::DisputedValue;
use super::walk::RankedHit;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What an answer begins with.
pub(super) const HITS: &[u8] = br#"{"hits":"#;

/// One page of the whole index, ready to be written.
#[derive(Debug)]
pub struct MergedPage<'a> {
    pub(super) plan: &'a SearchPlan,
    pub(super) hits: Vec<RankedHit<'a>>,
    pub(super) query_vector: Option<&'a RawValue>,
    /// Facet values that nodes spell differently; see [`MergedPage::respell`].
    pub disputed: Vec<DisputedValue>,
    /// A node whose list ended too early; then this is no page.
    pub(super) dry: Option<usize>,
    /// The paging as asked and the number of hits found.
    pub totals: Totals,
    /// Counts by field and value, if facets were asked for.
    pub facet_distribution: Option<Map<String, Value>>,
    /// `{min, max}` by field, if facets were asked for.
    pub facet_stats: Option<Map<String, Value>>,
    /// Hits of the page that were ranked by similarity, if the nodes searched by meaning.
    pub semantic_hit_count: Option<usize>,
    /// Whether a node ran out of time before it had applied every rule to a hit on the way to the
    /// page's end: the order may then be less than exact.
    pub is_cut_short: bool,
}

impl MergedPage<'_> {
    /// The number of hits on the page.
    #[must_use]
    pub fn hit_count(&self) -> usize {
        self.hits.len()
    }

    /// Appends the array of hits.
    pub fn write_hits(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, ranked) in self.hits.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            ranked.hit.write(out, &self.plan.shape, ranked.adjusted);
        }
        out.push(b']');
    }

    /// Appends the whole answer, its members in Meilisearch's order.
    ///
    /// ```
    /// use miroir_core::merge::{IndexView, SearchPlan};
    /// use miroir_core::search::SearchRequest;
    ///
    /// let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
    /// let answer = br#"{"hits":[],"estimatedTotalHits":3}"#.as_slice();
    /// let mut out = Vec::new();
    /// plan.merge(&[answer, answer]).unwrap().write_response(&mut out, 7, "some-uuid");
    /// let expected = concat!(
    ///     r#"{"hits":[],"query":"","processingTimeMs":7,"limit":20,"offset":0,"#,
    ///     r#""estimatedTotalHits":6,"requestUid":"some-uuid"}"#,
    /// );
    /// assert_eq!(String::from_utf8(out).unwrap(), expected);
    /// ```
    pub fn write_response(&self, out: &mut Vec<u8>, processing_time_ms: u64, request_uid: &str) {
        self.to_template()
            .write(out, processing_time_ms, request_uid);
    }

    /// The answer but for what differs each time it is given.
    #[must_use]
    pub fn to_template(&self) -> ResponseTemplate {
        let mut text = Vec::with_capacity(4096);
        let out = &mut text;
        // The first name follows the hits, so it needs its comma as all others do.
        let mut is_first = false;
        out.extend_from_slice(HITS);
        self.write_hits(out);
        let hits_end = out.len();
        write_name(out, &mut is_first, "query");
        write_value(out, &self.plan.query);
        if let Some(vector) = self.query_vector {
            write_name(out, &mut is_first, "queryVector");
            out.extend_from_slice(vector.get().as_bytes());
        }
        write_name(out, &mut is_first, "processingTimeMs");
        let time_at = out.len();
        for (name, number) in self.totals.members() {
            write_name(out, &mut is_first, name);
            write_value(out, &number);
        }
        for (name, facets) in [
            ("facetDistribution", &self.facet_distribution),
            ("facetStats", &self.facet_stats),
        ] {
            if let Some(facets) = facets {
                write_name(out, &mut is_first, name);
                write_value(out, facets);
            }
        }
        write_name(out, &mut is_first, "requestUid");
        let uid_at = out.len();
        if let Some(count) = self.semantic_hit_count {
            write_name(out, &mut is_first, "semanticHitCount");
            write_value(out, &count);
        }
        out.push(b'}');
        ResponseTemplate {
            text,
            hits_end,
            time_at,
            uid_at,
        }
    }
}

/// A whole answer without its processing time and its request uid, so that it can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseTemplate {
    text: Vec<u8>,
    /// Where the array of hits ends.
    hits_end: usize,
    time_at: usize,
    uid_at: usize,
}

impl ResponseTemplate {
    /// Its length in bytes, nearly that of the answer.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.text.len()
    }

    /// The array of hits.
    #[must_use]
    pub fn hits(&self) -> &[u8] {
        &self.text[HITS.len()..self.hits_end]
    }

    /// The same answer with another array of hits.
    #[must_use]
    pub fn with_hits(&self, hits: &[u8]) -> Self {
        let moved = |at: usize| at - self.hits_end + HITS.len() + hits.len();
        Self {
            text: [HITS, hits, &self.text[self.hits_end..]].concat(),
            hits_end: moved(self.hits_end),
            time_at: moved(self.time_at),
            uid_at: moved(self.uid_at),
        }
    }

    /// Appends the answer; returns the length of `out` behind the request's uid, where members
    /// that only some answers have are put in.
    pub fn write(&self, out: &mut Vec<u8>, processing_time_ms: u64, request_uid: &str) -> usize {
        out.reserve(self.text.len() + 64);
        out.extend_from_slice(&self.text[..self.time_at]);
        write_value(out, &processing_time_ms);
        out.extend_from_slice(&self.text[self.time_at..self.uid_at]);
        write_value(out, &request_uid);
        let extras_at = out.len();
        out.extend_from_slice(&self.text[self.uid_at..]);
        extras_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_other_hits_differs_in_nothing_else() {
        let template = ResponseTemplate {
            text: br#"{"hits":[1],"t":,"u":,"s":1}"#.to_vec(),
            hits_end: 11,
            time_at: 16,
            uid_at: 21,
        };
        assert_eq!(template.hits(), b"[1]");
        let mut out = Vec::new();
        template.with_hits(b"[]").write(&mut out, 7, "x");
        assert_eq!(out, br#"{"hits":[],"t":7,"u":"x","s":1}"#);
        out.clear();
        let longer = template.with_hits(b"[1,2,3]");
        let extras_at = longer.write(&mut out, 7, "x");
        assert_eq!(out, br#"{"hits":[1,2,3],"t":7,"u":"x","s":1}"#);
        assert_eq!(&out[extras_at..], br#","s":1}"#);
    }
}
