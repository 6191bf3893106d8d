//! `check` in the image: looks for the programs, directories and users of a config in the file
//! system.
//!
//! The check runs no program. The check finds failures that a start would certainly have, but does
//! not show whether a program works.

pub mod detect;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{FileStat, SFlag};
use nix::unistd::AccessFlags;

use crate::check::bootstrap::{self, Longest};
use crate::check::image::{At, Finding, ImageLookup};
use crate::keys::{
    Account, Address, Config, DrainMethod, DrainUntil, EnvoyDrain, HeaderValue, Hook, Hooks,
    LogMode, OnlyIf, Probe, Process, ProcessKind, Render, User, Variable,
};
use crate::language::script;
use crate::load::at_start;
use crate::load::{Diagnostic, Environment, Loaded, Severity, load_to_check};
use crate::os::spawn::diagnose::{Attempt, allows, foresee, wrong_with_dir};
use crate::os::spawn::{SpawnError, cannot_change_user};
use crate::os::trusted_path::{ForeignName, Place, is};
use crate::types::human;

/// The file system of a `drainit check`, which may be the image of the config.
#[derive(Debug)]
pub struct Image {
    /// Whether paths, programs and users can be checked here.
    is_image: Cell<bool>,
    /// Whether the user has said that this is the image, or that it is not.
    is_said: bool,
    unchecked: RefCell<BTreeSet<String>>,
}

impl Image {
    /// `said` is the user's word. Without it, the file system decides, as [`detect::is_image`] says.
    pub fn new(said: Option<bool>, config_is_at_its_place: bool) -> Self {
        let is_image = said.unwrap_or_else(|| detect::is_image(config_is_at_its_place));
        let unchecked = RefCell::default();
        Self { is_image: Cell::new(is_image), is_said: said.is_some(), unchecked }
    }

    pub fn is_image(&self) -> bool {
        self.is_image.get()
    }

    /// The paths, programs and users that no call could check, as text.
    pub fn into_unchecked(self) -> BTreeSet<String> {
        self.unchecked.into_inner()
    }

    /// Loads a config for `check`, and checks all paths, programs and users that it names, except
    /// below `mounts`. `is_held_back` says whether a `preStop` hook of the pod delays the stop signal.
    pub fn load(
        &self,
        paths: &[PathBuf],
        environment: &Environment,
        mounts: &[PathBuf],
        is_held_back: bool,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let find = |config: &_, environment: &_| {
            let mut found = check(config, environment, mounts, self.is_image());
            let is_bare = || !found.has_program && detect::is_bare();
            // Without any program of the config, a bare image cannot be the image of the config.
            if !self.is_said && self.is_image() && is_bare() {
                self.is_image.set(false);
                found = check(config, environment, mounts, false);
            }
            self.note(found)
        };
        load_to_check(paths, environment, ImageLookup { find: &find, is_held_back })
    }

    /// Searches for a program that a pod names for a container. Returns why the program cannot run;
    /// `None` if it can.
    pub fn missing_program(
        &self,
        name: &str,
        environment: &Environment,
        mounts: &[PathBuf],
    ) -> Option<String> {
        let config = &Config::default();
        let mut checker = Checker::new(config, environment, mounts, self.is_image());
        checker.command((None, "program"), None, &[name.to_owned()], Severity::Error);
        self.note(checker.result).into_iter().next().map(|finding| finding.message)
    }

    fn note(&self, found: ImageCheck) -> Vec<Finding> {
        self.unchecked.borrow_mut().extend(found.unchecked);
        found.findings
    }
}

#[derive(Debug, Default)]
struct ImageCheck {
    findings: Vec<Finding>,
    /// Paths, programs and users that could not be checked, as text.
    unchecked: BTreeSet<String>,
    /// Whether any program of the config exists here.
    has_program: bool,
}

/// Checks all paths, programs and users that a config names, except below `mounts`. Without
/// `is_image`, everything counts as unchecked.
fn check(
    config: &Config,
    environment: &Environment,
    mounts: &[PathBuf],
    is_image: bool,
) -> ImageCheck {
    let mut checker = Checker::new(config, environment, mounts, is_image);
    if let Some(socket) = config.control.socket.path() {
        checker.socket((None, "control.socket"), "control.socket", socket);
    }
    for hook in hooks_of(&config.hooks) {
        checker.hook((None, "hooks"), hook, Severity::Error);
    }
    for (index, process) in config.processes.iter().enumerate() {
        checker.process(index, process);
    }
    checker.result
}

