//! Dynamic search rules: documents that searches show at fixed places, and when.
//!
//! A rule has conditions and actions. Where all its conditions hold for a search, its actions pin
//! documents: each to a position of the ranking, whatever its rank there. The rules are few and
//! Miroir's own; which documents they pin is decided here ([`RuleBook::pins`]), and put among what
//! the nodes found by [`place()`](place::place).

pub mod book;
pub mod place;
pub mod words;

pub use book::{RuleBook, RuleListing, RulePage, RuleQueryError};
pub use words::{QueryTerms, WordSettings};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The index that tasks about rules show: one Meilisearch keeps its rules in it.
pub const RULES_INDEX: &str = ".meili_dsr";

/// A rule as clients see it and as it is stored. The form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its name.
    pub uid: String,
    /// For readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When the last change of it was asked for, as a date of RFC 3339.
    #[serde(default)]
    pub last_updated_at: Option<String>,
    /// Rules with a smaller number come first; those without one come last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precedence: Option<u64>,
    /// Whether it has any effect.
    #[serde(default = "yes")]
    pub active: bool,
    /// When it has one; all must hold.
    #[serde(default)]
    pub conditions: Conditions,
    /// What it does.
    #[serde(default)]
    pub actions: Vec<RuleAction>,
}

const fn yes() -> bool {
    true
}

impl Rule {
    /// A rule of that name that does nothing.
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            description: None,
            last_updated_at: None,
            precedence: None,
            active: true,
            conditions: Conditions::default(),
            actions: Vec::new(),
        }
    }

    /// Changes what the update gives.
    pub fn apply(&mut self, update: &RuleUpdate, at: &str) {
        if let Some(description) = &update.description {
            self.description.clone_from(description);
        }
        if let Some(precedence) = update.precedence {
            self.precedence = precedence;
        }
        if let Some(active) = update.active {
            self.active = active.unwrap_or(true);
        }
        if let Some(conditions) = &update.conditions {
            self.conditions = conditions.clone().unwrap_or_default();
        }
        if let Some(actions) = &update.actions {
            self.actions = actions.clone().unwrap_or_default();
        }
        self.last_updated_at = Some(at.to_owned());
    }

    /// The update that makes this rule of one that does nothing.
    #[must_use]
    pub fn as_update(&self) -> RuleUpdate {
        RuleUpdate {
            description: self.description.clone().map(Some),
            precedence: self.precedence.map(Some),
            active: Some(Some(self.active)),
            conditions: Some(Some(self.conditions.clone())),
            actions: Some(Some(self.actions.clone())),
        }
    }
}

/// When a rule has an effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// By the date of the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeCondition>,
    /// By its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<QueryCondition>,
}

/// Bounds of the date of a search, each a date of RFC 3339.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeCondition {
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Not after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// What the words of a search must be like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryCondition {
    /// Whether there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_empty: Option<bool>,
    /// These are among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Something done to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleAction {
    /// Which document.
    pub selector: Selector,
    /// What is done.
    pub action: Action,
}

/// Chooses a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Its index; `None` is every index that has such a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_uid: Option<String>,
    /// Its id.
    pub id: String,
}

/// What is done to a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// It is shown at this rank, counted from 0.
    Pin {
        /// The rank.
        position: u32,
    },
}

/// A change of a rule: what is given is changed, `null` resets. The stored form is part of the
/// database format, and what clients see of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleUpdate {
    /// See [`Rule`], as of all here.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub description: Option<Option<String>>,
    /// The order among rules.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub precedence: Option<Option<u64>>,
    /// Whether it has any effect.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub active: Option<Option<bool>>,
    /// When it has one.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub conditions: Option<Option<Conditions>>,
    /// What it does.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub actions: Option<Option<Vec<RuleAction>>>,
}

/// Tells `null` from nothing at all.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Whether a rule, or an update of one, has conditions on the filter of a search: Miroir does not
/// follow those, so such a rule is not taken.
#[must_use]
pub fn has_filter_condition(rule: &Value) -> bool {
    rule.pointer("/conditions/filter")
        .is_some_and(|filter| !filter.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_is_shown_without_what_it_does_not_have() {
        let rule = Rule::new("a");
        let shown = json!({
            "uid": "a", "lastUpdatedAt": null, "active": true, "conditions": {}, "actions": [],
        });
        assert_eq!(json!(rule), shown);
        assert_eq!(serde_json::from_value::<Rule>(shown).unwrap(), rule);
    }

    #[test]
    fn the_stored_form_of_a_rule_stays() {
        let form = json!({
            "uid": "a", "description": "d", "lastUpdatedAt": "2026-01-02T03:04:05Z",
            "precedence": 3, "active": false,
            "conditions": {
                "time": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
                "query": {"isEmpty": false, "words": "red shoes"},
            },
            "actions": [
                {"selector": {"indexUid": "p", "id": "1"}, "action": {"type": "pin", "position": 4}},
                {"selector": {"id": "2"}, "action": {"type": "pin", "position": 0}},
            ],
        });
        let rule: Rule = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(json!(rule), form);
        let mut again = Rule::new("a");
        again.apply(&rule.as_update(), "2026-01-02T03:04:05Z");
        assert_eq!(again, rule);
    }

    #[test]
    fn null_resets_and_nothing_leaves_as_it_is() {
        let mut rule = Rule::new("a");
        let update: RuleUpdate =
            serde_json::from_value(json!({"description": "d", "precedence": 1, "active": false}))
                .unwrap();
        rule.apply(&update, "1");
        let update: RuleUpdate =
            serde_json::from_value(json!({"description": null, "active": null})).unwrap();
        assert_eq!(json!(update), json!({"description": null, "active": null}));
        rule.apply(&update, "2");
        assert_eq!(
            (rule.description.as_deref(), rule.precedence, rule.active),
            (None, Some(1), true)
        );
        assert_eq!(rule.last_updated_at.as_deref(), Some("2"));
    }
}
