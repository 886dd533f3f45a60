//! The verdicts, pure: each is a function of what was read, what is remembered, the rules and the time it is given.
//!
//! * [`claims`]: which of several directories does a login belong to?
//! * [`eligibility`]: may this be done to this account? One table, `design`'s law.
//! * [`adoption`]: what becomes of an account that is older than rekeyd?
//! * [`authority`]: may this operator do that to this account?
//! * [`grounds`]: which rule decided.
//! * [`password`]: is this password good enough?
//! * [`pace`]: how often may somebody ask?
//! * [`permit`]: the four proofs, together and about one account; the only thing that lets a password be written.
//! * [`rules`]: the `[policy]` section of the configuration.

pub mod adoption;
pub mod authority;
pub mod claims;
mod common;
pub mod eligibility;
mod generate;
pub mod grounds;
mod likeness;
pub mod pace;
mod paces;
pub mod password;
pub mod permit;
mod refusal;
pub mod rules;
#[cfg(test)]
pub(crate) mod tests;
mod weakness;
