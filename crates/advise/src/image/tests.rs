//! The faults of an image that `check` reports.

use super::*;
use crate::load::testing;
use drainit_os::testing::isolated::in_own_process_of_root;
use drainit_os::testing::temp_dir::TempDir;

/// The findings for a config, one line each. A line begins with `E` or `W`. In the config, `DIR`
/// stands for the test's directory.
fn found(dir: &TempDir, text: &str, mounts: &[PathBuf]) -> Vec<String> {
    let text = text.replace("DIR", dir.root().to_str().unwrap());
    let config = testing::config(&text);
    let environment = [("PATH", dir.root().join("bin").display().to_string())];
    let environment = environment.into_iter().collect();
    let around = Surroundings { mounts, ..Surroundings::of(&environment) };
    let seen = check(&config, &around, true);
    let line = |finding: &Finding| {
        let severity = if finding.part.severity == Severity::Error { "E" } else { "W" };
        let message = finding.message.replace(dir.root().to_str().unwrap(), "DIR");
        format!("{severity} {message}")
    };
    seen.findings.iter().map(line).collect()
}

/// The configs of blocks, which have the keys of a process and the expected findings.
fn blocks(rows: &str) -> impl Iterator<Item = (String, Vec<&str>)> {
    rows.trim().split("\n\n").map(|row| {
        let mut row = row.lines().filter(|line| !line.starts_with('#'));
        (format!("processes:\n  a: {{{}}}\n", row.next().unwrap()), row.collect())
    })
}

fn image() -> TempDir {
    let dir = TempDir::new();
    dir.file("bin/good", 0o755, "#!/bin/sh\n");
    dir.file("bin/plain", 0o644, "#!/bin/sh\n");
    dir.file("bin/script", 0o755, "#!/no/such/interpreter -x\n");
    dir.file("bin/env", 0o755, "#!/usr/bin/env no-such-program\n");
    dir.file("other/far", 0o755, "#!/bin/sh\n");
    dir
}

/// drainit opens `control.socket` and the sockets of `listen` before it runs anything that could
/// create a missing directory.
// holds: C24, C479
#[test]
fn sockets_opened_before_the_start_are_checked() {
    let dir = image();
    let _socket = std::os::unix::net::UnixListener::bind(dir.root().join("socket")).unwrap();
    let process = "hooks: {pre_start: [good]}\nprocesses: {a: {command: [good]}}";
    for (socket, is_wrong) in [("new", false), ("socket", false), ("bin/good", true), ("bin", true)]
    {
        let text = format!("control: {{socket: DIR/{socket}}}\n{process}");
        let wrong = format!("E `control.socket`, `DIR/{socket}`, exists and is not a socket");
        let expected = if is_wrong { &*wrong } else { "" };
        assert_eq!(found(&dir, &text, &[]).join("\n"), expected);
        let mounts = [dir.root().to_owned(), PathBuf::from("/dev")];
        let quiet = text.replace("[good]", "[/bin/sh]");
        assert_eq!(found(&dir, &quiet, &mounts), [""; 0], "below a mount: {socket}");
    }
    for (socket, expected) in [
        ("DIR/new", ""),
        ("DIR/socket", ""),
        ("DIR/none/socket", "E the directory of `listen`, `DIR/none`, does not exist"),
        ("DIR/bin/good", "E `listen`, `DIR/bin/good`, exists and is not a socket"),
    ] {
        let text = format!(
            "hooks: {{pre_start: [good]}}\nprocesses: {{a: {{command: [good], listen: ['unix:{socket}']}}}}"
        );
        let expected = expected.replace("E the", "E `a` cannot be started: the");
        let expected = expected.replace("E `listen`", "E `a` cannot be started: `listen`");
        assert_eq!(found(&dir, &text, &[]).join("\n"), expected, "{socket}");
    }
}

