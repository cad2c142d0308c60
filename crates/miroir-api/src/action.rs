//! What an API key may allow: the table of actions, and what a wildcard among them stands for.

use crate::error::ResponseError;
use crate::validate::At;
use serde_json::Value;
use std::fmt;

/// How far an action reaches, which decides whether a key for some indexes may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The whole instance: only a key for all indexes may name it or use it.
    Instance,
    /// One or several indexes. Routes without an index in their path look at each index themselves.
    Indexes,
    /// Always the one index of the path.
    OneIndex,
    /// A wildcard: stands for actions that each have their own reach.
    Several,
}

macro_rules! actions {
    ($($variant:ident = $name:literal, $reach:ident;)*) => {
        /// An action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $(#[doc = concat!("`", $name, "`")] $variant),* }

        impl Action {
            /// Every action, in the order in which Meilisearch lists them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The action of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// How far it reaches.
            #[must_use]
            pub const fn reach(self) -> Reach {
                match self { $(Self::$variant => Reach::$reach),* }
            }
        }
    };
}

actions! {
    Everything = "*", Several;
    Search = "search", Indexes;
    DocumentsAll = "documents.*", Several;
    DocumentsAdd = "documents.add", OneIndex;
    DocumentsGet = "documents.get", Indexes;
    DocumentsDelete = "documents.delete", OneIndex;
    IndexesAll = "indexes.*", Several;
    IndexesCreate = "indexes.create", Indexes;
    IndexesGet = "indexes.get", Indexes;
    IndexesUpdate = "indexes.update", OneIndex;
    IndexesDelete = "indexes.delete", OneIndex;
    IndexesSwap = "indexes.swap", Indexes;
    TasksAll = "tasks.*", Several;
    TasksCancel = "tasks.cancel", Indexes;
    TasksDelete = "tasks.delete", Indexes;
    TasksGet = "tasks.get", Indexes;
    SettingsAll = "settings.*", Several;
    SettingsGet = "settings.get", Indexes;
    SettingsUpdate = "settings.update", OneIndex;
    StatsAll = "stats.*", Indexes;
    StatsGet = "stats.get", Indexes;
    MetricsAll = "metrics.*", Instance;
    MetricsGet = "metrics.get", Instance;
    DumpsAll = "dumps.*", Instance;
    DumpsCreate = "dumps.create", Instance;
    SnapshotsAll = "snapshots.*", Instance;
    SnapshotsCreate = "snapshots.create", Instance;
    Version = "version", Instance;
    KeysCreate = "keys.create", Instance;
    KeysGet = "keys.get", Instance;
    KeysUpdate = "keys.update", Instance;
    KeysDelete = "keys.delete", Instance;
    ExperimentalGet = "experimental.get", Instance;
    ExperimentalUpdate = "experimental.update", Instance;
    Export = "export", Instance;
    NetworkGet = "network.get", Instance;
    NetworkUpdate = "network.update", Instance;
    ChatCompletions = "chatCompletions", Indexes;
    ChatsAll = "chats.*", Instance;
    ChatsGet = "chats.get", Instance;
    ChatsDelete = "chats.delete", Instance;
    ChatsSettingsAll = "chatsSettings.*", Instance;
    ChatsSettingsGet = "chatsSettings.get", Instance;
    ChatsSettingsUpdate = "chatsSettings.update", Instance;
    EveryGet = "*.get", Several;
    WebhooksGet = "webhooks.get", Instance;
    WebhooksUpdate = "webhooks.update", Instance;
    WebhooksDelete = "webhooks.delete", Instance;
    WebhooksCreate = "webhooks.create", Instance;
    WebhooksAll = "webhooks.*", Instance;
    IndexesCompact = "indexes.compact", OneIndex;
    FieldsPost = "fields.post", OneIndex;
    TasksCompact = "tasks.compact", Instance;
    DynamicSearchRulesGet = "dynamicSearchRules.get", Instance;
    DynamicSearchRulesCreate = "dynamicSearchRules.create", Instance;
    DynamicSearchRulesUpdate = "dynamicSearchRules.update", Instance;
    DynamicSearchRulesDelete = "dynamicSearchRules.delete", Instance;
    DynamicSearchRulesAll = "dynamicSearchRules.*", Instance;
}

impl Action {
    /// Whether a key with this action may do `asked`.
    ///
    /// A family such as `documents.*` stands for its members and not for itself: what asks for the
    /// whole family (editing documents by function) is only open to `*`, as in Meilisearch.
    #[must_use]
    pub fn grants(self, asked: Self) -> bool {
        match self {
            Self::Everything => asked != Self::EveryGet,
            Self::EveryGet => asked.is_read(),
            granted => match granted.family() {
                Some(family) => asked.family().is_none() && asked.is_member_of(family),
                None => granted == asked,
            },
        }
    }

    /// Whether `*.get` stands for it. Reading keys is not among them: keys give rights.
    fn is_read(self) -> bool {
        match self {
            Self::Search | Self::Export | Self::Version | Self::FieldsPost => true,
            Self::KeysGet | Self::EveryGet => false,
            other => other.name().ends_with(".get"),
        }
    }

    /// The family that a wildcard stands for.
    fn family(self) -> Option<&'static str> {
        self.name().strip_suffix(".*")
    }

    fn is_member_of(self, family: &str) -> bool {
        let own = self.name().split_once('.');
        own.is_some_and(|(own, _)| own == family)
    }

    /// Checks a list of actions.
    ///
    /// # Errors
    /// Wrong type, or an unknown action.
    pub fn read_list(at: &At<'_>, value: &Value) -> Result<Vec<Self>, ResponseError> {
        let mut actions = Vec::new();
        for (position, element) in at.array(value)?.iter().enumerate() {
            let at = at.index(position);
            let name = at.string(element)?;
            let action = Self::from_name(name);
            actions.push(action.ok_or_else(|| at.unknown_value(name, Self::NAMES))?);
        }
        Ok(actions)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_name_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(*action));
        }
        assert_eq!(Action::from_name("doggo"), None);
    }

    #[test]
    fn families_grant_their_members_and_nothing_else() {
        assert!(Action::DocumentsAll.grants(Action::DocumentsAdd));
        assert!(Action::IndexesAll.grants(Action::IndexesCompact));
        assert!(Action::TasksAll.grants(Action::TasksCompact));
        assert!(!Action::DocumentsAll.grants(Action::Search));
        assert!(!Action::DocumentsAll.grants(Action::DocumentsAll));
        assert!(!Action::ChatsAll.grants(Action::ChatsSettingsGet));
        assert!(!Action::DocumentsAdd.grants(Action::DocumentsGet));
    }

    #[test]
    fn the_star_grants_all() {
        for asked in Action::ALL {
            assert_eq!(
                Action::Everything.grants(*asked),
                *asked != Action::EveryGet
            );
        }
    }

    #[test]
    fn the_reading_star_grants_reads_but_not_keys() {
        let reads: Vec<&str> = Action::ALL
            .iter()
            .filter(|asked| Action::EveryGet.grants(**asked))
            .map(|asked| asked.name())
            .collect();
        assert_eq!(
            reads,
            [
                "search",
                "documents.get",
                "indexes.get",
                "tasks.get",
                "settings.get",
                "stats.get",
                "metrics.get",
                "version",
                "experimental.get",
                "export",
                "network.get",
                "chats.get",
                "chatsSettings.get",
                "webhooks.get",
                "fields.post",
                "dynamicSearchRules.get",
            ]
        );
    }
}
