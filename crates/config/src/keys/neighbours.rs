//! Recognizes keys of other programs in a config, subcommands of other programs, and a file of
//! another program that was given as the config. Says what to write instead.

use crate::keys::key::Keys;

/// The table of the words of other programs: its head explains the columns.
const WORDS: &str = include_str!("neighbours.txt");

/// The remedy for an unknown key of the mapping with the keys `known`; `None` if the table has no
/// remedy.
pub(super) fn remedy(name: &str, known: &Keys) -> Option<String> {
    let mapping = match () {
        () if known.has("processes") => "top",
        () if known.has("depends_on") && known.has("command") => "process",
        () if known.has("tcp") && known.has("interval") => "probe",
        () => "",
    };
    remedies(name).find_map(|(place, remedy)| match place {
        "any" => known.has(remedy).then(|| format!("did you mean `{remedy}`?")),
        place => (place == mapping).then(|| remedy.to_owned()),
    })
}

/// The remedy for a subcommand that other programs have; `None` if the table has no remedy.
pub fn of_command(name: &str) -> Option<&'static str> {
    remedies(name).find(|(place, _)| *place == "command").map(|(_, remedy)| remedy)
}

/// The lines of the table that have this word: the place of the word, and the remedy.
fn remedies(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    WORDS.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
        let (place, rest) = line.split_once(" | ")?;
        let (words, remedy) = rest.split_once(" | ")?;
        words.split(' ').any(|word| word == name).then_some((place, remedy))
    })
}

/// The remedy for a Compose file.
pub const COMPOSE: &str =
    "services of Compose become `processes:`; docs/migrating.md#compose shows which keys change";
/// The remedy for a file that `drainit import` reads.
pub const IMPORT: &str = "`drainit import FILE` makes a config of it";

/// Finds out whether a text is a file of another program. A shell script is recognised by the `#!`
/// in line 1, and most other kinds by the first line that is neither blank nor a comment. Returns
/// the number of the line that shows the kind, the kind of the file, and what to do.
pub fn foreign(text: &str) -> Option<(usize, &'static str, &'static str)> {
    let program = text.strip_prefix("#!").and_then(|text| text.lines().next());
    if program.is_some_and(|it| it.split(' ').any(|word| word.trim_end().ends_with("sh"))) {
        let help = "docs/migrating.md#a-bash-entrypoint translates it to YAML";
        return Some((1, "a shell script", help));
    }
    let is_blank = |line: &str| line.trim().is_empty() || line.starts_with(['#', ';']);
    let (place, line) = text.lines().enumerate().find(|(_, line)| !is_blank(line))?;
    let line = line.trim();
    if is_dockerfile(line, text) {
        let help = "write a config in YAML, and in the Dockerfile `COPY drainit.yaml /etc/` and \
                    `ENTRYPOINT [\"drainit\", \"run\", \"--\"]`";
        return Some((place + 1, "a Dockerfile", help));
    }
    let section = line.strip_prefix('[').and_then(|line| line.split_once(']'));
    let section = section.filter(|(_, rest)| rest.trim_start().is_empty() || is_blank(rest.trim()));
    let is_of = |names: &str, section: &str| names.split(' ').any(|name| section.starts_with(name));
    const SUPERVISORD: &str = "program: supervisor unix_http_server inet_http_server rpcinterface: group: include \
                               eventlistener:";
    const SYSTEMD: &str = "Unit Service Install";
    let is_setting = |line: &str| {
        line.split_once('=').is_some_and(|(key, _)| {
            let is_key = |c: char| c.is_ascii_alphanumeric() || "_-. \"".contains(c);
            !key.trim().is_empty() && key.chars().all(is_key)
        })
    };
    let has_settings =
        || text.lines().skip(place + 1).find(|line| !is_blank(line)).is_some_and(is_setting);
    let (what, help) = match section {
        Some((section, _)) if is_of(SUPERVISORD, section) => ("a supervisord.conf", IMPORT),
        Some((section, _)) if is_of(SYSTEMD, section) => {
            ("a unit of systemd", "write YAML: `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`")
        }
        // This line alone could be a list in YAML, so the next line must be a setting.
        Some((section, _)) if !section.contains([',', '{', '"']) && has_settings() => {
            ("TOML or an INI file", "write YAML; `drainit import FILE` reads a supervisord.conf")
        }
        None if is_setting(line) => (
            "TOML or a file of variables",
            "write YAML; `env_file: [FILE]` reads a file of variables",
        ),
        _ => return None,
    };
    Some((place + 1, what, help))
}

/// Whether the text is a Dockerfile: its first instruction, `line`, is FROM, or ARG with a FROM
/// after it.
fn is_dockerfile(line: &str, text: &str) -> bool {
    let is = |line: &str, name: &str| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case(name))
            && words.next().is_some_and(|word| !word.starts_with(':'))
    };
    is(line, "FROM") || is(line, "ARG") && text.lines().any(|line| is(line, "FROM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C896
    #[test]
    fn files_of_other_programs_are_recognized_by_their_first_line() {
        for (text, expected) in [
            ("; comment\n\n[supervisord]\nnodaemon=true\n", Some((3, "a supervisord.conf"))),
            ("[program:web]\ncommand=x\n", Some((1, "a supervisord.conf"))),
            ("[Unit]\nDescription=x\n", Some((1, "a unit of systemd"))),
            ("[processes.web]\ncommand = [\"a\"]\n", Some((1, "TOML or an INI file"))),
            ("#!/bin/bash\nA=b\n", Some((1, "a shell script"))),
            ("#!/usr/bin/env -S drainit run -c\nprocesses: {}\n", None),
            ("# syntax=docker/dockerfile:1\nFROM a AS b\n", Some((2, "a Dockerfile"))),
            ("ARG A=b\nfrom a:$A\n", Some((1, "a Dockerfile"))),
            ("ARG A=b\n", Some((1, "TOML or a file of variables"))),
            ("from : {a: b}\n", None),
            ("title = \"x\"\n", Some((1, "TOML or a file of variables"))),
            ("processes:\n  a: {command: [x, A=b]}\n", None),
            ("env: {A: b=c}\n", None),
            ("x-a: &a [b]\n", None),
            ("{\"processes\": {}}\n", None),
            ("[a, b]\n", None),
            ("--- # x = y\nprocesses: {}\n", None),
            ("", None),
        ] {
            let found = foreign(text).map(|(line, what, _)| (line, what));
            assert_eq!(found, expected, "{text}");
        }
    }
}
