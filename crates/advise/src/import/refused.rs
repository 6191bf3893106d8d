//! Finds the values of a draft that a config would refuse, and turns them into comments. The
//! config's own reader decides, so that `drainit check` accepts whatever is left.

use std::fmt::Write;
use std::sync::LazyLock;

use regex_lite::Regex;

use crate::import::draft::{Draft, flow};
use crate::load::{Environment, check_text};
use crate::pattern;

/// Matches the beginning of a variable.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\$\{(\w+)"));

pub(super) fn comment_out(draft: &mut Draft) {
    loop {
        let mut has_changed = false;
        for (process, key) in refused(draft) {
            has_changed |= draft.processes[process].refuse(key);
        }
        if !has_changed {
            return;
        }
    }
}

/// The keys that a config would refuse, each with the index of its process. The values of variables
/// are not known. A value with variables is therefore refused only if it is wrong in three cases: if
/// all variables are unset, if all variables are 1, and if all variables are `true`.
fn refused(draft: &Draft) -> Vec<(usize, &'static str)> {
    let (text, keys) = in_lines(draft);
    let wrong_in = |environment: &Environment| {
        let problems = check_text(&text, environment);
        let lines = problems.iter().filter(|it| it.is_error()).map(|it| it.line);
        let mut lines: Vec<_> = lines.collect();
        lines.dedup();
        lines
    };
    let without = wrong_in(&Environment::default());
    if without.is_empty() {
        return Vec::new();
    }
    let with = |value: &'static str| {
        let variables = VARIABLE.captures_iter(&text).map(|found| (found[1].to_owned(), value));
        wrong_in(&variables.collect())
    };
    let with = ["1", "true"].map(with);
    // Lines are counted from 1, and the first line has `processes:`.
    let key = |line: usize| keys.get(line.checked_sub(2)?).copied().flatten();
    let is_wrong = |line: &usize| with.iter().all(|lines| lines.contains(line));
    without.into_iter().filter(is_wrong).filter_map(key).collect()
}

/// The processes of the draft as YAML, with one line for each key. Also returns, for each line
/// after the first, its key.
fn in_lines(draft: &Draft) -> (String, Vec<Option<(usize, &'static str)>>) {
    let (mut text, mut keys) = ("processes:\n".to_owned(), Vec::new());
    for (index, process) in draft.processes.iter().enumerate() {
        let _ = writeln!(text, "  ? {}\n  :", flow(&process.name.clone().into()));
        keys.extend([None, None]);
        for (key, value) in process.entries() {
            let _ = writeln!(text, "    {key}: {}", flow(value));
            keys.push(Some((index, key)));
        }
    }
    (text, keys)
}
