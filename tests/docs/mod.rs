//! Pages, manifests and rules: links lead somewhere, configs pass, each promise has a test.

mod manifests;
mod pages;
mod prometheus;
