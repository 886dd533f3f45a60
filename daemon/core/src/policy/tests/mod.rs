//! Tests of several verdicts together; those of one verdict stand in its file.

pub(super) mod law;
pub(crate) mod proofs;
