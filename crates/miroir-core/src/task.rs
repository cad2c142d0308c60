//! Tasks: what a client asked for, what became of it, and the legal steps between.
//!
//! ```text
//! Enqueued ──► Processing ──► Succeeded
//!    │             ├────────► Failed
//!    └─────────────┴────────► Canceled
//! ```
//! A task is `Processing` from the moment it belongs to a batch; from then on it is carried out
//! to its end, whatever crashes.

use crate::id::IndexUid;
use crate::rules::{RULES_INDEX, RuleUpdate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskStatus {
    /// In the log, not yet in a batch.
    Enqueued,
    /// In a batch: being delivered to nodes.
    Processing,
    /// Every in-sync replica concerned applied it.
    Succeeded,
    /// It will never be applied; `error` says why.
    Failed,
    /// Withdrawn before it entered a batch.
    Canceled,
}

impl TaskStatus {
    /// All statuses, in the order of the life of a task.
    pub const ALL: [Self; 5] = [
        Self::Enqueued,
        Self::Processing,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The status of that name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(name))
    }

    /// Nothing more will happen to the task.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// The task may go from `self` to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Enqueued => matches!(
                next,
                Self::Processing | Self::Failed | Self::Canceled | Self::Succeeded
            ),
            Self::Processing => next.is_final(),
            Self::Succeeded | Self::Failed | Self::Canceled => false,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// The type of a task, as clients see and filter it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum TaskKind { $($(#[$doc])* #[serde(rename = $name)] $variant),* }

        impl TaskKind {
            /// All kinds, in the order Meilisearch lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

kinds! {
    /// Documents added, replaced or updated.
    DocumentAdditionOrUpdate = "documentAdditionOrUpdate",
    /// Documents edited by a function.
    DocumentEdition = "documentEdition",
    /// Documents removed: by id, by filter or all.
    DocumentDeletion = "documentDeletion",
    /// Settings changed or reset.
    SettingsUpdate = "settingsUpdate",
    /// An index made.
    IndexCreation = "indexCreation",
    /// An index removed.
    IndexDeletion = "indexDeletion",
    /// An index's primary key or name changed.
    IndexUpdate = "indexUpdate",
    /// Index names exchanged.
    IndexSwap = "indexSwap",
    /// Tasks withdrawn.
    TaskCancelation = "taskCancelation",
    /// Finished tasks forgotten.
    TaskDeletion = "taskDeletion",
    /// A dump written.
    DumpCreation = "dumpCreation",
    /// A snapshot written.
    SnapshotCreation = "snapshotCreation",
    /// Data sent to another instance.
    Export = "export",
    /// The database moved to a newer version.
    UpgradeDatabase = "upgradeDatabase",
    /// An index rewritten to give space back.
    IndexCompaction = "indexCompaction",
    /// The network of nodes changed.
    NetworkTopologyChange = "networkTopologyChange",
    /// A dynamic search rule changed.
    DsrUpdate = "dsrUpdate",
    /// All dynamic search rules removed.
    DsrClear = "dsrClear",
}

impl TaskKind {
    /// The index that tasks of this kind show though they belong to none of the client's.
    #[must_use]
    pub fn hidden_index(self) -> Option<&'static str> {
        matches!(self, Self::DsrUpdate | Self::DsrClear).then_some(RULES_INDEX)
    }

    /// The kind of that name, whatever its case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(name))
    }
}

/// What happens to a document that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AdditionMethod {
    /// The new document takes its place (`POST`).
    Replace,
    /// The new document's top-level fields are merged into it (`PUT`).
    Update,
}

