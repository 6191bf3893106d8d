//! What a package and a release contain.

mod refusals;
mod tools;
