//! The table of mistakes, and of what a right file means.

use super::*;
use miroir_api::admin::ApplyPolicy;
use miroir_engine::reads::PartialPolicy;

const TWO_NODES: &str = r#"
[[nodes]]
name = "a"
url = "http://10.0.0.1:7700"
[[nodes]]
name = "b"
url = "http://10.0.0.2:7700/"
zone = "east"
weight = 2
key_env = "B_KEY"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        MASTER_KEY_ENV => Some("a-master-key-of-some-length".to_owned()),
        NODE_KEY_ENV => Some("shared".to_owned()),
        "B_KEY" => Some("key-of-b".to_owned()),
        "EMPTY_KEY" => Some(String::new()),
        _ => None,
    }
}

fn read(source: &str) -> Result<Config, ConfigError> {
    resolve(
        Path::new("miroir.toml"),
        source,
        Overrides::default(),
        environment,
    )
}

fn mistakes_of(source: &str) -> String {
    read(source).expect_err("the file is wrong").to_string()
}

#[test]
fn a_file_with_nodes_only_gets_every_default() {
    let config = read(TWO_NODES).unwrap();
    assert_eq!(config.http_addr, "127.0.0.1:7700");
    assert_eq!(config.data_dir, PathBuf::from("./data.miroir"));
    assert_eq!(config.env, Environment::Development);
    assert_eq!(config.payload_bytes_max, 100_000_000);
    assert_eq!(config.search_cache_bytes, 64 << 20);
    assert_eq!(config.default_shards, 32);
    assert_eq!(config.replication_factor, 2);
    assert_eq!(config.search_deadline, Duration::from_secs(10));
    assert_eq!(config.probe_interval, Duration::from_secs(1));
    assert_eq!(config.transport, TransportConfig::default_for(2));
    assert_eq!(config.transport.tls, None);
    assert_eq!(config.copy.bytes_per_second, 32 << 20);
    assert_eq!(config.copy.documents_per_second, 0);
    assert_eq!(config.copy.copy_share, 10);
    assert_eq!(config.copy.catch_up_share, 50);
    assert_eq!(config.copy.retention_bytes, 16 << 30);
    assert_eq!(config.copy.retention_age, Duration::from_secs(72 * 3600));
    assert_eq!(config.copy.audit_interval, None);
    assert_eq!(config.copy.log, None);
    assert_eq!(
        config.log,
        LogConfig {
            level: "info".to_owned(),
            format: LogFormat::Human
        }
    );
    assert_eq!(
        config.master_key.unwrap().reveal(),
        "a-master-key-of-some-length"
    );
    let [a, b] = &config.nodes[..] else {
        panic!("two nodes")
    };
    assert_eq!((a.name.as_str(), a.weight, &a.zone), ("a", 1.0, &None));
    assert_eq!(a.key.as_ref().unwrap().reveal(), "shared");
    assert_eq!((b.url.as_str(), b.weight), ("http://10.0.0.2:7700", 2.0));
    assert_eq!(b.zone.as_deref(), Some("east"));
    assert_eq!(b.key.as_ref().unwrap().reveal(), "key-of-b");
}

