//! A lost store, found again on the nodes: (what the nodes show, what the operator says) → plan.
//!
//! The store holds what no node does: the log, the names, the placement. Most of it can be told from
//! what nodes show all the same: physical names and marks tell names and numbers, documents tell
//! shards and sequence numbers, hidden settings tell what clients set. What cannot be told is said
//! ([`Remark`]), never guessed silently.
//!
//! - `seen` — what one node shows.
//! - `shards` — the number of shards of an index, from its documents' tags.
//! - `names` — which name each physical index bears.
//! - `replicas` — where shards lie, and which nodes are to be trusted.
//! - `plan` — all of it together.
//!
//! Laws: planning changes nothing and depends on nothing but its input; no two indexes bear one name;
//! a node is not declared out of sync where it has the only replica of a shard; numbers given from
//! now on are greater than all that were seen.

mod names;
mod plan;
mod replicas;
mod seen;
mod shards;

pub use names::{NameBasis, Naming, form_of, resolve_names};
pub use plan::{IndexPlan, Input, Plan, PlanError, Remark, plan};
pub use replicas::{Judged, Replicas, judge};
pub use seen::{NodeSeen, ReplicaSeen};
pub use shards::ShardCounts;
