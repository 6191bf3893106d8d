//! The drain of a server whose connections the kernel counts, without help from the server.
//!
//! [`answers`] finds out which connections owe an answer. There can be very many connections, so
//! this happens on the thread that has looked. [`watch::Watch`] decides when the supervisor looks
//! at the connections, and what the core learns. The simulations of `tests/simulation/answers.rs`
//! and `tests/simulation/watch.rs` play both against models of servers.

pub mod answers;
pub mod watch;