#[test]
fn every_key_of_the_file_is_used() {
    let source = format!(
        r#"
http_addr = "0.0.0.0:7777"
data_dir = "/var/lib/miroir"
env = "production"
http_payload_size_limit = "64 MiB"
default_shards = 8
replication_factor = 2
search_deadline = "1500 ms"
search_cache = "0 B"
probe_interval = "5 s"
copy_bytes_per_second = "0 B"
copy_documents_per_second = 100
copy_share = 25
catch_up_share = 30
retention_size = "1 GB"
retention_age = "1 h"
audit_interval = "24 h"
log_retention = "7 d"
log_retention_size = "1 GiB"
hedge_percent = 2.5
hedge_floor = "5 ms"
slow_start = "1 min"
partial_answers = "allow"
log_level = "info,miroir_engine=debug"
log_format = "json"
connections_max = 100
search_concurrency = 7
search_queue_size = 0
search_queue_timeout = "3 s"
upload_concurrency = 2
shutdown_timeout = "4 s"
[tls]
cert_path = "c.pem"
key_path = "k.pem"
auth_path = "a.pem"
require_auth = true
{TWO_NODES}
[[indexes]]
uid = "movies"
partial_answers = "deny"
"#
    );
    let config = read(&source).unwrap();
    assert_eq!(config.http_addr, "0.0.0.0:7777");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/miroir"));
    assert_eq!(config.env, Environment::Production);
    assert_eq!(config.payload_bytes_max, 64 << 20);
    assert_eq!((config.default_shards, config.replication_factor), (8, 2));
    assert_eq!(config.search_deadline, Duration::from_millis(1500));
    assert_eq!(config.search_cache_bytes, 0);
    assert_eq!(config.probe_interval, Duration::from_secs(5));
    assert_eq!(config.copy.bytes_per_second, 0);
    assert_eq!(config.copy.documents_per_second, 100);
    assert_eq!(config.copy.copy_share, 25);
    assert_eq!(config.copy.catch_up_share, 30);
    assert_eq!(config.copy.retention_bytes, 1_000_000_000);
    assert_eq!(config.copy.retention_age, Duration::from_secs(3600));
    let log = config.copy.log.unwrap();
    assert_eq!(log.age, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(log.bytes, 1 << 30);
    assert_eq!(
        config.copy.audit_interval,
        Some(Duration::from_secs(24 * 3600))
    );
    assert_eq!(config.reads.hedge_milli, 25);
    assert_eq!(config.reads.hedge_after_min, Duration::from_millis(5));
    assert_eq!(config.reads.slow_start, Duration::from_secs(60));
    assert_eq!(config.reads.partial, PartialPolicy::Partial);
    assert_eq!(config.reads.partial_of["movies"], PartialPolicy::Error);
    assert_eq!(config.log.level, "info,miroir_engine=debug");
    assert_eq!(config.log.format, LogFormat::Json);
    let transport = config.transport;
    assert_eq!(transport.connections_max, 100);
    let searches = transport.searches;
    assert_eq!((searches.inside_max, searches.waiting_max), (7, 0));
    assert_eq!(searches.wait_max, Duration::from_secs(3));
    assert_eq!(transport.uploads.inside_max, 2);
    assert_eq!(transport.shutdown_timeout, Duration::from_secs(4));
    let tls = transport.tls.unwrap();
    assert_eq!(tls.cert, PathBuf::from("c.pem"));
    assert_eq!(tls.key, PathBuf::from("k.pem"));
    assert_eq!(tls.client_roots, Some(PathBuf::from("a.pem")));
    assert!(tls.require_client);
}

#[test]
fn flags_beat_the_file() {
    let overrides = Overrides {
        http_addr: Some("127.0.0.1:0".to_owned()),
        data_dir: Some(PathBuf::from("/tmp/x")),
        env: Some(Environment::Production),
        log_level: Some("debug".to_owned()),
        log_format: Some(LogFormat::Json),
        tls: TlsOverrides {
            ssl_cert_path: Some(PathBuf::from("mine.pem")),
            ..TlsOverrides::default()
        },
        import: None,
    };
    let source = format!(
        "http_addr = \"h:1\"\nlog_level = \"warn\"\n[tls]\ncert_path = \"c\"\nkey_path = \"k\"\n\
         {TWO_NODES}"
    );
    let config = resolve(Path::new("m"), &source, overrides, environment).unwrap();
    assert_eq!(config.http_addr, "127.0.0.1:0");
    assert_eq!(config.data_dir, PathBuf::from("/tmp/x"));
    let tls = config.transport.tls.unwrap();
    assert_eq!(tls.cert, PathBuf::from("mine.pem"));
    assert_eq!(tls.key, PathBuf::from("k"));
    assert_eq!(config.env, Environment::Production);
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("debug", LogFormat::Json)
    );
}

