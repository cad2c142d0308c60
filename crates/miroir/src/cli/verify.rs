//! `miroir verify`: compares the replicas of a running proxy, and repairs what differs.

use super::connection::Connection;
use crate::screen;
use anyhow::Context;
use http::Method;
use miroir_api::admin::{Verification, VerifyRequest};
use std::process::ExitCode;
use std::time::Duration;

/// The proxy is asked this often how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Compare all replicas of all documents, and repair what differs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the replicas agree (or were repaired), 2 they differ or some could \
                  not be compared, 1 no answer."
)]
pub(super) struct Args {
    #[command(flatten)]
    proxy: Connection,
    /// One index; all if absent
    #[arg(long, value_name = "UID")]
    index: Option<String>,
    /// Copy what differs from the replica that is right
    #[arg(long)]
    repair: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Begins a comparison, waits for its end, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(Duration::from_secs(30))?;
    let request = serde_json::to_value(VerifyRequest {
        index_uid: args.index,
        repair: args.repair,
    })?;
    let answer = client
        .send_json(Method::POST, "/_miroir/verify", &request)
        .await?;
    let mut report = parse(answer)?;
    while report.state == "running" {
        tokio::time::sleep(POLL_INTERVAL).await;
        let path = format!("/_miroir/verify/{}", report.job);
        report = parse(client.get(&path).await?)?;
    }
    screen::say(if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        to_text(&report)
    });
    let differs = report.difference_count > report.repaired_count;
    Ok(if differs || !report.skipped.is_empty() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

fn parse(answer: serde_json::Value) -> anyhow::Result<Verification> {
    serde_json::from_value(answer).context("the report is not understood (is it a Miroir?)")
}

fn to_text(report: &Verification) -> String {
    let mut text = format!(
        "{} documents in {} shards compared: ",
        screen::grouped(report.documents),
        screen::grouped(report.shards_done)
    );
    text.push_str(&match report.difference_count {
        0 => "all replicas agree".to_owned(),
        count if report.repair => format!(
            "{} differed, {} copied again",
            screen::grouped(count),
            screen::grouped(report.repaired_count)
        ),
        count => format!(
            "{} differ; `miroir verify --repair` copies them again",
            screen::grouped(count)
        ),
    });
    if !report.differences.is_empty() {
        let rows: Vec<Vec<String>> = report
            .differences
            .iter()
            .map(|difference| {
                vec![
                    difference.index_uid.clone(),
                    difference.shard.to_string(),
                    difference.node.clone(),
                    difference.kind.clone(),
                    difference.id.clone(),
                ]
            })
            .collect();
        text.push_str("\n\n");
        text.push_str(&screen::table(
            &["index", "shard", "node", "there", "document"],
            &rows,
        ));
        let unlisted = report.difference_count - report.differences.len() as u64;
        if unlisted > 0 {
            text.push_str(&format!("\n  and {} more", screen::grouped(unlisted)));
        }
    }
    for skipped in &report.skipped {
        text.push_str(&format!("\n  not compared: {skipped}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_api::admin::Difference;

    #[test]
    fn the_screen_names_what_differs() {
        let report = Verification {
            shards_done: 32,
            documents: 1200,
            difference_count: 2,
            differences: vec![Difference {
                index_uid: "movies".into(),
                shard: 3,
                node: "b".into(),
                id: "42".into(),
                kind: "missing".into(),
            }],
            skipped: vec!["shard 4 of movies: 1 of 2 replicas could be read".into()],
            ..Verification::default()
        };
        assert_eq!(
            to_text(&report),
            "1,200 documents in 32 shards compared: 2 differ; `miroir verify --repair` copies \
             them again\n\n  index    shard   node   there     document\n  \
             movies       3   b      missing         42\n  and 1 more\n  \
             not compared: shard 4 of movies: 1 of 2 replicas could be read"
        );
    }
}
