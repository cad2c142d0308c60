//! `miroir explain`: why a shard is where it is, and how a search would be carried out.

use super::connection::Connection;
use crate::screen::{self, bytes, grouped};
use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use http::Method;
use miroir_api::admin::{QueryExplanation, ShardExplanation};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Nodes are asked for their sizes.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Tell why a shard is where it is, or how a search would be carried out
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Why a shard is where it is, and what keeps it from moving
    Shard {
        /// Index and number, such as movies/12
        #[arg(value_name = "INDEX/SHARD")]
        shard: String,
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// How a search would be carried out now; nothing is searched
    Query {
        /// The index
        index: String,
        /// The words searched for
        #[arg(short, long, default_value = "")]
        q: String,
        /// The filter
        #[arg(long)]
        filter: Option<String>,
        /// The whole body of the search, as JSON, instead
        #[arg(long, value_name = "JSON", conflicts_with_all = ["q", "filter"])]
        body: Option<String>,
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Asks and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = match args.command {
        Command::Shard { shard, proxy, json } => {
            let (index, number) = read_shard(&shard)?;
            let path = format!("/_miroir/indexes/{index}/shards/{number}");
            let answer = proxy.client(ANSWER_MAX)?.get(&path).await?;
            let told: ShardExplanation = understood(answer)?;
            match json {
                true => serde_json::to_string_pretty(&told)?,
                false => shard_text(&told),
            }
        }
        Command::Query {
            index,
            q,
            filter,
            body,
            proxy,
            json,
        } => {
            let body = match body {
                Some(body) => serde_json::from_str(&body).context("the body is no JSON")?,
                None => match filter {
                    Some(filter) => json!({"q": q, "filter": filter}),
                    None => json!({"q": q}),
                },
            };
            let path = format!("/_miroir/indexes/{index}/explain");
            let client = proxy.client(ANSWER_MAX)?;
            let told: QueryExplanation =
                understood(client.send_json(Method::POST, &path, &body).await?)?;
            match json {
                true => serde_json::to_string_pretty(&told)?,
                false => query_text(&told),
            }
        }
    };
    screen::say(text);
    Ok(ExitCode::SUCCESS)
}

fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn read_shard(text: &str) -> anyhow::Result<(&str, u32)> {
    let parts = text.rsplit_once('/');
    let read = parts.and_then(|(index, number)| Some((index, number.parse().ok()?)));
    read.with_context(|| format!("`{text}` is not an index and a shard, such as movies/12"))
}

fn shard_text(told: &ShardExplanation) -> String {
    let mut text = format!(
        "Shard {} of the {} of {} ({} on the nodes): about {} documents, {}.\nIt lies on {} \
         ({} copies are wanted).\n\n",
        told.shard,
        told.shard_count,
        told.index_uid,
        told.physical,
        grouped(told.documents),
        bytes(told.bytes),
        told.replicas.join(", "),
        told.replication_factor,
    );
    let rows: Vec<Vec<String>> = told
        .nodes
        .iter()
        .map(|node| {
            vec![
                node.name.clone(),
                node.rank.to_string(),
                format!("{:.0} %", node.fill * 100.0),
                node.zone.clone().unwrap_or_else(|| "-".into()),
                node.reason.clone(),
            ]
        })
        .collect();
    text.push_str(&screen::table(
        &["node", "rank", "fill", "zone", "why"],
        &rows,
    ));
    if told.blocked_by.is_empty() {
        text.push_str("\n\nNothing keeps it from moving.");
    } else {
        text.push_str("\n\nWhat keeps it from moving:");
        for cause in &told.blocked_by {
            text.push_str(&format!("\n  {cause}"));
        }
    }
    text
}

fn query_text(told: &QueryExplanation) -> String {
    let mut text = format!(
        "{} is {} on the nodes, in {} shards.\n{} are needed ({}).\n",
        told.index_uid, told.physical, told.shard_count, told.shards_needed, told.narrowing
    );
    text.push_str(match told.cached {
        true => "The answer is at hand: no node would be asked.\n\n",
        false => "The answer is not at hand.\n\n",
    });
    let rows: Vec<Vec<String>> = told
        .parts
        .iter()
        .map(|part| {
            vec![
                part.node.clone(),
                part.zone.clone().unwrap_or_else(|| "-".into()),
                part.shards.len().to_string(),
                if part.shard_filter.is_some() {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
                part.limit.to_string(),
                part.latency_ms
                    .map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms")),
            ]
        })
        .collect();
    let headers = ["node", "zone", "shards", "filtered", "hits", "usually"];
    text.push_str(&screen::table(&headers, &rows));
    for (node, reason) in &told.spared {
        text.push_str(&format!("\n\n{node} is not asked: {reason}."));
    }
    if !told.missing_shards.is_empty() {
        let count = told.missing_shards.len();
        text.push_str(&format!("\n\nNobody can answer for {count} shards now."));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_api::admin::ShardNode;

    #[test]
    fn a_shard_is_named_by_index_and_number() {
        assert_eq!(read_shard("movies/12").unwrap(), ("movies", 12));
        assert!(read_shard("movies").is_err() && read_shard("movies/x").is_err());
    }

    #[test]
    fn the_explanation_of_a_shard_tells_who_holds_it_and_why() {
        let told = ShardExplanation {
            index_uid: "movies".into(),
            physical: "movies__0".into(),
            shard: 12,
            shard_count: 32,
            replication_factor: 1,
            documents: 1000,
            bytes: 2 << 20,
            replicas: vec!["a".into()],
            nodes: vec![ShardNode {
                name: "a".into(),
                zone: None,
                rank: 1,
                holds: true,
                fill: 1.02,
                reason: "it holds it".into(),
            }],
            blocked_by: vec![],
        };
        assert_eq!(
            shard_text(&told),
            "Shard 12 of the 32 of movies (movies__0 on the nodes): about 1,000 documents, 2.0 MiB.\n\
             It lies on a (1 copies are wanted).\n\n  \
               node   rank   fill    zone   why\n  \
               a         1   102 %   -      it holds it\n\n\
             Nothing keeps it from moving."
        );
    }
}
