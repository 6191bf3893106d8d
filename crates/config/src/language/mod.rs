//! The language of a config, whatever its keys mean: files, the YAML tree, `${…}`, the splitting of
//! commands into words, and problems. Each value of the tree and each problem has its place in a
//! file.

pub mod deadline_share;
pub mod diagnostics;
pub mod directory;
pub mod env_file;
pub mod environment;
pub mod expand;
pub mod invalid;
pub mod mask;
pub mod moment;
pub mod places;
pub mod script;
pub mod shell_split;
pub mod source;
pub mod span;
pub mod text;
pub mod written;
pub mod yaml;
