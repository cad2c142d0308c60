//! What a request may do beyond the route it was let into.

use super::{invalid_key, refusal, ring::RingKey};
use miroir_api::action::{Action, Reach};
use miroir_api::error::ResponseError;
use miroir_api::key::{covers_all, is_covered};
use miroir_api::tenant::{SearchRules, fuse_filters};
use serde_json::Value;
use std::sync::Arc;
use time::OffsetDateTime;

/// The rights of the one who asks.
#[derive(Debug, Clone)]
pub(crate) struct Permit(Grant);

#[derive(Debug, Clone)]
enum Grant {
    /// The master key, or no key where there is none.
    Everything,
    /// An API key, and what the tenant token signed with it leaves of its rights.
    Key(Arc<RingKey>, Option<Arc<SearchRules>>),
}

impl Permit {
    pub(super) fn everything() -> Self {
        Self(Grant::Everything)
    }

    pub(super) fn key(key: Arc<RingKey>) -> Self {
        Self(Grant::Key(key, None))
    }

    pub(super) fn tenant(key: Arc<RingKey>, rules: SearchRules) -> Self {
        Self(Grant::Key(key, Some(Arc::new(rules))))
    }

    // --- For routes that look at indexes themselves -------------------------------------------

    /// Whether the index may be touched or seen.
    pub(crate) fn covers(&self, index_uid: &str) -> bool {
        match &self.0 {
            Grant::Everything => true,
            Grant::Key(key, rules) => {
                key.covers(index_uid) && rules.as_ref().is_none_or(|rules| rules.covers(index_uid))
            }
        }
    }

    /// Whether every index may be seen, and with them what belongs to none.
    pub(crate) fn covers_all(&self) -> bool {
        match &self.0 {
            Grant::Everything => true,
            Grant::Key(key, rules) => {
                covers_all(&key.indexes) && rules.as_ref().is_none_or(|rules| rules.covers_all())
            }
        }
    }

    /// Refuses an index that is not covered, without telling which are: for routes whose path does
    /// not name it.
    ///
    /// # Errors
    /// It is not covered.
    pub(crate) fn require(&self, index_uid: &str) -> Result<(), ResponseError> {
        if self.covers(index_uid) {
            Ok(())
        } else {
            Err(invalid_key())
        }
    }

    /// The index patterns that limit which tasks may be seen; `None` for no limit.
    pub(crate) fn task_scope(&self) -> Option<Vec<String>> {
        match &self.0 {
            Grant::Key(key, _) if !covers_all(&key.indexes) => Some(key.indexes.clone()),
            _ => None,
        }
    }

    /// Whether a write may create the index.
    pub(crate) fn may_create(&self, index_uid: &str) -> bool {
        match &self.0 {
            Grant::Everything => true,
            Grant::Key(key, _) => key.grants(Action::IndexesCreate) && self.covers(index_uid),
        }
    }

    /// Adds to a query's filter what the bearer's tenant token demands for the index.
    pub(crate) fn restrict(&self, index_uid: &str, filter: &mut Option<Value>) {
        if let Some(rule) = self.filter_for(index_uid) {
            *filter = fuse_filters(filter.take(), Some(rule.clone()));
        }
    }

    /// What the bearer's tenant token demands of every document of the index it may see.
    pub(crate) fn filter_for(&self, index_uid: &str) -> Option<&Value> {
        match &self.0 {
            Grant::Key(_, Some(rules)) => rules.filter_for(index_uid),
            _ => None,
        }
    }

    // --- For the decision ---------------------------------------------------------------------

    /// Refuses an index named in the path that the bearer cannot reach, and says which it can. The
    /// indexes of the key behind a token are not told: the tenant is not its owner.
    pub(super) fn check_index(&self, index_uid: &str) -> Result<(), ResponseError> {
        let Grant::Key(key, rules) = &self.0 else {
            return Ok(());
        };
        if let Some(rules) = rules
            && !rules.covers(index_uid)
        {
            let allowed: Vec<&str> = rules.patterns().collect();
            return Err(refusal(format!(
                "The provided tenant token cannot acces the index `{index_uid}`, allowed indexes \
                 are {allowed:?}."
            )));
        }
        if key.covers(index_uid) {
            return Ok(());
        }
        if rules.is_some() {
            return Err(refusal(format!(
                "The API key used to generate this tenant token cannot acces the index \
                 `{index_uid}`."
            )));
        }
        let mut allowed: Vec<&str> = key.indexes.iter().map(String::as_str).collect();
        allowed.sort_unstable();
        allowed.dedup();
        Err(refusal(format!(
            "The API key cannot acces the index `{index_uid}`, authorized indexes are {allowed:?}."
        )))
    }

