//! What only one process can have: an argument prefix, a socket.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::Config;
use crate::load::check::own_address::normal;
use crate::load::diagnostics::collector::Collector;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::read::places::Places;

pub(crate) fn check(report: &mut Collector, config: &Config, places: &Places) {
    let mut prefixes: HashMap<&str, &str> = HashMap::new();
    let mut sockets: HashMap<PathBuf, &str> = HashMap::new();
    for (process, place) in config.processes.iter().zip(&places.processes) {
        if let (Some(route), Some(span)) = (&process.args, place.prefix) {
            if let Some(first) = prefixes.get(route.prefix.as_str()) {
                let prefix = quote(&route.prefix);
                let problem = report
                    .error(span, format!("process `{first}` already has the prefix {prefix}"));
                problem.help("give each process a prefix of its own");
            } else {
                prefixes.insert(&route.prefix, &process.name);
            }
        }
        for (socket, span) in process.sockets.iter().zip(&place.sockets) {
            if let Some(first) = sockets.get(&normal(socket)) {
                let path = quote(&socket.to_string_lossy());
                let problem =
                    report.error(*span, format!("process `{first}` already has the socket {path}"));
                problem
                    .help("name it where it is listened on; starting one would remove the other's");
            } else {
                sockets.insert(normal(socket), &process.name);
            }
        }
    }
}
