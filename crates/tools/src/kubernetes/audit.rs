//! `check --pod` without a config: says of each workload of a `kind: List` what a rollout would
//! lose, and why. The answer is unknown if the manifest does not show the program.

use std::time::Duration;

use crate::config::Shutdown;
use crate::known::{Kind, Known, find};
use crate::kubernetes::entry::names_drainit;
use crate::kubernetes::manifest::{Container, Workload, base, containers, seconds, text, words};
use crate::kubernetes::pre_stop::{self, PreStop};
use crate::kubernetes::{PodCheck, manifest};
use crate::language::diagnostics::problems::Problems;
use crate::language::yaml;
use crate::language::yaml::node::Node;
use crate::types::suggest::list;
use crate::types::{Signal, counted, harmless, human};

/// The workloads of a list, one a line, and a summary.
#[derive(Debug)]
pub struct Audit {
    pub text: String,
    /// Whether a rollout would lose requests of any workload.
    pub is_any_lost: bool,
}

/// The effect of a rollout on the requests of a workload. If there are several, the last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Keeps,
    Drained,
    Unknown,
    Loses,
}

/// The names of the effects, in the order of [`Effect`].
const NAMES: [&str; 4] = ["keeps requests", "has drainit", "unknown", "loses requests"];

/// Judges the workloads of a manifest that has a `kind: List`. `None` if it has none.
pub(super) fn of(problems: &mut Problems, file: usize) -> Option<PodCheck> {
    let done = |problems: &mut Problems, audit| {
        Some(PodCheck {
            diagnostics: std::mem::take(problems).finish(),
            audit,
            ..PodCheck::default()
        })
    };
    let Some(documents) = yaml::parse_manifest(problems, file) else { return done(problems, None) };
    let is_list = |node: &Node| text(node, &["kind"]).is_some_and(|kind| kind.text == "List");
    if !documents.iter().any(|node| is_list(node)) {
        return None;
    }
    let (workloads, others) = manifest::workloads(&documents);
    let judged: Vec<_> = workloads.iter().map(judge).collect();
    let mut text: String = judged.iter().map(|(_, line)| format!("{}\n", harmless(line))).collect();
    let count = |at| judged.iter().filter(|(effect, _)| *effect as usize == at).count();
    let counts = [3, 2, 1, 0].map(|at| format!("{} {}", NAMES[at], count(at)));
    let all = counted(judged.len(), "workload", "workloads");
    text += &format!("{all}: {}\n", counts.join(", "));
    if !others.is_empty() {
        let kinds = list(others.iter().map(String::as_str));
        text += &format!("not looked at: {}\n", harmless(&kinds));
    }
    done(problems, Some(Audit { text, is_any_lost: count(Effect::Loses as usize) > 0 }))
}

/// The effect on a workload, and the line that describes it.
fn judge(workload: &Workload) -> (Effect, String) {
    let given = seconds(&workload.pod, &["terminationGracePeriodSeconds"]).map(|(given, _)| given);
    let grace = given.unwrap_or(Shutdown::default().grace_period);
    let by_default = if given.is_none() { " by default" } else { "" };
    let all = containers(&workload.pod);
    let judged: Vec<_> = all.iter().map(|it| (in_front(it), of_container(it, grace))).collect();
    let is_known = |front: &str| front != UNKNOWN;
    // A helper beside a known server says nothing of the requests.
    let has_known = judged.iter().any(|(front, _)| is_known(front));
    let counts = judged.iter().filter(|(front, _)| !has_known || is_known(front));
    let worst = counts.clone().map(|(_, (effect, why))| (*effect, &**why)).max_by_key(|it| it.0);
    let (effect, why) = match worst {
        _ if workload.is_job() => (Effect::Keeps, "nobody sends requests to it"),
        worst => worst.unwrap_or((Effect::Unknown, "it has no containers")),
    };
    let hooks: Vec<_> = all.iter().filter_map(|it| hook(&pre_stop::read(it))).collect();
    let hooks = if hooks.is_empty() { "no preStop".to_owned() } else { hooks.join(", ") };
    let fronts = list(counts.map(|(front, _)| front.as_str()));
    let (kind, name, grace) = (&workload.kind, &workload.name, human(grace));
    let line = format!(
        "{kind} {name}: grace period {grace}{by_default}; {hooks}; {fronts}; {}: {why}",
        NAMES[effect as usize]
    );
    (effect, line)
}