// holds: C21, C22, C23, C24, C29, C1073
#[test]
fn failing_starts_are_reported() {
    let dir = image();
    let hook = "hooks: {pre_start: [DIR/none]}\nprocesses: {a: {command: [good]}}";
    let said = found(&dir, hook, &[]).concat();
    assert!(said.contains("hook") && said.ends_with("`DIR/none` does not exist"), "{said}");
    let rows = "
command: [good]

command: [DIR/bin/good]

command: [./good], working_dir: DIR/bin

command: [far], environment: {PATH: DIR/other}

command: [far]
E `a` cannot be started: `far` is in none of the directories of PATH (`DIR/bin`); install it in the image, or give its full path

command: [DIR/none]
E `a` cannot be started: `DIR/none` does not exist

command: [DIR/bin]
E `a` cannot be started: `DIR/bin` is a directory, not a program

command: [plain]
E `a` cannot be started: `DIR/bin/plain` is not executable; `chmod +x` it in the image

command: [script]
E `a` cannot be started: `DIR/bin/script` exists, but its first line asks for `/no/such/interpreter`, which does not exist in this image

command: [env]
E `a` cannot be started: `DIR/bin/env` exists, but its first line asks env for `no-such-program`, which does not exist in this image

command: [good], sockets: [DIR/new.sock], readiness: {unix: DIR/bin/new.sock}

command: [good], sockets: [DIR/none/a.sock, DIR/none/b.sock], readiness: {unix: DIR/no/c.sock}
E `a` cannot be started: the directory of its socket, `DIR/none`, does not exist
E the readiness probe of `a` cannot succeed: the directory of its socket, `DIR/no`, does not exist

command: [good], sockets: [DIR/bin/good/a.sock], required: false, on_exit: ignore
W `a` cannot be started: the directory of its socket, `DIR/bin/good`, is not a directory

command: [good], working_dir: DIR/none
E `a` cannot be started: the working directory `DIR/none` cannot be entered: it does not exist

command: [good], readiness: {exec: [DIR/none]}, liveness: {exec: [DIR/none]}, hooks: {pre_stop: [DIR/bye]}, drain: {exec: [DIR/drain]}
E a hook of `a` cannot run: `DIR/bye` does not exist
E the readiness probe of `a` cannot succeed: `DIR/none` does not exist
E the liveness check of `a` cannot run: `DIR/none` does not exist
E `a` cannot be drained: `DIR/drain` does not exist

# A shell's script names the programs.
command: [good], hooks: {pre_stop: [/bin/sh, -ec, 'good; far -s']}, readiness: {exec: [/bin/sh, -c, 'if far; then good; fi']}
E a hook of `a` cannot run: `far` is in none of the directories of PATH (`DIR/bin`); install it in the image, or give its full path

# A process that is not started needs nothing.
command: [DIR/none], only_if: {path_exists: DIR/none}

command: [DIR/none], only_if: {value: '', is: x}

command: [DIR/none], only_if: {path_exists: DIR/bin}
E `a` cannot be started: `DIR/none` does not exist

# Its hook may install it.
command: [DIR/none], hooks: {pre_start: [good]}
W `a` cannot be started: `DIR/none` does not exist

# The container goes on without it.
command: [DIR/none], required: false, on_exit: ignore
W `a` cannot be started: `DIR/none` does not exist
";
    for (text, expected) in blocks(rows) {
        assert_eq!(found(&dir, &text, &[]), expected, "{text}");
    }
}

