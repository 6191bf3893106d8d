//! Finds the string literals in the source text of Rust. Tests use them to compare code with
//! documentation.

#![allow(clippy::expect_used)]

use regex_lite::{Captures, Regex};

/// The texts of all string literals of a source in order, except those in comments. An escape in a
/// literal is replaced by the character that it stands for.
pub fn string_literals(source: &str) -> Vec<String> {
    const TOKENS: &str =
        r####"(?s)//[^\n]*|'(?:\\[^']+|\\'|[^'\\])'|r"([^"]*)"|r#"(.*?)"#|"((?:\\.|[^"\\])*)""####;
    let tokens = Regex::new(TOKENS).expect("the pattern is right");
    let escape = Regex::new(r"(?s)\\(?:\n\s*|(.))").expect("the pattern is right");
    let unescape = |text: &str| {
        let character = |found: &Captures<'_>| match found.get(1).map_or("", |one| one.as_str()) {
            "n" => "\n".to_owned(),
            "t" => "\t".to_owned(),
            "r" => "\r".to_owned(),
            "0" => "\0".to_owned(),
            other => other.to_owned(),
        };
        escape.replace_all(text, character).into_owned()
    };
    let text = |token: Captures<'_>| {
        let raw = token.get(1).or(token.get(2)).map(|raw| raw.as_str().to_owned());
        raw.or_else(|| token.get(3).map(|text| unescape(text.as_str())))
    };
    tokens.captures_iter(source).filter_map(text).collect()
}
