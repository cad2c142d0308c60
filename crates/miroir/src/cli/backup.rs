//! `miroir backup`: a copy of a running proxy's store.

use super::connection::Connection;
use crate::screen;
use anyhow::Context;
use http::Method;
use miroir_api::admin::{Backup, BackupRequest};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A large store takes a while.
const BACKUP_MAX: Duration = Duration::from_secs(3600);

/// Copy the store of a running proxy into an empty folder of its machine
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The copy is one moment of the log. It holds the keys' records and the \
    embedders' secrets: keep it as safe as the data folder. Put it back with `miroir restore`."
)]
pub(super) struct Args {
    /// A folder of the proxy's machine that is empty or is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    proxy: Connection,
}

/// Asks, waits, tells what was copied.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(BACKUP_MAX)?;
    let to = std::path::absolute(&args.to).context("the folder cannot be named whole")?;
    let request = BackupRequest {
        to: to.display().to_string(),
    };
    let body = serde_json::to_value(request)?;
    let answer = client
        .send_json(Method::POST, "/_miroir/backup", &body)
        .await?;
    let backup: Backup = serde_json::from_value(answer).context("the answer is not understood")?;
    screen::say(format!(
        "Backed up to {}: the log up to task {}, {} payload files, {} bytes.",
        backup.folder,
        backup
            .last_task
            .map_or_else(|| "(none)".to_owned(), |task| task.to_string()),
        screen::grouped(backup.payload_files),
        screen::grouped(backup.database_bytes + backup.payload_bytes),
    ));
    Ok(ExitCode::SUCCESS)
}
