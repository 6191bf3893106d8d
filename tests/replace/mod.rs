//! Restarts and replacements while other processes run: reload, `start-first`, `watch`.

mod liveness;
mod reload;
mod replace;
mod watch;
