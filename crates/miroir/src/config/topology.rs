//! The `[topology]` table: the nodes and numbers of copies of the file are what shall be, and where
//! further nodes are found.

use super::raw::{At, RawConfig, RawIndex, RawTopology};
use super::{Check, NodeConfig};
use miroir_api::admin::{ApplyPolicy, Declaration, DeclaredNode};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is done with what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Apply {
    /// It is staged.
    PlanOnly,
    /// It is staged and applied.
    Auto,
}

/// Between two looks for nodes.
const DEFAULT_DISCOVER_INTERVAL: Duration = Duration::from_secs(10);

/// Where nodes are found: `http://BEFORE{n}AFTER:PORT`, for n from 0 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiscoverConfig {
    /// What stands before the number.
    pub(crate) before: String,
    /// What stands behind it.
    pub(crate) after: String,
    /// The port of every node.
    pub(crate) port: u16,
    /// Between two looks.
    pub(crate) interval: Duration,
}

impl Check {
    /// What makes sense in a declared topology only is a mistake elsewhere: it would do nothing.
    pub(super) fn only_declared(&mut self, raw: &RawConfig) {
        if raw.topology.is_some() {
            return;
        }
        let drains = raw
            .nodes
            .iter()
            .flatten()
            .filter_map(|node| node.drain.as_ref());
        let drains: Vec<_> = drains.map(|at| ("drain", at.line)).collect();
        let factors = raw
            .indexes
            .iter()
            .filter_map(|index| index.replication_factor.as_ref());
        let factors = factors.map(|at| ("replication_factor", at.line));
        for (key, line) in drains.into_iter().chain(factors) {
            let text = format!(
                "`{key}` here says what shall be, and needs a declared topology: write `[topology]` \
                 too, or use the commands `miroir node` and `miroir topology`"
            );
            self.add(line, text);
        }
    }

    /// The copies that single indexes shall have.
    pub(super) fn factors(&mut self, indexes: &[RawIndex]) -> BTreeMap<String, u32> {
        let mut factors = BTreeMap::new();
        for index in indexes {
            if let (Some(uid), Some(at)) = (&index.uid, &index.replication_factor)
                && let Some(factor) = self.copies(at)
            {
                factors.insert(uid.value.clone(), factor);
            }
        }
        factors
    }

    pub(super) fn discover(&mut self, raw: &RawTopology) -> Option<DiscoverConfig> {
        let interval = self.duration(
            raw.discover_interval.clone(),
            "discover_interval",
            DEFAULT_DISCOVER_INTERVAL,
        );
        let At { value, line } = raw.discover.as_ref()?;
        let found = pattern(value, interval);
        if found.is_none() {
            let text = format!(
                "`discover` cannot be \"{value}\": write the address of a node with `{{n}}` for its \
                 number in the first part of its name, as in \"http://meili-{{n}}.meili:7700\""
            );
            self.add(*line, text);
        }
        found
    }

    pub(super) fn topology(
        &mut self,
        raw: RawTopology,
        nodes: &[NodeConfig],
        replication_factors: BTreeMap<String, u32>,
    ) -> Declaration {
        let apply = match self.choice(raw.apply, "apply", Apply::PlanOnly) {
            Apply::PlanOnly => ApplyPolicy::PlanOnly,
            Apply::Auto => ApplyPolicy::Auto,
        };
        if !nodes.is_empty() && nodes.iter().all(|node| node.drains) {
            self.add(None, "every node drains: none would be left to take shards");
        }
        let factor = raw.replication_factor;
        Declaration {
            nodes: nodes.iter().map(declared).collect(),
            replication_factor: factor.and_then(|at| self.copies(&at)),
            replication_factors,
            apply,
            dry_run: false,
        }
    }

    fn copies(&mut self, at: &At<i64>) -> Option<u32> {
        let factor = u32::try_from(at.value).ok().filter(|factor| *factor > 0);
        if factor.is_none() {
            let text = format!("`replication_factor` must be at least 1, not {}", at.value);
            self.add(at.line, text);
        }
        factor
    }
}

fn pattern(text: &str, interval: Duration) -> Option<DiscoverConfig> {
    let (host, port) = text.strip_prefix("http://")?.rsplit_once(':')?;
    let (before, after) = host.split_once("{n}")?;
    let is_name = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    // The first part names the node, so the number has to be in it.
    let is_right = is_name(before)
        && is_name(after)
        && !before.contains('.')
        && (after.is_empty() || after.starts_with(['.', '-']));
    is_right.then_some(DiscoverConfig {
        before: before.to_owned(),
        after: after.to_owned(),
        port: port.parse().ok()?,
        interval,
    })
}

fn declared(node: &NodeConfig) -> DeclaredNode {
    DeclaredNode {
        name: node.name.clone(),
        url: node.url.clone(),
        zone: node.zone.clone(),
        weight: Some(node.weight),
        drain: node.drains,
    }
}
