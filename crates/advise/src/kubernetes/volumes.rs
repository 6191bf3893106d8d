//! Finds the volumes that a container mounts, and checks that it can make its sockets in them.

use crate::keys::Address;
use crate::kubernetes::Context;
use crate::kubernetes::manifest::{is_named, is_true, items, text};
use crate::language::diagnostics::rule::Rule;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, get};

/// Kinds of volumes that a container can only read.
pub(super) const READ_ONLY: &[&str] = &["configMap", "secret", "projected", "downwardAPI", "image"];

/// A path in a volume of the pod.
pub(super) struct InVolume {
    /// The name of the volume.
    pub(super) volume: String,
    /// The path below the root of the volume, without `/` at its ends.
    pub(super) path: String,
    /// The path below the mount.
    below: String,
    pub(super) is_read_only: bool,
    /// The place of the option `noexec` in the `bindMountOptions` of the mount.
    pub(super) noexec: Option<Span>,
}

/// Reports a socket in a directory in which the container cannot write.
pub(super) fn sockets(ctx: &mut Context<'_>) {
    let (config, node, pod) = (&ctx.loaded.config, &ctx.container.node, &ctx.workload.pod);
    let listen = config.processes.iter().flat_map(|process| &process.listen);
    let held = listen
        .filter_map(|it| if let Address::Unix(path) = &it.address { Some(&**path) } else { None });
    // drainit makes these sockets before it starts anything that could make their directories.
    let early = config.control.socket.path().into_iter().chain(held).map(|path| (path, true));
    let later = config.processes.iter().flat_map(|process| &process.sockets);
    let paths = early.chain(later.map(|path| (&**path, false)));
    let paths = paths.filter_map(|(path, is_early)| Some((path.to_str()?, is_early)));
    let is_root_closed = is_true(node, &["securityContext", "readOnlyRootFilesystem"]);
    for (path, is_early) in paths.collect::<Vec<_>>() {
        // In most images, `/var/run` is a link to `/run`.
        let twin = match path.strip_prefix("/var/run/") {
            Some(rest) => format!("/run/{rest}"),
            None => path.replacen("/run/", "/var/run/", 1),
        };
        let found = in_volume(node, path).or_else(|| in_volume(node, &twin));
        let hidden = found.as_ref().and_then(|at| Some((&at.volume, at.below.rsplit_once('/')?.0)));
        let hidden = hidden.filter(|(volume, _)| is_early && is_empty(pod, volume));
        let is_closed = match &found {
            Some(at) => at.is_read_only || is_of(pod, &at.volume, READ_ONLY),
            None => is_root_closed && !path.starts_with("/dev/"),
        };
        let (why, help) = match hidden {
            Some((volume, directory)) => (
                format!("the volume `{volume}` is empty at the start and has no `{directory}`"),
                "mount the volume at the directory of the socket, or name a socket directly below the mount",
            ),
            None if is_closed => (
                "the container can only read there".to_owned(),
                "mount an `emptyDir` at its directory, without `readOnly`",
            ),
            None => continue,
        };
        return ctx.error(
            Rule::ReadOnlyPath,
            ctx.container.span,
            format!("`{path}` cannot be made: {why}"),
            help,
        );
    }
}

/// Finds the volume that is mounted at a path. A `subPath` is part of the path in the volume.
pub(super) fn in_volume(container: &Node, path: &str) -> Option<InVolume> {
    let mounts = items(container, &["volumeMounts"]).iter();
    let found = mounts.filter_map(|mount| {
        let at = text(mount, &["mountPath"])?.text;
        let rest = path.strip_prefix(at.trim_end_matches('/'))?;
        let is_below = rest.is_empty() || rest.starts_with('/');
        let sub = text(mount, &["subPath"]).or_else(|| text(mount, &["subPathExpr"]));
        let sub = sub.map(|sub| sub.text).unwrap_or_default();
        let whole = format!("{}/{}", sub.trim_matches('/'), rest.trim_matches('/'));
        let mut options = items(mount, &["bindMountOptions"]).iter();
        let place = InVolume {
            volume: text(mount, &["name"])?.text,
            path: whole.trim_matches('/').to_owned(),
            below: rest.trim_matches('/').to_owned(),
            is_read_only: is_true(mount, &["readOnly"]),
            noexec: options.find(|it| it.scalar() == Some("noexec")).map(|it| it.span),
        };
        is_below.then_some((at.len(), place))
    });
    found.max_by_key(|(depth, _)| *depth).map(|(_, found)| found)
}

/// Whether a container mounts a volume. With `to_write`, the container must also be able to write
/// into it.
pub(super) fn mounts(container: &Node, volume: &str, to_write: bool) -> bool {
    let mut mounts = items(container, &["volumeMounts"]).iter().filter(|it| is_named(it, volume));
    mounts.any(|mount| !(to_write && is_true(mount, &["readOnly"])))
}

/// Whether a volume is of one of these kinds.
pub(super) fn is_of(pod: &Node, volume: &str, kinds: &[&str]) -> bool {
    let mut volumes = items(pod, &["volumes"]).iter().filter(|it| is_named(it, volume));
    volumes.any(|it| kinds.iter().any(|kind| get(it, &[kind]).is_some()))
}

/// Whether a volume is empty when the main containers start.
fn is_empty(pod: &Node, volume: &str) -> bool {
    let mut inits = items(pod, &["initContainers"]).iter();
    is_of(pod, volume, &["emptyDir", "ephemeral"]) && !inits.any(|init| mounts(init, volume, true))
}
