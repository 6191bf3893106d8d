//! Tests input that `drainit import` refuses. The tests in `examples/migrations` run the configs
//! that `drainit import` prints.

use crate::support::Rig;

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
    let ended = Rig::not_init().run_with(&["import", "a.yaml", "b.yaml"]);
    ended.assert_code(2).assert_line("import the output of `docker compose -f A -f B config`");
}
