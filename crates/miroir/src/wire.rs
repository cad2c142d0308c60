//! Wires the library crates into one running proxy.

use crate::clock::SystemClock;
use crate::config::{Config, DiscoverConfig, Secret};
use crate::import::{self, Report};
use crate::{stop_at, telemetry};
use anyhow::Context;
use miroir_core::id::NodeId;
use miroir_engine::Engine;
use miroir_engine::state::{Config as EngineConfig, NodeSpec, Ports};
use miroir_engine::topology::discover::{Discovery, Resolver};
use miroir_engine::webhooks::Webhook;
use miroir_http::{Features, Options, TlsServer, Transport};
use miroir_node::{
    HttpHookClient, HttpLlmClient, HttpNodeClient, HttpRemoteClient, NodeAddress, Roots,
};
use miroir_store::{FileDumps, FileSnapshots};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A proxy that serves.
pub(crate) struct Running {
    engine: Engine,
    local_addr: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Where it listens, with the port that was really taken.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// From now on the configuration declares this topology. Keys of nodes that it brings are those of
    /// the start.
    pub(crate) fn declare(&self, config: &Config) {
        self.engine.set_declaration(config.topology.clone());
    }

    /// Takes no new requests, finishes the running ones, and closes the store.
    ///
    /// # Errors
    /// If the server had failed.
    pub(crate) async fn shutdown(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.server.await.context("the server was lost")?
    }
}

/// Starts the proxy: the engine over the store and the node client, behind a listener.
///
/// # Errors
/// If a file of TLS cannot be used, the address cannot be listened on, or the store cannot be opened.
pub(crate) async fn start(config: &Config) -> anyhow::Result<Running> {
    let transport = transport(config)?;
    let listener = listen(&config.http_addr).await?;
    let local_addr = listener.local_addr()?;
    let mut engine = Box::pin(open_engine(config)).await?;
    match prepare_engine(&engine, config).await {
        Ok(None) => {}
        Ok(Some(_)) => {
            // An import writes into the store what the engine reads at its start.
            engine.shutdown().await;
            drop(engine);
            engine = Box::pin(open_engine(config)).await?;
        }
        Err(error) => {
            engine.shutdown().await;
            return Err(error);
        }
    }
    let options = Options {
        master_key: config
            .master_key
            .as_ref()
            .map(|key: &Secret| key.reveal().to_owned()),
        http_payload_size_limit: config.payload_bytes_max,
        features: Features {
            metrics: config.has_metrics,
            logs_route: config.has_logs_route,
        },
        logs: telemetry::control(),
        llm: Some(Arc::new(llm_client(config)?)),
        searches: config.transport.searches,
        uploads: config.transport.uploads,
    };
    let router = miroir_http::router(engine.clone(), options);
    engine.set_declaration(config.topology.clone());
    let handle = engine.clone();
    let stop = CancellationToken::new();
    let told_to_stop = stop.clone();
    let server = tokio::spawn(async move {
        let stopped = async move {
            told_to_stop.cancelled().await;
            // Who follows the logs would hold the end up for as long as it may take.
            if let Some(logs) = telemetry::control() {
                logs.close();
            }
        };
        let result = miroir_http::serve(listener, router, transport, stopped).await;
        engine.shutdown().await;
        result.context("the listener failed")
    });
    Ok(Running {
        engine: handle,
        local_addr,
        stop,
        server,
    })
}

/// How connections are served, with the certificate read.
///
/// # Errors
/// If a file of TLS cannot be used.
pub(crate) fn transport(config: &Config) -> anyhow::Result<Transport> {
    let tls = config.transport.tls.as_ref().map(TlsServer::load);
    Ok(Transport {
        tls: tls.transpose().context("TLS cannot be served")?,
        connections_max: config.transport.connections_max,
        drain_max: config.transport.shutdown_timeout,
        ..Transport::default()
    })
}

/// What is done once before anybody is served.
async fn prepare_engine(engine: &Engine, config: &Config) -> anyhow::Result<Option<Report>> {
    let wish = config.import.as_ref();
    let report = Box::pin(import::at_start(engine, wish, &config.data_dir)).await?;
    if config.master_key.is_some() {
        let made = engine.make_default_api_keys().await;
        made.context("the default API keys cannot be made")?;
    }
    Ok(report)
}

