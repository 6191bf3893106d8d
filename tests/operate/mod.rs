//! What an operator asks and sees: commands, endpoints, metrics, output, report.

mod commands;
mod control;
mod health;
mod kill;
mod metrics;
mod output;
mod private_socket;
mod report;
mod secrets;
mod status;
