//! Reads a Compose file. A service, which is a container, becomes a process, so its keys about the
//! container (image, network, volumes) are only listed in a comment.

use std::rc::Rc;

use crate::import::compose_values::{
    depends_on, environment, has_mark, interpolate, readiness, ulimits, words,
};
use crate::import::draft::{Draft, Process, Value};
use crate::import::input::InputFile;
use crate::import::yaml::{Entries, get, items};
use crate::load::Diagnostic;
use crate::load::span::Span;
use crate::load::yaml::node::{Kind, Node};

const NAMES: &str = "Compose services reach each other by name. In one container all of them are at 127.0.0.1, so no two can \
                     have the same port: use that address, or define the names \
                     (`docker run --add-host NAME:127.0.0.1`, in a pod `hostAliases`).";

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let (file, root) = file.tree()?;
    let help = "put the services under `services:`, by their names";
    let services = match get(root.entries(), "services") {
        Some(node) if matches!(node.kind, Kind::Mapping(_)) => Rc::clone(node),
        Some(node) => return Err(file.fail(node.span, "`services` is not a mapping", help)),
        None => {
            return Err(file.fail(Span::new(0, 1, 1, 1), "the file has no services", help));
        }
    };
    let mut draft = Draft::default();
    for (name, service) in services.entries() {
        if !matches!(service.kind, Kind::Mapping(_)) {
            let message = format!("service `{}` is {}", name.text, service.kind_name());
            return Err(file.fail(
                service.span,
                &message,
                "write a mapping, such as `{command: …}`",
            ));
        }
        draft.processes.push(process(&name.text, service.entries()));
    }
    if draft.processes.is_empty() {
        return Err(file.fail(services.span, "the file has no services", help));
    }
    let lost: Vec<_> = root
        .entries()
        .iter()
        .map(|(key, _)| &*key.text)
        .filter(|key| !matches!(*key, "services" | "version" | "name") && !key.starts_with("x-"))
        .collect();
    if !lost.is_empty() {
        draft.notes.push(format!("Not converted: {}.", lost.join(", ")));
    }
    draft
        .notes
        .push("Variables are those of the container, not of the host; no .env is read.".to_owned());
    if get(root.entries(), "include").is_some() {
        draft.notes.push(
            "Included files are missing: import the output of `docker compose config`.".to_owned(),
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

/// A process whose completion others wait for is a oneshot.
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
        if process.get("readiness").is_some() {
            process.remove("readiness");
            process.note("its healthcheck is not converted: it is ready when it has completed");
        }
    }
}

/// Sets the condition of each list of names, and notes processes that need a `readiness`. One that
/// is not ready in time ends nothing, unless others wait for it.
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
                    "Compose does not wait until they are healthy; `condition: ready` does, and is usually better",
                );
            }
            Some(Value::Map(needs)) => waited_for.extend(
                needs.into_iter().filter(|(_, need)| is(need, "ready")).map(|(name, _)| name),
            ),
            _ => {}
        }
    }
    for process in &mut draft.processes {
        let is_waited_for = waited_for.contains(&process.name);
        match (checked.contains(&process.name), is_waited_for) {
            (true, true) => process.note(
                "not ready in time it ends the container; Compose only marks it unhealthy, and does not start what \
                 waits for it",
            ),
            (true, false) => process.set_with_note(
                "required",
                "false".into(),
                "not ready in time it is stopped, and the others run on; Compose only marks it unhealthy",
            ),
            (false, true) if process.get("type").is_none() => process.note(
                "others wait until it is healthy: add the healthcheck of its image as `readiness`",
            ),
            (false, _) => {}
        }
    }
}

/// Whether a dependency has this condition.
fn is(need: &Value, condition: &str) -> bool {
    matches!(need, Value::Map(need) if need.iter().any(|(_, value)| *value == condition.into()))
}

