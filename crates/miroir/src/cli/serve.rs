//! `miroir serve`: the proxy over nodes that run elsewhere.

use super::stop::{Asked, StopSignals};
use crate::config::{self, Config, Environment, LogFormat, Overrides, TlsOverrides};
use crate::import::Wish;
use crate::{screen, telemetry, wire};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the configuration is looked for when no flag names it.
const DEFAULT_FILE: &str = "miroir.toml";

/// Serve one endpoint over the nodes of a configuration file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Secrets come from the environment only:\n  \
    MIROIR_MASTER_KEY   what clients must send\n  \
    MIROIR_NODE_KEY     the key of every node (or name another variable with `key_env`)\n  \
    MIROIR_TASK_WEBHOOK_AUTHORIZATION_HEADER   what `task_webhook_url` is sent\n\n\
    A flag beats its variable, which beats the file. Every key: docs/guide/configuration.md")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    import: super::import_dump::Flags,
    /// Check the configuration, say what it means, and end
    #[arg(long)]
    check: bool,
}

/// What the proxy runs with.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [default: ./miroir.toml]
    #[arg(long, env = "MIROIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of the file's `http_addr`
    #[arg(long, env = "MIROIR_HTTP_ADDR", value_name = "HOST:PORT")]
    http_addr: Option<String>,
    /// The folder of the store, instead of the file's `data_dir`
    #[arg(long, env = "MIROIR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// `development` or `production`, instead of the file's `env`
    #[arg(
        long,
        env = "MIROIR_ENV",
        value_name = "ENV",
        hide_possible_values = true
    )]
    env: Option<Environment>,
    /// A level or a filter, instead of the file's `log_level`
    #[arg(long, env = "MIROIR_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<String>,
    /// `human` or `json`, instead of the file's `log_format`
    #[arg(
        long,
        env = "MIROIR_LOG_FORMAT",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    tls: TlsOverrides,
}

/// Serves until asked to stop.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let check = args.check;
    let again = args.config.clone();
    let config = load(args.config, args.import.wish())?;
    if check {
        // Files that cannot be used are mistakes of the configuration, too.
        wire::transport(&config)?;
        screen::say(summary(&config));
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init(&config.log)?;
    let mut stop = StopSignals::new()?;
    let running = wire::start(&config).await?;
    tracing::info!(
        address = %running.local_addr(),
        tls = config.transport.tls.is_some(),
        nodes = config.nodes.len(),
        replication_factor = config.replication_factor,
        data_dir = %config.data_dir.display(),
        "miroir {} is serving",
        env!("CARGO_PKG_VERSION"),
    );
    if config.master_key.is_none() {
        tracing::warn!("there is no master key: whoever reaches the endpoint may do anything");
    }
    while stop.next().await == Asked::HangUp && config.topology.is_some() {
        read_again(again.clone(), &running);
    }
    tracing::info!("asked to stop: no new requests are taken, running ones are finished");
    running.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}

/// Takes over the topology that the file declares now. All else counts from the next start on.
fn read_again(args: ConfigArgs, running: &wire::Running) {
    match load(args, None) {
        Ok(config) => {
            tracing::info!("the configuration is read again, for its topology");
            running.declare(&config);
        }
        Err(error) => tracing::error!("the configuration stays as it was: {error:#}"),
    }
}

/// The configuration that the arguments name, checked.
///
/// # Errors
/// Every mistake in it.
pub(super) fn load(args: ConfigArgs, import: Option<Wish>) -> anyhow::Result<Config> {
    let file = match args.config {
        Some(file) => file,
        None if Path::new(DEFAULT_FILE).is_file() => PathBuf::from(DEFAULT_FILE),
        None => bail!(
            "there is no ./{DEFAULT_FILE} and no --config FILE was given.\n\
             To try Miroir without any set-up:\n  miroir dev --demo\n\
             To serve your own nodes, write ./{DEFAULT_FILE}:\n  \
             replication_factor = 1\n  [[nodes]]\n  name = \"node-1\"\n  \
             url = \"http://127.0.0.1:7701\"\n\
             Every key is explained in docs/guide/configuration.md."
        ),
    };
    let source = std::fs::read_to_string(&file)
        .with_context(|| format!("the configuration {} cannot be read", file.display()))?;
    let overrides = Overrides {
        http_addr: args.http_addr,
        data_dir: args.data_dir,
        env: args.env,
        log_level: args.log_level,
        log_format: args.log_format,
        tls: args.tls,
        import,
    };
    Ok(config::resolve(&file, &source, overrides, |name| {
        std::env::var(name).ok()
    })?)
}

fn summary(config: &Config) -> String {
    let rows: Vec<Vec<String>> = config
        .nodes
        .iter()
        .map(|node| {
            let zone = node.zone.clone().unwrap_or_else(|| "-".to_owned());
            let key = if node.key.is_some() { "yes" } else { "no" };
            vec![
                node.name.clone(),
                node.url.clone(),
                zone,
                node.weight.to_string(),
                key.to_owned(),
            ]
        })
        .collect();
    format!(
        "The configuration is right.\n\n  \
         environment         {}\n  \
         listens on          {}, {}\n  \
         data folder         {}\n  \
         master key          {}\n  \
         largest body        {} bytes\n  \
         shards of an index  {}\n  \
         replicas of each    {}\n  \
         search deadline     {:?}\n  \
         searches at once    {}, {} more wait\n  \
         probe interval      {:?}\n\n{}",
        match config.env {
            Environment::Development => "development",
            Environment::Production => "production",
        },
        config.http_addr,
        match &config.transport.tls {
            Some(tls) if tls.require_client => "TLS, for clients with a certificate",
            Some(_) => "TLS",
            None => "in clear text",
        },
        config.data_dir.display(),
        if config.master_key.is_some() {
            "set"
        } else {
            "none: the endpoint is open"
        },
        screen::grouped(config.payload_bytes_max),
        config.default_shards,
        config.replication_factor,
        config.search_deadline,
        config.transport.searches.inside_max,
        config.transport.searches.waiting_max,
        config.probe_interval,
        screen::table(&["node", "url", "zone", "weight", "key"], &rows),
    )
}
