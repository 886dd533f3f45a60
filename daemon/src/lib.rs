//! rekeyd: people set their own password, in the directory their organisation already has.

pub mod directory;
pub mod store;