const UNKNOWN: &str = "unknown program";

fn hook(hook: &PreStop) -> Option<String> {
    hook.span?;
    Some(match hook {
        PreStop { drains: true, .. } => "preStop drains".to_owned(),
        PreStop { is_unknown: true, .. } => "a preStop of unknown effect".to_owned(),
        PreStop { sleeps, .. } => format!("preStop of {}", human(*sleeps)),
    })
}

/// The program that the command or the image names.
fn program(container: &Container) -> (Option<Known>, bool) {
    let of = |key| words(&container.node, &[key]);
    let line = [of("command"), of("args")].concat();
    let image = text(&container.node, &["image"]).map(|it| it.text).unwrap_or_default();
    let image = base(&image).split([':', '@']).next().unwrap_or_default();
    let is_own = of("command").is_empty();
    let is_envoy = line.iter().any(|it| base(&it.text) == "envoy") || is_own && image == "envoy";
    let known = find(line.iter().map(|it| &*it.text)).or_else(|| find([image]).filter(|_| is_own));
    (known, is_envoy)
}

fn in_front(container: &Container) -> String {
    match program(container) {
        _ if names_drainit(container) => "drainit".to_owned(),
        (_, true) => "envoy".to_owned(),
        (Some(known), _) => known.name,
        (None, _) => UNKNOWN.to_owned(),
    }
}

/// The effect on the requests of a container, and its reason.
fn of_container(container: &Container, grace: Duration) -> (Effect, String) {
    let hook = pre_stop::read(container);
    let (known, is_envoy) = program(container);
    let kind = if is_envoy {
        Kind::Drained
    } else {
        known.as_ref().map_or(Kind::Other, |it| it.program.kind)
    };
    match kind {
        _ if names_drainit(container) => (Effect::Drained, "check it with its config".to_owned()),
        _ if hook.sleeps >= grace => {
            (Effect::Loses, "SIGKILL ends it during its preStop".to_owned())
        }
        Kind::Server | Kind::Drained if hook.span.is_none() => (
            Effect::Loses,
            "without a preStop, it stops before every node knows that the pod leaves".to_owned(),
        ),
        _ if hook.is_unknown => (Effect::Unknown, "the effect of its preStop".to_owned()),
        _ if is_envoy => (Effect::Loses, "envoy closes every connection at SIGTERM".to_owned()),
        _ => {
            known.map_or((Effect::Unknown, "its program".to_owned()), |it| at_stop(container, &it))
        }
    }
}

/// The effect of the stop signal, which may be another one if only the image sets it.
fn at_stop(container: &Container, known: &Known) -> (Effect, String) {
    let (name, program) = (&known.name, known.program);
    let set = text(&container.node, &["lifecycle", "stopSignal"]);
    let signal = set.as_ref().and_then(|it| Signal::parse(&it.text)).unwrap_or(Signal::TERM);
    let is_finishing = program.signals.contains(&signal);
    let at_term = || format!("{name} {} at SIGTERM", program.at_term);
    let why = known.advice(signal).map_or_else(at_term, |(why, _)| why);
    match program.kind {
        Kind::Server | Kind::Worker if is_finishing => {
            (Effect::Keeps, format!("{name} finishes what is in flight at {signal}"))
        }
        Kind::Maybe | Kind::Store | Kind::Other => (Effect::Unknown, why),
        _ if program.at_term.starts_with("may") => (Effect::Unknown, why),
        _ if set.is_none() && !program.signals.is_empty() && !is_finishing => {
            (Effect::Unknown, format!("{why}, unless its image has another STOPSIGNAL"))
        }
        _ => (Effect::Loses, why),
    }
}
