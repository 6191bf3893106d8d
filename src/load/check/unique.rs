//! Checks values that only one process may have: an argument prefix, a socket, a rendered file.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::{Address, Config, OnlyIf};
use crate::load::check::own_address::normal;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

/// The process that has a value.
#[derive(Clone, Copy)]
struct Owner<'c> {
    name: &'c str,
    /// The process that it is a copy of.
    copies: Option<&'c str>,
}

impl Owner<'_> {
    /// The help where a second process, a copy of `copies`, has the same value.
    fn help(self, copies: Option<&str>, other: &'static str) -> &'static str {
        match copies.is_some() && self.copies == copies {
            true => "give each copy its own, with `${SCALE_INDEX}` in the path",
            false => other,
        }
    }
}

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let mut prefixes: HashMap<&str, Owner<'_>> = HashMap::new();
    let mut sockets: HashMap<PathBuf, Owner<'_>> = HashMap::new();
    let mut rendered: HashMap<PathBuf, Owner<'_>> = HashMap::new();
    for (process, place) in config.processes.iter().zip(&places.processes) {
        let copies = process.copy_of.as_ref().map(|copy| &*copy.process);
        let owner = Owner { name: &process.name, copies };
        if let (Some(route), Some(span)) = (&process.args, place.prefix) {
            let first = prefixes.get(route.prefix.as_str());
            if let Some(Owner { name: first, .. }) =
                first.filter(|first| first.copies.is_none() || first.copies != copies)
            {
                let prefix = quote(&route.prefix);
                let problem = problems
                    .error(span, format!("process `{first}` already has the prefix {prefix}"));
                problem.help("give each process a prefix of its own");
            } else {
                prefixes.insert(&route.prefix, owner);
            }
        }
        for (socket, span) in process.sockets.iter().zip(&place.sockets) {
            if let Some(first) = sockets.get(&normal(socket)) {
                let path = quote(&socket.to_string_lossy());
                let problem = problems.error(
                    *span,
                    format!("process `{}` already has the socket {path}", first.name),
                );
                problem.help(first.help(
                    copies,
                    "keep it at the process that listens on it: the start of either removes the socket",
                ));
            } else {
                sockets.insert(normal(socket), owner);
            }
        }
        for (render, span) in process.render.iter().zip(&place.rendered) {
            if let Some(first) = rendered.get(&normal(&render.to)) {
                let path = quote(&render.to.to_string_lossy());
                let problem = problems
                    .error(*span, format!("process `{}` already writes {path}", first.name));
                problem.help(first.help(copies, "give each its own file"));
            } else {
                rendered.insert(normal(&render.to), owner);
            }
        }
    }
    let listens = config.processes.iter().zip(&places.processes);
    for (process, place) in listens.filter(|(it, _)| it.only_if != Some(OnlyIf::Never)) {
        for (socket, span) in process.listen.iter().zip(&place.listen) {
            // One that is left out removes its `sockets`, too.
            if let Address::Unix(path) = &socket.address
                && let Some(Owner { name, .. }) = sockets.get(&normal(path))
            {
                let message = format!("`sockets` of `{name}` would remove {socket} at each start");
                problems.error(*span, message).help("remove it from `sockets`: drainit makes it");
            }
        }
    }
}
