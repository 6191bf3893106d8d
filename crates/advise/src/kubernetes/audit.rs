//! `check --pod` without a config: says of each workload of a `kind: List`, or of a manifest with
//! several workloads without drainit, what a rollout would lose, and why. The answer is unknown if
//! the manifest does not show the program.

use std::rc::Rc;
use std::time::Duration;

use crate::keys::Shutdown;
use crate::known::{Kind, Known, find};
use crate::kubernetes::entry::names_drainit;
use crate::kubernetes::manifest;
use crate::kubernetes::manifest::{Container, Workload, base, containers, seconds, text, words};
use crate::kubernetes::pre_stop::{self, PreStop};
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
pub(super) fn of(documents: &[Rc<Node>]) -> Option<Audit> {
    let is_list = |node: &Node| text(node, &["kind"]).is_some_and(|kind| kind.text == "List");
    let (workloads, others) = manifest::workloads(documents);
    let has_drainit = |workload: &Workload| containers(&workload.pod).iter().any(names_drainit);
    let are_many = workloads.len() > 1 && !workloads.iter().any(has_drainit);
    if !are_many && !documents.iter().any(|node| is_list(node)) {
        return None;
    }
    let judged: Vec<_> = workloads.iter().map(judge).collect();
    let mut text: String = judged.iter().map(|(_, line)| format!("{}\n", harmless(line))).collect();
    let count = |at| judged.iter().filter(|(effect, _)| *effect as usize == at).count();
    let counts = [3, 2, 1, 0].map(|at| format!("{} {}", NAMES[at], count(at))).join(", ");
    text += &format!("{}: {counts}\n", counted(judged.len(), "workload", "workloads"));
    if !others.is_empty() {
        let kinds = list(others.iter().map(String::as_str));
        text += &format!("not looked at: {}\n", harmless(&kinds));
    }
    Some(Audit { text, is_any_lost: count(Effect::Loses as usize) > 0 })
}

/// The effect on a workload, and the line that describes it.
fn judge(workload: &Workload) -> (Effect, String) {
    let given = seconds(&workload.pod, &["terminationGracePeriodSeconds"]).map(|(given, _)| given);
    let grace = given.unwrap_or(Shutdown::default().grace_period);
    let by_default = if given.is_none() { " by default" } else { "" };
    let all = containers(&workload.pod).into_iter();
    let all: Vec<_> = all.map(|it| (it.clone(), Front::of(&it), pre_stop::read(&it))).collect();
    // A helper beside a known server says nothing of the requests.
    let has_known = all.iter().any(|(_, front, _)| front.name().is_some());
    let counts = all.iter().filter(|(_, front, _)| !has_known || front.name().is_some());
    let worst = counts.clone().map(|it| effect(it, grace)).max_by_key(|(effect, _)| *effect);
    let (effect, why) = match worst {
        _ if workload.is_job() => (Effect::Keeps, "nobody sends requests to it".to_owned()),
        worst => worst.unwrap_or((Effect::Unknown, "it has no containers".to_owned())),
    };
    let mut hooks: Vec<_> = all.iter().filter_map(|(_, _, it)| hook(it)).collect();
    hooks.dedup();
    let hooks = if hooks.is_empty() { "no preStop".to_owned() } else { hooks.join(", ") };
    let fronts = list(counts.map(|(_, front, _)| front.name().unwrap_or("unknown program")));
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

/// The program that gets the stop signal and the requests.
enum Front {
    Drainit,
    Envoy,
    /// The program that the command or the image names.
    Known(Known),
    Unknown,
}

impl Front {
    fn of(container: &Container) -> Self {
        let of = |key| words(&container.node, &[key]);
        let line = [of("command"), of("args")].concat();
        let image = text(&container.node, &["image"]).map(|it| it.text).unwrap_or_default();
        let image = base(&image).split([':', '@']).next().unwrap_or_default();
        let is_own = of("command").is_empty();
        // An image such as `calico/node` has only the name of a runtime.
        let by_image = || find([image]).filter(|it| is_own && it.program.kind != Kind::Maybe);
        let line = || line.iter().map(|it| &*it.text);
        match find(line()).or_else(by_image) {
            _ if names_drainit(container) => Self::Drainit,
            _ if is_envoy(line()) || is_own && image == "envoy" => Self::Envoy,
            known => known.map_or(Self::Unknown, Self::Known),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Drainit => Some("drainit"),
            Self::Envoy => Some("envoy"),
            Self::Known(known) => Some(&known.name),
            Self::Unknown => None,
        }
    }

    fn is_server(&self) -> bool {
        match self {
            Self::Known(known) => known.program.kind.is_server(),
            _ => matches!(self, Self::Envoy),
        }
    }
}

/// The effect on the requests of a container with this program and this hook, and the reason.
fn effect(
    (container, front, hook): &(Container, Front, PreStop),
    grace: Duration,
) -> (Effect, String) {
    let (effect, why) = match front {
        Front::Drainit => (Effect::Drained, "check it with its config"),
        // The kubelet never gives less than `minimumGracePeriodInSeconds`.
        _ if hook.sleeps >= grace => (Effect::Loses, "SIGKILL follows 2s after its stop signal"),
        _ if front.is_server() && hook.span.is_none() => (
            Effect::Loses,
            "without a preStop, it stops before every node knows that the pod leaves",
        ),
        _ if hook.is_unknown => (Effect::Unknown, "the effect of its preStop"),
        Front::Envoy => (Effect::Loses, "envoy closes every connection at SIGTERM"),
        Front::Known(known) => return at_stop(container, known),
        Front::Unknown => (Effect::Unknown, "its program"),
    };
    (effect, why.to_owned())
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