fn process(name: &str, service: Entries<'_>) -> Process {
    let mut process = Process::new(name);
    command(&mut process, service);
    let mut lost = Vec::new();
    let mut is_silent = false;
    for (key, node) in service {
        match &*key.text {
            "command" | "entrypoint" | "init" => {}
            "depends_on" => depends_on(&mut process, node),
            "environment" => environment(&mut process, node),
            "env_file" => env_file(&mut process, node),
            "scale" if node.scalar().is_some_and(is_number) => text(&mut process, "scale", node),
            "healthcheck" => readiness(&mut process, node.entries()),
            "restart" => restart(&mut process, node),
            "stop_signal" => text(&mut process, "stop_signal", node),
            "stop_grace_period" => text(&mut process, "stop_grace_period", node),
            "ulimits" => ulimits(&mut process, node),
            "logging" => {
                if get(node.entries(), "driver").and_then(|driver| driver.scalar()) == Some("none") {
                    is_silent = true;
                } else {
                    lost.push(key.text.to_string());
                }
            }
            "user" => text(&mut process, "user", node),
            "working_dir" => text(&mut process, "working_dir", node),
            "profiles" => process.note("profiles: Compose starts it only with one of them enabled; here it starts with the others"),
            "extends" => process.note("extends: the inherited keys are missing; import the output of `docker compose config`"),
            key if key.starts_with("x-") => {}
            key => lost.push(key.to_owned()),
        }
    }
    let uses = |marks: &[&str]| service.iter().any(|(_, node)| has_mark(node, marks));
    if uses(&["-", "?"]) {
        process.note("`${A-b}` and `${A?b}` are `${A:-b}` and `${A:?b}` here: an empty variable counts as unset");
    }
    if uses(&["+", ":+"]) {
        process.note("`${A:+b}` has no counterpart and is plain text here: replace it by a value");
    }
    process.set("on_exit", "ignore".into());
    let log = if is_silent { ("mode", "none") } else { ("prefix", name) };
    process.set("log", Value::Map(vec![(log.0.to_owned(), log.1.into())]));
    if !lost.is_empty() {
        process.note(format!("not converted: {}", lost.join(", ")));
    }
    process
}

fn command(process: &mut Process, service: Entries<'_>) {
    let image = get(service, "image").and_then(|node| node.scalar()).unwrap_or("its Dockerfile");
    let mut part =
        |key| get(service, key).map(|node| words(process, node)).filter(|words| !words.is_empty());
    match (part("entrypoint"), part("command")) {
        (Some(mut entrypoint), command) => {
            entrypoint.extend(command.unwrap_or_default());
            process.set("command", Value::List(entrypoint));
        }
        // An empty `entrypoint` clears that of the image.
        (None, Some(command))
            if get(service, "entrypoint").is_some_and(|node| !matches!(node.kind, Kind::Null)) =>
        {
            process.set("command", Value::List(command));
        }
        (None, Some(command)) => {
            let note = format!("if {image} has an ENTRYPOINT, insert it before");
            process.set_with_note("command", Value::List(command), note);
        }
        (None, None) => {
            let note = format!("replace this by the ENTRYPOINT and CMD of {image}");
            process.set_with_note("command", Value::List(vec![process.name.clone()]), note);
        }
    }
}

/// Whether it is a number, or a variable that may be one.
fn is_number(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|number| number <= 1000) || text.starts_with("${")
}

fn text(process: &mut Process, key: &'static str, node: &Node) {
    if let Some(value) = node.scalar() {
        process.set(key, Value::Text(interpolate(value)));
    }
}

fn env_file(process: &mut Process, node: &Node) {
    let mut files = Vec::new();
    for item in items(node) {
        let path =
            item.scalar().or_else(|| get(item.entries(), "path").and_then(|path| path.scalar()));
        let mut required = "true".to_owned();
        for (key, node) in item.entries() {
            match (&*key.text, node.scalar()) {
                ("path", _) => {}
                ("required", Some(value)) => required = interpolate(value),
                (key, value) => process.note(format!(
                    "env_file: {key}: {} is not converted; a value in single quotes is not expanded",
                    value.unwrap_or_default()
                )),
            }
        }
        let Some(path) = path.map(|path| Value::Text(interpolate(path))) else { continue };
        files.push(match &*required {
            "true" => path,
            _ => Value::Map(vec![
                ("path".to_owned(), path),
                ("required".to_owned(), Value::Text(required)),
            ]),
        });
    }
    process.set("env_file", Value::Items(files));
}

fn restart(process: &mut Process, node: &Node) {
    let policy = node.scalar().unwrap_or("no");
    // `${RESTART:-always}`: the default counts.
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
            "restart: {} is unknown here: write `no`, `on-failure` or `always`",
            node.scalar().unwrap_or_default()
        )),
    }
    // Docker's 0 means no limit, which is the default of a config.
    if let Some(max) = max.filter(|max| policy == "on-failure" && *max != "0") {
        let max = max.parse().map_or_else(|_| Value::Text(interpolate(max)), Value::Number);
        process.set("restart_max", max);
    }
}
