//! Single values of a supervisord.conf.

use super::draft::{Process, literal};
use super::ini::Section;

pub(super) fn number(section: &Section, key: &str) -> Option<i64> {
    section.get(key)?.parse().ok()
}

/// As supervisord takes it; of a variable nothing is known.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `A="b",C=d`.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
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
    for part in parts {
        out.extend(
            part.split_once('=')
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())),
        );
    }
    out
}

/// Text with `%(…)s` put in, or written as a variable of a config.
pub(super) fn expand(text: &str, program: &str, number: i64) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&literal(&rest[..at]));
        rest = &rest[at..];
        let (written, len) = match placeholder(rest) {
            // Unless a [group:…] takes it in.
            Some(("program_name" | "group_name", _, len)) => (program.to_owned(), len),
            Some(("process_num", format, len)) => {
                let width = format.trim_end_matches('d').parse().unwrap_or(0);
                let zeros = format.starts_with('0');
                let padded = if zeros { format!("{number:0width$}") } else { number.to_string() };
                (padded, len)
            }
            Some(("here", _, len)) => (".".to_owned(), len),
            Some(("host_node_name", _, len)) => ("${HOSTNAME}".to_owned(), len),
            Some((name, _, len)) if name.starts_with("ENV_") => {
                (format!("${{{}}}", &name[4..]), len)
            }
            _ if rest.starts_with("%%") => ("%".to_owned(), 2),
            _ => ("%".to_owned(), 1),
        };
        out.push_str(&written);
        rest = &rest[len..];
    }
    out + &literal(rest)
}

/// The name, the format and the length of a `%(name)s` at the beginning of a text.
fn placeholder(text: &str) -> Option<(&str, &str, usize)> {
    let inner = text.strip_prefix("%(")?;
    let (name, rest) = inner.split_once(')')?;
    let len = rest.find(['s', 'd'])? + 1;
    Some((name, &rest[..len], 2 + name.len() + 1 + len))
}

/// Those that have no counterpart.
pub(super) fn placeholders(process: &mut Process, key: &str, raw: &str) {
    if raw.contains("%(here)s") {
        process.note(format!(
            "{key}: `%(here)s` is the directory of supervisord.conf, and `.` here: put the path in its place"
        ));
    }
    if expand(raw, "", 0).contains("%(") {
        process.note(format!("{key}: its `%(…)` could not be understood"));
    }
}
