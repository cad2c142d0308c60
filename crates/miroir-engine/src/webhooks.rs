//! Webhooks: where finished tasks are told. The list, and who may change it.
//!
//! Readers share one immutable list. A change is durable before it is seen; changes take turns.

use crate::coordination::{InstanceSettings, WebhookRecord};
use crate::courier::Cursor;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::StoreError;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// The hook that the configuration names has this uid, and cannot be changed over the API.
pub const CONFIGURED: Uuid = Uuid::nil();

/// A webhook. The stored form is part of the database format.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where tasks are sent.
    pub url: String,
    /// What is sent along, by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

// By hand: headers hold keys, and URLs may.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

/// The hooks by uid, the configured one included.
pub type Webhooks = BTreeMap<Uuid, Arc<Webhook>>;

/// The hooks and the way to the store.
pub(crate) struct HookKeeper {
    store: Arc<dyn InstanceSettings>,
    hooks: ArcSwap<Webhooks>,
    /// Held over one change, its wait for the store included: the one owner of what changes.
    turn: tokio::sync::Mutex<()>,
    /// Counts changes.
    pub(crate) changed: watch::Sender<u64>,
}

impl HookKeeper {
    /// Loads all hooks. One that cannot be read is told nothing, and is left in the store.
    pub(crate) async fn load(
        store: Arc<dyn InstanceSettings>,
        configured: Option<Webhook>,
    ) -> Result<Self, StoreError> {
        let mut hooks = Webhooks::new();
        for WebhookRecord { uuid, record } in store.load_webhooks().await? {
            match serde_json::from_value::<Webhook>(record) {
                Ok(hook) => {
                    hooks.insert(uuid, Arc::new(hook));
                }
                Err(error) => tracing::warn!(%uuid, %error, "a stored webhook cannot be read"),
            }
        }
        if let Some(hook) = configured {
            hooks.insert(CONFIGURED, Arc::new(hook));
        }
        Ok(Self {
            store,
            hooks: ArcSwap::from_pointee(hooks),
            turn: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(0),
        })
    }

    pub(crate) fn hooks(&self) -> Arc<Webhooks> {
        self.hooks.load_full()
    }

    async fn put(&self, uuid: Uuid, hook: Webhook) -> Result<Arc<Webhook>, EngineError> {
        let record = serde_json::to_value(&hook).map_err(|error| {
            EngineError::Answer(format!("a webhook cannot be written: {error}"))
        })?;
        self.store
            .put_webhook(WebhookRecord { uuid, record })
            .await?;
        let hook = Arc::new(hook);
        self.replace(|hooks| {
            hooks.insert(uuid, hook.clone());
        });
        Ok(hook)
    }

    fn replace(&self, change: impl FnOnce(&mut Webhooks)) {
        let mut hooks = Webhooks::clone(&self.hooks.load());
        change(&mut hooks);
        self.hooks.store(Arc::new(hooks));
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Engine {
    /// All webhooks, the configured one included.
    #[must_use]
    pub fn webhooks(&self) -> Arc<Webhooks> {
        self.hook_keeper().hooks()
    }

    /// Adds a webhook, which is told every task that finishes from now on; `None` if there are
    /// `count_max` already (the configured one does not count).
    ///
    /// # Errors
    /// The store failed; then nothing was added.
    pub async fn add_webhook(
        &self,
        uuid: Uuid,
        hook: Webhook,
        count_max: usize,
    ) -> Result<Option<Arc<Webhook>>, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.hook_keeper();
        let _turn = keeper.turn.lock().await;
        let hooks = keeper.hooks();
        if hooks.keys().filter(|uuid| **uuid != CONFIGURED).count() >= count_max {
            return Ok(None);
        }
        // First where it begins: a crash in between leaves a place that nobody asks for.
        Cursor::now(self.shared())
            .await?
            .save(self.shared(), uuid)
            .await?;
        Ok(Some(keeper.put(uuid, hook).await?))
    }

    /// Changes a webhook; `None` if it is not there.
    ///
    /// # Errors
    /// The store failed; then nothing was changed.
    pub async fn change_webhook<E>(
        &self,
        uuid: Uuid,
        change: impl FnOnce(Webhook) -> Result<Webhook, E> + Send,
    ) -> Result<Option<Result<Arc<Webhook>, E>>, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.hook_keeper();
        let _turn = keeper.turn.lock().await;
        let Some(found) = keeper.hooks().get(&uuid).cloned() else {
            return Ok(None);
        };
        match change(Webhook::clone(&found)) {
            Ok(hook) => Ok(Some(Ok(keeper.put(uuid, hook).await?))),
            Err(refusal) => Ok(Some(Err(refusal))),
        }
    }

    /// Removes a webhook; `false` if it was not there.
    ///
    /// # Errors
    /// The store failed; then nothing was removed.
    pub async fn remove_webhook(&self, uuid: Uuid) -> Result<bool, EngineError> {
        self.shared().gate.pass()?;
        let keeper = self.hook_keeper();
        let _turn = keeper.turn.lock().await;
        let is_removed = self
            .shared()
            .noted(keeper.store.remove_webhook(uuid).await)?;
        keeper.replace(|hooks| {
            hooks.remove(&uuid);
        });
        if is_removed {
            Cursor::forget(self.shared(), uuid).await?;
        }
        Ok(is_removed)
    }
}
