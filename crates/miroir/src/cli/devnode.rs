//! `miroir devnode`: the bundled development node, one process for each node of `miroir dev`.

use super::stop::StopSignals;
use crate::config::LogFormat;
use crate::dev::pidfile::PidFile;
use crate::{config, telemetry};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Run one bundled development node (used by `miroir dev`)
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7701", value_name = "HOST:PORT")]
    http_addr: SocketAddr,
    /// The node's folder
    #[arg(long, default_value = "./data.ms", value_name = "DIR")]
    db_path: PathBuf,
    /// What clients must send
    #[arg(
        long,
        env = "MEILI_MASTER_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    master_key: Option<String>,
    /// The largest request body, decompressed
    #[arg(long, value_parser = config::parse_bytes, value_name = "SIZE")]
    http_payload_size_limit: Option<u64>,
    /// Threads that index
    #[arg(long, value_name = "N")]
    max_indexing_threads: Option<usize>,
    /// The largest size of one index
    #[arg(long, value_parser = config::parse_bytes, value_name = "SIZE")]
    max_index_size: Option<u64>,
    /// Fault switch: how long each batch waits before it is applied
    #[arg(long, value_parser = config::parse_duration, value_name = "DURATION")]
    task_delay: Option<Duration>,
    /// End when standard input closes
    #[arg(long)]
    exit_on_stdin_eof: bool,
    /// Where to write the process id; locked as long as the node lives
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// A level or a filter
    #[arg(long, default_value = "info,milli_core=warn", value_name = "LEVEL")]
    log_level: String,
}

/// Serves until asked to stop.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    telemetry::init(&config::LogConfig {
        level: args.log_level,
        format: LogFormat::Human,
    })?;
    let mut stop = StopSignals::new()?;
    // Held to the end: a successor on the same folder waits until this process is gone.
    let _pid_file = match &args.pid_file {
        Some(path) => {
            let mut file = PidFile::lock(path).await?;
            file.write(std::process::id())?;
            Some(file)
        }
        None => None,
    };
    let mut options = miroir_devnode::Options::new(args.http_addr, args.db_path);
    options.master_key = args.master_key.filter(|key| !key.is_empty());
    options.task_delay = args.task_delay;
    options.exit_on_stdin_eof = args.exit_on_stdin_eof;
    if let Some(limit) = args.http_payload_size_limit {
        options.http_payload_size_limit = limit;
    }
    if let Some(threads) = args.max_indexing_threads {
        options.indexing_threads = threads.max(1);
    }
    if let Some(size) = args.max_index_size {
        options.max_index_size = size;
    }
    miroir_devnode::run(options, stop.asked()).await?;
    Ok(ExitCode::SUCCESS)
}
