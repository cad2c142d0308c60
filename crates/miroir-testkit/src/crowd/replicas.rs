//! Asks the nodes themselves, past the proxy: each shard is whole on each of its replicas, the same
//! to the last byte of what Miroir adds, and nowhere else.

use super::ledger::Ledger;
use crate::{Client, PATIENCE, poll, stored_documents};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The digits of a shard's tag.
const TAG_DIGITS: [char; 4] = ['⊰', '⊱', '⋔', '⋕'];
const SHARD_FIELD: &str = "_miroir_shard";
const RESERVED_PREFIX: &str = "_miroir_";

/// What is asked: the proxy, and the nodes by their names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) proxy: &'a Client,
    pub(super) nodes: &'a [(String, Client)],
}

pub(super) fn check(asked: Asked<'_>, ledgers: &[&Ledger], replication_factor: u32) -> Result<()> {
    // The indexes that each node shall hold.
    let mut living: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for ledger in ledgers {
        if let Some(expected) = ledger.final_documents() {
            let name = &ledger.name;
            let placed = Placed::load(asked.proxy, name)?;
            check_index(asked, &placed, expected, replication_factor)
                .with_context(|| format!("the replicas of {name}"))?;
            for (node, _) in asked.nodes {
                if placed.shards.iter().any(|replicas| replicas.contains(node)) {
                    let held = living.entry(node).or_default();
                    held.insert(placed.physical.clone());
                }
            }
        }
    }
    for (name, client) in asked.nodes {
        let living = living.remove(&**name).unwrap_or_default();
        let mut held = BTreeSet::new();
        // A node removes an index that is gone a moment after its task has ended for clients.
        poll("the removal of dead indexes", PATIENCE, || {
            let list = client.get("/indexes?limit=1000")?.ok()?;
            let results = list["results"].as_array().context("no list")?;
            let uids = results.iter().filter_map(|index| index["uid"].as_str());
            held = uids.map(str::to_owned).collect();
            Ok((held == living).then_some(()))
        })
        .with_context(|| format!("{name} holds {held:?}, and shall hold {living:?}"))?;
    }
    check_by_proxy(asked.proxy)
}

/// Where the shards of an index are placed.
#[derive(Debug)]
struct Placed {
    physical: String,
    /// By shard, the nodes that have it.
    shards: Vec<BTreeSet<String>>,
}

impl Placed {
    fn load(proxy: &Client, name: &str) -> Result<Self> {
        let shown = proxy
            .get(&format!("/_miroir/indexes/{name}/shards"))?
            .ok()?;
        let physical = shown["physical"].as_str().context("no physical name")?;
        let names = |shard: &Value| -> BTreeSet<String> {
            let replicas = shard["replicas"].as_array().into_iter().flatten();
            let nodes = replicas.filter_map(|replica| replica["node"].as_str());
            nodes.map(str::to_owned).collect()
        };
        let shards = shown["shards"].as_array().context("no shards")?;
        Ok(Self {
            physical: physical.to_owned(),
            shards: shards.iter().map(names).collect(),
        })
    }
}

fn check_index(
    asked: Asked<'_>,
    placed: &Placed,
    expected: &BTreeMap<u64, Value>,
    replication_factor: u32,
) -> Result<()> {
    for (shard, replicas) in placed.shards.iter().enumerate() {
        ensure!(
            replicas.len() == replication_factor as usize,
            "shard {shard} is placed on {replicas:?}, and shall be on {replication_factor} nodes"
        );
    }
    let mut held = Vec::new();
    for (name, client) in asked.nodes {
        // A node that has none of its shards need not have the index.
        let is_placed = placed.shards.iter().any(|replicas| replicas.contains(name));
        let is_there = client.get(&format!("/indexes/{}", placed.physical))?.status == 200;
        if is_placed || is_there {
            held.push((name, stored_documents(client, &placed.physical)?));
        }
    }
    let mut union = BTreeMap::new();
    for (name, documents) in &held {
        for (id, document) in documents {
            let shard = shard_of(document)?;
            let replicas = placed.shards.get(shard).context("a shard too many")?;
            ensure!(
                replicas.contains(*name),
                "{name} holds {document}, of shard {shard}, which is not placed there"
            );
            let (_, copies) = union.entry(*id).or_insert((document, Vec::new()));
            copies.push((name, document));
        }
    }
    for (id, (first, copies)) in &union {
        ensure!(
            copies.len() == replication_factor as usize,
            "document {id} is on {:?} and shall be on {replication_factor} nodes",
            copies.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
        for (name, document) in copies {
            ensure!(
                document == first,
                "{name} holds {document}, another {first}"
            );
        }
    }
    for id in expected.keys().chain(union.keys()) {
        let found = union.get(id).map(|(document, _)| plain(document));
        ensure!(
            found.as_ref() == expected.get(id),
            "document {id} is {found:?} on the nodes and shall be {:?}",
            expected.get(id)
        );
    }
    Ok(())
}

/// The shard that a stored document says it is in.
fn shard_of(document: &Value) -> Result<usize> {
    let tag = document[SHARD_FIELD]
        .as_str()
        .context("a document without a tag")?;
    let mut shard = 0;
    for c in tag.chars() {
        let digit = TAG_DIGITS.iter().position(|digit| *digit == c);
        shard = shard * TAG_DIGITS.len() + digit.with_context(|| format!("the tag {tag}"))?;
    }
    Ok(shard)
}

/// A document without what Miroir adds to it.
fn plain(document: &Value) -> Value {
    let members = document.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !name.starts_with(RESERVED_PREFIX))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Miroir's own comparison comes to the same result.
fn check_by_proxy(client: &Client) -> Result<()> {
    let job = client
        .post("/_miroir/verify", &json!({ "repair": false }))?
        .ok()?;
    let path = format!("/_miroir/verify/{}", job["job"]);
    let report = poll("the comparison", PATIENCE, || {
        let report = client.get(&path)?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })?;
    if report["state"] != "succeeded" || report["differenceCount"] != 0 {
        bail!("{report}");
    }
    Ok(())
}
