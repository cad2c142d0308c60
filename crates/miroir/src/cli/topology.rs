//! `miroir topology`: what is staged, what would come of it, dropping it, and carrying it out.

mod declare;

use super::connection::Connection;
use crate::client::HttpClient;
use crate::screen::{self, bytes, grouped};
use anyhow::{Context, bail};
use clap::{Args as ClapArgs, Subcommand};
use http::Method;
use miroir_api::admin::{
    ApplyRequest, Movement, PlanRequest, PlannedNode, StagedTopology, TopologyChange, TopologyPlan,
};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Planning for a large cluster asks every node for its sizes.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Moves printed, unless all are asked for.
const MOVES_PRINTED: usize = 10;

/// Show, plan, apply and drop staged changes of the nodes
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is staged
    Show {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show what would come of what is staged: moves, loads, risks
    #[command(after_help = "Exit codes: 0 it can be carried out, 2 it is refused, 1 no answer.")]
    Plan {
        #[command(flatten)]
        proxy: Connection,
        /// Free disk space of a node, to see whether it suffices; may be repeated
        #[arg(long, value_name = "NODE=SIZE")]
        free: Vec<String>,
        /// Print all moves that the proxy tells, not only the first
        #[arg(long)]
        moves: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Begin to carry out what is staged, or what a file declares
    #[command(
        after_help = "Exit codes: 0 begun (with --wait: done), 2 cancelled while waited for, 1 refused."
    )]
    Apply {
        /// The epoch that `miroir topology plan` showed: nothing else than what was seen is applied
        #[arg(long)]
        epoch: Option<u64>,
        /// A configuration with a `[topology]` table: what differs from it is staged, and applied if
        /// its `apply` is "auto"
        #[arg(long, value_name = "FILE", conflicts_with = "epoch")]
        file: Option<PathBuf>,
        /// Only compare with the file
        #[arg(long, requires = "file")]
        dry_run: bool,
        /// Return when all is done
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show how far the moves of shards are
    Status {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let the moves stand still
    Pause {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let the moves go on
    Resume {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take back what is not switched yet; nodes that were to leave stay
    Cancel {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Drop what is staged
    Revert {
        #[command(flatten)]
        proxy: Connection,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Stage: so many copies of each shard
    Copies {
        /// Copies of each shard
        #[arg(value_name = "COUNT")]
        replication_factor: u32,
        /// One index; all there are if absent
        #[arg(long, value_name = "UID")]
        index: Option<String>,
        #[command(flatten)]
        staging: Staging,
    },
    /// Stage: even out the nodes, although nothing else changes
    Rebalance {
        #[command(flatten)]
        staging: Staging,
    },
}

/// The flags of every command that stages a change.
#[derive(Debug, ClapArgs)]
pub(super) struct Staging {
    #[command(flatten)]
    proxy: Connection,
    /// Show what would come of it, on top of what is staged, and stage nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows, plans, drops or stages.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show { proxy, json } => {
            let answer = proxy
                .client(ANSWER_MAX)?
                .get("/_miroir/topology/staged")
                .await?;
            say_staged(answer, json)
        }
        Command::Revert { proxy, json } => {
            let client = proxy.client(ANSWER_MAX)?;
            let answer = client
                .send(Method::DELETE, "/_miroir/topology/staged", None)
                .await?;
            say_staged(answer, json)
        }
        Command::Apply {
            epoch,
            file,
            dry_run,
            wait,
            proxy,
            json,
        } => match (file, epoch) {
            (Some(file), _) => declare::run(&proxy, &file, dry_run, wait, json).await,
            (None, Some(epoch)) => apply(&proxy, epoch, wait, json).await,
            (None, None) => nothing_named(&proxy).await,
        },
        Command::Status { proxy, json } => {
            let client = proxy.client(ANSWER_MAX)?;
            let answer = client.get("/_miroir/movement").await?;
            if !json && !is_moving(&answer) {
                // Between two movements, or before the first, nothing moves and yet it is not over.
                let staged: StagedTopology =
                    understood(client.get("/_miroir/topology/staged").await?)?;
                if let Some(underway) = staged.underway {
                    screen::say(underway);
                    return Ok(ExitCode::SUCCESS);
                }
            }
            say_movement(answer, json)
        }
        Command::Pause { proxy, json } => steer(&proxy, "pause", json).await,
        Command::Resume { proxy, json } => steer(&proxy, "resume", json).await,
        Command::Cancel { proxy, json } => steer(&proxy, "cancel", json).await,
        Command::Plan {
            proxy,
            free,
            moves,
            json,
        } => {
            let request = PlanRequest {
                free_bytes: free
                    .iter()
                    .map(|text| read_free(text))
                    .collect::<Result<_, _>>()?,
                ..PlanRequest::default()
            };
            plan(&proxy, &request, moves, json).await
        }
        Command::Copies {
            replication_factor,
            index: index_uid,
            staging,
        } => {
            let change = TopologyChange::SetReplicationFactor {
                index_uid,
                replication_factor,
            };
            stage(change, &staging).await
        }
        Command::Rebalance { staging } => stage(TopologyChange::Rebalance {}, &staging).await,
    }
}

/// The proxy is asked this often how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Nothing says what is to be applied: tells what could be.
async fn nothing_named(proxy: &Connection) -> anyhow::Result<ExitCode> {
    let client = proxy.client(ANSWER_MAX)?;
    let staged: StagedTopology = understood(client.get("/_miroir/topology/staged").await?)?;
    match staged.staged_epoch {
        Some(epoch) => bail!(
            "--epoch is needed, so that nothing else is applied than what was looked at: see `miroir \
             topology plan`, then `miroir topology apply --epoch {epoch}`"
        ),
        None => bail!(
            "nothing is staged: stage a change (`miroir node add`, `miroir topology copies`, …), or \
             give --file"
        ),
    }
}

async fn apply(proxy: &Connection, epoch: u64, wait: bool, json: bool) -> anyhow::Result<ExitCode> {
    let client = proxy.client(ANSWER_MAX)?;
    let body = serde_json::to_value(ApplyRequest { epoch })?;
    let answer = client
        .send_json(Method::POST, "/_miroir/topology/apply", &body)
        .await?;
    let mut staged: StagedTopology = understood(answer)?;
    let mut code = ExitCode::SUCCESS;
    if wait {
        (staged, code) = waited(&client, staged).await?;
    }
    say_staged(serde_json::to_value(&staged)?, json)?;
    Ok(code)
}

/// Waits until what is being carried out has ended, and tells whether it was cancelled.
async fn waited(
    client: &HttpClient,
    mut staged: StagedTopology,
) -> anyhow::Result<(StagedTopology, ExitCode)> {
    let mut told = String::new();
    while let Some(underway) = staged.underway.take() {
        if underway != told {
            screen::note(&underway);
            told = underway;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        staged = understood(client.get("/_miroir/topology/staged").await?)?;
    }
    let movement: Movement = understood(client.get("/_miroir/movement").await?)?;
    let code = match movement.state == "cancelled" {
        true => ExitCode::from(2),
        false => ExitCode::SUCCESS,
    };
    Ok((staged, code))
}

/// Shards are being moved, or would be if nobody had paused them.
fn is_moving(movement: &Value) -> bool {
    let state = movement.get("state").and_then(Value::as_str);
    matches!(state, Some("running" | "paused" | "cancelling"))
}

async fn steer(proxy: &Connection, verb: &str, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/_miroir/movement/{verb}");
    let answer = proxy
        .client(ANSWER_MAX)?
        .send(Method::POST, &path, None)
        .await?;
    say_movement(answer, json)
}

fn say_movement(answer: Value, json: bool) -> anyhow::Result<ExitCode> {
    let movement: Movement = understood(answer)?;
    screen::say(if json {
        serde_json::to_string_pretty(&movement)?
    } else {
        movement_text(&movement)
    });
    Ok(ExitCode::SUCCESS)
}

fn movement_text(movement: &Movement) -> String {
    let Some(id) = movement.id else {
        return "No shard has been moved yet.".to_owned();
    };
    let mut text = format!(
        "Movement {id} is {}: {} of {} moves, {} documents, {} copied",
        movement.state,
        grouped(movement.moves_done),
        grouped(movement.moves_total),
        grouped(movement.documents),
        bytes(movement.bytes),
    );
    if let Some(rate) = movement.bytes_per_second {
        text.push_str(&format!(", {} in a second", bytes(rate)));
    }
    let is_over = matches!(movement.state.as_str(), "done" | "cancelled");
    if let Some(seconds) = movement.remaining_seconds.filter(|_| !is_over) {
        text.push_str(&format!(", about {} left", duration(seconds)));
    }
    text.push('.');
    if let Some(wait) = &movement.waits_for {
        text.push_str(&format!("\nIt waits for {wait}."));
    }
    if !movement.moving.is_empty() {
        let rows: Vec<Vec<String>> = movement
            .moving
            .iter()
            .map(|one| {
                vec![
                    format!("{}/{}", one.index, one.shard),
                    one.from.join(" "),
                    one.to.join(" "),
                    one.state.clone(),
                    grouped(one.documents),
                ]
            })
            .collect();
        text.push_str("\n\n");
        text.push_str(&screen::table(
            &["shard", "from", "to", "state", "documents"],
            &rows,
        ));
    }
    text
}

pub(super) fn read_free(text: &str) -> anyhow::Result<(String, u64)> {
    let (node, size) = text
        .split_once('=')
        .with_context(|| format!("`{text}` is not NODE=SIZE, such as a=120GiB"))?;
    Ok((node.to_owned(), super::plan_capacity::read_size(size)?))
}

/// Stages a change, or shows what would come of it.
pub(super) async fn stage(change: TopologyChange, staging: &Staging) -> anyhow::Result<ExitCode> {
    if staging.dry_run {
        let request = PlanRequest {
            changes: vec![change],
            ..PlanRequest::default()
        };
        return plan(&staging.proxy, &request, false, staging.json).await;
    }
    let client = staging.proxy.client(ANSWER_MAX)?;
    let body = serde_json::to_value(&change)?;
    let answer = client
        .send_json(Method::POST, "/_miroir/topology/staged", &body)
        .await?;
    say_staged(answer, staging.json)
}

fn say_staged(answer: Value, json: bool) -> anyhow::Result<ExitCode> {
    let staged: StagedTopology = understood(answer)?;
    screen::say(if json {
        serde_json::to_string_pretty(&staged)?
    } else {
        staged_text(&staged)
    });
    Ok(ExitCode::SUCCESS)
}

fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn staged_text(staged: &StagedTopology) -> String {
    let mut text = format!("Epoch {} is in force.", staged.epoch);
    if let Some(underway) = &staged.underway {
        text.push_str(&format!("\n{underway}"));
    }
    for objection in &staged.objections {
        text.push_str(&format!("\nDeclared and not done: {objection}"));
    }
    match staged.staged_epoch {
        None if staged.underway.is_some() => text.push_str(
            "\nNothing else is staged.\n\nSee how far it is: miroir topology status\nGive it up:         miroir topology cancel",
        ),
        None => text.push_str("\nNothing is staged."),
        Some(epoch) => {
            text.push_str(&format!("\nStaged as epoch {epoch}:"));
            for change in &staged.descriptions {
                text.push_str(&format!("\n  {change}"));
            }
            text.push_str(&format!(
                "\n\nSee what would be done: miroir topology plan\nBegin:                  miroir \
                 topology apply --epoch {epoch}"
            ));
        }
    }
    text
}

async fn plan(
    proxy: &Connection,
    request: &PlanRequest,
    all_moves: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let client = proxy.client(ANSWER_MAX)?;
    let body = serde_json::to_value(request)?;
    let answer = client
        .send_json(Method::POST, "/_miroir/topology/plan", &body)
        .await?;
    let plan: TopologyPlan = understood(answer)?;
    screen::say(if json {
        serde_json::to_string_pretty(&plan)?
    } else {
        plan_text(&plan, if all_moves { usize::MAX } else { MOVES_PRINTED })
    });
    Ok(match plan.refusals.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(2),
    })
}

fn plan_text(plan: &TopologyPlan, moves_max: usize) -> String {
    let mut lines = Vec::new();
    match (plan.changes.is_empty(), plan.staged_epoch) {
        (true, _) => lines.push("Nothing is staged.".to_owned()),
        (false, Some(epoch)) => lines.push(format!("Epoch {epoch} over epoch {}:", plan.epoch)),
        (false, None) => lines.push(format!("Not staged, over epoch {}:", plan.epoch)),
    }
    lines.extend(plan.changes.iter().map(|change| format!("  {change}")));
    lines.push(String::new());
    if !plan.refusals.is_empty() {
        lines.push("It cannot be carried out:".to_owned());
        lines.extend(plan.refusals.iter().map(|refusal| format!("  {refusal}")));
        return lines.join("\n");
    }
    lines.push(summary(plan));
    let has_shards = |node: &PlannedNode| node.replicas_before + node.replicas_after > 0;
    if plan.nodes.iter().any(has_shards) {
        let least = plan.least_replicas;
        lines.push(format!(
            "Readable copies of the worst-off shard: {} now, {} on the way, {} in the end.",
            least.before, least.during, least.after
        ));
    } else {
        lines.push("There is no index yet.".to_owned());
    }
    for loss in &plan.losses {
        lines.push(format!("LOST: {loss}."));
    }
    lines.push(String::new());
    lines.push(node_table(plan));
    if !plan.moves.is_empty() {
        lines.push(String::new());
        lines.push(move_table(plan, moves_max));
        let unshown = plan
            .move_count
            .saturating_sub(plan.moves.len().min(moves_max) as u64);
        if unshown > 0 {
            lines.push(format!("  and {} more", grouped(unshown)));
        }
    }
    for warning in &plan.warnings {
        lines.push(String::new());
        lines.push(format!("Note: {warning}."));
    }
    if let Some(epoch) = plan.staged_epoch {
        lines.push(String::new());
        lines.push(format!("Begin: miroir topology apply --epoch {epoch}"));
    }
    lines.join("\n")
}

fn summary(plan: &TopologyPlan) -> String {
    if plan.move_count == 0 {
        return "No shard moves.".to_owned();
    }
    let time = plan
        .seconds
        .map(|seconds| format!(", at least {}", duration(seconds)));
    format!(
        "{} shards move: {} copies, {} documents, {}{}.\nThe fullest node holds {:.0} % of its share \
         now, {:.0} % then.",
        grouped(plan.move_count),
        grouped(plan.copy_count),
        grouped(plan.documents),
        bytes(plan.bytes),
        time.unwrap_or_default(),
        plan.imbalance_before * 100.0,
        plan.imbalance_after * 100.0,
    )
}

/// A length of time for people, never shorter than it is.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

fn node_table(plan: &TopologyPlan) -> String {
    let has_twins = plan.nodes.iter().any(|node| node.bytes_twins > 0);
    let rows: Vec<Vec<String>> = plan
        .nodes
        .iter()
        .map(|node| {
            let mut row = vec![
                node.name.clone(),
                node.role.clone(),
                node.zone.clone().unwrap_or_else(|| "-".into()),
                node.weight.to_string(),
                format!("{} -> {}", node.replicas_before, node.replicas_after),
                format!(
                    "{} -> {}",
                    bytes(node.bytes_before),
                    bytes(node.bytes_after)
                ),
                bytes(node.bytes_received),
            ];
            row.extend(has_twins.then(|| bytes(node.bytes_twins)));
            row
        })
        .collect();
    let mut headers = vec![
        "node", "role", "zone", "weight", "shards", "data", "receives",
    ];
    headers.extend(has_twins.then_some("re-shards"));
    screen::table(&headers, &rows)
}

fn move_table(plan: &TopologyPlan, moves_max: usize) -> String {
    let rows: Vec<Vec<String>> = plan
        .moves
        .iter()
        .take(moves_max)
        .map(|shard_move| {
            vec![
                format!("{}/{}", shard_move.index, shard_move.shard),
                shard_move.from.join(" "),
                shard_move.to.join(" "),
                grouped(shard_move.documents),
                bytes(shard_move.bytes),
                shard_move.least_replicas.to_string(),
            ]
        })
        .collect();
    let headers = ["shard", "from", "to", "documents", "bytes", "least copies"];
    screen::table(&headers, &rows)
}

#[cfg(test)]
mod tests;
