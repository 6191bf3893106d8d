//! Reads typed values from the tree of a config. After a problem, reading continues with the next
//! value, so that all problems are reported at once.

pub(crate) mod command;
pub(crate) mod depends_on;
pub(crate) mod environment;
pub(crate) mod neighbours;
pub(crate) mod processes;
pub(crate) mod reader;
pub(crate) mod root;
pub(crate) mod scale;
