//! The drain of a server whose connections the kernel counts, without help from the server.
//!
//! [`answers`] finds out which connections owe an answer. A server can have very many connections,
//! so `answers` runs on the thread that reads the kernel's list. [`watch`] decides when the
//! supervisor reads the list (a *look*), and what the core learns. [`endings`] judges how a connection
//! has ended. The simulations `tests/simulation/answers.rs` and `tests/simulation/watch.rs` play all
//! three against models of servers.

pub mod answers;
pub mod endings;
pub mod watch;
