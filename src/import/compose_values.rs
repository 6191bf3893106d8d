//! Converts the values of a Compose service.

use crate::config::Resource;
use crate::import::draft::{Process, Value};
use crate::import::procfile;
use crate::import::shell_words;
use crate::import::shell_words::Split;
use crate::import::yaml::{Entries, get, items};
use crate::load::values::duration;
use crate::load::yaml::node::{Kind, Node};
use std::time::Duration;

/// Converts the variables of a text from Compose's syntax to a config's.
pub(super) fn interpolate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = |text: &str| {
            text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
        };
        let (written, len) = if rest.starts_with("$$") {
            ("$$".to_owned(), 2)
        } else if let Some(inner) = rest.strip_prefix("${") {
            let end = name(inner);
            match inner[end..].chars().next() {
                // A config has only the forms in which set but empty counts as unset.
                Some(mark @ ('-' | '?')) => (format!("${{{}:{mark}", &inner[..end]), 2 + end + 1),
                _ if inner[end..].starts_with(":-") || inner[end..].starts_with(":?") => {
                    (format!("${{{}{}", &inner[..end], &inner[end..end + 2]), 2 + end + 2)
                }
                Some('}') => (format!("${{{}}}", &inner[..end]), 2 + end + 1),
                // `:+` has no counterpart and becomes text.
                _ => ("$${".to_owned(), 2),
            }
        } else {
            let end = name(&rest[1..]);
            if end == 0 {
                ("$".to_owned(), 1)
            } else {
                (format!("${{{}}}", &rest[1..=end]), 1 + end)
            }
        };
        out.push_str(&written);
        rest = &rest[len..];
    }
    out + rest
}

/// Reads `command:` or `entrypoint:`. Compose splits a string after it has expanded variables.
pub(super) fn words(process: &mut Process, node: &Node) -> Vec<String> {
    let Kind::Scalar { text, .. } = &node.kind else {
        return items(node).into_iter().filter_map(Node::scalar).map(interpolate).collect();
    };
    let line = interpolate(text);
    match shell_words::split(&line) {
        Split::Words(words) => words,
        Split::Variable(words) => {
            process.note(shell_words::ONE_ARGUMENT);
            words
        }
        Split::OnlyVariable => {
            process.note(format!("command: {}", shell_words::ONLY_VARIABLE));
            ["sh", "-c", &format!("exec {line}")].map(str::to_owned).to_vec()
        }
    }
}

/// Whether a text has a variable with one of these marks after its name, as `${A:+b}` has.
pub(super) fn has_mark(node: &Node, marks: &[&str]) -> bool {
    match &node.kind {
        Kind::Scalar { text, .. } => text.replace("$$", "").split("${").skip(1).any(|rest| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            marks.iter().any(|mark| rest.starts_with(mark))
        }),
        Kind::Sequence(items) => items.iter().any(|item| has_mark(item, marks)),
        Kind::Mapping(entries) => entries.iter().any(|(_, value)| has_mark(value, marks)),
        Kind::Null => false,
    }
}

/// Reads `environment:`, a mapping or a list. Names without a value need no entry: a process
/// inherits the container's variables.
pub(super) fn environment(process: &mut Process, node: &Node) {
    let mut variables: Vec<(String, Value)> = Vec::new();
    for (key, value) in node.entries() {
        variables.extend(
            value.scalar().map(|value| (key.text.to_string(), Value::Text(interpolate(value)))),
        );
    }
    for item in items(node).into_iter().filter_map(Node::scalar) {
        variables.extend(
            item.split_once('=')
                .map(|(name, value)| (name.to_owned(), Value::Text(interpolate(value)))),
        );
    }
    if !variables.is_empty() {
        process.set("environment", Value::Map(variables));
    }
}

/// Reads `depends_on:`, a list of names or a mapping with conditions.
pub(super) fn depends_on(process: &mut Process, node: &Node) {
    if !matches!(node.kind, Kind::Mapping(_)) {
        let names: Vec<_> =
            items(node).into_iter().filter_map(Node::scalar).map(str::to_owned).collect();
        if !names.is_empty() {
            process.set("depends_on", Value::List(names));
        }
        return;
    }
    let mut needs = Vec::new();
    for (name, need) in node.entries() {
        let of = |key| get(need.entries(), key).and_then(|node| node.scalar());
        let condition = match of("condition") {
            Some("service_healthy") => "ready",
            Some("service_completed_successfully") => "completed",
            Some("service_started") | None => "started",
            Some(other) => {
                process.note(format!(
                    "depends_on: condition {other} of {} is unknown here: write `started`, `ready` or `completed`",
                    name.text
                ));
                "started"
            }
        };
        let mut terms = vec![("condition".to_owned(), condition.into())];
        if let Some(restart) = of("restart").filter(|restart| *restart != "false") {
            terms.push(("restart".to_owned(), Value::Text(interpolate(restart))));
            process.note(
                "depends_on: with `restart` it follows a crash, too; in Compose only a command",
            );
        }
        needs.push((name.text.to_string(), Value::Map(terms)));
        if of("required").is_some_and(|required| required != "true") {
            process
                .note(format!("{} must exist; give it an `only_if` if it is optional", name.text));
        }
    }
    process.set("depends_on", Value::Map(needs));
}

