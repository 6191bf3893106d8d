//! The config of a command with a drain.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::exec::{
    DrainOptions, ExecOptions, GRACE_PERIOD, KEY_OPTIONS, MIN, Refusal, TIME, UNREADY_DELAY, Wrong,
};
use crate::keys::{
    Config, DEFAULT_MIN, Drain, DrainMethod, DrainOff, Leftovers, Process, Readiness, Shutdown,
    Variable,
};
use crate::types::{Signal, harmless, human};

/// The names of an option and of its variable, for a message.
fn names(option: &str) -> String {
    let variable = KEY_OPTIONS.iter().find(|it| it.name == option).map(|it| it.variable);
    format!("{option} ({})", variable.unwrap_or_default())
}

/// Converts the options to a config. `rewrites` says whether there is a rule of `--rewrite`.
///
/// # Errors
/// Fails if options contradict each other, or if a config cannot express them.
pub(super) fn config(
    options: &ExecOptions,
    drain: &DrainOptions,
    rewrites: bool,
) -> Result<Config, Refusal> {
    // SIGKILL would end drainit at once, without a drain.
    let is_killed = options.parent_death_signal == Some(Signal::KILL);
    for (name, value, is_set) in [
        ("--group", "", options.group),
        ("--rewrite", "", rewrites),
        ("--no-subreaper", "", !options.subreaper),
        ("--parent-death-signal", " SIGKILL", is_killed),
    ] {
        if is_set {
            let why = "cannot be used with a drain (--drain-envoy, DRAINIT_DRAIN_ENVOY)";
            return Err(Refusal::new(Wrong::WithDrain, name, format!("{name}{value} {why}")));
        }
    }
    let text = |arg: &OsString| {
        arg.to_str().map(str::to_owned).ok_or_else(|| {
            let arg = arg.to_string_lossy();
            Refusal::new(
                Wrong::Times,
                "--",
                format!("`{arg}` is not UTF-8: a command with a drain must be UTF-8"),
            )
        })
    };
    let command = options.command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let name = command.first().and_then(|program| Path::new(program).file_name());
    let name = name.map_or_else(
        || "command".to_owned(),
        |name| harmless(&name.to_string_lossy()).into_owned(),
    );
    let defaults = Shutdown::default();
    let grace_period = options.grace_period.unwrap_or(defaults.grace_period);
    let shutdown = Shutdown {
        grace_period,
        // If the grace period is short, the reserve is only a tenth of it.
        reserve: defaults.reserve.min(grace_period / 10),
        readiness_delay: Duration::ZERO,
        unready_delay: drain.unready_delay,
        signals: options.stop_signals.clone(),
        report: None,
    };
    let method = DrainMethod::Envoy(drain.envoy.clone());
    let room = shutdown.window();
    let most = drain.time.unwrap_or(Duration::MAX);
    let min = drain.min.unwrap_or(DEFAULT_MIN.min(room).min(most));
    if min > most && !most.is_zero() {
        let (min, time) = (human(min), human(most));
        let why = format!("{} {min} is longer than {} {time}", names(MIN), names(TIME));
        return Err(Refusal::new(Wrong::Times, MIN, why));
    }
    let min = min.min(most);
    if min > room || room.is_zero() {
        let why = format!(
            "{} {} does not fit into {GRACE_PERIOD} {} less its reserve of {}",
            names(MIN),
            human(min),
            human(grace_period),
            human(shutdown.reserve),
        );
        return Err(Refusal::new(Wrong::Times, MIN, why));
    }
    if let Some(why) = shutdown.too_long_ready() {
        return Err(Refusal::new(
            Wrong::Times,
            UNREADY_DELAY,
            format!("{} {why}", names(UNREADY_DELAY)),
        ));
    }
    // All signals except SIGKILL, SIGCHLD and the stop signals are forwarded, because Envoy can use
    // them. For example, SIGUSR1 makes Envoy reopen its logs.
    let is_forwarded = |signal: &Signal| {
        ![Signal::KILL, Signal::CHLD].contains(signal) && !options.stop_signals.contains(signal)
    };
    let process = Process {
        stop_signal: options.stop_signals.first().copied().unwrap_or(Signal::TERM),
        forward_signals: (1..=64).filter_map(Signal::from_number).filter(is_forwarded).collect(),
        environment: KEY_OPTIONS.map(|it| Variable::Removed(it.variable.to_owned())).into(),
        readiness: drain
            .readiness
            .map(|timeout| Readiness::of_envoy(drain.envoy.admin.clone(), timeout)),
        drain: (!most.is_zero()).then_some(Drain { method, time: drain.time, min }),
        // The command gets no variable of drainit, because it never starts again.
        leftovers: Leftovers::Keep,
        drain_off: most.is_zero().then_some(DrainOff::Time),
        ..Process::new(name, command)
    };
    Ok(Config { shutdown, processes: vec![Arc::new(process)], ..Config::default() })
}

