//! What the user wrote: the configuration file, key by key, with the line of each value.
//!
//! The file is walked by hand and not through a derive: all mistakes are told at once, each with
//! its line, and a misspelt key is told the name it was meant to have.

use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The keys at the top of the file. `docs/guide/configuration.md` explains each.
pub(crate) const KEYS: &[&str] = &[
    "http_addr",
    "data_dir",
    "dump_dir",
    "allowed_ip_networks",
    "extra_roots",
    "env",
    "http_payload_size_limit",
    "default_shards",
    "replication_factor",
    "search_deadline",
    "search_cache",
    "probe_interval",
    "connections_max",
    "search_concurrency",
    "search_queue_size",
    "search_queue_timeout",
    "upload_concurrency",
    "shutdown_timeout",
    "tls",
    "copy_bytes_per_second",
    "copy_documents_per_second",
    "catch_up_share",
    "retention_size",
    "retention_age",
    "audit_interval",
    "log_retention",
    "log_retention_size",
    "hedge_percent",
    "hedge_floor",
    "slow_start",
    "partial_answers",
    "log_level",
    "log_format",
    "metrics",
    "logs_route",
    "task_webhook_url",
    "webhook_addresses",
    "unfinished_tasks_max",
    "payload_disk_max",
    "nodes",
    "indexes",
];

/// The keys of the `[tls]` table.
pub(crate) const TLS_KEYS: &[&str] = &["cert_path", "key_path", "auth_path", "require_auth"];

/// The keys of one `[[nodes]]` table.
pub(crate) const NODE_KEYS: &[&str] = &["name", "url", "zone", "weight", "key_env"];

/// The keys of one `[[indexes]]` table.
pub(crate) const INDEX_KEYS: &[&str] = &["uid", "partial_answers"];

/// Names under which people look for a place to write a secret.
const SECRET_KEYS: &[&str] = &[
    "master_key",
    "node_key",
    "node_master_key",
    "key",
    "api_key",
];

/// A value and the line that holds it, from 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    /// The value as written.
    pub(crate) value: T,
    /// Its line; `None` when it came from a flag or the environment.
    pub(crate) line: Option<usize>,
}

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The line of the file, from 1, where there is one.
    pub(crate) line: Option<usize>,
    /// What is wrong and what to write instead.
    pub(crate) text: String,
}

/// The file as written. Absent keys are `None`; nothing is checked but the type of each value.
#[derive(Debug, Default)]
pub(crate) struct RawConfig {
    pub(crate) http_addr: Option<At<String>>,
    pub(crate) data_dir: Option<At<String>>,
    pub(crate) dump_dir: Option<At<String>>,
    pub(crate) allowed_ip_networks: Option<At<String>>,
    pub(crate) extra_roots: Option<At<String>>,
    pub(crate) env: Option<At<String>>,
    pub(crate) http_payload_size_limit: Option<At<String>>,
    pub(crate) default_shards: Option<At<i64>>,
    pub(crate) replication_factor: Option<At<i64>>,
    pub(crate) search_deadline: Option<At<String>>,
    pub(crate) search_cache: Option<At<String>>,
    pub(crate) probe_interval: Option<At<String>>,
    pub(crate) copy_bytes_per_second: Option<At<String>>,
    pub(crate) copy_documents_per_second: Option<At<i64>>,
    pub(crate) catch_up_share: Option<At<i64>>,
    pub(crate) retention_size: Option<At<String>>,
    pub(crate) retention_age: Option<At<String>>,
    pub(crate) audit_interval: Option<At<String>>,
    pub(crate) log_retention: Option<At<String>>,
    pub(crate) log_retention_size: Option<At<String>>,
    pub(crate) hedge_percent: Option<At<f64>>,
    pub(crate) hedge_floor: Option<At<String>>,
    pub(crate) slow_start: Option<At<String>>,
    pub(crate) partial_answers: Option<At<String>>,
    pub(crate) log_level: Option<At<String>>,
    pub(crate) log_format: Option<At<String>>,
    pub(crate) metrics: Option<At<bool>>,
    pub(crate) logs_route: Option<At<bool>>,
    pub(crate) task_webhook_url: Option<At<String>>,
    pub(crate) webhook_addresses: Option<At<String>>,
    pub(crate) transport: RawTransport,
    pub(crate) unfinished_tasks_max: Option<At<i64>>,
    pub(crate) payload_disk_max: Option<At<String>>,
    /// The node tables; `None` when there is none. Empty when the key has the wrong type, which
    /// is a mistake of its own.
    pub(crate) nodes: Option<Vec<RawNode>>,
    /// What is said of single indexes.
    pub(crate) indexes: Vec<RawIndex>,
}

