//! Reads the options of `drainit exec` in the command of a container, as a config of one Envoy.

use serde_json::{Map, Value, json};

use drainit_config::exec_options::{ExecOption, GRACE_PERIOD, LISTENERS, OPTIONS, READINESS};

use crate::kubernetes::entry::{EntryPoint, entry};
use crate::kubernetes::env;
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::{Container, Word, base};
use crate::language::diagnostics::problems::Problems;
use crate::language::span::Span;
use crate::load::{Diagnostic, Loaded, load_text_to_check};

/// The options with a value that are not in [`OPTIONS`].
const OTHERS: [&str; 7] =
    ["-r", "--rewrite", "-e", "--remap-exit", "-p", "--parent-death-signal", "--stop-signal"];
/// The options that cannot be used with a drain.
const REFUSED: [&str; 4] = ["-r", "--rewrite", "--group", "--no-subreaper"];

/// The config that `drainit exec` makes from its options. Returns `None` if the container does not
/// run `drainit exec`, and `Ok(None)` if there is nothing to check: no drain, a value that is not
/// known here, or a wrong value, which is reported.
pub(super) fn read(
    problems: &mut Problems,
    container: &Container,
    env: &PodEnv,
) -> Option<Result<Option<Loaded>, Vec<Diagnostic>>> {
    let words = match entry(container) {
        EntryPoint::Drainit(words) => words,
        EntryPoint::Image(words)
            if words.first().is_some_and(|word| base(&word.text) == "drainit") =>
        {
            words[1..].to_vec()
        }
        _ => return None,
    };
    let (exec, words) = words.split_first().filter(|(exec, _)| exec.text == "exec")?;
    // The words of a script are not known.
    let mut refused = Vec::new();
    let Some(mut drain) = options(problems, words, env, &mut refused) else {
        return Some(Ok(None));
    };
    let names: Vec<_> = drain.iter().map(|it| (it.key, it.name, it.span)).collect();
    let mut take = |key: &str| {
        let place = drain.iter().position(|it| it.key == key)?;
        Some(drain.swap_remove(place).value)
    };
    let grace_period = take(GRACE_PERIOD).unwrap_or_else(|| "30s".into());
    let readiness = take(READINESS);
    let drain: Map<_, _> = drain.into_iter().map(|it| (it.key.to_owned(), it.value)).collect();
    let Some(admin) = drain.get("admin").cloned() else {
        if let Some((_, name, span)) = names.iter().find(|(key, ..)| drain.contains_key(*key)) {
            problems
                .warning(*span, format!("`{name}` has no effect: there is no drain"))
                .help("name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`");
        }
        return Some(Ok(None));
    };
    for word in refused {
        let message = format!("drainit would not start: {} cannot be used with a drain", word.text);
        problems.error(word.span, message).help("remove it, or the drain");
    }
    let mut process = json!({"command": ["envoy"], "drain": {"envoy": drain}});
    if let Some(timeout) = readiness {
        process["readiness"] = json!({"envoy": admin, "timeout": timeout});
    }
    let config = json!({
        "shutdown": {"grace_period": grace_period},
        "processes": {"command": process},
    });
    let (wrong, loaded) = match load_text_to_check(&config.to_string(), &env.environment()) {
        Ok(mut loaded) => (std::mem::take(&mut loaded.warnings), Some(loaded)),
        Err(wrong) => (wrong, None),
    };
    for wrong in wrong {
        // The message names the key of a config, but the user has written an option or a variable.
        let key = |it: &&(&str, &str, Span)| {
            let key = it.0.rsplit('.').next().unwrap_or(it.0);
            wrong.message.starts_with(&format!("`{key}` is "))
        };
        let (message, span) = match names.iter().find(key) {
            Some((_, name, span)) => {
                let (_, rest) = wrong.message.split_once(" is ").unwrap_or_default();
                (format!("`{name}` is {rest}"), *span)
            }
            None => (wrong.message.clone(), exec.span),
        };
        // `drainit exec` refuses a `min` that is longer than `time`.
        let problem = match wrong.is_error() || wrong.message.starts_with("`min` is cut") {
            true => problems.error(span, format!("drainit would not start: {message}")),
            false => problems.warning(span, message),
        };
        problem.help(wrong.help.unwrap_or_else(|| "correct the option".to_owned()));
    }
    Some(Ok(loaded))
}

/// The value of a key, with its place and with the name of the option or variable that has it.
struct Given {
    key: &'static str,
    name: &'static str,
    span: Span,
    value: Value,
}

/// The values of [`OPTIONS`], by their keys. `None` if a value is not known here. Adds the options
/// that cannot be used with a drain to `refused`.
fn options<'a>(
    problems: &mut Problems,
    words: &'a [Word],
    env: &PodEnv,
    refused: &mut Vec<&'a Word>,
) -> Option<Vec<Given>> {
    let mut found: Vec<Given> = Vec::new();
    for it in OPTIONS {
        match env.get(it.variable) {
            env::PodValue::Known(word) if !word.text.is_empty() => {
                let value = value_of(it, &word.text);
                found.push(Given { key: it.key, name: it.variable, span: word.span, value });
            }
            env::PodValue::Unknown(_) => return None,
            _ => {}
        }
    }
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = env.substitute(&word.text)?;
        if text == "--" || !text.starts_with('-') {
            break;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (&*text, None),
        };
        let Some(it) = OPTIONS.into_iter().find(|it| it.option == name) else {
            let is_known = OTHERS.contains(&name) || is_flag(name);
            if REFUSED.contains(&name)
                || is_flag(name) && !name.starts_with("--") && name.contains('g')
            {
                refused.push(word);
            }
            if OTHERS.contains(&name) && value.is_none() {
                rest.next();
            } else if !is_known {
                let message = format!("`drainit exec` has no option `{name}`");
                problems
                    .error(word.span, message)
                    .help("correct it; the command and its arguments come after `--`");
            }
            continue;
        };
        let value = match value {
            Some(value) => value,
            None => env.substitute(&rest.next()?.text)?,
        };
        let value = value_of(it, &value);
        // If an option is repeated, its names become one list. An option overrides its variable.
        let before = found.iter_mut().find(|before| before.key == it.key);
        match (before, value) {
            (Some(Given { name, value: Value::Array(names), .. }), Value::Array(more))
                if *name == it.option =>
            {
                names.extend(more);
            }
            (before, value) => {
                let new = Given { key: it.key, name: it.option, span: word.span, value };
                match before {
                    Some(before) => *before = new,
                    None => found.push(new),
                }
            }
        }
    }
    Some(found)
}

fn is_flag(text: &str) -> bool {
    const FLAGS: [&str; 4] = ["--group", "--subreaper", "--no-subreaper", "--verbose"];
    let is_short = |flags: &str| flags.chars().all(|flag| "gsv".contains(flag));
    FLAGS.contains(&text) || text.strip_prefix('-').is_some_and(is_short)
}

fn value_of(it: ExecOption, text: &str) -> Value {
    match it.key {
        LISTENERS => text.split(',').map(escaped).collect(),
        _ => escaped(text),
    }
}

/// `drainit exec` does not expand variables.
fn escaped(text: &str) -> Value {
    text.replace('$', "$$").into()
}
