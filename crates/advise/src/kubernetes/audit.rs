//! `check --pod` without a config: says of each workload of a `kind: List`, or of a manifest with
//! several workloads without drainit, what a rollout would lose, and why. The answer is unknown if
//! the manifest does not show the program.

use std::rc::Rc;
use std::time::Duration;

use crate::check::bootstrap::parse;
use crate::known::{Kind, Known, find};
use crate::kubernetes::entry::{is_exec, names_drainit};
use crate::kubernetes::manifest::{
    self, Container, Workload, base, command_line, containers, image_name, key, text, words,
};
use crate::kubernetes::rollout::{Between, between};
use crate::kubernetes::termination::{NAME, PreStop, grace_of, pre_stop};
use crate::language::source::Source;
use crate::language::yaml::node::{Node, get};
use crate::types::suggest::list;
use crate::types::{Signal, counted, harmless, human};

/// The workloads of a list, one a line, and a summary.
#[derive(Debug)]
pub struct Audit {
    pub text: String,
    /// Whether a rollout would lose requests of any workload.
    pub is_any_lost: bool,
    /// Whether a part of the manifest lacks a key that it always has.
    pub is_cut: bool,
}

/// The effect of a rollout on the requests of a workload. If there are several, the last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Keeps,
    Drained,
    Unknown,
    Loses,
}

/// A shorter `preStop` ends before every node knows that the pod leaves.
const NODES_LEARN: Duration = Duration::from_secs(1);

/// The names of the effects, in the order of [`Effect`].
const NAMES: [&str; 4] = ["keeps requests", "has drainit", "unknown", "loses requests"];

/// The items of a document that is a broken list, each parsed alone. A broken item keeps only its
/// kind and its name. JSON in one line, which kubectl does not write, loses its last item.
pub(super) fn items(document: &str) -> Option<Vec<Rc<Node>>> {
    let list = |text: String| parse(Source::new("", text));
    let is_list =
        |(before, _): &(&str, &str)| !["spec", "\ndata"].iter().any(|it| before.contains(it));
    let (_, items) = document.split_once("items").filter(is_list)?;
    list(document.to_owned()).is_none().then_some(())?;
    let items = items.trim_start_matches(['"', ':', ' ', '[']);
    let at = items.find(['-', '{'])?;
    if at == 0 {
        let before = |(end, _)| list(format!("items: [{}]", &items[..end]));
        return items.rmatch_indices(",{\"apiVersion").take(9).find_map(before).map(|it| vec![it]);
    }
    let start = &items[..=at];
    let end = start.replace('{', "}");
    let (head, tail) = if end == start { (start, "") } else { ("[{", "}]") };
    let depth = |line: &str| line.len() - line.trim_start().len();
    let read = |item: &str| {
        // The labels have names, too, but deeper than the metadata has its own.
        let of_name = item.lines().skip_while(|it| !it.contains("metadata")).nth(1).map(depth);
        let lines = item.lines().filter(|it| of_name.is_none_or(|of_name| depth(it) <= of_name));
        let words = lines.flat_map(|it| it.split(|it| "\" :,{}".contains(it)));
        let mut words = words.filter(|it| !it.is_empty());
        let mut after = |key| words.by_ref().skip_while(|it| *it != key).nth(1).unwrap_or_default();
        let (kind, name) = (after("kind"), after("name"));
        let stub = format!("[{{kind: {kind:?}, metadata: {{name: {name:?}}}}}]");
        let whole = head.to_owned() + item.split(&end).next().unwrap_or(item) + tail;
        [whole, stub].into_iter().find_map(|it| list(format!("kind: List\nitems: {it}")))
    };
    Some(items.split(start).skip(1).filter_map(read).collect())
}

