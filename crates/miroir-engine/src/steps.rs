//! What took how long in one search.

use std::time::Duration;

/// The lengths of the steps of a search, which follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchSteps {
    /// Making requests out of the client's, and looking into the cache.
    pub plan: Duration,
    /// Waiting for the nodes.
    pub nodes: Duration,
    /// Making one answer out of theirs.
    pub merge: Duration,
}

impl SearchSteps {
    /// The steps under the names that Meilisearch gives them where it asks other servers itself,
    /// each with its length as Meilisearch writes lengths.
    ///
    /// ```
    /// use miroir_engine::engine::SearchSteps;
    /// use std::time::Duration;
    ///
    /// let nodes = Duration::from_micros(1_500);
    /// let shown = SearchSteps { nodes, ..SearchSteps::default() }.named();
    /// assert_eq!(shown[1], ("search > wait for remote results", "1.50ms".to_owned()));
    /// ```
    #[must_use]
    pub fn named(&self) -> [(&'static str, String); 4] {
        let all = self.plan + self.nodes + self.merge;
        [
            ("search > partition queries", self.plan),
            ("search > wait for remote results", self.nodes),
            ("search > merge results", self.merge),
            ("search", all),
        ]
        .map(|(name, length)| (name, format!("{length:.2?}")))
    }
}
