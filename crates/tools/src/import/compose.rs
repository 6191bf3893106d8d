//! Reads a Compose file. Each service, which is a container in Compose, becomes a process. Keys
//! that concern the container (image, network, volumes) are only listed in a comment.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use regex_lite::{Captures, Regex};
use serde_json::{Value, json};

use crate::import::draft::{Draft, DraftedProcess, number};
use crate::import::input::InputFile;
use crate::import::pattern;
use crate::keys::values::duration;
use crate::language::yaml::node::{Kind, Node, get};
use crate::load::Diagnostic;

const VARIABLES: &str = "The variables are those of the container, not of the host, and no .env is read. A variable that is set but \
                         empty counts as unset. `${A:+b}` is plain text here: replace it by a value.";
const NAMES: &str = "Compose services reach each other by name. In one container all of them are at 127.0.0.1, so no two can \
                     have the same port: use that address, or define the names \
                     (`docker run --add-host NAME:127.0.0.1`, in a pod `hostAliases`).";
const HEALTH: &str = "A healthcheck becomes a `readiness`: drainit probes each second until the process is ready, and not after \
                      that; it kills each probe after 10s. A process that is not ready in time is stopped. The others run on, but if \
                      one of them waits for it, the container ends. Compose only marks it unhealthy.";

/// Matches a variable up to its default or message, or the whole variable if it has neither.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$(\$|\{\w*(?::?[-?]|\})|\{|\w+)"));

pub(super) fn read(file: InputFile) -> Result<Draft, Vec<Diagnostic>> {
    let (file, root) = file.tree()?;
    let services = get(&root, &["services"]).map(Rc::clone);
    let entries = services.as_ref().map(|node| node.entries()).unwrap_or_default();
    if entries.is_empty() {
        let line = services.as_ref().map_or(1, |node| node.span.line());
        let help = "put the services under `services:`, by their names";
        return Err(file.fail(line, "the file has no services", help));
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
        draft.notes.push(format!(
            "Not converted: {}. With `include`, import the output of `docker compose config`.",
            lost.join(", ")
        ));
    }
    draft.notes.push(VARIABLES.to_owned());
    if draft.processes.len() > 1 {
        draft.notes.push(NAMES.to_owned());
    }
    if draft.processes.iter().any(|process| process.has("readiness")) {
        draft.notes.push(HEALTH.to_owned());
    }
    draft.notes.push(crate::import::ON_EXIT.to_owned());
    draft.fix_names();
    relate(&mut draft);
    Ok(draft)
}

/// Converts the relations between services. A service becomes a oneshot if another service waits
/// for its completion. A failing healthcheck of a service matters only if another service waits
/// until that service is healthy.
fn relate(draft: &mut Draft) {
    let waited_for = |condition| -> BTreeSet<String> {
        draft.processes.iter().flat_map(|process| process.needs(condition)).cloned().collect()
    };
    let (completed, ready) = (waited_for("completed"), waited_for("ready"));
    for process in &mut draft.processes {
        if completed.contains(&process.name) {
            process.set("type", "oneshot");
            process.remove("on_exit");
            if process.has("readiness") {
                process.remove("readiness");
                process.lose("healthcheck");
            }
        } else if ready.contains(&process.name) && !process.has("readiness") {
            process.note(
                "others wait until it is healthy: add the healthcheck of its image as `readiness`",
            );
        } else if process.has("readiness") && !ready.contains(&process.name) {
            process.set("required", false);
        }
    }
}

fn process(name: &str, service: &Node) -> DraftedProcess {
    let mut process = DraftedProcess::new(name);
    command(&mut process, service);
    let is_silent = get(service, &["logging", "driver"]).and_then(|it| it.scalar()) == Some("none");
    for (key, node) in service.entries() {
        let text = node.scalar().map(interpolate);
        match (&*key.text, text) {
            ("command" | "entrypoint" | "init", _) => {}
            ("logging", _) if is_silent => {}
            ("stop_signal", Some(text)) => process.set("stop_signal", text),
            ("stop_grace_period", Some(text)) => process.set("stop_grace_period", text),
            ("user", Some(text)) => process.set("user", text),
            ("working_dir", Some(text)) => process.set("working_dir", text),
            ("deploy", _) => {
                process.lose("deploy");
                let replicas = get(node, &["replicas"]).and_then(|it| it.scalar());
                replicas.into_iter().for_each(|count| {
                    process.note(format!(
                        "`scale: {count}` starts as many copies, each of which needs a port of its own"
                    ));
                });
            }
            ("scale", Some(text)) => process.set("scale", number(&text)),
            ("restart", Some(text)) => restart(&mut process, &text),
            ("depends_on", _) => depends_on(&mut process, node),
            ("environment", _) => environment(&mut process, node),
            ("env_file", _) => env_file(&mut process, node),
            ("pre_stop", _) => pre_stop(&mut process, node),
            ("healthcheck", _) => readiness(&mut process, node),
            ("profiles", _) => process.set("profiles", value(node)),
            ("ulimits", _) => process.set("ulimits", value(node)),
            ("extends", _) => {
                process.lose("extends (import the output of `docker compose config`)")
            }
            (key, _) if key.starts_with("x-") => {}
            (key, _) => process.lose(key),
        }
    }
    process.set("on_exit", "ignore");
    process.set("log", if is_silent { json!({"mode": "none"}) } else { json!({ "prefix": name }) });
    process
}

