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
    let named = "numprocs=2000 numprocs=two priority=%(ENV_X)s \
        priority=high autostart=maybe autorestart=%(ENV_X)s \
        autorestart=maybe startsecs=10 startsecs=%(ENV_X)s exitcodes=%(ENV_X)s \
        stopasgroup=true stopasgroup=%(ENV_X)s killasgroup=false killasgroup=%(ENV_X)s \
        redirect_stderr=%(ENV_X)s stdout_logfile_maxbytes=1MB \
        stdout_logfile_backups=3 stdout_capture_maxbytes=1MB stdout_events_enabled=true \
        stdout_syslog=true stderr_logfile=NONE stderr_logfile_maxbytes=1MB \
        stderr_logfile_backups=3 stderr_capture_maxbytes=1MB stderr_events_enabled=true \
        stderr_syslog=true serverurl=AUTO socket=tcp://localhost:1 madeup=1";
    let rows: &[(&str, &[&str])] = &[
        ("priority=5", &["depends_on: {app: {condition: started}}"]),
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
        ("autorestart=no", &["startretries=3 (after ends within"]),
        ("startretries=5\nstartsecs=2", &["startretries=5 (`restart_max` also counts"]),
        (
            "startretries=%(ENV_X)s\n[eventlistener:kill]\nevents=PROCESS_STATE_FATAL",
            &["restart_max: \"${X}\""],
        ),
        ("stopsignal=%(ENV_X)s", &["stop_signal: \"${X}\""]),
        ("stopwaitsecs=%(ENV_X)s", &["stop_grace_period: \"${X}s\""]),
        ("stdout_logfile=/a.log\nstderr_logfile=/b.log", &["stderr: {file: /b.log}"]),
        ("stderr_logfile=/b.log", &["stderr: {file: /b.log}"]),
        ("stdout_logfile=NONE\nstderr_logfile=/dev/null", &["log: {mode: none}"]),
        ("stdout_logfile=%(ENV_X)s", &["not converted: stdout_logfile=%(ENV_X)s"]),
        ("stdout_logfile=%(ENV_X)s.log", &["log: {file: \"${X}.log\"}"]),
        ("environment=NOVALUE", &["NOVALUE"]),
        ("directory=%(here)s/x", &["directory of supervisord.conf: write its path"]),
        ("umask=%(ENV_X)s", &["not converted: umask"]),
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
