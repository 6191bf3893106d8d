//! Tests the tree of a YAML file: keys, tags, merges and limits.

use std::fmt::Write as _;

use super::*;
use crate::language::diagnostics::problems::Problems;
use crate::language::source::Source;
use crate::language::yaml;

#[test]
fn a_key_is_text_and_may_have_an_anchor() {
    let command = &config("processes: {&a app: {command: [*a]}}").processes[0].command;
    assert_eq!(command[..], ["app"]);
    for null in ["~", "null", ""] {
        let found = lines(&problems(&format!("? {null}\n: x\n"))).join("\n");
        assert!(found.contains("a key must be text, not"), "{null:?}: {found}");
    }
}

#[test]
fn a_quoted_key_is_never_merged() {
    let merges = |key: &str| {
        let found = lines(&problems(&format!("{key}: x\n"))).join("\n");
        found.contains("`<<` merges mappings only")
    };
    assert_eq!(["<<", "'<<'", "\"<<\""].map(merges), [true, false, false]);
}

#[test]
fn tags_of_yaml_are_known() {
    let text = "processes: {app: {command: [!!str null, !!int 5, !!bool true, !!float 1.5]}}";
    assert_eq!(config(text).processes[0].command[..], ["null", "5", "true", "1.5"]);
    // In a manifest, tags that drainit does not know are ignored.
    let mut others = Problems::default();
    let file = others.add_source(Source::new("pod.yaml".to_owned(), "a: !mine b\n".to_owned()));
    let documents = yaml::parse_manifest(&mut others, file).unwrap();
    assert_eq!(documents[0].entries()[0].1.scalar(), Some("b"));
    assert!(others.finish().is_empty());
}

#[test]
fn the_limits_are_exact() {
    let found = |text: &str| lines(&problems(text)).join("\n");
    for (lists, inner, fits) in [(63, "", true), (64, "", false), (62, "x", true), (63, "x", false)]
    {
        let text = format!("a: {}{inner}{}", "[".repeat(lists), "]".repeat(lists));
        let is_refused = found(&text).contains("nested more than 64 levels deep");
        assert_eq!(is_refused, !fits, "{lists} lists of `{inner}`");
    }
    for (more, fits) in [(997, true), (998, false)] {
        let mut text = format!("x: &x [{}]\ny:\n", "a, ".repeat(999));
        (0..398).for_each(|_| text.push_str("  - *x\n"));
        writeln!(text, "z: [{}]", "a, ".repeat(more)).unwrap();
        let is_refused = found(&text).contains("more than 400000 values");
        assert_eq!(is_refused, !fits, "{more} more values");
    }
}
