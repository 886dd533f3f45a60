//! The channel `email`.