/// Judges the workloads of a manifest. `has_config` says whether a config is here, as in an image
/// with drainit. The config is then checked instead, unless the manifest is a list or shows that it runs
/// without drainit. Without a config, only a single workload that runs drainit is not judged. `None`
/// for such manifests, and for one without workloads. Also returns the workloads.
pub(super) fn of(documents: &[Rc<Node>], has_config: bool) -> Option<(Audit, Vec<Workload>)> {
    let (workloads, cut, others) = manifest::workloads(documents);
    let has_drainit = |it: &Workload| containers(&it.pod).iter().any(names_drainit);
    // An image of unknown content may have drainit, and a Job gets no requests.
    let is_known = |it: &Workload| judge(it).0 != Effect::Unknown && !it.is_job();
    let is_sure = workloads.len() > 1 || workloads.iter().any(is_known);
    let is_list = |it: &Rc<Node>| text(it, &["kind"]).is_some_and(|kind| kind.text == "List");
    let is_judged = match workloads.iter().any(has_drainit) {
        true => !has_config && workloads.len() > 1,
        false => is_sure || !has_config && !workloads.is_empty(),
    };
    if !is_judged && cut.is_empty() && !documents.iter().any(is_list) {
        return None;
    }
    let judged: Vec<_> = workloads.iter().map(judge).collect();
    let lines = judged.iter().map(|(_, line)| line).chain(&cut);
    let mut text: String = lines.map(|line| format!("{}\n", harmless(line))).collect();
    let count = |at| judged.iter().filter(|(effect, _)| *effect as usize == at).count();
    let counts = [3, 2, 1, 0].map(|at| format!("{} {}", NAMES[at], count(at))).join(", ");
    text += &format!("{}: {counts}\n", counted(judged.len(), "workload", "workloads"));
    if !others.is_empty() {
        text += &format!("not looked at: {}\n", harmless(&list(others.keys().map(|it| &**it))));
    }
    let is_any_lost = count(Effect::Loses as usize) > 0;
    Some((Audit { text, is_any_lost, is_cut: !cut.is_empty() }, workloads))
}

/// The effect on a workload, and the line that describes it.
fn judge(workload: &Workload) -> (Effect, String) {
    let grace = grace_of(&workload.pod);
    let by_default = if key(&workload.pod, NAME).is_none() { " by default" } else { "" };
    let all = containers(&workload.pod);
    let all: Vec<_> = all.iter().map(Front::of).collect();
    // A helper beside a known server says nothing of the requests.
    let has_known = all.iter().any(|front| front.name.is_some());
    let counts = all.iter().filter(|front| !has_known || front.name.is_some());
    let worst = counts.clone().map(|front| front.effect(grace)).max_by_key(|(effect, _)| *effect);
    // Whoever finishes what is in flight also needs a pod that takes the next requests.
    let serves = counts.clone().any(Front::is_server);
    let worst = match (worst, between(workload)) {
        (Some((Effect::Keeps, _)), Between::Nobody(why)) if serves => Some((Effect::Loses, why)),
        (Some((Effect::Keeps, _)), Between::Unknown(why)) if serves => {
            Some((Effect::Unknown, why.to_owned()))
        }
        (worst, _) => worst,
    };
    let of_job = || (Effect::Keeps, "nobody sends requests to it".to_owned());
    let (effect, why) = worst.filter(|_| !workload.is_job()).unwrap_or_else(of_job);
    let mut hooks: Vec<_> = all.iter().filter_map(|front| hook(&front.hook)).collect();
    hooks.dedup();
    let hooks = if hooks.is_empty() { "no preStop".to_owned() } else { hooks.join(", ") };
    let fronts = match has_known {
        true => list(counts.filter_map(|front| front.name.as_deref())),
        false => counts.map(Front::program).collect::<Vec<_>>().join(", "),
    };
    let (kind, name, grace) = (&workload.kind, &workload.name, human(grace));
    let line = format!(
        "{kind} {name}: grace period {grace}{by_default}; {hooks}; {fronts}; {}: {why}",
        NAMES[effect as usize]
    );
    (effect, line)
}

fn hook(hook: &PreStop) -> Option<String> {
    hook.span.map(|_| match hook {
        PreStop { drains: true, .. } => "preStop drains".to_owned(),
        PreStop { is_unknown: true, .. } => "a preStop of unknown effect".to_owned(),
        PreStop { sleeps, .. } => format!("preStop of {}", human(*sleeps)),
    })
}

