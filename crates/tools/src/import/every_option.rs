//! Tests that no option is dropped silently: every option that a format documents is in the draft,
//! as a key or in a comment. Options that `same.rs` tests are not tested here again.

use crate::import::input::InputFile;
use crate::import::{Format, convert};

pub(super) fn draft(format: Format, text: &str) -> String {
    let imported = convert(InputFile::new("FILE", text), "FILE", format);
    imported.unwrap_or_else(|problems| panic!("{text}\n{problems:?}")).text
}

/// Tests that the draft shows each option. The test converts a file with the option and a file
/// without it. One of the words that stand for the option must be in the first draft, but not in
/// the second. `rows` has these words for each option. For an option in `named`, the words are the
/// whole option and its name.
#[track_caller]
fn none_vanishes(
    format: Format,
    named: &str,
    rows: &[(&str, &[&str])],
    file: impl Fn(&str) -> String,
) {
    let without = draft(format, &file(""));
    let named = named
        .split_whitespace()
        .map(|option| (option, vec![option, option.split('=').next().unwrap()]));
    let rows = rows.iter().map(|(option, words)| (*option, words.to_vec()));
    let mut lost = Vec::new();
    for (option, words) in named.chain(rows) {
        let with = draft(format, &file(option));
        if !words.iter().any(|word| with.contains(word) && !without.contains(word)) {
            lost.push(format!("{option:?}: none of {words:?} in\n{with}"));
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

// holds: C886
/// The options at http://supervisord.org/configuration.html#program-x-section-values.
#[test]
fn options_of_a_program_of_supervisord_are_converted_or_named() {
    let named = "numprocs=%(ENV_X)s numprocs=2000 numprocs=two priority=5 priority=%(ENV_X)s \
        priority=high autostart=%(ENV_X)s autostart=maybe autorestart=%(ENV_X)s \
        autorestart=maybe startsecs=10 startsecs=%(ENV_X)s exitcodes=%(ENV_X)s \
        stopasgroup=true stopasgroup=%(ENV_X)s killasgroup=false killasgroup=%(ENV_X)s \
        redirect_stderr=%(ENV_X)s stdout_logfile_maxbytes=1MB \
        stdout_logfile_backups=3 stdout_capture_maxbytes=1MB stdout_events_enabled=true \
        stdout_syslog=true stderr_logfile=NONE stderr_logfile_maxbytes=1MB \
        stderr_logfile_backups=3 stderr_capture_maxbytes=1MB stderr_events_enabled=true \
        stderr_syslog=true serverurl=AUTO socket=tcp://localhost:1 madeup=1";
    let rows: &[(&str, &[&str])] = &[
        ("process_name=other", &["other:"]),
        ("process_name=%(ENV_X)s", &["renamed from"]),
        ("numprocs=2\nenvironment=N=%(process_num)d", &["\"N\": \"${SCALE_INDEX}\""]),
        (
            "numprocs=2\ndirectory=/%(process_num)02d",
            &["directory: `${SCALE_INDEX}` begins with 1 and has no zeros"],
        ),
        ("numprocs=2\nnumprocs_start=7", &["not converted: numprocs_start=7"]),
        ("numprocs_start=%(ENV_X)s", &["not converted: numprocs_start"]),
        ("command=supervisorctl start b", &["no supervisord that supervisorctl could ask"]),
        ("startretries=%(ENV_X)s", &["restart_max: \"${X}\""]),
        ("startretries=%(ENV_X)s\nautorestart=false", &["startretries=%(ENV_X)s"]),
        ("stopsignal=%(ENV_X)s", &["stop_signal: \"${X}\""]),
        ("stopwaitsecs=%(ENV_X)s", &["stop_grace_period: \"${X}s\""]),
        ("stdout_logfile=/a.log\nstderr_logfile=/b.log", &["stderr: {file: /b.log}"]),
        ("stderr_logfile=/b.log", &["stderr: {file: /b.log}"]),
        ("stdout_logfile=NONE\nstderr_logfile=/dev/null", &["log: {mode: none}"]),
        ("stdout_logfile=NONE\nredirect_stderr=true", &["log: {mode: none}"]),
        ("stdout_logfile=%(ENV_X)s", &["log: {file: \"${X}\"}"]),
        ("environment=NOVALUE", &["NOVALUE"]),
        ("directory=%(here)s/x", &["directory of supervisord.conf"]),
        ("umask=%(ENV_X)s", &["not converted: umask"]),
        ("umask=rwx", &["not converted: umask"]),
    ];
    none_vanishes(Format::Supervisord, named, rows, |option| {
        format!("[program:app]\ncommand=/bin/app\n{option}\n[program:last]\ncommand=/bin/last\n")
    });
}

/// The options of the other sections at http://supervisord.org/configuration.html.
#[test]
fn other_sections_of_supervisord_are_converted_or_named() {
    let named = "logfile=/a logfile_maxbytes=1 logfile_backups=1 loglevel=debug pidfile=/a \
        nodaemon=true silent=true minfds=1024 minprocs=200 nocleanup=true \
        childlogdir=/tmp user=www strip_ansi=true identifier=x";
    let rows: &[(&str, &[&str])] = &[
        ("directory=%(here)s", &["directory of supervisord.conf"]),
        ("environment=NOVALUE", &["NOVALUE"]),
        ("[group:g]\nprograms=app", &["[group:g]"]),
        ("[eventlistener:e]\ncommand=/bin/e", &["[eventlistener:e]"]),
        ("[fcgi-program:f]\ncommand=/bin/f\nsocket=x", &["socket"]),
        ("[include]\nfiles=/a/*.conf", &["/a/*.conf"]),
        ("[unix_http_server]\nfile=/a", &["[unix_http_server]"]),
        ("[inet_http_server]\nport=1", &["[inet_http_server]"]),
        ("[rpcinterface:supervisor]\nx=y", &["[rpcinterface:supervisor]"]),
        ("[supervisorctl]\nx=y", &["[supervisorctl]"]),
        ("[madeup]\nx=y", &["[madeup]"]),
    ];
    none_vanishes(Format::Supervisord, named, rows, |option| {
        format!("[program:app]\ncommand=/bin/app\n[supervisord]\n{option}\n")
    });
}

/// The keys at https://github.com/compose-spec/compose-spec/blob/main/05-services.md.
#[test]
fn keys_of_a_compose_service_are_converted_or_named() {
    const KEYS: &str = "annotations attach build blkio_config cpu_count cpu_percent cpu_shares cpu_period cpu_quota \
        cpu_rt_runtime cpu_rt_period cpus cpuset cap_add cap_drop cgroup cgroup_parent configs container_name \
        credential_spec deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts expose \
        external_links extra_hosts gpus group_add hostname image ipc isolation labels label_file links logging mac_address \
        mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj \
        pid pids_limit platform ports post_start pre_stop privileged provider pull_policy read_only runtime scale secrets \
        security_opt shm_size stdin_open storage_opt sysctls tmpfs tty ulimits use_api_socket userns_mode uts volumes \
        volumes_from madeup";
    let rows: &[(&str, &[&str])] = &[
        (
            "ulimits: {nofile: {soft: 1, hard: $H}, core: -1}",
            &["{core: \"-1\", nofile: {hard: \"${H}\", soft: 1}}"],
        ),
        ("image: x", &["insert the ENTRYPOINT of x before it"]),
        ("command:\n    image: x", &["replace it by the ENTRYPOINT and CMD of x"]),
        ("deploy: {replicas: 2}", &["not converted: deploy", "`scale: 2`"]),
        ("ulimits: {nofile: [1]}", &["ulimits: {nofile: [1]}"]),
        ("ulimits: {madeup: 1}", &["ulimits: {madeup: 1}"]),
        ("logging: {driver: none}", &["log: {mode: none}"]),
        ("depends_on: {db: {condition: '${C}'}}", &["condition: \"${C}\""]),
        (
            "depends_on: {db: {condition: service_started, restart: true}}",
            &["restart: \"true\"", "follows a crash, too"],
        ),
        ("depends_on: {db: {condition: service_started, restart: '${R}'}}", &["restart: \"${R}\""]),
        (
            "depends_on: {db: {condition: service_started, required: false}}",
            &["not converted: depends_on.db.required"],
        ),
        ("env_file: a.env", &["a.env"]),
        ("env_file: [{path: a.env, required: false}]", &["{path: a.env, required: \"false\"}"]),
        ("scale: 9999", &["scale: 9999"]),
        ("env_file: [{path: a.env, required: '${R}'}]", &["required: \"${R}\""]),
        ("env_file: [{path: a.env, format: raw}]", &["format: raw (quotes"]),
        ("stop_signal: TERM KILL", &["not converted: stop_signal: \"TERM KILL\""]),
        ("pre_stop: [{command: [bye, $NOW]}]", &["hooks: {pre_stop: [bye, \"${NOW}\"]}"]),
        ("pre_stop: [{command: bye, user: $U}]", &["{pre_stop: {command: bye, user: \"${U}\"}}"]),
        ("pre_stop: [{command: bye, privileged: true}]", &["pre_stop.privileged"]),
        ("pre_stop: [{command: a}, {command: b}]", &["more than one hook"]),
        ("extends: {service: x}", &["extends"]),
        ("profiles: [debug]", &["profiles: [debug]"]),
        ("healthcheck: {interval: 7s}", &["healthcheck.test"]),
        ("healthcheck: {test: x, interval: '${I}'}", &["healthcheck.interval"]),
        ("healthcheck: {test: x, timeout: 3s}", &["not converted: healthcheck.timeout"]),
        (
            "healthcheck: {test: x, start_interval: 3s}",
            &["not converted: healthcheck.start_interval"],
        ),
        ("healthcheck: {test: x, disable: '${D}'}", &["not converted: healthcheck.disable"]),
        ("restart: 'on-failure:${N}'", &["restart_max: \"${N}\""]),
        ("restart: '${R:-always}'", &["restart: ${R:-always}"]),
        ("restart: '${R}'", &["restart: ${R}"]),
        ("restart: sometimes", &["restart: sometimes"]),
        ("user: www", &["user: www"]),
        ("working_dir: '${A-/b}'", &["${A:-/b}"]),
        ("working_dir: '${A:+b}'", &["$${A:+b}"]),
    ];
    none_vanishes(Format::Compose, KEYS, rows, |option| {
        let command = if option.starts_with("command") { "" } else { "    command: [/bin/app]\n" };
        let option = match option {
            "" => String::new(),
            key if !key.contains(':') => format!("    {key}: x\n"),
            option => format!("    {option}\n"),
        };
        format!("services:\n  app:\n{command}{option}  db: {{command: [/bin/db]}}\n")
    });
}

/// The keys at https://github.com/compose-spec/compose-spec/blob/main/spec.md.
#[test]
fn other_keys_of_a_compose_file_are_converted_or_named() {
    let keys = "networks volumes configs secrets models include madeup";
    none_vanishes(Format::Compose, keys, &[], |key| {
        let key = if key.is_empty() { String::new() } else { format!("{key}: x\n") };
        format!("{key}services: {{app: {{command: [/bin/app]}}}}\n")
    });
}
