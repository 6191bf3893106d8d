//! Checks that a container finds drainit's binary if an init container installs it into a volume.

use crate::kubernetes::manifest::{Container, Word, Workload, base, items, text, words};
use crate::language::diagnostics::problems::Problems;
use crate::language::yaml::node::{Node, get};

/// A path in a volume of the pod.
struct InVolume {
    volume: String,
    /// The path below the root of the volume, without `/` at its ends.
    path: String,
}

/// Finds the volume that is mounted at a path. A `subPath` is part of the path in the volume.
fn in_volume(container: &Node, path: &str) -> Option<InVolume> {
    let mounts = items(container, &["volumeMounts"]).iter();
    let found = mounts.filter_map(|mount| {
        let at = text(mount, &["mountPath"])?.text;
        let rest = path.strip_prefix(at.trim_end_matches('/'))?;
        let below = rest.is_empty() || rest.starts_with('/');
        let sub = text(mount, &["subPath"]).map(|sub| sub.text).unwrap_or_default();
        let whole = format!("{}/{}", sub.trim_matches('/'), rest.trim_matches('/'));
        let path = whole.trim_matches('/').to_owned();
        below.then_some((at.len(), InVolume { volume: text(mount, &["name"])?.text, path }))
    });
    found.max_by_key(|(depth, _)| *depth).map(|(_, found)| found)
}

/// The path to which an init container installs drainit.
fn installs_to(container: &Node) -> Option<Word> {
    let (command, args) = (words(container, &["command"]), words(container, &["args"]));
    let is_image = command.is_empty();
    let all: Vec<_> = command.into_iter().chain(args).collect();
    let place = all.iter().position(|word| word.text == "install")?;
    let is_drainit = match place.checked_sub(1) {
        Some(before) => base(&all[before].text) == "drainit",
        None => is_image,
    };
    let mut paths = all[place + 1..].iter().filter(|word| !word.text.starts_with('-'));
    paths.next().filter(|path| is_drainit && path.text.starts_with('/')).cloned()
}

/// Reports an installed binary that the container's command does not find.
pub(super) fn check(problems: &mut Problems, workload: &Workload, container: &Container) {
    let command = words(&container.node, &["command"]);
    let is_path = |word: &&Word| word.text.starts_with('/') && base(&word.text) == "drainit";
    let Some(program) = command.iter().find(is_path) else { return };
    let inits = || items(&workload.pod, &["initContainers"]).iter();
    let Some(wanted) = in_volume(&container.node, &program.text) else {
        let is_it = |to: &Word| {
            let to = to.text.trim_end_matches('/');
            to == program.text || format!("{to}/drainit") == program.text
        };
        if inits().filter_map(|init| installs_to(init)).any(|to| is_it(&to)) {
            let message = format!(
                "`{}` is not there: this container does not mount the volume into which the init container installs drainit",
                program.text
            );
            problems.error(program.span, message).help("add the volume to `volumeMounts`");
        }
        return;
    };
    let mut installed = inits().filter_map(|init| {
        let to = installs_to(init)?;
        Some((in_volume(init, &to.text)?, to))
    });
    let in_same = installed.rfind(|(to, _)| to.volume == wanted.volume);
    if let Some((installed, to)) = in_same {
        // `install` puts the program into a path that is a directory.
        let is_it = installed.path == wanted.path
            || format!("{}/drainit", installed.path).trim_matches('/') == wanted.path;
        if !is_it {
            let message = format!(
                "`{}` is not there: the init container installs `{}` into the volume `{}`",
                program.text, to.text, wanted.volume
            );
            problems.error(program.span, message).help("let both name the same file");
        }
        return;
    }
    let mounts = |container: &Node| {
        let all = items(container, &["volumeMounts"]).iter();
        all.filter_map(|mount| text(mount, &["name"])).any(|name| name.text == wanted.volume)
    };
    let is_empty_dir = items(&workload.pod, &["volumes"]).iter().any(|volume| {
        text(volume, &["name"]).is_some_and(|name| name.text == wanted.volume)
            && get(volume, &["emptyDir"]).is_some()
    });
    if is_empty_dir && !inits().any(|init| mounts(init)) {
        let message = format!(
            "`{}` is not there: nothing installs drainit into the volume `{}`",
            program.text, wanted.volume
        );
        problems.error(program.span, message).help(
            "add an init container with the image of drainit, `args: [install, PATH]` and a mount of this volume",
        );
    }
}
