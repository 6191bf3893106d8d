//! Tests that every kind of probe delays the dependents and reports why it fails.

use crate::support::*;

/// `a` makes its probe succeed some time after its start. `b` waits for `a`, and must not start
/// earlier. `ADDRESS` stands for a free address.
// holds: C160, C210, C211, C212, C214, C215, C216, C217, C258, C434
#[test]
fn every_kind_of_probe_holds_back_the_dependents() {
    let cases = [
        ("unix: DIR/a.sock", "unix=DIR/a.sock"),
        ("tcp: 'ADDRESS'", "tcp=ADDRESS"),
        ("http: 'http://ADDRESS/ready', interval: 20ms", "http=ADDRESS,3"),
        ("exec: [test, -e, DIR/a.file], interval: 20ms", "touch=DIR/a.file"),
        ("file: DIR/a.file", "touch=DIR/a.file"),
        (r"log: '^listening on \d+$'", "print=listening on 8080"),
        ("notify: true", "notify=READY=1"),
    ];
    in_parallel(cases, |(readiness, step)| {
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "
            processes:
              a:
                command: [CHILD, a, sleep=150, '{step}']
                readiness: {{{readiness}, timeout: 10s}}
                log: {{prefix: a}}
              b: {{command: [CHILD, b], depends_on: {{a: {{condition: ready}}}}}}
            "
        );
        let drainit = rig.start(&config.replace("ADDRESS", &free_address().to_string()));
        drainit.wait_for_start(&["b"]);
        drainit
            .stop()
            .assert_code(0)
            .assert_order(&["a sleep", "b start"])
            .assert_line(&said::ready("a"))
            .assert_stopped_in_order(&["b", "a"]);
    });
}

const FAKE_GRPC: &str = include_str!("../fixtures/fake_grpc.py");

// holds: C870, C871, C872
#[test]
fn a_grpc_server_is_ready_and_alive_only_while_the_health_is_serving() {
    let Some(rig) = Rig::new().filter(|_| is_installed("python3")) else { return };
    rig.write("fake.py", FAKE_GRPC);
    rig.write("health", "\x08\x02");
    let config = "
        processes:
          a:
            command: [python3, DIR/fake.py, 'PORT', DIR/health]
            readiness: {grpc: {address: '127.0.0.1:PORT', service: a}, timeout: 30s}
            liveness: {grpc: '127.0.0.1:PORT', interval: 50ms, timeout: 300ms, retries: 20}
            restart: on-failure
            restart_delay: 10ms
          b: {command: [CHILD, b], depends_on: {a: {condition: ready}}}
        ";
    let port = free_address().port().to_string();
    let drainit = rig.start(&config.replace("PORT", &port));
    drainit.wait_for_line("a: started");
    // The server never reads a half-written file.
    let write = |health: &str| {
        drainit.write("new", health);
        std::fs::rename(drainit.path("new"), drainit.path("health")).unwrap();
    };
    let why = "its health is NOT_SERVING";
    drainit.wait_until(why, || drainit.exec(&["status"]).stdout.contains(why));
    write("\x08\x01");
    drainit.wait_for_start(&["b"]);
    write("\x08\x02");
    drainit.wait_for_line(r"warning: a: liveness probe failed \(1 of 20\): .*: its health is NOT");
    write("hang");
    drainit
        .wait_for_line("warning: a: failed its liveness check; stopping it: .*: no answer within");
    drainit.stop().assert_code(0);
}

// holds: C220, C221
#[test]
fn a_timeout_says_why_the_last_attempt_failed() {
    let cases = [
        ("unix: DIR/a.sock", "x", "no such file"),
        ("tcp: 'ADDRESS'", "x", "connection refused"),
        ("http: 'http://ADDRESS/'", "http=ADDRESS,1000000", "503"),
        ("envoy: 'http://ADDRESS'", "x", "http://ADDRESS: connection refused"),
        ("exec: [sh, -c, 'seq 99999; exit 1']", "x", "exited with code 1: 99999$"),
        ("exec: [sleep, '60']", "x", ""),
        ("log: 'never said'", "x", "no line of it matches `never said`"),
        ("notify: true", "notify=STATUS=warming up", "warming up"),
    ];
    in_parallel(cases, |(readiness, step, reason)| {
        let address = free_address().to_string();
        let config = format!(
            "
            processes:
              a:
                command: [CHILD, a, '{step}']
                restart: always
                readiness: {{{readiness}, timeout: 3s, interval: 20ms}}
                log: {{prefix: a}}
            "
        );
        let config = config.replace("ADDRESS", &address);
        let reason = reason.replace("ADDRESS", &address);
        let Some(ended) = Rig::ran(&config) else { return };
        ended.assert_code(1).assert_line(&format!("a: not ready after 3s.*{reason}"));
        ended.assert_no_line("required: false");
    });
}

