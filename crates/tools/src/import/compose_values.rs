//! Converts the values of a Compose service.

use std::sync::LazyLock;
use std::time::Duration;

use regex_lite::{Captures, Regex};

use crate::config::Resource;
use crate::import::draft::{Need, Process, Value};
use crate::import::pattern;
use crate::import::shell_words;
use crate::import::shell_words::Line;
use crate::import::yaml::{items, text, texts};
use crate::load::values::duration;
use crate::load::yaml::node::{Kind, Node, get};

/// The beginning of a variable, up to its default or message.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$(\$|\{\w*(?::?[-?]|\})|\{|\w+)"));

/// Converts the variables of a text from Compose's syntax to a config's.
pub(super) fn interpolate(text: &str) -> String {
    let convert = |found: &Captures| match &found[1] {
        "$" => "$$".to_owned(),
        // `:+` has no counterpart and becomes text.
        "{" => "$${".to_owned(),
        variable if variable.ends_with(['-', '?']) => {
            // A config has only the forms in which set but empty counts as unset.
            let (name, mark) = variable.split_at(variable.len() - 1);
            format!("${}:{mark}", name.trim_end_matches(':'))
        }
        variable if variable.starts_with('{') => format!("${variable}"),
        name => format!("${{{name}}}"),
    };
    VARIABLE.replace_all(text, convert).into_owned()
}

/// Reads `command:` or `entrypoint:`. Compose splits a string after it has expanded variables.
pub(super) fn words(process: &mut Process, node: &Node) -> Vec<String> {
    let Some(line) = node.scalar().map(interpolate) else {
        return texts(node).map(interpolate).collect();
    };
    let (words, note) = shell_words::split(&line);
    note.into_iter().for_each(|note| process.note(note));
    words
}

/// Reads `environment:`, a mapping or a list. Names without a value need no entry: a process
/// inherits the container's variables.
pub(super) fn environment(process: &mut Process, node: &Node) {
    let entries = node.entries().iter();
    let of_mapping = entries.filter_map(|(key, value)| Some((&*key.text, value.scalar()?)));
    let of_list = texts(node).filter_map(|item| item.split_once('='));
    let variables = of_mapping.chain(of_list);
    process.with_environment(
        variables.map(|(name, value)| (name.to_owned(), interpolate(value).into())).collect(),
    );
}

pub(super) fn env_file(process: &mut Process, node: &Node) {
    let mut files = Vec::new();
    for item in items(node) {
        let Some(path) = item.scalar().or_else(|| text(item, "path")) else { continue };
        let path = interpolate(path).into();
        files.push(match text(item, "required") {
            None | Some("true") => path,
            Some(is) => Value::map([("path", path), ("required", interpolate(is).into())]),
        });
        lose_others(process, "env_file", item, &["path", "required"]);
    }
    process.set("env_file", Value::List(files));
}

/// Adds the other keys of a mapping to those without a counterpart.
fn lose_others(process: &mut Process, parent: &str, node: &Node, known: &[&str]) {
    let keys = node.entries().iter().map(|(key, _)| &*key.text);
    for key in keys.filter(|key| !known.contains(key) && !key.starts_with("x-")) {
        process.lose(format!("{parent}.{key}"));
    }
}

/// Reads `depends_on:`, a list of names or a mapping with conditions.
pub(super) fn depends_on(process: &mut Process, node: &Node) {
    if !matches!(node.kind, Kind::Mapping(_)) {
        let needs = texts(node).map(|name| Need { name: name.to_owned(), ..Need::default() });
        process.needs = needs.collect();
    }
    for (name, need) in node.entries() {
        let condition = match text(need, "condition") {
            Some("service_healthy") => "ready",
            Some("service_completed_successfully") => "completed",
            Some("service_started") | None => "started",
            Some(_) => {
                process.lose(format!("depends_on.{}.condition", name.text));
                "started"
            }
        };
        let restart = text(need, "restart").filter(|restart| *restart != "false").map(interpolate);
        if restart.is_some() {
            process.note(
                "depends_on: with `restart` it follows a crash, too; in Compose only a command",
            );
        }
        if text(need, "required").is_some_and(|required| required != "true") {
            process.lose(format!("depends_on.{}.required", name.text));
        }
        process.needs.push(Need {
            name: name.text.to_string(),
            condition: Some(condition),
            restart,
        });
    }
}

/// Reads `ulimits:`, whose form is the same in a config.
pub(super) fn profiles(process: &mut Process, node: &Node) {
    let Kind::Sequence(items) = &node.kind else { return process.lose("profiles") };
    let texts = items.iter().filter_map(|item| Some(Value::Text(interpolate(item.scalar()?))));
    process.set("profiles", Value::List(texts.collect()));
}

