//! What an operator does: commands, and looks at what they print.

use anyhow::{Context, Result, bail, ensure};
use miroir_testkit::{Client, poll};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A change of which nothing is seen to go on for so long stands still.
const STANDSTILL_LIMIT: Duration = Duration::from_secs(150);
/// A shard is seen being copied within this, if any is.
const COPY_LIMIT: Duration = Duration::from_secs(240);
/// Between two looks of an operator who waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(150);

/// What is seen of a shard under way.
#[derive(Debug, Clone)]
pub(crate) struct Moving {
    pub(crate) sources: Vec<String>,
    pub(crate) targets: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operator {
    url: String,
}

impl Operator {
    pub(crate) fn new(url: String) -> Self {
        Self { url }
    }

    fn run(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_miroir"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MIROIR_") {
                command.env_remove(name);
            }
        }
        command.args(args).args(["--url", &self.url]);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    /// What a command prints as JSON.
    ///
    /// # Errors
    /// It fails, in its own words.
    pub(crate) fn json(&self, args: &[&str]) -> Result<Value> {
        let args = [args, &["--json"]].concat();
        let output = self.run(&args)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {told}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?}"))
    }

    /// Stages changes, looks at the plan, begins; returns the epoch.
    ///
    /// # Errors
    /// One of these is refused.
    pub(crate) fn apply(&self, changes: &[&[&str]]) -> Result<String> {
        let mut epoch = String::new();
        for change in changes {
            epoch = self.json(change)?["stagedEpoch"].to_string();
        }
        let plan = self.json(&["topology", "plan"])?;
        ensure!(plan["stagedEpoch"].to_string().as_str() == epoch, "{plan}");
        self.json(&["topology", "apply", "--epoch", &epoch])?;
        Ok(epoch)
    }

    /// Waits until what was applied has been carried out (or cancelled); returns how the movement
    /// stands. A proxy that is away is asked again.
    ///
    /// # Errors
    /// It does not come to an end.
    pub(crate) fn wait(&self, epoch: &str) -> Result<Value> {
        let (mut last, mut changed) = (String::new(), Instant::now());
        while changed.elapsed() < STANDSTILL_LIMIT {
            thread::sleep(LOOK_INTERVAL);
            let (Ok(shown), Ok(status)) = (
                self.json(&["topology", "show"]),
                self.json(&["topology", "status"]),
            ) else {
                continue;
            };
            ensure!(shown["epoch"].to_string().as_str() == epoch, "{shown}");
            if shown.get("underway").is_none_or(Value::is_null) {
                return Ok(status);
            }
            let progress = ["documents", "states", "movesDone", "id"].map(|name| &status[name]);
            let seen = format!("{}, {progress:?}", shown["underway"]);
            if seen != last {
                (last, changed) = (seen, Instant::now());
            }
        }
        bail!("epoch {epoch} is not carried on, last seen: {last}")
    }

    /// Stages changes, begins, waits for the end: nothing is left to be moved.
    ///
    /// # Errors
    /// It is refused, or does not come to an end.
    pub(crate) fn change(&self, changes: &[&[&str]]) -> Result<()> {
        let epoch = self.apply(changes)?;
        let status = self.wait(&epoch)?;
        ensure!(status["state"] != "cancelled", "{changes:?}: {status}");
        Ok(())
    }

    /// Waits until a shard is being copied that a filter chooses; `None` if the change is over before.
    ///
    /// # Errors
    /// The proxy does not answer.
    pub(crate) fn wait_copying(
        &self,
        is_chosen: impl Fn(&Moving) -> bool,
    ) -> Result<Option<Moving>> {
        // A process for each look would be too slow to see short copies on a busy machine.
        let address = self.url.trim_start_matches("http://").parse()?;
        let client = Client::new(address, None);
        poll("a shard being copied", COPY_LIMIT, || {
            let status = client.get("/_miroir/movement")?.body;
            for one in status["moving"].as_array().into_iter().flatten() {
                let names = |member: &str| -> Vec<String> {
                    let names = one[member].as_array().into_iter().flatten();
                    names.filter_map(Value::as_str).map(str::to_owned).collect()
                };
                let (sources, to) = (names("from"), names("to"));
                let is_new = |name: &String| !sources.contains(name);
                let targets = to.into_iter().filter(is_new).collect();
                let moving = Moving { sources, targets };
                if one["state"] == "copying" && is_chosen(&moving) {
                    return Ok(Some(Some(moving)));
                }
            }
            let shown = client.get("/_miroir/topology/staged")?.body;
            let is_over = shown.get("underway").is_none_or(Value::is_null);
            Ok(is_over.then_some(None))
        })
    }

    /// The shards that a node has; `None` if there is no such node.
    ///
    /// # Errors
    /// The proxy does not answer.
    pub(crate) fn shards_of(&self, name: &str) -> Result<Option<u64>> {
        let nodes = self.json(&["node", "list"])?;
        let mut nodes = nodes.as_array().context("no list of nodes")?.iter();
        let node = nodes.find(|node| node["name"] == name);
        Ok(node.and_then(|node| node["shardCount"].as_u64()))
    }

    /// # Errors
    /// The node has another number of shards, or there is (or is not) such a node.
    pub(crate) fn check_shards(&self, name: &str, expected: Option<u64>) -> Result<()> {
        let found = self.shards_of(name)?;
        if found != expected {
            bail!("{name} has {found:?} shards, and shall have {expected:?}");
        }
        Ok(())
    }
}
