//! For the kill tests: stops the write path at a named step, so that a test can kill the process
//! there.

use anyhow::{Context, bail};
use miroir_engine::state::StepHook;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// `step:n`: stop when the step is reached for the n-th time.
const STOP_AT_ENV: &str = "MIROIR_STOP_AT";
/// The file that gets a line when that happens.
const STOP_FILE_ENV: &str = "MIROIR_STOP_FILE";

/// The hook that the environment asks for; none, normally.
///
/// # Errors
/// The variables do not say what they should.
pub(crate) fn hook() -> anyhow::Result<Option<StepHook>> {
    let Ok(stop_at) = std::env::var(STOP_AT_ENV) else {
        return Ok(None);
    };
    let Some((step, count)) = stop_at.rsplit_once(':') else {
        bail!("{STOP_AT_ENV} is `{stop_at}`: write step:n, such as entry.appended:1");
    };
    let count: u64 = count
        .parse()
        .with_context(|| format!("{STOP_AT_ENV}: `{count}` is no number"))?;
    let file = std::env::var(STOP_FILE_ENV)
        .with_context(|| format!("{STOP_AT_ENV} is set, so {STOP_FILE_ENV} must be too"))?;
    let step = step.to_owned();
    let reached = Arc::new(AtomicU64::new(0));
    Ok(Some(Arc::new(move |name| {
        let is_here = name == step && reached.fetch_add(1, Ordering::Relaxed) + 1 == count;
        let file = file.clone();
        Box::pin(async move {
            if is_here {
                let opened = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&file);
                if let Ok(mut opened) = opened {
                    // The test waits for this line; if it cannot be written the test fails.
                    let _ = writeln!(opened, "{name}");
                }
                std::future::pending::<()>().await;
            }
        })
    })))
}
