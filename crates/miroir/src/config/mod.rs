//! What the program runs with: the file, the flags and the environment, checked and merged.
//!
//! A flag or its environment variable beats the file; the file beats the default. Secrets come
//! from the environment only. Every mistake is found before anything starts, and all are told at
//! once.

mod access;
mod bounds;
mod nodes;
mod raw;
mod reads;
mod topology;
mod transport;
pub(crate) mod unit;

pub(crate) use unit::parse_bytes;
#[cfg(feature = "devnode")]
pub(crate) use unit::parse_duration;

pub(crate) use nodes::{NodeConfig, plain_url};
pub(crate) use topology::DiscoverConfig;
pub(crate) use transport::{TlsOverrides, TransportConfig};

use crate::import::Wish;
use miroir_api::admin::Declaration;
use miroir_engine::copy::CopyConfig;
use miroir_engine::gate::Limits;
use miroir_engine::reads::ReadConfig;
use miroir_node::IpPolicy;
use raw::{At, Mistake, RawConfig};
use reads::Reads;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What clients must send when a master key is set.
pub(crate) const MASTER_KEY_ENV: &str = "MIROIR_MASTER_KEY";
/// The key of every node that does not name its own variable.
pub(crate) const NODE_KEY_ENV: &str = "MIROIR_NODE_KEY";
/// The value of the header `Authorization` that the webhook of the configuration gets.
pub(crate) const WEBHOOK_AUTHORIZATION_ENV: &str = "MIROIR_TASK_WEBHOOK_AUTHORIZATION_HEADER";
/// The least length of a production master key, as a Meilisearch asks for.
pub(crate) const MASTER_KEY_BYTES_MIN: usize = 16;

pub(crate) const DEFAULT_HTTP_ADDR: &str = "127.0.0.1:7700";
pub(crate) const DEFAULT_DATA_DIR: &str = "./data.miroir";
/// The limit of one Meilisearch, so that a client meets the same bound.
pub(crate) const DEFAULT_PAYLOAD_BYTES_MAX: u64 = 100_000_000;
/// The shards of a new index of `miroir dev`, and what is gone on with where the value is wrong.
pub(crate) const DEFAULT_SHARDS: u32 = 32;
/// Longer than any search that a person waits for.
pub(crate) const DEFAULT_SEARCH_DEADLINE: Duration = Duration::from_secs(10);
/// Some ten thousand first pages.
pub(crate) const DEFAULT_SEARCH_CACHE_BYTES: u64 = 64 << 20;
/// A node's death is noticed within about this time when nobody asks it anything.
pub(crate) const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Everything `miroir serve` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the proxy listens, `host:port`.
    pub(crate) http_addr: String,
    /// The folder of the store and of the payload files.
    pub(crate) data_dir: PathBuf,
    /// The folder that dumps are written into.
    pub(crate) dump_dir: PathBuf,
    /// Where `POST /snapshots` copies the store to.
    pub(crate) snapshot_dir: PathBuf,
    /// Addresses that exports may go to, and webhooks that are made over the API.
    pub(crate) allowed_ips: IpPolicy,
    /// Those that webhooks may lead to, which are the same unless the former key says otherwise.
    pub(crate) webhook_ips: IpPolicy,
    /// Authorities (PEM) that the servers of webhooks and exports may be vouched for by, besides
    /// the public ones.
    pub(crate) extra_roots: Option<PathBuf>,
    /// A dump to import before anybody is served.
    pub(crate) import: Option<Wish>,
    /// Whether mistakes of security are refused.
    pub(crate) env: Environment,
    /// What clients must send; `None` leaves the endpoint open.
    pub(crate) master_key: Option<Secret>,
    /// The largest request body, in bytes, decompressed.
    pub(crate) payload_bytes_max: u64,
    /// The shards of a new index, at least 1.
    pub(crate) default_shards: u32,
    /// The replicas of each shard, from 1 to the number of nodes.
    pub(crate) replication_factor: u32,
    /// The time a search may take over all its nodes.
    pub(crate) search_deadline: Duration,
    /// Memory for answers that may be given again, in bytes; 0 for none.
    pub(crate) search_cache_bytes: u64,
    /// The time between two probes of a node.
    pub(crate) probe_interval: Duration,
    /// How clients reach the proxy.
    pub(crate) transport: TransportConfig,
    /// Copies between nodes, and what is kept for nodes that are away.
    pub(crate) copy: CopyConfig,
    /// How reads treat nodes that are slow or away.
    pub(crate) reads: ReadConfig,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
    /// `GET /metrics` is served.
    pub(crate) has_metrics: bool,
    /// `/logs/*` are served.
    pub(crate) has_logs_route: bool,
    /// What is told every finished task, besides the webhooks made over the API.
    pub(crate) webhook: Option<WebhookConfig>,
    /// How much may wait.
    pub(crate) limits: Limits,
    /// A node that answers nothing for so long is declared lost; `None` is never.
    pub(crate) lost_after: Option<Duration>,
    /// The topology as it is declared; `None` where the file only names the nodes of a first start.
    pub(crate) topology: Option<Declaration>,
    /// Where further nodes of a declared topology are found.
    pub(crate) discover: Option<DiscoverConfig>,
    /// The nodes, at least one, names and URLs distinct.
    pub(crate) nodes: Vec<NodeConfig>,
}

