//! A read whose index goes away under it, while its name is another's already.
//!
//! Names are exchanged for readers in one moment, and what is then removed under the other name is
//! gone from the nodes soon after. Who began to read before the exchange holds the index as it was, and
//! hears from a node that there is none. One Meilisearch never says so of a name that is an index all
//! the while; so the read is made once more, of the index that has the name now.

use crate::engine::Engine;
use crate::error::EngineError;

/// Each time once more takes an exchange and a removal within one read: nobody does that for long.
pub(crate) const READS_MAX: usize = 4;

impl Engine {
    /// What a read finds; made again from its beginning where its index was gone and the name is
    /// that of an index.
    ///
    /// # Errors
    /// As the read.
    pub(crate) async fn read_anew<T, R>(&self, read: impl Fn() -> R) -> Result<T, EngineError>
    where
        R: Future<Output = Result<T, EngineError>>,
    {
        for _ in 1..READS_MAX {
            let result = read().await;
            if !self.is_found_by_now(result.as_ref().err()) {
                return result;
            }
        }
        read().await
    }

    /// An index was not found, and there is one of that name.
    pub(crate) fn is_found_by_now(&self, error: Option<&EngineError>) -> bool {
        match error {
            Some(EngineError::IndexNotFound(uid)) => {
                self.shared().snapshot.load().indexes.contains_key(uid)
            }
            _ => false,
        }
    }
}
