//! The settings of an index: their table of sub-routes and the checks of their form.
//!
//! A check returns the value in the form Meilisearch keeps it in: sets sorted and without
//! repetition, rules of filterable attributes with their defaults filled in. What depends on
//! documents or on earlier settings is found out when the task runs, not here.

mod chat;
mod embedder;
mod value;

use crate::error::{Code, ResponseError};
use crate::validate::At;
use serde_json::{Map, Value};

pub use embedder::check_embedders;

/// The experimental features that settings may need, and whether they are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenFeatures {
    /// `compositeEmbedders`.
    pub composite_embedders: bool,
    /// `multimodal`.
    pub multimodal: bool,
}

/// The verb that changes a setting on its sub-route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The whole value is replaced.
    Put,
    /// Given members are changed, the others stay.
    Patch,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the path, after `/indexes/{uid}/settings/`.
    pub route: &'static str,
    /// Its name in JSON.
    pub name: &'static str,
    /// The verb that changes it.
    pub verb: Verb,
    /// The code that mistakes in it get.
    pub code: Code,
    check: fn(&At<'_>, &Value) -> Result<Value, ResponseError>,
}

/// Every setting, in the order in which refusals list them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        route: "displayed-attributes",
        name: "displayedAttributes",
        verb: Verb::Put,
        code: Code::InvalidSettingsDisplayedAttributes,
        check: value::list,
    },
    Setting {
        route: "searchable-attributes",
        name: "searchableAttributes",
        verb: Verb::Put,
        code: Code::InvalidSettingsSearchableAttributes,
        check: value::list,
    },
    Setting {
        route: "filterable-attributes",
        name: "filterableAttributes",
        verb: Verb::Put,
        code: Code::InvalidSettingsFilterableAttributes,
        check: value::filterable_attributes,
    },
    Setting {
        route: "sortable-attributes",
        name: "sortableAttributes",
        verb: Verb::Put,
        code: Code::InvalidSettingsSortableAttributes,
        check: value::set,
    },
    Setting {
        route: "foreign-keys",
        name: "foreignKeys",
        verb: Verb::Put,
        code: Code::InvalidSettingsForeignKeys,
        check: value::foreign_keys,
    },
    Setting {
        route: "ranking-rules",
        name: "rankingRules",
        verb: Verb::Put,
        code: Code::InvalidSettingsRankingRules,
        check: value::ranking_rules,
    },
    Setting {
        route: "stop-words",
        name: "stopWords",
        verb: Verb::Put,
        code: Code::InvalidSettingsStopWords,
        check: value::set,
    },
    Setting {
        route: "non-separator-tokens",
        name: "nonSeparatorTokens",
        verb: Verb::Put,
        code: Code::InvalidSettingsNonSeparatorTokens,
        check: value::set,
    },
    Setting {
        route: "separator-tokens",
        name: "separatorTokens",
        verb: Verb::Put,
        code: Code::InvalidSettingsSeparatorTokens,
        check: value::set,
    },
    Setting {
        route: "dictionary",
        name: "dictionary",
        verb: Verb::Put,
        code: Code::InvalidSettingsDictionary,
        check: value::set,
    },
    Setting {
        route: "synonyms",
        name: "synonyms",
        verb: Verb::Put,
        code: Code::InvalidSettingsSynonyms,
        check: value::synonyms,
    },
    Setting {
        route: "distinct-attribute",
        name: "distinctAttribute",
        verb: Verb::Put,
        code: Code::InvalidSettingsDistinctAttribute,
        check: value::text,
    },
    Setting {
        route: "proximity-precision",
        name: "proximityPrecision",
        verb: Verb::Put,
        code: Code::InvalidSettingsProximityPrecision,
        check: value::proximity_precision,
    },
    Setting {
        route: "typo-tolerance",
        name: "typoTolerance",
        verb: Verb::Patch,
        code: Code::InvalidSettingsTypoTolerance,
        check: value::typo_tolerance,
    },
    Setting {
        route: "faceting",
        name: "faceting",
        verb: Verb::Patch,
        code: Code::InvalidSettingsFaceting,
        check: value::faceting,
    },
    Setting {
        route: "pagination",
        name: "pagination",
        verb: Verb::Patch,
        code: Code::InvalidSettingsPagination,
        check: value::pagination,
    },
    Setting {
        route: "embedders",
        name: "embedders",
        verb: Verb::Patch,
        code: Code::InvalidSettingsEmbedders,
        check: embedder::embedders,
    },
    Setting {
        route: "search-cutoff-ms",
        name: "searchCutoffMs",
        verb: Verb::Put,
        code: Code::InvalidSettingsSearchCutoffMs,
        check: value::positive_integer,
    },
    Setting {
        route: "localized-attributes",
        name: "localizedAttributes",
        verb: Verb::Put,
        code: Code::InvalidSettingsLocalizedAttributes,
        check: value::localized_attributes,
    },
    Setting {
        route: "facet-search",
        name: "facetSearch",
        verb: Verb::Put,
        code: Code::InvalidSettingsFacetSearch,
        check: value::boolean,
    },
    Setting {
        route: "prefix-search",
        name: "prefixSearch",
        verb: Verb::Put,
        code: Code::InvalidSettingsPrefixSearch,
        check: value::prefix_search,
    },
    Setting {
        route: "chat",
        name: "chat",
        verb: Verb::Patch,
        code: Code::InvalidSettingsIndexChat,
        check: chat::chat,
    },
];

impl Setting {
    /// The setting of that sub-route.
    #[must_use]
    pub fn from_route(route: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.route == route)
    }

    /// Checks the body of this setting's own route; `null` resets. Embedders are checked in form
    /// only, and for the features they need; see [`check_embedders`].
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self, body: &Value, open: OpenFeatures) -> Result<Value, ResponseError> {
        let checked = self.check_at(&At::root(self.code), body)?;
        if self.name == EMBEDDERS {
            embedder::check_gates(&checked, open)?;
        }
        Ok(checked)
    }

    fn check_at(&self, at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
        if value.is_null() {
            Ok(Value::Null)
        } else {
            (self.check)(at, value)
        }
    }
}

/// The name of the setting that is checked in steps.
pub const EMBEDDERS: &str = "embedders";

/// Checks the body of `PATCH /indexes/{uid}/settings`; of embedders as [`Setting::check`].
///
/// # Errors
/// The first mistake.
pub fn check_settings(
    body: &Value,
    open: OpenFeatures,
) -> Result<Map<String, Value>, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut checked = Map::new();
    for (name, value) in root.object(body)? {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            return Err(root.unknown_field(name, &names));
        };
        let at = root.field(setting.name, setting.code);
        checked.insert(name.clone(), setting.check_at(&at, value)?);
    }
    if let Some(embedders) = checked.get(EMBEDDERS) {
        embedder::check_gates(embedders, open)?;
    }
    Ok(checked)
}

/// What resets every setting: each name with `null`.
#[must_use]
pub fn reset_all() -> Map<String, Value> {
    SETTINGS
        .iter()
        .map(|setting| (setting.name.to_owned(), Value::Null))
        .collect()
}

#[cfg(test)]
mod tests;