/// Which tasks a cancelation or deletion of tasks speaks of. `None` means: any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskFilter {
    /// Task uids.
    pub uids: Option<Vec<u64>>,
    /// Batch uids.
    pub batch_uids: Option<Vec<u64>>,
    /// Uids of cancelation tasks.
    pub canceled_by: Option<Vec<u64>>,
    /// Kinds.
    pub types: Option<Vec<TaskKind>>,
    /// Statuses.
    pub statuses: Option<Vec<TaskStatus>>,
    /// Clients' index names.
    pub index_uids: Option<Vec<String>>,
    /// What the asker may see: index names or beginnings of them (`prefix*`). Tasks that belong to
    /// no index are then left out.
    pub index_patterns: Option<Vec<String>>,
    /// Exclusive bounds, nanoseconds since the Unix epoch.
    pub before_enqueued_at: Option<i64>,
    /// See above.
    pub after_enqueued_at: Option<i64>,
    /// See above.
    pub before_started_at: Option<i64>,
    /// See above.
    pub after_started_at: Option<i64>,
    /// See above.
    pub before_finished_at: Option<i64>,
    /// See above.
    pub after_finished_at: Option<i64>,
}

/// Whether an index name is the pattern, or begins as the pattern does that ends in `*`.
///
/// ```
/// use miroir_core::task::is_index_matched;
/// assert!(is_index_matched("movies", "movies") && is_index_matched("mov*", "movies"));
/// assert!(!is_index_matched("movies", "movies-fr"));
/// ```
#[must_use]
pub fn is_index_matched(pattern: &str, uid: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => uid.starts_with(prefix),
        None => uid == pattern,
    }
}

/// Two index names, and whether the second has to be free. The stored form is part of the database
/// format, and what clients see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexSwap {
    /// The names.
    pub indexes: (IndexUid, IndexUid),
    /// The first becomes the second, instead of trading places with it.
    pub rename: bool,
}

/// What a client asked for: the content of a log entry. Payloads lie beside the log.
///
/// The stored form (JSON) is part of the database format: renaming anything here is a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    /// Add documents; the payload holds them as NDJSON in the client's order.
    AddDocuments {
        /// Replace or update.
        method: AdditionMethod,
        /// The `primaryKey` parameter.
        primary_key: Option<String>,
        /// Ignore documents whose id does not exist yet.
        skip_creation: bool,
        /// The index may be created by this entry.
        may_create_index: bool,
        /// Documents in the payload.
        document_count: u64,
    },
    /// Delete documents by id; the payload holds one id a line as JSON text.
    DeleteDocuments {
        /// Ids in the payload.
        id_count: u64,
    },
    /// Delete the documents that match.
    DeleteByFilter {
        /// The filter as sent.
        filter: Value,
    },
    /// Delete every document.
    DeleteAllDocuments,
    /// Run a function over the documents that match.
    EditDocuments {
        /// The filter as sent; `None` is every document.
        filter: Option<Value>,
        /// What the function sees beside the document.
        context: Option<Map<String, Value>>,
        /// The function as sent.
        function: String,
    },
    /// Change settings; `null` resets.
    UpdateSettings {
        /// The patch in the form of `PATCH /settings`.
        settings: Value,
        /// The whole of the settings (`DELETE /settings`) is reset, or one (`DELETE` of a sub-route).
        is_reset: bool,
        /// The index may be created by this entry.
        may_create_index: bool,
    },
    /// Make an index.
    CreateIndex {
        /// Its primary key, if given.
        primary_key: Option<String>,
    },
    /// Change an index.
    UpdateIndex {
        /// The new primary key.
        primary_key: Option<String>,
        /// The new name.
        new_uid: Option<IndexUid>,
    },
    /// Remove an index.
    DeleteIndex,
    /// Exchange names of indexes: all pairs or none.
    SwapIndexes {
        /// The pairs; no name stands twice.
        swaps: Vec<IndexSwap>,
    },
    /// Rewrite the files of an index without the space it no longer needs.
    CompactIndex,
    /// Change a dynamic search rule, or make one.
    UpdateRule {
        /// Its name.
        rule_uid: String,
        /// What changes.
        update: Box<RuleUpdate>,
    },
    /// Remove a dynamic search rule.
    DeleteRule {
        /// Its name.
        rule_uid: String,
    },
    /// Remove all dynamic search rules.
    ClearRules,
    /// Withdraw tasks.
    CancelTasks {
        /// The query string, as sent, with its `?`.
        original_filter: String,
        /// Which tasks.
        filter: TaskFilter,
    },
    /// Forget finished tasks.
    DeleteTasks {
        /// The query string, as sent, with its `?`.
        original_filter: String,
        /// Which tasks.
        filter: TaskFilter,
    },
    /// Write a dump of the whole instance.
    CreateDump,
    /// Take a snapshot of every node and of the store.
    CreateSnapshot,
    /// Send indexes to another instance.
    Export {
        /// Where it is.
        url: String,
        /// The API key to use there.
        api_key: Option<String>,
        /// The most bytes of documents sent at once.
        payload_size: Option<u64>,
        /// What to send, by index name or beginning of one (`prefix*`).
        indexes: BTreeMap<String, ExportIndex>,
    },
}

