//! Logs: to standard error, for people or for machines, and to whoever follows them.

mod follow;

use crate::config::{LogConfig, LogFormat};
use anyhow::{Context, bail};
use follow::{AnyLayer, Follower};
use miroir_http::{LogControl, LogMode, LogStream};
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// The logs of this process, once they have begun.
static CONTROL: OnceLock<Arc<Control>> = OnceLock::new();

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether the text is a level or a filter that [`init`] can use.
///
/// Stricter than the filter itself, which takes a misspelt level for the name of a module and
/// then logs nothing.
pub(crate) fn is_filter(text: &str) -> bool {
    let is_level = |text: &str| LEVELS.contains(&text.trim().to_ascii_lowercase().as_str());
    let is_part = |part: &str| match part.rsplit_once('=') {
        Some((module, level)) => !module.trim().is_empty() && is_level(level),
        None => is_level(part),
    };
    text.split(',').all(is_part) && EnvFilter::try_new(text).is_ok()
}

/// Starts logging for the whole process. A second call changes nothing.
///
/// # Errors
/// If the level is not a filter.
pub(crate) fn init(log: &LogConfig) -> anyhow::Result<()> {
    if !is_filter(&log.level) {
        bail!(
            "`{}` is not a log level: write error, warn, info, debug, trace, or a filter such as \
             info,miroir_engine=debug",
            log.level
        );
    }
    let filter = EnvFilter::try_new(&log.level).context("the log level is not understood")?;
    let (filter, stderr) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match log.format {
        LogFormat::Human => layer
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => layer.json().with_filter(filter).boxed(),
    };
    let (follower, [human, json]) = Follower::new();
    let layers: Vec<AnyLayer> = vec![layer, human, json];
    // It fails only when logging runs already, which is what was wanted.
    if tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .is_ok()
    {
        let _ = CONTROL.set(Arc::new(Control { stderr, follower }));
    }
    Ok(())
}

/// What `/logs/*` can change; `None` before [`init`].
pub(crate) fn control() -> Option<Arc<dyn LogControl>> {
    let control = CONTROL.get()?.clone();
    Some(control)
}

/// The logs of this process.
#[derive(Debug)]
struct Control {
    stderr: reload::Handle<EnvFilter, Registry>,
    follower: Follower,
}

impl LogControl for Control {
    fn check(&self, target: &str) -> Result<(), String> {
        target
            .parse::<Targets>()
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn open(&self, target: &str, mode: LogMode) -> Option<LogStream> {
        self.follower.open(target.parse().unwrap_or_default(), mode)
    }

    fn close(&self) {
        self.follower.close();
    }

    fn set_stderr(&self, target: &str) {
        match EnvFilter::try_new(target) {
            // Fails only if the layers are gone, and they live as long as the process.
            Ok(filter) => drop(self.stderr.reload(filter)),
            Err(error) => tracing::warn!(%error, "the target of the logs is not understood"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_a_filter() {
        for right in [
            "info",
            "WARN",
            "off",
            "info,miroir_engine=debug",
            "miroir_http=trace",
        ] {
            assert!(is_filter(right), "{right}");
        }
        for wrong in [
            "",
            "loud",
            "inf",
            "info,miroir_engine",
            "a=loud",
            "=info",
            "info,",
        ] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
