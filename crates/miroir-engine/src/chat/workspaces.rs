//! The workspaces of chats: one list that readers share. A change is durable before it is seen;
//! changes take turns.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{Change, Store, StoreError};
use arc_swap::ArcSwap;
use miroir_api::chat::workspace::Workspace;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The fact that holds them all. They are few and seldom changed.
const FACT: &str = "chatWorkspaces";

/// The workspaces by name.
pub type Workspaces = BTreeMap<String, Arc<Workspace>>;

/// The list, and whose turn it is to change it.
pub(crate) struct ChatKeeper {
    workspaces: ArcSwap<Workspaces>,
    /// Held over one change, its wait for the store included: the one owner of what changes.
    turn: tokio::sync::Mutex<()>,
}

/// The workspaces that the store holds.
pub(crate) async fn load(store: &dyn Store) -> Result<Workspaces, StoreError> {
    let Some(stored) = store.load_fact(FACT).await? else {
        return Ok(Workspaces::new());
    };
    let found: BTreeMap<String, Workspace> =
        serde_json::from_value(stored).map_err(|error| StoreError::Corrupt {
            what: "list of chat workspaces",
            cause: error.to_string(),
        })?;
    let shared = |(uid, workspace)| (uid, Arc::new(workspace));
    Ok(found.into_iter().map(shared).collect())
}

impl ChatKeeper {
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self {
            workspaces: ArcSwap::from_pointee(load(store).await?),
            turn: tokio::sync::Mutex::new(()),
        })
    }
}

impl Engine {
    /// All workspaces.
    #[must_use]
    pub fn workspaces(&self) -> Arc<Workspaces> {
        self.chat_keeper().workspaces.load_full()
    }

    /// Puts what `change` makes of the workspace of that name, which may not be there yet, in its
    /// place; `None` removes it.
    ///
    /// # Errors
    /// The store failed; then nothing was changed. The inner error is that of `change`.
    pub async fn change_workspace<E>(
        &self,
        uid: &str,
        change: impl FnOnce(Option<Workspace>) -> Result<Option<Workspace>, E> + Send,
    ) -> Result<Result<(), E>, EngineError> {
        let shared = self.shared();
        shared.gate.pass()?;
        let keeper = self.chat_keeper();
        let _turn = keeper.turn.lock().await;
        let mut workspaces = Workspaces::clone(&keeper.workspaces.load());
        let before = workspaces.get(uid).map(|found| Workspace::clone(found));
        let changed = match change(before) {
            Ok(changed) => changed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match changed {
            Some(workspace) => workspaces.insert(uid.to_owned(), Arc::new(workspace)),
            None => workspaces.remove(uid),
        };
        let stored: BTreeMap<&String, &Workspace> = workspaces
            .iter()
            .map(|(uid, kept)| (uid, &**kept))
            .collect();
        let value = serde_json::to_value(stored).map_err(|error| {
            EngineError::Answer(format!("a workspace cannot be written: {error}"))
        })?;
        let fact = Change::PutFact {
            key: FACT.to_owned(),
            value,
        };
        shared.noted(shared.ports.store.commit(vec![fact]).await)?;
        keeper.workspaces.store(Arc::new(workspaces));
        Ok(Ok(()))
    }
}
