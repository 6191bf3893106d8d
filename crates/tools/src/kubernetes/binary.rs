//! Checks that the containers of a pod find drainit's binary if an init container installs it into
//! a volume, or if an image is the volume. Also checks that the containers can make their sockets,
//! and that init containers end.

use std::rc::Rc;

use crate::config::Address;
use crate::kubernetes::commands::{
    Found, HOOKS, commands, has_socket, has_subcommand, program, refused,
};
use crate::kubernetes::env::{PodEnv, PodValue};
use crate::kubernetes::exec;
use crate::kubernetes::manifest::{
    Container, Word, Workload, as_list, base, container, is_drainit, items, one_word, text, words,
};
use crate::kubernetes::{Context, Severity};
use crate::language::diagnostics::problems::Problems;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};

/// The directories in which images keep their programs.
const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Kinds of volumes that a container can only read.
const READ_ONLY: [&str; 5] = ["configMap", "secret", "projected", "downwardAPI", "image"];
/// Kinds of volumes that have no drainit when the pod starts.
const WITHOUT: [&str; 6] =
    ["emptyDir", "ephemeral", "configMap", "secret", "projected", "downwardAPI"];

/// A path in a volume of the pod.
struct InVolume {
    /// The name of the volume.
    volume: String,
    /// The path below the root of the volume, without `/` at its ends.
    path: String,
    /// The path below the mount.
    below: String,
    is_read_only: bool,
    /// The place of the option `noexec` in the `bindMountOptions` of the mount.
    noexec: Option<Span>,
}

/// A drainit in a volume.
struct Binary {
    volume: String,
    /// The path below the root of the volume. `None` if the file may be anywhere in the volume.
    path: Option<String>,
    /// How the binary gets into the volume.
    how: String,
    /// The number of init containers that must have ended before a container finds the binary.
    behind: usize,
}

impl Binary {
    fn is_at(&self, place: &InVolume) -> bool {
        let is_path = |path: &String| *path == place.path;
        let is_any = || base(&place.path) == "drainit";
        self.volume == place.volume && self.path.as_ref().map_or_else(is_any, is_path)
    }
}

/// Reports commands of a pod that do not find the installed drainit, and init containers that
/// install drainit where nobody finds it, or that never end. `env` reads the environment of a
/// container.
pub(super) fn check(
    problems: &mut Problems,
    workload: &Workload,
    env: impl Fn(&Container) -> PodEnv,
) {
    let all = |list: &str| items(&workload.pod, &[list]).iter().map(container);
    let inits: Vec<_> = all("initContainers").collect();
    let mut binaries: Vec<_> =
        items(&workload.pod, &["volumes"]).iter().filter_map(image).collect();
    let mut wrong = Vec::new();
    for container in inits.iter().cloned().chain(all("containers")) {
        one_words(&mut wrong, &container);
    }
    for (place, init) in inits.iter().enumerate() {
        wrong.extend(never_ends(init, &env(init)));
        match install(workload, init, place) {
            Ok(new) => binaries.extend(new),
            Err(found) => wrong.push(found),
        }
    }
    // After a wrong installation, nobody knows where the binary is, so the containers that use it
    // cannot be checked.
    if wrong.is_empty() {
        let pod = Pod { workload, inits: &inits, binaries };
        let mains = all("containers").map(|main| (inits.len(), main));
        for (place, container) in inits.iter().cloned().enumerate().chain(mains) {
            pod.uses(&mut wrong, &container, &env(&container), place);
        }
    }
    for (span, message, help) in wrong {
        problems.error(span, message).shared().help(help);
    }
}

/// Arguments with which an Envoy ends by itself.
const ENDS: [&str; 6] =
    ["-h", "--help", "--version", "--hot-restart-version", "init_only", "validate"];

