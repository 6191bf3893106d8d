//! `check --pod` without a config: says of each workload of a `kind: List`, or of a manifest with
//! several workloads without drainit, what a rollout would lose, why, and the remedy. The answer is
//! unknown if the manifest does not show the program.

use std::cmp::Reverse;
use std::collections::BTreeMap;
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
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::source::Source;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};
use crate::load::Diagnostic;
use crate::types::suggest::list;
use crate::types::{Signal, counted, harmless, human};

/// The verdict on each workload.
#[derive(Debug)]
pub struct Audit {
    /// First those that lose requests, and last those that keep them.
    pub workloads: Vec<Judged>,
    /// The parts of the manifest that lack a key that they always have.
    cut: Vec<String>,
    /// The kinds that have no pods.
    others: Vec<String>,
}

/// The verdict on a workload.
#[derive(Debug)]
pub struct Judged {
    pub kind: String,
    /// The namespace, if the manifest has one, and the name.
    pub name: String,
    pub effect: Effect,
    pub grace_period: Duration,
    /// Whether the grace period is the default.
    is_default: bool,
    /// The `preStop` hooks, as text.
    pub pre_stop: String,
    /// The programs that get the requests, as text.
    pub programs: String,
    pub reason: String,
    /// The remedy, unless the requests are kept.
    pub remedy: Option<String>,
    /// The line of the manifest in which the workload begins; 0 if the manifest is broken.
    pub line: usize,
    /// The reason of the comment that silences the verdict.
    pub allowed: Option<String>,
}

/// The effect of a rollout on the requests of a workload. If there are several, the last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Keeps,
    Drained,
    Unknown,
    Loses,
}

impl Effect {
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

impl Audit {
    /// The workloads, one a line with its remedy below, and a summary. `allowed` has the number of
    /// the findings that comments silence, for the summary.
    pub fn text(&self, allowed: &str) -> String {
        let lines = self.workloads.iter().map(Judged::text);
        let mut text: String = lines.collect();
        text.extend(self.cut.iter().map(|line| format!("{}\n", harmless(line))));
        let judged = counted(self.workloads.len(), "workload", "workloads");
        let of = |effect| self.workloads.iter().filter(move |it| it.effect == effect).count();
        let effects = [Effect::Loses, Effect::Unknown, Effect::Drained, Effect::Keeps];
        let counts = effects.map(|effect| format!("{} {}", effect.name(), of(effect))).join(", ");
        text += &format!("{judged}: {counts}{allowed}\n");
        if !self.others.is_empty() {
            let others = list(self.others.iter().map(String::as_str));
            text += &format!("not looked at: {}\n", harmless(&others));
        }
        text
    }

    /// Notes the verdicts that a comment in the manifest silences.
    pub(super) fn note_allowed(&mut self, found: &[Diagnostic]) {
        let allowed = found.iter().filter(|it| it.rule.is_of_audit() && it.allowed.is_some());
        let allowed: BTreeMap<_, _> =
            allowed.map(|it| ((it.line, &*it.message), it.allowed.as_ref())).collect();
        for judged in &mut self.workloads {
            let message = judged.message();
            let message = harmless(&message);
            let reason = allowed.get(&(judged.line, &*message));
            judged.allowed = reason.and_then(|reason| reason.cloned());
        }
    }
}

impl Judged {
    fn text(&self) -> String {
        let Self { kind, name, effect, pre_stop, programs, reason, .. } = self;
        let by_default = if self.is_default { " by default" } else { "" };
        let grace = human(self.grace_period);
        let effect = effect.name();
        let line = format!(
            "{kind} {name}: grace period {grace}{by_default}; {pre_stop}; {programs}; {effect}: {reason}"
        );
        let more = match (&self.allowed, &self.remedy) {
            (Some(allowed), _) => format!("\n  allowed: {allowed}"),
            (None, Some(remedy)) => format!("\n  remedy: {remedy}"),
            (None, None) => String::new(),
        };
        let text = format!("{line}{more}");
        text.lines().map(|line| format!("{}\n", harmless(line))).collect()
    }

