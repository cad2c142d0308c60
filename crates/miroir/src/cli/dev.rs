//! `miroir dev`: nodes and proxy in one command, for trying, developing and testing.

use super::stop::StopSignals;
use crate::client::HttpClient;
use crate::config::{self, Config, Environment, LogConfig, LogFormat, NodeConfig, Secret};
use crate::dev::fleet::Fleet;
use crate::dev::launch::Program;
use crate::dev::pidfile::{self, PidFile};
use crate::dev::record::{self, NodeKind, NodeRecord, Record, Wish};
use crate::{demo, screen, telemetry, wire};
use anyhow::{Context, bail};
use miroir_engine::gate::Limits;
use miroir_node::IpPolicy;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// How long the proxy may take from listening to seeing its nodes.
const READY_MAX: Duration = Duration::from_secs(120);
const READY_POLL: Duration = Duration::from_millis(5);
/// How long running requests are finished before the nodes are stopped under them.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// More processes than a laptop bears.
const NODES_MAX: i64 = 32;

/// Start nodes and proxy on this machine, in one command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    miroir dev --demo                          three nodes, a data set, a few searches\n  \
    miroir dev --nodes 5 --rf 3                more nodes, three replicas of each shard\n  \
    miroir dev --node-binary ./meilisearch     the same over real Meilisearch processes\n  \
    miroir dev --node-arg=--log-level=DEBUG    an argument for every node\n\n\
    The data folder is kept between runs; remove it to start afresh.")]
pub(super) struct Args {
    /// How many nodes [default: 3, or what the data folder holds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=NODES_MAX))]
    nodes: Option<u32>,
    /// How many replicas of each shard [default: 2, or 1 on one node]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=NODES_MAX))]
    rf: Option<u32>,
    /// How many shards a new index has
    #[arg(long, value_name = "S", default_value_t = config::DEFAULT_SHARDS,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    shards: u32,
    /// The folder of nodes and proxy
    #[arg(long, value_name = "DIR", default_value = config::DEFAULT_DATA_DIR)]
    data: PathBuf,
    /// Where the proxy listens; port 0 takes any free one
    #[arg(long, env = "MIROIR_HTTP_ADDR", value_name = "HOST:PORT",
        default_value = config::DEFAULT_HTTP_ADDR)]
    http_addr: String,
    /// The key of proxy and nodes [default: none, everything is open]
    #[arg(
        long,
        env = "MIROIR_MASTER_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    master_key: Option<String>,
    /// A Meilisearch binary to run instead of the bundled development node
    #[arg(long, env = "MIROIR_DEV_NODE_BINARY", value_name = "PATH")]
    node_binary: Option<PathBuf>,
    /// An argument for every node; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    node_arg: Vec<String>,
    #[command(flatten)]
    import: super::import_dump::Flags,
    /// Load the world's cities and run a few searches
    #[arg(long)]
    demo: bool,
    /// End after the demo (for scripts)
    #[arg(long, requires = "demo")]
    exit_after_demo: bool,
    /// Leave a node that dies dead (for tests)
    #[arg(long, hide = true)]
    no_restart: bool,
    /// A level or a filter for the proxy's log
    #[arg(
        long,
        env = "MIROIR_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "warn"
    )]
    log_level: String,
    /// The shape of the proxy's log: `human` or `json`
    #[arg(
        long,
        env = "MIROIR_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "human",
        hide_possible_values = true
    )]
    log_format: LogFormat,
}

impl Args {
    /// Besides global addresses, this machine: that is where the others run that one tries.
    fn allowed_ips(&self) -> IpPolicy {
        IpPolicy::parse("127.0.0.0/8, ::1").unwrap_or_default()
    }
}

/// Runs until asked to stop, or until the demo has ended if that is all that is wanted.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let log = LogConfig {
        level: args.log_level.clone(),
        format: args.log_format,
    };
    telemetry::init(&log)?;
    let mut stop = StopSignals::new()?;
    let cluster = tokio::select! {
        started = Box::pin(start(&args, log)) => started?,
        // Dropping what has been started ends it.
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    Box::pin(cluster.serve(&args, &mut stop)).await
}

/// Everything that `miroir dev` runs.
struct Cluster {
    fleet: Fleet,
    proxy: wire::Running,
    client: HttpClient,
    /// Held as long as the cluster runs: a second `miroir dev` on the folder is refused.
    _lock: PidFile,
}