/// One `[[indexes]]` table as written.
#[derive(Debug, Default)]
pub(crate) struct RawIndex {
    /// The line of its first key or of its header.
    pub(crate) line: Option<usize>,
    pub(crate) uid: Option<At<String>>,
    pub(crate) partial_answers: Option<At<String>>,
}

/// What is written about how clients reach the proxy.
#[derive(Debug, Default)]
pub(crate) struct RawTransport {
    pub(crate) connections_max: Option<At<i64>>,
    pub(crate) search_concurrency: Option<At<i64>>,
    pub(crate) search_queue_size: Option<At<i64>>,
    pub(crate) search_queue_timeout: Option<At<String>>,
    pub(crate) upload_concurrency: Option<At<i64>>,
    pub(crate) shutdown_timeout: Option<At<String>>,
    pub(crate) tls: RawTls,
}

/// The `[tls]` table as written.
#[derive(Debug, Default)]
pub(crate) struct RawTls {
    pub(crate) cert: Option<At<String>>,
    pub(crate) key: Option<At<String>>,
    pub(crate) auth: Option<At<String>>,
    pub(crate) require_auth: Option<At<bool>>,
}

/// One `[[nodes]]` table as written.
#[derive(Debug, Default)]
pub(crate) struct RawNode {
    /// The line of its first key or of its header.
    pub(crate) line: Option<usize>,
    pub(crate) name: Option<At<String>>,
    pub(crate) url: Option<At<String>>,
    pub(crate) zone: Option<At<String>>,
    pub(crate) weight: Option<At<f64>>,
    pub(crate) key_env: Option<At<String>>,
}

