//! API keys: who may do what. The engine keeps them and knows nothing of their values, which follow
//! from the master key.
//!
//! Readers share one immutable list, so that no request waits for the store. A change is durable
//! before it is seen; changes take turns, so that a key which is being removed cannot be written
//! back by one that is being renamed.

use crate::coordination::{ApiKeyRecord, ApiKeys};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{StoreError, Timestamp};
use arc_swap::ArcSwap;
use miroir_api::key::DEFAULT_KEYS;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// An API key. The stored form (all but the uid) is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its uid.
    pub uid: Uuid,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it allows: names of actions.
    pub actions: Vec<String>,
    /// Where: index names, or beginnings of them with a `*` behind.
    pub indexes: Vec<String>,
    /// From this moment on it allows nothing; `None` for never.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: Timestamp,
}

impl ApiKey {
    fn to_record(&self) -> Result<ApiKeyRecord, EngineError> {
        let record = serde_json::to_value(self).map_err(|error| {
            EngineError::Answer(format!("an API key cannot be written: {error}"))
        })?;
        Ok(ApiKeyRecord {
            uid: self.uid,
            record,
        })
    }
}

/// The keys and the way to the store.
pub(crate) struct KeyKeeper {
    store: Arc<dyn ApiKeys>,
    keys: ArcSwap<Vec<Arc<ApiKey>>>,
    /// Held over one change, its wait for the store included: the one owner of what changes.
    turn: tokio::sync::Mutex<()>,
}

impl KeyKeeper {
    /// Loads all keys. One that cannot be read opens nothing, and is left in the store.
    pub(crate) async fn load(store: Arc<dyn ApiKeys>) -> Result<Self, StoreError> {
        let mut keys = Vec::new();
        for ApiKeyRecord { uid, record } in store.load_api_keys().await? {
            match serde_json::from_value::<ApiKey>(record) {
                Ok(key) if key.uid == uid => keys.push(Arc::new(key)),
                Ok(_) => tracing::warn!(%uid, "a stored API key has another uid than its record"),
                Err(error) => tracing::warn!(%uid, %error, "a stored API key cannot be read"),
            }
        }
        Ok(Self {
            store,
            keys: ArcSwap::from_pointee(keys),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<ApiKey>>)) {
        let mut keys = Vec::clone(&self.keys.load());
        change(&mut keys);
        self.keys.store(Arc::new(keys));
    }
}

impl Engine {
    /// The time of the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared().ports.clock.now()
    }

