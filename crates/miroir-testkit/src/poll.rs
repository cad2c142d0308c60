//! Waiting for something that another process will make true.

use anyhow::{Result, bail};
use std::thread;
use std::time::{Duration, Instant};

/// Short enough that a test loses no time by it, long enough to leave the processors to the
/// processes that are waited for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Longer than anything here takes on a machine that does much else; reached only when something is
/// broken. A test that waits for something waits so long, and no test asserts that something was
/// quick.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Returns the first answer of `attempt` that is not `None`, asking every few milliseconds.
///
/// # Errors
/// When `limit` has passed; the message names `what`.
pub fn poll<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("{what} did not happen within {limit:?}");
        }
        thread::sleep(INTERVAL);
    }
}