/// Returns what the file says, and every key that is unknown or of the wrong type.
///
/// # Errors
/// The one mistake of a text that is not TOML: beyond it nothing can be read.
pub(crate) fn parse(source: &str) -> Result<(RawConfig, Vec<Mistake>), Mistake> {
    let table = DeTable::parse(source).map_err(|error| Mistake {
        line: error.span().map(|span| line_of(source, span.start)),
        text: format!("not valid TOML: {}", error.message()),
    })?;
    let table = table.into_inner();
    let mut mistakes = Vec::new();
    let mut top = Section::new(source, table, KEYS, "", &mut mistakes);
    let mut raw = RawConfig {
        http_addr: top.text("http_addr", r#""127.0.0.1:7700""#),
        data_dir: top.text("data_dir", r#""./data.miroir""#),
        dump_dir: top.text("dump_dir", r#""./dumps""#),
        allowed_ip_networks: top.text("allowed_ip_networks", r#""10.0.0.0/8""#),
        extra_roots: top.text("extra_roots", r#""./authorities.pem""#),
        env: top.text("env", r#""development""#),
        http_payload_size_limit: top.text("http_payload_size_limit", r#""100 MB""#),
        default_shards: top.integer("default_shards", "32"),
        replication_factor: top.integer("replication_factor", "2"),
        search_deadline: top.text("search_deadline", r#""10 s""#),
        search_cache: top.text("search_cache", r#""64 MiB""#),
        probe_interval: top.text("probe_interval", r#""1 s""#),
        copy_bytes_per_second: top.text("copy_bytes_per_second", r#""32 MiB""#),
        copy_documents_per_second: top.integer("copy_documents_per_second", "5000"),
        catch_up_share: top.integer("catch_up_share", "50"),
        retention_size: top.text("retention_size", r#""16 GiB""#),
        retention_age: top.text("retention_age", r#""72 h""#),
        audit_interval: top.text("audit_interval", r#""24 h""#),
        log_retention: top.text("log_retention", r#""7 d""#),
        log_retention_size: top.text("log_retention_size", r#""16 GiB""#),
        hedge_percent: top.number("hedge_percent", "5"),
        hedge_floor: top.text("hedge_floor", r#""20 ms""#),
        slow_start: top.text("slow_start", r#""10 s""#),
        partial_answers: top.text("partial_answers", r#""deny""#),
        log_level: top.text("log_level", r#""info""#),
        log_format: top.text("log_format", r#""human""#),
        metrics: top.switch("metrics", "true"),
        logs_route: top.switch("logs_route", "true"),
        task_webhook_url: top.text("task_webhook_url", r#""https://example.com/tasks""#),
        webhook_addresses: top.text("webhook_addresses", r#""global""#),
        transport: RawTransport {
            connections_max: top.integer("connections_max", "10000"),
            search_concurrency: top.integer("search_concurrency", "64"),
            search_queue_size: top.integer("search_queue_size", "1000"),
            search_queue_timeout: top.text("search_queue_timeout", r#""60 s""#),
            upload_concurrency: top.integer("upload_concurrency", "64"),
            shutdown_timeout: top.text("shutdown_timeout", r#""20 s""#),
            tls: RawTls::default(),
        },
        unfinished_tasks_max: top.integer("unfinished_tasks_max", "1000000"),
        payload_disk_max: top.text("payload_disk_max", r#""20 GiB""#),
        nodes: None,
        indexes: Vec::new(),
    };
    let tls = top.table("tls");
    let index_tables = top.tables("indexes").unwrap_or_default();
    let tables = top.tables("nodes");
    if let Some(tls) = tls {
        let mut tls = Section::new(source, tls, TLS_KEYS, "of [tls] ", &mut mistakes);
        raw.transport.tls.cert = tls.text("cert_path", r#""./cert.pem""#);
        raw.transport.tls.key = tls.text("key_path", r#""./key.pem""#);
        raw.transport.tls.auth = tls.text("auth_path", r#""./clients.pem""#);
        raw.transport.tls.require_auth = tls.switch("require_auth", "true");
    }
    if let Some(tables) = &tables {
        raw.nodes = Some(Vec::with_capacity(tables.len()));
    }
    for (line, table) in tables.unwrap_or_default() {
        let mut node = Section::new(source, table, NODE_KEYS, "of a node ", &mut mistakes);
        let node = RawNode {
            line: Some(line),
            name: node.text("name", r#""node-1""#),
            url: node.text("url", r#""http://10.0.0.1:7700""#),
            zone: node.text("zone", r#""zone-a""#),
            weight: node.number("weight", "1.0"),
            key_env: node.text("key_env", r#""NODE_1_KEY""#),
        };
        raw.nodes.get_or_insert_default().push(node);
    }
    for (line, table) in index_tables {
        let mut index = Section::new(source, table, INDEX_KEYS, "of an index ", &mut mistakes);
        let index = RawIndex {
            line: Some(line),
            uid: index.text("uid", r#""movies""#),
            partial_answers: index.text("partial_answers", r#""allow""#),
        };
        raw.indexes.push(index);
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Ok((raw, mistakes))
}

/// The line, from 1, of a byte offset.
fn line_of(source: &str, offset: usize) -> usize {
    let end = offset.min(source.len());
    source.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// One table being read. Creating it reports its unknown keys.
struct Section<'s, 'm> {
    source: &'s str,
    values: BTreeMap<String, (Range<usize>, DeValue<'s>)>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'s, 'm> Section<'s, 'm> {
    fn new(
        source: &'s str,
        table: DeTable<'s>,
        keys: &[&str],
        owner: &str,
        mistakes: &'m mut Vec<Mistake>,
    ) -> Self {
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            if keys.contains(&name.as_str()) {
                values.insert(name, (value.span(), value.into_inner()));
            } else {
                let line = Some(line_of(source, key.span().start));
                mistakes.push(Mistake {
                    line,
                    text: explain_unknown(&name, keys, owner),
                });
            }
        }
        Self {
            source,
            values,
            mistakes,
        }
    }

    /// Takes the value of `key` if `convert` knows its type; says what was expected if not.
    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        example: &str,
        convert: impl FnOnce(&DeValue<'s>) -> Option<T>,
    ) -> Option<At<T>> {
        let (span, value) = self.values.remove(key)?;
        let line = Some(line_of(self.source, span.start));
        if let Some(value) = convert(&value) {
            return Some(At { value, line });
        }
        let text = format!("`{key}` must be {expected}: write `{key} = {example}`");
        self.mistakes.push(Mistake { line, text });
        None
    }

    fn text(&mut self, key: &str, example: &str) -> Option<At<String>> {
        self.take(key, "a text in quotes", example, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
    }

    fn integer(&mut self, key: &str, example: &str) -> Option<At<i64>> {
        self.take(key, "a whole number without quotes", example, as_integer)
    }

    fn switch(&mut self, key: &str, example: &str) -> Option<At<bool>> {
        self.take(key, "true or false", example, |value| match value {
            DeValue::Boolean(switch) => Some(*switch),
            _ => None,
        })
    }

    fn number(&mut self, key: &str, example: &str) -> Option<At<f64>> {
        self.take(
            key,
            "a number without quotes",
            example,
            |value| match value {
                DeValue::Float(float) => float.as_str().parse().ok(),
                DeValue::Integer(integer) => integer.as_str().parse().ok(),
                _ => None,
            },
        )
    }

    /// The `[key]` table, if there is one.
    fn table(&mut self, key: &str) -> Option<DeTable<'s>> {
        let (span, value) = self.values.remove(key)?;
        match value {
            DeValue::Table(table) => Some(table),
            _ => {
                self.mistakes.push(Mistake {
                    line: Some(line_of(self.source, span.start)),
                    text: format!("`{key}` must be a table: write `[{key}]` above its keys"),
                });
                None
            }
        }
    }

    /// The tables of a `[[key]]` list, each with its line; `None` if there is no list, or if it is
    /// empty.
    fn tables(&mut self, key: &str) -> Option<Vec<(usize, DeTable<'s>)>> {
        let (span, value) = self.values.remove(key)?;
        let line = line_of(self.source, span.start);
        let mut mistake = |line| {
            let text = format!("`{key}` must be a list of tables: write `[[{key}]]` above each");
            self.mistakes.push(Mistake {
                line: Some(line),
                text,
            });
        };
        let DeValue::Array(items) = value else {
            mistake(line);
            return Some(Vec::new());
        };
        if items.is_empty() {
            return None;
        }
        let mut tables = Vec::new();
        for item in items {
            let line = line_of(self.source, item.span().start);
            match item.into_inner() {
                DeValue::Table(table) => tables.push((line, table)),
                _ => mistake(line),
            }
        }
        Some(tables)
    }
}

fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn explain_unknown(name: &str, keys: &[&str], owner: &str) -> String {
    if SECRET_KEYS.contains(&name) {
        return format!(
            "`{name}` is a secret and secrets never stand in the file: set MIROIR_MASTER_KEY \
             (what clients use) or MIROIR_NODE_KEY (the nodes' own key) in the environment, or \
             name another variable with a node's `key_env`"
        );
    }
    match nearest(name, keys) {
        Some(key) => format!("unknown key {owner}`{name}`: did you mean `{key}`?"),
        None => {
            let list = keys
                .iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ");
            format!("unknown key {owner}`{name}`: the known ones are {list}")
        }
    }
}

/// The key that `name` was probably meant to be: the least number of changed letters, and no
/// more than a third of the name's length, beyond which a guess misleads.
fn nearest<'k>(name: &str, keys: &[&'k str]) -> Option<&'k str> {
    let normal = name.to_lowercase().replace('-', "_");
    let part_of = |key: &&&str| normal.len() >= 4 && key.contains(&normal);
    keys.iter()
        .map(|key| (edit_distance(&normal, key), *key))
        .filter(|(distance, key)| *distance <= key.len().div_ceil(3))
        .min()
        .map(|(_, key)| key)
        .or_else(|| keys.iter().find(part_of).copied())
}

/// The number of letters to insert, delete or replace to make `a` of `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changed_letters() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
        assert_eq!(edit_distance("http_adr", "http_addr"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_name_far_from_every_key_gets_no_guess() {
        assert_eq!(nearest("quorum", KEYS), None);
        assert_eq!(
            nearest("Replication-Factor", KEYS),
            Some("replication_factor")
        );
        assert_eq!(nearest("shards", KEYS), Some("default_shards"));
    }
}