/// Reports an init container that serves, and so never ends. A `drainit run` in a container without
/// ports is not reported, because its config may have only oneshots.
fn never_ends(init: &Container, env: &PodEnv) -> Option<Found> {
    let line = [words(&init.node, &["command"]), words(&init.node, &["args"])].concat();
    // A shell runs at least as long as its last command.
    let own = commands(line).pop()?;
    let at = own.iter().position(|word| is_drainit(&word.text))?;
    let is_exec = own.get(at + 1)?.text == "exec";
    let started = commands(exec::command(&own[at + 2..], env)).pop().filter(|_| is_exec);
    let is_envoy = started.is_some_and(|words| {
        base(program(&words)) == "envoy"
            && !words.iter().any(|word| ENDS.contains(&word.text.trim_start_matches("--mode=")))
    });
    let is_served = is_exec || !items(&init.node, &["ports"]).is_empty();
    let serves = is_envoy || is_served && has_socket(init);
    if init.is_sidecar || !serves {
        return None;
    }
    let message = format!("`{}` never ends: no further container of the pod starts", init.name);
    let help = "write `restartPolicy: Always`, which makes it a sidecar";
    Some((init.span, message, help.to_owned()))
}

/// Reports a socket in a directory in which the container cannot write.
pub(super) fn sockets(ctx: &mut Context<'_>) {
    let (config, node) = (&ctx.loaded.config, &ctx.container.node);
    let listen = config.processes.iter().flat_map(|process| &process.listen);
    let held = listen.filter_map(|socket| match &socket.address {
        Address::Unix(path) => Some(&**path),
        Address::Tcp(_) => None,
    });
    // drainit makes these sockets before it starts anything that could make their directories.
    let early = config.control.socket.path().into_iter().chain(held).map(|path| (path, true));
    let later = config.processes.iter().flat_map(|process| &process.sockets);
    let paths = early.chain(later.map(|path| (&**path, false)));
    let paths = paths.filter_map(|(path, is_early)| Some((path.to_str()?, is_early)));
    for (path, is_early) in paths.collect::<Vec<_>>() {
        // In most images, `/var/run` is a link to `/run`.
        let twin = match path.strip_prefix("/var/run/") {
            Some(rest) => format!("/run/{rest}"),
            None if path.starts_with("/run/") => format!("/var{path}"),
            None => path.to_owned(),
        };
        let volume = in_volume(node, path).or_else(|| in_volume(node, &twin));
        if let Some((at, directory)) = volume
            .as_ref()
            .filter(|_| is_early)
            .and_then(|at| Some((at, at.below.rsplit_once('/')?.0)))
            && is_empty(&ctx.workload.pod, &at.volume)
        {
            let message = format!(
                "`{path}` cannot be made: the volume `{}` is empty at the start and has no `{directory}`",
                at.volume
            );
            ctx.add(Severity::Error, ctx.container.span, message)
                .help("mount the volume at the directory of the socket, or name a socket directly below the mount");
            return;
        }
        let is_closed = match volume {
            Some(at) => at.is_read_only || is_of(&ctx.workload.pod, &at.volume, &READ_ONLY),
            None => {
                let root = text(node, &["securityContext", "readOnlyRootFilesystem"]);
                root.is_some_and(|it| it.text == "true") && !path.starts_with("/dev/")
            }
        };
        if is_closed {
            let message = format!("`{path}` cannot be made: the container can only read there");
            ctx.add(Severity::Error, ctx.container.span, message)
                .help("mount an `emptyDir` at its directory, without `readOnly`");
            return;
        }
    }
}

/// Reports commands that have the program and its arguments in one item, as in `[drainit drain]`.
fn one_words(wrong: &mut Vec<Found>, container: &Container) {
    for path in [&["command"][..]].into_iter().chain(HOOKS) {
        let Some(word) = one_word(&container.node, path) else { continue };
        let message = format!("`{}` is one word: no program has this name", word.text);
        wrong.push((word.span, message, format!("write `{}`", as_list(&word.text))));
    }
}

