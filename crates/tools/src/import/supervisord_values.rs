//! Single values of a supervisord.conf.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

use crate::import::draft::literal;
use crate::import::pattern;

/// `%(NAME)s` and `%(NAME)02d`.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| pattern(r"%(?:%|\(([^)]*)\)[^sd]*[sd])"));
/// A part of `A="b",C=d`.
static PART: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?:"[^"]*"|'[^']*'|[^,\n"'])+"#));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| pattern(r#""([^"]*)"|'([^']*)'"#));

/// As Python's `int` parses it.
pub(super) fn int(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// Common spellings of true; `only_if` compares exactly.
pub(super) const TRUTHS: [&str; 10] =
    ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "1"];

/// As supervisord parses it; `None` for a variable.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The values of placeholders.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) program: &'a str,
    /// That of a copy.
    pub(super) number: &'a str,
    /// Whose values are expanded already. The last one of a name counts.
    pub(super) variables: Vec<(String, String)>,
}

impl Names<'_> {
    /// Expands `%(…)s`, or converts it to a variable of a config.
    pub(super) fn expand(&self, text: &str) -> String {
        let expand = |found: &Captures| match found.get(1).map(|name| name.as_str()) {
            None => "%".to_owned(),
            // The two differ only in a [group:…].
            Some("program_name" | "group_name") => self.program.to_owned(),
            Some("process_num") => self.number.to_owned(),
            Some("here") => ".".to_owned(),
            Some("host_node_name") => "${HOSTNAME}".to_owned(),
            Some(name) => match name.strip_prefix("ENV_") {
                Some(name) => {
                    let own = self.variables.iter().rev().find(|(own, _)| own == name);
                    own.map_or_else(|| format!("${{{name}}}"), |(_, value)| value.clone())
                }
                None => found[0].to_owned(),
            },
        };
        PLACEHOLDER.replace_all(&literal(text), expand).into_owned()
    }

    /// Parses and expands `A="b",C=d`. Also returns comments on what is not `NAME=VALUE`.
    pub(super) fn variables(&self, text: Option<&str>) -> (Vec<(String, String)>, Vec<String>) {
        let (mut variables, mut odd) = (Vec::new(), Vec::new());
        for part in PART.find_iter(text.unwrap_or_default()) {
            let part = QUOTED.replace_all(part.as_str(), "$1$2");
            match part.split_once('=') {
                Some((name, value)) => {
                    variables.push((name.trim().to_owned(), self.expand(value.trim())));
                }
                None if part.trim().is_empty() => {}
                None => odd.push(format!("environment: `{}`: not `NAME=VALUE`", part.trim())),
            }
        }
        (variables, odd)
    }
}

/// The comments on placeholders without a counterpart.
pub(super) fn unknown_placeholders(key: &str, raw: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if raw.contains("%(here)s") {
        notes.push(format!(
            "{key}: `%(here)s`, the directory of supervisord.conf, is `.` here: write the path instead"
        ));
    }
    if Names::default().expand(raw).contains("%(") {
        notes.push(format!("{key}: unknown `%(…)`"));
    }
    notes
}
