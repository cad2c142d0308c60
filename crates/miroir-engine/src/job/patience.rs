//! How long a job waits for nodes that do not answer. Writes wait meanwhile, so not for ever.

use crate::error::EngineError;
use crate::state::Shared;
use std::time::Duration;

/// A shard that nobody answers for is asked again for so long ...
const LIMIT: Duration = Duration::from_secs(60);
/// ... with such pauses.
const PAUSE: Duration = Duration::from_millis(500);

/// The patience of one read.
pub(super) struct Patience<'a> {
    shared: &'a Shared,
    given_up: Duration,
}

impl<'a> Patience<'a> {
    /// Begins now.
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            given_up: shared.ports.clock.monotonic() + LIMIT,
        }
    }

    /// Pauses before the next attempt.
    ///
    /// # Errors
    /// `error`, if another attempt would not help or enough were made.
    pub(super) async fn wait(&self, error: EngineError) -> Result<(), EngineError> {
        let may_pass = matches!(error, EngineError::Unavailable { .. } | EngineError::Busy);
        let clock = &self.shared.ports.clock;
        if !may_pass || clock.monotonic() >= self.given_up {
            return Err(error);
        }
        clock.sleep(PAUSE).await;
        Ok(())
    }
}
