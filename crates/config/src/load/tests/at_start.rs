//! Tests the values that drainit reads when a process starts: secrets, `env_file`s and templates.
//! No message may contain a value.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::time::Instant;

use super::*;
use crate::keys::{DeadlineShare, Render, Variable};
use crate::load::at_start::Rendered;
use crate::load::{at_start, load as load_files};

fn process(keys: &str) -> Process {
    Process::clone(&config(&process_with(keys)).processes[0])
}

/// The variables that a process with these keys gets at its start.
fn at_start(keys: &str, container: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let mut process = process_in(keys, container);
    let start = Instant::now();
    let env = [("DEFAULT".to_owned(), "d".to_owned())];
    let found = at_start::values(&process, &env, &container.iter().copied().collect(), &[]);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    process.environment = found?.0;
    Ok(variables(&process))
}

/// Reads a template, and replaces its variables by their values.
fn render_file(from: impl AsRef<Path>, environment: &Environment) -> Result<Rendered, String> {
    let (from, to) = (from.as_ref().to_owned(), "/to".into());
    let render = [Render { from, to, mode: 0o600 }];
    let (_, templates) = at_start::values(&process(""), &[], environment, &render)?;
    let share = DeadlineShare { stop: Duration::from_millis(7900), ..DeadlineShare::default() };
    at_start::render(&templates[0], share, environment)
}

// holds: C792
#[test]
fn template_is_of_the_same_moment_as_secrets() {
    let dir = TempDir::new();
    for version in ["1", "2"] {
        dir.file(&format!("{version}/secret"), 0o644, format!("S={version}"));
        dir.file(&format!("{version}/template"), 0o644, format!("S={version}"));
    }
    symlink("1", dir.path("data")).unwrap();
    let path = dir.path("data");
    let secret = path.join("secret");
    let keys = format!("env_file: [{{path: {}, read: start}}]", secret.display());
    let process = process(&keys);
    let render = [Render { from: path.join("template"), to: "/to".into(), mode: 0o600 }];
    let both = Barrier::new(2);
    let mixtures = std::thread::scope(|scope| {
        // Replaces both files together, as the kubelet does, once during each start.
        scope.spawn(|| {
            for swap in 0..2000 {
                both.wait();
                // Waits for a different time in each round, so that the swaps meet the starts at
                // different moments.
                (0..swap % 400 * 10).for_each(|_| std::hint::spin_loop());
                symlink(if swap % 2 == 0 { "2" } else { "1" }, dir.path("new")).unwrap();
                fs::rename(dir.path("new"), &path).unwrap();
                both.wait();
            }
        });
        let is_mixture = |_: &u32| {
            both.wait();
            let read = at_start::values(&process, &[], &Environment::default(), &render);
            both.wait();
            !read.is_ok_and(|(variables, templates)| match &variables[0] {
                Variable::Set { value, .. } => *templates[0].text == format!("S={value}"),
                _ => false,
            })
        };
        (0..2000).filter(is_mixture).count()
    });
    assert_eq!(mixtures, 0);
}

// holds: C1000
#[test]
fn limits_are_put_in_at_each_start() {
    let dir = TempDir::new();
    let file = dir.write("part", b"b=${memory_bytes:50%}\n").display().to_string();
    let env_file = dir.write("env", b"E=${cpus} ${HOST}\n").display().to_string();
    let text = "
processes:
  a:
    command: [a, '${memory_bytes:90%},${cpus}', {join: [{text: '${stop_ms}', only_if: {value: '${cpus}', is_not: '0'}}, {file: PART}]}]
    env_file: ENV
    environment: {M: '${memory_mib}', T: 't'}
  b: {command: 'b --m=${memory_mib} ${HOST}', scale: 1}
  c: {command: [c, '${HOST}', {join: [{text: x, only_if: {value: '${cpus}', is: '0'}}]}], scale: '${cpus}'}
";
    let text = text.replace("PART", &file).replace("ENV", &env_file);
    let config = load(&[&text], &[("HOST", "h")]).unwrap().config;
    let [a, b, c] = &config.processes[..3] else { panic!("{config:?}") };
    let stop = a.share.stop.as_millis();
    let joined = format!("{stop}\nb=${{memory_bytes:50%}}");
    assert_eq!(a.command.with_marks()[1..], ["${memory_bytes:90%},${cpus:100%}", &joined]);
    let marked = |variable: &Variable| match variable {
        Variable::Set { name, value } => format!("{name}={}", value.with_marks()),
        other => panic!("{other:?}"),
    };
    let environment: Vec<_> = a.environment.iter().map(marked).collect();
    assert_eq!(environment, ["E=${cpus:100%} h", "M=${memory_mib:100%}", "T=t"]);
    assert_eq!(b.command.with_marks(), ["b --m=${memory_mib:100%} h"]);
    for process in [a, b] {
        let started = at_start::with_limits(process).unwrap().unwrap();
        assert_eq!(started.command, process.command);
        assert_eq!(variables(&started), variables(process));
    }
    assert!(at_start::with_limits(c).unwrap().is_none());
}