async fn start(args: &Args, log: LogConfig) -> anyhow::Result<Cluster> {
    let begun = Instant::now();
    if !config::is_host_and_port(&args.http_addr) {
        bail!(
            "--http-addr cannot be \"{}\": write host:port, as in 127.0.0.1:7700",
            args.http_addr
        );
    }
    // Looked at before any node starts, so that a taken port costs nothing.
    drop(wire::listen(&args.http_addr).await?);
    let master_key = args.master_key.clone().filter(|key| !key.is_empty());
    let lock = open_folder(&args.data)?;
    let folder = args
        .data
        .canonicalize()
        .context("the data folder is gone")?;
    let old = record::load(&folder)?;
    let is_new = old.is_none();
    let kind = match args.node_binary {
        Some(_) => NodeKind::Meilisearch,
        None => NodeKind::Bundled,
    };
    let wish = Wish {
        node_count: args.nodes,
        replication_factor: args.rf,
        node_kind: kind,
    };
    let mut record = record::agree(&args.data, old, wish)?;
    let program = Program::new(
        args.node_binary.clone(),
        args.node_arg.clone(),
        master_key.clone(),
        record.node_count,
    )?;
    if is_new {
        // Written before the nodes write anything: a folder with data always has its record.
        record::save(&folder, &record)?;
    }
    let fleet = Fleet::start(&program, &folder, record.node_count, !args.no_restart).await?;
    let config = proxy_config(args, log, &folder, &record, &fleet, master_key.as_deref());
    let proxy = Box::pin(wire::start(&config)).await?;
    let client = HttpClient::new(
        &format!("http://{}", reachable(proxy.local_addr())),
        master_key.as_deref(),
        Duration::from_secs(60),
    )?;
    wait_until_ready(&client).await?;
    record.url = client.url().to_owned();
    record.pid = std::process::id();
    record.nodes = fleet
        .urls()
        .iter()
        .map(|(name, url)| NodeRecord {
            name: name.clone(),
            url: url.clone(),
        })
        .collect();
    record::save(&folder, &record)?;
    screen::say(welcome(
        args,
        &record,
        begun.elapsed(),
        master_key.is_some(),
    ));
    Ok(Cluster {
        fleet,
        proxy,
        client,
        _lock: lock,
    })
}

impl Cluster {
    /// Runs the demo if wanted, serves, and stops everything.
    async fn serve(self, args: &Args, stop: &mut StopSignals) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let work = async {
            if args.demo
                && let Err(error) = demo::run(&self.client).await
            {
                screen::problem(&error.context("the demo stopped"));
                code = ExitCode::FAILURE;
            }
            if !args.exit_after_demo {
                screen::say("\nServing. Ctrl-C stops everything.");
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = Box::pin(work) => {}
            () = stop.asked() => {
                code = ExitCode::SUCCESS;
                screen::note("\nStopping the proxy and its nodes…");
            }
        }
        let Self {
            fleet,
            proxy,
            client: _,
            _lock,
        } = self;
        let end = async {
            match tokio::time::timeout(SHUTDOWN_MAX, proxy.shutdown()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => screen::problem(&error.context("the proxy had failed")),
                Err(_) => screen::note("Some requests were still running and are cut off."),
            }
            fleet.stop().await;
        };
        tokio::select! {
            () = end => {}
            // Asked twice: the nodes end by themselves when this process is gone.
            () = stop.asked() => {}
        }
        Ok(code)
    }
}

/// Makes the folder if needed, and takes it for this process.
fn open_folder(data: &Path) -> anyhow::Result<PidFile> {
    std::fs::create_dir_all(data).with_context(|| {
        format!(
            "the data folder {} cannot be made: choose another with --data",
            data.display()
        )
    })?;
    let path = data.join("dev.pid");
    let Some(mut lock) = PidFile::try_lock(&path)? else {
        let pid = pidfile::read(&path).map_or_else(String::new, |pid| format!(" (process {pid})"));
        bail!(
            "another `miroir dev`{pid} runs on {}: stop it, or choose another folder with --data",
            data.display()
        );
    };
    lock.write(std::process::id())?;
    Ok(lock)
}

