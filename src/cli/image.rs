//! What a config names, looked for in this file system before anything is started: `check` in the image.
//!
//! Nothing is run. So all that is found is what a start would certainly stumble over; that a program works is not seen.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use crate::config::{Config, DrainMethod, OnlyIf, Probe, Process, ProcessKind, User};
use crate::load::check::image::{At, Finding, Part};
use crate::load::{Environment, Severity};
use crate::os::spawn::error::{Attempt, foresee, wrong_with_dir};
use crate::os::spawn::which::{Found, look_up};
use crate::os::spawn::{SpawnError, cannot_change_user};

/// Inits that start what they are given as their child.
const INITS: &[&str] = &["docker-init", "tini", "dumb-init", "catatonit"];

/// Whether this file system is that of the image which runs the config: drainit is PID 1, as with `docker run IMAGE check`, or
/// the child of an init that is; or PID 1 is a drainit, as with `docker exec`. A container alone says nothing: CI and
/// development live in one. But nobody there has the config at its own place, where no `-c` has to name it.
#[must_use]
pub fn is_image(config_is_at_its_place: bool) -> bool {
    let init = || fs::read_to_string("/proc/1/comm").unwrap_or_default();
    std::process::id() == 1
        || init().trim() == "drainit"
        || nix::unistd::getppid().as_raw() == 1 && INITS.contains(&init().trim())
        || config_is_at_its_place && is_container()
}

/// As Docker, Podman and Kubernetes show it.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether there is no program here but drainit, as in the image that it comes in: whoever checks a config there has brought
/// it along.
#[must_use]
pub fn is_bare() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let is_other = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name() != "drainit")
    };
    std::env::split_paths(&path)
        .all(|dir| !fs::read_dir(dir).is_ok_and(|mut all| all.any(is_other)))
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was not looked at, as it would be shown.
    pub unseen: BTreeSet<String>,
    /// A program that the config names is here.
    pub has_program: bool,
}

/// ImageLookup for everything that a config names; not below `mounts`, and nowhere at all if this is not its image.
#[must_use]
pub fn survey(
    config: &Config,
    environment: &Environment,
    mounts: &[PathBuf],
    is_image: bool,
) -> Seen {
    let mut survey = ImageCheck { config, environment, mounts, is_image, seen: Seen::default() };
    if let Some(socket) = &config.control.socket {
        survey.control_socket(socket);
    }
    for hook in hooks_of(&config.hooks) {
        survey.command(At::Hooks, &hook, Severity::Error);
    }
    for (index, process) in config.processes.iter().enumerate() {
        survey.process(index, process);
    }
    survey.seen
}

fn hooks_of(hooks: &crate::config::Hooks) -> Vec<Vec<String>> {
    let all = [&hooks.pre_start, &hooks.pre_stop, &hooks.post_stop];
    all.into_iter().flatten().map(|hook| hook.command.clone()).collect()
}

struct ImageCheck<'a> {
    config: &'a Config,
    environment: &'a Environment,
    mounts: &'a [PathBuf],
    is_image: bool,
    seen: Seen,
}

impl<'a> ImageCheck<'a> {
    fn process(&mut self, index: usize, process: &Process) {
        match &process.only_if {
            Some(OnlyIf::Never) => return,
            // It is left out here as it will be there, unless a volume brings the path.
            Some(OnlyIf::PathExists(path)) if self.is_image && !path.exists() => return,
            _ => {}
        }
        let at = |part| At::Process(index, part);
        let severity = self.severity(index);
        if let Some(user) = &process.user
            && self.is_image
            && let Some(error) = cannot_change_user(user)
        {
            self.find(at(Part::User), Severity::Warning, &error);
        }
        if let Some(dir) = &process.working_dir {
            let is_wrong = self.sees(dir) && self.directory(index, process, dir, severity);
            if is_wrong {
                // Everything else of it begins there.
                return;
            }
        }
        // Its own hook may bring its program.
        let brings = process.hooks.pre_start.is_some();
        let of_program = if brings { Severity::Warning } else { severity };
        self.command(at(Part::Command), &process.command, of_program);
        for hook in hooks_of(&process.hooks) {
            self.command(at(Part::Hooks), &hook, severity);
        }
        if let Some(Probe::Exec(command)) = process.readiness.as_ref().map(|asked| &asked.probe) {
            self.command(at(Part::Readiness), command, of_program);
        }
        if let Some(DrainMethod::Exec(command)) = process.drain.as_ref().map(|drain| &drain.method)
        {
            self.command(at(Part::Drain), command, of_program);
        }
    }

