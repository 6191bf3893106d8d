//! Refuses a probe of a socket that drainit itself holds for the process (`listen`), because such a
//! probe would succeed even without the process.

use crate::check::own_address::reaches;
use crate::check::running;
use crate::keys::{Config, ListenSocket, Probe};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    for (_, process, place) in running(config, places) {
        let name = &process.name;
        for (key, probe) in process.probes() {
            let mut sockets = process.listen.iter().enumerate();
            if let Some((number, socket)) = sockets.find(|(_, socket)| answers(probe, socket)) {
                let node = place.find(&format!("listen.{number}"));
                let socket = problems.written(node, &socket.to_string());
                let message = format!(
                    "`{key}` of `{name}` always succeeds: drainit itself listens on {socket} for \
                     the process"
                );
                let help =
                    "use `http`, `exec`, `log` or `notify`, which only the process can answer";
                problems.error(Rule::SharedProbe, place.at(key), message).help(help);
            }
        }
    }
}

/// Whether the probe would succeed without the process, because the probe only connects to this
/// socket or looks for its file.
fn answers(probe: &Probe, socket: &ListenSocket) -> bool {
    let needs_no_answer = matches!(probe, Probe::Tcp(_) | Probe::Unix(_) | Probe::File(_));
    let asked = probe.address().filter(|_| needs_no_answer);
    asked.is_some_and(|asked| reaches(&asked, &socket.address))
}
