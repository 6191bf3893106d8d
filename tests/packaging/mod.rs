//! The content of packages and releases.

mod refusals;
mod tools;
