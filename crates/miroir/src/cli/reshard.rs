//! `miroir index reshard`: cuts an index into another number of shards, and steers that.

use super::connection::Connection;
use crate::config::unit::parse_duration;
use crate::screen::{self, bytes, grouped};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args as ClapArgs};
use http::Method;
use miroir_api::admin::{Reshard, ReshardPlan, ReshardRequest, Reshards};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// The nodes are asked for their sizes, and the index comes to rest, before the answer.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// The proxy is asked this often how far it is.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// ... and tells it each so many times.
const POLLS_BETWEEN_NOTES: u32 = 10;

/// Cut an index into another number of shards, while it is written and searched
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Without a flag it tells how it stands. The index as it was is kept up to date after \
                  searches were switched, as the way back, until it is dropped or its time is over; \
                  until then the index takes its disk twice.\n\n\
                  Exit codes: 0 done or begun (with --wait: searches use the new shards), 2 the plan \
                  is refused, or it was cancelled while waited for, 1 refused or no answer.",
    group = ArgGroup::new("what").multiple(false)
)]
pub(super) struct Args {
    /// The index
    index: String,
    /// Begin: so many shards
    #[arg(long, value_name = "COUNT", group = "what")]
    shards: Option<u32>,
    /// Only show what would come of it
    #[arg(long, requires = "shards")]
    plan: bool,
    /// Free disk space of a node, to see whether it suffices; may be repeated
    #[arg(long, value_name = "NODE=SIZE", requires = "shards")]
    free: Vec<String>,
    /// Keep the way back for so long
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    keep_way_back: Duration,
    /// Return when searches use the new shards
    #[arg(long, requires = "shards")]
    wait: bool,
    /// Let it stand still
    #[arg(long, group = "what")]
    pause: bool,
    /// Let it go on
    #[arg(long, group = "what")]
    resume: bool,
    /// Take it back, before searches were switched
    #[arg(long, group = "what")]
    cancel: bool,
    /// Switch searches back to the index as it was
    #[arg(long, group = "what")]
    back: bool,
    /// Let the way back go now
    #[arg(long, group = "what")]
    drop: bool,
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(ANSWER_MAX)?;
    let path = format!("/_miroir/indexes/{}/reshard", args.index);
    let words = [
        (args.pause, "pause"),
        (args.resume, "resume"),
        (args.cancel, "cancel"),
        (args.back, "back"),
        (args.drop, "drop"),
    ];
    let word = words.iter().find(|(is_asked, _)| *is_asked);
    if let Some((_, word)) = word {
        let path = format!("{path}/{word}");
        let answer = client.send_json(Method::POST, &path, &Value::Null).await?;
        print(&parse(answer)?, args.json)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(shards) = args.shards else {
        let all: Reshards = parse(client.get("/_miroir/reshards").await?)?;
        let mut all = all.results.into_iter().rev();
        let Some(reshard) = all.find(|one| one.index_uid == args.index) else {
            bail!("index `{}` was never re-sharded", args.index);
        };
        print(&reshard, args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let free = args.free.iter();
    let request = serde_json::to_value(ReshardRequest {
        shards,
        keep_way_back_seconds: Some(args.keep_way_back.as_secs()),
        free_bytes: free
            .map(|text| super::topology::read_free(text))
            .collect::<anyhow::Result<_>>()?,
    })?;
    if args.plan {
        let path = format!("{path}/plan");
        let plan: ReshardPlan = parse(client.send_json(Method::POST, &path, &request).await?)?;
        screen::say(match args.json {
            true => serde_json::to_string_pretty(&plan)?,
            false => plan_text(&plan),
        });
        return Ok(match plan.refusals.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(2),
        });
    }
    let mut reshard: Reshard = parse(client.send_json(Method::POST, &path, &request).await?)?;
    let id = reshard.id;
    let mut polls = 0u32;
    while args.wait && !has_settled(&reshard) {
        tokio::time::sleep(POLL_INTERVAL).await;
        polls = polls.wrapping_add(1);
        let all: Reshards = parse(client.get("/_miroir/reshards").await?)?;
        let mut all = all.results.into_iter();
        reshard = all
            .find(|one| one.id == id)
            .context("the proxy does not know it any more")?;
        if polls.is_multiple_of(POLLS_BETWEEN_NOTES) && !args.json {
            screen::note(to_text(&reshard));
        }
    }
    print(&reshard, args.json)?;
    Ok(match args.wait && reshard.state == "cancelled" {
        true => ExitCode::from(2),
        false => ExitCode::SUCCESS,
    })
}

fn has_settled(reshard: &Reshard) -> bool {
    let state = reshard.state.as_str();
    matches!(state, "wayBackKept" | "done" | "cancelled" | "wayBackLost")
}

fn parse<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

fn print(reshard: &Reshard, is_json: bool) -> anyhow::Result<()> {
    screen::say(match is_json {
        true => serde_json::to_string_pretty(reshard)?,
        false => to_text(reshard),
    });
    Ok(())
}

fn to_text(reshard: &Reshard) -> String {
    let Reshard {
        index_uid: index,
        from_shards: from,
        to_shards: to,
        ..
    } = reshard;
    let so_far = format!(
        "{} of about {} documents, {}",
        grouped(reshard.documents),
        grouped(reshard.documents_total.max(reshard.documents)),
        bytes(reshard.bytes)
    );
    let mut text = match reshard.state.as_str() {
        "waiting" => format!(
            "`{index}` will be cut from {from} into {to} shards. How it stands: miroir index reshard \
             {index}"
        ),
        "copying" => format!("`{index}` is cut from {from} into {to} shards: {so_far} copied."),
        "verifying" => format!(
            "`{index}` is cut from {from} into {to} shards: both are being compared ({so_far} copied)."
        ),
        "paused" => {
            format!("Cutting `{index}` from {from} into {to} shards stands still: {so_far} copied.")
        }
        "wayBackKept" => format!(
            "`{index}` is searched by {} shards. The way back is kept until {} (--back takes it, --drop \
             lets it go).",
            reshard.shards,
            reshard.way_back_until.as_deref().unwrap_or("it is dropped")
        ),
        "removing" => format!(
            "`{index}` is searched by {} shards. The other one is being removed.",
            reshard.shards
        ),
        "cancelled" => format!("Cutting `{index}` into {to} shards was cancelled."),
        "wayBackLost" => format!(
            "`{index}` is searched by {} shards. The way back was lost: a node lost its part of it.",
            reshard.shards
        ),
        _ => format!("`{index}` is searched by {} shards.", reshard.shards),
    };
    if let Some(rate) = reshard
        .bytes_per_second
        .filter(|_| reshard.state == "copying")
    {
        text.push_str(&format!(" {} a second", bytes(rate)));
        if let Some(seconds) = reshard.remaining_seconds {
            text.push_str(&format!(", about {} s to go", grouped(seconds)));
        }
        text.push('.');
    }
    if let Some(why) = &reshard.waits_for {
        text.push_str(&format!(" It waits: {why}."));
    }
    text
}

fn plan_text(plan: &ReshardPlan) -> String {
    let mut text = format!(
        "`{}` would be cut from {} into {} shards: {} documents, {}, {} of each.\n",
        plan.index_uid,
        plan.from_shards,
        plan.to_shards,
        grouped(plan.documents),
        bytes(plan.bytes),
        match plan.replication_factor {
            1 => "one copy".to_owned(),
            copies => format!("{copies} copies"),
        }
    );
    if let Some(seconds) = plan.seconds {
        text.push_str(&format!(
            "The copy takes at least {} s at the rate it is bounded to.\n",
            grouped(seconds)
        ));
    }
    let row = |node: &miroir_api::admin::ReshardNode| {
        vec![
            node.node.clone(),
            node.shards_now.to_string(),
            node.shards.to_string(),
            grouped(node.documents),
            bytes(node.disk_bytes),
        ]
    };
    let rows: Vec<Vec<String>> = plan.nodes.iter().map(row).collect();
    text.push('\n');
    text.push_str(&screen::table(
        &["node", "shards now", "shards", "documents", "disk beside"],
        &rows,
    ));
    let lists = [("Refused", &plan.refusals), ("Note", &plan.warnings)];
    for (name, lines) in lists {
        for line in lines {
            text.push_str(&format!("\n{name}: {line}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_says_how_it_stands() {
        let reshard = Reshard {
            index_uid: "movies".into(),
            from_shards: 8,
            to_shards: 32,
            shards: 8,
            state: "copying".into(),
            documents: 1200,
            documents_total: 5000,
            bytes: 3 << 20,
            bytes_per_second: Some(1 << 20),
            remaining_seconds: Some(4),
            waits_for: Some("node b does not answer or is not in sync".into()),
            ..Reshard::default()
        };
        let text = to_text(&reshard);
        assert!(
            text.starts_with("`movies` is cut from 8 into 32 shards: "),
            "{text}"
        );
        assert!(text.contains("about 4 s to go"), "{text}");
        assert!(
            text.ends_with("It waits: node b does not answer or is not in sync."),
            "{text}"
        );
        let kept = Reshard {
            state: "wayBackKept".into(),
            shards: 32,
            waits_for: None,
            ..reshard
        };
        assert_eq!(
            to_text(&kept),
            "`movies` is searched by 32 shards. The way back is kept until it is dropped \
             (--back takes it, --drop lets it go)."
        );
    }

    #[test]
    fn a_plan_says_what_each_node_would_hold_and_why_not() {
        let plan = ReshardPlan {
            index_uid: "movies".into(),
            from_shards: 8,
            to_shards: 32,
            replication_factor: 2,
            refusals: vec!["Too large.".into()],
            nodes: vec![miroir_api::admin::ReshardNode {
                node: "a".into(),
                shards_now: 8,
                shards: 32,
                ..Default::default()
            }],
            ..ReshardPlan::default()
        };
        let text = plan_text(&plan);
        assert!(
            text.contains("2 copies of each") && text.ends_with("Refused: Too large."),
            "{text}"
        );
    }
}
