//! The language of a config, before any key has a meaning: files, the tree of YAML with the places
//! in these files, `${…}`, the words of a shell, and problems with their places.

pub mod diagnostics;
pub mod directory;
pub mod env_file;
pub mod environment;
pub mod expand;
pub mod invalid;
pub mod moment;
pub mod places;
pub mod script;
pub mod shell_split;
pub mod source;
pub mod span;
pub mod yaml;
