//! Recognizes keys of other programs in a config, and a file of another program that was given as
//! the config. Says what to write instead.

use crate::keys::key::Keys;

/// Keys of Kubernetes, Compose, supervisord and systemd in a process, each with the key to write in
/// its place, or with the reason to remove it.
const OF_A_PROCESS: &[(&[&str], &str)] = &[
    (&["autorestart", "restartPolicy", "Restart"], "write `restart: always`, `on-failure` or `no`"),
    (
        &["readinessProbe", "startupProbe"],
        "write `readiness: {http: \"http://127.0.0.1:PORT/PATH\"}`, `{tcp: …}` or `{exec: […]}`",
    ),
    (
        &["livenessProbe"],
        "write `liveness: {http: \"http://127.0.0.1:PORT/PATH\", interval: 10s, retries: 3}`",
    ),
    (&["httpGet"], "write `readiness: {http: \"http://127.0.0.1:PORT/PATH\"}`"),
    (
        &["lifecycle", "preStop", "postStart"],
        "write `hooks: {pre_stop: {command: […]}}`; instead of a sleep, write `drain:`",
    ),
    (
        &["terminationGracePeriodSeconds"],
        "it is for the whole container: write `shutdown: {grace_period: …}` at the top; `stop_grace_period` is for this process",
    ),
    (&["stopwaitsecs", "TimeoutStopSec"], "write `stop_grace_period: 10s`"),
    (&["stopsignal", "KillSignal"], "write `stop_signal: TERM`"),
    (
        &["startsecs", "startretries"],
        "write `readiness:`, which says when the process runs well, and `restart_max:`",
    ),
    (&["numprocs", "replicas", "deploy"], "write `scale: N` for N copies"),
    (&["priority"], "write `depends_on: [NAME]`: it decides the order"),
    (
        &["resources", "mem_limit", "memswap_limit", "cpus", "cpu_count", "cpuset"],
        "limits belong to the container: remove it; `ulimits` are the process's own",
    ),
    (
        &[
            "ports",
            "expose",
            "networks",
            "network_mode",
            "hostname",
            "extra_hosts",
            "dns",
            "containerPort",
        ],
        "ports and networks belong to the container: remove it",
    ),
    (
        &["volumes", "volumeMounts", "tmpfs", "secrets", "configs"],
        "mounts belong to the container: remove it; `render:` and `env_file:` read files",
    ),
    (
        &[
            "image",
            "imagePullPolicy",
            "build",
            "container_name",
            "pull_policy",
            "platform",
            "labels",
            "annotations",
        ],
        "it belongs to the container: remove it; every process runs in the container of drainit",
    ),
    (
        &["securityContext", "privileged", "cap_add", "cap_drop", "security_opt", "read_only"],
        "rights belong to the container: remove it; `user:` is the process's own",
    ),
    (
        &["stdout_logfile", "stderr_logfile", "redirect_stderr", "logging"],
        "the output goes to the container's log: remove it; `log: {file: …}` writes a file",
    ),
    (&["valueFrom", "envFrom"], "write `environment: {NAME: \"${NAME}\"}`, or `env_file:`"),
    (&["ExecStart"], "write `command: [PROGRAM, ARGUMENT]`"),
];

/// Keys of Kubernetes inside a probe.
const OF_A_PROBE: &[(&[&str], &str)] = &[
    (&["httpGet"], "write `http: \"http://127.0.0.1:PORT/PATH\"`"),
    (&["tcpSocket"], "write `tcp: 127.0.0.1:PORT`"),
    (&["periodSeconds", "period"], "write `interval:`"),
    (&["timeoutSeconds"], "write `timeout:`"),
    (
        &["failureThreshold"],
        "write `retries:` in `liveness`; `readiness` has `timeout:` for the whole start",
    ),
    (&["initialDelaySeconds"], "write `start_period:` in `liveness`; `readiness` needs no delay"),
];

const AT_THE_TOP: &[(&[&str], &str)] = &[
    (&["services"], COMPOSE),
    (
        &["apiVersion", "kind", "spec"],
        "is it a Kubernetes manifest? `drainit check --pod FILE` reads it",
    ),
    (
        &["terminationGracePeriodSeconds", "stop_grace_period"],
        "write `shutdown: {grace_period: 30s}`",
    ),
];

/// The remedy for an unknown key of the mapping with the keys `known`; `None` if no table above has
/// a remedy.
pub(super) fn remedy(name: &str, known: &Keys) -> Option<&'static str> {
    let table = match () {
        () if known.has("processes") => AT_THE_TOP,
        () if known.has("depends_on") && known.has("command") => OF_A_PROCESS,
        () if known.has("tcp") && known.has("interval") => OF_A_PROBE,
        () => return None,
    };
    let row = table.iter().find(|(names, _)| names.contains(&name));
    row.map(|(_, help)| *help)
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
        return Some((
            1,
            "a shell script",
            "docs/migrating.md#a-bash-entrypoint translates it to YAML",
        ));
    }
    let is_blank = |line: &str| line.trim().is_empty() || line.starts_with(['#', ';']);
    let (place, line) = text.lines().enumerate().find(|(_, line)| !is_blank(line))?;
    let line = line.trim();
    if is_dockerfile(line, text) {
        return Some((
            place + 1,
            "a Dockerfile",
            "write a config in YAML, and in the Dockerfile `COPY drainit.yaml /etc/` and \
             `ENTRYPOINT [\"drainit\", \"run\", \"--\"]`",
        ));
    }
    let section = line.strip_prefix('[').and_then(|line| line.split_once(']'));
    let section = section.filter(|(_, rest)| rest.trim_start().is_empty() || is_blank(rest.trim()));
    let is_of = |names: &[&str], section: &str| names.iter().any(|name| section.starts_with(name));
    const SUPERVISORD: [&str; 8] = [
        "program:",
        "supervisor",
        "unix_http_server",
        "inet_http_server",
        "rpcinterface:",
        "group:",
        "include",
        "eventlistener:",
    ];
    const SYSTEMD: [&str; 3] = ["Unit", "Service", "Install"];
    let is_setting = |line: &str| {
        line.split_once('=').is_some_and(|(key, _)| {
            let is_key = |c: char| c.is_ascii_alphanumeric() || "_-. \"".contains(c);
            !key.trim().is_empty() && key.chars().all(is_key)
        })
    };
    let has_settings =
        || text.lines().skip(place + 1).find(|line| !is_blank(line)).is_some_and(is_setting);
    let (what, help) = match section {
        Some((section, _)) if is_of(&SUPERVISORD, section) => ("a supervisord.conf", IMPORT),
        Some((section, _)) if is_of(&SYSTEMD, section) => {
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
