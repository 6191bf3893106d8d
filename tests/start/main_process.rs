//! Tests that another process becomes the main process of its instance (`MAINPID=`).

use crate::support::*;

const IS_NOW: &str = r"a: its main process is now \d+";

/// `b` is a child of `a`. `b` runs its steps, and then becomes the main process. Then `a` runs its
/// steps.
fn config(a: &str, b: &str) -> String {
    format!(
        "
        shutdown: {{grace_period: 8s, reserve: 1s}}
        control: {{socket: DIR/control.sock}}
        processes:
          a:
            command: [CHILD, a, 'spawn=b,{b}notify=MAINPID=OWN,notify=READY=1,touch=DIR/b', await=DIR/b, {a}]
            readiness: {{notify: true}}
            forward_signals: [USR1]
            drain: {{signal: {{signal: USR2, time: 50ms}}}}
        "
    )
}

/// Ends the former main process, and waits until the new main process is drainit's only child.
fn end_former(drainit: &Running, end: impl FnOnce()) {
    let former = drainit.children();
    end();
    drainit.wait_until("handed over", || {
        let children = drainit.children();
        children.len() == 1 && children != former
    });
}

// holds: C840, S325
#[test]
fn end_of_former_main_process_is_not_the_end() {
    let Some(rig) = Rig::new() else { return };
    let drainit =
        rig.start(&config("await=DIR/go, exit=0", "on=USR1:print:forwarded,on=HUP:print:got,"));
    drainit.wait_for_line(IS_NOW);
    drainit.wait_for_line(&said::ready("a"));
    let main = drainit.wait_for_event("b", "start").pid;
    end_former(&drainit, || drainit.touch("go"));
    assert_eq!(drainit.state("a"), ("ready".to_owned(), Some(main.into())));
    drainit.exec(&["kill", "-s", "HUP", "a"]).assert(0, "");
    drainit.wait_for_line("got");
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("forwarded");
    let ended = drainit.stop();
    ended.assert_code(0).assert_order(&["b got SIGUSR2", "b got SIGTERM"]);
    ended.assert_no_line("ignored").assert_no_event("a", "got SIGUSR2");
}

#[test]
fn the_connections_of_the_new_main_process_are_counted() {
    let Some(rig) = Rig::new() else { return };
    let address = free_address();
    let config = "
        processes:
          a:
            command:
              - sh
              - -c
              - 'setsid CHILD b notify=MAINPID=OWN notify=READY=1 await=DIR/go tcp=ADDRESS print=listens &
                 exec CHILD a await=DIR/end exit=0'
            readiness: {notify: true}
            drain: {connections: {time: 8s, min: 0s}}
        ";
    let drainit = rig.start(&config.replace("ADDRESS", &address.to_string()));
    drainit.wait_for_line(IS_NOW);
    end_former(&drainit, || drainit.touch("end"));
    drainit.touch("go");
    drainit.wait_for_line("^listens$");
    drainit.stop().assert_code(0).assert_line("a: drain over after .*: no request in flight");
}

// holds: C841
#[test]
fn end_of_main_process_ends_instance() {
    for rig in Rig::both() {
        let ended = rig.run(
            &config("touch=DIR/a,exit=0", "")
                .replace("touch=DIR/b", "touch=DIR/b,await=DIR/a,sleep=50,exit=7"),
        );
        ended.assert_code(7).assert_line("a: exited with code 7 without being asked");
    }
}

// holds: C842
#[test]
fn former_main_process_replaces_lost_main_process() {
    let b = "CHILD b notify=MAINPID=OWN notify=READY=1 await=DIR/b exit=7 &";
    for b in [b.to_owned(), format!("({b});")] {
        for rig in Rig::both() {
            let drainit = rig.start(&format!(
                "
                processes:
                  a:
                    command: [sh, -c, '{b} exec CHILD a await=DIR/a exit=3']
                    readiness: {{notify: true}}
                "
            ));
            drainit.wait_for_line(&said::ready("a"));
            let first = drainit.wait_for_event("a", "start").pid;
            let second = drainit.wait_for_event("b", "start").pid;
            drainit.wait_for_line(&format!("a: its main process is now {second}"));
            drainit.touch("b");
            drainit.wait_for_line(&format!("a: its main process is now {first}"));
            drainit.touch("a");
            drainit.wait_exit(LONG).assert_code(3);
        }
    }
}

