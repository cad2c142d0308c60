//! Whom to ask when several nodes could answer: what is remembered of a node's answers, and what
//! follows from it.
//!
//! Everything here is a function of values, time and randomness given. What is remembered packs
//! into one word each (but for [`strain`]), so that readers update it without a lock.
//!
//! - [`latency`]: how long a node usually takes, and when its silence is unusual;
//! - [`gate`]: whether a node that failed or was too busy is asked again yet;
//! - [`choice`]: the cost of asking a node, trying out one that was not asked for long, and the slow
//!   start of one that returned;
//! - [`budget`]: how many requests may be sent a second time;
//! - [`strain`]: what searches feel of a copy that runs beside them.

pub mod budget;
pub mod choice;
pub mod gate;
pub mod latency;
pub mod strain;

pub use budget::HedgeBudget;
pub use choice::{NodeLoad, expected_us, is_tried_out, load_cost, slow_start_cost};
pub use gate::{Admission, Gate, GateEvent};
pub use latency::Latency;
pub use strain::Strain;
