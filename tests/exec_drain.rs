//! `drainit exec` with a drain: each kind takes the traffic away before the stop signal, within its
//! times. The tests of `run` cover the rest of the drain and the shutdown.

use std::path::Path;
use std::thread;

use crate::exec_options::{assert_refused, exec};
use crate::support::http::{free_address, get};
use crate::support::{Admin, Answer, LONG, Rig, Running, Signal, ms};

/// A server that answers `/work` once the given file exists, and a POST once no request is in
/// flight. TERM ends it at once.
const SERVER: &str = r#"
import http.server, os, sys, threading, time

busy, idle = 0, threading.Condition()

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        global busy
        with idle:
            busy += 1
        print("working", flush=True)
        while self.path == "/work" and not os.path.exists(sys.argv[2]):
            time.sleep(0.01)
        self.answer(b"done")
        with idle:
            busy -= 1
            idle.notify_all()

    def do_POST(self):
        print(self.requestline, flush=True)
        with idle:
            idle.wait_for(lambda: busy == 0)
        self.answer(b"drained")

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("serving", flush=True)
server.serve_forever()
"#;

/// Returns a rig with drainit as PID 1, where that is possible, and one with an ordinary process.
fn both() -> impl Iterator<Item = Rig> {
    [Rig::new(), Some(Rig::not_init())].into_iter().flatten()
}

/// Starts a command that does these steps, with a drain that would last far longer than the test
/// waits.
fn start(rig: Rig, drain: &[&str], steps: &[&str]) -> Running {
    let options = [drain, &["--drain-time", "40s", "--grace-period", "60s"]].concat();
    let drainit = exec(rig, &options, &[&["CHILD", "a"], steps].concat());
    drainit.wait_for_start(&["a"]);
    drainit.wait_for_line("everything is ready");
    drainit
}

#[test]
fn an_envoy_alone_is_drained_first() {
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-time", "8s", "--drain-min", "300ms"];
    let options = [&options[..], &["--grace-period", "20s", "-r", "TERM:QUIT"]].concat();
    let drainit = exec(rig, &options, &["CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGHUP);
    drainit.wait_for_event("a", "got SIGHUP");
    let asked = drainit.signal(Signal::SIGTERM);
    admin.wait_for("POST /healthcheck/fail");
    thread::sleep(ms(400));
    assert!(drainit.record().event("a", "got SIGQUIT").is_none(), "{}", drainit.record());
    let quiet = admin.set_connections(0);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_no_event("a", "got SIGTERM");
    let told = ended.event("a", "got SIGQUIT").at;
    assert!(told >= quiet && told - asked >= ms(300) && told - quiet < ms(6000));
    ended.assert_line(r"^\[drainit\].*drain");
    assert_eq!(
        admin.posts().first().map(String::as_str),
        Some("POST /drain_listeners?graceful&skip_exit")
    );
}

#[test]
fn an_envoy_alone_may_keep_connections_and_its_health() {
    // The connections stay open, and there is no request.
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-until", "requests", "--no-fail-healthcheck"];
    let drainit = start(rig, &[&options[..], &["--drain-min", "300ms"]].concat(), &[]);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).event("a", "got SIGTERM");
    let posts = admin.posts();
    assert_eq!(posts.first().map(String::as_str), Some("POST /drain_listeners?graceful&skip_exit"));
    assert!(!posts.iter().any(|post| post.contains("healthcheck")), "{posts:?}");
}

#[test]
fn an_envoy_alone_may_end_with_a_few_connections() {
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-exit-at", "3", "--drain-min", "300ms"];
    let drainit = start(rig, &options, &[]);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("`exit_at` allows, 3 connections still open");
}

#[test]
fn an_envoy_alone_may_say_goodbye_gradually() {
    let admin = Admin::tcp(1);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-strategy", "gradual", "--drain-min", "1s"];
    let drainit = start(rig, &options, &[]);
    let t0 = drainit.signal(Signal::SIGTERM);
    admin.wait_for("POST /drain_listeners?graceful&skip_exit");
    let took = admin.wait_for("POST /healthcheck/fail") - t0;
    assert!(took > ms(900), "after {took:?}:\n{}", drainit.record());
    admin.set_connections(0);
    drainit.wait_exit(LONG).assert_code(0).assert_line("no connection left");
}

#[test]
fn an_envoy_alone_may_keep_its_egress() {
    let admin = Admin::tcp(0);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-direction", "inbound", "--drain-min", "300ms"];
    let drainit = start(rig, &options, &[]);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).event("a", "got SIGTERM");
    let inbound = "POST /drain_listeners?inboundonly";
    assert_eq!(admin.posts(), [&format!("{inbound}&graceful&skip_exit"), inbound]);
}