    /// What runs before a process may make what it needs, as `pre_start: [mkdir, -p, /run/app]` does.
    fn severity(&self, index: usize) -> Severity {
        let others = self.config.processes.iter().enumerate().filter(|(other, _)| *other != index);
        let mut before = others
            .map(|(_, other)| other)
            .filter(|other| other.kind == ProcessKind::Oneshot || other.hooks.pre_start.is_some());
        match self.config.hooks.pre_start.is_some() || before.next().is_some() {
            true => Severity::Warning,
            false => Severity::Error,
        }
    }

    /// Whether a path can be looked at; else it is noted.
    fn sees(&mut self, path: &Path) -> bool {
        let mounted = self.mounts.iter().any(|mount| path.starts_with(mount));
        let sees = self.is_image && !mounted;
        if !sees {
            self.seen.unseen.insert(path.display().to_string());
        }
        sees
    }

    fn find(&mut self, at: At, severity: Severity, error: &dyn std::fmt::Display) {
        let mend = match severity {
            Severity::Error => "mend the image, or the config",
            Severity::Warning => {
                "mend the image, or the config, unless what is started before it makes it"
            }
        };
        let name = |index: usize| self.config.processes[index].name.as_str();
        let message = match at {
            At::ControlSocket => error.to_string(),
            At::Hooks => format!("a hook of the container cannot run: {error}"),
            At::Process(index, part) => match part {
                Part::Command | Part::WorkingDir | Part::User => {
                    format!("`{}` cannot be started: {error}", name(index))
                }
                Part::Readiness => {
                    format!("the readiness of `{}` cannot be asked: {error}", name(index))
                }
                Part::Hooks => format!("a hook of `{}` cannot run: {error}", name(index)),
                Part::Drain => format!("`{}` cannot be drained: {error}", name(index)),
            },
        };
        let help = format!("{mend}; `--image=false` where this is not the image that runs it");
        self.seen.findings.push(Finding { at, severity, message, help });
    }

    /// Bound before anything is started, so nothing can make its directory.
    fn control_socket(&mut self, socket: &Path) {
        let directory = match socket.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !self.sees(directory) {
            return;
        }
        let why = match fs::metadata(directory) {
            Err(_) => "does not exist",
            Ok(found) if !found.is_dir() => "is not a directory",
            Ok(_)
                if nix::unistd::eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK)
                    .is_err() =>
            {
                "cannot be written to"
            }
            Ok(_) => return,
        };
        let message =
            format!("the directory of `control.socket`, `{}`, {why}", directory.display());
        self.find(At::ControlSocket, Severity::Error, &message);
    }

    /// Whether something is wrong with the directory of a process.
    fn directory(
        &mut self,
        index: usize,
        process: &Process,
        dir: &Path,
        severity: Severity,
    ) -> bool {
        let wrong = wrong_with_dir(dir).or_else(|| {
            let user = process.user.as_ref()?;
            let may = fs::metadata(dir).ok().is_none_or(|found| may_execute(&found, user));
            let why = format!("uid {} may not", user.uid);
            (!may).then(|| SpawnError::WorkingDir { path: dir.to_owned(), why })
        });
        if let Some(wrong) = &wrong {
            self.find(At::Process(index, Part::WorkingDir), severity, wrong);
        }
        wrong.is_some()
    }

    fn command(&mut self, at: At, command: &[String], severity: Severity) {
        let config = self.config;
        let process = match at {
            At::Process(index, _) => config.processes.get(index),
            At::ControlSocket | At::Hooks => None,
        };
        let Some(name) = command.first().filter(|name| !name.is_empty()) else { return };
        let dir = process.and_then(|process| process.working_dir.as_deref());
        let is_path = name.contains('/');
        let below = if is_path { dir.unwrap_or(Path::new("")).join(name) } else { name.into() };
        // What is named by its path alone can be seen or not; the directories of PATH are those of the image.
        let sees = if is_path { self.sees(&below) } else { self.is_image };
        if !sees {
            self.seen.unseen.insert(below.display().to_string());
            return;
        }
        let path = self.path(process);
        let wrong = match look_up(OsStr::new(name), path.as_deref(), dir) {
            Found::NotExecutable(path) => Some(SpawnError::NotExecutable { path }),
            Found::Nowhere(searched) => Some(SpawnError::not_in_path(OsStr::new(name), &searched)),
            Found::Program(program) => {
                let words: Vec<OsString> = command.iter().map(OsString::from).collect();
                let user = process.and_then(|process| process.user.as_ref());
                let attempt = Attempt {
                    program: &program,
                    command: &words,
                    env: None,
                    working_dir: dir,
                    user,
                };
                foresee(&attempt, path.as_deref(), may_execute)
            }
        };
        self.seen.has_program |= wrong.is_none();
        if let Some(wrong) = wrong {
            self.find(at, severity, &wrong);
        }
    }

    /// The PATH that a process gets, or a hook of the container.
    fn path(&self, process: Option<&Process>) -> Option<OsString> {
        let own = process.map_or(&[][..], |process| &process.environment);
        if let Some((_, path)) = own.iter().rev().find(|(name, _)| name == "PATH") {
            return path.as_ref().map(OsString::from);
        }
        let default = self.config.env.iter().rev().find(|(name, _)| name == "PATH");
        let given = || self.environment.get("PATH").map(OsString::from);
        let text = default.map(|(_, path)| OsString::from(path)).or_else(given);
        text.or_else(|| std::env::var_os("PATH"))
    }
}