fn proxy_config(
    args: &Args,
    log: LogConfig,
    folder: &Path,
    record: &Record,
    fleet: &Fleet,
    master_key: Option<&str>,
) -> Config {
    let nodes = fleet.urls().iter().map(|(name, url)| NodeConfig {
        name: name.clone(),
        url: url.clone(),
        zone: None,
        weight: 1.0,
        key: master_key.map(Secret::new),
        drains: false,
    });
    Config {
        http_addr: args.http_addr.clone(),
        data_dir: folder.join("proxy"),
        dump_dir: folder.join("dumps"),
        snapshot_dir: folder.join("snapshots"),
        allowed_ips: args.allowed_ips(),
        webhook_ips: IpPolicy::parse("any").unwrap_or_default(),
        extra_roots: None,
        import: args.import.wish(),
        env: Environment::Development,
        master_key: master_key.map(Secret::new),
        payload_bytes_max: config::DEFAULT_PAYLOAD_BYTES_MAX,
        default_shards: args.shards,
        replication_factor: record.replication_factor,
        search_deadline: config::DEFAULT_SEARCH_DEADLINE,
        search_cache_bytes: config::DEFAULT_SEARCH_CACHE_BYTES,
        probe_interval: config::DEFAULT_PROBE_INTERVAL,
        transport: config::TransportConfig::default_for(fleet.urls().len()),
        copy: miroir_engine::copy::CopyConfig::default(),
        reads: Default::default(),
        log,
        limits: Limits::default(),
        lost_after: None,
        topology: None,
        discover: None,
        // As a new Meilisearch has them.
        has_metrics: false,
        has_logs_route: false,
        webhook: None,
        // A developer's hooks stand on the same machine.
        nodes: nodes.collect(),
    }
}

/// An address at which this machine reaches a listener: `0.0.0.0` is none.
fn reachable(mut address: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn wait_until_ready(client: &HttpClient) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        let error = match client.get("/_miroir/ready").await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(error.context("the proxy started but is not ready"));
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

fn welcome(args: &Args, record: &Record, took: Duration, has_key: bool) -> String {
    let kind = match record.node_kind {
        NodeKind::Bundled => "bundled development nodes, not for production",
        NodeKind::Meilisearch => "Meilisearch",
    };
    let access = if has_key {
        "master key set"
    } else {
        "no master key, open"
    };
    let mut text = format!(
        "\nMiroir {} is ready ({:.2} s)\n\n  endpoint  {}   {access}\n",
        env!("CARGO_PKG_VERSION"),
        took.as_secs_f64(),
        record.url
    );
    for (idx, node) in record.nodes.iter().enumerate() {
        let label = if idx == 0 { "nodes" } else { "" };
        let note = if idx == 0 {
            format!("   {kind}")
        } else {
            String::new()
        };
        text.push_str(&format!(
            "  {label:<8}  {}  {}{note}\n",
            node.name, node.url
        ));
    }
    text.push_str(&format!(
        "  copies    {} of each shard, {} shards in a new index\n  data      {} (kept between runs)\n",
        record.replication_factor,
        args.shards,
        args.data.display()
    ));
    let header = match has_key {
        true => " \\\n    -H 'Authorization: Bearer YOUR_MASTER_KEY'",
        false => "",
    };
    let url = &record.url;
    if args.demo {
        return text;
    }
    text.push_str(&format!(
        "\nTry, in another terminal:\n  \
         curl -X POST {url}/indexes/movies/documents{header} \\\n    \
         -H 'Content-Type: application/json' \\\n    \
         -d '[{{\"id\":1,\"title\":\"Alien\"}},{{\"id\":2,\"title\":\"Arrival\"}}]'\n  \
         curl '{url}/indexes/movies/search?q=arival'{header}\n  \
         miroir status --url {url}\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_interface_is_reached_through_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:7700"), "127.0.0.1:7700");
        assert_eq!(reach("[::]:7700"), "[::1]:7700");
        assert_eq!(reach("10.1.2.3:7700"), "10.1.2.3:7700");
    }

    #[test]
    fn a_folder_in_use_is_refused_with_its_owner_and_the_flag() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open_folder(dir.path()).unwrap();
        let told = open_folder(dir.path()).unwrap_err().to_string();
        let owner = format!("(process {})", std::process::id());
        assert!(told.contains(&owner) && told.contains("--data"), "{told}");
    }
}