#[test]
fn a_restart_that_ends_the_container_says_how_the_container_would_continue() {
    let once = "test -e DIR/old && exec sleep 60; touch DIR/old; echo up; sleep 0.1; exit 1";
    let config = format!(
        "processes: {{a: {{command: [sh, -c, '{once}'], readiness: {{log: up, timeout: 1s}}, \
         restart: always, restart_delay: 1ms}}}}"
    );
    let Some(ended) = Rig::ran(&config) else { return };
    ended.assert_code(1).assert_line("a: not ready after 1s.*set `required: false` and");
}

// holds: C221
#[test]
fn a_failed_start_repeats_the_last_20_lines_that_the_log_lacks() {
    let config = "
        processes:
          broken:
            command: [CHILD, broken, 'lines=15,out', 'elines=15,err', exit=3]
            readiness: {unix: DIR/broken.sock}
            log: {file: DIR/broken.log}
        ";
    let Some(ended) = Rig::ran(config) else { return };
    ended
        .assert_code(3)
        .assert_line(r"^\[drainit\].*broken exited with code 3 before it was ready");
    let repeated: Vec<_> = (0..15)
        .flat_map(|number| [format!("out {number}"), format!("err {number}")])
        .filter(|line| ended.record.line(&format!(r"^\[drainit\] .* {line}$")).is_some())
        .collect();
    assert!(repeated.len() == 20 && repeated.ends_with(&["out 14".into(), "err 14".into()]));
    // Here the log already has the lines.
    let Some(rig) = Rig::new() else { return };
    let ended =
        rig.run("processes: {a: {command: [CHILD, a, 'lines=3,out', exit=3], log: {prefix: a}}}");
    ended.assert_line(r"^\[a\] out 2").assert_no_line(r"^\[drainit\].*out 2|last lines");
}

// holds: S370
#[test]
fn a_slow_process_says_after_5_s_why_and_who_waits() {
    let config = "
        processes:
          db: {command: [CHILD, db, await=DIR/go, touch=DIR/db], readiness: {file: DIR/db, timeout: 60s}}
          told: {command: [CHILD, told, await=DIR/go, notify=READY=1], readiness: {notify: true, timeout: 60s}}
          fast: {command: [CHILD, fast, notify=READY=1], readiness: {notify: true, timeout: 60s}}
          quick: {command: [CHILD, quick], readiness: {file: DIR/quick, timeout: 9s}, required: false, on_exit: ignore}
          web: {command: [CHILD, web], depends_on: [db]}
          api: {command: [CHILD, api], depends_on: [db]}
          job: {type: oneshot, command: [CHILD, job, await=DIR/go, exit=0]}
          lone: {type: oneshot, command: [CHILD, lone, await=DIR/go, exit=0]}
          after: {command: [CHILD, after], depends_on: {job: {condition: completed}}}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    let line = drainit.wait_for_line("Z db: not ready after 5s: .*; web, api wait for it$");
    drainit.wait_for_line("told: not ready after 5s: it has not sent READY=1$");
    drainit.wait_for_line("job: not complete after 5s; after waits for it$");
    let started = drainit.record().event("db", "start").unwrap().at;
    // The start of `db` may be recorded late, so the difference may be less than 5 s.
    assert!(line.at - started >= std::time::Duration::from_secs(3));
    drainit.touch("go");
    drainit.wait_for_start(&["web", "api", "after"]);
    // The log has no such line for `quick`: the `timeout` of 9 s is over soon after these 5 s, and
    // then another line reports `quick`.
    let ended = drainit.stop();
    ended.assert_code(0).assert_no_line("(quick|fast|lone): not (ready|complete) after 5s");
}

/// drainit itself ends with exit code 70 if one step takes too long.
#[test]
fn a_process_that_writes_without_end_and_is_never_ready_takes_no_long_step() {
    let Some(rig) = Rig::new() else { return };
    rig.run(
        "
        processes:
          a:
            command: [sh, -c, 'sleep 0.9; exec yes']
            readiness: {log: never, timeout: 1s}
            log: {prefix: a}
        ",
    )
    .assert_code(1)
    .assert_line("a: not ready after 1s");
}