/// Whether a user may execute a file, or enter a directory, by its mode. root may enter everything, and execute what
/// anybody may.
fn may_execute(found: &fs::Metadata, user: &User) -> bool {
    use std::os::unix::fs::MetadataExt;
    let mode = found.mode();
    let bits = if user.uid == 0 {
        return found.is_dir() || mode & 0o111 != 0;
    } else if user.uid == found.uid() {
        mode >> 6
    } else if user.gid == found.gid() || user.groups.contains(&found.gid()) {
        mode >> 3
    } else {
        mode
    };
    bits & 1 != 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::load::testing;
    use crate::testing::temp_dir::Scratch;

    /// What is found of a config, `DIR` being a directory of its own: one line each, `E` or `W` first.
    fn found(dir: &Scratch, text: &str, mounts: &[PathBuf]) -> Vec<String> {
        let text = text.replace("DIR", dir.path().to_str().unwrap());
        let config = testing::config(&text);
        let environment = [("PATH", dir.path().join("bin").display().to_string())];
        let environment = environment.into_iter().collect();
        let seen = survey(&config, &environment, mounts, true);
        let line = |finding: &Finding| {
            let severity = if finding.severity == Severity::Error { "E" } else { "W" };
            let message = finding.message.replace(dir.path().to_str().unwrap(), "DIR");
            format!("{severity} {message}")
        };
        seen.findings.iter().map(line).collect()
    }

    fn image(name: &str) -> Scratch {
        let dir = Scratch::new(name);
        dir.file("bin/good", 0o755, "#!/bin/sh\n");
        dir.file("bin/plain", 0o644, "#!/bin/sh\n");
        dir.file("bin/dos", 0o755, "#!/bin/sh\r\n");
        dir.file("bin/script", 0o755, "#!/no/such/interpreter -x\n");
        dir.file("bin/env", 0o755, "#!/usr/bin/env no-such-program\n");
        dir.file("bin/text", 0o755, "echo hello\n");
        dir.file("bin/empty", 0o755, "");
        dir.file("other/far", 0o755, "#!/bin/sh\n");
        dir
    }

    #[test]
    fn what_could_not_be_started_is_found_before() {
        let dir = image("survey");
        for (process, expected) in [
            ("command: [good]", &[][..]),
            ("command: [DIR/bin/good]", &[]),
            ("command: [./good], working_dir: DIR/bin", &[]),
            ("command: [far], environment: {PATH: DIR/other}", &[]),
            (
                "command: [far]",
                &[
                    "E `a` cannot be started: `far` is in none of the directories of PATH (DIR/bin); install it in the image, or give its full path",
                ],
            ),
            ("command: [DIR/none]", &["E `a` cannot be started: `DIR/none` does not exist"]),
            (
                "command: [DIR/bin]",
                &["E `a` cannot be started: `DIR/bin` is a directory, not a program"],
            ),
            (
                "command: [plain]",
                &[
                    "E `a` cannot be started: `DIR/bin/plain` is not executable; `chmod +x` it in the image",
                ],
            ),
            (
                "command: [DIR/bin/plain]",
                &[
                    "E `a` cannot be started: `DIR/bin/plain` is not executable; `chmod +x` it in the image",
                ],
            ),
            (
                "command: [dos]",
                &[
                    "E `a` cannot be started: `DIR/bin/dos` exists, but its first line asks for `/bin/sh`, which does not exist in this image (the line ends with a carriage return: save the file with Unix line ends)",
                ],
            ),
            (
                "command: [script]",
                &[
                    "E `a` cannot be started: `DIR/bin/script` exists, but its first line asks for `/no/such/interpreter`, which does not exist in this image",
                ],
            ),
            (
                "command: [env]",
                &[
                    "E `a` cannot be started: `DIR/bin/env` exists, but its first line asks env for `no-such-program`, which does not exist in this image",
                ],
            ),
            (
                "command: [text]",
                &[
                    "E `a` cannot be started: `DIR/bin/text` is not a program that this machine can run: it is neither a binary nor a script with a `#!` line",
                ],
            ),
            (
                "command: [empty]",
                &[
                    "E `a` cannot be started: `DIR/bin/empty` is not a program that this machine can run: it is empty",
                ],
            ),
            (
                "command: [good], working_dir: DIR/none",
                &[
                    "E `a` cannot be started: the working directory `DIR/none` cannot be entered: it does not exist",
                ],
            ),
            (
                "command: [good], working_dir: DIR/bin/good",
                &[
                    "E `a` cannot be started: the working directory `DIR/bin/good` cannot be entered: it is not a directory",
                ],
            ),
            (
                "command: [good], readiness: {exec: [DIR/none]}, hooks: {pre_stop: [DIR/bye]}, drain: {exec: [DIR/drain]}",
                &[
                    "E a hook of `a` cannot run: `DIR/bye` does not exist",
                    "E the readiness of `a` cannot be asked: `DIR/none` does not exist",
                    "E `a` cannot be drained: `DIR/drain` does not exist",
                ],
            ),
            // What is left out needs nothing.
            ("command: [DIR/none], only_if: {path_exists: DIR/none}", &[]),
            ("command: [DIR/none], only_if: {value: '', is: x}", &[]),
            (
                "command: [DIR/none], only_if: {path_exists: DIR/bin}",
                &["E `a` cannot be started: `DIR/none` does not exist"],
            ),
            // Its hook may bring it.
            (
                "command: [DIR/none], hooks: {pre_start: [good]}",
                &["W `a` cannot be started: `DIR/none` does not exist"],
            ),
        ] {
            let text = format!("processes:\n  a: {{{process}}}\n");
            assert_eq!(found(&dir, &text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn what_runs_before_may_make_what_is_missing() {
        let dir = image("survey-before");
        for before in [
            "hooks: {pre_start: [good]}\nprocesses:\n",
            "processes:\n  task: {command: [good], type: oneshot}\n",
            "processes:\n  task: {command: [good], hooks: {pre_start: [good]}}\n",
        ] {
            let text = format!("{before}  a: {{command: [good], working_dir: DIR/made}}\n");
            let found = found(&dir, &text, &[]);
            assert!(found.len() == 1 && found[0].starts_with("W `a`"), "{found:?}");
        }
        // But not for drainit's own socket, which is bound before.
        let text = "control: {socket: DIR/made/s}\nhooks: {pre_start: [good]}\nprocesses: {a: {command: [good]}}\n";
        let said = "E the directory of `control.socket`, `DIR/made`, does not exist";
        assert_eq!(found(&dir, text, &[]), [said]);
        let text = text.replace("made", "bin/good");
        let said = "E the directory of `control.socket`, `DIR/bin/good`, is not a directory";
        assert_eq!(found(&dir, &text, &[]), [said]);
        // Where a volume will be, nothing is looked at.
        let mounts = [dir.path().to_owned()];
        assert_eq!(found(&dir, &text, &mounts), [""; 0]);
    }

    #[test]
    fn another_user_must_be_allowed_to() {
        let dir = image("survey-user");
        dir.file("bin/mine", 0o700, "#!/bin/sh\n");
        dir.file("closed/inside", 0o755, "#!/bin/sh\n");
        let closed = dir.path().join("closed");
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        let may = |process: &str| {
            let text = format!("processes:\n  a: {{{process}, user: '4711:4711'}}\n");
            let found = found(&dir, &text, &[]);
            // That drainit may become it depends on who runs this test.
            !found.iter().any(|line| line.starts_with('E'))
        };
        assert!(may("command: [good]"));
        assert!(!may("command: [mine]"));
        assert!(!may("command: [DIR/closed/inside]"));
        assert!(!may("command: [good], working_dir: DIR/closed"));
    }

    #[test]
    fn elsewhere_nothing_is_found_and_everything_is_named() {
        let config = testing::config(
            "control: {socket: /run/x/s}\nprocesses:\n  a: {command: [/no/such], working_dir: /no}\n  b: {command: [envoy], only_if: {path_exists: /no}}\n  c: {command: [never], only_if: {value: '', is: x}}\n",
        );
        let seen = survey(&config, &Environment::default(), &[], false);
        assert_eq!(seen.findings, []);
        let names: Vec<_> = seen.unseen.iter().map(String::as_str).collect();
        assert_eq!(names, ["/no", "/no/such", "/run/x", "envoy"]);
    }
}
