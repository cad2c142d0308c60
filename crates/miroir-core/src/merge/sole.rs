//! A page cut by one node: where one node answers for every shard, there is nothing to merge.
//!
//! The node ranks by the rules that the merge would follow, the reserved sequence among them, so
//! the page it cuts is the page of the whole. It is asked for that page alone, without the ranking
//! above it and without the details that only a merge needs, which lets it skip rules that cannot
//! change the page.

use super::answer::{MergeError, NodeAnswer};
use super::body::fuse_filters;
use super::hit::{Adjusted, Hit};
use super::members::write_value;
use super::page::Totals;
use super::plan::SearchPlan;
use super::response::MergedPage;
use super::walk::{RankedHit, Walked};
use crate::search::Paging;
use serde_json::{Value, json};

impl SearchPlan {
    /// Whether a node that answers for every shard can cut the page itself.
    ///
    /// Not where nothing but totals is wanted, where the page is longer than what may be seen, where
    /// hits are sorted out by how they were ranked, or where some have places of their own.
    #[must_use]
    pub fn is_cut_by_node(&self) -> bool {
        let is_whole = match self.paging {
            Paging::Offset { .. } => true,
            Paging::Page {
                page,
                hits_per_page,
            } => page.checked_mul(hits_per_page) == Some(self.window.end),
        };
        self.depth() > 0 && is_whole && !self.is_by_vector && self.pins.is_empty()
    }

    /// The request to a node that answers for every shard; [`SearchPlan::is_cut_by_node`] must hold.
    ///
    /// ```
    /// use miroir_core::{merge::{IndexView, SearchPlan}, search::{Paging, SearchRequest}};
    ///
    /// let paging = Paging::Offset { offset: 900, limit: 20 };
    /// let request = SearchRequest { paging, ..SearchRequest::default() };
    /// let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
    /// assert_eq!(
    ///     String::from_utf8(plan.sole_body(None)).unwrap(),
    ///     r#"{"attributesToRetrieve":["*"],"offset":900,"limit":20}"#
    /// );
    /// ```
    #[must_use]
    pub fn sole_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        // By vector, the details tell which hits were ranked so.
        let is_semantic = ["vector", "media", "hybrid"]
            .iter()
            .any(|name| body.contains_key(*name));
        if !self.shape.shows_details && !is_semantic {
            body.shift_remove("showRankingScoreDetails");
        }
        if !self.shape.shows_score {
            body.shift_remove("showRankingScore");
        }
        if self.counted_field.is_some() {
            match &self.facets {
                Some(facets) => body.insert("facets".to_owned(), json!(facets)),
                None => body.shift_remove("facets"),
            };
        }
        match self.paging {
            Paging::Offset { .. } => {
                body.insert("offset".to_owned(), json!(self.window.start));
                let limit = self.window.end - self.window.start;
                body.insert("limit".to_owned(), json!(limit));
            }
            Paging::Page {
                page,
                hits_per_page,
            } => {
                body.insert("page".to_owned(), json!(page));
                body.insert("hitsPerPage".to_owned(), json!(hits_per_page));
            }
        }
        if let Some(filter) = fuse_filters(shard_filter, self.filter.as_ref()) {
            body.insert("filter".to_owned(), filter);
        }
        let mut out = Vec::with_capacity(256);
        write_value(&mut out, &Value::Object(body));
        out
    }

    /// The page, from the answer to [`SearchPlan::sole_body`].
    ///
    /// # Errors
    /// [`MergeError`] when the answer cannot be read.
    pub fn sole_page<'a>(&'a self, answer: &'a [u8]) -> Result<MergedPage<'a>, MergeError> {
        let wrong = |fault| MergeError { node: 0, fault };
        let answer = NodeAnswer::parse(answer).map_err(wrong)?;
        let length = self.window.end.saturating_sub(self.window.start);
        let hits = answer.hits.iter().take(length).enumerate();
        let shown = hits
            .map(|(at, raw)| {
                let hit = Hit::parse_placed(raw, at).map_err(wrong)?;
                let adjusted = Adjusted::default();
                Ok(RankedHit { hit, adjusted })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let found = answer.total;
        let walked = Walked {
            accepted: shown.len(),
            is_cut_short: shown.iter().any(|hit| hit.hit.details.is_cut_short()),
            shown,
            rejected: Vec::new(),
            dry: None,
        };
        let totals = Totals::new(self.paging, self.capped(found));
        Ok(self.page_of(&[answer], walked, totals, None))
    }
}
