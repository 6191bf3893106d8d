//! Tests that the tables of the pages agree with the table of known programs.

use std::fs;
use std::ptr;

use drainit_config::known::{Kind, Program, find, short};

use crate::docs::pages::root;
use crate::support::*;

/// The rows of the table of a page that begin with the names of known programs: the programs, and
/// the other cells.
fn rows(page: &str) -> Vec<(Vec<&'static Program>, Vec<String>)> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let (_, table) = text.split_once("| At SIGTERM |").unwrap();
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<_> = line.split(" | ").map(str::to_owned).collect();
        let names = cells[0].split('`').skip(1).step_by(2);
        let of = |name: &str| find(&name.split(' ').collect::<Vec<_>>()).unwrap().program;
        let programs = names.map(of).collect();
        (programs, cells[1..].to_vec())
    };
    lines.filter(|line| line.starts_with("| `")).map(row).collect()
}

// holds: C789, S881
#[test]
fn the_lines_of_the_pages_follow_from_the_table_of_known_programs() {
    let (servers, workers) = (rows("docs/servers.md"), rows("docs/workers.md"));
    assert!(servers.len() > 10, "{} rows", servers.len());
    let all = servers.iter().chain(&workers);
    for (program, cells) in all.flat_map(|(them, cells)| them.iter().map(move |it| (it, cells))) {
        let limit = program.limit.map_or("".into(), |it| format!(", up to {} s", it.as_secs()));
        assert_eq!(cells[0], format!("{}{limit}", program.at_term));
        let best = program.signals.first().map(|best| short(*best)).filter(|best| best != "TERM");
        let signal = best.map_or(String::new(), |best| format!("`stop_signal: {best}`"));
        let has = |line: &str| cells[1].contains(line);
        assert!(has(&signal) && has(program.more), "{cells:?}");
        assert_eq!(has("stop_signal"), !signal.is_empty(), "{cells:?}");
        assert_eq!(has("`readiness_delay`"), program.kind == Kind::Server, "{cells:?}");
        let is_drained = matches!(program.kind, Kind::Drained | Kind::Maybe);
        assert_eq!(has("`drain: connections`"), is_drained, "{cells:?}");
    }
    for program in Program::all() {
        let page = match program.kind {
            Kind::Store | Kind::Other => continue,
            // The row of uwsgi has it as the hook that it needs.
            _ if program.names == ["uwsgi gracefully_kill_them_all"] => continue,
            Kind::Worker => &workers,
            _ => &servers,
        };
        let is_shown = |it: &&Program| ptr::eq(*it, program);
        assert!(page.iter().any(|(them, _)| them.iter().any(is_shown)), "{:?}", program.names);
    }
}

/// The examples of docs/workers.md.
fn examples() -> [String; 2] {
    let text = fs::read_to_string(root().join("docs/workers.md")).unwrap();
    let mut codes = text.split("```yaml\n").skip(1).map(|it| it.split("```").next().unwrap());
    [(); 2].map(|()| codes.next().unwrap().to_owned())
}

// holds: C1039, C1040
#[test]
fn a_worker_beside_a_broker_ends_after_the_server_and_with_an_empty_queue() {
    for example in examples() {
        let Some(rig) = Rig::new() else { return };
        rig.write("drainit.yaml", &example);
        let args = ["check", "--strict", "--image=false", "-c", "DIR/drainit.yaml"];
        rig.run_with(&args).assert_code(0);
    }
    let Some(rig) = Rig::new() else { return };
    let [_, inside] = examples();
    let mut config = inside.replace("redis-cli", "sh DIR/redis-cli");
    for (from, to) in [
        ("[redis-server], readiness: {tcp: \"127.0.0.1:6379\"}", "[CHILD, redis]"),
        ("[celery, -A, app, worker]", "[CHILD, worker]"),
        ("[gunicorn, app]", "[CHILD, web]"),
        ("drain: connections", "drain: {connections: {min: 0s, time: 1s}}"),
    ] {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, to);
    }
    // The queue is empty at the fourth question.
    let script =
        "echo >>DIR/asked; n=$(wc -l <DIR/asked); echo the queue has $n >&2; echo $((n < 4))\n";
    rig.write("redis-cli", rig.fill(script));
    let drainit = rig.start(&config);
    drainit.wait_for_start(&["redis", "worker", "web"]);
    let ended = drainit.stop();
    ended.assert_code(0).assert_order(&[
        "web got SIGTERM",
        "web exit",
        "worker got SIGTERM",
        "worker exit",
        "redis got SIGTERM",
    ]);
    assert_eq!(ended.record.lines_with("the queue has "), 4);
}
