//! Tests the pages, manifests and rules of the docs: links lead somewhere, configs pass, and each
//! promise has a test.

mod known_programs;
mod losses;
mod manifests;
mod pages;
mod prometheus;
mod recipes;
mod workflow;
