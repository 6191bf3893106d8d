//! Says what known programs need for a good stop. A script may have the name of a program, so this
//! is never an error. If the config itself has a `stop_signal`, it is only a note.

use crate::check::running;
use crate::keys::{Config, DrainMethod, Process, ProcessKind, Shutdown};
use crate::known::{self, Kind};
use crate::language::diagnostics::diagnostic::Severity;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::types::human;

/// Whether the process serves other processes of the container, as a database does.
pub(crate) fn is_store(process: &Process) -> bool {
    known::find(&process.command).is_some_and(|it| it.program.kind == Kind::Store)
}

/// Warns of each known program that gets a worse stop signal than it could, and of a program that
/// takes longer for its stop than it gets.
pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    for (index, process, place) in running(config, places) {
        let known = known::find(&process.command).filter(|_| process.kind != ProcessKind::Oneshot);
        let Some(known) = known.filter(|_| !places.is_further_copy(index)) else { continue };
        let has = |key: &str| place.find(key).is_some();
        let signals = &known.program.signals;
        // The signal of a drain comes first, and should already end the program.
        let (signal, key) = match process.drained().map(|drain| &drain.method) {
            // With `connections`, another signal may only announce the stop.
            Some(DrainMethod::Signal(it))
                if signals.contains(&it.signal)
                    || it.connections.is_none() && !signals.is_empty() =>
            {
                (it.signal, "drain.signal.signal")
            }
            _ => (process.stop_signal, "stop_signal"),
        };
        let name = &process.name;
        let Shutdown { grace_period, reserve, readiness_delay, .. } = config.shutdown;
        let window = grace_period.saturating_sub(reserve + readiness_delay);
        // The time from this signal to the next one, and the key that sets this time.
        let (own, longer) = match process.drained() {
            Some(drain) if key != "stop_signal" => (drain.time, "drain.signal.time"),
            _ => (process.stop_grace_period, "stop_grace_period"),
        };
        let own = own.filter(|own| *own < window);
        let (gets, longer) = own.map_or((window, "shutdown.grace_period"), |own| (own, longer));
        let limit = known.limit.filter(|limit| *limit > gets || limit.is_zero());
        let is_needed =
            || config.processes.iter().any(|it| it.depends_on.iter().any(|on| on.process == *name));
        // A drain that is off has a finding of its own.
        let has_drain = process.drained().is_some() || process.drain_off.is_some();
        let is_cut = known.program.kind == Kind::Drained && !has_drain;
        if is_cut && !readiness_delay.is_zero() && !is_needed() {
            let message = format!("`{name}`: {} may lose requests at its stop", known.name);
            let help = "write `drain: connections` for it, so that they end before";
            problems.note(Rule::UndrainedServer, place.at("command"), message).help(help);
        }
        let is_written = has(key);
        let advice = known.advice(signal, key).filter(|_| !is_written || !signals.is_empty());
        if let Some((why, help)) = advice {
            let message = format!("`{name}`: {why}");
            let key = if is_written { key } else { "command" };
            let is_note = is_written || known.kind == Kind::Maybe;
            let severity = if is_note { Severity::Note } else { Severity::Warning };
            let done = "; if that is done, write `stop_signal: TERM`";
            let or = if signals.is_empty() && !help.starts_with("write") { done } else { "" };
            problems
                .push(Rule::UnsuitableStop, severity, place.at(key), message)
                .help(format!("{help}{or}"));
        } else if let Some(why) = limit.and_then(|_| known.why_alive(signal)) {
            let gets = human(gets);
            let message = format!("`{name}`: {why}, but gets the next signal after {gets}");
            let help = format!("let its own time end just before that, or make `{longer}` longer");
            problems.note(Rule::StopOutlastsLimit, place.at("command"), message).help(help);
        } else if let Some(why) = known.cuts_before(gets).filter(|_| !has_drain) {
            let gets = human(gets);
            let message = format!("`{name}`: {why}, although it gets {gets}");
            let set = known.program.limit_settings.split(' ').next().filter(|it| !it.is_empty());
            let set = set.map_or(String::new(), |set| format!("set `{set}`, or "));
            let help = format!("{set}write `drain: connections` for it, which waits before that");
            problems.note(Rule::OwnLimit, place.at("command"), message).help(help);
        }
    }
}
