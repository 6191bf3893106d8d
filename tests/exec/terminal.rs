//! `drainit exec` on a terminal: as PID 1 of `docker run -it`, as the leader of a session, and below
//! a shell. One test is for `drainit run`.

use crate::support::terminal::Terminal;
use crate::support::*;

const DRAINIT: &str = env!("CARGO_BIN_EXE_drainit");
const BASH: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

fn under(exec: &[&'static str], command: &[&'static str]) -> Vec<&'static str> {
    [exec, command].concat()
}

/// Runs drainit under each of its names: first as a session leader that is not PID 1, and then, if
/// possible, as PID 1.
fn each(command: &[&'static str], run: impl Fn(&str, Terminal)) {
    for name in ["drainit", "tini", "dumb-init"] {
        let program: Vec<&str> = match name {
            "drainit" => vec![DRAINIT, "exec", "--"],
            "tini" => {
                vec!["bash", "-c", "PS1='prompt> ' exec -a tini \"$0\" -s -- \"$@\"", DRAINIT]
            }
            _ => vec!["bash", "-c", "PS1='prompt> ' exec -a dumb-init \"$0\" \"$@\"", DRAINIT],
        };
        let words = under(&program, command);
        run(name, Terminal::session(&words));
        if namespace::is_possible() {
            run(name, Terminal::init(&words));
        }
    }
}

#[test]
fn a_shell_has_keys_and_jobs() {
    each(&BASH, |_, mut terminal| {
        terminal.wait_for_prompt();
        assert_eq!(terminal.count("job control"), 0, "{}", terminal.screen());

        terminal.type_in("sleep 60\n");
        terminal.wait_for_foreground("sleep");
        terminal.type_in(CTRL_C);
        terminal.wait_for_prompt();
        terminal.type_in("echo code=$?\n");
        terminal.wait_for("code=130");

        terminal.type_in("sleep 61\n");
        terminal.wait_for_foreground("sleep");
        terminal.type_in(CTRL_Z);
        terminal.wait_for("Stopped");
        terminal.wait_for_prompt();
        terminal.type_in("fg\n");
        terminal.wait_for_foreground("sleep");
        terminal.type_in(CTRL_C);
        terminal.wait_for_prompt();
        terminal.type_in("echo again=$?\n");
        terminal.wait_for("again=130");

        terminal.type_in("exit 7\n");
        assert_eq!(terminal.wait_exit(), 7, "{}", terminal.screen());
    });
}

#[test]
fn a_change_of_the_size_reaches_the_command() {
    let script = "trap 'echo size=$(stty size).' WINCH; echo ready; while [ $((n+=1)) -lt 900 ]; do sleep 0.02; done";
    each(&["sh", "-c", script], |_, terminal| {
        terminal.wait_for("ready");
        terminal.resize(41, 97);
        terminal.wait_for("size=41 97.");
    });
}

#[test]
fn keys_reach_a_command_that_is_not_a_shell() {
    each(&["cat"], |name, mut terminal| {
        terminal.wait_for_foreground("cat");
        terminal.type_in("hello\n");
        terminal.wait_for_count("hello", 2);
        if name == "drainit" {
            // Ctrl-Z has no effect, as in a container without an init: no process could continue a
            // stopped command.
            terminal.type_in(CTRL_Z);
            std::thread::sleep(ms(100));
            terminal.type_in("still here\n");
            terminal.wait_for_count("still here", 2);
        }
        terminal.type_in(CTRL_C);
        assert_eq!(terminal.wait_exit(), 130, "{name}: {}", terminal.screen());
    });
    each(&["cat"], |name, mut terminal| {
        terminal.wait_for_foreground("cat");
        terminal.type_in(CTRL_D);
        assert_eq!(terminal.wait_exit(), 0, "{name}: {}", terminal.screen());
    });
}

#[test]
fn the_terminal_is_given_back() {
    for command in ["true", "sh -c 'kill -9 $$'", "no-such-program", "/etc/passwd", "-p KILL true"]
    {
        let script =
            format!("\"$0\" exec {command}; echo code=$?; read line; echo \"read $line.\"");
        let mut terminal = Terminal::session(&["sh", "-c", &script, DRAINIT]);
        terminal.wait_for("code=");
        terminal.type_in("something\n");
        // The shell is in the foreground again: a background process cannot read.
        terminal.wait_for("read something.");
        assert_eq!(terminal.wait_exit(), 0);
    }
}

#[test]
fn below_a_shell_drainit_is_a_job_like_others() {
    let mut terminal = Terminal::session(&BASH);
    terminal.wait_for_prompt();
    for command in ["sleep 60", "-g sleep 60", "sh -c 'sleep 60; true'"] {
        let stopped = terminal.count("Stopped");
        terminal.type_in(&format!("{DRAINIT} exec {command}\n"));
        let name = command.split([' ', '\'']).find(|word| !word.starts_with('-')).unwrap();
        terminal.wait_for_foreground(name);
        // The job stops, and the shell continues it.
        terminal.type_in(CTRL_Z);
        terminal.wait_for_count("Stopped", stopped + 1);
        terminal.wait_for_prompt();
        let ends = terminal.count("again=130.");
        terminal.type_in("fg\n");
        terminal.wait_for_foreground(name);
        terminal.type_in(CTRL_C);
        terminal.wait_for_prompt();
        terminal.type_in("echo again=$?.\n");
        terminal.wait_for_count("again=130.", ends + 1);
    }
    // The job starts in the background, and `fg` brings it to the foreground later.
    terminal.type_in(&format!("{DRAINIT} exec sh -c 'echo started; exec cat' &\n"));
    terminal.wait_for_count("started", 2);
    // In the background, `cat` cannot read, and the job stops a moment later.
    terminal.type_in("wait %1; echo waited=$?.\n");
    terminal.wait_for("waited=1");
    terminal.type_in("fg\n");
    terminal.wait_for_foreground("cat");
    terminal.type_in("hello\n");
    terminal.wait_for_count("hello", 2);
    terminal.type_in(CTRL_D);
    terminal.wait_for_prompt();
    // A job that ends in the background leaves the terminal to the shell.
    terminal.type_in(&format!("{DRAINIT} exec cat\n"));
    terminal.wait_for_foreground("cat");
    let stopped = terminal.count("Stopped");
    terminal.type_in(CTRL_Z);
    terminal.wait_for_count("Stopped", stopped + 1);
    terminal.wait_for_prompt();
    // Only once bash has seen that the job continues, `wait` waits for the end of the job.
    terminal.type_in("kill %1; while [[ $(jobs -s) ]]; do sleep 0.01; done; wait; echo over=$?.\n");
    terminal.wait_for("over=0.");
    terminal.wait_for_foreground("bash");
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.wait_exit(), 3, "{}", terminal.screen());
}

