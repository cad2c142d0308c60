//! The exact search cache: an answer is given again only while nothing that could change it has
//! been reported as done.
//!
//! The key holds the index on the nodes, the last batch reported done on it, and the whole request.
//! So no answer is ever stale to a client that waits for its tasks, and nothing is invalidated by
//! hand: what is outdated is never asked for again and makes room. Equal requests in flight share
//! one scatter.

use crate::state::IndexEntry;
use miroir_core::merge::ResponseTemplate;
use miroir_core::search::SearchRequest;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, PlaceholderGuard};
use std::sync::Arc;

/// Larger answers are not kept: they would push out many small ones.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What an answer is assumed to take, to size the cache's tables.
const ANSWER_BYTES_USUAL: u64 = 4 * 1024;

/// What an answer depends on. The request is kept as text, not as a hash: two tenants' requests
/// must never be taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    text: Box<str>,
}

impl CacheKey {
    pub(crate) fn new(entry: &IndexEntry, request: &SearchRequest) -> Self {
        let changed_by = entry.record.changed_by.map_or(0, |batch| batch.0 + 1);
        let text = format!("{}/{changed_by}/{request:?}", entry.record.physical);
        Self { text: text.into() }
    }
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<CacheKey, Arc<ResponseTemplate>> for ByBytes {
    fn weight(&self, key: &CacheKey, answer: &Arc<ResponseTemplate>) -> u64 {
        (key.text.len() + answer.byte_count() + 128) as u64
    }
}

type Answers = Cache<CacheKey, Arc<ResponseTemplate>, ByBytes>;
type Lifecycle = quick_cache::sync::DefaultLifecycle<CacheKey, Arc<ResponseTemplate>>;
type Guard<'c> = PlaceholderGuard<
    'c,
    CacheKey,
    Arc<ResponseTemplate>,
    ByBytes,
    quick_cache::DefaultHashBuilder,
    Lifecycle,
>;

/// The cache; see the module's words.
pub(crate) struct SearchCache {
    answers: Option<Answers>,
}

/// What the cache has for a request.
pub(crate) enum Found<'c> {
    /// The answer.
    Answer(Arc<ResponseTemplate>),
    /// Nothing: the caller computes it, and those who ask the same wait for it.
    Turn(Turn<'c>),
}

impl Found<'_> {
    /// Nothing, and nothing is to be kept.
    pub(crate) fn none() -> Self {
        Self::Turn(Turn { guard: None })
    }
}

/// The right to compute an answer. Dropped without [`Turn::keep`], the next in line has it.
pub(crate) struct Turn<'c> {
    guard: Option<Guard<'c>>,
}

impl Turn<'_> {
    /// Keeps the answer for those who ask the same.
    pub(crate) fn keep(self, answer: &Arc<ResponseTemplate>) {
        if let Some(guard) = self.guard
            && answer.byte_count() <= ANSWER_BYTES_MAX
        {
            // Fails only if the entry was removed meanwhile, which nobody does.
            let _ = guard.insert(answer.clone());
        }
    }
}

impl SearchCache {
    /// A cache of at most `bytes`; none for 0.
    pub(crate) fn new(bytes: u64) -> Self {
        let answers = (bytes > 0).then(|| {
            let count = usize::try_from(bytes / ANSWER_BYTES_USUAL).unwrap_or(usize::MAX);
            Cache::with_weighter(count.max(16), bytes, ByBytes)
        });
        Self { answers }
    }

    /// Whether an answer is at hand; looking does not keep it.
    pub(crate) fn has(&self, key: &CacheKey) -> bool {
        let answers = self.answers.as_ref();
        answers.is_some_and(|answers| answers.peek(key).is_some())
    }

    /// The answer, or the turn to compute it.
    pub(crate) async fn get_or_wait(&self, key: &CacheKey) -> Found<'_> {
        let Some(answers) = &self.answers else {
            return Found::Turn(Turn { guard: None });
        };
        match answers.get_value_or_guard_async(key).await {
            Ok(answer) => Found::Answer(answer),
            Err(guard) => Found::Turn(Turn { guard: Some(guard) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::merge::{IndexView, SearchPlan};

    fn key(text: &str) -> CacheKey {
        CacheKey { text: text.into() }
    }

    fn answer() -> Arc<ResponseTemplate> {
        let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
        let node = br#"{"hits":[],"estimatedTotalHits":3}"#;
        Arc::new(plan.merge(&[node]).unwrap().to_template())
    }

    #[tokio::test]
    async fn an_answer_is_computed_once_and_given_again() {
        let cache = SearchCache::new(1 << 20);
        let Found::Turn(turn) = cache.get_or_wait(&key("a")).await else {
            panic!("not there yet")
        };
        turn.keep(&answer());
        assert!(matches!(
            cache.get_or_wait(&key("a")).await,
            Found::Answer(_)
        ));
        assert!(matches!(cache.get_or_wait(&key("b")).await, Found::Turn(_)));
    }

    #[tokio::test]
    async fn a_failed_computation_leaves_the_turn_to_the_next() {
        let cache = SearchCache::new(1 << 20);
        let Found::Turn(turn) = cache.get_or_wait(&key("a")).await else {
            panic!("not there yet")
        };
        drop(turn);
        assert!(matches!(cache.get_or_wait(&key("a")).await, Found::Turn(_)));
    }

    #[tokio::test]
    async fn a_cache_of_no_bytes_keeps_nothing() {
        let cache = SearchCache::new(0);
        let Found::Turn(turn) = cache.get_or_wait(&key("a")).await else {
            panic!("not there yet")
        };
        turn.keep(&answer());
        assert!(matches!(cache.get_or_wait(&key("a")).await, Found::Turn(_)));
    }
}
