//! The fault table of chaos-exec: the vocabulary that a user writes, the compiled form that lies in a session, and
//! the pure function that decides whether a call is hit.
//!
//! Shared by the shim and the launcher; it knows neither.

#![forbid(unsafe_code)]

pub mod calls;
pub mod decide;
pub mod env;
pub mod errno;
pub mod record;
pub mod rule;
pub mod session;
