//! What the user wrote: the configuration file, key by key, with the line of each value.
//!
//! The file is walked by hand and not through a derive: all mistakes are told at once, each with
//! its line, and a misspelt key is told the name it was meant to have.

mod section;

use section::{Section, line_of};
use toml::de::DeTable;

/// The keys at the top of the file. `docs/guide/configuration.md` explains each.
pub(crate) const KEYS: &[&str] = &[
    "http_addr",
    "data_dir",
    "dump_dir",
    "snapshot_dir",
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
    "copy_share",
    "catch_up_share",
    "retention_size",
    "retention_age",
    "audit_interval",
    "lost_after",
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
    "topology",
];

/// The keys of the `[tls]` table.
pub(crate) const TLS_KEYS: &[&str] = &["cert_path", "key_path", "auth_path", "require_auth"];

/// The keys of one `[[nodes]]` table.
pub(crate) const NODE_KEYS: &[&str] = &["name", "url", "zone", "weight", "key_env", "drain"];

/// The keys of one `[[indexes]]` table.
pub(crate) const INDEX_KEYS: &[&str] = &["uid", "partial_answers", "replication_factor"];

/// The keys of the `[topology]` table.
pub(crate) const TOPOLOGY_KEYS: &[&str] = &[
    "apply",
    "replication_factor",
    "discover",
    "discover_interval",
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
    pub(crate) snapshot_dir: Option<At<String>>,
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
    pub(crate) copy_share: Option<At<i64>>,
    pub(crate) catch_up_share: Option<At<i64>>,
    pub(crate) retention_size: Option<At<String>>,
    pub(crate) retention_age: Option<At<String>>,
    pub(crate) audit_interval: Option<At<String>>,
    pub(crate) lost_after: Option<At<String>>,
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
    /// The `[topology]` table, if there is one.
    pub(crate) topology: Option<RawTopology>,
}

/// The `[topology]` table as written.
#[derive(Debug, Default)]
pub(crate) struct RawTopology {
    pub(crate) apply: Option<At<String>>,
    pub(crate) replication_factor: Option<At<i64>>,
    pub(crate) discover: Option<At<String>>,
    pub(crate) discover_interval: Option<At<String>>,
}

/// One `[[indexes]]` table as written.
#[derive(Debug, Default)]
pub(crate) struct RawIndex {
    /// The line of its first key or of its header.
    pub(crate) line: Option<usize>,
    pub(crate) uid: Option<At<String>>,
    pub(crate) partial_answers: Option<At<String>>,
    pub(crate) replication_factor: Option<At<i64>>,
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
    pub(crate) drain: Option<At<bool>>,
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
        snapshot_dir: top.text("snapshot_dir", r#""./snapshots""#),
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
        copy_share: top.integer("copy_share", "10"),
        catch_up_share: top.integer("catch_up_share", "50"),
        retention_size: top.text("retention_size", r#""16 GiB""#),
        retention_age: top.text("retention_age", r#""72 h""#),
        audit_interval: top.text("audit_interval", r#""24 h""#),
        lost_after: top.text("lost_after", r#""30 min""#),
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
        topology: None,
    };
    let tls = top.table("tls");
    let topology = top.table("topology");
    let index_tables = top.tables("indexes").unwrap_or_default();
    let tables = top.tables("nodes");
    if let Some(tls) = tls {
        let mut tls = Section::new(source, tls, TLS_KEYS, "of [tls] ", &mut mistakes);
        raw.transport.tls.cert = tls.text("cert_path", r#""./cert.pem""#);
        raw.transport.tls.key = tls.text("key_path", r#""./key.pem""#);
        raw.transport.tls.auth = tls.text("auth_path", r#""./clients.pem""#);
        raw.transport.tls.require_auth = tls.switch("require_auth", "true");
    }
    if let Some(topology) = topology {
        let owner = "of [topology] ";
        let mut topology = Section::new(source, topology, TOPOLOGY_KEYS, owner, &mut mistakes);
        raw.topology = Some(RawTopology {
            apply: topology.text("apply", r#""plan-only""#),
            replication_factor: topology.integer("replication_factor", "2"),
            discover: topology.text("discover", r#""http://meili-{n}.meili:7700""#),
            discover_interval: topology.text("discover_interval", r#""10 s""#),
        });
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
            drain: node.switch("drain", "true"),
        };
        raw.nodes.get_or_insert_default().push(node);
    }
    for (line, table) in index_tables {
        let mut index = Section::new(source, table, INDEX_KEYS, "of an index ", &mut mistakes);
        let index = RawIndex {
            line: Some(line),
            uid: index.text("uid", r#""movies""#),
            partial_answers: index.text("partial_answers", r#""allow""#),
            replication_factor: index.integer("replication_factor", "2"),
        };
        raw.indexes.push(index);
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Ok((raw, mistakes))
}