// holds: S327
#[test]
fn deadline_kills_main_process_in_another_session() {
    for rig in Rig::both() {
        let config = "
            shutdown: {grace_period: 4s, reserve: 1s}
            processes:
              a:
                command:
                  - sh
                  - -c
                  - 'setsid CHILD b on=TERM:ignore spawn=c,on=TERM:ignore notify=MAINPID=OWN await=DIR/b notify=READY=1 &
                     exec CHILD a await=DIR/go exit=0'
                readiness: {notify: true}
                stop_grace_period: 200ms
            ";
        let drainit = rig.start(config);
        drainit.wait_for_line(IS_NOW);
        // The next message of `b` arrives before drainit sees the end of `a`.
        end_former(&drainit, || {
            drainit.signal(Signal::SIGSTOP);
            drainit.touch("go");
            drainit.wait_until("a zombie", || drainit.children_in_state('Z') == 1);
            drainit.touch("b");
            drainit.wait_for_events("b", "notify", 2);
            drainit.signal(Signal::SIGCONT);
        });
        drainit.wait_for_line(&said::ready("a"));
        drainit
            .stop()
            .assert_code(137)
            .assert_line("a: was ended by SIGKILL")
            .assert_no_line("left over")
            .assert_nothing_left();
    }
}

/// `b`, the new main process, is a child of `a`, and leads a group of its own. Only `c` has to be
/// killed through this group.
#[test]
fn the_group_of_a_main_process_that_drainit_has_not_started_is_killed() {
    for rig in Rig::both() {
        let config = "
            shutdown: {grace_period: 12s, reserve: 1s}
            processes:
              a:
                command: [CHILD, a, 'spawn=b,group,spawn=c;on=TERM:ignore,notify=MAINPID=OWN,notify=READY=1,on=TERM:ignore', 'on=TERM:ignore']
                readiness: {notify: true}
                stop_grace_period: 200ms
            ";
        let drainit = rig.start(config);
        drainit.wait_for_line(&said::ready("a"));
        drainit.wait_for_start(&["c"]);
        drainit
            .stop()
            .assert_code(137)
            .assert_stopped_within(ms(0)..ms(6000))
            .assert_no_line("left over|survives")
            .assert_nothing_left();
    }
}

// holds: C843
#[test]
fn main_process_has_to_belong_to_instance() {
    for (pid, why) in [
        ("1", "it is (drainit|the init process)"),
        ("-1", "it is not a PID"),
        ("2147483647", "No such process"),
        ("$$PPID", "it is drainit"),
        ("`cat DIR/pid`", "neither a child of the main process nor an orphan in its session"),
        ("`cat DIR/deep`", "neither a child of the main process nor an orphan in its session"),
    ] {
        for rig in Rig::both() {
            let drainit = rig.start(&format!(
                "
                processes:
                  b: {{command: [sh, -c, 'echo $$$$ >DIR/pid.new; mv DIR/pid.new DIR/pid; exec CHILD b']}}
                  a:
                    command:
                      - sh
                      - -c
                      - 'sh -c \"sleep 60 & echo \\$! >DIR/deep.new; mv DIR/deep.new DIR/deep; wait\" &
                         until test -e DIR/pid -a -e DIR/deep; do sleep 0.01; done;
                         exec CHILD a notify=MAINPID={pid} notify=MAINPID={pid} notify=READY=1'
                    readiness: {{notify: true}}
                "
            ));
            drainit.wait_for_line(&said::ready("a"));
            drainit.wait_for_line(&format!("warning: a: MAINPID=.* is ignored: .*({why})"));
            let ended = drainit.stop();
            ended.assert_code(0).assert_no_line("its main process");
            assert_eq!(ended.record.lines_with("is ignored"), 1);
        }
    }
}

const GUNICORN: &str = r#"
import os, signal
from gunicorn.systemd import sd_notify

bind = "unix:DIR/app.sock"
wsgi_app = "app:app"
chdir = "DIR"

def when_ready(server):
    sd_notify(f"MAINPID={os.getpid()}", server.log)
    if server.master_pid:
        os.kill(server.master_pid, signal.SIGTERM)
"#;

// holds: C844
#[test]
fn gunicorn_hands_over_to_successor() {
    let Some(rig) = Rig::new().filter(|_| is_installed("gunicorn")) else { return };
    rig.write("gunicorn.conf.py", rig.fill(GUNICORN));
    rig.write("app.py", "def app(request, start):\n    start('200 OK', [])\n    return []\n");
    let config = "
        processes:
          a: {command: [gunicorn, -c, DIR/gunicorn.conf.py], readiness: {notify: true}}
        ";
    let drainit = rig.start(config);
    drainit.wait_for_line(&said::ready("a"));
    let first = drainit.state("a").1;
    end_former(&drainit, || {
        drainit.exec(&["kill", "-s", "USR2", "a"]).assert(0, "");
    });
    drainit.wait_for_lines("Booting worker", 2);
    let (state, second) = drainit.state("a");
    assert!(state == "ready" && second != first, "{state} {second:?}");
    drainit.stop().assert_code(0).assert_line("a: exited with code 0").assert_nothing_left();
}