/// Finds the volume that is mounted at a path. A `subPath` is part of the path in the volume.
fn in_volume(container: &Node, path: &str) -> Option<InVolume> {
    let mounts = items(container, &["volumeMounts"]).iter();
    let found = mounts.filter_map(|mount| {
        let at = text(mount, &["mountPath"])?.text;
        let rest = path.strip_prefix(at.trim_end_matches('/'))?;
        let is_below = rest.is_empty() || rest.starts_with('/');
        let sub = text(mount, &["subPath"]).or_else(|| text(mount, &["subPathExpr"]));
        let sub = sub.map(|sub| sub.text).unwrap_or_default();
        let whole = format!("{}/{}", sub.trim_matches('/'), rest.trim_matches('/'));
        let path = whole.trim_matches('/').to_owned();
        let place = InVolume {
            volume: text(mount, &["name"])?.text,
            path,
            below: rest.trim_matches('/').to_owned(),
            is_read_only: is_read_only(mount),
            noexec: items(mount, &["bindMountOptions"])
                .iter()
                .find(|option| option.scalar() == Some("noexec"))
                .map(|option| option.span),
        };
        is_below.then_some((at.len(), place))
    });
    found.max_by_key(|(depth, _)| *depth).map(|(_, found)| found)
}

fn is_read_only(mount: &Node) -> bool {
    text(mount, &["readOnly"]).is_some_and(|it| it.text == "true")
}

/// Whether a container mounts a volume. With `to_write`, the container must also be able to write
/// into it.
fn mounts(container: &Node, volume: &str, to_write: bool) -> bool {
    items(container, &["volumeMounts"]).iter().any(|mount| {
        text(mount, &["name"]).is_some_and(|name| name.text == volume)
            && !(to_write && is_read_only(mount))
    })
}

/// Whether a volume is of one of these kinds.
fn is_of(pod: &Node, volume: &str, kinds: &[&str]) -> bool {
    items(pod, &["volumes"]).iter().any(|it| {
        text(it, &["name"]).is_some_and(|name| name.text == volume)
            && kinds.iter().any(|kind| get(it, &[kind]).is_some())
    })
}

/// Whether a volume is empty when the main containers start.
fn is_empty(pod: &Node, volume: &str) -> bool {
    let mut inits = items(pod, &["initContainers"]).iter();
    is_of(pod, volume, &["emptyDir", "ephemeral"]) && !inits.any(|init| mounts(init, volume, true))
}

/// The name of a container's image, without its registry and its version; empty if the container
/// has none.
fn image_of(container: &Node) -> String {
    let image = text(container, &["image"]);
    image.map(|image| image_name(&image.text).to_owned()).unwrap_or_default()
}

fn image_name(reference: &str) -> &str {
    base(reference.split('@').next().unwrap_or_default()).split(':').next().unwrap_or_default()
}

/// The drainit in the volume of an image. drainit's own image has it at the root.
fn image(volume: &Rc<Node>) -> Option<Binary> {
    let reference = text(volume, &["image", "reference"])?.text;
    let name = image_name(&reference);
    name.contains("drainit").then_some(())?;
    let path = (name == "drainit").then(|| name.to_owned());
    let how = "the image has drainit at its root, and is".to_owned();
    Some(Binary { volume: text(volume, &["name"])?.text, path, how, behind: 0 })
}

