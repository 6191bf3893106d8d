//! Finds the files that a pattern names, as Python's `glob` does: `*`, `?` and `[…]` match within
//! one name, and match no hidden file.

use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;

/// At most this many of the files that match a pattern are found.
const MOST_FILES: usize = 1000;

/// The files that match, sorted by their names. A relative pattern begins at `directory`.
pub(super) fn files(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in directory.join(pattern).components() {
        let text = part.as_os_str().to_string_lossy();
        let pattern = match part {
            Component::Normal(_) if text.contains(['*', '?', '[']) => of_name(&text),
            _ => None,
        };
        found = match pattern {
            Some(pattern) => found.iter().flat_map(|place| matching(place, &pattern)).collect(),
            None => found.into_iter().map(|place| place.join(part)).collect(),
        };
        found.truncate(MOST_FILES);
    }
    found.retain(|path| path.is_file());
    found
}

/// The pattern of a name as a regular expression.
fn of_name(pattern: &str) -> Option<Regex> {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let class = rest.strip_prefix('[').and_then(|inside| {
            let end = inside.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
            Some((&inside[..end], &inside[end + 1..]))
        });
        match (first, class) {
            ('*', _) => out.push_str(".*"),
            ('?', _) => out.push('.'),
            (_, Some((inside, more))) => {
                let inside = inside.replace('\\', r"\\").replace('[', r"\[");
                let inside = inside.strip_prefix('!').map(|it| format!("^{it}")).unwrap_or(inside);
                out.push_str(&format!("[{inside}]"));
                rest = more;
                continue;
            }
            _ => out.push_str(&regex_lite::escape(&first.to_string())),
        }
        rest = &rest[first.len_utf8()..];
    }
    out.push('$');
    Regex::new(&out).ok()
}

fn matching(directory: &Path, pattern: &Regex) -> Vec<PathBuf> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten().take(MOST_FILES);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_meant = |name: &String| {
        (!name.starts_with('.') || pattern.as_str().starts_with(r"^\.")) && pattern.is_match(name)
    };
    let mut names: Vec<_> = names.filter(is_meant).collect();
    names.sort_unstable();
    names.into_iter().map(|name| directory.join(name)).collect()
}
