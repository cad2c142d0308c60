//! Who may do what: the master key, API keys made from it, their actions and indexes.
//!
//! Without a master key every route is open but those that manage keys. The value of an API key is
//! HMAC-SHA256 of its uid under the master key, so the same master key and uid give the same key
//! on every server.

mod key;

pub(crate) use key::Key;

use crate::clock::now;
use crate::error::ApiError;
use crate::store::Store;
use http::{HeaderMap, header};
use miroir_api::key::KeyValue;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// What a request may do beyond the action it was authorized for.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    /// `None`: the master key, or a server without one.
    key: Option<Key>,
}

impl Permit {
    /// Whether this index may be touched or seen.
    pub(crate) fn covers(&self, index_uid: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.covers(index_uid))
    }

    /// Whether all indexes may be seen, and with them what belongs to none.
    pub(crate) fn covers_all(&self) -> bool {
        self.key.as_ref().is_none_or(Key::covers_all)
    }

    /// Whether a write may create this index.
    pub(crate) fn may_create(&self, index_uid: &str) -> bool {
        self.key
            .as_ref()
            .is_none_or(|key| key.allows("indexes.create") && key.covers(index_uid))
    }

    /// Refuses an index that is not covered.
    pub(crate) fn check(&self, index_uid: &str) -> Result<(), ApiError> {
        match &self.key {
            Some(key) if !key.covers(index_uid) => Err(no_access(key, index_uid)),
            _ => Ok(()),
        }
    }
}

/// The master key and the API keys.
pub(crate) struct KeyRing {
    master_key: Option<String>,
    keys: RwLock<BTreeMap<Uuid, Key>>,
}

impl KeyRing {
    /// Loads the keys; an empty store with a master key gets the default ones.
    pub(crate) fn load(store: &Store, master_key: Option<String>) -> rusqlite::Result<Self> {
        let mut keys = BTreeMap::new();
        for (uid, record) in store.load_keys()? {
            match (Uuid::parse_str(&uid), serde_json::from_str::<Key>(&record)) {
                (Ok(uid), Ok(key)) => {
                    keys.insert(uid, key);
                }
                _ => tracing::warn!(uid, "an API key in the store cannot be read"),
            }
        }
        let ring = Self {
            master_key,
            keys: RwLock::new(keys),
        };
        if ring.master_key.is_some() && ring.keys.read().is_empty() {
            for key in Key::defaults() {
                ring.put(store, key)?;
            }
        }
        Ok(ring)
    }

    /// Checks that the bearer may do `action`, on `index` where the route names one.
    pub(crate) fn authorize(
        &self,
        headers: &HeaderMap,
        action: &'static str,
        index: Option<&str>,
    ) -> Result<Permit, ApiError> {
        let Some(master_key) = &self.master_key else {
            if action.starts_with("keys.") {
                return Err(missing_master_key());
            }
            return Ok(Permit { key: None });
        };
        let token = bearer(headers)?;
        if bool::from(token.as_bytes().ct_eq(master_key.as_bytes())) {
            return Ok(Permit { key: None });
        }
        let key = self.find_by_value(token).ok_or_else(invalid_key)?;
        if key.is_expired(now()) || !key.allows(action) {
            return Err(invalid_key());
        }
        if let Some(index) = index
            && !key.covers(index)
        {
            return Err(no_access(&key, index));
        }
        Ok(Permit { key: Some(key) })
    }

    /// All keys, newest first.
    pub(crate) fn get_all(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.keys.read().values().cloned().collect();
        keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.uid)));
        keys
    }

    /// The key with this uid or this value.
    pub(crate) fn find(&self, uid_or_value: &str) -> Option<Key> {
        match Uuid::parse_str(uid_or_value) {
            Ok(uid) => self.keys.read().get(&uid).cloned(),
            Err(_) => self.find_by_value(uid_or_value),
        }
    }

    pub(crate) fn put(&self, store: &Store, key: Key) -> rusqlite::Result<()> {
        let record = serde_json::to_string(&key)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        store.put_key(&key.uid.to_string(), &record)?;
        self.keys.write().insert(key.uid, key);
        Ok(())
    }

    pub(crate) fn remove(&self, store: &Store, uid: Uuid) -> rusqlite::Result<()> {
        store.remove_key(&uid.to_string())?;
        self.keys.write().remove(&uid);
        Ok(())
    }

    /// The secret of a key; empty without a master key.
    pub(crate) fn value_of(&self, uid: Uuid) -> String {
        self.master_key
            .as_ref()
            .map_or_else(String::new, |master_key| {
                KeyValue::derive(master_key, uid).to_hex()
            })
    }

    fn find_by_value(&self, value: &str) -> Option<Key> {
        let keys = self.keys.read();
        let mut all = keys.values();
        all.find(|key| bool::from(self.value_of(key.uid).as_bytes().ct_eq(value.as_bytes())))
            .cloned()
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer "));
    token.map(str::trim).ok_or_else(|| {
        ApiError::new(
            "missing_authorization_header",
            "The Authorization header is missing. It must use the bearer authorization method.",
        )
    })
}

fn invalid_key() -> ApiError {
    ApiError::new("invalid_api_key", "The provided API key is invalid.")
}

fn missing_master_key() -> ApiError {
    ApiError::new(
        "missing_master_key",
        "Meilisearch is running without a master key. To access this API endpoint, you must have \
         set a master key at launch.",
    )
}

fn no_access(key: &Key, index: &str) -> ApiError {
    let authorized: Vec<String> = key
        .indexes
        .iter()
        .map(|pattern| format!("{pattern:?}"))
        .collect();
    ApiError::new(
        "invalid_api_key",
        format!(
            "The API key cannot acces the index `{index}`, authorized indexes are [{}].",
            authorized.join(", ")
        ),
    )
}
