//! `check --pod`: checks a config against the manifest of the pod in which it will run.
//!
//! The config is read with the environment that the manifest gives the container. The config's
//! [`Plan`] is then compared with what the kubelet will do. Sources for the kubelet:
//! `killContainer` in pkg/kubelet/kuberuntime/kuberuntime_container.go (the grace period includes
//! the time of the `preStop` hook, and for a sidecar also the time for which the sidecar waits for
//! other containers), `doProbe` in pkg/kubelet/prober/worker.go (liveness probes end when the pod
//! is deleted), and
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination>.

#[cfg(test)]
mod advice;
pub mod audit;
mod binary;
#[cfg(test)]
mod binary_tests;
pub mod commands;
mod entry;
#[cfg(test)]
mod entry_tests;
mod env;
mod exec;
#[cfg(test)]
mod exec_tests;
mod manifest;
mod probes;
mod rollout;
mod sidecar;
mod termination;
#[cfg(test)]
mod tests;
mod traffic;
mod volumes;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::image::{Image, Surroundings};
use crate::keys::Drain;
use crate::kubernetes::audit::Audit;
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::{Container, Workload};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::OWN;
use crate::language::moment::Reads;
use crate::language::source::{CONFIG, MANIFEST, Source};
use crate::language::span::Span;
use crate::language::yaml;
use crate::language::yaml::node::Node;
use crate::load::{Diagnostic, Environment, Loaded};
use crate::plan::Plan;
use crate::types::human;
use crate::types::suggest::{list, nearest};
use drainit_commands::exec::KEY_OPTIONS;

/// The things that `check --pod` compares with a manifest.
#[derive(Debug)]
pub struct Asked<'a> {
    pub configs: &'a [PathBuf],
    pub image: &'a Image,
    /// The name of the containers to check. Without a name, those are checked whose command or
    /// `preStop` hook contains drainit. If there are none, the only container of the manifest is.
    pub container: Option<&'a str>,
    /// Whether there is no config.
    pub is_audit: bool,
    /// The environment of `drainit check` itself, which may have values of variables that the
    /// manifest sets by `valueFrom`.
    pub here: &'a Environment,
    /// The variables of the image.
    pub of_image: &'a Environment,
}

#[derive(Debug, Default)]
pub struct PodCheck {
    /// First the problems of the config, and then the problems of the manifest.
    pub diagnostics: Vec<Diagnostic>,
    /// For each container that was checked, a text such as `Deployment gateway, container router`.
    /// If the container drains, the text also says how long its shutdown may take.
    pub containers: Vec<String>,
    /// The audit, if there is no config, and the manifest is a list.
    pub audit: Option<Audit>,
}

/// Reads a manifest (`-` means standard input), and checks the config against its containers.
pub fn check(manifest: &Path, asked: &Asked<'_>) -> PodCheck {
    let of_file = || Source::read_within(manifest, &MANIFEST);
    let source = if manifest == Path::new("-") { Source::read_stdin() } else { of_file() };
    source.map(|source| check_manifest(source, asked)).unwrap_or_else(|bad| {
        let mut problems = Problems::default();
        let help = || "name the manifest of a workload, or `-` for standard input".to_owned();
        problems.unreadable(manifest, bad, help);
        PodCheck { diagnostics: problems.finish(), ..PodCheck::default() }
    })
}

/// Reports variables that begin with `DRAINIT_`, but that neither drainit nor the config uses.
/// `uses` says whether the config uses a variable.
fn check_names(problems: &mut Problems, env: &PodEnv, uses: impl Fn(&str) -> bool) {
    let known = || OWN.iter().copied().chain(KEY_OPTIONS.iter().map(|it| it.variable));
    let is_wrong = |name: &str| name.starts_with("DRAINIT_") && known().all(|known| known != name);
    for (name, value) in env.own().filter(|(name, _)| is_wrong(name) && !uses(name)) {
        let longer = || known().find(|known| known.starts_with(name));
        let help = match nearest(name, known()).or_else(longer) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "remove it, or give it a name that does not begin with `DRAINIT_`".to_owned(),
        };
        problems
            .warning(
                Rule::UnknownVariable,
                value.span,
                format!("drainit reads no variable `{name}`"),
            )
            .help(help);
    }
}

