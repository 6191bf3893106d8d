//! Tests restarts and replacements while other processes run: reload, `start-first`, `watch`.

mod liveness;
mod reload;
mod watch;
