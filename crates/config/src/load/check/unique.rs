//! Checks values that only one process may have: an argument prefix, a socket, a rendered file.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::{Address, Config, OnlyIf};
use crate::load::check::own_address::normal;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    // Each value with the process that has it.
    let mut prefixes: HashMap<Option<&str>, usize> = HashMap::new();
    let mut sockets: HashMap<PathBuf, usize> = HashMap::new();
    let mut rendered: HashMap<PathBuf, usize> = HashMap::new();
    let name = |index: usize| &config.processes[index].name;
    for (index, (process, place)) in config.processes.iter().zip(&places.processes).enumerate() {
        let is_same = |first: usize| places.processes[first].is_same(place);
        let help = |first: usize, other: &'static str| match is_same(first) {
            true => "give each copy its own, with `${SCALE_INDEX}` in the path",
            false => other,
        };
        let route = process.args.iter();
        let claims = route.flat_map(|route| {
            // `None` is the rest.
            route
                .prefix
                .iter()
                .map(|prefix| Some(prefix.as_str()))
                .chain(route.rest.then_some(None))
        });
        for claim in claims {
            let first = *prefixes.entry(claim).or_insert(index);
            if first == index || is_same(first) {
                continue;
            }
            let (key, what, help) = match claim {
                Some(prefix) => (
                    "args.prefix",
                    format!("the prefix {}", quote(prefix)),
                    "give each process a prefix of its own",
                ),
                None => (
                    "args.rest",
                    "`rest`".to_owned(),
                    "let one process have the arguments that no other one claims",
                ),
            };
            let message = format!("process `{}` already has {what}", name(first));
            problems.error(place.at(key), message).help(help);
        }
        for (number, socket) in process.sockets.iter().enumerate() {
            if let Some(first) =
                sockets.get(&normal(socket)).copied().filter(|first| *first != index)
            {
                let path = quote(&socket.to_string_lossy());
                let problem = problems.error(
                    place.at(&format!("sockets.{number}")),
                    format!("process `{}` already has the socket {path}", name(first)),
                );
                problem.help(help(
                    first,
                    "keep it at the process that listens on it: the start of either removes the socket",
                ));
            } else {
                sockets.insert(normal(socket), index);
            }
        }
        for (number, render) in process.render.iter().enumerate() {
            if let Some(first) = rendered.get(&normal(&render.to)).copied() {
                let path = quote(&render.to.to_string_lossy());
                let span = place.at(&format!("render.{number}.to"));
                let problem = problems
                    .error(span, format!("process `{}` already writes {path}", name(first)));
                problem.help(help(first, "give each its own file"));
            } else {
                rendered.insert(normal(&render.to), index);
            }
        }
    }
    let listens = config.processes.iter().zip(&places.processes);
    for (process, place) in listens.filter(|(it, _)| it.only_if != Some(OnlyIf::Never)) {
        for (number, socket) in process.listen.iter().enumerate() {
            // One that is left out removes its `sockets`, too.
            if let Address::Unix(path) = &socket.address
                && let Some(first) = sockets.get(&normal(path))
            {
                let name = name(*first);
                let message = format!("`sockets` of `{name}` would remove {socket} at each start");
                let span = place.at(&format!("listen.{number}"));
                problems.error(span, message).help("remove it from `sockets`: drainit makes it");
            }
        }
    }
}
