//! Compose files. A service is a container there and becomes a process here, so what it says about its container (image,
//! network, volumes) has no place, and is listed in a comment.

use std::rc::Rc;

use crate::import::compose_values::{
    depends_on, environment, has_alternative, interpolate, readiness, words,
};
use crate::import::draft::{Draft, Process, Value};
use crate::import::input::InputFile;
use crate::import::yaml::{Entries, entries, get, items, scalar};
use crate::load::Diagnostic;
use crate::load::yaml::node::{Kind, Node, Span};

const NAMES: &str = "Services know each other by their names there. In one container all of them are at 127.0.0.1, so no two can \
                     have the same port: write that address in place of the names, or give the container these names \
                     (`docker run --add-host NAME:127.0.0.1`, in a pod `hostAliases`).";

/// The draft that a Compose file is.
pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let (file, root) = file.tree()?;
    let help = "a Compose file has its services under `services:`, by their names";
    let services = match get(entries(&root), "services") {
        Some(node) if matches!(node.kind, Kind::Mapping(_)) => Rc::clone(node),
        Some(node) => return Err(file.fail(node.span, "`services` is no mapping", help)),
        None => {
            return Err(file.fail(Span::new(0, 1, 1, 1), "there are no services in it", help));
        }
    };
    let mut draft = Draft::default();
    for (name, service) in entries(&services) {
        if !matches!(service.kind, Kind::Mapping(_)) {
            let message = format!("service `{}` is {}", name.text, service.kind_name());
            return Err(file.fail(service.span, &message, "a service is a mapping"));
        }
        draft.processes.push(process(&name.text, entries(service)));
    }
    if draft.processes.is_empty() {
        return Err(file.fail(services.span, "there are no services in it", help));
    }
    let lost: Vec<_> = entries(&root)
        .iter()
        .map(|(key, _)| &*key.text)
        .filter(|key| !matches!(*key, "services" | "version" | "name") && !key.starts_with("x-"))
        .collect();
    if !lost.is_empty() {
        draft.notes.push(format!("Not carried over: {}.", lost.join(", ")));
    }
    draft.notes.push("Variables are those of the container, not of the machine on which Compose runs; no .env is read.".to_owned());
    if get(entries(&root), "include").is_some() {
        draft.notes.push(
            "What is included is missing: import what `docker compose config` prints.".to_owned(),
        );
    }
    if draft.processes.len() > 1 {
        draft.notes.push(NAMES.to_owned());
    }
    draft.notes.push(crate::import::ON_EXIT.to_owned());
    tasks(&mut draft);
    conditions(&mut draft);
    draft.fix_names();
    Ok(draft)
}

/// What others wait for until it has completed is a task.
fn tasks(draft: &mut Draft) {
    let mut names = Vec::new();
    for process in &draft.processes {
        let Some(Value::Map(needs)) = process.get("depends_on") else { continue };
        for (name, need) in needs {
            if is(need, "completed") {
                names.push(name.clone());
            }
        }
    }
    for process in draft.processes.iter_mut().filter(|process| names.contains(&process.name)) {
        process.set("type", "oneshot".into());
        process.remove("on_exit");
    }
}

/// What a list of names means there, and whether anybody can tell that a process is healthy.
fn conditions(draft: &mut Draft) {
    let of = |process: &Process| process.get("readiness").map(|_| process.name.clone());
    let checked: Vec<_> = draft.processes.iter().filter_map(of).collect();
    let mut waited_for = Vec::new();
    for process in &mut draft.processes {
        match process.get("depends_on").cloned() {
            Some(Value::List(names)) if names.iter().any(|name| checked.contains(name)) => {
                let started = Value::Map(vec![("condition".to_owned(), "started".into())]);
                let needs = names.into_iter().map(|name| (name, started.clone())).collect();
                process.remove("depends_on");
                process.set_with_note(
                    "depends_on",
                    Value::Map(needs),
                    "Compose does not wait until they are healthy; `condition: ready` does, and is mostly better",
                );
            }
            Some(Value::Map(needs)) => waited_for.extend(
                needs.into_iter().filter(|(_, need)| is(need, "ready")).map(|(name, _)| name),
            ),
            _ => {}
        }
    }
    for process in &mut draft.processes {
        if waited_for.contains(&process.name) && !checked.contains(&process.name) {
            process.note("others wait until it is healthy, which its image may say how to see: write that here as `readiness`");
        }
    }
}

