//! The options of `drainit exec` that stand for keys of a config. `exec` reads them to run the
//! command, and `check --pod` to check a manifest.

/// An option, the variable that can replace it, and the key of a config that it sets: a key of
/// `drain.envoy`, or one of the keys below.
#[derive(Clone, Copy, Debug)]
pub struct ExecOption {
    pub option: &'static str,
    pub variable: &'static str,
    pub key: &'static str,
}

/// The key `shutdown.grace_period`.
pub const GRACE_PERIOD: &str = "shutdown.grace_period";
/// The key `readiness.timeout` of a process whose readiness asks its admin.
pub const READINESS: &str = "readiness.timeout";
/// The key whose value is a list. The option for this key has the items with commas between them.
pub const LISTENERS: &str = "ignore_listeners";

const fn of(option: &'static str, variable: &'static str, key: &'static str) -> ExecOption {
    ExecOption { option, variable, key }
}

/// All options. Only the outermost `exec` uses the variables, because the command of an `exec` does
/// not get these variables.
pub const OPTIONS: [ExecOption; 10] = [
    of("--drain-envoy", "DRAINIT_DRAIN_ENVOY", "admin"),
    of("--drain-time", "DRAINIT_DRAIN_TIME", "time"),
    of("--drain-min", "DRAINIT_DRAIN_MIN", "min"),
    of("--drain-fail-healthcheck", "DRAINIT_DRAIN_FAIL_HEALTHCHECK", "fail_healthcheck"),
    of("--drain-until", "DRAINIT_DRAIN_UNTIL", "until"),
    of("--drain-exit-at", "DRAINIT_DRAIN_EXIT_AT", "exit_at"),
    of("--drain-direction", "DRAINIT_DRAIN_DIRECTION", "direction"),
    of("--drain-ignore-listeners", "DRAINIT_DRAIN_IGNORE_LISTENERS", LISTENERS),
    of("--readiness", "DRAINIT_READINESS", READINESS),
    of("--grace-period", "DRAINIT_GRACE_PERIOD", GRACE_PERIOD),
];
