//! What was found, for people and for programs.

use super::Found;
use crate::screen;
use miroir_core::recover::{IndexPlan, NameBasis};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What no node holds, whatever is found.
const LOST: [&str; 5] = [
    "API keys: make them again (the default ones are made at the next start, with new values)",
    "tenant tokens signed with those keys",
    "webhooks made over the API",
    "the history of tasks and batches",
    "writes that were accepted and had not reached every node of their shards",
];

fn basis(index: &IndexPlan) -> String {
    match &index.basis {
        NameBasis::Said => "as you say".to_owned(),
        NameBasis::LastWrite(task) => format!("its last write, task {task}"),
        NameBasis::Form => "its name on the nodes".to_owned(),
        NameBasis::Exchanged(taker) => format!("exchanged with {taker}"),
    }
}

/// For people.
pub(crate) fn to_text(found: &Found) -> String {
    let plan = &found.plan;
    let rows: Vec<Vec<String>> = plan
        .indexes
        .iter()
        .map(|index| {
            vec![
                index.uid.to_string(),
                index.physical.to_string(),
                index.primary_key.clone().unwrap_or_else(|| "-".to_owned()),
                screen::grouped(index.documents),
                index.shard_count.to_string(),
                index.replication_factor.to_string(),
                index.settings.len().to_string(),
                basis(index),
            ]
        })
        .collect();
    let headers = [
        "index",
        "on the nodes",
        "key",
        "documents",
        "shards",
        "copies",
        "settings",
        "told by",
    ];
    let mut text = String::from("Found on the nodes:\n\n");
    text.push_str(&screen::table(&headers, &rows));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n\nTasks go on at {}, batches at {}.\n",
        plan.next_task, plan.next_batch
    );
    for spec in &found.specs {
        let state = match plan.judged.refills.get(&spec.id) {
            Some(reason) => format!("is made anew from the others: {reason}"),
            None => "is trusted".to_owned(),
        };
        let _ = writeln!(text, "Node {} {state}.", spec.id);
    }
    if !plan.features.is_empty() {
        let features: Vec<&str> = plan.features.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "Experimental features on on every node: {}.",
            features.join(", ")
        );
    }
    if !plan.remarks.is_empty() {
        text.push_str("\nTo know:\n");
        for remark in &plan.remarks {
            let _ = writeln!(text, "- {remark}");
        }
    }
    text.push_str(
        "\nNames changed by a swap or a renaming after the last write to an index are not \
                   seen: compare them, and give others with --name.\n\nLost with the store:\n",
    );
    for line in LOST {
        let _ = writeln!(text, "- {line}");
    }
    text
}

/// For programs.
pub(crate) fn to_json(found: &Found, is_written: bool) -> Value {
    let plan = &found.plan;
    let indexes: Vec<Value> = plan
        .indexes
        .iter()
        .map(|index| {
            json!({
                "uid": index.uid.as_str(),
                "physical": index.physical.as_str(),
                "toldBy": basis(index),
                "primaryKey": index.primary_key,
                "documents": index.documents,
                "shardCount": index.shard_count,
                "replicationFactor": index.replication_factor,
                "settings": index.settings.keys().collect::<Vec<_>>(),
            })
        })
        .collect();
    let remarks: Vec<String> = plan.remarks.iter().map(ToString::to_string).collect();
    let refills: serde_json::Map<String, Value> = plan
        .judged
        .refills
        .iter()
        .map(|(node, reason)| (node.to_string(), json!(reason)))
        .collect();
    json!({
        "written": is_written,
        "indexes": indexes,
        "nextTask": plan.next_task.0,
        "nextBatch": plan.next_batch.0,
        "nodesToRefill": refills,
        "features": plan.features,
        "remarks": remarks,
        "lost": LOST,
    })
}