// holds: C24
#[test]
fn unwritable_directory_is_reported() {
    in_own_process_of_root(|| {
        let dir = image();
        dir.file("t", 0o644, "x");
        // root could write to any directory, so the checks run as another user.
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(65534)).unwrap();
        for (top, keys, what) in [
            ("control: {socket: DIR/bin/s}", "", "`control.socket`, `DIR/bin`,"),
            ("", ", render: [{from: DIR/t, to: DIR/bin/a}]", "the rendered file `DIR/bin/a`"),
            ("", ", log: {file: DIR/bin/log}", "its log file `DIR/bin/log`"),
            ("", ", sockets: [DIR/bin/s]", "its socket, `DIR/bin`,"),
        ] {
            let text = format!("{top}\nprocesses: {{a: {{command: [good]{keys}}}}}");
            let start = if top.is_empty() { "E `a` cannot be started:" } else { "E" };
            let expected = format!("{start} the directory of {what} cannot be written to");
            assert_eq!(found(&dir, &text, &[]), [expected]);
        }
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).unwrap();
        let other =
            "processes: {a: {command: [good], user: '65534:65534', readiness: {unix: DIR/s}}}";
        let why = "the directory of its socket, `DIR`, cannot be written to by uid 65534";
        let expected = format!("E the readiness probe of `a` cannot succeed: {why}");
        assert_eq!(found(&dir, other, &[]), [expected]);
    });
}

// holds: C24, C28, C291
#[test]
fn missing_path_is_a_warning_if_a_hook_may_create_the_path() {
    let dir = image();
    for before in [
        "hooks: {pre_start: [good]}\nprocesses:\n",
        "processes:\n  task: {command: [good], type: oneshot}\n",
        "processes:\n  task: {command: [good], hooks: {pre_start: [good]}}\n",
    ] {
        let text = format!("{before}  a: {{command: [good], working_dir: DIR/made}}\n");
        let found = found(&dir, &text, &[]);
        assert!(found.len() == 1 && found[0].starts_with("W `a`"), "{found:?}");
    }
    // The process's own hook may install its program.
    let text = "processes: {a: {command: [DIR/bin/made], hooks: {pre_start: [good]}}}";
    let said = found(&dir, text, &[]);
    assert!(said.len() == 1 && said[0].starts_with("W `a`"), "{said:?}");
    // A hook runs too late to create the directory of drainit's own socket, because drainit binds
    // this socket first.
    let text = "control: {socket: DIR/made/s}\nhooks: {pre_start: [good]}\nprocesses: {a: {command: [good]}}\n";
    let said = "E the directory of `control.socket`, `DIR/made`, does not exist";
    assert_eq!(found(&dir, text, &[]), [said]);
    let text = text.replace("made", "bin/good");
    let said = "E the directory of `control.socket`, `DIR/bin/good`, is not a directory";
    assert_eq!(found(&dir, &text, &[]), [said]);
    // Nothing is checked below the mount point of a volume.
    let mounts = [dir.root().to_owned()];
    assert_eq!(found(&dir, &text, &mounts), [""; 0]);
}

// holds: C27
#[test]
fn unavailable_user_is_a_warning() {
    in_own_process_of_root(|| {
        let dir = image();
        let text = "processes: {a: {command: [good], user: '4711:4711'}}";
        assert!(found(&dir, text, &[]).iter().all(|line| !line.contains("cannot become")));
        // A hook may add the user.
        let of_name = "processes: {a: {command: [good], user: nobody-here}}";
        let with_hook = format!("hooks: {{pre_start: [good]}}\n{of_name}");
        for (text, severity) in [(of_name, "E"), (&with_hook, "W")] {
            let wanted =
                "`a` cannot be started: `user` is `nobody-here`: not a user in /etc/passwd";
            let found = found(&dir, text, &[]);
            assert!(found[0].starts_with(&format!("{severity} {wanted}")), "{found:?}");
            let mounts = [PathBuf::from("/etc")];
            assert_eq!(super::tests::found(&dir, text, &mounts), [""; 0]);
        }
        let nobody = nix::unistd::Uid::from_raw(65534);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        let found = found(&dir, text, &[]);
        let is_said = |line: &String| line.starts_with('W') && line.contains("cannot become 4711");
        assert!(found.iter().any(is_said), "{found:?}");
    });
}