#[test]
fn ctrl_z_stops_drainit_run_and_a_process_can_have_the_signal() {
    let dir = TempDir::for_everybody();
    let script = "trap 'echo heard' TSTP; while :; do sleep 0.05; done";
    let process = format!("{{command: [sh, -c, \"{script}\"], forward_signals: [TSTP]}}");
    dir.write("drainit.yaml", format!("processes: {{a: {process}}}"));
    let mut terminal = Terminal::session(&BASH);
    terminal.wait_for_prompt();
    terminal.type_in(&format!("{DRAINIT} run -c {}/drainit.yaml\n", dir.root().display()));
    terminal.wait_for("everything is ready");
    terminal.resize(30, 100);
    terminal.type_in(CTRL_Z);
    terminal.wait_for("Stopped");
    // Waits for the shell and not for its prompt, because `a` may write behind the prompt.
    terminal.wait_for_foreground("bash");
    terminal.type_in("bg\n");
    terminal.wait_for_count("heard", 1);
    // The answer to SIGHUP shows that drainit runs again.
    terminal.type_in("kill -HUP %1\n");
    terminal.wait_for("SIGHUP has no effect");
    // A SIGTSTP that a process sends does not suspend drainit. drainit forwards the signal to `a`,
    // as the `forward_signals` of `a` says.
    terminal.type_in("kill -TSTP %1\n");
    terminal.wait_for_count("heard", 2);
    terminal.type_in("jobs\n");
    terminal.wait_for("Running");
    terminal.type_in("kill -TERM %1\n");
    terminal.wait_for("stopped in");
    assert_eq!(terminal.count("no effect"), 1, "{}", terminal.screen());
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.wait_exit(), 3, "{}", terminal.screen());
}
