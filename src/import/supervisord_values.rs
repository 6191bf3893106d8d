//! Single values of a supervisord.conf.

use crate::import::draft::{Process, literal};
use crate::import::ini::Section;

pub(super) fn number(section: &Section, key: &str) -> Option<i64> {
    int(section.get(key)?)
}

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

/// Parses `A="b",C=d`. Also returns the parts that are not `NAME=VALUE`.
pub(super) fn variables(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut out, mut odd): (Vec<(String, String)>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut part, mut quote) = (String::new(), None);
    let mut parts = Vec::new();
    for c in text.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == ',' || c == '\n' => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    for part in parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((name, value)) => out.push((name.trim().to_owned(), value.trim().to_owned())),
            None => odd.push(format!("`{part}`")),
        }
    }
    (out, odd)
}

/// Expands `%(…)s`, or converts it to a variable of a config.
pub(super) fn expand(text: &str, program: &str, number: i64) -> String {
    expand_with(text, program, number, &[])
}

/// The same where the program has variables of its own; their values are expanded already.
pub(super) fn expand_with(
    text: &str,
    program: &str,
    number: i64,
    own: &[(String, String)],
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&literal(&rest[..at]));
        rest = &rest[at..];
        let (written, len) = match placeholder(rest) {
            // The two differ only in a [group:…].
            Some(("program_name" | "group_name", _, len)) => (program.to_owned(), len),
            Some(("process_num", format, len)) => {
                let width = usize::from(format.trim_end_matches('d').parse().unwrap_or(0_u8));
                let zeros = format.starts_with('0');
                let padded = if zeros { format!("{number:0width$}") } else { number.to_string() };
                (padded, len)
            }
            Some(("here", _, len)) => (".".to_owned(), len),
            Some(("host_node_name", _, len)) => ("${HOSTNAME}".to_owned(), len),
            Some((name, _, len)) if name.starts_with("ENV_") => {
                let name = &name[4..];
                let value = own.iter().rev().find(|(own, _)| own == name);
                (value.map_or_else(|| format!("${{{name}}}"), |(_, value)| value.clone()), len)
            }
            _ if rest.starts_with("%%") => ("%".to_owned(), 2),
            _ => ("%".to_owned(), 1),
        };
        out.push_str(&written);
        rest = &rest[len..];
    }
    out + &literal(rest)
}

/// The name, format and length of a `%(name)s` at the start of a text.
fn placeholder(text: &str) -> Option<(&str, &str, usize)> {
    let inner = text.strip_prefix("%(")?;
    let (name, rest) = inner.split_once(')')?;
    let len = rest.find(['s', 'd'])? + 1;
    Some((name, &rest[..len], 2 + name.len() + 1 + len))
}

/// Comments on placeholders without a counterpart.
pub(super) fn placeholders(process: &mut Process, key: &str, raw: &str) {
    unknown_placeholders(key, raw).into_iter().for_each(|note| process.note(note));
}

/// The comments on placeholders without a counterpart.
pub(super) fn unknown_placeholders(key: &str, raw: &str) -> Vec<String> {
    let mut notes = Vec::new();
    if raw.contains("%(here)s") {
        notes.push(format!(
            "{key}: `%(here)s`, the directory of supervisord.conf, is `.` here: write the path instead"
        ));
    }
    if expand(raw, "", 0).contains("%(") {
        notes.push(format!("{key}: unknown `%(…)`"));
    }
    notes
}
