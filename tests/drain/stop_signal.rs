//! Tests that the log and the report say what the stop signal does to a process, and which
//! processes may take work during a drain.

use crate::support::*;

// holds: S740, S741, S742, S743, S744, C788
#[test]
fn processes_that_lose_work_at_their_stop_signal_are_named() {
    let config = "
        processes:
          web:
            command: [CHILD, web, unix=DIR/web]
            readiness: {unix: DIR/web}
            depends_on: []
            drain: {exec: {command: [CHILD, drain, exit=0], time: 5s, min: 0s}}
          told: {command: [sleep, '1000'], depends_on: [], drain: {signal: {signal: TERM, time: 4s}}}
          server: {command: [CHILD, server, 'tcp=127.0.0.1:0']}
          worker: {command: [CHILD, worker]}
          nap: {command: [sleep, '1000']}
          many: {command: [sleep, '1000'], scale: 2}
          shell: {command: [sh, -c, 'sleep 1000; true']}
          deaf: {command: [sh, -c, \"trap '' TERM; sleep 1000; true\"], stop_grace_period: 300ms}
          busy: {command: [DIR/uwsgi, busy, 'on=TERM:ignore'], stop_grace_period: 300ms}
          late: {command: [sh, DIR/late.sh], stop_grace_period: 5s}
          flip: {command: [sh, DIR/flip.sh]}
          task: {command: [sleep, '0.1'], type: oneshot}
          waits: {command: [python3, DIR/waits.py], stop_grace_period: 5s}
        ";
    let Some(rig) = Rig::new() else { return };
    // It waits for its signal as tini does: the kernel then shows no handler.
    rig.write("waits.py", "import signal\nwaits = [signal.SIGTERM]\nsignal.pthread_sigmask(signal.SIG_BLOCK, waits)\nsignal.sigwait(waits)\n");
    std::os::unix::fs::symlink(child(), rig.path("uwsgi")).unwrap();
    // The effect of the signal changes: here when the signal comes, and there before the stop.
    rig.write("late.sh", "trap 'trap \"\" TERM' TERM\nwhile :; do sleep 0.1; done\n");
    let flip = "trap '' TERM\nuntil test -e DIR/flip; do sleep 0.1; done\ntrap - TERM\n\
                sleep 1000 &\n: >DIR/flipped\nwait\n";
    rig.write("flip.sh", rig.fill(flip));
    let drainit = rig.start_ready(config);
    for line in [
        "nap: does not catch SIGTERM, its stop signal, .*; handle SIGTERM .* a `stop_signal` that",
        "told: does not catch SIGTERM",
        "many-1: does not catch SIGTERM",
        r"shell: its main process, \d+ \(sh\), does not .* started, \d+ \(sleep\), .*`exec`",
        "warning: flip: ignores SIGTERM",
        "warning: deaf: ignores SIGTERM, its stop signal, .* needs SIGKILL",
        "Z worker, nap, many-1, many-2, shell, flip: no dependents, and no socket for clients; .* during the \
         drain of web, for up to 5s; .*signal: {signal: TERM, time: 26s}}`",
        "Z deaf, busy: no dependents, .*signal: {signal: TERM, time: 27s}}`",
        "Z late, waits: no dependents, .*signal: {signal: TERM, time: 22s}}`",
    ] {
        drainit.wait_for_line(&line.replace("{", r"\{"));
    }
    drainit.touch("flip");
    drainit.wait_until("flip has another handler", || drainit.path("flipped").exists());
    let ended = drainit.stop();
    ended
        .assert_code(137)
        .assert_no_line("(web|server|worker|many-2|busy|late|task|waits): (does not|ignores|its main)")
        .assert_line("late: still alive .*, which it ignores: its `stop_grace_period` is over; sending SIGKILL")
        .assert_line("deaf: still alive .*, which it ignores: its `stop_grace_period` is over; sending SIGKILL")
        .assert_line(
            "busy: still alive .* after SIGTERM, which it catches, so it may still be busy: its .*; \
             uwsgi starts again at SIGTERM: add `--hook-master-start",
        );
    for stop in [
        "nap: .*, was ended by SIGTERM, which it does not catch",
        "told: was ended by SIGTERM in its drain, which it does not catch",
        "flip: .*, was ended by SIGTERM, which it does not catch",
        "shell: .*, was ended by SIGTERM, which it does not catch",
        "worker: .*, exited with code 0",
        "waits: .*, exited with code 0",
        "deaf: .*, was ended by SIGKILL; SIGTERM had not ended it",
    ] {
        ended.assert_line(&format!("  stop {stop}$"));
    }
}

// holds: S875
#[test]
fn clients_without_an_order_are_named_at_the_stop() {
    let port = free_address().port().to_string();
    let config = "
        shutdown: {readiness_delay: 500ms}
        processes:
          store: {command: [python3, DIR/store.py, PORT], depends_on: [below]}
          ordered: {command: [bash, DIR/connect, ordered], depends_on: [store]}
          below: {command: [bash, DIR/connect, below], depends_on: []}
          lost: {command: [bash, DIR/connect, lost], depends_on: [], scale: 2}
          other: {command: [bash, DIR/connect, other], depends_on: []}
        ";
    let Some(rig) = Rig::new() else { return };
    // A connection counts once the server has accepted it.
    let store =
        "import socket, sys\nserver = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n";
    let accept =
        "kept = []\nwhile True:\n    kept.append(server.accept()[0])\n    kept[-1].send(b'a')\n";
    rig.write("store.py", format!("{store}{accept}"));
    let connect = "until exec 3<>/dev/tcp/127.0.0.1/PORT; do sleep 0.1; done\nread -N 1 -u 3\n";
    let connect = format!("{connect}: >DIR/$1\nexec sleep 1000\n");
    rig.write("connect", rig.fill(&connect.replace("PORT", &port)));
    let drainit = rig.start(&config.replace("PORT", &port));
    drainit.wait_until("all are connected", || {
        ["below", "ordered", "lost", "other"].iter().all(|name| drainit.path(name).exists())
    });
    drainit
        .stop()
        .assert_line("warning: lost, other: connected to store, which may end first, .*: .store.`")
        .assert_no_line("(ordered|below)[^:]*: connected to");
}

// holds: S891
#[test]
fn only_a_process_that_ignores_a_stop_signal_is_killed_after_a_share() {
    // One waits for its signal as tini does: the kernel then shows no handler. The other restores
    // the default when the signal comes. Both need longer than a share, which is 3 s.
    let config = "
        shutdown: {grace_period: 8}
        processes:
          base: {command: [sleep, '1000']}
          waits: {command: [python3, DIR/waits.py, DIR/waits], readiness: {file: DIR/waits}, depends_on: [base]}
          resets: {command: [python3, DIR/resets.py, DIR/resets], readiness: {file: DIR/resets}, depends_on: [base]}
          deaf: {command: [sh, -c, \"trap '' TERM; touch DIR/deaf; sleep 1000; true\"], readiness: {file: DIR/deaf}, depends_on: [base]}
        ";
    let Some(rig) = Rig::new() else { return };
    let head = "import signal, sys, time\n";
    let ready = "open(sys.argv[1], 'w').close()\n";
    let waits = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n";
    let waits = format!("{head}{waits}{ready}signal.sigwait([signal.SIGTERM])\ntime.sleep(4)\n");
    rig.write("waits.py", waits);
    let resets = "def reset(*_):\n    signal.signal(signal.SIGTERM, signal.SIG_DFL)\n";
    let resets = format!("{head}{resets}signal.signal(signal.SIGTERM, reset)\n{ready}");
    rig.write("resets.py", format!("{resets}signal.pause()\ntime.sleep(4)\n"));
    rig.start_ready(config)
        .stop()
        .assert_code(137)
        .assert_line("deaf: still alive .*, which it ignores: a longer wait would not help")
        .assert_line("waits: exited with code 0")
        .assert_line("resets: exited with code 0");
}
