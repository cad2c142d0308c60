//! `miroir rewind`: builds an index as it was at a task, beside the one there is.

use super::connection::Connection;
use crate::client::{HttpClient, Refused};
use crate::screen::{self, bytes, grouped};
use anyhow::Context;
use http::Method;
use miroir_api::admin::{Rewind, RewindPlan, RewindRequest, Rewinds};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The proxy is asked this often how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// ... and tells it each so many times.
const POLLS_BETWEEN_NOTES: u32 = 10;
/// A proxy that does not answer is asked again so many times: it may be starting anew.
const SILENT_POLLS_MAX: u32 = 240;
/// The log is looked through before the answer, and perhaps a dump.
const ANSWER_MAX: Duration = Duration::from_secs(300);

/// Build an index as it was at a task, from the log or from a dump and the log, under a new name
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The log must hold the payloads of the index's tasks back to its creation, or to the \
                  moment of a dump that this instance wrote: see `log_retention` of the configuration. \
                  The index there is is not touched; to put the rewound one in its place, swap them \
                  (POST /swap-indexes). A rewind goes on without this command, and over a restart of \
                  the proxy.\n\n\
                  Exit codes: 0 it is built (or shown), 1 it is not."
)]
pub(super) struct Args {
    /// The index, by the name it had at that task
    #[arg(long, value_name = "UID", required_unless_present_any = ["list", "cancel"])]
    index: Option<String>,
    /// The last task whose effect is wanted
    #[arg(long, value_name = "TASK", required_unless_present_any = ["list", "cancel"])]
    to_task: Option<u64>,
    /// The name of the index to build, which is free
    #[arg(long = "as", value_name = "UID", required_unless_present_any = ["list", "cancel"])]
    new_uid: Option<String>,
    /// Begin with this dump, a file of the proxy's machine; without it a dump of the dump folder is
    /// taken if the log does not reach back far enough
    #[arg(long, value_name = "FILE")]
    from_dump: Option<PathBuf>,
    /// Only show what it would do
    #[arg(long)]
    plan: bool,
    /// Show the rewinds under way, and the last that ended
    #[arg(long, conflicts_with_all = ["index", "to_task", "new_uid", "from_dump", "plan", "cancel"])]
    list: bool,
    /// Take one back that is under way, by its number: what was built is removed
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with_all = ["index", "to_task", "new_uid", "from_dump", "plan"]
    )]
    cancel: Option<u64>,
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks, waits for the end, prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(ANSWER_MAX)?;
    if args.list {
        let all: Rewinds = parse(client.get("/_miroir/rewinds").await?)?;
        screen::say(match args.json {
            true => serde_json::to_string_pretty(&all)?,
            false => list_text(&all),
        });
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(job) = args.cancel {
        let path = format!("/_miroir/rewind/{job}/cancel");
        let answer = client.send_json(Method::POST, &path, &Value::Null).await?;
        let rewind = follow(&client, parse(answer)?, args.json).await?;
        print(&rewind, args.json)?;
        return Ok(match rewind.state.as_str() {
            "cancelled" => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        });
    }
    let from_dump = args.from_dump.map(|file| {
        let file = std::path::absolute(&file).context("the dump cannot be named whole")?;
        anyhow::Ok(file.display().to_string())
    });
    let request = serde_json::to_value(RewindRequest {
        index_uid: args.index.context("--index is missing")?,
        to_task: args.to_task.context("--to-task is missing")?,
        new_uid: args.new_uid.context("--as is missing")?,
        from_dump: from_dump.transpose()?,
    })?;
    if args.plan {
        let path = "/_miroir/rewind/plan";
        let plan: RewindPlan = parse(client.send_json(Method::POST, path, &request).await?)?;
        screen::say(match args.json {
            true => serde_json::to_string_pretty(&plan)?,
            false => plan_text(&plan),
        });
        return Ok(ExitCode::SUCCESS);
    }
    let answer = client
        .send_json(Method::POST, "/_miroir/rewind", &request)
        .await?;
    let rewind = follow(&client, parse(answer)?, args.json).await?;
    print(&rewind, args.json)?;
    Ok(match rewind.state.as_str() {
        "succeeded" => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn is_over(rewind: &Rewind) -> bool {
    !matches!(rewind.state.as_str(), "running" | "removing")
}

/// Waits for its end, also over a restart of the proxy.
async fn follow(client: &HttpClient, begun: Rewind, is_json: bool) -> anyhow::Result<Rewind> {
    let path = format!("/_miroir/rewind/{}", begun.job);
    let mut rewind = begun;
    let (mut polls, mut silent) = (0u32, 0u32);
    while !is_over(&rewind) {
        tokio::time::sleep(POLL_INTERVAL).await;
        polls = polls.wrapping_add(1);
        match client.get(&path).await {
            Ok(answer) => {
                rewind = parse(answer)?;
                silent = 0;
            }
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                let is_final = refused.is_some_and(|refused| refused.status.is_client_error());
                silent += 1;
                if is_final || silent > SILENT_POLLS_MAX {
                    return Err(error).context(format!(
                        "it is not known how far rewind {} is; `miroir rewind --list` shows it once \
                         the proxy answers",
                        rewind.job
                    ));
                }
            }
        }
        if polls.is_multiple_of(POLLS_BETWEEN_NOTES) && !is_json {
            screen::note(to_text(&rewind));
        }
    }
    Ok(rewind)
}

fn parse<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn print(rewind: &Rewind, is_json: bool) -> anyhow::Result<()> {
    screen::say(match is_json {
        true => serde_json::to_string_pretty(rewind)?,
        false => to_text(rewind),
    });
    Ok(())
}

fn list_text(all: &Rewinds) -> String {
    if all.results.is_empty() {
        return "No index was rewound.".to_owned();
    }
    let line = |rewind: &Rewind| format!("{}  {}", rewind.job, to_text(rewind));
    all.results.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What it begins with.
fn beginning(from_dump: Option<&str>, from_task: u64) -> String {
    match from_dump {
        Some(dump) => format!("on top of the dump {dump}, which stands at task {from_task}"),
        None => format!("from task {from_task} on, which made the index"),
    }
}

fn plan_text(plan: &RewindPlan) -> String {
    format!(
        "`{}` would be `{}` as it was at task {}: {} tasks would be carried out again ({} of payloads), \
         {}.",
        plan.new_uid,
        plan.index_uid,
        plan.to_task,
        grouped(plan.tasks_total),
        bytes(plan.payload_bytes),
        beginning(plan.from_dump.as_deref(), plan.from_task),
    )
}

fn to_text(rewind: &Rewind) -> String {
    let Rewind {
        index_uid: index,
        new_uid: new,
        to_task: task,
        ..
    } = rewind;
    let mut done = format!(
        "{} of {} tasks were carried out again, {}",
        grouped(rewind.tasks_done),
        grouped(rewind.tasks_total),
        beginning(rewind.from_dump.as_deref(), rewind.from_task)
    );
    if rewind.from_dump.is_some() {
        done.push_str(&format!(
            " ({} documents of it were taken)",
            grouped(rewind.documents)
        ));
    }
    let mut text = match rewind.state.as_str() {
        "succeeded" => format!("`{new}` is `{index}` as it was at task {task}: {done}."),
        "running" => format!("`{new}` is being built as `{index}` was at task {task}: {done}."),
        "removing" => format!("What was built of `{new}` is being removed."),
        "cancelled" => format!("`{new}` was not built: it was cancelled."),
        _ => format!(
            "`{new}` was not built: {} ({done}).",
            rewind.error.as_deref().unwrap_or("no reason was given")
        ),
    };
    if let Some(why) = &rewind.waits_for {
        text.push_str(&format!(" It waits: {why}."));
    }
    text
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
            "`movies-before` is `movies` as it was at task 12: 5 of 5 tasks were carried out again, \
             from task 3 on, which made the index."
        );
        let waiting = Rewind {
            state: "running".into(),
            from_dump: Some("20260101-1".into()),
            documents: 1200,
            waits_for: Some("the disk is full".into()),
            ..rewind.clone()
        };
        let text = to_text(&waiting);
        assert!(text.contains("on top of the dump 20260101-1"), "{text}");
        assert!(text.ends_with("It waits: the disk is full."), "{text}");
        let failed = Rewind {
            state: "failed".into(),
            error: Some("task 7 was deleted".into()),
            ..rewind
        };
        assert!(to_text(&failed).contains("was not built: task 7 was deleted"));
        let all = Rewinds {
            results: vec![failed],
        };
        assert!(list_text(&all).starts_with("0  `movies-before` was not built"));
    }

    #[test]
    fn a_plan_names_the_dump_it_begins_with() {
        let plan = RewindPlan {
            index_uid: "movies".into(),
            to_task: 12,
            new_uid: "x".into(),
            from_task: 9,
            from_dump: Some("20260101-1".into()),
            tasks_total: 2,
            payload_bytes: 0,
        };
        let text = plan_text(&plan);
        assert!(
            text.ends_with("dump 20260101-1, which stands at task 9."),
            "{text}"
        );
    }
}
