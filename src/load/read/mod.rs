//! Typed values of the tree. Reading goes on after each problem, so that one load reports all of
//! them.

pub(crate) mod command;
pub(crate) mod depends_on;
pub(crate) mod drain;
pub(crate) mod environment;
pub(crate) mod hooks;
pub(crate) mod listen;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod only_if;
pub(crate) mod places;
pub(crate) mod process;
pub(crate) mod reader;
pub(crate) mod readiness;
pub(crate) mod render;
pub(crate) mod root;
pub(crate) mod scale;
pub(crate) mod ulimits;
pub(crate) mod watch;
