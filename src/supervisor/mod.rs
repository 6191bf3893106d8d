//! What touches the system: it carries the actions of the core out, and turns what happens into events.

pub mod children;
pub mod drain;
pub mod event_loop;
pub mod executor;
pub mod launch;
pub mod message;
pub mod readiness;
pub mod run_command;
pub mod status;
