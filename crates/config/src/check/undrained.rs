//! Warns of a server that is stopped at once. Load balancers need a second or more to remove its
//! endpoint, so the server loses the requests that still arrive after the stop signal.

use std::time::Duration;

use crate::check::running;
use crate::graph::Graph;
use crate::keys::{Address, Config, Probe, Process, ProcessKind};
use crate::language::diagnostics::problems::Problems;
use crate::language::places::{EntryPlace, Places};
use crate::language::script::{is_shell, place};
use crate::plan::Plan;
use crate::types::{ProcessId, human};

/// Programs that always serve TCP connections. `python -m NAME` counts as NAME.
const SERVERS: [&str; 15] = [
    "apache2",
    "caddy",
    "daphne",
    "granian",
    "gunicorn",
    "haproxy",
    "httpd",
    "hypercorn",
    "nginx",
    "php-fpm",
    "puma",
    "traefik",
    "unicorn",
    "uvicorn",
    "vllm.entrypoints.openai.api_server",
];

/// Programs that serve TCP connections if they have this first argument.
const SERVING: [(&str, &str); 4] =
    [("fastapi", "run"), ("flask", "run"), ("ollama", "serve"), ("vllm", "serve")];

/// Programs that start another program. In the command, words with a leading `-`, words with a `=`,
/// and numbers may stand before the other program, as in `nice -n 10 PROGRAM`.
const WRAPPERS: [&str; 5] = ["env", "tini", "dumb-init", "nice", "stdbuf"];

/// Programs that start another program, and the argument that comes before that program. An empty
/// text stands for any argument.
const RUNNERS: [(&str, &str); 6] = [
    ("bundle", "exec"),
    ("gosu", ""),
    ("pipenv", "run"),
    ("poetry", "run"),
    ("su-exec", ""),
    ("uv", "run"),
];

/// The time for which requests still arrive after the stop signal, behind most load balancers.
const ARRIVE: Duration = Duration::from_secs(5);

/// Warns of each process that listens, if nothing takes its traffic away. `is_held_back` says
/// whether a `preStop` hook of the pod delays the stop signal. Returns true if the pod or the
/// config says how the traffic leaves, or if there was a warning.
pub(crate) fn check(
    problems: &mut Problems,
    config: &Config,
    graph: &Graph,
    places: &Places,
    is_held_back: bool,
) -> bool {
    let is_written = |path: &str| places.find(path).is_some();
    if is_held_back || is_written("shutdown.readiness_delay") || is_written("hooks.pre_stop") {
        return true;
    }
    let is_answered = |place: &EntryPlace| {
        place.find("drain").is_some() || place.find("hooks.pre_stop").is_some()
    };
    let mut is_said = places.processes.iter().any(is_answered);
    // For each process: whether a process with a drain or a `pre_stop` hook depends on it, directly
    // or indirectly. If so, drainit stops the process only after this dependent has ended.
    let mut is_behind = vec![false; config.processes.len()];
    for id in graph.order.iter().rev() {
        let index = id.index();
        let is_fine = is_behind[index] || is_answered(&places.processes[index]);
        for (dependency, _) in &graph.dependencies[index] {
            is_behind[ProcessId::index(*dependency)] |= is_fine;
        }
    }
    let mut delay = None;
    for (index, process, place) in running(config, places) {
        let Some(key) = listens(process) else { continue };
        if is_behind[index] || is_answered(place) || places.is_further_copy(index) {
            continue;
        }
        is_said = true;
        let delay = *delay.get_or_insert_with(|| fitting_delay(config, graph));
        let message = format!(
            "`{}` is stopped at once, and loses the requests that arrive before its endpoint is removed: it has no `drain`",
            process.name
        );
        let otherwise = match is_written("shutdown.unready_delay") {
            true => ", which excludes `unready_delay`",
            false => "",
        };
        let room = match delay < ARRIVE {
            true => " and a longer `grace_period`",
            false => "",
        };
        problems.warning(place.at(key), message).help(format!(
            "write `drain: connections` for it, or for all servers `shutdown: {{readiness_delay: {}}}`{otherwise}{room}; \
             `readiness_delay: 0s` if no requests arrive from outside",
            human(delay.max(Duration::from_secs(1)))
        ));
    }
    is_said
}

/// The longest delay in whole seconds, up to [`ARRIVE`], that shortens no other wait.
fn fitting_delay(config: &Config, graph: &Graph) -> Duration {
    let fits = |delay: &Duration| {
        let mut config = config.clone();
        config.shutdown.readiness_delay = *delay;
        let plan = Plan::with(&config, graph, false);
        plan.cuts(&plan.after_signal, true).next().is_none()
    };
    (1..=ARRIVE.as_secs()).rev().map(Duration::from_secs).find(fits).unwrap_or_default()
}

/// The key that shows that a process serves TCP connections.
pub fn listens(process: &Process) -> Option<&'static str> {
    let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
    let probe = process.readiness.as_ref().map(|readiness| &readiness.probe);
    match probe {
        _ if process.kind == ProcessKind::Oneshot => None,
        Some(Probe::Tcp(_) | Probe::Http(_) | Probe::Envoy(_)) => Some("readiness"),
        Some(Probe::Grpc(target)) if is_tcp(&target.address) => Some("readiness"),
        _ if process.listen.iter().any(|it| is_tcp(&it.address)) => Some("listen"),
        _ => is_server(&process.command).then_some("command"),
    }
}

/// Whether a command starts a server, perhaps through a shell or a wrapper.
fn is_server(command: &[String]) -> bool {
    /// A chain of programs, each of which starts the next one, is rarely longer than this.
    const DEEPEST: u8 = 4;
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    starts_server(&words, DEEPEST)
}

fn starts_server(words: &[&str], deepest: u8) -> bool {
    let (Some((path, rest)), Some(deeper)) = (words.split_first(), deepest.checked_sub(1)) else {
        return false;
    };
    let program = path.rsplit('/').next().unwrap_or_default();
    let next = rest.first().copied().unwrap_or_default();
    let is_number = |word: &str| word.parse::<i32>().is_ok();
    let is_option = |word: &&&str| word.starts_with('-') || word.contains('=') || is_number(word);
    let after_options = || &rest[rest.iter().take_while(is_option).count()..];
    if is_shell(program) {
        let script = place(rest.iter().copied()).map(|place| last_command(rest[place]));
        return script.is_some_and(|words| starts_server(&words, deeper));
    }
    if WRAPPERS.contains(&program) {
        return starts_server(after_options(), deeper);
    }
    if RUNNERS.iter().any(|(name, word)| program == *name && (word.is_empty() || next == *word)) {
        return starts_server(rest.get(1..).unwrap_or_default(), deeper);
    }
    let program = match next {
        "-m" if program.starts_with("python") => rest.get(1).copied().unwrap_or_default(),
        _ => program,
    };
    SERVERS.contains(&program) || SERVING.contains(&(program, next))
}

/// The words of the last command of a script. If the script starts a server, this command is the
/// server. For a pipeline, returns the words of its first program.
fn last_command(script: &str) -> Vec<&str> {
    // `2>&1` is not split, because no blank follows its `&`.
    let parts = script.split([';', '\n']).flat_map(|part| part.split("& "));
    let last = parts.filter(|part| !part.trim().is_empty()).last().unwrap_or_default();
    let first = last.split('|').next().unwrap_or_default();
    first.split_whitespace().skip_while(|word| *word == "exec" || word.contains('=')).collect()
}
