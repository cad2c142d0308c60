//! `miroir recover`: a new store, from the nodes alone.

use super::serve::{self, ConfigArgs};
use crate::recover::{self, Wish};
use crate::{screen, telemetry};
use anyhow::{Context, bail};
use miroir_core::id::{IndexUid, PhysicalIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Rebuild a lost store from the nodes (shows what it would write; --yes writes it)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "No Miroir may run on these nodes meanwhile. The configuration is that of `miroir \
    serve`;\nits data folder must be empty or not there yet. Nothing is written to a node.\n\
    What comes back and what is lost: docs/guide/backups.md."
)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the store; without it nothing is written
    #[arg(long)]
    yes: bool,
    /// The name of an index, which its name on the nodes does not tell; may be repeated
    #[arg(long, value_name = "PHYSICAL=NAME", value_parser = parse_name)]
    name: Vec<(String, IndexUid)>,
    /// Leave this index out, by its name on the nodes; may be repeated
    #[arg(long, value_name = "PHYSICAL")]
    without: Vec<String>,
    /// A node that is gone, to be made anew when it returns; may be repeated
    #[arg(long, value_name = "NODE")]
    absent: Vec<String>,
    /// Numbers of tasks and batches to leave out behind the last that a node knows of
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    skip_numbers: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_name(text: &str) -> Result<(String, IndexUid), String> {
    let (physical, name) = text
        .split_once('=')
        .ok_or("write it as movies__12=movies")?;
    let name = IndexUid::new(name).map_err(|error| error.to_string())?;
    Ok((physical.to_owned(), name))
}

/// Looks, plans, shows, and writes if it may.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = serve::load(args.config, None)?;
    telemetry::init(&config.log)?;
    let mut names = BTreeMap::new();
    for (physical, name) in args.name {
        if names
            .insert(PhysicalIndex::from_stored(physical.clone()), name)
            .is_some()
        {
            bail!("{physical} is given two names");
        }
    }
    let wish = Wish {
        names,
        without: args
            .without
            .into_iter()
            .map(PhysicalIndex::from_stored)
            .collect(),
        absent: args.absent.into_iter().collect::<BTreeSet<_>>(),
        spare: args.skip_numbers,
    };
    // Before hours of reading.
    recover::check_folder(&config.data_dir)?;
    let found = Box::pin(recover::look(&config, wish)).await?;
    if args.json {
        screen::say(serde_json::to_string_pretty(&recover::to_json(
            &found, args.yes,
        ))?);
    } else {
        screen::say(recover::to_text(&found));
    }
    if args.yes {
        let written = Box::pin(recover::write(&config, &found)).await;
        written.with_context(|| {
            format!(
                "the store in {} cannot be written",
                config.data_dir.display()
            )
        })?;
        if !args.json {
            screen::say(format!(
                "The store is written to {}. Start the proxy on it: `miroir serve`.",
                config.data_dir.display()
            ));
        }
    } else if !args.json {
        screen::say("Nothing was written. Run it again with --yes to write the store.");
    }
    Ok(ExitCode::SUCCESS)
}