// holds: C74, C468, C631
#[test]
fn relative_paths_start_at_the_config() {
    let dir = TempDir::new();
    let text = "env_file: [{path: a.env, read: start}]\n    environment: {T: {file: token}}\n    \
                render: [{from: a.tmpl, to: a.conf}]";
    let path = dir.write("c.yaml", process_with(text).as_bytes());
    let loaded = load_files(&[path], &Environment::default()).unwrap();
    let process = &loaded.config.processes[0];
    let (file, token) = (dir.path("a.env"), dir.path("token"));
    let expected = [file.display().to_string(), format!("T from {}", token.display())];
    assert_eq!(variables(process), expected);
    let render = Render { from: dir.path("a.tmpl"), to: "a.conf".into(), mode: 0o600 };
    assert_eq!(process.render, [render]);
}

// holds: C278, C279, C280
#[test]
fn the_file_conventions_of_images_work() {
    let keys = "environment: {PW: {file: '${PW_FILE:-}', required: false}}";
    let dir = TempDir::new();
    let file = dir.write("pw", b"geheim\n").display().to_string();
    assert_eq!(at_start(keys, &[("PW_FILE", &file), ("PW", "old")]).unwrap(), ["PW=geheim"]);
    // PW_FILE names no file, so drainit does not set PW, and the process inherits the container's
    // PW.
    assert_eq!(at_start(keys, &[("PW", "old")]).unwrap(), [""; 0]);
    assert_eq!(at_start(keys, &[("PW_FILE", "/none")]).unwrap(), [""; 0]);
}

// holds: S379
#[test]
fn a_pattern_stands_for_all_files_that_variables_name_and_a_value_may_be_missing() {
    let keys = "environment: {'PG_*': {file: 'PG_*_FILE'}, '*': {file: 'FILE__*', required: false}, \
                A: {value: '${OLD:-}', required: false}, B: {value: '${OLD:-}'}, C: {value: '${NEW}', required: false}, \
                'AWS_*': !reset}";
    let [password, user] = [("PG_PASSWORD_FILE", "/p"), ("PG_USER_FILE", "")];
    let container = [password, user, ("PG__FILE", "/x"), ("FILE__SMTP", "/s"), ("NEW", "n")];
    let found = variables(&process_in(keys, &container));
    // In `PG__FILE` nothing takes the place of the `*`, so the pattern does not match.
    assert_eq!(found, ["PG_PASSWORD from /p", "SMTP from /s?", "!A", "B=", "C=n", "!AWS_*"]);
}

// holds: C272, C273, C275
#[test]
fn a_file_that_cannot_be_a_value_is_refused() {
    let dir = TempDir::new();
    let token = |content: &[u8]| {
        let path = dir.write("token", content);
        at_start(&format!("environment: {{T: {{file: {}}}}}", path.display()), &[])
    };
    for (content, expected) in [
        (&b"geheim\0"[..], "has a NUL byte at byte 6"),
        (b"geheim\xff", "is not UTF-8 at byte 6"),
        (&[b'g'; 128 * 1024 + 1], "is larger than 128 KiB"),
        (&[b'g'; 128 * 1024 - 2], "is larger than 128 KiB with the name"),
    ] {
        let error = token(content).unwrap_err();
        assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
    }
    // The kernel's limit includes the name, the `=` and a NUL at the end: 3 bytes beside the value.
    let longest = [b'g'; 128 * 1024 - 3];
    assert_eq!(token(&longest).unwrap()[0].len(), 128 * 1024 - 1);
}