/// Checks all paths, programs and users of those processes that a reload starts or replaces.
pub fn check_for_reload(
    config: &Config,
    environment: &Environment,
    starts: impl Fn(&Process) -> bool,
) -> Vec<Finding> {
    let mut checker = Checker::new(config, environment, &[], true);
    let started: Vec<_> =
        config.processes.iter().enumerate().filter(|(_, it)| starts(it)).collect();
    checker.is_reload = true;
    // All other hooks and oneshots have run already, so they create nothing any more.
    checker.makers = started.iter().filter(|(_, process)| may_make_paths(process)).count();
    for (index, process) in started {
        checker.process(index, process);
    }
    checker.result.findings
}

/// Whether a process may create paths that other processes need.
fn may_make_paths(process: &Process) -> bool {
    process.kind == ProcessKind::Oneshot || process.hooks.pre_start.is_some()
}

fn hooks_of(hooks: &Hooks) -> impl Iterator<Item = &Hook> {
    [&hooks.pre_start, &hooks.pre_stop, &hooks.post_stop].into_iter().flatten()
}

struct Checker<'a> {
    config: &'a Config,
    environment: &'a Environment,
    mounts: &'a [PathBuf],
    is_image: bool,
    /// Whether drainit itself looks, and not `drainit check`.
    is_reload: bool,
    /// The number of processes that may create paths which other processes need. The number is
    /// computed only once, because there can be thousands of processes.
    makers: usize,
    result: ImageCheck,
}

const UNREADABLE: &str = "cannot be read by the user that runs drainit";

const UNWRITABLE: &str = "cannot be written to";

/// The entry at a path, as the running drainit would find it.
fn look(path: &Path) -> io::Result<FileStat> {
    Place::behind(path)?.stat()
}

/// The reason why a path cannot be used; `other` if the error does not show a reason.
fn reason(error: &io::Error, other: &str) -> String {
    match (ForeignName::of(error), error.kind()) {
        (Some(link), _) => format!("cannot be used: {link}"),
        (None, ErrorKind::NotFound | ErrorKind::NotADirectory) => "does not exist".to_owned(),
        (None, _) => other.to_owned(),
    }
}

impl<'a> Checker<'a> {
    fn new(
        config: &'a Config,
        environment: &'a Environment,
        mounts: &'a [PathBuf],
        is_image: bool,
    ) -> Self {
        let makers = config.processes.iter().filter(|process| may_make_paths(process)).count();
        let (is_reload, result) = (false, ImageCheck::default());
        Self { config, environment, mounts, is_image, is_reload, makers, result }
    }