#[test]
fn each_mistake_names_its_line_and_what_to_write_instead() {
    let cases = [
        (
            "connections_max = 0",
            "line 1: `connections_max` must be from 1 to 1000000, not 0",
        ),
        (
            "search_queue_size = -1",
            "line 1: `search_queue_size` must be from 0 to 1000000, not -1",
        ),
        (
            "tls = true",
            "line 1: `tls` must be a table: write `[tls]` above its keys",
        ),
        (
            "[tls]\ncert_path = \"c.pem\"",
            "line 2: TLS is asked for and its key is missing: name it with `key_path` in [tls]",
        ),
        (
            "[tls]\nkey_path = \"k.pem\"",
            "line 2: TLS is asked for and there is no certificate",
        ),
        (
            "[tls]\ncert_path = \"c\"\nkey_path = \"k\"\nrequire_auth = true",
            "line 2: clients must show a certificate and no roots are given",
        ),
        (
            "[tls]\nrequire_auth = \"yes\"",
            "line 2: `require_auth` must be true or false",
        ),
        (
            "[tls]\ncert = \"c\"",
            "line 2: unknown key of [tls] `cert`: did you mean `cert_path`?",
        ),
        (
            "replicaton_factor = 2",
            "line 1: unknown key `replicaton_factor`: did you mean `replication_factor`?",
        ),
        (
            "\n\nhttp-addr = \"x:1\"",
            "line 3: unknown key `http-addr`: did you mean `http_addr`?",
        ),
        (
            "quorum = 2",
            "line 1: unknown key `quorum`: the known ones are `http_addr`, ",
        ),
        (
            "master_key = \"x\"",
            "line 1: `master_key` is a secret and secrets never stand in the file: set MIROIR_MASTER_KEY",
        ),
        (
            "http_addr = 7700",
            "line 1: `http_addr` must be a text in quotes: write `http_addr = \"127.0.0.1:7700\"`",
        ),
        (
            "http_addr = \"7700\"",
            "line 1: `http_addr` cannot be \"7700\": write a host and a port",
        ),
        (
            "http_addr = \"h:70000\"",
            "line 1: `http_addr` cannot be \"h:70000\"",
        ),
        (
            "env = \"prod\"",
            "line 1: `env` cannot be \"prod\": write \"development\" or \"production\"",
        ),
        (
            "http_payload_size_limit = 100",
            "line 1: `http_payload_size_limit` must be a text in quotes: write `http_payload_size_limit = \"100 MB\"`",
        ),
        (
            "http_payload_size_limit = \"100\"",
            "line 1: `http_payload_size_limit`: `100` is not a size: write a number and a unit, as in \"100 MB\"",
        ),
        (
            "default_shards = 0",
            "line 1: `default_shards` must be from 1 to 4096, not 0",
        ),
        (
            "default_shards = \"8\"",
            "line 1: `default_shards` must be a whole number without quotes: write `default_shards = 32`",
        ),
        (
            "replication_factor = 3",
            "line 1: `replication_factor` is 3 but there are 2 nodes",
        ),
        (
            "replication_factor = -1",
            "line 1: `replication_factor` must be at least 1, not -1",
        ),
        (
            "search_deadline = \"10\"",
            "line 1: `search_deadline`: `10` is not a duration",
        ),
        (
            "probe_interval = \"0 s\"",
            "line 1: `probe_interval` must be above 0",
        ),
        (
            "log_level = \"loud\"",
            "line 1: `log_level` cannot be \"loud\": write \"error\", \"warn\"",
        ),
        (
            "log_format = \"xml\"",
            "line 1: `log_format` cannot be \"xml\": write \"human\" or \"json\"",
        ),
        ("env = ", "line 1: not valid TOML: "),
    ];
    for (line, expected) in cases {
        let told = mistakes_of(&format!("{line}\n{TWO_NODES}"));
        assert!(
            told.starts_with("miroir.toml has 1 mistake:"),
            "{line}\n{told}"
        );
        assert!(
            told.contains(expected),
            "{line}\nexpected: {expected}\ntold: {told}"
        );
    }
}