/// Starts the engine alone.
///
/// # Errors
/// If the store cannot be opened.
pub(crate) async fn open_engine(config: &Config) -> anyhow::Result<Engine> {
    let store = miroir_store::open(&config.data_dir).with_context(|| {
        format!(
            "the store in {} cannot be opened",
            config.data_dir.display()
        )
    })?;
    let roots = roots(config)?;
    let hooks = HttpHookClient::new(config.webhook_ips.clone(), &roots);
    let remotes = HttpRemoteClient::new(config.allowed_ips.clone(), &roots);
    let ports = Ports {
        nodes: Arc::new(node_client(config)),
        payloads: store.payloads(),
        api_keys: store.clone(),
        instance: store.clone(),
        hooks: Arc::new(hooks),
        store,
        clock: Arc::new(SystemClock::new()),
        dumps: FileDumps::new(&config.dump_dir),
        snapshots: FileSnapshots::new(&config.snapshot_dir),
        remotes: Arc::new(remotes),
    };
    Engine::start(ports, engine_config(config)?)
        .await
        .context("the proxy cannot start from what its store holds")
}

/// What talks to the LLMs of chats.
fn llm_client(config: &Config) -> anyhow::Result<HttpLlmClient> {
    Ok(HttpLlmClient::new(
        config.allowed_ips.clone(),
        &roots(config)?,
    ))
}

fn roots(config: &Config) -> anyhow::Result<Roots> {
    Roots::new(config.extra_roots.as_deref())
        .map_err(|error| anyhow::anyhow!("the authorities of `extra_roots` are unusable: {error}"))
}

/// What talks to the nodes.
pub(crate) fn node_client(config: &Config) -> HttpNodeClient {
    let addresses = config.nodes.iter().map(|node| NodeAddress {
        id: NodeId::new(&node.name),
        url: node.url.clone(),
        key: node.key.as_ref().map(|key| key.reveal().to_owned()),
    });
    HttpNodeClient::new(addresses.collect())
}

/// The nodes as the engine knows them.
pub(crate) fn node_specs(config: &Config) -> Vec<NodeSpec> {
    let spec = |node: &crate::config::NodeConfig| NodeSpec {
        id: NodeId::new(&node.name),
        url: node.url.clone(),
        zone: node.zone.clone(),
        weight_milli: weight_milli(node.weight),
    };
    config.nodes.iter().map(spec).collect()
}

fn engine_config(config: &Config) -> anyhow::Result<EngineConfig> {
    Ok(EngineConfig {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes: node_specs(config),
        shard_count: config.default_shards,
        replication_factor: config.replication_factor,
        search_timeout: config.search_deadline,
        search_cache_bytes: config.search_cache_bytes,
        node_timeout: NODE_TIMEOUT,
        probe_interval: config.probe_interval,
        reads: config.reads.clone(),
        webhook: config.webhook.as_ref().map(|webhook| Webhook {
            url: webhook.url.clone(),
            headers: webhook
                .authorization
                .iter()
                .map(|value| ("Authorization".to_owned(), value.reveal().to_owned()))
                .collect(),
        }),
        copy: config.copy.clone(),
        limits: config.limits,
        declares_topology: config.topology.is_some(),
        discovery: config.discover.as_ref().map(discovery),
        lost_after: config.lost_after,
        step_hook: stop_at::hook()?,
    })
}

/// The system's own resolver: it knows search domains and files as every other program does.
struct SystemResolver;

#[async_trait::async_trait]
impl Resolver for SystemResolver {
    async fn is_there(&self, host: &str, port: u16) -> bool {
        let found = tokio::net::lookup_host((host, port)).await;
        found.is_ok_and(|mut addresses| addresses.next().is_some())
    }
}

fn discovery(config: &DiscoverConfig) -> Discovery {
    Discovery {
        before: config.before.clone(),
        after: config.after.clone(),
        port: config.port,
        interval: config.interval,
        resolver: Arc::new(SystemResolver),
    }
}

/// One call on the write path: a request of 24 MB must pass over a slow link within it.
const NODE_TIMEOUT: Duration = Duration::from_secs(60);

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the weight was checked to be finite and positive; the cast saturates"
)]
fn weight_milli(weight: f64) -> u32 {
    ((weight * 1000.0).round() as u32).max(1)
}

/// Opens the listener.
///
/// # Errors
/// With the flag that helps, if the address is in use or not ours.
pub(crate) async fn listen(http_addr: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(http_addr).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{http_addr} is in use: stop the program that listens there, or choose another address \
             with --http-addr (port 0 takes any free one)"
        ),
        std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "{http_addr} cannot be listened on ({error}): choose an address of this machine \
                 with --http-addr, and a port of 1024 or above"
            )
        }
        _ => anyhow::anyhow!("{http_addr} cannot be listened on: {error}"),
    })
}
