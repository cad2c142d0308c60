//! The parts of `miroir dev`: ports, node processes, and the record of a data folder.
//!
//! Law: whatever happens to this process, no node outlives it (see [`fleet`]).

pub(crate) mod fleet;
pub(crate) mod launch;
pub(crate) mod pidfile;
pub(crate) mod port;
pub(crate) mod record;