#[test]
fn each_mistake_of_a_node_names_its_line() {
    let cases = [
        ("name = \"c\"", "has no `url`: write `url = "),
        ("url = \"http://c:1\"", "has no `name`: write `name = "),
        (
            "name = \"c d\"\nurl = \"http://c:1\"",
            "line 13: a node cannot be named \"c d\"",
        ),
        (
            "name = \"c\"\nurl = \"c:1\"",
            "line 14: a node's `url` cannot be \"c:1\"",
        ),
        (
            "name = \"c\"\nurl = \"http://u:p@c:1\"",
            "line 14: a node's `url` cannot be",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1/path\"",
            "line 14: a node's `url` cannot be",
        ),
        (
            "name = \"a\"\nurl = \"http://c:1\"",
            "two nodes have the name \"a\"",
        ),
        (
            "name = \"c\"\nurl = \"http://10.0.0.1:7700\"",
            "two nodes have the url",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nweight = 0",
            "line 15: a node's `weight` must be",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nweight = nan",
            "line 15: a node's `weight` must be",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nkey_env = \"NONE\"",
            "line 15: node \"c\" reads its key from the environment variable NONE, which is not set",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nkey_env = \"EMPTY_KEY\"",
            "which is not set",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nwieght = 1",
            "line 15: unknown key of a node `wieght`: did you mean `weight`?",
        ),
        (
            "name = \"c\"\nurl = \"http://c:1\"\nkey = \"s\"",
            "line 15: `key` is a secret",
        ),
    ];
    for (lines, expected) in cases {
        let told = mistakes_of(&format!("{TWO_NODES}\n[[nodes]]\n{lines}\n"));
        assert!(
            told.starts_with("miroir.toml has 1 mistake:"),
            "{lines}\n{told}"
        );
        assert!(
            told.contains(expected),
            "{lines}\nexpected: {expected}\ntold: {told}"
        );
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let told = mistakes_of(&format!(
        "enw = \"x\"\ndefault_shards = 0\nnodess = 1\n{TWO_NODES}"
    ));
    assert!(
        told.starts_with("miroir.toml has 3 mistakes:\n  line 1: "),
        "{told}"
    );
    let position = |text: &str| told.find(text).expect("every mistake is told");
    assert!(position("line 2: ") < position("line 3: "), "{told}");
}

#[test]
fn a_file_without_nodes_shows_how_to_write_one() {
    assert!(mistakes_of("").contains("there are no nodes"));
    assert!(mistakes_of("[nodes]\nname = \"a\"").contains("write `[[nodes]]` above each"));
}

#[test]
fn production_needs_a_master_key_of_some_length() {
    let source = format!("env = \"production\"\n{TWO_NODES}");
    let with_key = |key: Option<&str>| {
        let key = key.map(str::to_owned);
        resolve(
            Path::new("m"),
            &source,
            Overrides::default(),
            move |name| match name {
                MASTER_KEY_ENV => key.clone(),
                other => environment(other),
            },
        )
    };
    assert!(
        with_key(None)
            .unwrap_err()
            .to_string()
            .contains("MIROIR_MASTER_KEY is not set")
    );
    assert!(
        with_key(Some("short"))
            .unwrap_err()
            .to_string()
            .contains("has 5 bytes")
    );
    assert!(with_key(Some("exactly-16-bytes")).is_ok());
}

#[test]
fn a_secret_is_never_printed() {
    let printed = format!("{:?}", read(TWO_NODES).unwrap());
    assert!(
        !printed.contains("a-master-key-of-some-length"),
        "{printed}"
    );
    assert!(
        !printed.contains("shared") && !printed.contains("key-of-b"),
        "{printed}"
    );
}

#[test]
fn the_example_of_the_guide_is_a_right_file() {
    let guide = include_str!("../../../../docs/guide/configuration.md");
    let example = guide
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let config = read(example.expect("the guide shows an example")).unwrap();
    assert_eq!(config.nodes.len(), 3);
    for key in raw::KEYS
        .iter()
        .chain(raw::NODE_KEYS)
        .chain(raw::INDEX_KEYS)
        .chain(raw::TOPOLOGY_KEYS)
    {
        assert!(
            guide.contains(&format!("`{key}`")),
            "the guide does not explain {key}"
        );
    }
}

#[test]
fn the_webhook_of_the_file_has_its_secret_from_the_environment() {
    let source = format!(
        "task_webhook_url = \"https://a.example/tasks\"\nwebhook_addresses = \"any\"\n\
         metrics = true\nlogs_route = true\n{TWO_NODES}"
    );
    let config = resolve(
        Path::new("miroir.toml"),
        &source,
        Overrides::default(),
        |name| match name {
            WEBHOOK_AUTHORIZATION_ENV => Some("Bearer x".to_owned()),
            name => environment(name),
        },
    )
    .unwrap();
    let webhook = config.webhook.unwrap();
    assert_eq!(webhook.url, "https://a.example/tasks");
    assert_eq!(webhook.authorization.unwrap().reveal(), "Bearer x");
    assert_eq!(config.webhook_ips, IpPolicy::parse("any").unwrap());
    assert_eq!(
        config.allowed_ips,
        IpPolicy::default(),
        "exports are another matter"
    );
    assert!(config.has_metrics && config.has_logs_route);

    let plain = read(TWO_NODES).unwrap();
    assert_eq!(plain.webhook, None);
    assert_eq!(plain.webhook_ips, IpPolicy::default());
    let both = read(&format!(
        "allowed_ip_networks = \"10.0.0.0/8\"\n{TWO_NODES}"
    ))
    .unwrap();
    let networks = IpPolicy::parse("10.0.0.0/8").unwrap();
    assert_eq!(
        (both.webhook_ips, both.allowed_ips),
        (networks.clone(), networks)
    );
    assert!(!plain.has_metrics && !plain.has_logs_route);
}

#[test]
fn a_webhook_leads_somewhere() {
    for (line, told) in [
        (
            "task_webhook_url = \"a.example\"",
            "`task_webhook_url` cannot be",
        ),
        (
            "webhook_addresses = \"some\"",
            "`webhook_addresses` cannot be",
        ),
        ("metrics = 1", "`metrics` must be true or false"),
    ] {
        let mistakes = mistakes_of(&format!("{line}\n{TWO_NODES}"));
        assert!(mistakes.contains(told), "{mistakes}");
    }
}

#[test]
fn a_declared_topology_is_the_nodes_and_copies_of_the_file() {
    let source = format!(
        "lost_after = \"30 min\"\n[topology]\napply = \"auto\"\nreplication_factor = 2\n{TWO_NODES}\
         drain = true\n[[indexes]]\nuid = \"movies\"\nreplication_factor = 1\n"
    );
    let config = read(&source).unwrap();
    assert_eq!(config.lost_after, Some(Duration::from_secs(1800)));
    let declared = config.topology.unwrap();
    assert_eq!(declared.apply, ApplyPolicy::Auto);
    assert_eq!(declared.replication_factor, Some(2));
    assert_eq!(declared.replication_factors["movies"], 1);
    let nodes: Vec<(&str, Option<&str>, bool)> = declared
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.zone.as_deref(), node.drain))
        .collect();
    assert_eq!(nodes, [("a", None, false), ("b", Some("east"), true)]);
    let plain = read(&format!("[topology]\n{TWO_NODES}")).unwrap().topology;
    assert_eq!(
        plain.map(|declared| declared.apply),
        Some(ApplyPolicy::PlanOnly)
    );
    assert_eq!(read(TWO_NODES).unwrap().topology, None);
}

