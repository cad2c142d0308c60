//! The keys as the face needs them: with their values, found in one step by value or uid.
//!
//! Values are derived once after each change of the engine's list, not once a request.

use arc_swap::ArcSwapOption;
use miroir_api::action::Action;
use miroir_api::key::KeyValue;
use miroir_engine::Engine;
use miroir_engine::keys::ApiKey;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

/// The master key.
pub(crate) struct MasterKey(String);

impl MasterKey {
    /// Whether a token is the master key, in a time that tells neither where they differ nor how
    /// long the right one is.
    pub(super) fn is_same(&self, token: &str) -> bool {
        Sha256::digest(token.as_bytes())
            .ct_eq(&Sha256::digest(self.0.as_bytes()))
            .into()
    }
}

/// A key with its value and its actions as such.
#[derive(Debug)]
pub(crate) struct RingKey {
    pub(crate) uid: Uuid,
    pub(crate) value: KeyValue,
    pub(crate) actions: Vec<Action>,
    pub(crate) indexes: Vec<String>,
    pub(crate) expires_at: Option<OffsetDateTime>,
}

impl RingKey {
    fn new(master_key: &MasterKey, key: &ApiKey) -> Self {
        let actions = key.actions.iter();
        Self {
            uid: key.uid,
            value: KeyValue::derive(&master_key.0, key.uid),
            // An action that this version does not know opens no route of it.
            actions: actions.filter_map(|name| Action::from_name(name)).collect(),
            indexes: key.indexes.clone(),
            expires_at: key.expires_at,
        }
    }
}

/// All keys at one moment.
pub(crate) struct RingKeys {
    /// The engine's list that these were made from.
    source: Arc<Vec<Arc<ApiKey>>>,
    by_uid: HashMap<Uuid, Arc<RingKey>>,
    /// By a digest of the value: how far a lookup gets tells something of digests, which nobody
    /// can steer, and nothing of values.
    by_digest: HashMap<[u8; 32], Arc<RingKey>>,
}

impl RingKeys {
    fn new(master_key: &MasterKey, source: Arc<Vec<Arc<ApiKey>>>) -> Self {
        let keys = source.iter().map(|key| RingKey::new(master_key, key));
        let keys: Vec<Arc<RingKey>> = keys.map(Arc::new).collect();
        Self {
            by_uid: keys.iter().map(|key| (key.uid, key.clone())).collect(),
            by_digest: keys
                .iter()
                .map(|key| (digest(&key.value), key.clone()))
                .collect(),
            source,
        }
    }

    /// The key with this uid.
    pub(crate) fn by_uid(&self, uid: Uuid) -> Option<Arc<RingKey>> {
        self.by_uid.get(&uid).cloned()
    }

    /// The key with this value.
    pub(crate) fn by_value(&self, text: &str) -> Option<Arc<RingKey>> {
        let value = KeyValue::from_hex(text)?;
        let key = self.by_digest.get(&digest(&value))?;
        key.value.is_same(&value).then(|| key.clone())
    }
}

fn digest(value: &KeyValue) -> [u8; 32] {
    Sha256::digest(value.as_bytes()).into()
}

/// The master key and the keys that follow from it.
pub(crate) struct KeyRing {
    master_key: Option<MasterKey>,
    keys: ArcSwapOption<RingKeys>,
}

impl KeyRing {
    pub(crate) fn new(master_key: Option<String>) -> Self {
        Self {
            master_key: master_key.map(MasterKey),
            keys: ArcSwapOption::empty(),
        }
    }

    pub(super) fn master_key(&self) -> Option<&MasterKey> {
        self.master_key.as_ref()
    }

    /// The value of the key with this uid, whether there is one or not; `None` without a master
    /// key.
    pub(crate) fn value_of(&self, uid: Uuid) -> Option<KeyValue> {
        let master_key = self.master_key.as_ref()?;
        Some(KeyValue::derive(&master_key.0, uid))
    }

    /// The keys as they stand; none without a master key.
    pub(crate) fn keys(&self, engine: &Engine) -> Arc<RingKeys> {
        let source = engine.api_keys();
        if let Some(keys) = self.keys.load_full()
            && Arc::ptr_eq(&keys.source, &source)
        {
            return keys;
        }
        let keys = Arc::new(match &self.master_key {
            Some(master_key) => RingKeys::new(master_key, source),
            None => RingKeys {
                source,
                by_uid: HashMap::new(),
                by_digest: HashMap::new(),
            },
        });
        // Of two that are made at once the older may stay: the next request then makes it anew.
        self.keys.store(Some(keys.clone()));
        keys
    }
}

// By hand, so that a key never reaches a log.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing(<hidden>)")
    }
}
