//! The experimental features that Miroir itself has, and the refusal of those that are off.
//!
//! Both the configuration and `PATCH /experimental-features` switch them on; one place asks.

use crate::app::App;
use miroir_api::chat::not_enabled;
use miroir_api::error::{Code, ResponseError};
use miroir_api::feature::view;
use miroir_engine::features::CHAT_COMPLETIONS;
use serde_json::Value;

/// Which experimental features are on from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// `GET /metrics`.
    pub metrics: bool,
    /// `/logs/*`.
    pub logs_route: bool,
}

/// An experimental feature of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// `metrics`.
    Metrics,
    /// `logsRoute`.
    LogsRoute,
    /// `renderRoute`.
    RenderRoute,
}

/// All features as they are shown: those switched by request, and those on by configuration.
pub(crate) fn shown(app: &App) -> Value {
    let mut switched = app.engine.features();
    for (name, feature) in [
        ("metrics", Feature::Metrics),
        ("logsRoute", Feature::LogsRoute),
    ] {
        if feature.is_on(app) {
            switched.insert(name.to_owned(), true);
        }
    }
    view(&switched)
}

/// Refuses what needs chats while they are off.
///
/// # Errors
/// They are off.
pub(crate) fn check_chats(app: &App, asked: &str) -> Result<(), ResponseError> {
    if app.engine.has_feature(CHAT_COMPLETIONS) {
        Ok(())
    } else {
        Err(not_enabled(asked))
    }
}

impl Feature {
    fn is_on(self, app: &App) -> bool {
        let features = app.options.features;
        match self {
            Self::Metrics => features.metrics || app.engine.has_feature("metrics"),
            Self::LogsRoute => features.logs_route || app.engine.has_feature("logsRoute"),
            Self::RenderRoute => app.engine.has_feature("renderRoute"),
        }
    }

    /// Refuses, in the words of Meilisearch, what needs a feature that is off.
    ///
    /// # Errors
    /// It is off.
    pub(crate) fn check(self, app: &App) -> Result<(), ResponseError> {
        if self.is_on(app) {
            return Ok(());
        }
        let (asked, name, link) = match self {
            Self::Metrics => (
                "Getting metrics",
                "metrics",
                "https://github.com/meilisearch/product/discussions/625",
            ),
            Self::LogsRoute => (
                "Modifying logs through the `/logs/*` routes",
                "logs route",
                "https://github.com/orgs/meilisearch/discussions/721",
            ),
            Self::RenderRoute => (
                "calling the /render-template route",
                "render_route",
                "https://github.com/orgs/meilisearch/discussions/888",
            ),
        };
        Err(ResponseError::new(
            Code::FeatureNotEnabled,
            format!("{asked} requires enabling the `{name}` experimental feature. See {link}"),
        ))
    }
}
