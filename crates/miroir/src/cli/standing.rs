//! How one node stands, below the table of `miroir status`: how far behind it is, what it waits for,
//! and what is wrong with it.

use crate::screen;
use miroir_api::admin::{Node, NodeCondition, Refill};
use miroir_core::condition::Condition;

/// Lines about a node, each begun by a line break; none for one that is well and level.
pub(super) fn lines(node: &Node) -> String {
    let mut text = String::new();
    let name = &node.name;
    let reason = node
        .out_of_sync_reason
        .as_ref()
        .or(node.last_error.as_ref());
    if let Some(reason) = reason {
        text.push_str(&format!("\n  {name}: {reason}"));
    }
    if let Some(refill) = &node.refill {
        text.push_str(&refill_line(name, refill));
    }
    if !node.in_sync && node.lag_batches > 0 {
        text.push_str(&format!("\n  {name}: behind by {}", behind(node)));
    }
    if let Some(what) = &node.waits_for {
        text.push_str(&format!("\n  {name}: waits for {what}"));
    }
    for condition in &node.conditions {
        text.push_str(&explained(name, condition));
    }
    text
}

/// Nothing is wrong with the node that searches or writes suffer from.
pub(super) fn is_well(node: &Node) -> bool {
    let is_illness = |condition: &NodeCondition| {
        let known = Condition::ALL
            .into_iter()
            .find(|known| known.name() == condition.condition);
        // One that a newer proxy knows of is taken to be serious.
        known.is_none_or(Condition::is_illness)
    };
    node.in_sync && node.state == "up" && !node.conditions.iter().any(is_illness)
}

fn behind(node: &Node) -> String {
    let plural = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", screen::grouped(count)),
    };
    format!(
        "{} ({}, {} of payloads), {:.0} s",
        plural(node.lag_batches, "batch", "batches"),
        plural(node.lag_entries, "entry", "entries"),
        plural(node.lag_bytes, "byte", "bytes"),
        node.lag_seconds
    )
}

fn explained(name: &str, condition: &NodeCondition) -> String {
    let mut text = format!("\n\n  {name}: {}", condition.symptom);
    let mut line = |label: &str, words: &str| {
        text.push_str(&format!("\n    {label:<11} {words}"));
    };
    if let Some(detail) = &condition.detail {
        line("seen:", detail);
    }
    if let Some(since) = &condition.since {
        line("since:", since);
    }
    line("impact:", &condition.impact);
    line("cause:", &condition.cause);
    line("what to do:", &condition.remedy);
    text
}

fn refill_line(name: &str, refill: &Refill) -> String {
    match refill.state.as_str() {
        "waiting" => format!("\n  {name}: its shards will be copied anew when it is back"),
        _ => format!(
            "\n  {name}: {} of {} shards copied, {} documents so far",
            screen::grouped(refill.shards_done),
            screen::grouped(refill.shards_total),
            screen::grouped(refill.documents)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_api::admin::NodeReads;

    fn node(conditions: Vec<NodeCondition>) -> Node {
        Node {
            name: "b".into(),
            url: "http://b:7700".into(),
            zone: None,
            weight: 1.0,
            state: "up".into(),
            in_sync: true,
            out_of_sync_reason: None,
            version: None,
            lag_batches: 0,
            lag_entries: 0,
            lag_bytes: 0,
            lag_seconds: 0.0,
            slows_writes: false,
            drained: false,
            shard_count: 4,
            in_sync_shards: 4,
            waits_for: None,
            conditions,
            last_error: None,
            refill: None,
            reads: NodeReads::default(),
        }
    }

    fn condition(of: Condition) -> NodeCondition {
        let text = of.explanation();
        NodeCondition {
            condition: of.name().into(),
            symptom: text.symptom.into(),
            impact: text.impact.into(),
            cause: text.cause.into(),
            remedy: text.remedy.into(),
            detail: Some("no room".into()),
            since: None,
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_symptom_impact_cause_and_what_to_do() {
        let shown = lines(&node(vec![condition(Condition::Full)]));
        let text = Condition::Full.explanation();
        assert_eq!(
            shown,
            format!(
                "\n\n  b: {}\n    seen:       no room\n    impact:     {}\n    cause:      {}\n    \
                 what to do: {}",
                text.symptom, text.impact, text.cause, text.remedy
            )
        );
    }

    #[test]
    fn a_level_node_needs_no_words() {
        assert_eq!(lines(&node(Vec::new())), "");
    }

    #[test]
    fn a_wrong_clock_makes_nobody_ill_and_a_full_disk_does() {
        assert!(is_well(&node(vec![condition(Condition::WrongClock)])));
        assert!(!is_well(&node(vec![condition(Condition::Full)])));
    }
}