/// Reads `ulimits:`, whose form is the same in a config.
pub(super) fn ulimits(process: &mut Process, node: &Node) {
    let known = |name: &str| Resource::ALL.iter().any(|(resource, _)| *resource == name);
    let limit =
        |text: &str| text.parse().map_or_else(|_| Value::Text(interpolate(text)), Value::Number);
    let text = |node: &Node| node.scalar().map(limit);
    let mut limits = Vec::new();
    for (name, limit) in node.entries() {
        let of = |key| get(limit.entries(), key).and_then(|node| text(node));
        let value = match (text(limit), of("soft"), of("hard")) {
            (Some(both), ..) => Some(both),
            (_, Some(soft), Some(hard)) => {
                Some(Value::Map(vec![("soft".to_owned(), soft), ("hard".to_owned(), hard)]))
            }
            _ => None,
        };
        match value.filter(|_| known(&name.text)) {
            Some(value) => limits.push((name.text.to_string(), value)),
            None => process.note(format!("ulimits: {} is not converted", name.text)),
        }
    }
    if limits.is_empty() {
        process.note("ulimits: nothing to convert");
    } else {
        process.set("ulimits", Value::Map(limits));
    }
}

/// Reads `healthcheck:`. A config uses it only at the start.
pub(super) fn readiness(process: &mut Process, check: Entries<'_>) {
    let test = get(check, "test");
    let mut list: Vec<String> = test
        .map(|node| items(node).into_iter().filter_map(Node::scalar).map(str::to_owned).collect())
        .unwrap_or_default();
    let disable = get(check, "disable").and_then(|node| node.scalar());
    if let Some(unknown) = disable.filter(|value| !matches!(*value, "true" | "false")) {
        process
            .note(format!("healthcheck: disable: {unknown} is unknown here: the check is enabled"));
    }
    let off = disable == Some("true");
    if off || list.first().is_some_and(|word| word == "NONE") {
        return;
    }
    let is_text = test.is_some_and(|node| matches!(node.kind, Kind::Scalar { .. }));
    if list.is_empty() {
        process.note("its healthcheck is in the image: add it as `readiness: {exec: [...]}`");
        return;
    }
    if is_text {
        list.insert(0, "CMD-SHELL".to_owned());
    }
    let interpolated = |words: &[String]| words.iter().map(|word| interpolate(word)).collect();
    let command: Vec<String> = match list.as_slice() {
        [kind, words @ ..] if kind == "CMD" && !words.is_empty() => interpolated(words),
        [kind, script] if kind == "CMD-SHELL" => shell_probe(script),
        // Further words are arguments of the script.
        [kind, words @ ..] if kind == "CMD-SHELL" && !words.is_empty() => {
            [["sh", "-c"].map(str::to_owned).to_vec(), interpolated(words)].concat()
        }
        _ => {
            process.note("healthcheck: not converted: test");
            return;
        }
    };
    let of = |key| get(check, key).and_then(|node| node.scalar());
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let is_time = |text: &str| duration(text).is_ok();
    let times = ["interval", "start_period"];
    if times.into_iter().filter_map(of).any(|text| !is_time(text))
        || of("retries").is_some_and(|text| !is_number(text))
    {
        process.note("its healthcheck has variables in its times: the `timeout` here uses Compose's defaults");
    }
    let time = |key, default| {
        let text = of(key);
        text.and_then(|text| duration(text).ok()).unwrap_or(Duration::from_secs(default))
    };
    let used = ["test", "disable", "interval", "retries", "start_period"];
    let keys = check.iter().map(|(key, _)| &*key.text);
    let lost: Vec<_> = keys.filter(|key| !used.contains(key) && !key.starts_with("x-")).collect();
    if !lost.is_empty() {
        process.note(format!("healthcheck: not converted: {}", lost.join(", ")));
    }
    // The time after which Compose counts it as unhealthy.
    let retries = of("retries").and_then(|retries| retries.parse().ok()).unwrap_or(3_u32);
    let timeout = time("start_period", 0) + time("interval", 30).saturating_mul(retries);
    let probe = vec![
        ("exec".to_owned(), Value::List(command)),
        ("interval".to_owned(), "1s".into()),
        ("timeout".to_owned(), Value::Text(format!("{}s", timeout.as_secs().max(1)))),
    ];
    process.set_with_note(
        "readiness",
        Value::Map(probe),
        "probed each second until it is ready, not after that, and each probe is killed after 10s",
    );
}

/// Converts the script of a healthcheck like a command: without a shell where possible.
fn shell_probe(script: &str) -> Vec<String> {
    let mut probe = Process::new("");
    procfile::set_command(&mut probe, script);
    match probe.get("command") {
        Some(Value::List(words))
            if probe.get("environment").is_none()
                && words[0] != "sh"
                // Compose expands variables in single quotes, too.
                && !script.contains('$') =>
        {
            words.clone()
        }
        _ => vec!["sh".to_owned(), "-c".to_owned(), interpolate(script)],
    }
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