/// The webhook of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookConfig {
    /// An HTTP or HTTPS address.
    pub(crate) url: String,
    /// The whole value of the header `Authorization`.
    pub(crate) authorization: Option<Secret>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// A level or a filter such as `info,miroir_engine=debug`.
    pub(crate) level: String,
    /// For people or for machines.
    pub(crate) format: LogFormat,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// How strict Miroir is about security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Environment {
    /// A master key is optional.
    Development,
    /// A master key of at least 16 bytes is required.
    Production,
}

/// A key that no log and no error message shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Wraps a key.
    pub(crate) fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// The key itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What flags, or the environment variables behind them, say instead of the file.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) http_addr: Option<String>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) env: Option<Environment>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) tls: TlsOverrides,
    pub(crate) import: Option<Wish>,
}

/// All mistakes of one configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    file: String,
    mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{} has {count} {noun}:", self.file)?;
        for mistake in &self.mistakes {
            match mistake.line {
                Some(line) => write!(f, "\n  line {line}: {}", mistake.text)?,
                None => write!(f, "\n  {}", mistake.text)?,
            }
        }
        write!(
            f,
            "\nEvery key is explained in docs/guide/configuration.md."
        )
    }
}

impl std::error::Error for ConfigError {}

/// Returns what to run with, from the text of `file`, the flags, and the environment as a
/// function.
///
/// # Errors
/// [`ConfigError`] with every mistake found.
pub(crate) fn resolve(
    file: &Path,
    source: &str,
    overrides: Overrides,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let told = |mistakes| ConfigError {
        file: file.display().to_string(),
        mistakes,
    };
    let (raw, mistakes) = raw::parse(source).map_err(|mistake| told(vec![mistake]))?;
    let secret = |name: &str| env(name).filter(|key| !key.is_empty()).map(Secret::new);
    let mut check = Check { mistakes };
    let config = check.config(raw, overrides, &secret);
    if check.mistakes.is_empty() {
        return Ok(config);
    }
    check
        .mistakes
        .sort_by_key(|mistake| (mistake.line.is_none(), mistake.line));
    Err(told(check.mistakes))
}

/// Turns what was said into what is meant. A value that is wrong is replaced by its default, so
/// that the rest is checked too; the mistake keeps the result from being used.
struct Check {
    mistakes: Vec<Mistake>,
}