/// How an index is sent to another instance. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportIndex {
    /// Only the documents that match.
    pub filter: Option<Value>,
    /// The settings are sent even if the index is there.
    pub override_settings: bool,
}

impl Operation {
    /// Miroir itself carries it out, not the nodes: nothing after it in the log begins before its
    /// end.
    #[must_use]
    pub fn is_job(&self) -> bool {
        matches!(
            self,
            Self::CreateDump | Self::CreateSnapshot | Self::Export { .. }
        )
    }

    /// It changes dynamic search rules, which Miroir keeps itself and no node knows of.
    #[must_use]
    pub fn is_of_rules(&self) -> bool {
        matches!(
            self,
            Self::UpdateRule { .. } | Self::DeleteRule { .. } | Self::ClearRules
        )
    }

    /// The kind that clients see.
    #[must_use]
    pub fn kind(&self) -> TaskKind {
        match self {
            Self::AddDocuments { .. } => TaskKind::DocumentAdditionOrUpdate,
            Self::DeleteDocuments { .. }
            | Self::DeleteByFilter { .. }
            | Self::DeleteAllDocuments => TaskKind::DocumentDeletion,
            Self::UpdateSettings { .. } => TaskKind::SettingsUpdate,
            Self::CreateIndex { .. } => TaskKind::IndexCreation,
            Self::UpdateIndex { .. } => TaskKind::IndexUpdate,
            Self::DeleteIndex => TaskKind::IndexDeletion,
            Self::EditDocuments { .. } => TaskKind::DocumentEdition,
            Self::SwapIndexes { .. } => TaskKind::IndexSwap,
            Self::CompactIndex => TaskKind::IndexCompaction,
            Self::UpdateRule { .. } | Self::DeleteRule { .. } => TaskKind::DsrUpdate,
            Self::ClearRules => TaskKind::DsrClear,
            Self::CancelTasks { .. } => TaskKind::TaskCancelation,
            Self::DeleteTasks { .. } => TaskKind::TaskDeletion,
            Self::CreateDump => TaskKind::DumpCreation,
            Self::CreateSnapshot => TaskKind::SnapshotCreation,
            Self::Export { .. } => TaskKind::Export,
        }
    }

