//! Reads a Compose file. A service, which is a container, becomes a process, so its keys about the
//! container (image, network, volumes) are only listed in a comment.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::import::compose_values::{
    depends_on, env_file, environment, interpolate, profiles, readiness, restart, ulimits, words,
};
use crate::import::draft::{Draft, Process, Value};
use crate::import::input::InputFile;
use crate::import::pattern;
use crate::import::yaml::text;
use crate::load::Diagnostic;
use crate::load::yaml::node::{Kind, Node, get};

const VARIABLES: &str = "Variables are those of the container, not of the host; no .env is read.";
/// Forms of a variable that mean something else in a config.
const FORMS: [(&str, &str); 2] = [
    (
        r"\$\{\w+[-?]",
        "`${A-b}` and `${A?b}` are `${A:-b}` and `${A:?b}` here: an empty variable counts as unset.",
    ),
    (r"\$\{\w+:?\+", "`${A:+b}` has no counterpart and is plain text here: replace it by a value."),
];
const NAMES: &str = "Compose services reach each other by name. In one container all of them are at 127.0.0.1, so no two can \
                     have the same port: use that address, or define the names \
                     (`docker run --add-host NAME:127.0.0.1`, in a pod `hostAliases`).";

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let (file, root) = file.tree()?;
    let services = get(&root, &["services"]).map(Rc::clone);
    let entries = services.as_ref().map(|node| node.entries()).unwrap_or_default();
    if entries.is_empty() {
        let line = services.as_ref().map_or(1, |node| node.span.line());
        let message = match services.as_ref().map(|node| &node.kind) {
            None | Some(Kind::Mapping(_)) => "the file has no services",
            Some(_) => "`services` is not a mapping",
        };
        return Err(file.fail(line, message, "put the services under `services:`, by their names"));
    }
    let mut draft = Draft::default();
    for (name, service) in entries {
        if !matches!(service.kind, Kind::Mapping(_)) {
            let message = format!("service `{}` is {}", name.text, service.kind_name());
            let help = "write a mapping, such as `{command: …}`";
            return Err(file.fail(service.span.line(), &message, help));
        }
        draft.processes.push(process(&name.text, service));
    }
    let keys = root.entries().iter().map(|(key, _)| &*key.text);
    let used = ["services", "version", "name"];
    let lost: Vec<_> = keys.filter(|key| !used.contains(key) && !key.starts_with("x-")).collect();
    if !lost.is_empty() {
        draft.notes.push(format!("Not converted: {}.", lost.join(", ")));
    }
    draft.notes.push(VARIABLES.to_owned());
    for (form, note) in FORMS {
        if pattern(form).is_match(&file.text()) {
            draft.notes.push(note.to_owned());
        }
    }
    if lost.contains(&"include") {
        draft.notes.push(
            "Included files are missing: import the output of `docker compose config`.".to_owned(),
        );
    }
    if draft.processes.len() > 1 {
        draft.notes.push(NAMES.to_owned());
    }
    draft.notes.push(crate::import::ON_EXIT.to_owned());
    relate(&mut draft);
    draft.fix_names();
    Ok(draft)
}

/// Converts what depends on other processes: which of them are tasks, and what a failed healthcheck
/// means. A process that is not ready in time ends nothing, unless others wait for it.
fn relate(draft: &mut Draft) {
    let waited_for = |condition| -> BTreeSet<String> {
        let needs = draft.processes.iter().flat_map(|process| &process.needs);
        let needs = needs.filter(|need| need.condition == Some(condition));
        needs.map(|need| need.name.clone()).collect()
    };
    let (completed, ready) = (waited_for("completed"), waited_for("ready"));
    for process in draft.processes.iter_mut().filter(|it| completed.contains(&it.name)) {
        process.set("type", "oneshot");
        process.remove("on_exit");
        if process.has("readiness") {
            process.remove("readiness");
            process.note("its healthcheck is not converted: it is ready when it has completed");
        }
    }
    let checked = draft.processes.iter().filter(|process| process.has("readiness"));
    let checked: BTreeSet<_> = checked.map(|process| process.name.clone()).collect();
    for process in &mut draft.processes {
        let is_plain = process.needs.iter().all(|need| need.condition.is_none());
        if is_plain && process.needs.iter().any(|need| checked.contains(&need.name)) {
            process.needs[0].condition = Some("started");
            process.note_at(
                "depends_on",
                "Compose does not wait until they are healthy; `condition: ready` does, and is usually better",
            );
        }
        match (checked.contains(&process.name), ready.contains(&process.name)) {
            (true, true) => process.note(
                "not ready in time it ends the container; Compose only marks it unhealthy, and does not start what \
                 waits for it",
            ),
            (true, false) => {
                process.set("required", "false");
                process.note_at(
                    "required",
                    "not ready in time it is stopped, and the others run on; Compose only marks it unhealthy",
                );
            }
            (false, true) if !process.has("type") => process.note(
                "others wait until it is healthy: add the healthcheck of its image as `readiness`",
            ),
            (false, _) => {}
        }
    }
}

fn process(name: &str, service: &Node) -> Process {
    let mut process = Process::new(name);
    command(&mut process, service);
    let is_silent = get(service, &["logging", "driver"]).and_then(|it| it.scalar()) == Some("none");
    for (key, node) in service.entries() {
        let value = node.scalar().map(interpolate);
        match (&*key.text, value) {
            ("command" | "entrypoint" | "init", _) => {}
            ("logging", _) if is_silent => {}
            ("stop_signal", Some(value)) => process.set("stop_signal", value),
            ("stop_grace_period", Some(value)) => process.set("stop_grace_period", value),
            ("user", Some(value)) => process.set("user", value),
            ("working_dir", Some(value)) => process.set("working_dir", value),
            ("scale", Some(value)) if is_number(&value) => process.set("scale", value),
            ("depends_on", _) => depends_on(&mut process, node),
            ("environment", _) => environment(&mut process, node),
            ("env_file", _) => env_file(&mut process, node),
            ("healthcheck", _) => readiness(&mut process, node),
            ("restart", Some(value)) => restart(&mut process, &value),
            ("ulimits", _) => ulimits(&mut process, node),
            ("profiles", _) => profiles(&mut process, node),
            ("extends", _) => process.note("extends: the inherited keys are missing; import the output of `docker compose config`"),
            (key, _) if key.starts_with("x-") => {}
            (key, _) => process.lose(key),
        }
    }
    process.set("on_exit", "ignore");
    let log = if is_silent { ("mode", "none".into()) } else { ("prefix", name.into()) };
    process.set("log", Value::map([log]));
    process.note_lost();
    process
}

fn command(process: &mut Process, service: &Node) {
    let image = text(service, "image").unwrap_or("its Dockerfile");
    let mut part = |key| get(service, &[key]).map(|node| words(process, node));
    let (entrypoint, command) = (part("entrypoint"), part("command").unwrap_or_default());
    let all = [entrypoint.clone().unwrap_or_default(), command].concat();
    if all.is_empty() {
        process.set("command", vec![process.name.clone()]);
        process.note_at("command", format!("replace this by the ENTRYPOINT and CMD of {image}"));
        return;
    }
    // An empty `entrypoint` clears that of the image.
    if entrypoint.is_none() {
        process.note_at("command", format!("if {image} has an ENTRYPOINT, insert it before"));
    }
    process.set("command", all);
}

/// Whether it is a number, or a variable that may be one.
fn is_number(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|number| number <= 1000) || text.starts_with("${")
}
