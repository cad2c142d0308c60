//! `miroir restore`: a backup becomes a data folder.

use crate::screen;
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;

/// Put a backup back into an empty data folder, with no proxy running on it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The proxy that starts there next asks every node whether it has done what \
    the backup does not know of, and does not start if so: docs/guide/operations.md."
)]
pub(super) struct Args {
    /// The backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data folder, empty or not there yet
    #[arg(long, env = "MIROIR_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Checks, copies, tells what is there.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = miroir_store::restore(&args.from, &args.data_dir)
        .with_context(|| format!("{} cannot be put back", args.from.display()))?;
    screen::say(format!(
        "Restored to {}: the log up to task {}, {} payload files.\n\
         Start the proxy on it: it asks the nodes first whether they are ahead of this log.",
        report.folder.display(),
        report
            .last_task
            .map_or_else(|| "(none)".to_owned(), |task| task.to_string()),
        screen::grouped(report.payload_files),
    ));
    Ok(ExitCode::SUCCESS)
}