// holds: C774
#[test]
fn each_command_is_checked_with_the_rights_of_the_user_of_the_command() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = image();
    dir.file("closed/tool", 0o700, "#!/bin/sh\n");
    std::fs::set_permissions(dir.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let denied = "uid 4711 may not execute `DIR/closed/tool`";
    let script = "[/bin/sh, -c, 'DIR/closed/tool; DIR/closed/tool']";
    for (keys, expected) in [
        ("hooks: {pre_stop: [DIR/closed/tool]}", ""),
        ("hooks: {pre_stop: {command: [DIR/closed/tool], user: '4711'}}", denied),
        (&format!("hooks: {{pre_stop: {{command: {script}, user: '4711'}}}}"), denied),
        ("hooks: {pre_stop: {command: ['true'], user: nobody-here}}", "`user` is `nobody-here`"),
        ("readiness: {exec: [DIR/closed/tool]}", ""),
    ] {
        let text = format!("processes: {{a: {{command: [good], {keys}}}}}");
        let said = found(&dir, &text.replace("'true'", "/bin/true"), &[]).concat();
        let hook = "E a hook of `a` cannot run: ";
        let is_so = expected.is_empty() == said.is_empty() && said.contains(expected);
        assert!(is_so && (said.is_empty() || said.starts_with(hook)), "{keys}: {said}");
    }
    let text = "hooks: {pre_start: {command: [DIR/closed/tool], user: '4711'}}\nprocesses: {a: {command: [good]}}";
    let said = found(&dir, text, &[]).concat();
    assert!(said.starts_with(&format!("E a hook of the container cannot run: {denied}")), "{said}");
}

#[test]
fn inaccessible_file_is_not_called_missing() {
    in_own_process_of_root(|| {
        let dir = image();
        dir.file("closed/secret", 0o600, "");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir.root().join("closed"), mode).unwrap();
        let nobody = nix::unistd::Uid::from_raw(65534);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        for (keys, expected) in [
            ("environment: {A: {file: DIR/closed/secret}}", "cannot be read by the user"),
            ("render: [{from: /dev/null, to: DIR/closed/deeper/a}]", "cannot be written to"),
        ] {
            let text = format!("processes: {{a: {{command: [good], {keys}}}}}");
            let found = found(&dir, &text, &[]);
            assert!(found.iter().any(|line| line.contains(expected)), "{keys}: {found:?}");
        }
    });
}

// holds: C31
#[test]
fn everything_is_unchecked_outside_the_image() {
    let config = testing::config(
        "control: {socket: /run/x/s}\nprocesses:\n  a: {command: [/no/such], working_dir: /no, user: 'web:7'}\n  b: {command: [envoy], only_if: {path_exists: /no}}\n  c: {command: [never], only_if: {value: '', is: x}}\n",
    );
    let environment = Environment::default();
    let around = Surroundings::of(&environment);
    let result = check(&config, &around, false);
    assert_eq!(result.findings, []);
    let names: Vec<_> = result.unchecked.iter().map(String::as_str).collect();
    assert_eq!(names, ["/no", "/no/such", "/run/x", "envoy", "user: web:7"]);
}

// holds: C666
#[test]
fn link_of_another_user_is_reported() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = image();
    dir.file("real/file", 0o644, "x");
    std::os::unix::fs::symlink("real", dir.path("link")).unwrap();
    std::os::unix::fs::lchown(dir.path("link"), Some(10_001), None).unwrap();
    for keys in [
        "environment: {A: {file: DIR/link/file}}",
        "only_if: {path_missing: DIR/link/none}",
        "render: [{from: DIR/real/file, to: DIR/link/to}]",
        "log: {file: DIR/link/file}",
        "working_dir: DIR/link",
        "listen: ['unix:DIR/link/socket']",
    ] {
        let text = format!("processes:\n  a: {{command: [good], {keys}}}\n");
        let said = found(&dir, &text, &[]).concat();
        let why = "the symbolic link `DIR/link` belongs to user 10001, and only those of root";
        assert!(said.contains(why) && said.ends_with("or `chown -h 0 DIR/link`"), "{said}");
    }
}

