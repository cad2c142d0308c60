//! `miroir index`: when to re-shard, to add copies, or to even out; and re-sharding.

use super::connection::Connection;
use crate::screen;
use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use miroir_api::admin::TopologyAdvice;
use std::process::ExitCode;
use std::time::Duration;

/// Advice on the indexes, and the number of their shards
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell when to use more shards or copies, or to even out the nodes
    #[command(
        after_help = "Exit codes: 0 nothing should be changed, 2 something should, 1 no answer."
    )]
    Advise {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    Reshard(super::reshard::Args),
}

/// Asks and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (proxy, json) = match args.command {
        Command::Advise { proxy, json } => (proxy, json),
        Command::Reshard(args) => return Box::pin(super::reshard::run(args)).await,
    };
    let answer = proxy
        .client(Duration::from_secs(30))?
        .get("/_miroir/advice")
        .await?;
    let advice: TopologyAdvice =
        serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")?;
    screen::say(if json {
        serde_json::to_string_pretty(&advice)?
    } else {
        to_text(&advice)
    });
    Ok(match advice.advice.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    })
}

fn to_text(advice: &TopologyAdvice) -> String {
    let rule = format!(
        "A new index gets {} shards by the rule, on the nodes there are.",
        advice.shards_of_a_new_index
    );
    if advice.advice.is_empty() {
        return format!("Nothing should be changed.\n{rule}");
    }
    let lines: Vec<String> = advice
        .advice
        .iter()
        .map(|line| format!("- {line}"))
        .collect();
    format!("{}\n\n{rule}", lines.join("\n"))
}
