//! `miroir rewind`: builds an index as it was at a task, beside the one there is.

use super::connection::Connection;
use crate::screen;
use anyhow::Context;
use http::Method;
use miroir_api::admin::{Rewind, RewindRequest};
use std::process::ExitCode;
use std::time::Duration;

/// The proxy is asked this often how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// ... and tells it each so many times.
const POLLS_BETWEEN_NOTES: u32 = 10;
/// The log is looked through before the answer.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// Build an index as it was at a task, from the log, under a new name.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The log must hold the payloads of the index's tasks back to its creation: see \
                  `log_retention` of the configuration. The index there is is not touched; to put \
                  the rewound one in its place, swap them (POST /swap-indexes).\n\n\
                  Exit codes: 0 it is built, 1 it is not."
)]
pub(super) struct Args {
    /// The index, by the name it had at that task
    #[arg(long, value_name = "UID")]
    index: String,
    /// The last task whose effect is wanted
    #[arg(long, value_name = "TASK")]
    to_task: u64,
    /// The name of the index to build, which is free
    #[arg(long = "as", value_name = "UID")]
    new_uid: String,
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, waits for the end, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(ANSWER_MAX)?;
    let request = serde_json::to_value(RewindRequest {
        index_uid: args.index,
        to_task: args.to_task,
        new_uid: args.new_uid,
    })?;
    let answer = client
        .send_json(Method::POST, "/_miroir/rewind", &request)
        .await?;
    let mut rewind = parse(answer)?;
    let mut polls = 0u32;
    while rewind.state == "running" {
        tokio::time::sleep(POLL_INTERVAL).await;
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(POLLS_BETWEEN_NOTES) && !args.json {
            let (done, total) = (rewind.tasks_done, rewind.tasks_total);
            let (done, total) = (screen::grouped(done), screen::grouped(total));
            screen::note(format!("{done} of {total} tasks"));
        }
        let path = format!("/_miroir/rewind/{}", rewind.job);
        rewind = parse(client.get(&path).await?)?;
    }
    screen::say(if args.json {
        serde_json::to_string_pretty(&rewind)?
    } else {
        to_text(&rewind)
    });
    Ok(if rewind.state == "succeeded" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn parse(answer: serde_json::Value) -> anyhow::Result<Rewind> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn to_text(rewind: &Rewind) -> String {
    match &rewind.error {
        None => format!(
            "`{}` is `{}` as it was at task {}: {} tasks were carried out again, from task {} on.",
            rewind.new_uid,
            rewind.index_uid,
            rewind.to_task,
            screen::grouped(rewind.tasks_done),
            rewind.from_task
        ),
        Some(error) => format!(
            "`{}` was not built: {error} ({} of {} tasks were carried out again).",
            rewind.new_uid,
            screen::grouped(rewind.tasks_done),
            screen::grouped(rewind.tasks_total)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_says_what_was_built_or_why_not() {
        let rewind = Rewind {
            state: "succeeded".into(),
            index_uid: "movies".into(),
            to_task: 12,
            new_uid: "movies-before".into(),
            from_task: 3,
            tasks_total: 5,
            tasks_done: 5,
            ..Rewind::default()
        };
        assert_eq!(
            to_text(&rewind),
            "`movies-before` is `movies` as it was at task 12: 5 tasks were carried out again, \
             from task 3 on."
        );
        let failed = Rewind {
            error: Some("the proxy is shutting down".into()),
            ..rewind
        };
        assert!(to_text(&failed).contains("was not built: the proxy is shutting down"));
    }
}
