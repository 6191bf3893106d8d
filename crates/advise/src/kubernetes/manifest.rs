//! Finds the workloads of a Kubernetes manifest, and reads fields of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};

#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// The kind of the workload, such as `Deployment` or `Pod`.
    pub(super) kind: String,
    /// The namespace, if the manifest has one, and the name.
    pub(super) name: String,
    /// The whole document.
    pub(super) node: Rc<Node>,
    /// The `spec` of the workload's pods.
    pub(super) pod: Rc<Node>,
    /// The traffic policy `Local` of a Service that selects the pods, if there is one.
    pub(super) local: Option<Local>,
    /// The pods' ports to which Services send requests.
    pub(super) served: Vec<Word>,
}

impl Workload {
    /// Whether the pods end by themselves, so that nobody sends requests to them.
    pub(super) fn is_job(&self) -> bool {
        matches!(&*self.kind, "Job" | "CronJob")
    }
}

/// A traffic policy `Local` in a Service: a node sends requests only to its own pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    /// The place of the value.
    pub(super) span: Span,
    /// Whether the policy is `externalTrafficPolicy`, which matters to a load balancer.
    pub(super) is_external: bool,
}

/// A container that may run drainit.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) name: String,
    /// The place of the name in the manifest.
    pub(super) span: Span,
    pub(super) node: Rc<Node>,
    /// Whether this is a sidecar: an init container with `restartPolicy: Always`, which runs as
    /// long as the pod.
    pub(super) is_sidecar: bool,
}

/// The text of a single value, and its place in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Span,
}

/// Documents by their kinds.
type ByKind = BTreeMap<String, Vec<Rc<Node>>>;

/// The kinds of workloads that have a template of their pods.
const TEMPLATES: &str = "Deployment StatefulSet DaemonSet ReplicaSet Job Rollout ReplicationController DeploymentConfig";

/// The groups of `TEMPLATES` that are not Kubernetes' own.
const GROUPS: [&str; 2] = ["argoproj.io/", "apps.openshift.io/"];

/// Finds all workloads in the documents of a manifest. Also returns what lacks a key that a whole
/// manifest has, and the other documents by their kinds.
pub(super) fn workloads(documents: &[Rc<Node>]) -> (Vec<Workload>, Vec<String>, ByKind) {
    let (mut found, mut cut, mut others) = (Vec::new(), Vec::new(), ByKind::new());
    // The labels of each workload's pods.
    let mut labels = Vec::new();
    let mut todo: Vec<_> = documents.iter().rev().map(|it| (Rc::clone(it), false)).collect();
    while let Some((node, is_item)) = todo.pop() {
        let of = |path: &[&str]| text(&node, path).map(|word| word.text);
        let kind = of(&["kind"]).unwrap_or_default();
        // Another group may have a kind of the same name, such as Volcano's Job. A Rollout may take
        // the pods of a Deployment.
        let group = of(&["apiVersion"]).unwrap_or_default();
        let is_known = !group.contains('.') || GROUPS.iter().any(|it| group.starts_with(it));
        let has_template = TEMPLATES.split(' ').any(|it| it == kind)
            && is_known
            && get(&node, &["spec", "workloadRef"]).is_none();
        let path: &[&str] = match &*kind {
            "Pod" => &["spec"],
            _ if has_template => &["spec", "template", "spec"],
            "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
            "List" | "" => {
                let list = get(&node, &["items"]).filter(|it| it.kind_name() == "a list");
                // kubectl writes the kind of a list after its items.
                if (list.is_some() || is_item) == kind.is_empty() {
                    let lacks = if kind.is_empty() { "no kind" } else { "its items are no list" };
                    cut.push(format!("a list is cut: {lacks}"));
                }
                let items = list.iter().flat_map(|list| list.items()).rev();
                todo.extend(items.map(|it| (Rc::clone(it), true)));
                continue;
            }
            _ => {
                others.entry(kind).or_default().push(node);
                continue;
            }
        };
        let of = |key| of(&["metadata", key]);
        let name = Vec::from_iter(["namespace", "name"].into_iter().filter_map(of)).join("/");
        let pod = get(&node, path).filter(|pod| !items(pod, &["containers"]).is_empty());
        let Some(pod) = pod.cloned() else {
            let what = format!("{kind} {name}");
            cut.push(format!("{} is cut: no {}.containers", what.trim_end(), path.join(".")));
            continue;
        };
        let of_pods = [&path[..path.len() - 1], &["metadata", "labels"]].concat();
        labels.push(get(&node, &of_pods).cloned());
        found.push(Workload { kind, name, node, pod, local: None, served: Vec::new() });
    }
    for (workload, labels) in found.iter_mut().zip(labels) {
        let is_of = |service: &&Rc<Node>| labels.as_ref().is_some_and(|it| selects(service, it));
        let selected = || others.get("Service").into_iter().flatten().filter(is_of);
        workload.local = selected().find_map(|service| local(service));
        workload.served = selected().flat_map(|service| ports(service)).collect();
    }
    (found, cut, others)
}

/// Whether a Service selects pods with these labels: they must have every label of the selector. An
/// empty selector selects no pod.
fn selects(service: &Node, labels: &Node) -> bool {
    let wanted = get(service, &["spec", "selector"]).map(|it| it.entries()).unwrap_or_default();
    let has = |name: &str, value: &Node| {
        text(labels, &[name]).is_some_and(|label| Some(&*label.text) == value.scalar())
    };
    !wanted.is_empty() && wanted.iter().all(|(name, value)| has(&name.text, value))
}

