//! Experimental features: their names, and which of them Miroir can honour.

use crate::error::{Code, ResponseError};
use crate::validate::{At, optional};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its name on the wire.
    pub name: &'static str,
    /// Why it cannot be switched on through Miroir; `None` if it can.
    pub refusal: Option<&'static str>,
}

const fn honoured(name: &'static str) -> Feature {
    Feature {
        name,
        refusal: None,
    }
}

const fn refused(name: &'static str, reason: &'static str) -> Feature {
    Feature {
        name,
        refusal: Some(reason),
    }
}

const NO_ROUTE: &str = "the routes it opens are not supported yet";

/// Every switch, in the order in which it is shown.
pub const FEATURES: &[Feature] = &[
    honoured("metrics"),
    honoured("logsRoute"),
    honoured("editDocumentsByFunction"),
    honoured("containsFilter"),
    honoured("dynamicSearchRules"),
    refused("network", "Miroir itself joins the nodes"),
    honoured("getTaskDocumentsRoute"),
    refused("taskQueueCompactionRoute", NO_ROUTE),
    honoured("compositeEmbedders"),
    honoured("chatCompletions"),
    honoured("multimodal"),
    honoured("foreignKeys"),
    honoured("disableDocumentsFetchQueue"),
    refused(
        "legacySearch",
        "answers of several nodes cannot be merged in its order",
    ),
    honoured("renderRoute"),
];

/// All switches as they are shown, given those ever switched.
#[must_use]
pub fn view(switched: &BTreeMap<String, bool>) -> Value {
    let is_on = |feature: &Feature| switched.get(feature.name).copied().unwrap_or(false);
    let shown = FEATURES.iter();
    let shown = shown.map(|feature| (feature.name.to_owned(), Value::Bool(is_on(feature))));
    Value::Object(shown.collect::<Map<_, _>>())
}

/// Checks the body of `PATCH /experimental-features`; returns the switches it names.
///
/// # Errors
/// The first mistake; 501 with the reason for a feature that cannot be honoured.
pub fn read_patch(body: &Value) -> Result<BTreeMap<String, bool>, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut switched = BTreeMap::new();
    for (name, value) in root.object(body)? {
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
            let names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
            return Err(root.unknown_field(name, &names));
        };
        let at = root.inner(feature.name);
        if let Some(is_on) = optional(value, |value| at.boolean(value))? {
            switched.insert(feature.name.to_owned(), is_on);
        }
    }
    // Last, so that a mistake is told first, as by a Meilisearch that knows no refusal.
    for feature in FEATURES {
        if let (Some(true), Some(reason)) = (switched.get(feature.name), feature.refusal) {
            return Err(ResponseError::new(
                Code::FeatureNotEnabled,
                format!(
                    "The experimental feature `{}` is not supported by Miroir: {reason}.",
                    feature.name
                ),
            )
            .with_status(501));
        }
    }
    Ok(switched)
}

/// What needs a feature was asked for while it is off.
#[must_use]
pub fn edit_not_enabled() -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        "Using the documents edit route requires enabling the `edit documents by function` \
         experimental feature. See https://github.com/orgs/meilisearch/discussions/762",
    )
}

/// The documents of a task were asked for while that route is off.
#[must_use]
pub fn task_documents_not_enabled() -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        "Getting the documents of an enqueued task requires enabling the `get task documents \
         route` experimental feature. See https://github.com/orgs/meilisearch/discussions/808",
    )
}

/// Foreign keys were set while they are off.
#[must_use]
pub fn foreign_keys_not_enabled() -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        "setting `foreignKeys` in the index settings requires enabling the `foreign_keys` \
         experimental feature. See https://github.com/orgs/meilisearch/discussions/873",
    )
}

/// An embedder made of two was asked for while there are none.
#[must_use]
pub fn composite_not_enabled(doing: &str) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{doing} requires enabling the `composite embedders` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/816"
        ),
    )
}

/// What is neither words nor vectors was asked for while it is off.
#[must_use]
pub fn multimodal_not_enabled(doing: &str) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{doing} requires enabling the `multimodal` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/846"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_feature_never_switched_is_off() {
        let shown = view(&BTreeMap::from([("containsFilter".to_owned(), true)]));
        assert_eq!(shown["containsFilter"], true);
        assert_eq!(shown["network"], false);
        assert_eq!(shown.as_object().map(Map::len), Some(FEATURES.len()));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let error = read_patch(&json!({"network": true})).expect_err("it is not supported");
        assert_eq!((error.status(), &*error.code), (501, "feature_not_enabled"));
        assert!(error.message.contains("`network`"), "{}", error.message);
        let off = json!({"network": false, "containsFilter": null});
        let expected = BTreeMap::from([("network".to_owned(), false)]);
        assert_eq!(read_patch(&off), Ok(expected));
    }

    #[test]
    fn mistakes_are_told_in_meilisearch_words() {
        let error = read_patch(&json!({"network": true, "containsFilter": 1}));
        let error = error.expect_err("a number is no boolean");
        assert_eq!(
            error.message,
            "Invalid value type at `.containsFilter`: expected a boolean, but found a positive \
             integer: `1`"
        );
        let error = read_patch(&json!({"metric": true})).expect_err("an unknown name");
        assert_eq!(&*error.code, "bad_request");
    }
}
