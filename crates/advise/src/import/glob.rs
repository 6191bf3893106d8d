//! Finds the files that a pattern names, as Python's `glob` does: `*`, `?` and `[…]` match within
//! one name, and match no hidden file.

use std::path::{Component, Path, PathBuf};

use regex_lite::Regex;

/// At most this many of the files that match a pattern are found.
const MOST_FILES: usize = 1000;
/// The signs of a pattern behind the `\` of an escaped regular expression, and what they mean there.
const SIGNS: [(&str, &str); 6] =
    [(r"\*", ".*"), (r"\?", "."), (r"\[!", "[^"), (r"\[", "["), (r"\]", "]"), (r"\-", "-")];

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

/// The pattern of a name as a regular expression. `None` if a `[` has no `]`: the text is then a
/// plain name.
fn of_name(pattern: &str) -> Option<Regex> {
    let regex = SIGNS
        .iter()
        .fold(regex_lite::escape(pattern), |regex, (sign, meaning)| regex.replace(sign, meaning));
    Regex::new(&format!("^{regex}$")).ok()
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
