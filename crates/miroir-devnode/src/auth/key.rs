//! One API key.

use crate::clock::{Nanos, now, to_rfc3339};
use miroir_api::action::Action;
use miroir_api::key::{DEFAULT_KEYS, covers_all, is_covered};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// An API key without its value, which is computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) uid: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) actions: Vec<String>,
    /// Exact names, `prefix*` or `*`.
    pub(crate) indexes: Vec<String>,
    pub(crate) expires_at: Option<Nanos>,
    pub(crate) created_at: Nanos,
    pub(crate) updated_at: Nanos,
}

impl Key {
    /// The keys a new server with a master key has.
    pub(crate) fn defaults() -> Vec<Self> {
        let default = |default: miroir_api::key::DefaultKey| {
            let created_at = now();
            let actions = default.actions.iter();
            Self {
                uid: Uuid::new_v4(),
                name: Some(default.name.to_owned()),
                description: Some(default.description.to_owned()),
                actions: actions.map(|action| action.name().to_owned()).collect(),
                indexes: vec!["*".to_owned()],
                expires_at: None,
                created_at,
                updated_at: created_at,
            }
        };
        DEFAULT_KEYS.map(default).into()
    }

    pub(crate) fn allows(&self, action: &str) -> bool {
        let Some(asked) = Action::from_name(action) else {
            return false;
        };
        let mut own = self
            .actions
            .iter()
            .filter_map(|name| Action::from_name(name));
        own.any(|granted| granted.grants(asked))
    }

    pub(crate) fn covers(&self, index_uid: &str) -> bool {
        self.indexes
            .iter()
            .any(|pattern| is_covered(pattern, index_uid))
    }

    pub(crate) fn covers_all(&self) -> bool {
        covers_all(&self.indexes)
    }

    pub(crate) fn is_expired(&self, now: Nanos) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The key as clients see it, with its value.
    pub(crate) fn view(&self, value: &str) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "key": value,
            "uid": self.uid,
            "actions": self.actions,
            "indexes": self.indexes,
            "expiresAt": self.expires_at.map(to_rfc3339),
            "createdAt": to_rfc3339(self.created_at),
            "updatedAt": to_rfc3339(self.updated_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_patterns_are_exact_prefixed_or_everything() {
        let mut key = Key::defaults().remove(0);
        key.indexes = vec!["movies".to_owned(), "books*".to_owned()];
        assert!(key.covers("movies") && key.covers("books_fr"));
        assert!(!key.covers("movies2") && !key.covers_all());
        key.indexes = Vec::new();
        assert!(!key.covers_all() && !key.covers("movies"));
    }
}
