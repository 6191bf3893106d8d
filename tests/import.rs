//! `drainit import`, whose output is a config that runs.

use crate::support::{Rig, Stream};

#[test]
fn the_printed_config_runs() {
    let rig = Rig::not_init();
    rig.write("Procfile", rig.fill("web: CHILD web print=$HELLO\nworker: CHILD worker\n"));
    let imported = rig.env("HELLO", "hello").run_with(&["import", "DIR/Procfile"]);
    imported.assert_code(0).assert_line("^1 comment to be read");
    let config = imported.text(Stream::Stdout);

    let Some(rig) = Rig::new() else { return };
    let drainit = rig.env("HELLO", "hello").start(&config);
    drainit.wait_for_start(&["web", "worker"]);
    drainit.wait_for_line(r"^\[web\] hello$");
    drainit.stop().assert_code(0);
}

#[test]
fn wrong_files_are_reported() {
    let rig = Rig::not_init();
    rig.write("Procfile", "web\n");
    let ended = rig.run_with(&["import", "DIR/Procfile"]);
    ended.assert_code(78).assert_line("Procfile:1:1").assert_line("help: write `NAME: COMMAND`");
    let rig = Rig::not_init();
    rig.write("list.txt", "web: a\n");
    let ended = rig.run_with(&["import", "DIR/list.txt"]);
    ended.assert_code(2).assert_line("--format");
    let ended = Rig::not_init().run_with(&["import", "DIR/nosuch"]);
    ended.assert_code(78).assert_line("nosuch` does not exist");
    Rig::not_init().run_with(&["import"]).assert_code(2);
}