/// The program of a container that gets the stop signal and the requests.
struct Front<'a> {
    container: &'a Container,
    hook: PreStop,
    /// The name of the program, if the command or the image shows it.
    name: Option<String>,
    /// The program, if it is neither drainit nor Envoy.
    known: Option<Known>,
}

impl<'a> Front<'a> {
    fn of(container: &'a Container) -> Self {
        let (line, is_of_image) = command_line(container);
        let line: Vec<_> = line.iter().map(|it| &*it.text).collect();
        let image = image_name(&container.node, &["image"]);
        // An image such as `calico/node` has only the name of a runtime.
        let is_sure = |it: &Known| is_of_image && it.kind != Kind::Maybe;
        let is_envoy = is_envoy(line.iter().copied()) || is_of_image && image == "envoy";
        let (name, known) = match find(&line).or_else(|| find(&[image]).filter(is_sure)) {
            _ if names_drainit(container) => (Some("drainit".to_owned()), None),
            _ if is_envoy => (Some("envoy".to_owned()), None),
            known => (known.as_ref().map(|it| it.name.clone()), known),
        };
        Self { container, hook: pre_stop(container), name, known }
    }

    /// The program of a container, if the program has no known name.
    fn program(&self) -> String {
        let node = &self.container.node;
        if let Some(program) = words(node, &["command"]).first() {
            return format!("an unknown program ({})", program.text);
        }
        match text(node, &["image"]) {
            Some(image) => format!("the image's own entrypoint ({})", image.text),
            None => "the image's own entrypoint".to_owned(),
        }
    }

    /// Whether the program is known to get requests.
    fn is_server(&self) -> bool {
        let is_envoy = self.name.as_deref() == Some("envoy");
        self.known.as_ref().map_or(is_envoy, |it| it.kind.is_server())
    }

    /// The effect of a rollout on the requests, and the reason.
    fn effect(&self, grace: Duration) -> (Effect, String) {
        let name = self.name.as_deref();
        let is_server = self.is_server();
        // Without a readiness probe, a container is ready once its startup probe has succeeded.
        let has = |probe| get(&self.container.node, &[probe]).is_some();
        let is_ready_at_once = !has("readinessProbe") && !has("startupProbe");
        let (effect, why) = match &self.known {
            _ if is_exec(self.container) => (Effect::Drained, "its options are checked, too"),
            _ if name == Some("drainit") => (Effect::Drained, "check it with its config"),
            // The kubelet never gives less than `minimumGracePeriodInSeconds`.
            _ if self.hook.sleeps >= grace => {
                (Effect::Loses, "SIGKILL follows 2s after its stop signal")
            }
            _ if is_server && self.hook.span.is_none() => (
                Effect::Loses,
                "without a preStop, it stops before every node knows that the pod leaves",
            ),
            _ if is_server && self.hook.waits.is_some_and(|waits| waits < NODES_LEARN) => {
                (Effect::Loses, "its preStop ends before every node knows that the pod leaves")
            }
            _ if self.hook.is_unknown => (Effect::Unknown, "the effect of its preStop"),
            _ if is_server && self.hook.waits.is_none() => {
                (Effect::Unknown, "how long its preStop waits")
            }
            Some(known) => match at_stop(self.container, known) {
                (Effect::Keeps, _) if is_server && is_ready_at_once => (
                    Effect::Loses,
                    "without a readinessProbe, a new pod gets requests before it listens",
                ),
                (Effect::Keeps, why) if is_server => {
                    let left = human(grace.saturating_sub(self.hook.sleeps));
                    return (Effect::Keeps, format!("{why}, if it ends within {left}"));
                }
                at_stop => return at_stop,
            },
            None if is_server => (Effect::Loses, "envoy closes every connection at SIGTERM"),
            None => (Effect::Unknown, "its program"),
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
    let why = known.advice(signal, "").map_or_else(at_term, |(why, _)| why);
    match known.kind {
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
