//! Functions for names: patterns that match names, suggestions for misspelt names, lists of names.

use core::borrow::Borrow;
use core::iter;

use crate::prelude::*;

/// The longest name that is compared. A longer name is hardly a typing error, and the comparison
/// takes quadratic time.
const LONGEST: usize = 64;

/// Whether the pattern matches the name: `worker-*` matches all names that begin with `worker-`.
pub fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The most similar known name, if it is similar enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut known = known.into_iter();
    nearest_of(name, &mut || known.next())
}

/// Like [`nearest`], but not generic, so that the program has this code only once.
fn nearest_of<'a>(name: &str, next: &mut dyn FnMut() -> Option<&'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = fold(name);
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    iter::from_fn(next)
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::osa_distance(&name, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the same text for names that differ only in case, or in `-` and `_`.
fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// Writes a list of names: `` `a`, `b` and `c` ``.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    list_of(&mut || names.next())
}

/// Like [`list`], but not generic.
fn list_of<'a>(next: &mut dyn FnMut() -> Option<&'a str>) -> String {
    let mut names: Vec<_> = iter::from_fn(next).map(|name| format!("`{name}`")).collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) }
}

/// The number of texts that fit into a line.
const SHOWN: usize = 8;

/// Joins the texts that fit into a line, and says how many others there are: `a, b, 7 more`.
pub fn shortened<T: Borrow<str>>(texts: &[T]) -> String {
    first_of(texts, SHOWN, ", ")
}

/// Joins the first `most` texts, and says how many others there are: `a + b + 7 more`.
pub fn first_of<T: Borrow<str>>(texts: &[T], most: usize, separator: &str) -> String {
    let (shown, others) = texts.split_at(texts.len().min(most));
    let shown = shown.join(separator);
    if others.is_empty() { shown } else { format!("{shown}{separator}{} more", others.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_words_are_not() {
        let known = ["command", "depends_on", "stop_grace_period", "user"];
        for (name, expected) in [
            ("comand", Some("command")),
            ("depends-on", Some("depends_on")),
            ("Command", Some("command")),
            ("stop_grace_periods", Some("stop_grace_period")),
            ("usr", Some("user")),
            ("stop_grace_peroids", Some("stop_grace_period")),
            ("comm", None),
            ("image", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
        // The nearest of several similar names, wherever it is, or the first of two.
        for (known, expected) in [
            (["worker-1", "worker-12"], "worker-1"),
            (["worker-12", "worker-1"], "worker-1"),
            (["worker-2", "worker-3"], "worker-2"),
        ] {
            assert_eq!(nearest("worker-", known), Some(expected), "{known:?}");
        }
    }

    #[test]
    fn an_asterisk_at_the_end_means_any_rest() {
        for (pattern, name, expected) in [
            ("app", "app", true),
            ("app", "app-1", false),
            ("app-*", "app-1", true),
            ("app-*", "app", false),
            ("*", "app", true),
            ("*-1", "app-1", false),
        ] {
            assert_eq!(is_meant(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn lists_read_like_prose() {
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }

    #[test]
    fn a_long_list_fits_into_a_line() {
        assert_eq!(shortened(&["a"; 8]), "a, a, a, a, a, a, a, a");
        assert_eq!(shortened(&["a"; 2000]), "a, a, a, a, a, a, a, a, 1992 more");
        assert_eq!(shortened::<String>(&[]), "");
        assert_eq!(first_of(&["a", "b", "c"], 3, " + "), "a + b + c");
        assert_eq!(first_of(&["a", "b", "c"], 2, " + "), "a + b + 1 more");
    }
}