    /// The message of the finding.
    fn message(&self) -> String {
        format!("{} {}: {}: {}", self.kind, self.name, self.effect.name(), self.reason)
    }
}

/// A shorter `preStop` ends before every node knows that the pod leaves.
const NODES_LEARN: Duration = Duration::from_secs(1);

/// The remedies for several faults.
const WAIT: &str = "write `lifecycle: {preStop: {sleep: {seconds: 5}}}`";
const DRAIN: &str = "let drainit drain it (docs/kubernetes.md)";
const TRY: &str = "count the failed requests of a rollout under load";

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
/// Adds a finding for each workload that perhaps loses requests. `is_broken` says that the places of
/// the nodes are not those of the file.
pub(super) fn of(
    problems: &mut Problems,
    (file, documents): (usize, &[Rc<Node>]),
    has_config: bool,
    is_broken: bool,
) -> Option<(Audit, Vec<Workload>)> {
    let (workloads, cut, others) = manifest::workloads(documents);
    let whole = Span::whole(file);
    let place = |it: &Workload| if is_broken { 0 } else { it.node.span.line() };
    let has_drainit = |it: &Workload| containers(&it.pod).iter().any(names_drainit);
    // An image of unknown content may have drainit, and a Job gets no requests.
    let is_known = |it: &Workload| verdict(it).effect != Effect::Unknown && !it.is_job();
    let is_sure = workloads.len() > 1 || workloads.iter().any(is_known);
    let is_list = |it: &Rc<Node>| text(it, &["kind"]).is_some_and(|kind| kind.text == "List");
    let is_judged = match workloads.iter().any(has_drainit) {
        true => !has_config && workloads.len() > 1,
        false => is_sure || !has_config && !workloads.is_empty(),
    };
    if !is_judged && cut.is_empty() && !documents.iter().any(is_list) {
        return None;
    }
    problems.show_all();
    let mut judged: Vec<_> = workloads.iter().map(|it| judged(it, place(it))).collect();
    judged.sort_by_key(|it| Reverse(it.effect));
    for workload in &judged {
        let (line, message) = (Span::new(file, workload.line, 1, 1), workload.message());
        let span = if workload.line == 0 { whole } else { line };
        let problem = match workload.effect {
            Effect::Loses => problems.warning(Rule::LosesRequests, span, message),
            Effect::Unknown => problems.note(Rule::UnknownLoss, span, message),
            Effect::Keeps | Effect::Drained => continue,
        };
        problem.help(workload.remedy.clone().unwrap_or_default());
    }
    for part in &cut {
        problems.error(Rule::CutManifest, whole, part).help("write the manifest again");
    }
    let others = others.into_keys().collect();
    Some((Audit { workloads: judged, cut, others }, workloads))
}

/// The effect of a rollout, the reason, and the remedy.
#[derive(Clone, Debug)]
struct Verdict {
    effect: Effect,
    reason: String,
    remedy: Option<String>,
}

impl Verdict {
    fn new(effect: Effect, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { effect, reason: reason.into(), remedy }
    }
}

/// The verdict on a workload.
fn verdict(workload: &Workload) -> Verdict {
    let all = containers(&workload.pod);
    let fronts: Vec<_> = all.iter().map(Front::of).collect();
    let serving = serving(&fronts);
    let grace = grace_of(&workload.pod);
    let worst = serving.iter().map(|front| front.verdict(grace)).max_by_key(|it| it.effect);
    let images: Vec<_> = serving.iter().filter_map(|front| front.unnamed(grace)).collect();
    let worst = match worst {
        Some(Verdict { effect: Effect::Unknown, .. }) if images.len() > 1 => {
            let images = list(images.iter().map(String::as_str));
            let reason = format!("its programs, the own entrypoints of the images {images}");
            let remedy = format!(
                "write the entrypoints of the images {images} as `command`, so that they can be judged"
            );
            Some(Verdict::new(Effect::Unknown, reason, remedy))
        }
        worst => worst,
    };
    let serves = serving.iter().any(|front| front.is_server());
    let is_kept = worst.as_ref().is_some_and(|worst| worst.effect == Effect::Keeps);
    // Whoever finishes what is in flight also needs a pod that takes the next requests.
    let worst = match between(workload) {
        Between::Nobody(why) if serves && is_kept => {
            Some(Verdict::new(Effect::Loses, why, one_after_another(&workload.kind)))
        }
        Between::Unknown(why) if serves && is_kept => {
            let remedy = match why {
                "the number of its pods" => "write `replicas`",
                _ => one_after_another(&workload.kind),
            };
            Some(Verdict::new(Effect::Unknown, why, remedy))
        }
        _ => worst,
    };
    let of_job = || Verdict::new(Effect::Keeps, "nobody sends requests to it", "");
    worst.filter(|_| !workload.is_job()).unwrap_or_else(of_job)
}

/// The remedy for a workload whose pods all end before new ones serve.
fn one_after_another(kind: &str) -> &'static str {
    match kind {
        "Deployment" => {
            "write `strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}`, so that a new pod serves before an old one ends"
        }
        "DeploymentConfig" => {
            "write `strategy: {rollingParams: {maxUnavailable: 0, maxSurge: 1}}`, so that a new pod serves before an old one ends"
        }
        "StatefulSet" => "write `replicas: 2` or more, and let one pod end at a time",
        "DaemonSet" => {
            "write `updateStrategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}`, if two pods can run on a node"
        }
        _ => TRY,
    }
}

