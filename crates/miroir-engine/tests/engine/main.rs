//! The engine over nodes and a store in memory, on virtual time: order, outages, failures, crashes.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod chaos;
mod compaction;
mod convoy;
mod copies;
mod declaring;
mod denial;
mod editing;
mod failure;
mod faults;
mod features;
mod gate;
mod hooks;
mod jobs;
mod losses;
mod moves;
mod nodes;
mod order;
mod outage;
mod outcomes;
mod partial;
mod reads;
mod recovery;
mod resharding;
mod rewinding;
mod settings;
mod snapshots;
mod swaps;
mod tasks;
mod window;

use miroir_sim::{node, world};
