//! `miroir orphans`: what lies on nodes and no placement puts there, and its removal.

use super::connection::Connection;
use crate::screen::{self, grouped};
use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use http::Method;
use miroir_api::admin::{Orphan, Orphans, Sweep, SweepRequest};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Every node is asked, and counts documents of foreign shards.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// Show what lies on nodes and is placed on others or nowhere, and remove it
#[derive(Debug, ClapArgs)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Moves leave nothing behind; but a node may have been filled by hand or restored from \
                  an old copy. Only indexes that bear a name of Miroir's are looked at, and only on \
                  nodes that answer and are in sync.\n\n\
                  Exit codes: 0 there are none (or all were removed), 2 there are some, 1 no answer."
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, ClapArgs)]
struct Show {
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it, and remove exactly that
    Sweep {
        /// Remove it; without this it is only shown
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        show: Show,
    },
}

/// Shows, and removes if asked.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (show, sweeps) = match args.command {
        None => (args.show, false),
        Some(Command::Sweep { yes, show }) => (show, yes),
    };
    let client = show.proxy.client(ANSWER_MAX)?;
    let found: Orphans = understood(client.get("/_miroir/orphans").await?)?;
    if !sweeps || found.orphans.is_empty() {
        screen::say(if show.json {
            serde_json::to_string_pretty(&found)?
        } else {
            to_text(&found)
        });
        return Ok(match found.orphans.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(2),
        });
    }
    if !show.json {
        screen::say(table(&found.orphans));
    }
    let body = serde_json::to_value(SweepRequest {
        digest: found.digest,
    })?;
    let answer = client
        .send_json(Method::POST, "/_miroir/orphans/sweep", &body)
        .await?;
    let sweep: Sweep = understood(answer)?;
    screen::say(if show.json {
        serde_json::to_string_pretty(&sweep)?
    } else {
        format!(
            "\n{} on their way out: each node removes them after what it was sent before.",
            grouped(sweep.removed)
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn understood<T: DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn to_text(found: &Orphans) -> String {
    let mut text = match found.orphans.is_empty() {
        true if found.nodes_not_seen.is_empty() => {
            "Every node holds what is placed on it, and nothing else.".to_owned()
        }
        true => "Every node looked at holds what is placed on it, and nothing else.".to_owned(),
        false => format!(
            "{}\n\nRemove exactly this: miroir orphans sweep --yes",
            table(&found.orphans)
        ),
    };
    if !found.nodes_not_seen.is_empty() {
        text.push_str(&format!(
            "\nNot looked at, since they are away or not in sync: {}.",
            found.nodes_not_seen.join(", ")
        ));
    }
    text
}

fn table(orphans: &[Orphan]) -> String {
    let what = |orphan: &Orphan| match &orphan.shards {
        None => "the whole index".to_owned(),
        Some(shards) => format!("documents of {} foreign shards", shards.len()),
    };
    let rows: Vec<Vec<String>> = orphans
        .iter()
        .map(|orphan| {
            vec![
                orphan.node.clone(),
                orphan.index.clone(),
                what(orphan),
                grouped(orphan.documents),
            ]
        })
        .collect();
    screen::table(&["node", "index", "what", "documents"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_names_what_lies_where_and_who_was_not_asked() {
        let orphan = |shards: Option<Vec<u32>>| Orphan {
            node: "a".into(),
            index: "movies__7".into(),
            shards,
            documents: 1200,
        };
        let found = Orphans {
            digest: "0".into(),
            orphans: vec![orphan(None), orphan(Some(vec![1, 2]))],
            nodes_not_seen: vec!["b".into()],
        };
        let text = to_text(&found);
        for told in [
            "the whole index",
            "2 foreign shards",
            "1,200",
            "--yes",
            "in sync: b.",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
        let none = Orphans {
            orphans: vec![],
            ..found
        };
        assert!(to_text(&none).starts_with("Every node looked at holds"));
        let all = Orphans {
            nodes_not_seen: vec![],
            ..none
        };
        assert!(to_text(&all).starts_with("Every node holds"));
    }
}
