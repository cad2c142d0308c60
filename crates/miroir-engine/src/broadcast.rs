//! What every node must hold alike: the settings.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::features::CHAT_COMPLETIONS;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::state::{IndexEntry, Shared, Snapshot};
use miroir_core::cover::CoverPart;
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::settings::{self, SettingsFacts};
use serde_json::{Map, Value};

impl Shared {
    /// What the settings of nodes depend on.
    #[must_use]
    pub(crate) fn facts(&self) -> SettingsFacts {
        SettingsFacts {
            legacy_ranking: self.has_legacy_nodes(),
            ..SettingsFacts::default()
        }
    }
}

impl Engine {
    /// The whole settings as clients see them, defaults filled in: a node's own answer, so that its
    /// form is Meilisearch's, less what Miroir added to it.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`]; [`EngineError::Unavailable`] when no node answers.
    pub async fn settings(&self, uid: &IndexUid) -> Result<Map<String, Value>, EngineError> {
        self.read_anew(|| self.settings_once(uid)).await
    }

    async fn settings_once(&self, uid: &IndexUid) -> Result<Map<String, Value>, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let mut settings = fetch_settings(shared, &snapshot, entry).await?;
        // Nodes do not have it; it is shown with the feature alone.
        settings.shift_remove("chat");
        if self.has_feature(CHAT_COMPLETIONS) {
            let chat = settings::ChatSetting::of(&entry.record.settings);
            settings.insert("chat".to_owned(), chat.view());
        }
        Ok(settings)
    }
}

/// The settings of an index as clients see them, from one of its nodes.
pub(crate) async fn fetch_settings(
    shared: &Shared,
    snapshot: &Snapshot,
    entry: &IndexEntry,
) -> Result<Map<String, Value>, EngineError> {
    let any = [ShardId(0)];
    let scatter = Scatter {
        shared,
        snapshot,
        entry,
        shards: Some(&any),
        affinity: 0,
        kind: ReadKind::Other,
        request: |_: &CoverPart| NodeRead::Settings {
            index: entry.record.physical.clone(),
        },
    };
    let answers = scatter.gather().await?;
    let node: Map<String, Value> = answers
        .first()
        .and_then(|answer| serde_json::from_slice(&answer.body).ok())
        .ok_or_else(|| EngineError::Answer("a node's settings are no object".into()))?;
    Ok(settings::from_node_settings(
        &node,
        &entry.record.settings,
        &shared.facts(),
    ))
}
