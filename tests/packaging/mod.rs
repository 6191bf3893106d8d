//! Tests the content of packages and releases.

mod refusals;
mod tools;