/// The binary that an init container installs, or the reason why no other container finds it.
/// `None` if the container does not install drainit, or if the path is not known here.
fn install(workload: &Workload, init: &Container, place: usize) -> Result<Option<Binary>, Found> {
    let (command, args) = (words(&init.node, &["command"]), words(&init.node, &["args"]));
    let image = image_of(&init.node);
    let is_install = |word: &Word| word.text == "install";
    let is_image = command.is_empty();
    // The ENTRYPOINT of another image may have a subcommand `install`, too.
    let is_sure = !is_image || image.contains("drainit");
    let is_own = match command.first() {
        Some(program) => is_drainit(&program.text),
        None => image == "drainit" || is_sure && args.first().is_some_and(is_install),
    };
    let mut line: Vec<_> = command.into_iter().chain(args).collect();
    if is_image {
        line.insert(0, Word { text: "drainit".to_owned(), span: init.span });
    }
    if is_own && !init.is_sidecar {
        let wrong = refused(init.span, &line[1..], "write `args: [install, PATH]`");
        wrong.map_or(Ok(()), Err)?;
    }
    let installs = |pair: &[Word]| is_drainit(&pair[0].text) && is_install(&pair[1]);
    let to = commands(line).into_iter().find_map(|words| {
        let behind = &words[words.windows(2).position(installs)? + 2..];
        behind.iter().find(|word| !word.text.starts_with('-')).cloned()
    });
    // A path with a variable, or one in the container's `workingDir`, is not known here.
    let is_known = |to: &Word| to.text.starts_with('/') && !to.text.contains('$');
    let to = to.filter(|to| is_known(to) && (is_sure || to.text.contains("drainit")));
    let Some(to) = to else { return Ok(None) };
    let wrong = |why: String, help: &str| Err((to.span, why, help.to_owned()));
    let Some(at) = in_volume(&init.node, &to.text) else {
        let message = format!(
            "this container mounts no volume at `{}`: no other container sees a drainit that is installed there",
            to.text
        );
        return if is_sure {
            wrong(message, "let the path and the `mountPath` agree")
        } else {
            Ok(None)
        };
    };
    if at.is_read_only || is_of(&workload.pod, &at.volume, &READ_ONLY) {
        let message = format!(
            "drainit cannot be installed as `{}`: the volume `{}` is read-only",
            to.text, at.volume
        );
        return wrong(message, "mount an `emptyDir` here, without `readOnly`");
    }
    // If the path is a directory, `install` puts the program into the directory.
    let is_directory = to.text.ends_with('/') || at.path.is_empty();
    let path = if is_directory { format!("{}/drainit", at.path) } else { at.path };
    Ok(Some(Binary {
        volume: at.volume,
        path: Some(path.trim_matches('/').to_owned()),
        how: format!("the init container installs `{}` into", to.text),
        behind: place + 1,
    }))
}

/// The pod, and the volumes in which it has drainit.
struct Pod<'a> {
    workload: &'a Workload,
    inits: &'a [Container],
    binaries: Vec<Binary>,
}

