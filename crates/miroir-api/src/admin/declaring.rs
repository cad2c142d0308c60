//! A topology that is declared as a whole, as in a file.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `POST /_miroir/topology/declare`: what shall be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Declaration {
    /// The nodes, all of them.
    pub nodes: Vec<DeclaredNode>,
    /// Copies of each shard of every index but those below; absent leaves them as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// Those of single indexes, by uid. An index that is not there is passed over.
    pub replication_factors: BTreeMap<String, u32>,
    /// What is done with what differs.
    pub apply: ApplyPolicy,
    /// It is only compared, and nothing is staged.
    pub dry_run: bool,
}

/// What is done with what differs from a declared topology.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyPolicy {
    /// It is staged, and somebody looks at the plan and applies it.
    #[default]
    PlanOnly,
    /// It is staged and applied, if nothing speaks against the plan.
    Auto,
}

/// A node as it shall be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredNode {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its share of the documents relative to the others; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// It shall hold nothing.
    #[serde(default)]
    pub drain: bool,
}

/// Answer of `POST /_miroir/topology/declare`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclarationOutcome {
    /// The epoch of the topology in force.
    pub epoch: u64,
    /// What differs, in words; empty if all is as declared.
    pub changes: Vec<String>,
    /// The epoch under which it is staged; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_epoch: Option<u64>,
    /// It is being carried out.
    pub is_applied: bool,
    /// What is declared and not done, and why.
    pub objections: Vec<String>,
}