/// The warning for a `--drain-time` that is longer than the grace period less its reserve; `None`
/// for a shorter time.
pub fn cut_short(shutdown: &Shutdown, drain: &DrainOptions) -> Option<String> {
    let (time, room) = (drain.time?, shutdown.window());
    (time > room).then(|| {
        format!(
            "{} {} is cut short to the {} that --grace-period {} leaves; raise it together \
             with the grace period of the pod",
            names(TIME),
            human(time),
            human(room),
            human(shutdown.grace_period)
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keys::{Address, EnvoyDrain};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn options(grace: Option<u64>) -> ExecOptions {
        let mut options = ExecOptions::new(vec!["/usr/bin/envoy".into(), "${PATH}".into()]);
        options.grace_period = grace.map(seconds);
        options
    }

    fn drain(time: Option<u64>, min: Option<u64>) -> DrainOptions {
        let envoy = EnvoyDrain::at(Address::Unix("/run/admin.sock".into()));
        DrainOptions {
            envoy,
            time: time.map(seconds),
            min: min.map(seconds),
            readiness: None,
            unready_delay: Duration::ZERO,
        }
    }

    fn config(options: &ExecOptions, drain: &DrainOptions) -> Result<Config, Refusal> {
        super::config(options, drain, false)
    }

    // holds: C418, C420, C422
    #[test]
    fn options_become_a_config() {
        let mut options = options(Some(60));
        options.stop_signals = vec![Signal::USR2, Signal::INT];
        let config = config(&options, &drain(Some(15), None)).unwrap();
        let process = &config.processes[0];
        assert_eq!(process.stop_signal, Signal::USR2);
        assert_eq!(process.name, "envoy");
        // `exec` does not expand variables in the command.
        assert_eq!(process.command, ["/usr/bin/envoy", "${PATH}"]);
        assert_eq!(config.shutdown.grace_period, seconds(60));
        assert_eq!(config.shutdown.reserve, seconds(2));
        let drain = process.drain.as_ref().unwrap();
        assert_eq!((drain.time, drain.min), (Some(seconds(15)), seconds(5)));
        for (signal, forwarded) in [(Signal::USR1, true), (Signal::HUP, true), (Signal::INT, false)]
        {
            assert_eq!(process.forward_signals.contains(&signal), forwarded, "{signal}");
        }
    }

    // holds: C424
    #[test]
    fn default_min_is_shortened_to_fit() {
        for (grace, time, min) in [(30, 15, 5000), (30, 3, 3000), (3, 15, 2700), (1, 15, 900)] {
            let config = config(&options(Some(grace)), &drain(Some(time), None)).unwrap();
            let drain = config.processes[0].drain.as_ref().unwrap();
            assert_eq!(drain.min, Duration::from_millis(min), "{grace} {time}");
        }
        assert!(config(&options(Some(3)), &drain(Some(15), Some(3))).is_err());
        assert!(super::config(&options(None), &drain(None, None), true).is_err());
        for (time, is_warned) in [(Some(60), true), (Some(28), false), (None, false)] {
            let drain = drain(time, None);
            let config = config(&options(None), &drain).unwrap();
            assert_eq!(cut_short(&config.shutdown, &drain).is_some(), is_warned, "{time:?}");
        }
        let undrained = config(&options(None), &drain(Some(0), None)).unwrap();
        assert!(undrained.processes[0].drain.is_none());
    }

    // holds: C975
    #[test]
    fn an_unready_delay_that_leaves_no_time_is_refused() {
        let config = |delay: u64| {
            let unready_delay = seconds(delay);
            config(&options(None), &DrainOptions { unready_delay, ..drain(Some(15), None) })
        };
        assert_eq!(config(27).unwrap().shutdown.unready_delay, seconds(27));
        let refused = config(28).unwrap_err().to_string();
        assert!(refused.ends_with(") (28s) leaves nothing of the 28s until the deadline"));
    }
}