/// The containers that count. A helper beside a known server says nothing of the requests.
fn serving<'a>(fronts: &'a [Front<'a>]) -> Vec<&'a Front<'a>> {
    let has_known = fronts.iter().any(|front| front.name.is_some());
    fronts.iter().filter(|front| !has_known || front.name.is_some()).collect()
}

/// The verdict on a workload that begins at this line, with what the line of the workload says.
fn judged(workload: &Workload, line: usize) -> Judged {
    let all = containers(&workload.pod);
    let fronts: Vec<_> = all.iter().map(Front::of).collect();
    let serving = serving(&fronts);
    let mut hooks: Vec<_> = fronts.iter().filter_map(|front| hook(&front.hook)).collect();
    hooks.dedup();
    let pre_stop = if hooks.is_empty() { "no preStop".to_owned() } else { hooks.join(", ") };
    let programs = match serving.iter().all(|front| front.name.is_some()) {
        true => list(serving.iter().filter_map(|front| front.name.as_deref())),
        false => serving.iter().map(|front| front.program()).collect::<Vec<_>>().join(", "),
    };
    let Verdict { effect, reason, remedy } = verdict(workload);
    Judged {
        kind: workload.kind.clone(),
        name: workload.name.clone(),
        effect,
        grace_period: grace_of(&workload.pod),
        is_default: key(&workload.pod, NAME).is_none(),
        pre_stop,
        programs,
        reason,
        remedy,
        line,
        allowed: None,
    }
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

    /// The image whose entrypoint the manifest lacks; `None` if the verdict has another reason.
    fn unnamed(&self, grace: Duration) -> Option<String> {
        let is_judged = self.name.is_some() || self.hook.is_unknown || self.hook.sleeps >= grace;
        let is_named = !words(&self.container.node, &["command"]).is_empty();
        let image = text(&self.container.node, &["image"])?;
        (!is_judged && !is_named).then_some(image.text)
    }

    /// The remedy for an unknown program: to make it known.
    fn named(&self) -> String {
        let node = &self.container.node;
        let image = text(node, &["image"]).map(|image| image.text);
        match (words(node, &["command"]).first(), image) {
            (None, Some(image)) => {
                format!(
                    "write the entrypoint of the image `{image}` as `command`, so that it can be judged"
                )
            }
            (None, None) => "name its image, and its entrypoint as `command`".to_owned(),
            (Some(_), _) => format!("name the server itself as `command`, or {TRY}"),
        }
    }

    /// The effect of a rollout on the requests, the reason, and the remedy.
    fn verdict(&self, grace: Duration) -> Verdict {
        let name = self.name.as_deref();
        let is_server = self.is_server();
        // Without a readiness probe, a container is ready once its startup probe has succeeded.
        let has = |probe| get(&self.container.node, &[probe]).is_some();
        let is_ready_at_once = !has("readinessProbe") && !has("startupProbe");
        let (loses, unknown) = (Effect::Loses, Effect::Unknown);
        match &self.known {
            _ if is_exec(self.container) => {
                Verdict::new(Effect::Drained, "its options are checked, too", "")
            }
            _ if name == Some("drainit") => {
                Verdict::new(Effect::Drained, "check it with its config", "")
            }
            // The kubelet never gives less than `minimumGracePeriodInSeconds`.
            _ if self.hook.sleeps >= grace => {
                let least = human(self.hook.sleeps + Duration::from_secs(10));
                let remedy = format!("raise `{NAME}` to {least} or more");
                Verdict::new(loses, "SIGKILL follows 2s after its stop signal", remedy)
            }
            _ if is_server && self.hook.span.is_none() => {
                let why = "without a preStop, it stops before every node knows that the pod leaves";
                Verdict::new(loses, why, self.with_later(WAIT))
            }
            _ if is_server && self.hook.waits.is_some_and(|waits| waits < NODES_LEARN) => {
                let why = "its preStop ends before every node knows that the pod leaves";
                Verdict::new(loses, why, self.with_later(WAIT))
            }
            _ if self.hook.is_unknown => {
                Verdict::new(unknown, "the effect of its preStop", format!("{WAIT}, or {TRY}"))
            }
            _ if is_server && self.hook.waits.is_none() => {
                Verdict::new(unknown, "how long its preStop waits", format!("{WAIT}, or {TRY}"))
            }
            Some(known) => match at_stop(self.container, known) {
                Verdict { effect: Effect::Keeps, .. } if is_server && is_ready_at_once => {
                    let why = "without a readinessProbe, a new pod gets requests before it listens";
                    Verdict::new(loses, why, "write a `readinessProbe` that asks the server")
                }
                Verdict { effect: Effect::Keeps, reason, .. } if is_server => {
                    let left = human(grace.saturating_sub(self.hook.sleeps));
                    Verdict::new(Effect::Keeps, format!("{reason}, if it ends within {left}"), "")
                }
                at_stop => at_stop,
            },
            None if is_server => {
                Verdict::new(loses, "envoy closes every connection at SIGTERM", DRAIN)
            }
            None => Verdict::new(unknown, format!("its program, {}", self.program()), self.named()),
        }
    }

    /// The remedy, and that of a stop that loses requests even after it.
    fn with_later(&self, remedy: &str) -> String {
        let later = match &self.known {
            Some(known) => at_stop(self.container, known).remedy,
            None => Some(DRAIN.to_owned()),
        };
        later.map_or_else(|| remedy.to_owned(), |later| format!("{remedy}; then {later}"))
    }
}