#[test]
fn an_envoy_alone_may_ignore_a_listener() {
    // The scraper stays connected; without any other listener nothing is known, until `time`.
    let admin = Admin::tcp(1);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    let options = ["--drain-envoy", &url, "--drain-time", "1s", "--drain-min", "300ms"];
    let ignored = ["--drain-ignore-listener", "0.0.0.0_8080", "--drain-ignore-listener", "other"];
    let drainit = exec(rig, &[&options[..], &ignored].concat(), &["CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("its time is over").assert_no_line("connections? still open");
}

#[test]
fn an_envoy_alone_that_ends_by_itself_has_its_own_code() {
    let admin = Admin::tcp(3);
    let url = format!("http://{}", admin.address());
    let Some(rig) = Rig::new() else { return };
    exec(rig, &["--drain-envoy", &url], &["CHILD", "a", "exit=9"]).wait_exit(LONG).assert_code(9);
    assert!(admin.posts().is_empty());
}

#[test]
fn a_server_that_is_asked_by_a_request_ends_what_is_in_flight() {
    for rig in both() {
        let address = free_address();
        let (url, port) = (format!("http://{address}/drain"), address.port().to_string());
        let options = ["--drain-http", &url, "--drain-time", "40s", "--grace-period", "60s"];
        let drainit = exec(rig, &options, &["python3", "-c", SERVER, &port, "DIR/go"]);
        drainit.wait_for_line("^serving$");
        let client = thread::spawn(move || get(address, "/work"));
        drainit.wait_for_line("^working$");
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_line("^POST /drain HTTP/1.1$");
        // Other requests are served meanwhile.
        assert_eq!(get(address, "/").unwrap(), (200, "done".to_owned()));
        drainit.touch("go");
        assert_eq!(client.join().unwrap().unwrap(), (200, "done".to_owned()));
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_line("drain python3: [^;]*reported by the process$");
        ended.assert_line("stop python3: .*ended by SIGTERM");
    }
}

#[test]
fn a_request_has_its_method_and_goes_to_a_unix_socket_as_well() {
    let Some(rig) = Rig::new() else { return };
    // drainit verifies nothing before the drain if there is no Envoy.
    let server = Admin::unix(0, &rig.path("app.sock")).faulty_throughout();
    let drain = ["--drain-http", "unix:DIR/app.sock:/drain?now=1", "--drain-method", "PUT"];
    let drainit = start(rig, &drain, &[]);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).event("a", "got SIGTERM");
    let seen: Vec<_> = server.seen().into_iter().map(|seen| seen.what).collect();
    assert_eq!(seen, ["PUT /drain?now=1"]);
}

#[test]
fn a_command_that_has_drained_it_ends() {
    for rig in both() {
        // No variable is expanded.
        let drain = "CHILD drainer 'touch=DIR/one word' 'print=${PATH}' await=DIR/go exit=0";
        let drainit = start(rig, &["--drain-exec", drain], &[]);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_event("drainer", "touch");
        assert!(drainit.path("one word").exists());
        drainit.touch("go");
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_order(&["drainer exit 0", "a got SIGTERM"]);
        ended.assert_line(r"^\$\{PATH\}$");
        ended.assert_line("drain child: [^;]*reported by the process$");
    }
}

#[test]
fn a_command_that_fails_is_reported() {
    let Some(rig) = Rig::new() else { return };
    let drainit = start(rig, &["--drain-exec", "sh -c 'true && exit 3'"], &[]);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("warning: child: its drain: its command exited with code 3");
}

#[test]
fn the_report_has_the_code_that_a_remapped_one_becomes() {
    let Some(rig) = Rig::new() else { return };
    let drainit = start(rig, &["--drain-exec", "true", "-e", "9"], &["exit=9"]);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("exit code 0: child exited with code 9");
}

#[test]
fn a_start_that_failed_is_not_remapped_with_a_drain_or_without() {
    for drain in [&[][..], &["--drain-exec", "true"]] {
        let Some(rig) = Rig::new() else { return };
        let args = [&["exec", "-e", "127"][..], drain, &["--", "/does/not/exist"]].concat();
        rig.run_with(&args).assert_code(127);
    }
}

#[test]
fn a_server_that_ends_by_itself_at_a_signal_is_waited_for() {
    for rig in both() {
        let steps = ["on=USR1:touch:DIR/told", "await=DIR/told", "await=DIR/go", "exit=0"];
        let drainit = start(rig, &["--drain-signal", "USR1"], &steps);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_event("a", "await");
        drainit.touch("go");
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_order(&["a got SIGUSR1", "a await", "a exit 0"]);
        ended.assert_no_event("a", "got SIGTERM");
        ended.assert_line("drain child: [^;]*the process has ended$");
    }
}

#[test]
fn a_server_that_answers_a_signal_gets_the_stop_signal_then() {
    for rig in both() {
        let steps =
            ["on=USR2:touch:DIR/told", "await=DIR/told", "await=DIR/go", "notify=DRAINED=1"];
        let drainit = start(rig, &["--drain-notify", "SIGUSR2", "-r", "TERM:QUIT"], &steps);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_for_event("a", "await");
        drainit.touch("go");
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_order(&["a got SIGUSR2", "a await", "a got SIGQUIT"]);
        ended.assert_line("drain child: [^;]*reported by the process$");
    }
}

#[test]
fn an_axum_server_alone_serves_until_it_is_drained() {
    let Some(rig) = Rig::new() else { return };
    let server = Path::new(env!("CARGO_BIN_EXE_drainit")).with_file_name("examples/axum_server");
    let (server, address) = (server.display().to_string(), free_address());
    let options = ["--drain-notify", "USR1", "--drain-time", "40s", "--grace-period", "60s"];
    let drainit = exec(rig, &options, &[&server, &address.to_string()]);
    drainit.wait_until("served", || get(address, "/").is_ok());
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("axum_server: drain");
    // drainit still serves new connections, which a load balancer continues to send.
    assert_eq!(get(address, "/").unwrap().0, 200);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("drain axum_server: [^;]*reported by the process$");
    ended.assert_line("stop axum_server: .*exited with code 0");
}

/// Returns the options of each kind, for a drain that never ends by itself.
fn endless(server: &Admin) -> [Vec<String>; 4] {
    let url = format!("http://{}/drain", server.address());
    [
        ["--drain-http", &url],
        ["--drain-exec", "CHILD drainer on=TERM:ignore"],
        ["--drain-signal", "HUP"],
        ["--drain-notify", "HUP"],
    ]
    .map(|words| words.map(str::to_owned).to_vec())
}

#[test]
fn time_bounds_every_kind_and_0_turns_it_off() {
    let server = Admin::tcp(0).answer("/drain", &[Answer::Hang]);
    for drain in endless(&server) {
        // If the drain is off, a `min` has nothing to bound.
        for (times, range) in [
            (&["--drain-time", "800ms"][..], ms(800)..ms(8000)),
            (&["--drain-time", "0", "--drain-min", "3s"], ms(0)..ms(2500)),
        ] {
            let Some(rig) = Rig::new() else { return };
            let drain: Vec<_> = drain.iter().map(String::as_str).collect();
            let options = [&drain[..], times].concat();
            let drainit = exec(rig, &options, &["CHILD", "a"]);
            drainit.wait_for_start(&["a"]);
            drainit.wait_for_line("everything is ready");
            let told = server.posts().len();
            let t0 = drainit.signal(Signal::SIGTERM);
            let ended = drainit.wait_exit(LONG);
            ended.assert_code(0);
            let asked = ended.event("a", "got SIGTERM").at - t0;
            assert!(range.contains(&asked), "{options:?}: {asked:?}\n{}", ended.record);
            if range.start.is_zero() {
                ended.assert_no_line("drain child").assert_no_event("drainer", "start");
                ended.assert_no_event("a", "got SIGHUP");
                assert_eq!(server.posts().len(), told);
            } else {
                ended.assert_line("drain child: [^;]*its time is over$");
            }
        }
    }
}

#[test]
fn min_is_held_by_every_kind_that_says_sooner_that_it_is_drained() {
    let server = Admin::tcp(0);
    let url = format!("http://{}/drain", server.address());
    let steps = ["on=USR1:touch:DIR/told", "await=DIR/told", "notify=DRAINED=1"];
    for (drain, steps) in [
        (["--drain-http", &url], &[][..]),
        (["--drain-exec", "CHILD drainer exit=0"], &[]),
        (["--drain-notify", "USR1"], &steps),
    ] {
        let Some(rig) = Rig::new() else { return };
        let drainit = start(rig, &[&drain[..], &["--drain-min", "900ms"]].concat(), steps);
        let t0 = drainit.signal(Signal::SIGTERM);
        let ended = drainit.wait_exit(LONG);
        let asked = ended.event("a", "got SIGTERM").at - t0;
        assert!((ms(900)..ms(8000)).contains(&asked), "{drain:?}: {asked:?}\n{}", ended.record);
    }
}

#[test]
fn a_command_that_ends_by_itself_is_not_waited_for() {
    let Some(rig) = Rig::new() else { return };
    let drain = ["--drain-signal", "USR1", "--signal-delay", "20s"];
    let ended = exec(rig, &drain, &["CHILD", "a", "exit=3"]).wait_exit(LONG);
    ended.assert_code(3).assert_took(ended.event("a", "exit").at, ms(0)..ms(3000));
}

#[test]
fn conflicting_options_are_refused_and_nothing_is_started() {
    let admin = "http://127.0.0.1:9901";
    let envoy = ["--drain-envoy", admin];
    let http = ["--drain-http", "http://127.0.0.1:8080/drain"];
    let exec = ["--drain-exec", "/app/drain"];
    let signal = ["--drain-signal", "USR1"];
    let notify = ["--drain-notify", "USR1"];
    let kinds = [envoy, http, exec, signal, notify];
    // Each kind is refused with every other kind, and with an option that rules out a drain.
    for (at, kind) in kinds.iter().enumerate() {
        for other in &kinds[at + 1..] {
            assert_refused(
                &[*kind, *other].concat(),
                &format!("cannot be used with '{} ", other[0]),
            );
        }
        for option in ["--group", "--wait-all", "--no-subreaper"] {
            assert_refused(&[kind, &[option][..]].concat(), &format!("used with '{option}'"));
        }
        for (wrong, message) in [
            (&["--drain-time", "2s", "--drain-min", "3s"][..], "is longer than"),
            (&["--drain-min", "9s", "--grace-period", "9s"], "--drain-min 9s does not fit"),
            (&["--signal-delay", "28s"], "leaves nothing of the 28s of --grace-period 30s"),
            (&["--signal-delay", "8.2s", "--grace-period", "9s"], "leaves nothing of the 8.1s"),
            (&["-r", "TERM:0", "-r", "INT:0", "-r", "QUIT:0"], "leave nothing to stop the process"),
            (&["-r", "INT:KILL"], "SIGINT cannot become SIGKILL"),
            (&["-r", "HUP:USR1"], "only stop signals are rewritten"),
            (&["-p", "KILL"], "leaves no time to drain"),
        ] {
            assert_refused(&[kind, wrong].concat(), message);
        }
        // An option of one kind is refused with the other kinds, and selects its kind on its own.
        for (option, of) in [
            (&["--drain-until", "requests"][..], "--drain-envoy <ADMIN>"),
            (&["--no-fail-healthcheck"], "--drain-envoy <ADMIN>"),
            (&["--drain-method", "PUT"], "--drain-http <URL>"),
        ] {
            if !of.starts_with(kind[0]) {
                assert_refused(&[kind, option].concat(), "cannot be used with");
            }
            assert_refused(option, of);
        }
    }
    for (options, message) in [
        (&["--drain-time", "5s"][..], "--drain-envoy <ADMIN>|--drain-http <URL>|--drain-exec"),
        (&["--drain-min", "5s"], "--drain-envoy <ADMIN>|--drain-http <URL>|--drain-exec"),
        (&["--drain-envoy", "envoy"], "not a URL"),
        (&["--drain-envoy", admin, "--drain-until", "request"], "did you mean `requests`?"),
        (&["--drain-http", "https://127.0.0.1/"], "drainit has no TLS"),
        (
            &["--drain-http", admin, "--drain-method", "PUSH"],
            "write one of `POST`, `PUT`, `GET` and `DELETE`",
        ),
        (&["--drain-exec", "a | b"], "write `sh -c 'a | b'` if a shell is meant"),
        (&["--drain-exec", "a 'b"], "close the quote"),
        (&["--drain-exec", ""], "names no program"),
        (&["--drain-signal", "KILL"], "no process can catch"),
        (&["--drain-notify", "USR3"], "did you mean `USR1`?"),
    ] {
        assert_refused(options, message);
    }
}

#[test]
fn the_format_of_the_log_is_that_of_the_environment() {
    let rig = Rig::not_init().env("DRAINIT_LOG_FORMAT", "json");
    let drainit = exec(rig, &["--drain-signal", "USR1"], &["CHILD", "a", "print=of the command"]);
    drainit.wait_for_line("everything is ready");
    drainit.wait_for_line(r#""process":"child","stream":"stdout","message":"of the command""#);
    drainit.signal(Signal::SIGTERM);
    drainit.signal_again(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_line(r#"^\{.*"process":"drainit".*"report":\{"#).assert_no_line(r"^\[drainit\]");

    let rig = Rig::not_init().env("DRAINIT_LOG_FORMAT", "xml");
    let ended = exec(rig, &["--drain-signal", "USR1"], &["CHILD", "a"]).wait_exit(LONG);
    ended.assert_code(78).assert_no_event("a", "start").assert_line("neither `text` nor `json`");
}

#[test]
fn a_drain_that_begins_after_a_delay_has_all_of_its_time() {
    let Some(rig) = Rig::new() else { return };
    let options = ["--signal-delay", "200ms", "--drain-exec", "sleep 60", "--drain-time", "1s"];
    let drainit = exec(rig, &options, &["CHILD", "a"]);
    drainit.wait_for_line("everything is ready");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line("child: drain over after .*: its time is over");
}

#[test]
fn with_a_drain_neither_stdin_nor_descriptors_are_handed_over() {
    let hand_over = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" </etc/passwd 3</etc/passwd";
    for rig in both() {
        let rig = rig.wrapper(&["sh", "-c", hand_over, "sh"]);
        let look = "echo stdin $(readlink /proc/self/fd/0), 3 $(readlink /proc/self/fd/3)";
        let drain = ["exec", "--drain-signal", "USR1", "--"];
        let ended = rig.run_with(&[&drain[..], &["sh", "-c", look]].concat());
        ended.assert_code(0).assert_line("^stdin /dev/null, 3$");
    }
}
