//! `check --pod` without a config: says of each workload of a `kind: List`, or of a manifest with
//! several workloads without drainit, what a rollout would lose, and why. The answer is unknown if
//! the manifest does not show the program.

use std::time::Duration;

use crate::keys::Shutdown;
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

/// Judges the workloads of a manifest that has a `kind: List`, or several workloads of which none
/// runs drainit. `None` for any other manifest.
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
    let (workloads, others) = manifest::workloads(&documents);
    let has_drainit = |workload: &Workload| containers(&workload.pod).iter().any(names_drainit);
    let are_many = workloads.len() > 1 && !workloads.iter().any(has_drainit);
    if !are_many && !documents.iter().any(|node| is_list(node)) {
        return None;
    }
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
    let seen: Vec<_> = all.iter().map(Seen::of).collect();
    // A helper beside a known server says nothing of the requests.
    let has_known = seen.iter().any(|it| it.front().is_some());
    let counts = seen.iter().filter(|it| !has_known || it.front().is_some());
    let worst = counts.clone().map(|it| it.effect(grace)).max_by_key(|(effect, _)| *effect);
    let (effect, why) = match worst {
        _ if workload.is_job() => (Effect::Keeps, "nobody sends requests to it".to_owned()),
        worst => worst.unwrap_or((Effect::Unknown, "it has no containers".to_owned())),
    };
    let hooks: Vec<_> = seen.iter().filter_map(|it| hook(&it.hook)).collect();
    let hooks = if hooks.is_empty() { "no preStop".to_owned() } else { hooks.join(", ") };
    let fronts = list(counts.map(|it| it.front().unwrap_or("unknown program")));
    let (kind, name, grace) = (&workload.kind, &workload.name, human(grace));
    let line = format!(
        "{kind} {name}: grace period {grace}{by_default}; {hooks}; {fronts}; {}: {why}",
        NAMES[effect as usize]
    );
    (effect, line)
}

fn hook(hook: &PreStop) -> Option<String> {
    hook.span?;
    Some(match hook {
        PreStop { drains: true, .. } => "preStop drains".to_owned(),
        PreStop { is_unknown: true, .. } => "a preStop of unknown effect".to_owned(),
        PreStop { sleeps, .. } => format!("preStop of {}", human(*sleeps)),
    })
}

/// A container, and what its manifest shows of it.
struct Seen<'a> {
    container: &'a Container,
    has_drainit: bool,
    is_envoy: bool,
    /// The program that the command or the image names.
    known: Option<Known>,
    hook: PreStop,
}

impl<'a> Seen<'a> {
    fn of(container: &'a Container) -> Self {
        let of = |key| words(&container.node, &[key]);
        let line = [of("command"), of("args")].concat();
        let image = text(&container.node, &["image"]).map(|it| it.text).unwrap_or_default();
        let image = base(&image).split([':', '@']).next().unwrap_or_default();
        let is_own = of("command").is_empty();
        let by_image = || find([image]).filter(|_| is_own);
        Self {
            container,
            has_drainit: names_drainit(container),
            is_envoy: is_envoy(line.iter().map(|it| &*it.text)) || is_own && image == "envoy",
            known: find(line.iter().map(|it| &*it.text)).or_else(by_image),
            hook: pre_stop::read(container),
        }
    }

    /// The program that gets the signal and the requests; `None` if it is unknown.
    fn front(&self) -> Option<&str> {
        match &self.known {
            _ if self.has_drainit => Some("drainit"),
            _ if self.is_envoy => Some("envoy"),
            known => known.as_ref().map(|it| &*it.name),
        }
    }

    fn kind(&self) -> Kind {
        match &self.known {
            _ if self.is_envoy => Kind::Drained,
            known => known.as_ref().map_or(Kind::Other, |it| it.program.kind),
        }
    }

    /// The effect on the requests of the container, and its reason.
    fn effect(&self, grace: Duration) -> (Effect, String) {
        let (effect, why) = match self.kind() {
            _ if self.has_drainit => (Effect::Drained, "check it with its config"),
            _ if grace.is_zero() => (Effect::Loses, "SIGKILL ends it at once"),
            _ if self.hook.sleeps >= grace => (Effect::Loses, "SIGKILL ends it during its preStop"),
            Kind::Server | Kind::Drained if self.hook.span.is_none() => (
                Effect::Loses,
                "without a preStop, it stops before every node knows that the pod leaves",
            ),
            _ if self.hook.is_unknown => (Effect::Unknown, "the effect of its preStop"),
            _ if self.is_envoy => (Effect::Loses, "envoy closes every connection at SIGTERM"),
            _ => match &self.known {
                Some(known) => return at_stop(self.container, known),
                None => (Effect::Unknown, "its program"),
            },
        };
        (effect, why.to_owned())
    }
}

/// Whether a command starts Envoy, perhaps by an entrypoint. Envoy takes options only, so `contour
/// envoy shutdown-manager` starts none.
fn is_envoy<'a>(command: impl Iterator<Item = &'a str>) -> bool {
    let words: Vec<_> = command.skip_while(|it| base(it) != "envoy").take(2).collect();
    matches!(words[..], [_]) || matches!(words[..], [_, option] if option.starts_with('-'))
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
