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
use std::time::Duration;

use nix::sys::stat::{FileStat, SFlag};
use nix::unistd::AccessFlags;

use crate::check::bootstrap;
use crate::check::image::{Finding, ImageLookup, Part};
use crate::keys::{
    Account, Address, Config, DrainMethod, DrainUntil, EnvoyDrain, HeaderValue, Hook, Hooks,
    LogMode, OnlyIf, Probe, Process, ProcessKind, Render, User, Variable,
};
use crate::language::diagnostics::rule::Rule;
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
    /// below the mounts.
    pub fn load(
        &self,
        paths: &[PathBuf],
        around: &Surroundings<'_>,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let find = |config: &_| {
            let mut found = check(config, around, self.is_image());
            let is_bare = || !found.has_program && detect::is_bare();
            // Without any program of the config, a bare image cannot be the image of the config.
            if !self.is_said && self.is_image() && is_bare() {
                self.is_image.set(false);
                found = check(config, around, false);
            }
            self.note(found)
        };
        let lookup = ImageLookup { find: &find, is_held_back: around.is_held_back };
        load_to_check(paths, around.environment, lookup)
    }

    /// Searches for a program that a pod names for a container. Returns why the program cannot run;
    /// `None` if it can.
    pub fn missing_program(&self, name: &str, around: &Surroundings<'_>) -> Option<String> {
        let config = &Config::default();
        let mut checker = Checker::new(config, around, self.is_image());
        let part = Part { index: None, key: "program", severity: Severity::Error };
        checker.command(part, None, &[name.to_owned()]);
        self.note(checker).into_iter().next().map(|finding| finding.message)
    }

    fn note(&self, checker: Checker<'_>) -> Vec<Finding> {
        self.unchecked.borrow_mut().extend(checker.unchecked);
        checker.findings
    }
}

/// The surroundings of the processes of a config, on which the findings in the image depend.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub environment: &'a Environment,
    /// The paths at which volumes are mounted. Nothing below them belongs to the image.
    pub mounts: &'a [PathBuf],
    /// Whether a `preStop` hook of the pod delays the stop signal.
    pub is_held_back: bool,
}

impl<'a> Surroundings<'a> {
    /// Those of a config without a pod.
    pub fn of(environment: &'a Environment) -> Self {
        Self { environment, mounts: &[], is_held_back: false }
    }
}

/// Checks all paths, programs and users that a config names, except below the mounts. Without
/// `is_image`, everything counts as unchecked.
fn check<'a>(config: &'a Config, around: &'a Surroundings<'_>, is_image: bool) -> Checker<'a> {
    let mut checker = Checker::new(config, around, is_image);
    let part = |key| Part { index: None, key, severity: Severity::Error };
    if let Some(socket) = config.control.socket.path() {
        checker.socket(part("control.socket"), socket);
    }
    for hook in hooks_of(&config.hooks) {
        checker.hook(part("hooks"), hook);
    }
    for (index, process) in config.processes.iter().enumerate() {
        checker.process(index, process);
    }
    checker
}

