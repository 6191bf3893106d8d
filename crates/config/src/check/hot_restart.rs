//! Checks the Envoys with `update: hot-restart`: whether Envoy's own flags allow a hot restart, and
//! whether the times in these flags fit the shutdown.

use std::collections::HashMap;

use crate::keys::{Config, DrainMethod, EnvoyFlags, Process};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::language::span::Span;
use crate::types::human;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let mut ids: HashMap<String, usize> = HashMap::new();
    for (index, (process, place)) in config.processes.iter().zip(&places.processes).enumerate() {
        let Some(flags) = process.hot_restart() else { continue };
        let faults = faults(process, &flags);
        if !faults.is_empty() {
            for (key, message, help) in faults {
                problems.error(Rule::HotRestartFlags, place.at(key), message).help(help);
            }
            continue;
        }
        let command = place.at("command");
        if let Some(id) = &flags.base_id
            && let Some(other) = ids.insert(id.clone(), index)
        {
            let (name, other_name) = (&process.name, &config.processes[other].name);
            let id = problems.for_message(id);
            let message = format!("`{name}` has the `--base-id {id}` of `{other_name}`");
            problems.error(Rule::HotRestartFlags, command, message).help(
                match place.is_same(&places.processes[other]) {
                    true => "give each copy its own: `--base-id ${SCALE_INDEX}`",
                    false => "give each Envoy another number",
                },
            );
        }
        times(problems, config, process, &flags, command);
    }
}

/// The reasons why a new instance of the Envoy could not take over from the old instance. Each
/// reason has the key at fault, the message and the help. The messages call an instance an epoch,
/// as Envoy does.
fn faults(process: &Process, flags: &EnvoyFlags) -> Vec<(&'static str, String, &'static str)> {
    let name = &process.name;
    let is_envoy =
        process.drain.as_ref().is_some_and(|drain| matches!(drain.method, DrainMethod::Envoy(_)));
    let faults = [
        (
            !is_envoy,
            "update",
            format!(
                "`update: hot-restart` is for an Envoy, and `{name}` has no `drain: {{envoy: …}}`, whose admin tells \
                 which epoch serves"
            ),
            "add `drain: {envoy: {admin: \"http://127.0.0.1:9901\"}}`; for another program write `update: start-first`",
        ),
        (
            process.readiness.is_none() || process.tells_readiness(),
            "update",
            format!(
                "`update: hot-restart` of `{name}` needs a `readiness` that asks Envoy: without \
                 one, a new epoch that cannot serve would not be rolled back"
            ),
            "add `readiness: {envoy: \"http://127.0.0.1:9901\"}`, with the address of its admin",
        ),
        (
            flags.excluded_by.is_some(),
            "command",
            format!(
                "`{}` of `{name}` excludes its `update: hot-restart`",
                flags.excluded_by.unwrap_or_default()
            ),
            "write `--base-id 1` in its place: no other Envoy of the pod may have the same number",
        ),
        (
            flags.has_restart_epoch,
            "command",
            format!("`--restart-epoch` of `{name}` is set by drainit"),
            "remove it; a script finds the number in `RESTART_EPOCH`",
        ),
        (
            // If a flag excludes a hot restart, the help above already says to write `--base-id` in
            // place of that flag.
            flags.base_id.is_none() && flags.excluded_by.is_none(),
            "command",
            format!("`{name}` has no `--base-id`, by which a new epoch finds the old one"),
            "add `--base-id 1` to its `command`: no other Envoy of the pod may have the same number",
        ),
    ];
    let found = faults.into_iter().filter(|(is_so, ..)| *is_so);
    // A process that is not an Envoy gets only the first message, because the others concern only
    // an Envoy.
    let found = found.take(if is_envoy { usize::MAX } else { 1 });
    found.map(|(_, key, message, help)| (key, message, help)).collect()
}

/// Warns if the times in Envoy's flags cut connections, or let an old instance live longer than the
/// shutdown can wait for it.
fn times(
    problems: &mut Problems,
    config: &Config,
    process: &Process,
    flags: &EnvoyFlags,
    command: Span,
) {
    let name = &process.name;
    let (shutdown, window) = (flags.parent_shutdown, config.shutdown.window());
    if shutdown > window {
        let message = format!(
            "an old epoch of `{name}` lives for {} (`--parent-shutdown-time-s`), and until then nothing else replaces \
             it; a shutdown keeps at most {} for it",
            human(shutdown),
            human(window)
        );
        problems.warning(Rule::HotRestartTime, command, message).help(format!(
            "set `--parent-shutdown-time-s {}`, which is enough for its requests to end",
            process
                .drain
                .as_ref()
                .and_then(|drain| drain.time)
                .unwrap_or(window)
                .min(window)
                .as_secs()
                .max(1)
        ));
    } else if flags.drain >= shutdown {
        let message = format!(
            "an old epoch of `{name}` is ended after {} (`--parent-shutdown-time-s`), but Envoy spreads the closing of \
             its connections over {} (`--drain-time-s`): connections that are still open then are cut",
            human(shutdown),
            human(flags.drain)
        );
        problems.warning(Rule::HotRestartTime, command, message).help(
            "add `--drain-strategy immediate`, with which every response of the old epoch closes its connection, or a \
             shorter `--drain-time-s`",
        );
    }
}