    /// Whether the key is alive and allows the action: on the index of the path, or where there is
    /// none, on all indexes or on those that the route looks at itself.
    pub(super) fn allows(&self, action: Action, index: Option<&str>, now: OffsetDateTime) -> bool {
        let Grant::Key(key, _) = &self.0 else {
            return true;
        };
        let is_reached = covers_all(&key.indexes)
            || match index {
                Some(index) => key.covers(index),
                None => action.reach() == Reach::Indexes && !key.indexes.is_empty(),
            };
        is_reached && key.grants(action) && key.expires_at.is_none_or(|end| now < end)
    }
}

impl RingKey {
    fn covers(&self, index_uid: &str) -> bool {
        let mut patterns = self.indexes.iter();
        patterns.any(|pattern| is_covered(pattern, index_uid))
    }

    fn grants(&self, asked: Action) -> bool {
        self.actions.iter().any(|action| action.grants(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_api::key::KeyValue;
    use serde_json::json;
    use time::macros::datetime;
    use uuid::Uuid;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn key(actions: &[Action], indexes: &[&str]) -> Arc<RingKey> {
        Arc::new(RingKey {
            uid: Uuid::nil(),
            value: KeyValue::derive("m", Uuid::nil()),
            actions: actions.to_vec(),
            indexes: indexes.iter().map(|index| (*index).to_owned()).collect(),
            expires_at: Some(NOW),
        })
    }

    fn rules(value: Value) -> SearchRules {
        serde_json::from_value(value).expect("search rules")
    }

    #[test]
    fn a_key_dies_at_its_last_moment() {
        let permit = Permit::key(key(&[Action::Everything], &["*"]));
        let before = NOW - time::Duration::NANOSECOND;
        assert!(permit.allows(Action::Version, None, before));
        assert!(!permit.allows(Action::Version, None, NOW));
    }

    #[test]
    fn a_key_for_some_indexes_has_nothing_of_the_whole_instance() {
        let before = NOW - time::Duration::SECOND;
        let permit = Permit::key(key(&[Action::Everything], &["a", "b*"]));
        for (action, index, expected) in [
            (Action::Version, None, false),
            (Action::TasksCompact, None, false),
            (Action::Everything, None, false),
            (Action::TasksGet, None, true),
            (Action::IndexesGet, None, true),
            (Action::DocumentsAdd, None, false),
            (Action::DocumentsAdd, Some("a"), true),
            (Action::DocumentsAdd, Some("bb"), true),
            (Action::DocumentsAdd, Some("c"), false),
        ] {
            assert_eq!(permit.allows(action, index, before), expected, "{action}");
        }
        let nowhere = Permit::key(key(&[Action::Everything], &[]));
        assert!(!nowhere.allows(Action::TasksGet, None, before));
        assert!(!nowhere.covers("a"));
    }

    #[test]
    fn refusals_name_the_bearers_own_indexes_only() {
        let message = |permit: Permit| permit.check_index("c").expect_err("out of reach").message;
        assert_eq!(
            message(Permit::key(key(&[], &["b", "a*"]))),
            "The API key cannot acces the index `c`, authorized indexes are [\"a*\", \"b\"]."
        );
        assert_eq!(
            message(Permit::tenant(
                key(&[], &["secret"]),
                rules(json!(["b", "a"]))
            )),
            "The provided tenant token cannot acces the index `c`, allowed indexes are [\"a\", \
             \"b\"]."
        );
        assert_eq!(
            message(Permit::tenant(key(&[], &["secret"]), rules(json!(["*"])))),
            "The API key used to generate this tenant token cannot acces the index `c`."
        );
    }

    #[test]
    fn a_tenant_token_restricts_the_filter_of_its_index() {
        let permit = Permit::tenant(
            key(&[Action::Search], &["*"]),
            rules(json!({"a": {"filter": "t = 1"}, "b": null})),
        );
        let restricted = |index: &str, mut filter: Option<Value>| {
            permit.restrict(index, &mut filter);
            filter
        };
        assert_eq!(restricted("a", None), Some(json!("t = 1")));
        assert_eq!(
            restricted("a", Some(json!("c = 2"))),
            Some(json!(["c = 2", "t = 1"]))
        );
        assert_eq!(restricted("b", Some(json!("c = 2"))), Some(json!("c = 2")));
        assert!(permit.covers("a") && permit.covers("b") && !permit.covers("c"));
        assert!(permit.require("c").is_err());
    }

    #[test]
    fn creating_an_index_needs_its_own_right() {
        let permit = |actions: &[Action]| Permit::key(key(actions, &["a"]));
        assert!(permit(&[Action::IndexesAll]).may_create("a"));
        assert!(!permit(&[Action::IndexesAll]).may_create("b"));
        assert!(!permit(&[Action::DocumentsAll, Action::EveryGet]).may_create("a"));
        assert!(Permit::everything().may_create("a"));
    }
}