/// Sets the command from a list or a string. drainit splits a string as Compose does, after the
/// variables are expanded.
fn command(process: &mut DraftedProcess, service: &Node) {
    let image = text(service, "image").unwrap_or("its Dockerfile");
    let entrypoint = get(service, &["entrypoint"]).filter(|it| !matches!(it.kind, Kind::Null));
    let parts: Vec<_> = entrypoint.into_iter().chain(get(service, &["command"])).collect();
    if entrypoint.is_none() && !parts.is_empty() {
        process.note(format!("command: insert the ENTRYPOINT of {image} before it, if it has one"));
    }
    let words = parts.iter().flat_map(|part| match part.scalar() {
        Some(line) if parts.len() > 1 => shlex::split(line).unwrap_or_default(),
        _ => texts(part).map(str::to_owned).collect(),
    });
    let words: Vec<Value> = words.map(|word| interpolate(&word).into()).collect();
    match parts[..] {
        [only] if only.scalar().is_some_and(|line| !line.is_empty()) => {
            process.set("command", value(only));
        }
        // The value of a variable in a string may be several words, so the whole command stays a
        // string.
        _ if parts.iter().any(|part| part.scalar().is_some_and(|line| line.contains('$'))) => {
            let line = parts.iter().map(|part| match part.scalar() {
                Some(line) => line.to_owned(),
                None => shlex::try_join(texts(part)).unwrap_or_default(),
            });
            process.set("command", interpolate(&line.collect::<Vec<_>>().join(" ")));
        }
        _ if words.is_empty() => {
            process.note(format!("command: replace it by the ENTRYPOINT and CMD of {image}"));
            process.set("command", json!([process.name]));
            process.image = Some(image.to_owned());
        }
        _ => process.set("command", words),
    }
}

/// Reads `environment:`, which is a mapping or a list. A name without a value needs no entry in the
/// config, because every process inherits the container's variables.
fn environment(process: &mut DraftedProcess, node: &Node) {
    let entries = node.entries().iter();
    let of_mapping = entries.filter_map(|(key, value)| Some((&*key.text, value.scalar()?)));
    let of_list = texts(node).filter_map(|item| item.split_once('='));
    let variables = of_mapping.chain(of_list);
    process.add_environment(variables.map(|(name, value)| (name.to_owned(), interpolate(value))));
}

/// Reads `env_file:`. drainit has no counterpart of Compose's `format: raw`, with which quotes and
/// variables have no meaning.
fn env_file(process: &mut DraftedProcess, node: &Node) {
    let mut files = value(node);
    for file in files.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(format) = file.remove("format") {
            let format = format.as_str().unwrap_or_default().to_owned();
            process
                .lose(format!("env_file: format: {format} (quotes and `$` have a meaning here)"));
        }
    }
    process.set("env_file", files);
}

/// Reads `pre_stop:`, which is a list of hooks. A process of drainit can have only one such hook.
/// The hook runs with the directory and environment of the process. If the hook has no `user`, it
/// runs as the user of the process.
fn pre_stop(process: &mut DraftedProcess, node: &Node) {
    let [hook] = node.items() else { return process.lose("pre_stop: more than one hook") };
    let Some(command) = get(hook, &["command"]) else { return process.lose("pre_stop") };
    let user = text(hook, "user").filter(|user| !user.is_empty());
    process.set(
        "hooks",
        match user {
            Some(user) => {
                json!({"pre_stop": {"command": value(command), "user": interpolate(user)}})
            }
            None => json!({ "pre_stop": value(command) }),
        },
    );
    let is_lost = |key: &str| key != "command" && !(key == "user" && user.is_some());
    for (key, _) in hook.entries().iter().filter(|(key, _)| is_lost(&key.text)) {
        process.lose(format!("pre_stop.{}", key.text));
    }
}

/// Reads `depends_on:`, which is a list of names, or a mapping of names to conditions.
fn depends_on(process: &mut DraftedProcess, node: &Node) {
    texts(node).for_each(|name| process.need(name, json!({"condition": "started"})));
    for (name, need) in node.entries() {
        let condition = match text(need, "condition") {
            Some("service_healthy") => "ready".to_owned(),
            Some("service_completed_successfully") => "completed".to_owned(),
            Some("service_started") | None => "started".to_owned(),
            Some(other) => interpolate(other),
        };
        let mut terms = json!({ "condition": condition });
        if let Some(restart) = text(need, "restart").filter(|restart| *restart != "false") {
            terms["restart"] = interpolate(restart).into();
            process.note(
                "depends_on: `restart` also follows a crash; in Compose it follows only a command",
            );
        }
        if text(need, "required").is_some_and(|required| required != "true") {
            process.lose(format!("depends_on.{}.required", name.text));
        }
        process.need(&name.text, terms);
    }
}

