//! The elastic cluster on real processes: nodes come, rest, leave and are replaced, copies, zones and
//! weights change, while writers and readers go on, and while processes die.
//!
//! All changes are made as an operator makes them: with the commands of `miroir`. No reader may see
//! what never was, miss what had been reported done, count anything twice, or be refused, unless
//! every replica of a shard was killed by the test. In the end the nodes themselves hold what is
//! placed on them and nothing else, and a node alone that got the same writes answers the same.
//!
//! `MIROIR_ELASTIC_SEED` says what is written and when faults come; `MIROIR_ELASTIC_LOGS` is a folder
//! for all logs.

#![cfg(unix)]

mod calm;
mod faults;
mod operator;
mod stage;
