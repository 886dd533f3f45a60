//! rekeyd: people set their own password, in the directory their organisation already has.

pub mod directory;
pub mod flow;
pub mod http;
pub mod store;
