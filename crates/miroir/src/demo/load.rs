//! Loads the cities through the public API, with a progress bar.

use super::{INDEX, cities};
use crate::client::{HttpClient, Refused};
use crate::screen;
use anyhow::{Context, bail};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::Instant;

/// A slow laptop needs a minute; beyond this something is wrong.
const TASK_MAX: Duration = Duration::from_secs(900);
const TASK_POLL: Duration = Duration::from_millis(50);

/// Loads the data set, or finds it loaded.
pub(super) async fn run(client: &HttpClient) -> anyhow::Result<()> {
    let settings = settings();
    match present(client).await? {
        Present::Complete if has_settings(client, &settings).await? => {
            screen::say(format_args!(
                "\n{} cities are in the index `{INDEX}` already.",
                screen::grouped(cities::COUNT)
            ));
            return Ok(());
        }
        Present::Nothing => {
            let body = json!({"uid": INDEX, "primaryKey": "id"});
            let task = client.send_json(Method::POST, "/indexes", &body).await?;
            wait(client, &task).await?;
        }
        // Loading again is harmless: same ids, same documents.
        Present::Partial | Present::Complete => {}
    }
    screen::say(format_args!(
        "\nLoading {} cities into the index `{INDEX}`. {}.",
        screen::grouped(cities::COUNT),
        cities::ATTRIBUTION
    ));
    let begun = Instant::now();
    let path = format!("/indexes/{INDEX}/settings");
    let settled = client.send_json(Method::PATCH, &path, &settings).await?;
    let path = format!("/indexes/{INDEX}/documents?primaryKey=id");
    let mut tasks = Vec::new();
    for chunk in cities::chunks()? {
        let body = Some(("application/x-ndjson", chunk.body));
        tasks.push((client.send(Method::POST, &path, body).await?, chunk.count));
    }
    let accepted = begun.elapsed();
    let progress = Progress::new();
    wait(client, &settled).await?;
    for (task, count) in tasks {
        wait(client, &task).await?;
        progress.advance(count);
    }
    progress.finish();
    screen::say(format_args!(
        "Accepted (durable) after {:.1} s, searchable on every replica after {:.1} s.",
        accepted.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The index before loading.
enum Present {
    Nothing,
    Partial,
    Complete,
}

async fn present(client: &HttpClient) -> anyhow::Result<Present> {
    let index = match client.get(&format!("/indexes/{INDEX}")).await {
        Ok(index) => index,
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status.as_u16() == 404 => return Ok(Present::Nothing),
            _ => return Err(error),
        },
    };
    if !matches!(index["primaryKey"].as_str(), None | Some("id")) {
        bail!(
            "there is an index `{INDEX}` that is not the demo's: leave out --demo, or pass --data \
             with another folder"
        );
    }
    let stats = client.get(&format!("/indexes/{INDEX}/stats")).await?;
    match stats["numberOfDocuments"].as_u64() {
        Some(cities::COUNT) => Ok(Present::Complete),
        _ => Ok(Present::Partial),
    }
}

fn settings() -> Value {
    json!({
        "searchableAttributes": ["name", "alternateNames", "country"],
        "filterableAttributes":
            ["country", "countryCode", "continent", "population", "timezone", "_geo"],
        "sortableAttributes": ["name", "population", "_geo"],
        // Of cities that match equally well, the larger is the one that was meant.
        "rankingRules":
            ["words", "typo", "proximity", "attribute", "sort", "exactness", "population:desc"],
    })
}

/// Whether the index has the demo's settings, lists of attributes compared as sets.
async fn has_settings(client: &HttpClient, wanted: &Value) -> anyhow::Result<bool> {
    let present = client.get(&format!("/indexes/{INDEX}/settings")).await?;
    let sorted = |value: &Value| {
        let mut items: Vec<String> = value
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect();
        items.sort();
        items
    };
    let Some(wanted) = wanted.as_object() else {
        return Ok(false);
    };
    Ok(wanted.iter().all(|(key, value)| match key.as_str() {
        "filterableAttributes" | "sortableAttributes" => sorted(value) == sorted(&present[key]),
        _ => *value == present[key],
    }))
}

/// Returns when the task has succeeded.
async fn wait(client: &HttpClient, summary: &Value) -> anyhow::Result<()> {
    let uid = summary["taskUid"]
        .as_u64()
        .context("the proxy's answer holds no task uid")?;
    let deadline = Instant::now() + TASK_MAX;
    loop {
        let task = client.get(&format!("/tasks/{uid}")).await?;
        match task["status"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("failed" | "canceled") => {
                let why = task["error"]["message"]
                    .as_str()
                    .unwrap_or("without a reason");
                bail!("task {uid} ended as {}: {why}", task["status"]);
            }
            _ if Instant::now() >= deadline => bail!(
                "task {uid} is still {} after {} minutes: see `miroir status` and the nodes' logs",
                task["status"],
                TASK_MAX.as_secs() / 60
            ),
            _ => tokio::time::sleep(TASK_POLL).await,
        }
    }
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = match is_terminal {
            true => ProgressBar::new(cities::COUNT),
            false => ProgressBar::hidden(),
        };
        bar.set_length(cities::COUNT);
        let template = "  {bar:40} {human_pos} of {human_len} searchable, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, is_terminal }
    }

    fn advance(&self, count: u64) {
        self.bar.inc(count);
        if !self.is_terminal {
            let (done, all) = (self.bar.position(), cities::COUNT);
            screen::note(format_args!(
                "  {} of {} searchable",
                screen::grouped(done),
                screen::grouped(all)
            ));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