pub(super) fn ulimits(process: &mut Process, node: &Node) {
    let number = |node: &Node| Some(Value::number(interpolate(node.scalar()?)));
    let mut limits = Vec::new();
    for (name, limit) in node.entries() {
        let pair =
            limit.entries().iter().map(|(key, node)| Some((key.text.to_string(), number(node)?)));
        let pair = pair.collect::<Option<Vec<_>>>().filter(|pair| !pair.is_empty());
        let value = number(limit).or_else(|| pair.map(Value::Map));
        let is_known = Resource::ALL.iter().any(|(resource, _)| *resource == &*name.text);
        match value.filter(|_| is_known) {
            Some(value) => limits.push((name.text.to_string(), value)),
            None => process.lose(format!("ulimits.{}", name.text)),
        }
    }
    match limits.is_empty() {
        true => process.lose("ulimits"),
        false => process.set("ulimits", Value::Map(limits)),
    }
}

pub(super) fn restart(process: &mut Process, written: &str) {
    // `${RESTART:-always}`: the default counts.
    let default = written.strip_prefix("${").and_then(|rest| rest.split_once('-'));
    let policy = default.map_or(written, |(_, default)| default.trim_end_matches('}'));
    let (policy, max) = policy.split_once(':').unwrap_or((policy, "0"));
    match policy {
        "always" | "unless-stopped" => process.set("restart", "always"),
        "on-failure" => process.set("restart", "on-failure"),
        "no" | "false" => {}
        _ => process.note(format!(
            "restart: {written} is unknown here: write `no`, `on-failure` or `always`"
        )),
    }
    // Docker's 0 means no limit, which is the default of a config.
    if policy == "on-failure" && max != "0" {
        process.set("restart_max", Value::number(max.to_owned()));
    }
}

/// Reads `healthcheck:`. A config uses it only at the start.
pub(super) fn readiness(process: &mut Process, check: &Node) {
    let test = get(check, &["test"]);
    let is_text = test.is_some_and(|node| node.scalar().is_some());
    let kind = is_text.then_some("CMD-SHELL");
    let test: Vec<_> = kind.into_iter().chain(test.into_iter().flat_map(|it| texts(it))).collect();
    let is_off = text(check, "disable") == Some("true");
    if is_off || matches!(test[..], ["NONE", ..] | ["CMD-SHELL", "NONE"]) {
        return;
    }
    let command: Vec<String> = match test[..] {
        [] => {
            process.note("its healthcheck is in the image: add it as `readiness: {exec: [...]}`");
            return;
        }
        ["CMD", ref words @ ..] if !words.is_empty() => {
            words.iter().map(|it| interpolate(it)).collect()
        }
        ["CMD-SHELL", script] => shell_probe(script),
        // Further words are arguments of the script.
        ["CMD-SHELL", ref words @ ..] if !words.is_empty() => {
            ["sh", "-c"].iter().chain(words).map(|it| interpolate(it)).collect()
        }
        _ => {
            process.lose("healthcheck.test");
            return;
        }
    };
    // The time after which Compose counts it as unhealthy.
    let time = |key, default| text(check, key).map_or(Ok(Duration::from_secs(default)), duration);
    let retries = text(check, "retries").map_or(Ok(3), str::parse::<u32>);
    let timeout = match (time("start_period", 0), time("interval", 30), retries) {
        (Ok(start), Ok(interval), Ok(retries)) => {
            start.saturating_add(interval.saturating_mul(retries))
        }
        _ => {
            process.note("its healthcheck has variables in its times: the `timeout` here uses Compose's defaults");
            Duration::from_secs(90)
        }
    };
    lose_others(process, "healthcheck", check, &["test", "interval", "retries", "start_period"]);
    let timeout = format!("{}s", timeout.as_secs().max(1));
    let command = ("exec", command.into());
    process.set(
        "readiness",
        Value::map([command, ("interval", "1s".into()), ("timeout", timeout.into())]),
    );
    process.note_at(
        "readiness",
        "probed each second until it is ready, not after that, and each probe is killed after 10s",
    );
}

/// Converts the script of a healthcheck, without a shell where that makes no difference.
fn shell_probe(script: &str) -> Vec<String> {
    match shell_words::read(script) {
        // Compose expands variables in single quotes, too.
        Line::Simple(env, words) if env.is_empty() && !script.contains('$') => words,
        _ => ["sh".to_owned(), "-c".to_owned(), interpolate(script)].into(),
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
