//! Reads typed values from the tree. Reading continues after each problem, so that one load reports
//! all problems.

pub(crate) mod command;
pub(crate) mod depends_on;
pub(crate) mod environment;
pub(crate) mod processes;
pub(crate) mod reader;
pub(crate) mod root;
pub(crate) mod scale;
