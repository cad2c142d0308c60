//! The window of a page: how deep the nodes must look, where to cut, what the totals are.

use crate::search::Paging;

/// The ranks that a page shows, from `start` up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Window {
    /// The window of `paging` in a ranking that can be seen down to `max_total_hits`.
    pub(super) fn new(paging: Paging, max_total_hits: usize) -> Self {
        let (start, length) = match paging {
            Paging::Offset { offset, limit } => (offset, limit),
            Paging::Page { page: 0, .. } => (0, 0),
            Paging::Page {
                page,
                hits_per_page,
            } => ((page - 1).saturating_mul(hits_per_page), hits_per_page),
        };
        let start = start.min(max_total_hits);
        Self {
            start,
            end: start.saturating_add(length).min(max_total_hits),
        }
    }

    /// How many hits each node must return: all ranks down to the window's end, or none if the
    /// window is empty.
    pub(super) fn depth(self) -> usize {
        if self.start == self.end { 0 } else { self.end }
    }
}

/// The paging of an answer and how many documents the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Totals {
    /// `limit`, `offset`, `estimatedTotalHits`.
    Offset {
        /// As asked.
        offset: usize,
        /// As asked.
        limit: usize,
        /// The number of candidates.
        estimated_total_hits: u64,
    },
    /// `hitsPerPage`, `page`, `totalPages`, `totalHits`.
    Page {
        /// As asked.
        page: usize,
        /// As asked.
        hits_per_page: usize,
        /// The pages needed for all hits; 0 if pages hold none.
        total_pages: u64,
        /// The exhaustive count.
        total_hits: u64,
    },
}

impl Totals {
    /// The number of documents found.
    pub(super) fn hits(self) -> u64 {
        match self {
            Self::Offset {
                estimated_total_hits,
                ..
            } => estimated_total_hits,
            Self::Page { total_hits, .. } => total_hits,
        }
    }

    /// Its members in the order of an answer.
    pub(super) fn members(self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Offset {
                offset,
                limit,
                estimated_total_hits,
            } => vec![
                ("limit", limit as u64),
                ("offset", offset as u64),
                ("estimatedTotalHits", estimated_total_hits),
            ],
            Self::Page {
                page,
                hits_per_page,
                total_pages,
                total_hits,
            } => vec![
                ("hitsPerPage", hits_per_page as u64),
                ("page", page as u64),
                ("totalPages", total_pages),
                ("totalHits", total_hits),
            ],
        }
    }

    /// The totals of a page when `hits` documents were found.
    ///
    /// ```
    /// use miroir_core::{merge::Totals, search::Paging};
    ///
    /// let totals = Totals::new(Paging::Page { page: 2, hits_per_page: 20 }, 41);
    /// assert!(matches!(totals, Totals::Page { total_pages: 3, .. }));
    /// ```
    #[must_use]
    pub fn new(paging: Paging, hits: u64) -> Self {
        match paging {
            Paging::Offset { offset, limit } => Self::Offset {
                offset,
                limit,
                estimated_total_hits: hits,
            },
            Paging::Page {
                page,
                hits_per_page,
            } => {
                let total_pages = match hits_per_page as u64 {
                    0 => 0,
                    per_page => hits.div_ceil(per_page),
                };
                Self::Page {
                    page,
                    hits_per_page,
                    total_pages,
                    total_hits: hits,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(offset: usize, limit: usize) -> Paging {
        Paging::Offset { offset, limit }
    }

    fn page(page: usize, hits_per_page: usize) -> Paging {
        Paging::Page {
            page,
            hits_per_page,
        }
    }

    #[test]
    fn windows_end_where_the_visible_ranking_ends() {
        for (paging, start, end, depth) in [
            (offset(0, 20), 0, 20, 20),
            (offset(40, 20), 40, 60, 60),
            (offset(995, 20), 995, 1_000, 1_000),
            (offset(5_000, 20), 1_000, 1_000, 0),
            (offset(3, 0), 3, 3, 0),
            (offset(usize::MAX, usize::MAX), 1_000, 1_000, 0),
            (page(1, 20), 0, 20, 20),
            (page(3, 20), 40, 60, 60),
            (page(0, 20), 0, 0, 0),
            (page(3, 0), 0, 0, 0),
            (page(usize::MAX, usize::MAX), 1_000, 1_000, 0),
        ] {
            let window = Window::new(paging, 1_000);
            assert_eq!(window, Window { start, end }, "{paging:?}");
            assert_eq!(window.depth(), depth, "{paging:?}");
        }
    }

    #[test]
    fn totals_show_pages_only_when_pages_were_asked() {
        assert_eq!(
            Totals::new(offset(3, 4), 50),
            Totals::Offset {
                offset: 3,
                limit: 4,
                estimated_total_hits: 50
            }
        );
        for (hits_per_page, hits, pages) in
            [(20, 0, 0), (20, 1, 1), (20, 40, 2), (20, 41, 3), (0, 9, 0)]
        {
            let totals = Totals::new(page(1, hits_per_page), hits);
            let expected = Totals::Page {
                page: 1,
                hits_per_page,
                total_pages: pages,
                total_hits: hits,
            };
            assert_eq!(totals, expected);
        }
    }

    proptest! {
        #[test]
        fn pages_of_one_size_tile_the_ranking(per_page in 1_usize..50, max in 0_usize..500) {
            let mut next = 0;
            for number in 1..=(max.div_ceil(per_page) + 1) {
                let window = Window::new(page(number, per_page), max);
                prop_assert_eq!(window.start, next);
                next = window.end;
            }
            prop_assert_eq!(next, max);
        }
    }
}
