//! Checks that the containers of a pod find drainit's binary if an init container installs it into
//! a volume, or if an image is the volume.

use std::rc::Rc;

use crate::kubernetes::commands::{Found, HOOKS, commands, has_subcommand, one_words, refused};
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::{
    Container, Word, base, command_line, container, image_name, is_drainit, items, text, words,
};
use crate::kubernetes::sidecar::never_ends;
use crate::kubernetes::volumes::{InVolume, READ_ONLY, in_volume, is_of, mounts};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::yaml::node::Node;

/// The directories in which images keep their programs.
const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Kinds of volumes that have no drainit when the pod starts.
const WITHOUT: [&str; 6] =
    ["emptyDir", "ephemeral", "configMap", "secret", "projected", "downwardAPI"];

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
        let is_any = self.path.is_none() && base(&place.path) == "drainit";
        self.volume == place.volume && (is_any || self.path.as_ref() == Some(&place.path))
    }
}

/// Reports commands of a pod that do not find the installed drainit, and init containers that
/// install drainit where nobody finds it, or that never end. `env` reads the environment of a
/// container.
pub(super) fn check(problems: &mut Problems, pod: &Node, env: impl Fn(&Container) -> PodEnv) {
    let all = |list: &str| items(pod, &[list]).iter().map(container);
    let inits: Vec<_> = all("initContainers").collect();
    let containers: Vec<_> = inits.iter().cloned().chain(all("containers")).collect();
    let mut binaries = Vec::from_iter(items(pod, &["volumes"]).iter().filter_map(image));
    let mut wrong: Vec<_> = containers.iter().flat_map(one_words).collect();
    for (place, init) in inits.iter().enumerate() {
        wrong.extend(never_ends(init));
        match install(pod, init, place) {
            Ok(new) => binaries.extend(new),
            Err(found) => wrong.push(found),
        }
    }
    // After a wrong installation, nobody knows where the binary is, so the containers that use it
    // cannot be checked.
    if wrong.is_empty() {
        let pod = Pod { node: pod, containers: &containers, binaries };
        for (place, container) in containers.iter().enumerate() {
            pod.uses(&mut wrong, container, &env(container), place.min(inits.len()));
        }
    }
    for (span, message, help) in wrong {
        problems.error(Rule::WrongInstall, span, message).shared().help(help);
    }
}

/// The drainit in the volume of an image. drainit's own image has it at the root.
fn image(volume: &Rc<Node>) -> Option<Binary> {
    let name = image_name(volume, &["image", "reference"]);
    let volume = text(volume, &["name"]).filter(|_| name.contains("drainit"))?.text;
    let path = (name == "drainit").then_some(name);
    let how = "the image has drainit at its root, and is".to_owned();
    Some(Binary { volume, path, how, behind: 0 })
}

/// The binary that an init container installs, or the reason why no other container finds it.
/// `None` if the container does not install drainit, or if the path is not known here.
fn install(pod: &Node, init: &Container, place: usize) -> Result<Option<Binary>, Found> {
    let (mut line, is_image) = command_line(init);
    let image = image_name(&init.node, &["image"]);
    let is_install = |word: &Word| word.text == "install";
    // The ENTRYPOINT of another image may have a subcommand `install`, too.
    let is_sure = !is_image || image.contains("drainit");
    let is_own = match line.first() {
        Some(program) if !is_image => is_drainit(&program.text),
        first => image == "drainit" || is_sure && first.is_some_and(is_install),
    };
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
    let is_meant = |to: &Word| {
        is_sure || to.text.contains("drainit") && in_volume(&init.node, &to.text).is_some()
    };
    let Some(to) = to.filter(|to| is_known(to) && is_meant(to)) else { return Ok(None) };
    let wrong = |why: String, help: &str| Err((to.span, why, help.to_owned()));
    let path = &to.text;
    let Some(at) = in_volume(&init.node, path) else {
        let why = format!(
            "this container mounts no volume at `{path}`: no other container sees a drainit that is installed there"
        );
        return wrong(why, "let the path and the `mountPath` agree");
    };
    if at.is_read_only || is_of(pod, &at.volume, READ_ONLY) {
        let volume = &at.volume;
        let why =
            format!("drainit cannot be installed as `{path}`: the volume `{volume}` is read-only");
        return wrong(why, "mount an `emptyDir` here, without `readOnly`");
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
    node: &'a Node,
    /// The init containers, and the others behind them.
    containers: &'a [Container],
    binaries: Vec<Binary>,
}

impl Pod<'_> {
    /// Checks the programs that a container starts. `place` is the number of init containers that
    /// run before it.
    fn uses(&self, wrong: &mut Vec<Found>, container: &Container, env: &PodEnv, place: usize) {
        let node = &container.node;
        // Without `command`, the image's ENTRYPOINT gets the arguments. This ENTRYPOINT is not
        // known.
        let (line, is_of_image) = command_line(container);
        let line = if is_of_image { Vec::new() } else { line };
        for line in [line].into_iter().chain(HOOKS.map(|hook| words(node, hook))) {
            let sets_path = line.iter().any(|word| word.text.contains("PATH="));
            for words in commands(line) {
                let starts = |at: usize| at == 0 || has_subcommand(&words, at);
                let programs = words.iter().enumerate().filter(|(at, _)| starts(*at));
                wrong.extend(programs.filter_map(|(_, word)| {
                    let text = env.substitute(&word.text)?;
                    let paths = paths(&text, sets_path, env)?;
                    self.lost(node, &Word { text, span: word.span }, &paths, place)
                }));
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
        let is_open = self.containers[..place].iter().enumerate().any(may_write);
        let mut there = self.binaries.iter().filter(|binary| binary.behind <= place);
        match there.find(|binary| binary.volume == *volume) {
            Some(binary) => (is_named || binary.behind > 0 && !is_open).then(|| {
                (format!("{} the volume `{volume}`", binary.how), "let both name the same file")
            }),
            None if !is_named || is_open || !is_of(self.node, volume, &WITHOUT) => None,
            None => Some((
                format!("nothing has installed drainit into the volume `{volume}` before"),
                "add an init container with the image of drainit, `args: [install, PATH]` and a mount of this volume",
            )),
        }
    }

    /// Says why drainit is not outside of the volumes. A container that mounts a volume with drainit
    /// is expected to use that drainit, unless the name of its image contains `drainit`.
    fn outside(&self, node: &Node, name: &str, place: usize) -> Option<(String, &str)> {
        let is_mounted = |it: &&Binary| it.behind <= place && mounts(node, &it.volume, false);
        let has = |at: InVolume| self.binaries.iter().any(|binary| binary.is_at(&at));
        let mounts_it = |it: &Container| in_volume(&it.node, name).is_some_and(has);
        match self.binaries.iter().find(is_mounted) {
            Some(_) if image_name(node, &["image"]).contains("drainit") => None,
            Some(mounted) => Some((
                format!("it is only in the volume `{}`, which is mounted elsewhere", mounted.volume),
                "let the command agree with the `mountPath`",
            )),
            None => self.containers.iter().any(mounts_it).then(|| (
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
        Some(path) => path.text.as_deref()?,
        None => USUAL,
    };
    Some(path.split(':').map(|it| format!("{}/drainit", it.trim_end_matches('/'))).collect())
}
