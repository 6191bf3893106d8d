//! Checks that the containers of a pod find drainit's binary if an init container installs it into
//! a volume, or if an image is the volume. Also checks the containers' configs and sockets in
//! volumes, and that init containers end.

use std::rc::Rc;

use crate::config::Address;
use crate::kubernetes::commands::{
    Found, HOOKS, commands, has_socket, has_subcommand, program, refused,
};
use crate::kubernetes::entry::{EntryPoint, entry};
use crate::kubernetes::env::{PodEnv, PodValue};
use crate::kubernetes::exec;
use crate::kubernetes::manifest::{
    Container, Word, Workload, as_list, base, container, is_drainit, items, key, one_word, text,
    words,
};
use crate::kubernetes::{Context, Severity};
use crate::language::diagnostics::problems::Problems;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};

/// The directories in which images keep their programs.
const USUAL: &str = "/:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Kinds of volumes that a container can only read.
const READ_ONLY: [&str; 5] = ["configMap", "secret", "projected", "downwardAPI", "image"];
/// Kinds of volumes that have no drainit when the pod starts.
const WITHOUT: [&str; 6] =
    ["emptyDir", "ephemeral", "configMap", "secret", "projected", "downwardAPI"];

/// A path in a volume of the pod.
struct InVolume {
    /// The name of the volume, with the place of this name in `volumeMounts`.
    volume: Word,
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
    /// The path that the init container writes. `None` for the volume of an image.
    written: Option<String>,
    /// The number of init containers that must have ended before a container finds the binary.
    behind: usize,
}

impl Binary {
    fn is_at(&self, place: &InVolume) -> bool {
        let is_path = |path: &String| *path == place.path;
        let is_any = || base(&place.path) == "drainit";
        self.volume == place.volume.text && self.path.as_ref().map_or_else(is_any, is_path)
    }
}