// holds: C266, C272, C282
#[test]
fn a_file_that_cannot_be_read_is_reported_at_once() {
    let dir = TempDir::new();
    let pipe = dir.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _writer = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
    symlink("nowhere", dir.path("dangling")).unwrap();
    symlink("loop", dir.path("loop")).unwrap();
    dir.write("real", b"abc\n");
    symlink("real", dir.path("link")).unwrap();
    for (name, expected) in [
        ("none", "does not exist; let one of its dependencies write the file"),
        ("dangling", "does not exist"),
        ("loop", "cannot be opened"),
        ("pipe", "is a pipe"),
        ("socket", "is a device or a socket"),
        (".", "is a directory"),
    ] {
        let path = dir.path(name).display().to_string();
        for keys in [
            format!("environment: {{T: {{file: {path}}}}}"),
            format!("env_file: [{{path: {path}, read: start}}]"),
        ] {
            let error = at_start(&keys, &[]).unwrap_err();
            assert!(error.contains(expected) && error.contains("/drainit-"), "{keys}: {error}");
        }
        let error = render_file(&path, &Environment::default()).unwrap_err();
        assert!(error.contains(expected.split(';').next().unwrap()), "{path}: {error}");
    }
    let link = dir.path("link");
    let found = at_start(&format!("environment: {{T: {{file: {}}}}}", link.display()), &[]);
    assert_eq!(found.unwrap(), ["T=abc"]);
    // `required: false` excuses a missing file, but no other error.
    let keys = format!("environment: {{T: {{file: {}, required: false}}}}", dir.root().display());
    assert!(at_start(&keys, &[]).unwrap_err().contains("is a directory"));
}

// holds: C14, C271, C272
#[test]
fn a_bad_line_is_named_and_not_shown() {
    let dir = TempDir::new();
    let (long, many) = ("x".repeat(100_000), "A=${LONG}\n".repeat(100_000));
    for (content, expected) in [
        (&*many, "more than 6 MiB of variables"),
        ("A=1\nein geheimnis=2\n", "line 2: this line of an `env_file` has no name"),
        ("A='geheim\n", "line 1: a quote is not closed"),
        ("A=geheim\nB=${A:?geht ${A} nicht}\nC=${D:?set ${A}}", "line 3: `D` is not set; set D"),
        ("A=${D:?geheim}", "line 1: `D` is not set; set D"),
        ("A=${geheim", "line 1: a `${` without the name of a variable"),
        ("A=x${geheim!y}", "line 1: a `${` without the name of a variable"),
        ("A=1\nA=x\0", "line 2, has a NUL byte"),
    ] {
        let path = dir.write("a.env", content.as_bytes());
        let keys = format!("env_file: [{{path: {}, read: start}}]", path.display());
        let error = at_start(&keys, &[("LONG", &long)]).unwrap_err();
        assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
    }
}

// holds: C46, C282, C285, C286, C287, C805
#[test]
fn templates_get_variables_and_errors_in_templates_have_a_place() {
    let dir = TempDir::new();
    let environment: Environment = [("A", "1"), ("EMPTY", "")].into_iter().collect();
    let render = |text: &str| render_file(dir.write("t", text.as_bytes()), &environment);
    for (text, expected, warning) in [
        ("a ${A}\n$A $$x ${B:-b} ${EMPTY:-e}\n", "a 1\n$A $x b e\n", ""),
        ("${stop_seconds} ${drain_ms}", "7 0", ""),
        ("a\n${B}", "a\n", "line 2: `B` is not set and becomes empty"),
    ] {
        let rendered = render(text).unwrap();
        assert_eq!(rendered.text, expected);
        let warnings = rendered.warnings.join("");
        assert!(warnings.contains(warning) && warnings.is_empty() == warning.is_empty());
    }
    let longest = "x".repeat(4 * 1024 * 1024);
    for (text, expected) in [
        ("\n\n${B:?why}", "line 3: `B` is not set: why; set B"),
        ("\n${A", "line 2: `${` without its `}`"),
        ("a\n\0", "line 2, has a NUL byte"),
        (&(longest.clone() + "x"), "is larger than 4 MiB"),
    ] {
        assert!(render(text).unwrap_err().contains(expected), "{expected}");
    }
    let latin = render_file(dir.write("t", b"a\n\xe4"), &environment).unwrap_err();
    assert!(latin.contains("line 2, is not UTF-8"), "{latin}");
    assert_eq!(render(&longest).unwrap().text, longest);
    // A rendered text may be longer than the kernel's limit for one argument.
    assert_eq!(render(&"${A}\n".repeat(200_000)).unwrap().text.len(), 400_000);
    let long = "x".repeat(100_000);
    let environment: Environment = [("A", long.as_str())].into_iter().collect();
    let path = dir.write("t", "${A}".repeat(1000).as_bytes());
    assert!(render_file(&path, &environment).unwrap_err().contains("longer than 4194304"));
}
