//! The slice of the ranking that a page shows, and the totals that go with it.

use crate::error::EngineError;
use crate::query::{Page, Totals};
use milli_core::heed::RoTxn;
use milli_core::{Index, SearchResult};

/// Hits that can be reached by paging, unless the settings say otherwise.
const MAX_TOTAL_HITS: usize = 1000;

/// The setting `maxTotalHits`.
pub(super) fn max_total_hits(index: &Index, rtxn: &RoTxn<'_>) -> Result<usize, EngineError> {
    let max = index.pagination_max_total_hits(rtxn)?;
    Ok(max.map_or(MAX_TOTAL_HITS, |max| {
        usize::try_from(max).unwrap_or(usize::MAX)
    }))
}

/// A slice of the ranking, inside what paging may reach.
pub(super) struct Window {
    pub(super) offset: usize,
    pub(super) limit: usize,
    /// Whether the number of candidates must be exact.
    pub(super) is_exhaustive: bool,
    pub(super) max_total_hits: usize,
}

impl Window {
    pub(super) fn of(page: Page, max_total_hits: usize) -> Self {
        let (offset, limit) = match page {
            Page::Offset { offset, limit } => (offset, limit),
            Page::Numbered { page: 0, .. } => (0, 0),
            Page::Numbered {
                page,
                hits_per_page,
            } => (hits_per_page.saturating_mul(page - 1), hits_per_page),
        };
        let offset = offset.min(max_total_hits);
        Window {
            offset,
            limit: limit.min(max_total_hits - offset),
            is_exhaustive: matches!(page, Page::Numbered { .. }),
            max_total_hits,
        }
    }

    /// Where the window ends, counted from the first hit.
    pub(super) fn end(&self) -> usize {
        self.offset + self.limit
    }

    /// Cuts the window out of a result that begins with the first hit.
    pub(super) fn cut(&self, result: &mut SearchResult) {
        result.documents_ids.truncate(self.end());
        result
            .documents_ids
            .drain(..self.offset.min(result.documents_ids.len()));
        result.document_scores.truncate(self.end());
        result
            .document_scores
            .drain(..self.offset.min(result.document_scores.len()));
    }
}

/// Counts are not cut to `maxTotalHits`: Meilisearch 1.50 says how many match, even those that no
/// page reaches.
pub(super) fn totals(page: Page, candidates: u64) -> Totals {
    let total = usize::try_from(candidates).unwrap_or(usize::MAX);
    match page {
        Page::Offset { offset, limit } => Totals::Estimated {
            offset,
            limit,
            estimated_total_hits: total,
        },
        Page::Numbered {
            page,
            hits_per_page,
        } => Totals::Exhaustive {
            page,
            hits_per_page,
            total_pages: if hits_per_page == 0 {
                0
            } else {
                total.div_ceil(hits_per_page)
            },
            total_hits: total,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_window(page: Page, max_total_hits: usize, expected: (usize, usize)) {
        let window = Window::of(page, max_total_hits);
        assert_eq!((window.offset, window.limit), expected);
    }

    #[test]
    fn a_window_stays_within_max_total_hits() {
        check_window(
            Page::Offset {
                offset: 990,
                limit: 20,
            },
            1000,
            (990, 10),
        );
        check_window(
            Page::Offset {
                offset: 2000,
                limit: 20,
            },
            1000,
            (1000, 0),
        );
        check_window(
            Page::Numbered {
                page: 3,
                hits_per_page: 400,
            },
            1000,
            (800, 200),
        );
        check_window(
            Page::Numbered {
                page: usize::MAX,
                hits_per_page: 9,
            },
            1000,
            (1000, 0),
        );
    }

    #[test]
    fn page_zero_shows_nothing() {
        check_window(
            Page::Numbered {
                page: 0,
                hits_per_page: 20,
            },
            1000,
            (0, 0),
        );
    }

    #[test]
    fn a_window_is_cut_out_of_what_there_is() {
        let window = Window::of(
            Page::Offset {
                offset: 1,
                limit: 2,
            },
            1000,
        );
        let cut = |documents_ids: Vec<u32>| {
            let mut result = SearchResult {
                documents_ids,
                ..SearchResult::default()
            };
            window.cut(&mut result);
            result.documents_ids
        };
        assert_eq!(cut(vec![7, 8, 9, 10]), [8, 9]);
        assert_eq!(cut(vec![7, 8]), [8]);
        assert_eq!(cut(vec![]), Vec::<u32>::new());
    }

    #[test]
    fn pages_are_rounded_up() {
        let page = Page::Numbered {
            page: 1,
            hits_per_page: 300,
        };
        let expected = Totals::Exhaustive {
            page: 1,
            hits_per_page: 300,
            total_pages: 4,
            total_hits: 1000,
        };
        assert_eq!(totals(page, 1000), expected);
    }
}