/// Checks all paths, programs and users of those processes that a reload starts or replaces.
pub fn check_for_reload(
    config: &Config,
    environment: &Environment,
    starts: impl Fn(&Process) -> bool,
) -> Vec<Finding> {
    let around = Surroundings::of(environment);
    let mut checker = Checker::new(config, &around, true);
    let started: Vec<_> =
        config.processes.iter().enumerate().filter(|(_, it)| starts(it)).collect();
    checker.is_reload = true;
    // All other hooks and oneshots have run already, so they create nothing any more.
    checker.makers = started.iter().filter(|(_, process)| may_make_paths(process)).count();
    for (index, process) in started {
        checker.process(index, process);
    }
    checker.findings
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
    around: &'a Surroundings<'a>,
    is_image: bool,
    /// Whether drainit itself looks, and not `drainit check`.
    is_reload: bool,
    /// The number of processes that may create paths which other processes need. The number is
    /// computed only once, because there can be thousands of processes.
    makers: usize,
    findings: Vec<Finding>,
    /// Paths, programs and users that could not be checked, as text.
    unchecked: BTreeSet<String>,
    /// Whether any program of the config exists here.
    has_program: bool,
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
    fn new(config: &'a Config, around: &'a Surroundings<'a>, is_image: bool) -> Self {
        let makers = config.processes.iter().filter(|process| may_make_paths(process)).count();
        let (is_reload, has_program) = (false, false);
        let (findings, unchecked) = (Vec::new(), BTreeSet::new());
        Self { config, around, is_image, is_reload, makers, findings, unchecked, has_program }
    }

    fn process(&mut self, index: usize, process: &Process) {
        let severity = self.severity(index);
        let part = |key| Part { index: Some(index), key, severity };
        match &process.only_if {
            Some(OnlyIf::Never) => return,
            // A process whose `only_if` does not hold would not start here, so the process is not
            // checked. (At run time, a volume may still provide the path of `only_if`.)
            Some(only_if) if self.is_image => match only_if.holds() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.add(Rule::ImagePath, part("only_if"), &error),
            },
            _ => {}
        }
        for socket in &process.listen {
            if let Address::Unix(path) = &socket.address {
                self.socket(part("listen"), path);
            }
        }
        let user = self.user(part("user"), process.user.as_ref());
        if let Some(dir) = &process.working_dir
            && self.can_check(dir)
            && self.has_wrong_directory(part("working_dir"), user.as_ref(), dir)
        {
            // Other paths may be relative to the working directory, so they are not checked.
            return;
        }
        self.own_sockets(process, user.as_ref(), part);
        self.values(process, part);
        if let LogMode::File(file) = &process.log.mode {
            file.paths().for_each(|path| self.log_file(part("log"), path));
        }
        // The `pre_start` hook of the process may install the program of the process. With such a
        // hook, a missing program is only a warning.
        let brings = process.hooks.pre_start.is_some();
        let of_program = if brings { Severity::Warning } else { severity };
        let program = |key| Part { severity: of_program, ..part(key) };
        self.command(program("command"), None, &process.command);
        for hook in hooks_of(&process.hooks) {
            self.hook(part("hooks"), hook);
        }
        for (key, probe) in process.probes() {
            if let Probe::Exec(command) = probe {
                self.call(program(key), None, command);
            }
        }
        match process.drain.as_ref().map(|drain| &drain.method) {
            Some(DrainMethod::Exec(exec)) => self.call(program("drain"), None, &exec.command),
            Some(DrainMethod::Http(http)) => {
                for header in &http.headers {
                    if let HeaderValue::File(path) = &header.value
                        && let Some(why) = self.unreadable(path)
                    {
                        let message =
                            format!("the value of `{}`, `{}`, {why}", header.name, path.display());
                        self.add(Rule::ImagePath, part("drain"), &message);
                    }
                }
            }
            Some(DrainMethod::Envoy(envoy)) => self.envoy(program("drain"), process, envoy),
            _ => {}
        }
    }

    /// Looks up a user, and checks that drainit can become this user. `None` if the config names no
    /// user, if drainit cannot check this, or if the user does not exist.
    fn user(&mut self, part: Part, wanted: Option<&Account>) -> Option<User> {
        let wanted = wanted?;
        if let Account::Written(text) = wanted
            && !["/etc/passwd", "/etc/group"].iter().all(|file| self.is_here(Path::new(file)))
        {
            if !text.split(':').all(|part| part.parse::<u32>().is_ok()) {
                self.unchecked.insert(format!("user: {text}"));
            }
            return None;
        }
        let account = at_start::account(wanted)
            .map_err(|error| self.add(Rule::ImageUser, part, &error))
            .ok()?;
        let user = account.found()?.clone();
        if let Some(error) = cannot_change_user(&user) {
            self.add(Rule::ImageUser, Part { severity: Severity::Warning, ..part }, &error);
        }
        Some(user)
    }

    /// Compares the keys of a drain, such as the address of the admin and the time, with Envoy's
    /// own config.
    fn envoy(&mut self, part: Part, process: &Process, drain: &EnvoyDrain) {
        let admin = &drain.admin;
        let is_given = |path: &Path| {
            self.is_here(path) && !process.render.iter().any(|render| render.to == path)
        };
        let other = bootstrap::other_admin(process, &[], admin, is_given);
        let path = bootstrap::config_file(process, &[]).filter(|path| is_given(path));
        if let Some((place, other)) = other {
            self.add(
                Rule::EnvoyAdmin,
                part,
                &format!("its admin is `{admin}` here, and in `{place}` {other}"),
            );
        }
        let Some(path) = path else { return };
        let (name, file) = (&process.name, path.display());
        let mut warn = |rule: Rule, message: String, help: String| {
            let part = Part { severity: Severity::Warning, ..part };
            self.findings.push(Finding { rule, part, message, help });
        };
        if drain.until == DrainUntil::Requests
            && let Some(line) = bootstrap::tcp_proxy(&path, drain)
        {
            let message = format!(
                "the drain of `{name}` cuts TCP connections: `until: requests` counts HTTP requests only, and `{file}`, \
                 line {line}, has a TCP proxy"
            );
            let help = "remove `until`, or name the listener in `ignore_listeners` if its connections may be cut";
            warn(Rule::EnvoyTcpProxy, message, help.to_owned());
        }
        let written = process.drain.as_ref().and_then(|drain| drain.time);
        let time = written.unwrap_or(Duration::MAX).min(self.config.shutdown.window());
        if let Some((longest, key, line)) = bootstrap::longest_request(&path)
            && time < longest
        {
            let longer = if written == Some(time) { "time" } else { "grace_period" };
            let (time, longest) = (human(time), human(longest));
            let message = format!(
                "the drain of `{name}` cuts requests that take longer than {time}: `{key}` in `{file}`, line {line}, \
                 allows {longest}"
            );
            warn(
                Rule::EnvoyLongRequest,
                message,
                format!("set a longer `{longer}`, or a shorter `{key}` in Envoy's config"),
            );
        }
    }

    /// Checks the files that a start reads or renders, but never their content, which may be
    /// secret.
    fn values(&mut self, process: &Process, part: impl Fn(&'static str) -> Part) {
        for variable in &process.environment {
            let Some(file) = variable.file() else { continue };
            let (key, what) = match variable {
                Variable::FromFile { name, .. } => ("environment", format!("the file of {name}")),
                _ => ("env_file", "its env_file".to_owned()),
            };
            if let Some(why) = self.unreadable(&file.path)
                && (file.required || file.path.exists())
            {
                let message = format!("{what}, `{}`, {why}", file.path.display());
                self.add(Rule::ImagePath, part(key), &message);
            } else if let Variable::FromFile { name, .. } = variable
                && self.is_here(&file.path)
                && fs::metadata(&file.path)
                    .is_ok_and(|found| at_start::is_too_long(name, found.len().saturating_sub(1)))
            {
                let path = file.path.display();
                let message = format!("{what}, `{path}`, is larger than 128 KiB with the name");
                self.add(Rule::ImagePath, part(key), &message);
            }
        }
        for Render { from, to, .. } in &process.render {
            if let Some(why) = self.unreadable(from) {
                let message = format!("the template `{}` {why}", from.display());
                self.add(Rule::ImagePath, part("render"), &message);
            }
            if let Some(why) = self.unwritable(parent(to)) {
                let message =
                    format!("the directory of the rendered file `{}` {why}", to.display());
                self.add(Rule::ImagePath, part("render"), &message);
            } else if self.is_image && to.exists() && !to.is_file() {
                let message = format!("the rendered file `{}` is not a regular file", to.display());
                self.add(Rule::ImagePath, part("render"), &message);
            }
        }
    }

    /// Checks that a log file can be opened or created.
    fn log_file(&mut self, part: Part, path: &Path) {
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
            self.add(
                Rule::ImagePath,
                part,
                &format!("{what}its log file `{}` {why}", path.display()),
            );
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
        self.is_image && !self.around.mounts.iter().any(|mount| path.starts_with(mount))
    }

    /// Whether a path can be checked. If not, records the path as unchecked.
    fn can_check(&mut self, path: &Path) -> bool {
        let can_check = self.is_here(path);
        if !can_check {
            self.unchecked.insert(path.display().to_string());
        }
        can_check
    }

    fn add(&mut self, rule: Rule, part: Part, error: &dyn std::fmt::Display) {
        let Part { index, key, severity } = part;
        let fix = match severity {
            Severity::Error => "correct the image or the config",
            Severity::Warning | Severity::Note => {
                "correct the image or the config, unless a process or hook that runs before creates it"
            }
        };
        let name = index.map(|index| &self.config.processes[index].name);
        let what = match (name, key) {
            (None, "hooks") => "a hook of the container cannot run: ".to_owned(),
            (None, _) => String::new(),
            (Some(name), "readiness") => {
                format!("the readiness probe of `{name}` cannot succeed: ")
            }
            (Some(name), "liveness") => format!("the liveness check of `{name}` cannot run: "),
            (Some(name), "hooks") => format!("a hook of `{name}` cannot run: "),
            (Some(name), "drain") => format!("`{name}` cannot be drained: "),
            (Some(name), _) => format!("`{name}` cannot be started: "),
        };
        let elsewhere = "; use `--image=false` if this is not the image that runs it";
        let otherwise = if self.is_reload { "" } else { elsewhere };
        let (message, help) = (format!("{what}{error}"), format!("{fix}{otherwise}"));
        self.findings.push(Finding { rule, part, message, help });
    }

    /// Checks the directory of a socket. drainit binds the socket before it starts anything, so no
    /// hook or process can create the directory.
    fn socket(&mut self, part: Part, socket: &Path) {
        let (directory, key) = (parent(socket), part.key);
        let message = if let Some(why) = self.unwritable(directory) {
            format!("the directory of `{key}`, `{}`, {why}", directory.display())
        } else if self.is_here(socket)
            && fs::metadata(socket).is_ok_and(|found| !found.file_type().is_socket())
        {
            format!("`{key}`, `{}`, exists and is not a socket", socket.display())
        } else {
            return;
        };
        self.add(Rule::ImagePath, Part { severity: Severity::Error, ..part }, &message);
    }

    /// Checks the directories in which the process itself makes its sockets. Sockets of `listen` are
    /// drainit's.
    fn own_sockets(
        &mut self,
        process: &Process,
        user: Option<&User>,
        part: impl Fn(&'static str) -> Part,
    ) {
        let probed = process.readiness.as_ref().and_then(|readiness| match &readiness.probe {
            Probe::Unix(path) => Some(("readiness", path)),
            _ => None,
        });
        let is_held = |path: &Path| {
            let is_it = |address: &Address| matches!(address, Address::Unix(held) if held == path);
            process.listen.iter().any(|socket| is_it(&socket.address))
        };
        let mut seen = BTreeSet::new();
        let sockets = process.sockets.iter().map(|path| ("sockets", path)).chain(probed);
        for (key, path) in sockets.filter(|(_, path)| path.is_absolute() && !is_held(path)) {
            let directory = parent(path);
            let why = self.unwritable(directory).or_else(|| {
                let found = fs::metadata(directory).ok().filter(|_| self.is_here(directory))?;
                let user = user.filter(|user| ![2, 1].iter().all(|bit| allows(&found, user, *bit)));
                user.map(|user| format!("cannot be written to by uid {}", user.uid))
            });
            if let Some(why) = why
                && seen.insert(directory)
            {
                let directory = directory.display();
                self.add(
                    Rule::ImagePath,
                    part(key),
                    &format!("the directory of its socket, `{directory}`, {why}"),
                );
            }
        }
    }

    /// Whether the working directory of a process is unusable. If so, adds a finding.
    fn has_wrong_directory(&mut self, part: Part, user: Option<&User>, dir: &Path) -> bool {
        let wrong = wrong_with_dir(dir).or_else(|| {
            let user = user?;
            let may = fs::metadata(dir).ok().is_none_or(|found| allows(&found, user, 1));
            let why = format!("uid {} may not enter it", user.uid);
            (!may).then(|| SpawnError::WorkingDir { path: dir.to_owned(), why })
        });
        if let Some(wrong) = &wrong {
            self.add(Rule::ImagePath, part, wrong);
        }
        wrong.is_some()
    }

    /// Checks a hook and its own user.
    fn hook(&mut self, part: Part, hook: &Hook) {
        self.user(part, hook.user.as_ref());
        self.call(part, hook.user.as_ref(), &hook.command);
    }

    /// Checks the command of a hook, probe or drain. If the command is a shell with a script, also
    /// checks the programs that the script certainly runs.
    fn call(&mut self, part: Part, own: Option<&Account>, command: &[String]) {
        self.command(part, own, command);
        for program in script::of(command).map(script::programs).unwrap_or_default() {
            self.command(part, own, &[program]);
        }
    }

    /// Checks the program of a command that runs as the user `own`, or else as that of its process.
    fn command(&mut self, part: Part, own: Option<&Account>, command: &[String]) {
        let process = part.index.map(|index| &*self.config.processes[index]);
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
        self.has_program |= wrong.is_none();
        if let Some(wrong) = wrong {
            self.add(Rule::ImageProgram, part, &wrong);
        }
    }

    /// The `PATH` of a process, or, without a process, of the container's hooks.
    fn path(&self, process: Option<&Process>) -> Option<OsString> {
        for variable in process.map_or(&[][..], |process| &process.environment).iter().rev() {
            match variable {
                Variable::Set { name, value } if name == "PATH" => return Some(value.into()),
                Variable::Removed(name) if name == "PATH" => return None,
                _ => {}
            }
        }
        let default = self.config.env.iter().rev().find(|(name, _)| name == "PATH");
        let given = || self.around.environment.get("PATH").map(OsString::from);
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
