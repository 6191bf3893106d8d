//! Tests that the tables of the pages agree with the table of known programs.

use std::fs;
use std::ptr;

use drainit_config::known::{Kind, Program, find, short};

use crate::docs::pages::root;

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
    assert!(servers.len() > 10 && servers.len() <= 30, "{} rows", servers.len());
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
