//! Tests the view of an operator: commands, endpoints, metrics, output and report.

mod commands;
mod control;
mod health;
mod install;
mod kill;
mod metrics;
mod newcomer;
mod output;
mod private_socket;
mod report;
mod secrets;
mod status;
mod stop_path;