// holds: C1091, C1094
#[test]
fn the_answer_of_a_server_that_drainit_has_not_started_does_not_count() {
    if !is_root_for("to see the descriptors of all processes") {
        return;
    }
    let probes = [("tcp: 'ADDRESS'", "tcp=ADDRESS"), ("http: 'http://ADDRESS/'", "http=ADDRESS,0")];
    for (probe, step) in probes {
        // This process is the stranger.
        let stranger = http_server();
        let address = stranger.0.to_string();
        let config = format!(
            "
            processes:
              a:
                command: [CHILD, a, await=DIR/go, '{step}']
                readiness: {{{probe}, timeout: 60s}}
            "
        );
        let config = config.replace("ADDRESS", &address);
        let drainit = Rig::not_init().start(&config);
        let who = format!(
            r"{address} is answered by pid {} \(.*\), not a process of this config",
            std::process::id()
        );
        drainit.wait_for_line(&format!("warning: a: not ready: {who}$"));
        drainit.wait_until("not ready", || {
            let message = drainit.processes(&["a"])[0]["message"].as_str().unwrap_or("").to_owned();
            regex_lite::Regex::new(&who).unwrap().is_match(&message)
        });
        assert_eq!(drainit.state("a").0, "starting");
        stranger.1();
        drainit.touch("go");
        drainit.wait_for_line(said::ALL_READY);
        let ended = drainit.stop();
        assert_eq!(ended.text(Stream::Stderr).matches("is answered by").count(), 1);
        // A drainit that may not see who listens believes the answer.
        let stranger = http_server();
        let config = config.replace(&address, &stranger.0.to_string());
        let drainit = Rig::not_init().without_privileges().start_ready(&config);
        stranger.1();
        drainit.stop().assert_code(0);
    }
}

/// A server that answers each connection with 200, in a thread. Returns its address, and a function
/// that ends it.
fn http_server() -> (SocketAddr, impl FnOnce()) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind(free_address()).unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = std::sync::Arc::clone(&is_over);
    let server = thread::spawn(move || {
        for connection in listener.incoming() {
            if over.load(std::sync::atomic::Ordering::SeqCst) {
                return;
            }
            let Ok(mut connection) = connection else { continue };
            let _ = connection.set_read_timeout(Some(ms(200)));
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let end = move || {
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(address);
        server.join().unwrap();
    };
    (address, end)
}

// holds: C1092
#[test]
fn the_answer_of_another_process_of_the_config_counts() {
    let Some(rig) = Rig::new() else { return };
    let address = free_address();
    let drainit = rig.start_ready(&format!(
        "
        processes:
          proxy: {{command: [CHILD, proxy, 'tcp={address}'], readiness: {{tcp: '{address}'}}}}
          app: {{command: [CHILD, app], depends_on: [proxy], readiness: {{tcp: '{address}', timeout: 20s}}}}
        "
    ));
    drainit.stop().assert_code(0).assert_no_line("is answered by");
}

// holds: C1093
#[test]
fn the_answer_of_the_older_instance_does_not_count() {
    let Some(rig) = Rig::new().filter(|_| is_installed("python3")) else { return };
    rig.write(
        "server.py",
        "import os, socket, sys, time\n\
         while not os.path.exists(sys.argv[2]): time.sleep(0.01)\n\
         s = socket.create_server(('127.0.0.1', int(sys.argv[1])), reuse_port=True)\n\
         while True: s.accept()\n",
    );
    rig.write("go", "");
    let port = free_address().port();
    let drainit = rig.start_ready(&format!(
        "processes: {{app: {{command: [python3, DIR/server.py, '{port}', DIR/go], update: start-first,
         readiness: {{tcp: '127.0.0.1:{port}', timeout: 60s}}}}}}"
    ));
    fs::remove_file(drainit.path("go")).unwrap();
    let mut restart = drainit.exec_as(None, &["restart", "app"]).spawn().unwrap();
    drainit.wait_for_line(
        r"app.*: not ready: .* is answered by pid \d+ \(python3\), an older instance",
    );
    drainit.touch("go");
    assert!(restart.wait().unwrap().success());
    drainit.stop().assert_code(0);
}
