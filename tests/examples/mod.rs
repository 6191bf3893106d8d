//! Tests the examples and the known programs with real servers, and the files of other supervisors.

mod certificates;
mod known_servers;
mod migrations;
mod overlap;
mod policy_engine;
mod servers;
mod streams;