/// Like [`check`], but for a manifest that was read already.
pub fn check_manifest(manifest: Source, asked: &Asked<'_>) -> PodCheck {
    let mut problems = Problems::of_manifest();
    let file = problems.add_source(manifest);
    let reads = Reads::default();
    let files = |path: &PathBuf| reads.list(path).unwrap_or_else(|| Ok(vec![path.clone()]));
    let files = asked.configs.iter().flat_map(files).flatten();
    let texts: Vec<_> =
        files.filter_map(|path| Some(reads.read(&path, &CONFIG).ok()?.text)).collect();
    // A config uses a variable as `${NAME}`, `${NAME:-…}` or `${NAME:?…}`.
    let uses = |name: &str| {
        let forms = [format!("${{{name}}}"), format!("${{{name}:")];
        texts.iter().any(|text| forms.iter().any(|form| text.contains(form)))
    };
    let mut documents = yaml::parse_manifest(&mut problems, file).unwrap_or_default();
    let text = problems.source(file).map(|it| Rc::clone(&it.text)).unwrap_or_default();
    let whole = documents.len();
    if asked.is_audit && problems.has_errors() {
        documents.extend(text.split("\n---").filter_map(audit::items).flatten());
    }
    if documents.is_empty() && text.contains("{{") {
        let help = "render it first: `helm template CHART | drainit check --pod -`";
        problems
            .note(Rule::Template, Span::whole(file), "with its `{{`, this file may be a template")
            .help(help);
    }
    let has_config = !texts.is_empty();
    let is_broken = documents.len() > whole;
    let judged = match asked.is_audit {
        true => audit::of(&mut problems, (file, &documents), has_config, is_broken),
        false => None,
    };
    let (mut audit, judged) = judged.unzip();
    match &judged {
        Some(_) => problems.seek(Rule::is_of_audit),
        None => problems.seek(|rule| !rule.is_of_image() && !rule.is_of_audit()),
    }
    if documents.is_empty() && problems.has_errors() {
        let diagnostics = problems.finish();
        return PodCheck { diagnostics, containers: Vec::new(), audit };
    }
    let (mut diagnostics, mut containers) = (Vec::new(), Vec::new());
    let read_env = |container: &Container| PodEnv::read(container, asked.here, asked.of_image);
    // The options of `drainit exec` are its config, so an audit checks them, too.
    let found = match judged {
        Some(workloads) => with_exec(workloads),
        None => find(&mut problems, (file, &documents), asked.container),
    };
    for of_pod in found.chunk_by(|(one, _), (other, _)| Rc::ptr_eq(&one.pod, &other.pod)) {
        binary::check(&mut problems, &of_pod[0].0.pod, read_env);
    }
    for (mut workload, container) in found {
        commands::check(&mut problems, &container);
        let env = read_env(&container);
        let hook = termination::pre_stop(&container);
        let (environment, mounts) = (env.environment(), manifest::mounts(&container.node));
        let is_held_back = hook.span.is_some() && !hook.drains;
        let around = Surroundings { environment: &environment, mounts: &mounts, is_held_back };
        let why = |program: &str| asked.image.missing_program(program, &around);
        commands::missing(&mut problems, &container, why);
        let exec = exec::read(&mut problems, &mut workload, &container, &env);
        let is_exec = exec.is_some();
        check_names(&mut problems, &env, uses);
        let unknown = env.own().filter(|(_, value)| value.text.is_none() && !is_exec);
        for (name, value) in unknown.filter(|(name, _)| uses(name)) {
            let message = format!(
                "the config uses `{name}`, whose value is not known here: it counts as unset"
            );
            let help = format!("set it for this check: `{name}=VALUE drainit check …`");
            problems.warning(Rule::UnknownValue, value.span, message).help(help);
        }
        let arguments = entry::arguments(&mut problems, &container);
        let loaded = exec.map_or_else(|| asked.image.load(asked.configs, &around).map(Some), Ok);
        let (mut new, loaded): (Vec<_>, _) = match loaded {
            Ok(loaded) => (loaded.iter().flat_map(|it| it.warnings.clone()).collect(), loaded),
            Err(errors) => (errors, None),
        };
        // Without `drainit run`, the container perhaps needs no config. If several containers run
        // the same config, its problems are reported only once.
        if arguments.is_some() || !texts.is_empty() {
            // The environment of a pod may leave a finding out, for which the config has a comment.
            let is_new =
                |it: &Diagnostic| it.rule != Rule::UnusedAllow && !diagnostics.contains(it);
            new.retain(is_new);
            diagnostics.append(&mut new);
        }
        let shown = format!("{} {}, container {}", workload.kind, workload.name, container.name);
        let Some(loaded) = loaded else {
            containers.push(shown);
            continue;
        };
        let plan = Plan::new(&loaded.config, &loaded.graph);
        // `drainit plan` shows the same time.
        let in_oneshot = plan.signal_in_oneshot.as_ref().map(|it| &it.timeline);
        let total = human(in_oneshot.unwrap_or(&plan.after_signal).total);
        let drains = loaded.config.processes.iter().any(|process| process.drained().is_some());
        containers.push(if drains { format!("{shown}, stops within {total}") } else { shown });
        let mut ctx = Context {
            is_exec,
            problems: &mut problems,
            workload: &workload,
            container: &container,
            env,
            loaded: &loaded,
            plan,
        };
        entry::route(&mut ctx, &arguments.unwrap_or_default());
        commands::sockets(&mut ctx);
        volumes::sockets(&mut ctx);
        termination::stop_signal(&mut ctx);
        termination::of_sidecar(&mut ctx, &hook);
        termination::grace_period(&mut ctx, &hook);
        probes::check(&mut ctx);
        traffic::local(&mut ctx);
        traffic::egress(&mut ctx);
        traffic::endpoint(&mut ctx, &hook);
        sidecar::check(&mut ctx);
    }
    let of_manifest = problems.finish();
    if let Some(audit) = &mut audit {
        audit.note_allowed(&of_manifest);
    }
    diagnostics.extend(of_manifest);
    PodCheck { diagnostics, containers, audit }
}

