//! Asks the nodes themselves, past the proxy: each shard is whole on each of its replicas, the same
//! to the last byte of what Miroir adds, and nowhere else.

use crate::book::Book;
use crate::ledger::Ledger;
use anyhow::{Context, Result, bail, ensure};
use miroir_testkit::{Cluster, poll, stored_documents};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The digits of a shard's tag.
const TAG_DIGITS: [char; 4] = ['⊰', '⊱', '⋔', '⋕'];
const SHARD_FIELD: &str = "_miroir_shard";
const RESERVED_PREFIX: &str = "_miroir_";
const COMPARISON_LIMIT: Duration = Duration::from_secs(120);
/// A node removes an index that is gone a moment after its task has ended for clients.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn check(cluster: &Cluster, book: &Book, ledgers: &[&Ledger]) -> Result<()> {
    let mut living = BTreeSet::new();
    for ledger in ledgers {
        if let Some(expected) = ledger.final_documents() {
            let name = &ledger.name;
            let physical = cluster.physical_index(name)?;
            check_index(cluster, name, &physical, expected, book.replication_factor)
                .with_context(|| format!("the replicas of {name}"))?;
            living.insert(physical);
        }
    }
    for (node_idx, node) in cluster.nodes.iter().enumerate() {
        // What was removed after an old copy was made lives on where the copy is put back: Miroir
        // does not remove indexes from a node of which it cannot tell whose they are.
        let has_remains = book.restored.lock().contains(&node_idx);
        let mut held = BTreeSet::new();
        poll("the removal of dead indexes", REMOVAL_LIMIT, || {
            let list = node.client().get("/indexes?limit=1000")?.ok()?;
            let results = list["results"].as_array().context("no list")?;
            let uids = results.iter().filter_map(|index| index["uid"].as_str());
            held = uids.map(str::to_owned).collect();
            let is_clean = held == living || (has_remains && held.is_superset(&living));
            Ok(is_clean.then_some(()))
        })
        .with_context(|| {
            format!(
                "node {} holds {held:?}, of which live {living:?}",
                node_idx + 1
            )
        })?;
    }
    check_by_proxy(cluster)
}

fn check_index(
    cluster: &Cluster,
    name: &str,
    physical: &str,
    expected: &BTreeMap<u64, Value>,
    replication_factor: u32,
) -> Result<()> {
    let shards = cluster
        .client()
        .get(&format!("/_miroir/indexes/{name}/shards"))?;
    let shards = shards.ok()?;
    let shards = shards["shards"].as_array().context("no shards")?;
    let mut held = Vec::new();
    for node in &cluster.nodes {
        held.push(stored_documents(node.client(), physical)?);
    }
    let mut union = BTreeMap::new();
    for (node_idx, documents) in held.iter().enumerate() {
        for (id, document) in documents {
            let shard = shard_of(document)?;
            let replicas = shards[shard]["replicas"]
                .as_array()
                .context("no replicas")?;
            let node = format!("node-{}", node_idx + 1);
            ensure!(
                replicas
                    .iter()
                    .any(|replica| replica["node"] == node.as_str()),
                "{node} holds {document}, which is not placed there"
            );
            union
                .entry(*id)
                .or_insert((document, Vec::new()))
                .1
                .push((node_idx, document));
        }
    }
    for (id, (first, copies)) in &union {
        ensure!(
            copies.len() == replication_factor as usize,
            "document {id} is on nodes {:?} and shall be on {replication_factor}",
            copies
                .iter()
                .map(|(node_idx, _)| node_idx + 1)
                .collect::<Vec<_>>()
        );
        for (node_idx, document) in copies {
            ensure!(
                document == first,
                "node {} holds {document}, another {first}",
                node_idx + 1
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
fn check_by_proxy(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let job = client
        .post("/_miroir/verify", &json!({ "repair": false }))?
        .ok()?;
    let path = format!("/_miroir/verify/{}", job["job"]);
    let report = poll("the comparison", COMPARISON_LIMIT, || {
        let report = client.get(&path)?.ok()?;
        Ok((report["state"] != "running").then_some(report))
    })?;
    if report["state"] != "succeeded" || report["differenceCount"] != 0 {
        bail!("{report}");
    }
    Ok(())
}
