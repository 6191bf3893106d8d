//! Tests the examples with real servers, and the files of other supervisors.

mod certificates;
mod migrations;
mod overlap;
mod policy_engine;
mod servers;
mod streams;
