//! Reads the options of `drainit exec` in the command of a container, as a config of one Envoy.

use serde_json::{Map, Value, json};

use crate::kubernetes::entry::{Entry, entry};
use crate::kubernetes::env;
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::{Container, Word, base};
use crate::load::diagnostics::problems::Problems;
use crate::load::{Diagnostic, Loaded, load_text_to_check};

/// The options with a value that have no counterpart here.
const OTHERS: [&str; 7] =
    ["-r", "--rewrite", "-e", "--remap-exit", "-p", "--parent-death-signal", "--stop-signal"];

/// The options of the drain with the keys of a config and the variables that stand for them.
const KEYS: [(&str, &str, &str); 4] = [
    ("--drain-envoy", "admin", "DRAINIT_DRAIN_ENVOY"),
    ("--drain-time", "time", "DRAINIT_DRAIN_TIME"),
    ("--drain-min", "min", "DRAINIT_DRAIN_MIN"),
    ("--grace-period", "grace_period", ""),
];

/// The config that `drainit exec` makes from its options. Returns `None` if the container does not
/// run `drainit exec`, and `Ok(None)` if there is nothing to check: no drain, a value that is not
/// known here, or a wrong value, which is reported.
pub(super) fn read(
    problems: &mut Problems,
    container: &Container,
    env: &PodEnv,
) -> Option<Result<Option<Loaded>, Vec<Diagnostic>>> {
    let words = match entry(container) {
        Entry::Drainit(words) => words,
        Entry::Image(words) if words.first().is_some_and(|word| base(&word.text) == "drainit") => {
            words[1..].to_vec()
        }
        _ => return None,
    };
    let (exec, words) = words.split_first().filter(|(exec, _)| exec.text == "exec")?;
    // The words of a script are not known.
    let Some(options) = options(problems, words, env) else { return Some(Ok(None)) };
    let mut drain = options;
    let grace_period = drain.remove("grace_period").unwrap_or_else(|| "30s".into());
    if !drain.contains_key("admin") {
        return Some(Ok(None));
    }
    let config = json!({
        "shutdown": {"grace_period": grace_period},
        "processes": {"command": {"command": ["envoy"], "drain": {"envoy": drain}}},
    });
    let (wrong, loaded) = match load_text_to_check(&config.to_string(), &env.environment()) {
        Ok(mut loaded) => (std::mem::take(&mut loaded.warnings), Some(loaded)),
        Err(wrong) => (wrong, None),
    };
    for wrong in wrong {
        // `drainit exec` refuses a `min` that is longer than `time`.
        let problem = match wrong.is_error() || wrong.message.starts_with("`min` is cut") {
            true => {
                problems.error(exec.span, format!("drainit would not start: {}", wrong.message))
            }
            false => problems.warning(exec.span, wrong.message),
        };
        problem.help(wrong.help.unwrap_or_else(|| "correct the option".to_owned()));
    }
    Some(Ok(loaded))
}

/// The values of the options in [`KEYS`], by their keys. `None` if a value is not known here.
fn options(problems: &mut Problems, words: &[Word], env: &PodEnv) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    for (_, key, variable) in KEYS {
        match env.get(variable) {
            env::Value::Known(word) if !word.text.is_empty() => {
                found.insert(key.to_owned(), escaped(&word.text));
            }
            env::Value::Unknown(_) => return None,
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
        let Some((_, key, _)) = KEYS.iter().find(|(option, ..)| *option == name) else {
            let is_known = OTHERS.contains(&name) || is_flag(name);
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
        found.insert((*key).to_owned(), escaped(&value));
    }
    Some(found)
}

fn is_flag(text: &str) -> bool {
    const FLAGS: [&str; 4] = ["--group", "--subreaper", "--no-subreaper", "--verbose"];
    let is_short = |flags: &str| flags.chars().all(|flag| "gsv".contains(flag));
    FLAGS.contains(&text) || text.strip_prefix('-').is_some_and(is_short)
}

/// `drainit exec` does not expand variables.
fn escaped(text: &str) -> Value {
    text.replace('$', "$$").into()
}