impl Pod<'_> {
    /// Checks the programs that a container starts. `place` is the number of init containers that
    /// run before it.
    fn uses(&self, wrong: &mut Vec<Found>, container: &Container, env: &PodEnv, place: usize) {
        let node = &container.node;
        let command = words(node, &["command"]);
        // Without `command`, the image's ENTRYPOINT gets the arguments. This ENTRYPOINT is not
        // known.
        let args = if command.is_empty() { Vec::new() } else { words(node, &["args"]) };
        let line = command.into_iter().chain(args).collect();
        for line in [line].into_iter().chain(HOOKS.map(|hook| words(node, hook))) {
            let sets_path = line.iter().any(|word| word.text.contains("PATH="));
            for words in commands(line) {
                let starts = |at: usize| at == 0 || has_subcommand(&words, at);
                let programs = words.iter().enumerate().filter(|(at, _)| starts(*at));
                let found = programs.filter_map(|(_, word)| {
                    let text = env.substitute(&word.text)?;
                    let paths = paths(&text, sets_path, env)?;
                    self.lost(&container.node, &Word { text, span: word.span }, &paths, place)
                });
                wrong.extend(found);
            }
        }
    }

    /// Whether a binary is there once the first `place` init containers have ended.
    fn has(&self, at: &InVolume, place: usize) -> bool {
        self.binaries.iter().any(|binary| binary.behind <= place && binary.is_at(at))
    }

    /// Checks a program, which is searched for at these paths.
    fn lost(&self, node: &Node, program: &Word, paths: &[String], place: usize) -> Option<Found> {
        let name = &program.text;
        let is_named = base(name) == "drainit";
        let mut places = paths.iter().filter_map(|path| in_volume(node, path));
        let at = places.find(|at| name.contains('/') || self.has(at, place));
        let (why, help) = match at {
            Some(InVolume { noexec: Some(span), .. }) => {
                let message = format!("`{name}` cannot run: the volume is mounted with `noexec`");
                return Some((span, message, "remove `noexec`".to_owned()));
            }
            Some(at) if self.has(&at, place) => return None,
            Some(at) => self.inside(&at, is_named, place)?,
            None if is_named => self.outside(node, name, place)?,
            None => return None,
        };
        Some((program.span, format!("`{name}` is not there: {why}"), help.to_owned()))
    }

    /// Says why a program is not in a mounted volume.
    fn inside(&self, at: &InVolume, is_named: bool, place: usize) -> Option<(String, &str)> {
        let volume = &at.volume;
        // An init container that does not install drainit may write other programs into the volume.
        let may_write = |(place, init): (usize, &Container)| {
            let is_install = self.binaries.iter().any(|binary| binary.behind == place + 1);
            !is_install && mounts(&init.node, volume, true)
        };
        let is_open = self.inits[..place].iter().enumerate().any(may_write);
        let mut there = self.binaries.iter().filter(|binary| binary.behind <= place);
        match there.find(|binary| binary.volume == *volume) {
            Some(binary) => (is_named || binary.behind > 0 && !is_open).then(|| {
                (format!("{} the volume `{volume}`", binary.how), "let both name the same file")
            }),
            None if !is_named || is_open || !is_of(&self.workload.pod, volume, &WITHOUT) => None,
            None => {
                let is_main = place == self.inits.len();
                let when = if is_main { "" } else { " before this container starts" };
                Some((
                    format!("nothing installs drainit into the volume `{volume}`{when}"),
                    "add an init container with the image of drainit, `args: [install, PATH]` and a mount of this volume",
                ))
            }
        }
    }

    /// Says why drainit is not outside of the volumes. A container that mounts a volume with drainit
    /// is expected to use that drainit, unless the name of its image contains `drainit`.
    fn outside(&self, node: &Node, name: &str, place: usize) -> Option<(String, &str)> {
        let is_mounted = |it: &&Binary| it.behind <= place && mounts(node, &it.volume, false);
        let mut all = ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| items(&self.workload.pod, &[list]));
        let is_at = |at: InVolume| self.binaries.iter().any(|binary| binary.is_at(&at));
        match self.binaries.iter().find(is_mounted) {
            Some(_) if image_of(node).contains("drainit") => None,
            Some(mounted) => Some((
                format!("it is only in the volume `{}`, which is mounted elsewhere", mounted.volume),
                "let the command agree with the `mountPath`",
            )),
            None => all.any(|other| in_volume(other, name).is_some_and(is_at)).then(|| (
                "this container does not mount the volume into which the init container installs drainit"
                    .to_owned(),
                "add the volume to `volumeMounts`",
            )),
        }
    }
}

/// The paths at which a program is searched for; `None` if they are not known here. `sets_path` says
/// whether the command sets its own `PATH`.
fn paths(program: &str, sets_path: bool, env: &PodEnv) -> Option<Vec<String>> {
    if program != "drainit" {
        let is_known = program.starts_with('/') && !program.contains('$');
        return is_known.then(|| vec![program.to_owned()]);
    }
    let path = match env.get("PATH") {
        _ if sets_path => return None,
        PodValue::Known(path) => &path.text,
        PodValue::Missing => USUAL,
        PodValue::Unknown(_) => return None,
    };
    let in_directory = |it: &str| format!("{}/drainit", it.trim_end_matches('/'));
    Some(path.split(':').map(in_directory).collect())
}