/// The container being checked, and the config that it runs.
struct Context<'a> {
    problems: &'a mut Problems,
    workload: &'a Workload,
    container: &'a Container,
    env: PodEnv,
    loaded: &'a Loaded,
    plan: Plan<'a>,
    /// Whether the container runs `drainit exec`. If it does, the options of `drainit exec` are the
    /// config.
    is_exec: bool,
}

impl<'a> Context<'a> {
    /// The drains of the config.
    fn drains(&self) -> impl Iterator<Item = &'a Drain> + use<'a> {
        self.loaded.config.processes.iter().filter_map(|process| process.drained())
    }

    /// The first text for a container with `drainit exec`, the second for one with a config.
    fn of_exec_or<'t>(&self, exec: &'t str, config: &'t str) -> &'t str {
        if self.is_exec { exec } else { config }
    }

    fn error(
        &mut self,
        rule: Rule,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.error(rule, span, message).help(help);
    }

    fn warning(
        &mut self,
        rule: Rule,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.warning(rule, span, message).help(help);
    }
}

/// The containers that run `drainit exec`.
fn with_exec(workloads: Vec<Workload>) -> Vec<(Workload, Container)> {
    let of = |workload: Workload| {
        let all = manifest::containers(&workload.pod).into_iter();
        all.filter(entry::is_exec).map(move |container| (workload.clone(), container))
    };
    workloads.into_iter().flat_map(of).collect()
}

/// The containers to check, as the comment of [`Asked::container`] says.
fn find(
    problems: &mut Problems,
    (file, documents): (usize, &[Rc<Node>]),
    name: Option<&str>,
) -> Vec<(Workload, Container)> {
    let whole = Span::whole(file);
    let (workloads, cut, others) = manifest::workloads(documents);
    if workloads.is_empty() {
        let kinds = list(cut.iter().chain(others.keys()).map(String::as_str));
        let only = if kinds.is_empty() { "" } else { ", only " };
        let help = "name the manifest of a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob";
        problems
            .error(Rule::NoWorkload, whole, format!("this file has no workload{only}{kinds}"))
            .help(help);
        return Vec::new();
    }
    let of = |workload: Workload| {
        let containers = manifest::containers(&workload.pod).into_iter();
        containers.map(move |container| (workload.clone(), container))
    };
    let all: Vec<_> = workloads.into_iter().flat_map(of).collect();
    let is_meant = |(_, container): &&(Workload, Container)| match name {
        Some(name) => container.name == name,
        None => entry::names_drainit(container),
    };
    let found: Vec<_> = all.iter().filter(is_meant).cloned().collect();
    let message = match (name, found.is_empty()) {
        (_, false) => return found,
        (None, true) if all.len() == 1 => return all,
        (Some(name), true) => format!("no container is named {}", quote(name)),
        (None, true) => "the manifest does not show which container runs drainit".to_owned(),
    };
    let names = list(all.iter().map(|(_, container)| container.name.as_str()));
    let help = format!("name it with `--container NAME`; the containers are {names}");
    problems.error(Rule::UnknownContainer, whole, message).help(help);
    Vec::new()
}