// holds: C24, C25, C26, C291
#[test]
fn files_of_a_start_are_checked() {
    let dir = image();
    dir.file("secret", 0o600, "geheim");
    dir.file("long", 0o600, "x".repeat(128 * 1024 - 3) + "\n");
    dir.file("too-long", 0o600, "x".repeat(128 * 1024 - 2) + "\n");
    dir.file("a.tmpl", 0o644, "x");
    std::os::unix::fs::symlink("secret", dir.path("link")).unwrap();
    let rows = "
command: [good], environment: {A: {file: DIR/secret}}, env_file: [{path: DIR/secret, read: start}]

command: [good], environment: {A: {file: DIR/none, required: false}}

command: [good], env_file: [{path: DIR/none, read: start, required: false}]

command: [good], render: [{from: DIR/a.tmpl, to: DIR/a.conf}]

command: [good], environment: {A: {file: DIR/long}}

command: [good], environment: {A: {file: DIR/too-long}}
E `a` cannot be started: the file of A, `DIR/too-long`, is larger than 128 KiB with the name

command: [good], environment: {A: {file: DIR/none}}
E `a` cannot be started: the file of A, `DIR/none`, does not exist

command: [good], environment: {A: {file: DIR/bin, required: false}}
E `a` cannot be started: the file of A, `DIR/bin`, is not a regular file

command: [good], env_file: [{path: DIR/none, read: start}]
E `a` cannot be started: its env_file, `DIR/none`, does not exist

command: [good], render: [{from: DIR/none, to: DIR/a.conf}]
E `a` cannot be started: the template `DIR/none` does not exist

command: [good], render: [{from: DIR/a.tmpl, to: DIR/none/a.conf}]
E `a` cannot be started: the directory of the rendered file `DIR/none/a.conf` does not exist

command: [good], render: [{from: DIR/a.tmpl, to: DIR/bin}]
E `a` cannot be started: the rendered file `DIR/bin` is not a regular file

command: [good], log: {file: DIR/link}
E `a` cannot be started: its log file `DIR/link` is not a regular file

command: [good], log: {file: DIR/a.log}

command: [good], log: {file: DIR/secret}

command: [good], log: {file: DIR/bin}
E `a` cannot be started: its log file `DIR/bin` is not a regular file

command: [good], log: {file: DIR/none/a.log}
E `a` cannot be started: the directory of its log file `DIR/none/a.log` does not exist
";
    for (text, expected) in blocks(rows) {
        assert_eq!(found(&dir, &text, &[]), expected, "{text}");
        // A oneshot may write the file, so the errors become warnings.
        let text = format!("{text}  b: {{command: [good], type: oneshot}}\n");
        assert_eq!(found(&dir, &text, &[]).concat(), expected.concat().replace("E `", "W `"));
    }
}

#[test]
fn missing_file_of_drain_header_is_reported() {
    let headers = "headers: {authorization: {file: DIR/none}}";
    let drain = format!("drain: {{http: {{url: 'http://127.0.0.1:80/', {headers}}}}}");
    let found = found(&image(), &format!("processes: {{a: {{command: [good], {drain}}}}}"), &[]);
    assert!(found.concat().contains("the value of `authorization`, `DIR/none`, "), "{found:?}");
}

/// The findings for an Envoy with these lines of its config below the admin, and with this drain.
fn found_for_envoy(lines: &str, drain: &str) -> Vec<String> {
    let dir = image();
    let admin = "admin: {address: {socket_address: {port_value: 9901}}}";
    dir.file("envoy.yaml", 0o644, format!("{admin}\n{lines}\n"));
    let drain = format!("{{envoy: {{admin: 'http://127.0.0.1:9901', {drain}}}}}");
    let process = format!("{{command: [good, -c, DIR/envoy.yaml], drain: {drain}}}");
    let text = format!("shutdown: {{grace_period: 20m}}\nprocesses: {{a: {process}}}");
    found(&dir, &text, &[])
}

