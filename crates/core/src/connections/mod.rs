//! The drain of a server whose connections the kernel counts, without help from the server.
//!
//! [`answers`] finds out which connections owe an answer, on the thread that has looked, because
//! there can be very many. [`watch::Watch`] decides when the supervisor looks at them, and what the
//! core learns. The simulations of
//! `tests/simulation/answers.rs` and `tests/simulation/watch.rs` play both against models of
//! servers.

pub mod answers;
pub mod watch;
