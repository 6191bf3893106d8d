//! What restarts or replaces a process while the others run: reload, `start-first`, `watch`.

mod liveness;
mod reload;
mod replace;
mod watch;
