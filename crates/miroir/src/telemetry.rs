//! Logs: to standard error, for people or for machines.

use crate::config::{LogConfig, LogFormat};
use anyhow::{Context, bail};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // `try_init` fails only when logging runs already, which is what was wanted.
    let _ = match log.format {
        LogFormat::Human => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
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