    fn process(&mut self, index: usize, process: &Process) {
        match &process.only_if {
            Some(OnlyIf::Never) => return,
            // A process whose `only_if` does not hold would not start here, so the process is not
            // checked. (At run time, a volume may still provide the path of `only_if`.)
            Some(only_if) if self.is_image => match only_if.holds() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return self.add((Some(index), "only_if"), self.severity(index), &error);
                }
            },
            _ => {}
        }
        let at = |part| (Some(index), part);
        for socket in &process.listen {
            if let Address::Unix(path) = &socket.address {
                self.socket(at("listen"), "listen", path);
            }
        }
        let severity = self.severity(index);
        let user = self.user(at("user"), process.user.as_ref(), severity);
        let user = user.as_ref();
        if let Some(dir) = &process.working_dir {
            let is_wrong = self.can_check(dir) && self.directory(index, user, dir, severity);
            if is_wrong {
                // Other paths may be relative to the working directory, so they are not checked.
                return;
            }
        }
        self.values(index, process, severity);
        if let LogMode::File(file) = &process.log.mode {
            file.paths().for_each(|path| self.log_file(index, path, severity));
        }
        // The `pre_start` hook of the process may install the program of the process. With such a
        // hook, a missing program is only a warning.
        let brings = process.hooks.pre_start.is_some();
        let of_program = if brings { Severity::Warning } else { severity };
        self.command(at("command"), None, &process.command, of_program);
        for hook in hooks_of(&process.hooks) {
            self.hook(at("hooks"), hook, severity);
        }
        for (key, probe) in process.probes() {
            if let Probe::Exec(command) = probe {
                self.call(at(key), None, command, of_program);
            }
        }
        match process.drain.as_ref().map(|drain| &drain.method) {
            Some(DrainMethod::Exec(exec)) => {
                self.call(at("drain"), None, &exec.command, of_program);
            }
            Some(DrainMethod::Http(http)) => {
                for header in &http.headers {
                    if let HeaderValue::File(path) = &header.value
                        && let Some(why) = self.unreadable(path)
                    {
                        let message =
                            format!("the value of `{}`, `{}`, {why}", header.name, path.display());
                        self.add(at("drain"), severity, &message);
                    }
                }
            }
            Some(DrainMethod::Envoy(envoy)) => self.envoy(index, process, envoy, of_program),
            _ => {}
        }
    }

    /// Looks up a user, and checks that drainit can become this user. `None` if the config names no
    /// user, if drainit cannot check this, or if the user does not exist.
    fn user(&mut self, at: At, wanted: Option<&Account>, severity: Severity) -> Option<User> {
        let wanted = wanted?;
        if let Account::Written(text) = wanted
            && !["/etc/passwd", "/etc/group"].iter().all(|file| self.is_here(Path::new(file)))
        {
            let is_number = |part: &str| part.parse::<u32>().is_ok();
            if !text.split(':').all(is_number) {
                self.result.unchecked.insert(format!("user: {text}"));
            }
            return None;
        }
        match at_start::account(wanted) {
            Err(error) => self.add(at, severity, &error),
            Ok(account) => {
                let user = account.found()?.clone();
                if let Some(error) = cannot_change_user(&user) {
                    self.add(at, Severity::Warning, &error);
                }
                return Some(user);
            }
        }
        None
    }

    /// Compares the keys of a drain, such as the address of the admin and the time, with Envoy's
    /// own config.
    fn envoy(&mut self, index: usize, process: &Process, drain: &EnvoyDrain, severity: Severity) {
        let admin = &drain.admin;
        let is_given = |path: &Path| {
            self.is_here(path) && !process.render.iter().any(|render| render.to == path)
        };
        let other = bootstrap::other_admin(process, &[], admin, is_given);
        let path = bootstrap::config_file(process, &[]).filter(|path| is_given(path));
        if let Some((place, other)) = other {
            let what = format!("its admin is `{admin}` here, and in `{place}` {other}");
            self.add((Some(index), "drain"), severity, &what);
        }
        let Some(path) = path else { return };
        let (name, file) = (&process.name, path.display());
        let mut warn = |message: String, help: String| {
            let (at, severity) = ((Some(index), "drain"), Severity::Warning);
            self.result.findings.push(Finding { at, severity, message, help });
        };
        if drain.until == DrainUntil::Requests
            && let Some(line) = bootstrap::tcp_proxy(&path, drain)
        {
            let message = format!(
                "the drain of `{name}` cuts TCP connections: `until: requests` counts HTTP requests only, and `{file}`, \
                 line {line}, has a TCP proxy"
            );
            let help = "remove `until`, or name the listener in `ignore_listeners` if its connections may be cut";
            warn(message, help.to_owned());
        }
        let time = process.drain.as_ref().map_or(Duration::ZERO, |drain| drain.time);
        if let Some(Longest { time: longest, key, line }) = bootstrap::longest_request(&path)
            && time < longest
        {
            let (time, longest) = (human(time), human(longest));
            let message = format!(
                "the drain of `{name}` cuts requests that take longer than {time}: `{key}` in `{file}`, line {line}, \
                 allows {longest}"
            );
            warn(message, format!("set a longer `time`, or a shorter `{key}` in Envoy's config"));
        }
    }

    /// Checks the files that a start reads or renders, but never their content, which may be
    /// secret.
    fn values(&mut self, index: usize, process: &Process, severity: Severity) {
        for variable in &process.environment {
            let Some(file) = variable.file() else { continue };
            let (part, what) = match variable {
                Variable::FromFile { name, .. } => ("environment", format!("the file of {name}")),
                _ => ("env_file", "its env_file".to_owned()),
            };
            if let Some(why) = self.unreadable(&file.path)
                && (file.required || file.path.exists())
            {
                let message = format!("{what}, `{}`, {why}", file.path.display());
                self.add((Some(index), part), severity, &message);
            } else if let Variable::FromFile { name, .. } = variable
                && self.is_here(&file.path)
                && fs::metadata(&file.path)
                    .is_ok_and(|found| at_start::is_too_long(name, found.len().saturating_sub(1)))
            {
                let path = file.path.display();
                let message = format!("{what}, `{path}`, is larger than 128 KiB with the name");
                self.add((Some(index), part), severity, &message);
            }
        }
        for Render { from, to, .. } in &process.render {
            let at = (Some(index), "render");
            if let Some(why) = self.unreadable(from) {
                let message = format!("the template `{}` {why}", from.display());
                self.add(at, severity, &message);
            }
            if let Some(why) = self.unwritable(parent(to)) {
                let message =
                    format!("the directory of the rendered file `{}` {why}", to.display());
                self.add(at, severity, &message);
            } else if self.is_image && to.exists() && !to.is_file() {
                let message = format!("the rendered file `{}` is not a regular file", to.display());
                self.add(at, severity, &message);
            }
        }
    }

    /// Checks that a log file can be opened or created.
    fn log_file(&mut self, index: usize, path: &Path, severity: Severity) {
        // Like a start, this check does not follow a symbolic link to a log file.
        let found = Place::of(path).and_then(|place| place.stat()).ok().filter(|_| self.is_image);
        let (what, why) = match found {
            Some(found) if !is(&found, SFlag::S_IFREG) => {
                ("", Some("is not a regular file".to_owned()))
            }
            Some(_) => {
                let writable = nix::unistd::eaccess(path, AccessFlags::W_OK).is_ok();
                ("", (!writable).then(|| UNWRITABLE.to_owned()))
            }
            None => ("the directory of ", self.unwritable(parent(path))),
        };
        if let Some(why) = why {
            let message = format!("{what}its log file `{}` {why}", path.display());
            self.add((Some(index), "log"), severity, &message);
        }
    }

    /// The reason why a file cannot be read in the image. `None` if it can be read, or if drainit
    /// cannot check this.
    fn unreadable(&mut self, path: &Path) -> Option<String> {
        let kind = (SFlag::S_IFREG, "is not a regular file");
        self.unusable(path, kind, (AccessFlags::R_OK, UNREADABLE))
    }

    /// The reason why no file can be written into a directory of the image. `None` if files can be
    /// written, or if drainit cannot check this.
    fn unwritable(&mut self, directory: &Path) -> Option<String> {
        let kind = (SFlag::S_IFDIR, "is not a directory");
        self.unusable(directory, kind, (AccessFlags::W_OK | AccessFlags::X_OK, UNWRITABLE))
    }

    /// The reason why the entry at a path is unusable: it is not of this kind, or refuses this
    /// access. `None` if the entry is usable or cannot be checked.
    fn unusable(
        &mut self,
        path: &Path,
        (kind, other_kind): (SFlag, &str),
        (access, denied): (AccessFlags, &str),
    ) -> Option<String> {
        if !self.can_check(path) {
            return None;
        }
        match look(path) {
            Err(error) => Some(reason(&error, denied)),
            Ok(found) if !is(&found, kind) => Some(other_kind.to_owned()),
            Ok(_) => nix::unistd::eaccess(path, access).err().map(|_| denied.to_owned()),
        }
    }

    /// The severity of a missing path. A missing path is only a warning in two cases. First, the
    /// container continues without the process. Second, the path may be created before the start:
    /// by the container's `pre_start` hook, for example `[mkdir, -p, /run/app]`, or by another
    /// process that is a oneshot or has a `pre_start` hook.
    fn severity(&self, index: usize) -> Severity {
        let process = &self.config.processes[index];
        let has_maker = self.makers > usize::from(may_make_paths(process));
        let has_hook = self.config.hooks.pre_start.is_some() && !self.is_reload;
        match !process.required || has_hook || has_maker {
            true => Severity::Warning,
            false => Severity::Error,
        }
    }

    /// Whether this is the image, and the path is not below a mount.
    fn is_here(&self, path: &Path) -> bool {
        self.is_image && !self.mounts.iter().any(|mount| path.starts_with(mount))
    }

    /// Whether a path can be checked. If not, records the path as unchecked.
    fn can_check(&mut self, path: &Path) -> bool {
        let can_check = self.is_here(path);
        if !can_check {
            self.result.unchecked.insert(path.display().to_string());
        }
        can_check
    }

    fn add(&mut self, at: At, severity: Severity, error: &dyn std::fmt::Display) {
        let fix = match severity {
            Severity::Error => "correct the image or the config",
            Severity::Warning | Severity::Note => {
                "correct the image or the config, unless a process or hook that runs before creates it"
            }
        };
        let name = at.0.map(|index| &self.config.processes[index].name);
        let message = match (name, at.1) {
            (None, "hooks") => format!("a hook of the container cannot run: {error}"),
            (None, _) => error.to_string(),
            (Some(name), "readiness") => {
                format!("the readiness probe of `{name}` cannot run: {error}")
            }
            (Some(name), "liveness") => {
                format!("the liveness check of `{name}` cannot run: {error}")
            }
            (Some(name), "hooks") => format!("a hook of `{name}` cannot run: {error}"),
            (Some(name), "drain") => format!("`{name}` cannot be drained: {error}"),
            (Some(name), _) => format!("`{name}` cannot be started: {error}"),
        };
        let elsewhere = "; use `--image=false` if this is not the image that runs it";
        let otherwise = if self.is_reload { "" } else { elsewhere };
        let help = format!("{fix}{otherwise}");
        self.result.findings.push(Finding { at, severity, message, help });
    }

    /// Checks the directory of a socket. drainit binds the socket before it starts anything, so no
    /// hook or process can create the directory.
    fn socket(&mut self, at: At, key: &str, socket: &Path) {
        let directory = parent(socket);
        let message = if let Some(why) = self.unwritable(directory) {
            format!("the directory of `{key}`, `{}`, {why}", directory.display())
        } else if self.is_here(socket)
            && fs::metadata(socket).is_ok_and(|found| !found.file_type().is_socket())
        {
            format!("`{key}`, `{}`, exists and is not a socket", socket.display())
        } else {
            return;
        };
        self.add(at, Severity::Error, &message);
    }

    /// Whether the working directory of a process is unusable. If so, adds a finding.
    fn directory(
        &mut self,
        index: usize,
        user: Option<&User>,
        dir: &Path,
        severity: Severity,
    ) -> bool {
        let wrong = wrong_with_dir(dir).or_else(|| {
            let user = user?;
            let may = fs::metadata(dir).ok().is_none_or(|found| allows(&found, user, 1));
            let why = format!("uid {} may not enter it", user.uid);
            (!may).then(|| SpawnError::WorkingDir { path: dir.to_owned(), why })
        });
        if let Some(wrong) = &wrong {
            self.add((Some(index), "working_dir"), severity, wrong);
        }
        wrong.is_some()
    }

    /// Checks a hook and its own user.
    fn hook(&mut self, at: At, hook: &Hook, severity: Severity) {
        self.user(at, hook.user.as_ref(), severity);
        self.call(at, hook.user.as_ref(), &hook.command, severity);
    }

    /// Checks the command of a hook, probe or drain. If the command is a shell with a script, also
    /// checks the programs that the script certainly runs.
    fn call(&mut self, at: At, own: Option<&Account>, command: &[String], severity: Severity) {
        self.command(at, own, command, severity);
        let place = script::place(command.iter().map(String::as_str));
        if let (Some(first), Some(place)) = (command.first(), place)
            && script::is_shell(first)
        {
            for program in script::programs(&command[place]) {
                self.command(at, own, &[program], severity);
            }
        }
    }

    /// Checks the program of a command that runs as the user `own`, or else as that of its process.
    fn command(&mut self, at: At, own: Option<&Account>, command: &[String], severity: Severity) {
        let config = self.config;
        let process = at.0.and_then(|index| config.processes.get(index)).map(Arc::as_ref);
        let Some(name) = command.first().filter(|name| !name.is_empty()) else { return };
        let dir = process.and_then(|process| process.working_dir.as_deref());
        let is_path = name.contains('/');
        let below = if is_path { dir.unwrap_or(Path::new("")).join(name) } else { name.into() };
        // If a program is a path, it may be below a mount, and cannot be checked there. If a
        // program is a name, drainit assumes that the directories of `PATH` belong to the image,
        // and no mount contains the name.
        if !self.can_check(&below) {
            return;
        }
        let path = self.path(process);
        let account = own.or_else(|| process?.user.as_ref());
        let account = account.and_then(|wanted| at_start::account(wanted).ok());
        let user = account.as_ref().and_then(Account::found);
        let (program, search) = (OsStr::new(name), path.as_deref());
        let wrong = foresee(&Attempt { program, search, working_dir: dir, user });
        self.result.has_program |= wrong.is_none();
        if let Some(wrong) = wrong {
            self.add(at, severity, &wrong);
        }
    }

    /// The `PATH` of a process, or, without a process, of the container's hooks.
    fn path(&self, process: Option<&Process>) -> Option<OsString> {
        let own = process.map_or(&[][..], |process| &process.environment);
        for variable in own.iter().rev() {
            match variable {
                Variable::Set { name, value } if name == "PATH" => return Some(value.into()),
                Variable::Removed(name) if name == "PATH" => return None,
                _ => {}
            }
        }
        let default = self.config.env.iter().rev().find(|(name, _)| name == "PATH");
        let given = || self.environment.get("PATH").map(OsString::from);
        let text = default.map(|(_, path)| OsString::from(path)).or_else(given);
        text.or_else(|| std::env::var_os("PATH"))
    }
}

/// The directory of a path.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
