//! `miroir import-dump`: a Meilisearch dump into an empty Miroir; and the flags of the other
//! commands that do the same before they serve.

use super::serve::{self, ConfigArgs};
use crate::import::{self, Wish};
use crate::{screen, telemetry, wire};
use std::path::PathBuf;
use std::process::ExitCode;

/// Import a Meilisearch dump into an empty Miroir, and end.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The nodes must run, and no other miroir on the data folder.\n\
    The configuration is that of `miroir serve`. Keys have the values they had if MIROIR_MASTER_KEY\n\
    is the master key they had."
)]
pub(super) struct Args {
    /// The dump: a file that a Meilisearch of 1.0 or later, or Miroir, wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The flags about a dump of the commands that serve; the names are Meilisearch's.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Import a dump into an empty Miroir before serving
    #[arg(long, env = "MIROIR_IMPORT_DUMP", value_name = "FILE")]
    import_dump: Option<PathBuf>,
    /// Go on without the dump if there is no such file
    #[arg(long, env = "MIROIR_IGNORE_MISSING_DUMP", requires = "import_dump")]
    ignore_missing_dump: bool,
    /// Go on without the dump if there is data already
    #[arg(
        long,
        env = "MIROIR_IGNORE_DUMP_IF_DB_EXISTS",
        requires = "import_dump"
    )]
    ignore_dump_if_db_exists: bool,
}

impl Flags {
    /// What they wish for.
    pub(super) fn wish(&self) -> Option<Wish> {
        let file = self.import_dump.clone()?;
        Some(Wish {
            file,
            ignore_missing: self.ignore_missing_dump,
            ignore_if_not_empty: self.ignore_dump_if_db_exists,
        })
    }
}

/// Imports, tells what, and ends.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let wish = Wish {
        file: args.file,
        ignore_missing: false,
        ignore_if_not_empty: false,
    };
    let config = serve::load(args.config, None)?;
    telemetry::init(&config.log)?;
    let engine = Box::pin(wire::open_engine(&config)).await?;
    let report = Box::pin(import::at_start(&engine, Some(&wish), &config.data_dir)).await;
    engine.shutdown().await;
    if let Some(report) = report? {
        screen::say(format!(
            "Imported {}:\n  indexes        {}\n  documents      {}\n  API keys       {}\n  \
             past tasks     {}\n  waiting tasks  {}",
            wish.file.display(),
            report.indexes,
            screen::grouped(report.documents),
            report.keys,
            screen::grouped(report.past_tasks),
            report.waiting_tasks,
        ));
        if report.unknown_tasks > 0 {
            screen::note(format!(
                "{} tasks of kinds that Miroir does not have were left out of the history.",
                report.unknown_tasks
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
