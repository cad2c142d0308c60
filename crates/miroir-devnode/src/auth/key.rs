//! One API key.

use crate::auth::action::grants;
use crate::clock::{Nanos, now, to_rfc3339};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt::Write as _;
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
        let default = |name: &str, description: &str, actions: &[&str]| {
            let created_at = now();
            Self {
                uid: Uuid::new_v4(),
                name: Some(name.to_owned()),
                description: Some(description.to_owned()),
                actions: actions.iter().map(|action| (*action).to_owned()).collect(),
                indexes: vec!["*".to_owned()],
                expires_at: None,
                created_at,
                updated_at: created_at,
            }
        };
        vec![
            default(
                "Default Chat API Key",
                "For chats and searches",
                &["chatCompletions", "search"],
            ),
            default(
                "Default Read-Only Admin API Key",
                "Reads everything, for servers only",
                &["*.get", "keys.get"],
            ),
            default(
                "Default Admin API Key",
                "Does everything, for servers only",
                &["*"],
            ),
            default(
                "Default Search API Key",
                "For searches from the front end",
                &["search"],
            ),
        ]
    }

    pub(crate) fn allows(&self, action: &str) -> bool {
        self.actions.iter().any(|granted| grants(granted, action))
    }

    pub(crate) fn covers(&self, index_uid: &str) -> bool {
        self.covers_all()
            || self
                .indexes
                .iter()
                .any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => index_uid.starts_with(prefix),
                    None => index_uid == pattern,
                })
    }

    pub(crate) fn covers_all(&self) -> bool {
        self.indexes.is_empty() || self.indexes.iter().any(|pattern| pattern == "*")
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

/// The value of the key with this uid: lower-case hex of HMAC-SHA256(master key, uid as text).
pub(super) fn value(master_key: &str, uid: Uuid) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(master_key.as_bytes())
        .expect("HMAC takes a secret of any length");
    mac.update(uid.hyphenated().to_string().as_bytes());
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_hmac_of_the_uid_under_the_master_key() {
        let uid = Uuid::parse_str("6062abda-a5aa-4414-ac91-ecd7944c0f8d").unwrap();
        // Computed with another HMAC implementation.
        let expected = "0d030b69eea2dde1af6e6b714146c4dc942d4b2725c173e5d132c60aad9782f5";
        assert_eq!(value("masterKey", uid), expected);
    }

    #[test]
    fn index_patterns_are_exact_prefixed_or_everything() {
        let mut key = Key::defaults().remove(0);
        key.indexes = vec!["movies".to_owned(), "books*".to_owned()];
        assert!(key.covers("movies") && key.covers("books_fr"));
        assert!(!key.covers("movies2") && !key.covers_all());
        key.indexes = Vec::new();
        assert!(key.covers_all());
    }
}