    /// A clock that never goes back, for how long things take.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.shared().ports.clock.monotonic()
    }

    /// All keys as they stand, in no order. It is another list after each change, and only then.
    #[must_use]
    pub fn api_keys(&self) -> Arc<Vec<Arc<ApiKey>>> {
        self.keeper().keys.load_full()
    }

    /// Adds a key; `false` if its uid is taken.
    ///
    /// # Errors
    /// The store failed; then nothing was added.
    pub async fn add_api_key(&self, key: ApiKey) -> Result<bool, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.keeper();
        let _turn = keeper.turn.lock().await;
        match self
            .shared()
            .noted(keeper.store.add_api_key(key.to_record()?).await)
        {
            Ok(()) => {}
            Err(StoreError::Conflict(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        keeper.replace(|keys| keys.push(Arc::new(key)));
        Ok(true)
    }

    /// Changes a key and returns it; `None` if it is not there.
    ///
    /// # Errors
    /// The store failed; then nothing was changed.
    pub async fn change_api_key(
        &self,
        uid: Uuid,
        change: impl FnOnce(&mut ApiKey) + Send,
    ) -> Result<Option<Arc<ApiKey>>, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.keeper();
        let _turn = keeper.turn.lock().await;
        let found = keeper
            .keys
            .load()
            .iter()
            .find(|key| key.uid == uid)
            .cloned();
        let Some(found) = found else { return Ok(None) };
        let mut changed = ApiKey::clone(&found);
        change(&mut changed);
        changed.updated_at = self.now();
        let put = keeper.store.put_api_key(changed.to_record()?).await;
        self.shared().noted(put)?;
        let changed = Arc::new(changed);
        keeper.replace(|keys| {
            keys.retain(|key| key.uid != uid);
            keys.push(changed.clone());
        });
        Ok(Some(changed))
    }

    /// Removes a key; `false` if it was not there.
    ///
    /// # Errors
    /// The store failed; then nothing was removed.
    pub async fn remove_api_key(&self, uid: Uuid) -> Result<bool, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.keeper();
        let _turn = keeper.turn.lock().await;
        let is_removed = self
            .shared()
            .noted(keeper.store.remove_api_key(uid).await)?;
        keeper.replace(|keys| keys.retain(|key| key.uid != uid));
        Ok(is_removed)
    }

    /// Makes the keys that a new instance has, if it has none.
    ///
    /// # Errors
    /// The store failed.
    pub async fn make_default_api_keys(&self) -> Result<(), EngineError> {
        // Not those in memory: one that cannot be read counts as well.
        if !self.keeper().store.load_api_keys().await?.is_empty() {
            return Ok(());
        }
        let now = self.now();
        for (position, default) in (0..).zip(DEFAULT_KEYS) {
            // A little later each, so that a listing by age has one order.
            let created_at = now + Duration::from_nanos(position);
            self.add_api_key(ApiKey {
                uid: Uuid::new_v4(),
                name: Some(default.name.into()),
                description: Some(default.description.into()),
                actions: default
                    .actions
                    .iter()
                    .map(|action| action.name().into())
                    .collect(),
                indexes: vec!["*".into()],
                expires_at: None,
                created_at,
                updated_at: created_at,
            })
            .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use time::macros::datetime;

    /// What a store holds, as records.
    #[derive(Default)]
    struct Records(Mutex<Vec<ApiKeyRecord>>);

    #[async_trait]
    impl ApiKeys for Records {
        async fn put_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
            self.0.lock().retain(|one| one.uid != record.uid);
            self.0.lock().push(record);
            Ok(())
        }
        async fn add_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
            self.put_api_key(record).await
        }
        async fn load_api_keys(&self) -> Result<Vec<ApiKeyRecord>, StoreError> {
            Ok(self.0.lock().clone())
        }
        async fn remove_api_key(&self, _: Uuid) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    fn key() -> ApiKey {
        ApiKey {
            uid: Uuid::nil(),
            name: Some("n".into()),
            description: None,
            actions: vec!["search".into()],
            indexes: vec!["a*".into()],
            expires_at: Some(datetime!(2027-01-01 00:00:00.000000001 UTC)),
            created_at: datetime!(2026-01-01 00:00:00.5 UTC),
            updated_at: datetime!(2026-01-02 00:00 UTC),
        }
    }

    #[test]
    fn the_stored_form_does_not_change() {
        let record = key().to_record().expect("a key can be written").record;
        let expected: Value = json!({
            "uid": "00000000-0000-0000-0000-000000000000",
            "name": "n",
            "description": null,
            "actions": ["search"],
            "indexes": ["a*"],
            "expiresAt": "2027-01-01T00:00:00.000000001Z",
            "createdAt": "2026-01-01T00:00:00.5Z",
            "updatedAt": "2026-01-02T00:00:00Z",
        });
        assert_eq!(record, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_read_opens_nothing() {
        let records = Arc::new(Records::default());
        let good = key().to_record().expect("a key can be written");
        let mismatched = ApiKeyRecord {
            uid: Uuid::max(),
            record: good.record.clone(),
        };
        let broken = ApiKeyRecord {
            uid: Uuid::from_u128(1),
            record: json!({"uid": 3}),
        };
        records.0.lock().extend([good, mismatched, broken]);
        let keeper = KeyKeeper::load(records)
            .await
            .expect("the store can be read");
        let keys = keeper.keys.load_full();
        assert_eq!(
            keys.iter()
                .map(|found| (**found).clone())
                .collect::<Vec<_>>(),
            [key()]
        );
    }
}