/// The traffic policy `Local` of a Service. If the Service has both, that of the load balancer.
fn local(service: &Node) -> Option<Local> {
    let policy = |(key, is_external)| {
        let policy = text(service, &["spec", key]).filter(|policy| policy.text == "Local")?;
        Some(Local { span: policy.span, is_external })
    };
    [("externalTrafficPolicy", true), ("internalTrafficPolicy", false)].into_iter().find_map(policy)
}

/// The ports of the pods to which a Service sends requests.
fn ports(service: &Node) -> impl Iterator<Item = Word> {
    let ports = items(service, &["spec", "ports"]).iter();
    ports.filter_map(|it| text(it, &["targetPort"]).or_else(|| text(it, &["port"])))
}

/// Reads a container of the pod. An init container with `restartPolicy: Always` is a sidecar.
pub(super) fn container(node: &Rc<Node>) -> Container {
    let name = text(node, &["name"]);
    Container {
        span: name.as_ref().map_or(node.span, |name| name.span),
        name: name.map(|name| name.text).unwrap_or_default(),
        node: Rc::clone(node),
        is_sidecar: text(node, &["restartPolicy"]).is_some_and(|word| word.text == "Always"),
    }
}

/// The containers that run as long as the pod: the main containers and the sidecars.
pub(super) fn containers(pod: &Node) -> Vec<Container> {
    let main = items(pod, &["containers"]).iter().map(container);
    let main = main.map(|main| Container { is_sidecar: false, ..main });
    let sidecars = items(pod, &["initContainers"]).iter().map(container);
    main.chain(sidecars.filter(|init| init.is_sidecar)).collect()
}

/// The paths at which volumes are mounted in a container.
pub(super) fn mounts(container: &Node) -> Vec<PathBuf> {
    let mounts = items(container, &["volumeMounts"]).iter();
    mounts.filter_map(|mount| Some(text(mount, &["mountPath"])?.text.into())).collect()
}

/// The place of a key of a mapping.
pub(super) fn key(node: &Node, name: &str) -> Option<Span> {
    node.entries().iter().find(|(key, _)| &*key.text == name).map(|(key, _)| key.span)
}

pub(super) fn text(node: &Node, path: &[&str]) -> Option<Word> {
    word(get(node, path)?)
}

pub(super) fn is_named(node: &Node, name: &str) -> bool {
    text(node, &["name"]).is_some_and(|it| it.text == name)
}

/// Whether the value at a path of keys is `true`.
pub(super) fn is_true(node: &Node, path: &[&str]) -> bool {
    text(node, path).is_some_and(|it| it.text == "true")
}

/// The items of the list at a path of keys. Empty if there is no list.
pub(super) fn items<'n>(node: &'n Node, path: &[&str]) -> &'n [Rc<Node>] {
    get(node, path).map(|node| node.items()).unwrap_or_default()
}

/// The words of the command at a path of keys, without the items that are lists or mappings. An
/// item that [`one_word`] finds is split into its words.
pub(super) fn words(node: &Node, path: &[&str]) -> Vec<Word> {
    let mut words: Vec<_> = items(node, path).iter().filter_map(word).collect();
    if let Some(Word { text, span }) = one_word(node, path) {
        words.splice(..1, at(text.split_whitespace(), span));
    }
    words
}

/// The words of `command` and `args` of a container. Also returns whether they stand behind the
/// image's ENTRYPOINT, because there is no `command`.
pub(super) fn command_line(container: &Container) -> (Vec<Word>, bool) {
    let [command, args] = ["command", "args"].map(|key| words(&container.node, &[key]));
    ([&command[..], &args[..]].concat(), command.is_empty())
}

/// Gives each word the same place.
pub(super) fn at(words: impl IntoIterator<Item = impl Into<String>>, span: Span) -> Vec<Word> {
    words.into_iter().map(|text| Word { text: text.into(), span }).collect()
}

/// The name of an image, without its registry and its version; empty if there is none.
pub(super) fn image_name(node: &Node, path: &[&str]) -> String {
    let reference = text(node, path).map(|image| image.text).unwrap_or_default();
    let name = base(reference.split('@').next().unwrap_or_default());
    name.split(':').next().unwrap_or_default().to_owned()
}

/// The first item of a list, if this single item has both the program `drainit` or `sleep` and the
/// program's arguments, as in `[drainit drain]`. `None` for the key `args`, whose first item may be
/// the script of a shell.
pub(super) fn one_word(node: &Node, path: &[&str]) -> Option<Word> {
    let first = word(items(node, path).first()?)?;
    let (program, _) = first.text.trim().split_once(char::is_whitespace)?;
    (path != ["args"] && matches!(base(program), "drainit" | "sleep")).then_some(first)
}

/// The number of seconds at a path of keys, and its place.
pub(super) fn seconds(node: &Node, path: &[&str]) -> Option<(Duration, Span)> {
    let word = text(node, path)?;
    Some((Duration::from_secs(word.text.parse().ok()?), word.span))
}

fn word(node: &Rc<Node>) -> Option<Word> {
    Some(Word { text: node.scalar()?.to_owned(), span: node.span })
}

/// The last part of a path: the name of the file.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a word names drainit's program. The variable in `env PATH=/opt/drainit` does not.
pub(super) fn is_drainit(word: &str) -> bool {
    base(word) == "drainit" && !word.contains('=')
}
