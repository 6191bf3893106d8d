//! Patterns of log lines for which several tests wait. One test checks the whole sentence of a
//! line, and the other tests use only the pattern.

pub(crate) const ALL_READY: &str = "everything is ready";
pub(crate) const STOPPING: &str = "stopping: SIGTERM received";
pub(crate) const HURRIED: &str = "second stop signal";
pub(crate) const LEFT_OVER: &str = "left over";
pub(crate) const NO_CONNECTION_LEFT: &str = "drain over after [^;]*: no connection left";
pub(crate) const TIME_IS_OVER: &str = "drain over after [^;]*: its (time|`time` of [^;]*) is over";

pub(crate) fn ready(process: &str) -> String {
    format!("{process}: ready")
}

pub(crate) fn draining(process: &str) -> String {
    format!("{process}: draining for")
}

pub(crate) fn takes_over(process: &str) -> String {
    format!("{process}: the new instance takes over")
}

pub(crate) fn restarted(process: &str) -> String {
    format!("{process}: restart done")
}

pub(crate) fn without_effect(signal: &str) -> String {
    format!("{signal} has no effect")
}