#[test]
fn what_would_do_nothing_without_a_declared_topology_is_a_mistake() {
    let told = mistakes_of(&format!("{TWO_NODES}drain = true\n"));
    assert!(told.contains("`drain` here says what shall be"), "{told}");
    let indexes = "[[indexes]]\nuid = \"movies\"\nreplication_factor = 1\n";
    let told = mistakes_of(&format!("{TWO_NODES}{indexes}"));
    assert!(told.contains("needs a declared topology"), "{told}");
    let never = mistakes_of(&format!("[topology]\napply = \"now\"\n{TWO_NODES}"));
    assert!(never.contains("write \"plan-only\" or \"auto\""), "{never}");
    let none = mistakes_of(
        "[topology]\nreplication_factor = 0\n[[nodes]]\nname = \"a\"\nurl = \"http://a:1\"\ndrain = true\n",
    );
    assert!(
        none.contains("at least 1, not 0") && none.contains("every node drains"),
        "{none}"
    );
}

#[test]
fn nodes_are_found_by_names_with_a_number_in_their_first_part() {
    let with = |line: &str| format!("[topology]\n{line}\n{TWO_NODES}");
    let found = read(&with("discover = \"http://meili-{n}.meili.svc:7700\"")).unwrap();
    let found = found.discover.unwrap();
    assert_eq!(
        (found.before.as_str(), found.after.as_str()),
        ("meili-", ".meili.svc")
    );
    assert_eq!(
        (found.port, found.interval),
        (7700, Duration::from_secs(10))
    );
    assert_eq!(read(&with("")).unwrap().discover, None);
    for wrong in [
        "http://meili.svc:7700",
        "http://meili.svc-{n}:7700",
        "meili-{n}:7700",
        "http://meili-{n}:x",
    ] {
        let told = mistakes_of(&with(&format!("discover = \"{wrong}\"")));
        assert!(told.contains("`discover` cannot be"), "{wrong}: {told}");
    }
}
