//! Checks values that only one process may have: an argument prefix, a socket.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::Config;
use crate::load::check::own_address::normal;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let mut prefixes: HashMap<&str, &str> = HashMap::new();
    let mut sockets: HashMap<PathBuf, &str> = HashMap::new();
    for (process, place) in config.processes.iter().zip(&places.processes) {
        if let (Some(route), Some(span)) = (&process.args, place.prefix) {
            if let Some(first) = prefixes.get(route.prefix.as_str()) {
                let prefix = quote(&route.prefix);
                let problem = problems
                    .error(span, format!("process `{first}` already has the prefix {prefix}"));
                problem.help("give each process a prefix of its own");
            } else {
                prefixes.insert(&route.prefix, &process.name);
            }
        }
        for (socket, span) in process.sockets.iter().zip(&place.sockets) {
            if let Some(first) = sockets.get(&normal(socket)) {
                let path = quote(&socket.to_string_lossy());
                let problem = problems
                    .error(*span, format!("process `{first}` already has the socket {path}"));
                problem.help(
                    "keep it at the process that listens on it: the start of either removes the socket",
                );
            } else {
                sockets.insert(normal(socket), &process.name);
            }
        }
    }
}
