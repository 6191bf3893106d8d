//! Replaces known servers under load. They have only the lines that the table of known programs
//! advises.

use std::process::Command;
use std::thread;

use drainit_config::known::{Kind, find, short};

use crate::drain::connections::{SERVERS, app_of, start_with};
use crate::examples::servers::php_fpm;
use crate::support::example::{Pod, replace};
use crate::support::{Rig, get, in_parallel, is_installed, ms};
use testkit::load::{Failure, IdleClose};

const GUNICORN: &str = "gunicorn, --chdir, DIR, -w, '8', -b, '127.0.0.1:PORT', 'app:wsgi'";
const PHP_FPM: &str = "php-fpm, -F, -y, DIR/php-fpm.conf";
/// In front of php-fpm.
const FRONT: &str = "nginx, -e, stderr, -p, DIR, -c, DIR/front.conf";
const GO: &str = "DIR/server, PORT";

/// Starts a server with the advised lines. `check` must find nothing to add.
fn start(command: &str) -> Option<Pod> {
    let has_go = || command != GO || is_installed("go");
    let rig = Rig::new().filter(|_| has_go())?.readable_by_everybody();
    if command == GO {
        // In the bench, it counts the seconds of a request, and here its milliseconds.
        let source = include_str!("../../benches/servers/files/server.go");
        rig.write("server.go", source.replace("time.Second", "time.Millisecond"));
        let files = [rig.path("server"), rig.path("server.go")];
        assert!(Command::new("go").args(["build", "-o"]).args(files).status().unwrap().success());
    }
    // A server in Go has any name, and needs what any program of unknown name needs.
    let words = if command == GO { "node" } else { command };
    let program = find(&words.split(", ").collect::<Vec<_>>()).unwrap().program;
    let signal = program.signals.first().map_or("TERM".to_owned(), |best| short(*best));
    let (container, drain) = match program.kind {
        Kind::Server => ("shutdown: {grace_period: 30s, readiness_delay: 3s}", ""),
        _ => ("shutdown: {grace_period: 30s}", ", drain: connections"),
    };
    let keys = format!("stop_signal: {signal}{drain}");
    let (app, command) = match command {
        PHP_FPM => {
            let command = command.replacen("php-fpm", &php_fpm()?, 1);
            let ready = "readiness: {unix: DIR/php.sock}";
            (format!("app: {{command: [{command}], {ready}, {keys}}}"), FRONT)
        }
        _ => (app_of(command).to_owned(), command),
    };
    let (running, address) = start_with(Some(rig), container, &app, command, &keys)?;
    let path = running.path("drainit.yaml").display().to_string();
    running.exec(&["check", "--image=false", "--strict", "-c", &path]).assert(0, "");
    Some(Pod { running, address })
}

// holds: S882
#[test]
fn known_servers_lose_nothing_with_the_advised_lines() {
    let [_, uvicorn, _, node, nginx, haproxy] = SERVERS;
    // Two at a time: beside more, a server may close an idle connection whose next request is
    // already on its way.
    let lanes = [vec![nginx, GUNICORN, PHP_FPM, GO], vec![haproxy, uvicorn, node]];
    in_parallel(lanes, |lane| lane.into_iter().for_each(lose_nothing));
}

/// Replaces a pod with this server under load.
fn lose_nothing(command: &str) {
    let [_, uvicorn, _, node, ..] = SERVERS;
    let (Some(old), Some(new)) = (start(command), start(command)) else { return };
    let address = old.address;
    let ask = move |path| get(address, path).unwrap().0;
    // In flight when the stop signal comes, 4 s later or more.
    let long = thread::spawn(move || ask("/6000"));
    // New connections arrive for another second after T0.
    let pause = || thread::sleep(ms(50));
    let fresh = thread::spawn(move || (0..36).all(|_| (pause(), ask("/0")).1 == 200));
    // Clients that stay make a drain of the connections last until its `time`, which cuts. In
    // one of four runs, uvicorn (0.17 and 0.54) resets one of 780 requests, which arrives while
    // it closes its idle connections.
    let leaves = [uvicorn, node, GO].contains(&command);
    let idle_close = if leaves { IdleClose::Left } else { IdleClose::Noticed };
    let mut rolled = replace(old, &new, idle_close);
    assert!(fresh.join().unwrap(), "{command}\n{}", rolled.ended.record);
    assert_eq!(long.join().unwrap(), 200, "{command}\n{}", rolled.ended.record);
    // Without a drain, a server may close an idle connection whose next request is already on
    // its way. The client then sees the end of the connection, and the report counts no cut.
    let raced = |it: &&(_, _)| !leaves && it.1 == Failure::EndOfFile;
    let raced = rolled.report.failures.iter().filter(raced);
    rolled.report.total.failed -= raced.take(2).count() as u64;
    rolled.assert_nothing_lost().ended.assert_no_line(r"\b[1-9]\d* cut\b");
}
