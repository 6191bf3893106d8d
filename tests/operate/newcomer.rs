//! Tests that each task of newcomer.txt takes one command, which answers in words.

use regex_lite::{Regex, escape};

use crate::support::*;

/// Whether the text has the expected lines. `…` stands for any text, also over several lines.
fn is_as(text: &str, expected: &str) -> bool {
    let parts: Vec<_> = expected.trim_end().split('…').map(escape).collect();
    Regex::new(&format!("^(?s:{})$", parts.join(".*"))).unwrap().is_match(text.trim_end())
}

#[test]
fn each_task_of_a_newcomer_is_a_single_command() {
    let rig = Rig::not_init().env("DRAINIT_CONFIG", "DIR/shop").env("QUICKSTART_DIR", "DIR");
    let (dir, transcript) = (rig.path(""), include_str!("newcomer.txt"));
    let (files, tasks) = transcript.split_once("\n\n# 1.").unwrap();
    fs::create_dir(rig.path("shop")).unwrap();
    fs::copy(Path::new("examples/quickstart.yaml"), rig.path("shop/quickstart.yaml")).unwrap();
    for file in files.split("\n--- ").skip(1) {
        let (name, content) = file.split_once('\n').unwrap();
        rig.write(name, content);
    }
    let mut running =
        Some(rig.wrapper(&["sh", "-c", "exec \"$@\" 2>run.log", "sh"]).start_with(&["run"]));
    let mut ended = None;
    let program = Path::new(env!("CARGO_BIN_EXE_drainit")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    for task in tasks.split("\n\n# ") {
        let (question, rest) = task.split_once("\n$ ").unwrap();
        let (command, expected) = rest.split_once('\n').unwrap();
        if command.contains("run.log") {
            ended = running.take().map(Running::stop);
        }
        let script = format!("exec 2>&1; {command}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&dir).env_clear().env("PATH", &path);
        let said = Said::of(
            shell.env("DRAINIT_CONFIG", "shop").env("QUICKSTART_DIR", &dir).output().unwrap(),
        );
        assert!(is_as(&said.stdout, expected), "{question}\n$ {command}\n{}", said.stdout);
    }
    assert_eq!(ended.map(|ended| ended.code), Some(137));
}