impl Check {
    fn config(
        &mut self,
        raw: RawConfig,
        overrides: Overrides,
        secret: &impl Fn(&str) -> Option<Secret>,
    ) -> Config {
        let allowed_ips = self.allowed_ips(raw.allowed_ip_networks.clone());
        self.only_declared(&raw);
        let factors = self.factors(&raw.indexes);
        let node_count = raw.nodes.as_ref().map_or(0, Vec::len);
        let env = match overrides.env {
            Some(env) => env,
            None => self.choice(raw.env, "env", Environment::Development),
        };
        let http_addr = match overrides.http_addr {
            Some(value) => Some(At { value, line: None }),
            None => raw.http_addr,
        };
        let data_dir = match raw.data_dir {
            Some(dir) => PathBuf::from(dir.value),
            None => PathBuf::from(DEFAULT_DATA_DIR),
        };
        let data_dir = overrides.data_dir.unwrap_or(data_dir);
        let dump_dir = match raw.dump_dir {
            Some(dir) => PathBuf::from(dir.value),
            None => data_dir.join("dumps"),
        };
        let snapshot_dir = match raw.snapshot_dir {
            Some(dir) => PathBuf::from(dir.value),
            None => data_dir.join("snapshots"),
        };
        let level = match raw.log_level {
            Some(level) => self.log_level(&level),
            None => "info".to_owned(),
        };
        let format = match overrides.log_format {
            Some(format) => format,
            None => self.choice(raw.log_format, "log_format", LogFormat::Human),
        };
        let payload = raw.http_payload_size_limit;
        let nodes = self.nodes(raw.nodes, secret);
        let discover = raw.topology.as_ref().and_then(|raw| self.discover(raw));
        let topology = raw
            .topology
            .map(|topology| self.topology(topology, &nodes, factors));
        Config {
            discover,
            topology,
            http_addr: self.http_addr(http_addr),
            data_dir,
            dump_dir,
            snapshot_dir,
            webhook_ips: self.webhook_ips(raw.webhook_addresses, &allowed_ips),
            allowed_ips,
            extra_roots: raw.extra_roots.map(|at| PathBuf::from(at.value)),
            import: overrides.import,
            env,
            master_key: self.master_key(env, secret(MASTER_KEY_ENV)),
            payload_bytes_max: self.payload_limit(payload),
            search_cache_bytes: self.search_cache(raw.search_cache),
            default_shards: self.shards(
                raw.default_shards,
                node_count,
                raw.replication_factor.as_ref(),
            ),
            replication_factor: self.replication_factor(raw.replication_factor, node_count),
            search_deadline: self.duration(
                raw.search_deadline,
                "search_deadline",
                DEFAULT_SEARCH_DEADLINE,
            ),
            probe_interval: self.duration(
                raw.probe_interval,
                "probe_interval",
                DEFAULT_PROBE_INTERVAL,
            ),
            transport: self.transport(raw.transport, overrides.tls, node_count),
            copy: CopyConfig {
                bytes_per_second: self.bytes(
                    raw.copy_bytes_per_second,
                    "copy_bytes_per_second",
                    CopyConfig::default().bytes_per_second,
                ),
                documents_per_second: self.copy_documents(raw.copy_documents_per_second),
                retention_bytes: self.bytes(
                    raw.retention_size,
                    "retention_size",
                    CopyConfig::default().retention_bytes,
                ),
                retention_age: self.duration(
                    raw.retention_age,
                    "retention_age",
                    CopyConfig::default().retention_age,
                ),
                copy_share: self.share(
                    raw.copy_share,
                    "copy_share",
                    CopyConfig::default().copy_share,
                ),
                catch_up_share: self.share(
                    raw.catch_up_share,
                    "catch_up_share",
                    CopyConfig::default().catch_up_share,
                ),
                audit_interval: self.optional_duration(raw.audit_interval, "audit_interval"),
                log: self.log_retention(raw.log_retention, raw.log_retention_size),
            },
            reads: self.reads(Reads {
                hedge_percent: raw.hedge_percent,
                hedge_floor: raw.hedge_floor,
                slow_start: raw.slow_start,
                partial_answers: raw.partial_answers,
                indexes: raw.indexes,
            }),
            log: LogConfig {
                level: overrides.log_level.unwrap_or(level),
                format,
            },
            has_metrics: raw.metrics.is_some_and(|switch| switch.value),
            has_logs_route: raw.logs_route.is_some_and(|switch| switch.value),
            webhook: self.webhook(raw.task_webhook_url, secret(WEBHOOK_AUTHORIZATION_ENV)),
            limits: self.limits(raw.unfinished_tasks_max, raw.payload_disk_max),
            lost_after: self.optional_duration(raw.lost_after, "lost_after"),
            nodes,
        }
    }

    fn add(&mut self, line: Option<usize>, text: impl Into<String>) {
        self.mistakes.push(Mistake {
            line,
            text: text.into(),
        });
    }

    fn choice<T: clap::ValueEnum>(&mut self, raw: Option<At<String>>, key: &str, default: T) -> T {
        let Some(raw) = raw else { return default };
        if let Ok(value) = T::from_str(&raw.value, false) {
            return value;
        }
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| variant.to_possible_value())
            .map(|value| format!("\"{}\"", value.get_name()))
            .collect();
        let text = format!(
            "`{key}` cannot be \"{}\": write {}",
            raw.value,
            names.join(" or ")
        );
        self.add(raw.line, text);
        default
    }

    fn http_addr(&mut self, raw: Option<At<String>>) -> String {
        let Some(At { value, line }) = raw else {
            return DEFAULT_HTTP_ADDR.to_owned();
        };
        if !is_host_and_port(&value) {
            let text = format!(
                "`http_addr` cannot be \"{value}\": write a host and a port, as in \
                 \"127.0.0.1:7700\" (this machine only) or \"0.0.0.0:7700\" (every interface)"
            );
            self.add(line, text);
        }
        value
    }

    fn log_level(&mut self, raw: &At<String>) -> String {
        if crate::telemetry::is_filter(&raw.value) {
            return raw.value.clone();
        }
        let text = format!(
            "`log_level` cannot be \"{}\": write \"error\", \"warn\", \"info\", \"debug\", \
             \"trace\", or a filter such as \"info,miroir_engine=debug\"",
            raw.value
        );
        self.add(raw.line, text);
        "info".to_owned()
    }
}

/// Whether the text is `host:port`.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) => {
            !host.is_empty()
                && !host.contains(['/', '@', ' '])
                && (!host.contains(':') || host.starts_with('['))
                && !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
