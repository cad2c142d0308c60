//! Documents: in and out.

pub(super) mod read;
pub(super) mod write;