    /// The details a task shows before it ran, as Meilisearch shows them.
    #[must_use]
    pub fn initial_details(&self, index_uid: Option<&IndexUid>) -> Value {
        use serde_json::json;
        match self {
            Self::AddDocuments { document_count, .. } => {
                json!({"receivedDocuments": document_count, "indexedDocuments": null})
            }
            Self::DeleteDocuments { id_count } => {
                json!({"providedIds": id_count, "deletedDocuments": null, "originalFilter": null})
            }
            Self::DeleteByFilter { filter } => json!({
                "providedIds": 0,
                "deletedDocuments": null,
                "originalFilter": filter.to_string(),
            }),
            Self::DeleteAllDocuments | Self::DeleteIndex | Self::ClearRules => {
                json!({"deletedDocuments": null})
            }
            Self::UpdateRule { update, .. } => json!({"rule": update, "updatedRules": 1}),
            Self::DeleteRule { .. } => json!({"updatedRules": 1}),
            Self::EditDocuments {
                filter,
                context,
                function,
            } => json!({
                "deletedDocuments": null,
                "editedDocuments": null,
                "originalFilter": filter.as_ref().map(Value::to_string),
                "context": context,
                "function": function,
            }),
            Self::SwapIndexes { swaps } => json!({ "swaps": swaps }),
            // The sizes are told when they are known.
            Self::CompactIndex => json!({}),
            Self::UpdateSettings {
                settings, is_reset, ..
            } => settings_details(settings, *is_reset),
            Self::CreateIndex { primary_key } => json!({"primaryKey": primary_key}),
            Self::UpdateIndex {
                primary_key,
                new_uid,
            } => {
                let mut details = json!({"primaryKey": primary_key});
                if let Some(new_uid) = new_uid {
                    details["oldIndexUid"] = json!(index_uid);
                    details["newIndexUid"] = json!(new_uid);
                }
                details
            }
            Self::CancelTasks {
                original_filter, ..
            } => {
                json!({"matchedTasks": 0, "canceledTasks": null, "originalFilter": original_filter})
            }
            Self::DeleteTasks {
                original_filter, ..
            } => {
                json!({"matchedTasks": 0, "deletedTasks": null, "originalFilter": original_filter})
            }
            Self::CreateDump => json!({"dumpUid": null}),
            Self::CreateSnapshot => Value::Null,
            Self::Export {
                url,
                api_key,
                payload_size,
                indexes,
            } => export_details(url, api_key.as_deref(), *payload_size, indexes),
        }
    }
}

/// The key is shown as Meilisearch shows secrets.
fn export_details(
    url: &str,
    api_key: Option<&str>,
    payload_size: Option<u64>,
    indexes: &BTreeMap<String, ExportIndex>,
) -> Value {
    let mut details = serde_json::json!({ "url": url });
    if let Some(key) = api_key {
        let mut key = key.to_owned();
        crate::settings::hide_secret(&mut key);
        details["apiKey"] = key.into();
    }
    if let Some(size) = payload_size {
        details["payloadSize"] = readable_bytes(size).into();
    }
    details["indexes"] = indexes
        .iter()
        .map(|(pattern, index)| {
            let shown = serde_json::json!({
                "filter": index.filter,
                "overrideSettings": index.override_settings,
            });
            (pattern.clone(), shown)
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    details
}

/// A number of bytes as Meilisearch shows it: in the largest unit that leaves at least one of it.
fn readable_bytes(bytes: u64) -> String {
    let bytes = byte_unit::Byte::from_u64(bytes);
    bytes
        .get_appropriate_unit(byte_unit::UnitType::Both)
        .to_string()
}

/// The settings as sent, but two that Meilisearch shows at their default where they are reset, and
/// two behind experimental flags that a reset of all names too.
fn settings_details(settings: &Value, is_reset: bool) -> Value {
    let Value::Object(settings) = settings else {
        return settings.clone();
    };
    let mut details = settings.clone();
    if let Some(embedders) = details.get_mut("embedders") {
        crate::settings::hide_secrets(embedders);
    }
    for name in ["displayedAttributes", "searchableAttributes"] {
        if let Some(value) = details.get_mut(name).filter(|value| value.is_null()) {
            *value = serde_json::json!(["*"]);
        }
    }
    if is_reset && details.len() > 1 {
        // Before it was part of a reset, foreign keys were left out of the stored ones as well.
        for name in ["foreignKeys", "chat"] {
            details.entry(name).or_insert(Value::Null);
        }
    }
    Value::Object(details)
}

#[cfg(test)]
mod tests;