/// Reports commands of a pod that do not find the installed drainit or their config, and init
/// containers that cannot install drainit or never end. `env` reads the environment of a container.
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
        // The ENTRYPOINT of another image may have a subcommand `install`, too.
        let is_drainit =
            !words(&init.node, &["command"]).is_empty() || image_of(&init.node).contains("drainit");
        let names = |path: &String| path.contains("drainit");
        match install(workload, init, place) {
            Ok(Some(new)) if is_drainit || new.written.as_ref().is_some_and(names) => {
                binaries.push(new);
            }
            Err(found) if is_drainit => wrong.push(found),
            _ => {}
        }
    }
    // After a wrong installation, nobody knows where the binary is, so the containers that use it
    // cannot be checked.
    if wrong.is_empty() {
        let pod = Pod { workload, inits: &inits, binaries };
        for (place, init) in inits.iter().enumerate() {
            pod.uses(&mut wrong, init, &env(init), place);
            if init.is_sidecar {
                pod.config(problems, init, &env(init));
            }
        }
        for main in all("containers") {
            pod.uses(&mut wrong, &main, &env(&main), inits.len());
            pod.config(problems, &main, &env(&main));
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
            && is_empty_after(ctx.workload, &at.volume.text, usize::MAX)
        {
            let message = format!(
                "`{path}` cannot be made: the volume `{}` is empty at the start and has no `{directory}`",
                at.volume.text
            );
            ctx.add(Severity::Error, ctx.container.span, message)
                .help("mount the volume at the directory of the socket, or name a socket directly below the mount");
            return;
        }
        let is_closed = match volume {
            Some(at) => at.is_read_only || is_of(&ctx.workload.pod, &at.volume.text, &READ_ONLY),
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
        let volume = text(mount, &["name"])?;
        let place = InVolume {
            volume,
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

/// Reports a mount whose volume the pod does not have.
fn missing(workload: &Workload, place: &InVolume) -> Option<Found> {
    let names = || items(&workload.pod, &["volumes"]).iter().filter_map(|it| text(it, &["name"]));
    // In a StatefulSet, the volume may come from `volumeClaimTemplates`, which are not read here.
    let is_there = workload.kind == "StatefulSet" || names().any(|it| it.text == place.volume.text);
    let name = &place.volume;
    let help = || "add it to the pod's `volumes`".to_owned();
    let message = || format!("the pod has no volume `{}`", name.text);
    (!is_there).then(|| (name.span, message(), help()))
}

/// Reports a path in a volume, if the manifest shows that the volume does not have this file.
fn no_file(workload: &Workload, place: &InVolume) -> Option<Found> {
    let (name, path) = (&place.volume, &place.path);
    let is_it = |volume: &&Rc<Node>| text(volume, &["name"]).is_some_and(|it| it.text == name.text);
    let files = files(workload, items(&workload.pod, &["volumes"]).iter().find(is_it)?)?;
    let is_there = |file: &String| {
        let below = file.strip_prefix(path.as_str());
        below.is_some_and(|below| path.is_empty() || below.is_empty() || below.starts_with('/'))
    };
    let message = format!("the volume `{}` has no `{path}`", name.text);
    let help = "let the config's path agree with a key of the volume's ConfigMap or Secret, or with `path` of an item";
    (!files.iter().any(is_there)).then(|| (name.span, message, help.to_owned()))
}

/// The paths of a volume's files; `None` if the manifest does not show them.
fn files(workload: &Workload, volume: &Rc<Node>) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let sources = items(volume, &["projected", "sources"]);
    for source in if sources.is_empty() { std::slice::from_ref(volume) } else { sources } {
        let kinds = [("configMap", "ConfigMap"), ("secret", "Secret")].into_iter();
        let (node, kind) =
            kinds.filter_map(|(key, kind)| Some((get(source, &[key])?, kind))).next()?;
        let name = text(node, &["name"]).or_else(|| text(node, &["secretName"]));
        let keys = name.and_then(|name| workload.keys(kind, &name.text));
        let listed = items(node, &["items"]);
        if listed.is_empty() {
            found.extend(keys.as_ref()?.iter().map(|key| (*key).to_owned()));
        }
        for item in listed {
            let key = text(item, &["key"])?.text;
            let is_there = keys.as_ref().is_none_or(|keys| keys.contains(&key.as_str()));
            found.extend(text(item, &["path"]).filter(|_| is_there).map(|path| path.text));
        }
    }
    Some(found)
}

/// The name of an image, without its registry and its version.
fn image_name(reference: &str) -> &str {
    base(reference.split('@').next().unwrap_or_default()).split(':').next().unwrap_or_default()
}

/// The name of a container's image; empty if the container has none.
fn image_of(container: &Node) -> String {
    let image = text(container, &["image"]);
    image.map(|image| image_name(&image.text).to_owned()).unwrap_or_default()
}

/// The drainit in the volume of an image. drainit's own image has it at the root.
fn image(volume: &Rc<Node>) -> Option<Binary> {
    let reference = text(volume, &["image", "reference"])?.text;
    let name = image_name(&reference);
    name.contains("drainit").then_some(())?;
    let path = (name == "drainit").then(|| name.to_owned());
    Some(Binary { volume: text(volume, &["name"])?.text, path, written: None, behind: 0 })
}

/// The binary that an init container installs, or the reason why the container cannot install it.
/// `None` if the container does not install drainit, or if the path is not known here.
fn install(workload: &Workload, init: &Container, place: usize) -> Result<Option<Binary>, Found> {
    let (command, args) = (words(&init.node, &["command"]), words(&init.node, &["args"]));
    let image = image_of(&init.node);
    let is_install = |word: &Word| word.text == "install";
    let is_image = command.is_empty();
    let is_own = is_image && (image == "drainit" || args.first().is_some_and(is_install))
        || command.first().is_some_and(|program| is_drainit(&program.text));
    let line: Vec<_> = command.into_iter().chain(args).collect();
    if image == "drainit" {
        own_image(workload, init)?;
    }
    if is_own && !init.is_sidecar {
        let usage = "write `args: [install, PATH]`";
        let wrong = refused(init.span, &line[usize::from(!is_image)..], usage);
        wrong.map_or(Ok(()), Err)?;
    }
    let drainit = Word { text: "drainit".to_owned(), span: init.span };
    let line = if is_image { [vec![drainit], line].concat() } else { line };
    let installs = |words: &[Word]| is_drainit(&words[0].text) && is_install(&words[1]);
    let all = commands(line);
    let found = all.iter().find_map(|words| Some(&words[words.windows(2).position(installs)?..]));
    let Some(words) = found.filter(|words| is_own || !is_image && words.len() > 1) else {
        return Ok(None);
    };
    let Some(to) = words[2..].iter().find(|word| !word.text.starts_with('-')) else {
        let help = "write `args: [install, PATH]` with a path in a volume".to_owned();
        return Err((words[1].span, "`drainit install` has no path".to_owned(), help));
    };
    // A path with a variable, or one in the container's `workingDir`, is not known here.
    if !to.text.starts_with('/') || to.text.contains('$') {
        return Ok(None);
    }
    if init.is_sidecar {
        let message = "this container is started again for ever: `install` ends at once";
        let span = key(&init.node, "restartPolicy").unwrap_or(init.span);
        return Err((span, message.to_owned(), "remove `restartPolicy`".to_owned()));
    }
    let at = in_volume(&init.node, &to.text);
    let at = at.ok_or_else(|| {
        let message = format!(
            "this container mounts no volume at `{}`: no other container sees a drainit that is installed there",
            to.text
        );
        (to.span, message, "let the path and the `mountPath` agree".to_owned())
    })?;
    if let Some(found) = missing(workload, &at) {
        return Err(found);
    }
    if at.is_read_only || is_of(&workload.pod, &at.volume.text, &READ_ONLY) {
        let message = format!(
            "drainit cannot be installed as `{}`: the volume `{}` is read-only",
            to.text, at.volume.text
        );
        let help = "mount an `emptyDir` here, without `readOnly`; the other containers may have `readOnly`";
        return Err((to.span, message, help.to_owned()));
    }
    no_directory(workload, place, to, &at)?;
    // If the path is a directory, `install` puts the program into the directory.
    let is_directory = to.text.ends_with('/') || at.path.is_empty();
    let path = if is_directory { format!("{}/drainit", at.path) } else { at.path };
    Ok(Some(Binary {
        volume: at.volume.text,
        path: Some(path.trim_matches('/').to_owned()),
        written: Some(to.text.clone()),
        behind: place + 1,
    }))
}

/// Reports an init container in which drainit's own image cannot start. The image has only the
/// file `/drainit`, and sets no user, so it runs as root.
fn own_image(workload: &Workload, init: &Container) -> Result<(), Found> {
    let command = words(&init.node, &["command"]);
    let is_known = |word: &&Word| !["/drainit", "./drainit"].contains(&&*word.text);
    if let Some(program) = command.first().filter(is_known) {
        let message =
            format!("`{}` is not there: drainit's image has only `/drainit`", program.text);
        return Err((program.span, message, "remove `command`, and write `args`".to_owned()));
    }
    for mount in items(&init.node, &["volumeMounts"]) {
        let at =
            text(mount, &["mountPath"]).filter(|at| at.text.trim_end_matches('/') == "/drainit");
        if let Some(at) = at {
            let message =
                "no volume can be mounted at `/drainit`: drainit's image has a file of this name";
            let help =
                "mount it elsewhere, such as at `/opt/drainit`, also in the path of `install`";
            return Err((at.span, message.to_owned(), help.to_owned()));
        }
    }
    let security = |key| {
        let of = |node| text(node, &["securityContext", key]);
        of(&init.node).or_else(|| of(&workload.pod))
    };
    let non_root = security("runAsNonRoot").filter(|word| word.text == "true");
    match non_root.filter(|_| security("runAsUser").is_none()) {
        Some(word) => {
            let message =
                "drainit's image has no user, and the kubelet refuses to start it as root";
            Err((word.span, message.to_owned(), "add `runAsUser: 65532`".to_owned()))
        }
        None => Ok(()),
    }
}

/// Reports a path of `install` in a directory that an empty volume does not have yet. `place` is
/// the number of init containers before this one.
fn no_directory(workload: &Workload, place: usize, to: &Word, at: &InVolume) -> Result<(), Found> {
    let directory = match to.text.ends_with('/') {
        true => at.below.as_str(),
        false => at.below.rsplit_once('/').map_or("", |(directory, _)| directory),
    };
    let volume = &*at.volume.text;
    if directory.is_empty() || !is_empty_after(workload, volume, place) {
        return Ok(());
    }
    let message = format!(
        "`drainit install` makes no directory, and the volume `{volume}` has no `{directory}`"
    );
    Err((to.span, message, "install into the directory at which the volume is mounted".to_owned()))
}

/// Whether a volume is empty when the first `inits` init containers have ended.
fn is_empty_after(workload: &Workload, volume: &str, inits: usize) -> bool {
    let before = items(&workload.pod, &["initContainers"]).iter().take(inits);
    is_of(&workload.pod, volume, &["emptyDir", "ephemeral"])
        && !before.into_iter().any(|init| mounts(init, volume, true))
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
                    match text == "drainit" {
                        true if sets_path => None,
                        true => self.bare(container, env, word.span, place),
                        false => self.path(container, &Word { text, span: word.span }, place),
                    }
                });
                wrong.extend(found);
            }
        }
    }

    /// Reports a config that `drainit run` does not find.
    fn config(&self, problems: &mut Problems, container: &Container, env: &PodEnv) {
        let node = &container.node;
        let EntryPoint::Drainit(words) = entry(container) else { return };
        let options =
            words.iter().map_while(|it| (it.text != "--").then(|| env.substitute(&it.text)));
        let Some(options) = options.collect::<Option<Vec<_>>>() else { return };
        let mut options = options.iter().map(String::as_str);
        if options.next() != Some("run") {
            return;
        }
        let mut paths = Vec::new();
        while let Some(word) = options.next() {
            paths.extend(match word {
                "-c" | "--config" => options.next(),
                _ => word.strip_prefix("--config="),
            });
        }
        // Without `-c` and `DRAINIT_CONFIG`, drainit also looks into its working directory.
        let variable = "DRAINIT_CONFIG";
        match env.of_manifest(variable) {
            _ if !paths.is_empty() => {}
            PodValue::Known(word) => paths.push(&word.text),
            PodValue::Missing
                if env.get(variable) == PodValue::Missing
                    && !env.may_bring(variable)
                    && key(node, "workingDir").is_none() =>
            {
                paths.push("/etc/drainit.yaml");
            }
            _ => {}
        }
        // Whether drainit comes from the image. The image may then have the config, too.
        let is_own = image_of(node).contains("drainit") || self.mounted(node).is_none();
        for path in paths.into_iter().filter(|path| path.starts_with('/')) {
            let Some(at) = in_volume(node, path) else {
                if !is_own {
                    let message =
                        format!("`{}` mounts no volume at `{path}`, its config", container.name);
                    problems.warning(container.span, message).shared().help(
                        "mount a ConfigMap there, name another path by `-c`, or run a program without a config by `drainit exec`",
                    );
                }
                continue;
            };
            let found = missing(self.workload, &at).or_else(|| no_file(self.workload, &at));
            if let Some((span, message, help)) = found {
                problems.error(span, message).shared().help(help);
            }
        }
    }

    /// The binaries that exist once the first `place` init containers have ended.
    fn there(&self, place: usize) -> impl Iterator<Item = &Binary> {
        self.binaries.iter().filter(move |binary| binary.behind <= place)
    }

    /// The binary in a volume that the container mounts.
    fn mounted(&self, container: &Node) -> Option<&Binary> {
        self.binaries.iter().find(|binary| mounts(container, &binary.volume, false))
    }

    /// Checks a drainit that is searched for in `PATH`. A container that mounts a volume with
    /// drainit is expected to use that drainit, unless the name of its image contains `drainit`.
    fn bare(&self, container: &Container, env: &PodEnv, span: Span, place: usize) -> Option<Found> {
        let mounted = self.mounted(&container.node)?;
        if image_of(&container.node).contains("drainit") {
            return None;
        }
        let path = match env.get("PATH") {
            PodValue::Known(path) => &path.text,
            PodValue::Missing => USUAL,
            PodValue::Unknown(_) => return None,
        };
        let is_found = |directory: &str| {
            let path = format!("{}/drainit", directory.trim_end_matches('/'));
            let at = in_volume(&container.node, &path);
            at.is_some_and(|at| {
                at.noexec.is_none() && self.there(place).any(|binary| binary.is_at(&at))
            })
        };
        if path.split(':').skip(usize::from(path == USUAL)).any(is_found) {
            return None;
        }
        let message = format!(
            "`drainit` is not there: it is only in the volume `{}`, in no directory of `PATH`",
            mounted.volume
        );
        Some((span, message, "write the whole path of the program".to_owned()))
    }

    /// Checks a program that is named by its path.
    fn path(&self, container: &Container, program: &Word, place: usize) -> Option<Found> {
        let path = &*program.text;
        let is_named = base(path) == "drainit";
        let not_there = |why: String, help: &str| {
            Some((program.span, format!("`{path}` is not there: {why}"), help.to_owned()))
        };
        if !path.starts_with('/') || path.contains('$') {
            return None;
        }
        let Some(at) = in_volume(&container.node, path) else {
            return if is_named { self.outside(container, program, place) } else { None };
        };
        if let Some(span) = at.noexec {
            let message = format!("`{path}` cannot run: the volume is mounted with `noexec`");
            return Some((span, message, "remove `noexec`".to_owned()));
        }
        let volume = &*at.volume.text;
        if self.there(place).any(|binary| binary.is_at(&at)) {
            return missing(self.workload, &at);
        }
        // An init container that does not install drainit may write other programs into the volume.
        let may_write = |(place, init): &(usize, &Container)| {
            let is_install = self.binaries.iter().any(|binary| binary.behind == place + 1);
            !is_install && mounts(&init.node, volume, true)
        };
        let is_open = self.inits[..place].iter().enumerate().any(|init| may_write(&init));
        match self.there(place).find(|binary| binary.volume == volume) {
            Some(Binary { written: Some(written), .. }) if is_named || !is_open => {
                let why = format!("the init container installs `{written}` into the volume `{volume}`");
                not_there(why, "let both name the same file")
            }
            Some(Binary { written: None, .. }) if is_named => {
                let why = format!("the image of the volume `{volume}` has drainit at its root");
                not_there(why, "let the command agree with the `mountPath`")
            }
            None if is_named && !is_open => missing(self.workload, &at).or_else(|| {
                is_of(&self.workload.pod, volume, &WITHOUT).then_some(())?;
                let when = match place < self.inits.len() {
                    true => " before this container starts",
                    false => "",
                };
                let why = format!("nothing installs drainit into the volume `{volume}`{when}");
                not_there(
                    why,
                    "add an init container with the image of drainit, `args: [install, PATH]` and a mount of this volume",
                )
            }),
            _ => None,
        }
    }

    /// Checks a drainit at a path at which the container mounts no volume. As in [`Self::bare`], a
    /// container that mounts a volume with drainit is expected to use that drainit.
    fn outside(&self, container: &Container, program: &Word, place: usize) -> Option<Found> {
        let path = &*program.text;
        let mounted = self.mounted(&container.node).filter(|binary| binary.behind <= place);
        let (why, help) = match mounted {
            Some(_) if image_of(&container.node).contains("drainit") => return None,
            Some(mounted) => (
                format!("this container mounts the volume `{}`, which has drainit, elsewhere", mounted.volume),
                "let the command agree with the `mountPath`",
            ),
            None if self.is_elsewhere(path) => (
                "this container does not mount the volume into which the init container installs drainit"
                    .to_owned(),
                "add the volume to `volumeMounts`",
            ),
            _ => return None,
        };
        Some((program.span, format!("`{path}` is not there: {why}"), help.to_owned()))
    }

    /// Whether another container of the pod has an installed drainit at this path.
    fn is_elsewhere(&self, path: &str) -> bool {
        let lists = ["initContainers", "containers"];
        let mut all = lists.iter().flat_map(|list| items(&self.workload.pod, &[list]));
        all.any(|node| {
            let at = in_volume(node, path);
            at.is_some_and(|at| self.binaries.iter().any(|binary| binary.is_at(&at)))
        })
    }
}
