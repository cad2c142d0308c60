//! Actions of API keys: their names, and what a wildcard stands for.

/// All actions a key may name.
pub(crate) const KNOWN_ACTIONS: &[&str] = &[
    "*",
    "*.get",
    "search",
    "documents.*",
    "documents.add",
    "documents.get",
    "documents.delete",
    "indexes.*",
    "indexes.create",
    "indexes.get",
    "indexes.update",
    "indexes.delete",
    "indexes.swap",
    "indexes.compact",
    "tasks.*",
    "tasks.cancel",
    "tasks.delete",
    "tasks.get",
    "tasks.compact",
    "settings.*",
    "settings.get",
    "settings.update",
    "stats.*",
    "stats.get",
    "metrics.*",
    "metrics.get",
    "dumps.*",
    "dumps.create",
    "snapshots.*",
    "snapshots.create",
    "version",
    "keys.create",
    "keys.get",
    "keys.update",
    "keys.delete",
    "experimental.get",
    "experimental.update",
    "export",
    "network.get",
    "network.update",
    "chatCompletions",
    "chats.*",
    "chats.get",
    "chats.delete",
    "chatsSettings.*",
    "chatsSettings.get",
    "chatsSettings.update",
    "webhooks.*",
    "webhooks.get",
    "webhooks.create",
    "webhooks.update",
    "webhooks.delete",
    "fields.post",
    "dynamicSearchRules.*",
    "dynamicSearchRules.get",
    "dynamicSearchRules.create",
    "dynamicSearchRules.update",
    "dynamicSearchRules.delete",
];

/// Families of actions that concern the whole server. A key for some indexes may not name them.
const GLOBAL_FAMILIES: [&str; 11] = [
    "metrics",
    "dumps",
    "snapshots",
    "version",
    "keys",
    "experimental",
    "export",
    "network",
    "chats",
    "chatsSettings",
    "webhooks",
];

/// Whether the action concerns the whole server.
pub(crate) fn is_global(action: &str) -> bool {
    let family = action.split('.').next().unwrap_or(action);
    GLOBAL_FAMILIES.contains(&family) || family == "dynamicSearchRules" || action == "tasks.compact"
}

/// Whether a key with the action `granted` may do `asked`.
pub(super) fn grants(granted: &str, asked: &str) -> bool {
    if granted == asked || granted == "*" {
        return true;
    }
    if granted == "*.get" {
        let reads = asked.ends_with(".get") && asked != "keys.get";
        return reads || matches!(asked, "search" | "export" | "version" | "fields.post");
    }
    let family = granted.strip_suffix(".*");
    family.is_some_and(|family| asked.split_once('.').is_some_and(|(own, _)| own == family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_grant_their_family_and_no_other() {
        assert!(grants("documents.*", "documents.add"));
        assert!(!grants("documents.*", "search"));
        assert!(!grants("chats.*", "chatsSettings.get"));
        assert!(grants("*.get", "documents.get") && grants("*.get", "search"));
        assert!(!grants("*.get", "keys.get") && !grants("*.get", "documents.add"));
    }
}