/// Whether a need has this condition.
fn is(need: &Value, condition: &str) -> bool {
    matches!(need, Value::Map(need) if need.iter().any(|(_, value)| *value == condition.into()))
}

fn process(name: &str, service: Entries<'_>) -> Process {
    let mut process = Process::new(name);
    command(&mut process, service);
    let mut lost = Vec::new();
    for (key, node) in service {
        match &*key.text {
            "command" | "entrypoint" | "init" => {}
            "depends_on" => depends_on(&mut process, node),
            "environment" => environment(&mut process, node),
            "env_file" => env_file(&mut process, node),
            "healthcheck" => readiness(&mut process, entries(node)),
            "restart" => restart(&mut process, node),
            "stop_signal" => text(&mut process, "stop_signal", node),
            "stop_grace_period" => text(&mut process, "stop_grace_period", node),
            "user" => text(&mut process, "user", node),
            "working_dir" => text(&mut process, "working_dir", node),
            "profiles" => process.note("profiles: Compose starts it only if one of them is asked for; here it is started with the others, or leave it out"),
            "extends" => process.note("extends: what it has from there is missing; import what `docker compose config` prints"),
            key if key.starts_with("x-") => {}
            key => lost.push(key.to_owned()),
        }
    }
    if service.iter().any(|(_, node)| has_alternative(node)) {
        process.note("`${A:+b}` has no counterpart, and is text here: put a value in its place");
    }
    process.set("on_exit", "ignore".into());
    process.set("log", Value::Map(vec![("prefix".to_owned(), name.into())]));
    if !lost.is_empty() {
        process.note(format!("not carried over: {}", lost.join(", ")));
    }
    process
}

fn command(process: &mut Process, service: Entries<'_>) {
    let image = get(service, "image").and_then(|node| scalar(node)).unwrap_or("its Dockerfile");
    let mut part =
        |key| get(service, key).map(|node| words(process, node)).filter(|words| !words.is_empty());
    match (part("entrypoint"), part("command")) {
        (Some(mut entrypoint), command) => {
            entrypoint.extend(command.unwrap_or_default());
            process.set("command", Value::List(entrypoint));
        }
        (None, Some(command)) => {
            let note = format!("if {image} has an ENTRYPOINT, put it before");
            process.set_with_note("command", Value::List(command), note);
        }
        (None, None) => {
            let note = format!("write here what {image} runs, its ENTRYPOINT and CMD");
            process.set_with_note("command", Value::List(vec![process.name.clone()]), note);
        }
    }
}

fn text(process: &mut Process, key: &'static str, node: &Node) {
    if let Some(value) = scalar(node) {
        process.set(key, Value::Text(interpolate(value)));
    }
}

fn env_file(process: &mut Process, node: &Node) {
    let mut files = Vec::new();
    for item in items(node) {
        let path =
            scalar(item).or_else(|| get(entries(item), "path").and_then(|path| scalar(path)));
        files.extend(path.map(interpolate));
        for (key, node) in entries(item) {
            match (&*key.text, scalar(node)) {
                ("path", _) | ("required", Some("true")) => {}
                ("required", _) => process.note("an env_file that need not exist must exist here"),
                (key, value) => process.note(format!(
                    "env_file: {key}: {} is not carried over; a value in single quotes is taken as it is",
                    value.unwrap_or_default()
                )),
            }
        }
    }
    process.set("env_file", Value::List(files));
}

fn restart(process: &mut Process, node: &Node) {
    let policy = scalar(node).unwrap_or("no");
    // `${RESTART:-always}`: the default tells what is meant.
    let default = policy.split_once(":-").or_else(|| policy.split_once('-'));
    let policy = match default.filter(|_| policy.starts_with("${")) {
        Some((_, default)) => default.trim_end_matches('}'),
        None => policy,
    };
    let (policy, max) = match policy.split_once(':') {
        Some((policy, max)) => (policy, Some(max)),
        None => (policy, None),
    };
    match policy {
        "always" | "unless-stopped" => process.set("restart", "always".into()),
        "on-failure" => process.set("restart", "on-failure".into()),
        "no" | "false" => {}
        _ => process.note(format!(
            "restart: {} is not known here: it is `no`, `on-failure` or `always`",
            scalar(node).unwrap_or_default()
        )),
    }
    if let Some(max) = max.filter(|_| policy == "on-failure") {
        let max = max.parse().map_or_else(|_| Value::Text(interpolate(max)), Value::Number);
        process.set("restart_max", max);
    }
}