/// Whether a command starts Envoy, perhaps by an entrypoint. Envoy takes options only, so `contour
/// envoy shutdown-manager` starts none.
fn is_envoy<'a>(command: impl Iterator<Item = &'a str>) -> bool {
    let words: Vec<_> = command.skip_while(|it| base(it) != "envoy").take(2).collect();
    matches!(words[..], [_]) || matches!(words[..], [_, option] if option.starts_with('-'))
}

/// The effect of the stop signal, which may be another one if only the image sets it.
fn at_stop(container: &Container, known: &Known) -> Verdict {
    let (name, program) = (&known.name, known.program);
    let set = text(&container.node, &["lifecycle", "stopSignal"]);
    let signal = set.as_ref().and_then(|it| Signal::parse(&it.text)).unwrap_or(Signal::TERM);
    let is_finishing = program.signals.contains(&signal);
    let at_term = || format!("{name} {} at SIGTERM", program.at_term);
    let why = known.advice(signal, "").map_or_else(at_term, |(why, _)| why);
    let remedy = match program.signals.first() {
        Some(best) if !is_finishing => format!(
            "write `STOPSIGNAL {best}` into its image, or `lifecycle: {{stopSignal: {best}}}` where Kubernetes has this key"
        ),
        _ if !program.more.is_empty() => program.more.to_owned(),
        _ => DRAIN.to_owned(),
    };
    match known.kind {
        Kind::Server | Kind::Worker if is_finishing => {
            let why = format!("{name} finishes what is in flight at {signal}");
            Verdict::new(Effect::Keeps, why, "")
        }
        Kind::Maybe | Kind::Store | Kind::Other => Verdict::new(Effect::Unknown, why, TRY),
        _ if program.at_term.starts_with("may") => Verdict::new(Effect::Unknown, why, remedy),
        _ if set.is_none() && !program.signals.is_empty() && !is_finishing => {
            let why = format!("{why}, unless its image has another STOPSIGNAL");
            Verdict::new(Effect::Unknown, why, remedy)
        }
        _ => Verdict::new(Effect::Loses, why, remedy),
    }
}