fn restart(process: &mut DraftedProcess, written: &str) {
    let (policy, max) = written.split_once(':').unwrap_or((written, "0"));
    match policy {
        "no" | "false" => return,
        "unless-stopped" => process.set("restart", "always"),
        "always" | "on-failure" => process.set("restart", policy),
        _ => return process.lose(format!("restart: {written}")),
    }
    // In Docker, 0 means that the number of restarts has no limit. A config without `restart_max`
    // has no limit either.
    if max != "0" {
        process.set("restart_max", number(max));
    }
}

/// Converts `healthcheck:` to `readiness`. drainit stops probing when the process is ready, unlike
/// Compose.
fn readiness(process: &mut DraftedProcess, check: &Node) {
    let test = get(check, &["test"]);
    let is_text = test.is_some_and(|node| node.scalar().is_some());
    let kind = is_text.then_some("CMD-SHELL");
    let test: Vec<_> = kind.into_iter().chain(test.into_iter().flat_map(|it| texts(it))).collect();
    let is_off = text(check, "disable") == Some("true");
    if is_off || matches!(test[..], ["NONE", ..] | ["CMD-SHELL", "NONE"]) {
        return;
    }
    let shell: &[&str] = if test.first() == Some(&"CMD-SHELL") { &["sh", "-c"] } else { &[] };
    let (["CMD" | "CMD-SHELL", words @ ..], true) = (&test[..], test.len() > 1) else {
        return process.lose("healthcheck.test");
    };
    let command: Vec<_> = shell.iter().chain(words).map(|word| interpolate(word)).collect();
    // The `timeout` of `readiness` becomes the time after which Compose would call the service
    // unhealthy.
    let time = |key, otherwise| {
        let written = text(check, key).and_then(|text| duration(text).ok());
        written.unwrap_or(Duration::from_secs(otherwise))
    };
    let retries = text(check, "retries").and_then(|text| text.parse::<u32>().ok()).unwrap_or(3);
    let timeout =
        time("interval", 30).saturating_mul(retries).saturating_add(time("start_period", 0));
    let timeout = format!("{}s", timeout.as_secs().max(1));
    process.set("readiness", json!({"exec": command, "interval": "1s", "timeout": timeout}));
    let used = ["test", "interval", "retries", "start_period"];
    for (key, node) in check.entries() {
        let is_time = &*key.text != "test";
        let is_open = is_time && node.scalar().is_some_and(|text| text.contains('$'));
        if is_open || !used.contains(&&*key.text) {
            process.lose(format!("healthcheck.{}", key.text));
        }
    }
}

/// Converts a value that has the same form in Compose and in a config.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(|item| value(item)).collect(),
        Kind::Mapping(entries) => {
            entries.iter().map(|(key, it)| (key.text.to_string(), value(it))).collect()
        }
        _ => match node.scalar().map(interpolate) {
            Some(text) => number(&text),
            None => Value::Null,
        },
    }
}

/// Converts the variables in a text from Compose's syntax to that of a config.
fn interpolate(text: &str) -> String {
    let convert = |found: &Captures| match &found[1] {
        "$" => "$$".to_owned(),
        // Other forms, such as `:+`, have no counterpart in a config, so the `$` is escaped.
        "{" => "$${".to_owned(),
        variable if variable.ends_with(['-', '?']) => {
            // In a config, an empty variable always counts as unset, so only the form with `:`
            // exists.
            let (name, mark) = variable.split_at(variable.len() - 1);
            format!("${}:{mark}", name.trim_end_matches(':'))
        }
        variable if variable.starts_with('{') => format!("${variable}"),
        name => format!("${{{name}}}"),
    };
    VARIABLE.replace_all(text, convert).into_owned()
}

/// The scalars of a list. A node that is itself a scalar counts as a list of one item.
fn texts(node: &Node) -> impl Iterator<Item = &str> {
    node.scalar().into_iter().chain(node.items().iter().filter_map(|item| item.scalar()))
}

/// The value of a key, if it is a scalar.
fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    get(node, &[key])?.scalar()
}

#[cfg(test)]
mod tests {
    use super::interpolate;

    #[test]
    fn variables_are_converted() {
        for (compose, config) in [
            ("a $B c", "a ${B} c"),
            ("${B}", "${B}"),
            ("${B:-x}/${C-y}", "${B:-x}/${C:-y}"),
            ("${B?why}${C:?why}", "${B:?why}${C:?why}"),
            ("$$HOME", "$$HOME"),
            ("${B:+x}", "$${B:+x}"),
            ("5 $", "5 $"),
            ("${B:-${C-z}}", "${B:-${C:-z}}"),
        ] {
            assert_eq!(interpolate(compose), config, "{compose}");
        }
    }
}
