//! Reads of an index whose name is exchanged meanwhile.
//!
//! A read works on the index that its name stood for when it began. Where names are exchanged and the
//! old index is removed before the read has ended, its nodes know that index no more; but the name
//! stood for an index at every moment, and nobody is to be told that there is none. Such a read begins
//! again, with the index that the name stands for now.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::federated::FederatedError;
use miroir_core::id::{IndexUid, PhysicalIndex};
use std::collections::BTreeMap;

/// Beginnings of one read, of which each but the first needs an exchange and a removal during the one
/// before.
const TRIES_MAX: usize = 4;

/// What the failure of a read says of the engine.
pub(crate) trait ReadFailure: From<EngineError> {
    /// It.
    fn engine_error(&self) -> &EngineError;
}

impl ReadFailure for EngineError {
    fn engine_error(&self) -> &EngineError {
        self
    }
}

impl ReadFailure for FederatedError {
    fn engine_error(&self) -> &EngineError {
        &self.error
    }
}

impl Engine {
    /// Reads indexes by their names, again where a name stood for another index before the read ended.
    pub(crate) async fn read_named<T, E, F>(
        &self,
        names: impl Iterator<Item = &IndexUid> + Clone,
        read: impl Fn() -> F,
    ) -> Result<T, E>
    where
        E: ReadFailure,
        F: Future<Output = Result<T, E>>,
    {
        for _ in 0..TRIES_MAX {
            let before = self.stand_for(names.clone());
            let result = Box::pin(read()).await;
            match result {
                Err(error)
                    if is_lacking(error.engine_error())
                        && self.stand_for(names.clone()) != before => {}
                result => return result,
            }
        }
        Err(E::from(EngineError::Unavailable {
            shards: Vec::new(),
            cause: "its name was exchanged again and again while it was read".to_owned(),
        }))
    }

    /// What the names stand for; those of no index are left out.
    fn stand_for<'n>(
        &self,
        names: impl Iterator<Item = &'n IndexUid>,
    ) -> BTreeMap<&'n IndexUid, PhysicalIndex> {
        let snapshot = self.shared().snapshot.load();
        let named = names.filter_map(|name| Some((name, snapshot.indexes.get(name)?)));
        named
            .map(|(name, entry)| (name, entry.record.physical.clone()))
            .collect()
    }
}

/// A node knew no such index.
fn is_lacking(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { body, .. } if body["code"] == "index_not_found")
}