// holds: C671
#[test]
fn admin_is_compared_with_envoy_config() {
    let dir = image();
    let admin = "admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9902}}}";
    dir.file("envoy.yaml", 0o644, admin);
    dir.file("none.yaml", 0o644, "static_resources: {}");
    let wrong = "E `a` cannot be drained: its admin is `http://127.0.0.1:9901` here, and in `DIR/envoy.yaml` it is at port 9902";
    let none = "E `a` cannot be drained: its admin is `http://127.0.0.1:9901` here, and in `DIR/none.yaml` there is none";
    for (command, port, expected) in [
        ("good, -c, DIR/envoy.yaml", 9901, wrong),
        ("good, -c, DIR/envoy.yaml", 9902, ""),
        ("good, -c, DIR/none.yaml", 9901, none),
        ("good, --config-path, DIR/envoy.yaml", 9901, wrong),
        ("sh, -c, 'exec good -c DIR/envoy.yaml'", 9901, wrong),
        // A script may write the file, so `check` does not report this error.
        ("sh, -c, 'write >DIR/envoy.yaml; exec good -c DIR/envoy.yaml'", 9901, ""),
        // An option overrides parts of the file. Nobody knows what a text without keys means.
        ("good, -c, DIR/envoy.yaml, --config-yaml, x", 9901, ""),
        ("good, -c, DIR/envoy.yaml, --config-yaml, 'node: {id: x}'", 9901, wrong),
    ] {
        let drain = format!("drain: {{envoy: {{admin: 'http://127.0.0.1:{port}'}}}}");
        let text = format!("processes: {{a: {{command: [{command}], {drain}}}}}");
        let said = found(&dir, &text, &[]);
        let said = said.iter().find(|line| line.contains("its admin is")).map_or("", |line| line);
        assert_eq!(said, expected, "{command}");
    }
}

// holds: C683, C790
#[test]
fn an_envoy_whose_drain_cuts_is_reported() {
    let filter = "{typed_config: {'@type': type.googleapis.com/x.v3.TcpProxy}}";
    let tcp = format!("static_resources: {{listeners: [{{name: db, f: [{filter}]}}]}}");
    let slow = "x: [{route: {timeout: 600s}}]";
    let cuts = "W the drain of `a` cuts ";
    let long =
        "requests that take longer than 9m 59s: `timeout` in `DIR/envoy.yaml`, line 2, allows 10m";
    let proxy = "TCP connections: `until: requests` counts HTTP requests only, and \
                 `DIR/envoy.yaml`, line 2, has a TCP proxy";
    for (lines, drain, expected) in [
        (&*tcp, "until: requests", format!("{cuts}{proxy}")),
        (&tcp, "until: requests, ignore_listeners: [db]", String::new()),
        (&tcp, "until: connections", String::new()),
        (slow, "time: 599s", format!("{cuts}{long}")),
        (slow, "time: 600s", String::new()),
    ] {
        assert_eq!(found_for_envoy(lines, drain).concat(), expected, "{lines} {drain}");
    }
}

#[test]
fn the_time_of_the_check_grows_only_with_the_number_of_processes() {
    let many = (0..20).map(|n| format!("  p{n}: {{command: [a], scale: 1000}}\n"));
    let config = testing::config(&format!("processes:\n{}", many.collect::<String>()));
    let environment = std::iter::empty::<(&str, String)>().collect();
    let start = std::time::Instant::now();
    assert_eq!(check(&config, &Surroundings::of(&environment), false).unchecked.len(), 1);
    // If each process looked at all other processes, the check would take minutes.
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}
