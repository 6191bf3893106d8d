//! Tests `check --pod`: a correct manifest has no problems, and each mistake is reported at its
//! place.

use std::fmt::Debug;

use crate::image::Image;
use crate::kubernetes::{Asked, PodCheck, check_manifest};
use crate::language::source::Source;
use crate::load::{Diagnostic, Environment};
use drainit_config::testing::temp_dir::TempDir;

pub(super) const CONFIG: &str = "
shutdown: {grace_period: '${TERMINATION_GRACE_PERIOD_SECONDS:-30}', readiness_delay: '${DELAY:-0}'}
control: {listen: '0.0.0.0:9902', socket: /run/drainit.sock}
processes:
  engine: {command: [engine], stop_grace_period: 5s}
  router:
    command: [envoy]
    depends_on: [engine]
    args: {prefix: '--rtr.', refuse: [config-path]}
    drain: {envoy: {admin: 'http://127.0.0.1:9901', time: 15s, min: 5s}}
";

pub(super) const MANIFEST: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 45
      containers:
        - name: gateway
          image: gateway
          command: [drainit, run]
          args: [--rtr.concurrency, \"2\"]
          env:
            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}
          ports:
            - {name: control, containerPort: 9902}
          livenessProbe: {httpGet: {path: /livez, port: control}}
          readinessProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}
";

// Parts of the manifest, and of its lines.
const IMAGE: &str = "          image: gateway\n";
pub(super) const ARGS: &str = "          args: [--rtr.concurrency, \"2\"]\n";
pub(super) const GRACE: &str =
    "            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}\n";
const LIVE: &str = "{httpGet: {path: /livez, port: control}}";
const READY: &str = "{httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}";
const READY_HOW: &str = "httpGet: {path: /readyz, port: 9902}";
/// A value that is not known to the check.
const UNKNOWN: &str = "valueFrom: {configMapKeyRef: {name: a, key: b}}";

pub(super) fn check(config: &str, manifest: &str) -> PodCheck {
    check_with(config, manifest, None, &[], &[])
}

/// Like [`check`], but only of the container with a name, with variables of the check itself, and
/// with variables of the image. With a `PATH` of the image, the check looks into the image.
fn check_with(
    config: &str,
    manifest: &str,
    container: Option<&str>,
    here: &[(&str, &str)],
    image: &[(&str, &str)],
) -> PodCheck {
    let dir = TempDir::new();
    let configs = [dir.write("0.yaml", config.as_bytes())];
    let is_image = image.iter().any(|(name, _)| *name == "PATH");
    let [here, of_image] = [here, image].map(|variables| variables.iter().copied().collect());
    let checked = check_manifest(
        Source::new("pod.yaml", manifest.to_owned()),
        &Asked {
            configs: &configs,
            image: &Image::new(Some(is_image), false),
            container,
            is_audit: false,
            here: &here,
            of_image: &of_image,
        },
    );
    for problem in &checked.diagnostics {
        assert!(problem.help.is_some(), "no help: {problem}");
    }
    checked
}

/// The problems, each as `line:column severity message`.
pub(super) fn lines(checked: &PodCheck) -> Vec<String> {
    let line = |d: &Diagnostic| {
        format!("{}:{} {} {}", d.line, d.column, if d.is_error() { "E" } else { "W" }, d.message)
    };
    checked.diagnostics.iter().map(line).collect()
}

pub(super) fn found(config: &str, manifest: &str) -> Vec<String> {
    lines(&check(config, manifest))
}

#[track_caller]
fn silent(config: &str, manifest: &str) {
    let checked = check(config, manifest);
    assert_eq!(lines(&checked), [""; 0], "{manifest}");
    assert_eq!(checked.containers.len(), 1, "{manifest}");
}

/// Whether these problems were found. Between two expected problems is `; `. A problem begins with
/// its place and its severity. After that come parts of the message, with commas between them.
pub(super) fn are_these(found: &[String], expected: &str) -> bool {
    let is_it = |(found, expected): (&String, &&str)| {
        let (place, words) = expected.split_at(expected.find(['E', 'W']).unwrap() + 2);
        found.starts_with(place) && words.split(", ").all(|words| found.contains(words))
    };
    let expected: Vec<_> = expected.split("; ").filter(|it| !it.is_empty()).collect();
    found.len() == expected.len() && found.iter().zip(&expected).all(is_it)
}

/// Tests that each input has the problems that its row expects.
#[track_caller]
pub(super) fn each<'r, I: Copy + Debug>(
    rows: impl IntoIterator<Item = (I, &'r str)>,
    found: impl Fn(I) -> Vec<String>,
) {
    let mut wrong = String::new();
    for (input, expected) in rows {
        let found = found(input);
        if !are_these(&found, expected) {
            wrong += &format!("{input:?}: expected {expected:?}\n    {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Like [`each`], for changes of a manifest: the second part of a row replaces the first.
#[track_caller]
fn each_change(config: &str, manifest: &str, rows: &[(&str, &str, &str)]) {
    let rows = rows.iter().map(|(from, to, expected)| ((*from, *to), *expected));
    each(rows, |(from, to)| found(config, &with(manifest, from, to)));
}

/// Replaces a part of a text. Fails if the text does not have this part.
#[track_caller]
pub(super) fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// Adds a key to the container `gateway`.
#[track_caller]
fn with_key(manifest: &str, key: &str) -> String {
    with(manifest, IMAGE, &format!("          {key}\n{IMAGE}"))
}

pub(super) fn with_hook(manifest: &str, hook: &str) -> String {
    with_key(manifest, &format!("lifecycle: {{preStop: {hook}}}"))
}

/// A hook with this command.
pub(super) fn hook(command: &str) -> String {
    with_hook(MANIFEST, &format!("{{exec: {{command: {command}}}}}"))
}

/// A readiness probe with this command.
fn ready(command: &str) -> String {
    with(MANIFEST, READY_HOW, &format!("exec: {{command: {command}}}"))
}

fn live(command: &str) -> String {
    with(MANIFEST, LIVE, &format!("{{exec: {{command: {command}}}}}"))
}

// holds: C779, S169
#[test]
fn each_fault_of_a_manifest_is_reported_with_place_and_help() {
    let rows = [
        ("Seconds: 45", "Seconds: 20", "7:38 E deadline is 43s, the kubelet kills after 20s"),
        ("Seconds: 45", "Seconds: 90", "14:63 W `grace_period` is 45s, Seconds is 1m 30s"),
        ("Seconds: 45", "Seconds: 0", "7:38 E deadline is 43s, kills after 0ms"),
        (GRACE, "", "7:38 W `grace_period` is 30s, Seconds is 45s"),
        ("kind: Deployment", "kind: Service", "0:0 E only `Service`"),
        ("kind: Deployment\n", "", "0:0 E no workload"),
        ("command: [drainit, run]", "x: y\n        - name: other", "0:0 E which container"),
    ];
    each_change(CONFIG, MANIFEST, &rows);
    let closed = [
        ("", "9:17 E `/run/drainit.sock` cannot be made"),
        ("{name: a, mountPath: /run}", ""),
        ("{name: a, mountPath: /var/run}", ""),
        (
            "{name: a, mountPath: /run/, readOnly: true}",
            "9:17 E `/run/drainit.sock` cannot be made",
        ),
    ];
    let root = with_key(MANIFEST, "securityContext: {readOnlyRootFilesystem: true}");
    each(closed, |mount| found(CONFIG, &with_key(&root, &format!("volumeMounts: [{mount}]"))));
    // An empty volume hides the directory of a socket that drainit makes first.
    let empty = MANIFEST.replace(
        "      containers:",
        "      volumes: [{name: a, emptyDir: {}}]\n      containers:",
    );
    let config = CONFIG.replace("/run/drainit.sock", "/run/gw/drainit.sock");
    let rows = [
        ("/run/gw", ""),
        ("/run", "10:17 E `/run/gw/drainit.sock`, the volume `a` is empty, has no `gw`"),
        ("/var/run", "10:17 E the volume `a` is empty, has no `gw`"),
        ("/other", ""),
    ];
    each(rows, |at| {
        found(&config, &with_key(&empty, &format!("volumeMounts: [{{name: a, mountPath: {at}}}]")))
    });
    let maker = "      initContainers: [{name: i, image: i, volumeMounts: [{name: a, mountPath: /x}]}]\n      containers:";
    let made = with_key(&empty, "volumeMounts: [{name: a, mountPath: /run}]")
        .replace("      containers:", maker);
    silent(&config, &made);
    let listen = CONFIG.replace("[engine],", "[engine], listen: ['unix:/run/gw/e.sock'],");
    let mount = with_key(&empty, "volumeMounts: [{name: a, mountPath: /run}]");
    each([(&*listen, "10:17 E `/run/gw/e.sock`, has no `gw`")], |config| found(config, &mount));
}

#[test]
fn each_fault_of_a_hook_is_reported() {
    let rows = [
        ("{sleep: {seconds: 15}}", "7:38 E after a preStop hook of 15s"),
        ("{httpGet: {path: /bye, port: 80}}", "10:32 W not known here"),
    ];
    each(rows, |hook| found(CONFIG, &with_hook(MANIFEST, hook)));
    let slept = "7:38 E after a preStop hook of 20s";
    let rows = [
        ("[sh, -c, \"echo bye; sleep 20\"]", slept),
        ("[/app/deregister]", "10:50 W not known here"),
        ("[drainit, drain, --socket, /tmp/x.sock]", "10:50 E `drainit drain`, /tmp/x.sock"),
        ("[drainit, drain]", ""),
        ("[sh, -c, 'exec drainit drain']", ""),
        ("[drainit, shutdown]", "10:50 W not known here"),
        ("[/bin/drainit drain]", "10:50 E `/bin/drainit drain` is one word"),
        ("[drainit, drian]", "10:59 E subcommand 'drian'"),
        ("[drainit, drain, --foo]", "10:66 E argument '--foo'"),
        ("[drainit, drain, --no-wait]", ""),
    ];
    each(rows, |command| found(CONFIG, &hook(command)));
    let rows = [
        ("stopSignal: SIGUSR1", "10:35 E `SIGUSR1` does not stop drainit"),
        ("stopSignal: SIGQUIT", ""),
        (
            "postStart: {exec: {command: [drainit, drain]}}",
            "10:52 E this hook drains the pod when it first runs",
        ),
    ];
    each(rows, |key| found(CONFIG, &with_key(MANIFEST, &format!("lifecycle: {{{key}}}"))));
}

#[test]
fn each_fault_of_a_command_is_reported() {
    let rows = [
        ("[sh, -c, 'prepare && exec drainit run -- \"$@\"', x]", ""),
        ("[/entrypoint.sh]", "11:21 W does not run drainit"),
        ("[drainit, exec]", "12:18 E unexpected argument '--rtr.concurrency'"),
        ("[drainit]", "12:18 E `drainit --rtr.concurrency` does not run a config"),
        ("[drainit run]", "11:21 E `drainit run` is one word"),
    ];
    each(rows, |command| found(CONFIG, &with(MANIFEST, "[drainit, run]", command)));
    let rows = [
        ("--rt.concurrency, ", "12:18 E claimed by no process"),
        ("--rtr.config-path, ", "12:18 E is refused"),
        ("-c, /etc/drainit.yaml, --, stray, ", "12:45 E argument `stray` is claimed"),
        ("--rtr.a, $(UNSET), --rtr.b, ", ""),
    ];
    each(rows, |args| found(CONFIG, &with(MANIFEST, "--rtr.concurrency, ", args)));
    let shell = with(MANIFEST, "[drainit, run]", "[sh, -c]");
    let shell = with(&shell, "[--rtr.concurrency, \"2\"]", "[drainit run]");
    each([(&*shell, "12:18 E the shell gets the signals")], |manifest| found(CONFIG, manifest));
}

// holds: C778, C781, C1106, C1107
#[test]
fn each_fault_of_a_probe_is_reported() {
    let rows = [
        (
            "{path: /readyz, port: control}, failureThreshold: 1",
            "17:26 E asks `/readyz`, 33.5s, after 10s",
        ),
        (
            "{path: /ready, port: 9901}, periodSeconds: 30",
            "17:26 E Envoy's `/ready`, until the processes are ready",
        ),
        ("{path: /livez, port: 9903}", "17:57 W does not answer `/livez`"),
        ("{path: /livez, port: contrl}", "17:57 E has no port `contrl`"),
        ("{path: /livez, port: control, scheme: HTTPS}", "17:74 E does not speak TLS"),
        ("{path: /livez, port: control, scheme: HTTP, host: 10.0.0.1}", ""),
    ];
    let path = "{path: /livez, port: control}";
    each(rows, |to| found(CONFIG, &with(MANIFEST, path, to)));
    let own = |seconds: &str| {
        let to = format!("{path}, terminationGracePeriodSeconds: {seconds}");
        found(CONFIG, &with(MANIFEST, path, &to))
    };
    each([("43", ""), ("5", "17:98 W the kubelet kills after 5s, takes up to 43s")], own);
    let not_ready = "17:26 E asks `/readyz`, 33.5s, after 30s";
    let draining = "17:26 E asks Envoy's `/ready`, 33.5s, after 30s";
    let closed = "";
    let rows = [
        // Without `-f`, curl ends with 0 at every status.
        ("[curl, 'localhost:9902/readyz']", ""),
        ("[curl, -sf, 'localhost:9902/readyz']", not_ready),
        ("[sh, -c, 'curl --fail http://127.0.0.1:9902/readyz?x || exit 1']", not_ready),
        ("[wget, -qO-, 'http://$(POD_IP):9902/readyz']", not_ready),
        ("[wget, -qO-, 'http://10.0.0.1:9902/readyz']", ""),
        ("[wget, -qO-, 'localhost:3000/readyz']", closed),
        ("[curl, -f, 'http://127.0.0.1:9901/ready']", draining),
        ("[curl, -f, 'http://127.0.0.1:9901/server_info']", ""),
        ("[curl, -f, --unix-socket, /run/drainit.sock, 'http://x/readyz']", not_ready),
        ("[curl, -f, --unix-socket, /run/other.sock, 'http://x/readyz']", closed),
        ("[drainit, health, --url, 'http://127.0.0.1:9901/ready']", draining),
        ("[drainit, health, --url, 'http://127.0.0.1:9902']", not_ready),
        ("[drainit, health, --live, '--url=http://127.0.0.1:9902']", ""),
        ("[drainit, health, --url, 'unix:/run/drainit.sock']", not_ready),
        ("[drainit, health, '--url=http://[::1]:9902/readyz']", not_ready),
        ("[drainit, health]", not_ready),
        ("[drainit, health, --live]", ""),
        ("[sh, -c, 'curl -s localhost:9902/readyz | grep -q ok']", not_ready),
        (
            "[sh, -c, 'test $(curl -so /dev/null -w %{http_code} localhost:9902/readyz) = 200']",
            not_ready,
        ),
        ("[sh, -c, '[ \"$(curl -s localhost:9902/readyz)\" = ok ]']", not_ready),
        ("[sh, -c, 'curl -s localhost:9901/ready | grep -q LIVE']", draining),
        ("[sh, -c, 'curl -s localhost:9902/livez | grep -q ok']", ""),
    ];
    each(rows, |command| found(CONFIG, &live(command)));
    let reads =
        |what: &str, severity: &str| format!("17:26 {severity} reads {what}, 33.5s, after 30s");
    let (own, server) =
        (reads("the state of drainit", "E"), reads("whether a server is ready", "W"));
    let envoy = reads("the state of Envoy", "E");
    let rows = [
        ("[sh, -c, 'curl -s localhost:9902/status | grep -q running']", &*own),
        ("[sh, -c, 'drainit status | grep -q running']", &own),
        ("[sh, -c, 'curl -s localhost:9901/server_info | jq -e .state']", &envoy),
        ("[sh, -c, 'curl -s localhost:3000/status | grep -q ready']", &server),
        ("[sh, -c, '[ \"$(wget -qO- localhost:3000/status)\" = ready ]']", &server),
        ("[sh, -c, 'curl -s http://other:3000/status | grep -q ready']", &server),
        (
            "[sh, -c, '[ \"$(curl -so /dev/null -w %{http_code} localhost:3000/ready)\" = 200 ]']",
            &server,
        ),
        ("[sh, -c, 'redis-cli ping | grep -q PONG']", ""),
        ("[sh, -c, 'curl -s localhost:3000/status | grep -q alive']", ""),
        ("[sh, -c, 'test -f /tmp/ready']", ""),
        ("[sh, -c, 'curl -sf localhost:3000/status || exit 1']", ""),
    ];
    each(rows, |command| found(CONFIG, &live(command)));
    let rows = [
        ("tcpSocket: {port: 8080}", "18:27 W does not show the drain"),
        ("grpc: {port: 8080}", ""),
        ("grpc: {port: 9902}", "18:41 E never succeeds, speaks HTTP/1"),
        ("httpGet: {path: /ready, port: 9901}", ""),
        ("httpGet: {path: /readyz, port: 9901}", "18:59 W does not answer `/readyz`"),
        ("httpGet: {path: /livez, port: 9902}", "18:44 W it stays 200"),
        ("httpGet: {path: /metrics, port: 9902}", "18:44 W it stays 200"),
        ("httpGet: {path: /server_info, port: 9901}", "18:44 W only `/ready` does"),
        ("httpGet: {path: /readyz/, port: 9902}", "18:60 E `/readyz/` with 404"),
        (
            "httpGet: {path: readyz, port: 9902}",
            "18:44 E the kubelet sends `GET readyz`, without a slash",
        ),
        ("httpGet: {path: healthz, port: 3000}", "18:44 E the kubelet sends `GET healthz`, 400"),
    ];
    each(rows, |how| found(CONFIG, &with(MANIFEST, READY_HOW, how)));
    each(["127.0.0.1", "'::1'", "localhost"].map(|host| (host, "18:71 E of its node")), |host| {
        found(CONFIG, &with(MANIFEST, "port: 9902}", &format!("port: 9902, host: {host}}}")))
    });
    let other = "18:45 E `drainit health`, /wrong.sock";
    let rows = [
        ("[sh, -c, 'test -f /tmp/ready']", ""),
        ("[sh, -c, 'curl -s localhost:9902/status | grep -q running']", ""),
        ("[drainit, health, --live]", "18:27 W it stays 200"),
        ("[drainit, health, --socket, /wrong.sock]", other),
        ("[drainit, health, --url, 'http://127.0.0.1:9902/livez']", "18:27 W it stays 200"),
        ("[drainit, health, --url, 'http://127.0.0.1:80/livez']", ""),
        ("[drainit, exec, --, curl, localhost]", ""),
        ("[drainit, healthz]", "18:54 E subcommand 'healthz'"),
        ("[drainit]", "18:45 E it has no subcommand"),
        ("[drainit, health, --foo]", "18:62 E unexpected argument '--foo'"),
        ("[drainit, health, now]", "18:62 E unexpected argument 'now'"),
        ("[drainit, health, --timeout, 2s, --wait=3s]", ""),
        ("[drainit, health, -c, /a.yaml, --timeout=$(A)]", ""),
        ("[drainit, drain]", "18:45 E drains the pod when it first runs"),
        ("[sh, -c, 'drainit health >/dev/null 2>&1 || exit 1']", ""),
        ("[sh, -c, 'exec drainit health --foo']", "18:53 E unexpected argument '--foo'"),
        ("[drainit health]", "18:45 E `drainit health` is one word"),
    ];
    each(rows, |command| found(CONFIG, &ready(command)));
    let none = format!("          readinessProbe: {READY}\n");
    let rows = [
        (
            "livenessProbe: {httpGet: {path: /livez",
            "startupProbe: {httpGet: {path: /readyz, port: control}}\n          livenessProbe: {periodSeconds: 30, httpGet: {path: /readyz",
            "18:26 W until the processes are ready, 1m 30s",
        ),
        (
            "{name: control, containerPort: 9902}\n          livenessProbe: {httpGet: {path: /livez, ",
            "{containerPort: 9902}\n          livenessProbe: {tcpSocket: {",
            "17:45 E has no port `control`",
        ),
        (&none, "", "9:17 W no readiness probe"),
        (", periodSeconds: 1, failureThreshold: 1", ", periodSeconds: 2", "18:27 W after 6s"),
    ];
    each_change(CONFIG, MANIFEST, &rows);
    let mut found = check(CONFIG, &with(MANIFEST, path, "{port: a}")).diagnostics;
    assert_eq!(
        found.pop().unwrap().help.unwrap(),
        "write the number, or the name of one of the container's `ports`"
    );
}

/// The value of the last variable would have 10 GB.
#[test]
fn a_value_longer_than_a_command_line_is_not_known() {
    let mut env = "            - {name: A0, value: xxxxxxxxxx}\n".to_owned();
    for at in 1..=30 {
        let before = at - 1;
        env += &format!("            - {{name: A{at}, value: \"$(A{before})$(A{before})\"}}\n");
    }
    let manifest = with(MANIFEST, "          ports:\n", &format!("{env}          ports:\n"));
    silent(CONFIG, &with(&manifest, "--rtr.concurrency", "$(A30)"));
}

#[test]
fn an_image_that_runs_drainit_takes_exec_as_an_argument() {
    let manifest = with(MANIFEST, "          command: [drainit, run]\n", "");
    let manifest = with(&manifest, "--rtr.concurrency, \"2\"", "exec, --foo, --, envoy");
    let found = found("processes: {}", &manifest);
    assert!(found.iter().any(|line| line.contains("unexpected argument '--foo'")), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("claimed")), "{found:#?}");
}

/// Whether the message of a problem has these words.
fn says(config: &str, manifest: &str, words: &str) -> bool {
    found(config, manifest).iter().any(|line| line.contains(words))
}

#[test]
fn each_mismatch_of_config_and_pod_is_reported() {
    let grace = "grace_period: '${TERMINATION_GRACE_PERIOD_SECONDS:-30}'";
    let nested = "grace_period: '${GRACE:-${TERMINATION_GRACE_PERIOD_SECONDS:-30}}'";
    let control = "control: {listen: '0.0.0.0:9902', socket: /run/drainit.sock}";
    let signals = format!("signals: [INT, QUIT], {grace}");
    let cannot = "17:57 E never succeeds, 127.0.0.1:9902; 18:59 E never succeeds, 127.0.0.1:9902";
    let unanswered = "17:57 W does not answer `/livez`; 18:59 W does not answer `/readyz`";
    let short = "5:50 W stop engine gets 3.75s of 5s, is 10s; 10:59 W gets what the deadline leaves, 15s; 7:38 W `grace_period` is 1m";
    let rows = [
        (grace, "grace_period: 45s", ""),
        (grace, "grace_period: 30s", "7:38 W `grace_period` is 30s"),
        (grace, "grace_period: 60s", "7:38 E deadline is 58s"),
        (grace, "grace_period: 60s, reserve: 50s", short),
        // The variable that is set counts.
        (grace, nested, ""),
        (grace, &signals, "9:17 W SIGTERM does not stop drainit"),
        ("0.0.0.0", "127.0.0.1", cannot),
        (control, "", unanswered),
        ("time: 15s", "tiem: 15s", "10:53 E `tiem`"),
    ];
    let of = |rows: &[(&str, &str, &str)], manifest: &str| {
        let rows = rows.iter().map(|(from, to, expected)| ((*from, *to), *expected));
        each(rows, |(from, to)| found(&with(CONFIG, from, to), manifest));
    };
    of(&rows, MANIFEST);
    // The longest shutdown may begin while a oneshot still runs.
    let oneshot = "processes:\n  index: {type: oneshot, command: [index], stop_grace_period: 43s}";
    let running = "7:38 E the kubelet kills, after a preStop hook of 5s, shutdown takes up to 43s";
    let rows = [
        (grace, "grace_period: 40s", ""),
        (", time: 15s, min: 5s", ", time: 0", "10:59 W `router` is not drained"),
        ("processes:", oneshot, running),
    ];
    of(&rows, &with_hook(MANIFEST, "{sleep: {seconds: 5}}"));
    let unheard = "10:50 E `drainit drain`, socket: off; 18:57 W `/livez`; 19:59 W `/readyz`";
    of(&[(control, "control: {socket: off}", unheard)], &hook("[drainit, drain]"));
    let unheard = "17:57 W does not answer `/livez`; 18:45 E `drainit health`, socket: off";
    of(&[(control, "control: {socket: off}", unheard)], &ready("[drainit, health]"));
    let host = with(MANIFEST, "      containers:", "      hostNetwork: true\n      containers:");
    let cannot = "18:57 E never succeeds, [::1]:9902; 19:59 E never succeeds, [::1]:9902";
    of(&[("'0.0.0.0:9902'", "'[::1]:9902'", cannot)], &host);
    let own_host = host.replace("httpGet: {", "httpGet: {host: 127.0.0.1, ");
    of(&[("0.0.0.0", "127.0.0.1", "")], &own_host);
    let envoy = with(MANIFEST, READY_HOW, "httpGet: {path: /ready, port: 9901}");
    of(&[("time: 15s", "fail_healthcheck: false", "18:44 W it stays 200")], &envoy);
    of(&[(grace, &signals, "")], &with_key(MANIFEST, "lifecycle: {stopSignal: SIGINT}"));
}

#[test]
fn every_kind_of_workload_is_found() {
    for kind in ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout", "DeploymentConfig"] {
        silent(CONFIG, &with(MANIFEST, "Deployment", kind));
    }
    let indented = |text: &str, by: &str| text.replace('\n', &format!("\n{by}"));
    let spec = indented(&MANIFEST[MANIFEST.find("  template").unwrap()..], "    ");
    silent(CONFIG, &format!("kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n    {spec}"));
    let pod = &MANIFEST[MANIFEST.find("    spec:").unwrap()..];
    silent(CONFIG, &format!("kind: Pod\n{}", pod.replace("\n    ", "\n").trim_start()));
    silent(CONFIG, &format!("kind: List\nitems:\n- {}", indented(MANIFEST, "  ")));
    // `helm template` prints documents of this form.
    let others =
        "---\n# Source: a.yaml\n---\napiVersion: v1\nkind: Secret\ndata: !!binary aGk=\n---\n";
    silent(CONFIG, &format!("{others}{MANIFEST}---\n{}", others.replace("Secret", "Service")));
}

#[test]
fn the_container_is_found_by_command_or_by_name() {
    let quiet = with(MANIFEST, "          command: [drainit, run]\n", "");
    silent(CONFIG, &quiet);
    let other = "        - {name: other, image: x}\n        - name: gateway";
    let two = with(&quiet, "        - name: gateway", other);
    for (name, expected) in [
        (None, "0:0 E the manifest does not show which container runs drainit"),
        (Some("gateway"), ""),
        (Some("gatway"), "0:0 E no container is named `gatway`"),
    ] {
        let found = lines(&check_with(CONFIG, &two, name, &[], &[]));
        assert!(are_these(&found, expected), "{name:?} {found:?}");
    }
    // Every workload that runs drainit is checked. If several workloads have the same problem, it
    // is reported once.
    let both = format!("{MANIFEST}---\n{}", with(MANIFEST, "gateway", "second"));
    let checked = check(&with(CONFIG, "time: 15s", "time: 99s"), &both);
    let of = |name| format!("Deployment {name}, container gateway, stops within 43s");
    assert_eq!(checked.containers, [of("gateway"), of("second")]);
    assert_eq!(checked.diagnostics.len(), 1, "{:?}", lines(&checked));
}

/// drainit as a native sidecar that drains with the pod, in front of an application that waits.
fn sidecar() -> String {
    let app = "name: app, image: app, readinessProbe: {tcpSocket: {port: 80}}, lifecycle: {preStop: {sleep: {seconds: 15}}}";
    let inits =
        "      initContainers:\n        - {name: prepare, image: x, command: [drainit, exec, x]}";
    let containers = format!("      containers:\n        - {{{app}}}\n{inits}\n");
    let manifest = with_key(MANIFEST, "restartPolicy: Always");
    let manifest = with_hook(&manifest, "{exec: {command: [drainit, drain]}}");
    let probe = "startupProbe: {httpGet: {path: /readyz, port: control}, periodSeconds: 1, failureThreshold: 60}";
    with(&with_key(&manifest, probe), "      containers:\n", &containers)
}

#[test]
fn a_sidecar_needs_a_pre_stop_hook_that_drains() {
    let hook = "          lifecycle: {preStop: {exec: {command: [drainit, drain]}}}\n";
    let found = found(CONFIG, &with(&sidecar(), hook, ""));
    let expected = "12:17 W gets its stop signal only after the main containers have exited; \
                    12:17 W the drain of `router` closes all of its listeners";
    assert!(are_these(&found, expected), "{found:#?}");
}

#[test]
fn the_application_behind_a_sidecar_waits_at_the_start_and_at_the_stop() {
    let config = with(CONFIG, "time: 15s", "direction: all, time: 15s");
    let sidecar = sidecar();
    let probe = "readinessProbe: {tcpSocket: {port: 80}}, ";
    let sleep = ", lifecycle: {preStop: {sleep: {seconds: 15}}}";
    let startup = "startupProbe: {httpGet: {path: /readyz, port: control}, periodSeconds: 1, failureThreshold: 60}";
    let bare = with(&with(&with(&sidecar, probe, ""), sleep, ""), startup, "");
    silent(&config, &sidecar);
    let all = "9:18 W `app` gets SIGTERM at once, `gateway` may still send requests for 15s; \
               9:18 W without a `readinessProbe` of `app`; 12:17 W without a `startupProbe`";
    let own =
        "      containers:\n        - {name: own, image: own, command: [drainit, exec, own]}\n";
    let own = with(&bare, "      containers:\n", own);
    // Nobody sends requests to a Job.
    let job = with(&bare, "kind: Deployment", "kind: Job");
    let other = "      containers:\n        - {name: job, image: a, command: [sh, -c, job]}\n";
    let beside = with(&with(MANIFEST, "Deployment", "Job"), "      containers:\n", other);
    let ended = with(&beside, "job]", "job; drainit shutdown --socket /a]");
    let rows = [(&*bare, all), (&job, ""), (&beside, "10:17 W the Job goes on"), (&ended, "")];
    each(rows, |manifest| found(&config, manifest));
    // The application has a drainit of its own, which is checked by itself.
    let of_own = lines(&check_with(&config, &own, Some("gateway"), &[], &[]));
    assert!(are_these(&of_own, "13:17 W without a `startupProbe`"), "{of_own:#?}");
    let hooks = [
        ("{sleep: {seconds: 5}}", "9:76 W SIGTERM after 5s"),
        ("{exec: {command: [sleep, '14']}}", "9:76 W SIGTERM after 14s"),
        ("{exec: {command: [sleep, '15']}}", ""),
        ("{exec: {command: [sh, -c, sleep 10; sleep 4]}}", "9:76 W SIGTERM after 14s"),
        ("{exec: {command: [/app/wait]}}", ""),
        ("{exec: {command: [/bin/true]}}", "9:76 W SIGTERM at once"),
        ("{exec: {command: [sleep 15]}}", "9:115 E `sleep 15` is one word"),
    ];
    each(hooks, |hook| found(&config, &with(&sidecar, "{sleep: {seconds: 15}}", hook)));
    let lives = "exec: {command: [drainit, health, --live]}";
    let probes = [
        ("httpGet: {path: /livez, port: control}", "12:17 W without a `startupProbe`"),
        (lives, "12:17 W without a `startupProbe`"),
    ];
    let asks = "httpGet: {path: /readyz, port: control}";
    each(probes, |probe| found(&config, &with(&sidecar, asks, probe)));
    // A second container that does not wait is not reported.
    let log = "      containers:\n        - {name: log, image: log}\n";
    silent(&config, &with(&sidecar, "      containers:\n", log));
    // A `postStart` hook also delays the next container.
    let delayed = with(&sidecar, startup, "");
    let wait = "lifecycle: {postStart: {exec: {command: [drainit, health, --wait, 60s]}}, ";
    silent(&config, &with(&delayed, "          lifecycle: {", &format!("          {wait}")));
    let off = "10:75 W `router` is not drained";
    let times = [("30s", sidecar.clone(), "9:76 W for 30s"), ("0", with(&sidecar, sleep, ""), off)];
    for (time, manifest, expected) in times {
        let found = found(&with(&config, "time: 15s", &format!("time: {time}")), &manifest);
        assert!(are_these(&found, expected), "{time} {found:#?}");
    }
}

#[test]
fn the_config_sees_the_variables_of_the_manifest() {
    let more =
        |more: &str| with(MANIFEST, GRACE, &format!("{GRACE}            - {{name: {more}}}\n"));
    // The config takes a delay from the variable `DELAY`, and the delays here are too long. If the
    // check reports a problem, the check has read the variable.
    for value in ["50s", "$(TERMINATION_GRACE_PERIOD_SECONDS)"] {
        assert_ne!(found(CONFIG, &more(&format!("DELAY, value: {value}"))), [""; 0], "{value}");
    }
    let secret = more(&format!("DELAY, {UNKNOWN}"));
    let unknown = "15:29 W uses `DELAY`, value is not known here";
    for (manifest, delay, expected) in [
        // The environment of this command counts only for `valueFrom`.
        (MANIFEST, "50s", ""),
        (&secret, "", unknown),
        (&secret, "1s", ""),
        (&more(&format!("PASSWORD, {UNKNOWN}")), "", ""),
    ] {
        let found = lines(&check_with(CONFIG, manifest, None, &[("DELAY", delay)], &[]));
        assert!(are_these(&found, expected), "{delay} {found:?}\n{manifest}");
    }
}

#[test]
fn variables_in_a_directory_of_configs_are_seen() {
    let dir = TempDir::new();
    let (settings, processes) = CONFIG.split_once("processes:").unwrap();
    dir.write("10.yaml", settings.as_bytes());
    dir.write("20.yaml", format!("processes:{processes}").as_bytes());
    let more = format!("{UNKNOWN}}}\n            - {{name: DEL, {UNKNOWN}");
    let manifest = dir.write("pod", with(MANIFEST, "value: \"45\"", &more).as_bytes());
    let image = Image::new(Some(false), false);
    let none = Environment::default();
    let configs = [dir.root().to_owned()];
    let (configs, here, of_image, image) = (&configs, &none, &none, &image);
    let asked = Asked { configs, image, container: None, is_audit: false, here, of_image };
    let found = lines(&super::check(&manifest, &asked));
    let expected = "14:56 W `TERMINATION_GRACE_PERIOD_SECONDS`, not known here: it counts as unset";
    assert!(are_these(&found, expected), "{found:?}");
}

#[test]
fn a_drain_with_min_0_gets_a_warning() {
    let envoy = "{envoy: {admin: 'http://127.0.0.1:9901', time: 15s, min: 5s}}";
    let config = with(CONFIG, envoy, "{exec: {command: [drain], min: 0s}}");
    let min = with(CONFIG, envoy, "{exec: [drain]}");
    let delayed = with(&config, "'${DELAY:-0}'", "5s");
    let port = "{name: control, containerPort: 9902}";
    let served = with(MANIFEST, port, &format!("{port}\n            - {{containerPort: 80}}"));
    for (config, manifest, loses) in [
        (&config, &*served, true),
        (&config, MANIFEST, false),
        (&min, &served, false),
        (&delayed, &served, false),
    ] {
        let is_said = says(config, manifest, "W `router` is stopped as soon as it is drained");
        assert_eq!(is_said, loses, "{config}\n{manifest}");
    }
}

#[test]
fn a_service_with_policy_local_needs_an_unready_delay() {
    let labels = "  template:\n    metadata: {labels: {app: gateway, tier: edge}}\n";
    let labels = with(MANIFEST, "  template:\n", labels);
    let service = |policy: &str, selector: &str| {
        format!(
            "{labels}---\nkind: Service\nmetadata: {{name: x}}\nspec:\n  {policy}\n  selector: {selector}\n"
        )
    };
    let local = service("externalTrafficPolicy: Local", "{app: gateway}");
    // With `internalTrafficPolicy` the clients on the node lose their only pods.
    let internal = service("internalTrafficPolicy: Local", "{app: gateway}");
    // A Service with `Local` counts even if a Service without it also selects the pod.
    let second = local.replace("---", "---\nkind: Service\nspec: {selector: {app: gateway}}\n---");
    let short = with(CONFIG, "readiness_delay: '${DELAY:-0}'", "unready_delay: 5s");
    let delayed = with(&short, "min: 5s", "min: 6s");
    let rows: [(&str, &str, &str); 10] = [
        (CONFIG, &local, "24:26 W with `Local` the load balancer sends"),
        (&short, &local, "24:26 W `min`, as soon as drainit turns unready"),
        (&delayed, &local, ""),
        (CONFIG, &service("externalTrafficPolicy: Cluster", "{app: gateway}"), ""),
        (CONFIG, &service("externalTrafficPolicy: Local", "{app: gateway, tier: core}"), ""),
        (CONFIG, &service("externalTrafficPolicy: Local", "{}"), ""),
        (CONFIG, &second, "27:26 W with `Local` the load balancer sends"),
        (CONFIG, &internal, "24:26 W with `Local` the clients on a node"),
        (&short, &internal, ""),
        // Only documents of the kind Service count.
        (CONFIG, &with(&local, "kind: Service", "kind: Gateway"), ""),
    ];
    let rows = rows.map(|(config, manifest, expected)| ((config, manifest), expected));
    each(rows, |(config, manifest)| found(config, manifest));
    assert!(!says(&with(CONFIG, "time: 15s", "time: 0"), &local, "`Local`"));
}

/// The help of a problem names the change after which nothing is reported. `advice.rs` does the
/// same with the advice for the grace period.
#[test]
fn a_manifest_that_follows_the_advice_has_no_problems() {
    let other = with(MANIFEST, LIVE, "{httpGet: {path: /readyz, port: 9903}}");
    let undrained = "control: {listen: '0.0.0.0:9902'}\nshutdown: {grace_period: 45s}\nprocesses: {app: {command: [app]}}\n";
    let delayed = undrained.replace("45s", "45s, readiness_delay: 5s");
    let port = "          ports:\n            - {containerPort: 80}\n";
    let served = with(&with(MANIFEST, ARGS, ""), "          ports:\n", port);
    let live = other.replace("path: /readyz, port: 9903", "path: /livez, port: 9902");
    let delay = "`shutdown: {readiness_delay: 5s}`";
    for (config, manifest, advice, then, changed) in [
        (CONFIG, &other, &["path: /livez, port: 9902"][..], CONFIG, &live),
        (undrained, &served, &[delay], &delayed, &served),
    ] {
        let found = check(config, manifest).diagnostics;
        let helps: Vec<_> = found.iter().filter_map(|it| it.help.as_deref()).collect();
        let is_said = |words: &&str| helps.iter().any(|help| help.contains(words));
        assert!(advice.iter().all(is_said), "{advice:?}\n{helps:#?}\n{manifest}");
        silent(then, changed);
    }
}

// holds: C1028
#[test]
fn a_drain_that_is_off_takes_no_traffic_away() {
    let port = "          ports:\n            - {containerPort: 80}\n";
    let served = with(&with(MANIFEST, ARGS, ""), "          ports:\n", port);
    let lost = "are stopped at once, and lose the requests that arrive";
    let config = &with(CONFIG, ", readiness_delay: '${DELAY:-0}'", "");
    assert!(!says(config, &served, lost));
    let off = with(config, "time: 15s", "time: 0");
    assert!(says(&off, &served, lost), "{:?}", found(&off, &served));
    // The variable is not set in the pod, so the check of the config has already warned.
    let by_variable = with(config, "time: 15s", "time: '${DRAIN_TIME:-0}'");
    assert!(says(&by_variable, &served, "W `router` is not drained"));
    assert!(!says(&by_variable, &served, lost));
}

#[test]
fn a_hook_that_waits_is_as_good_as_a_readiness_delay() {
    let config = "shutdown: {grace_period: 40s}\ncontrol: {listen: '0.0.0.0:9902'}\nprocesses: {app: {command: [app], readiness: {tcp: '127.0.0.1:80'}}}\n";
    let manifest = with(MANIFEST, ARGS, "");
    assert!(says(config, &manifest, "W `app` is stopped at once"));
    silent(config, &with_hook(&manifest, "{sleep: {seconds: 5}}"));
}

// holds: C767
#[test]
fn given_variables_of_the_image_are_known() {
    let config =
        CONFIG.replace("command: [engine]", "command: [engine, '${HOME_DIR}', '${HOME_DIR}/a']");
    let unset = found(&config, MANIFEST);
    assert_eq!(unset.len(), 1, "each is named once: {unset:?}");
    let given = |manifest: &str, more: (&str, &str)| {
        lines(&check_with(&config, manifest, None, &[], &[("HOME_DIR", "/app"), more]))
    };
    assert_eq!(given(MANIFEST, ("A", "")), [""; 0]);
    // The manifest overrides the image.
    assert_eq!(given(MANIFEST, ("TERMINATION_GRACE_PERIOD_SECONDS", "20")), [""; 0]);
    // Kubernetes does not put variables of the image into `$(NAME)`.
    let refers = given(&with(MANIFEST, "value: \"45\"", "value: $(GRACE)"), ("GRACE", "45"));
    let is_named = |line: &String| line.contains("`${TERMINATION_GRACE_PERIOD_SECONDS");
    assert!(refers.iter().any(is_named), "{refers:?}");
}

// holds: C768
#[test]
fn the_options_of_exec_are_checked_like_a_config() {
    let manifest = with(&ready("[drainit, health]"), ARGS, "");
    let manifest = with(&manifest, &format!("          livenessProbe: {LIVE}\n"), "");
    let unknown = format!("{GRACE}            - {{name: UNKNOWN, {UNKNOWN}}}\n");
    let manifest = with(&manifest, GRACE, &unknown);
    let exec = |options: &str| {
        let options = options.replace("{A}", "--drain-envoy, 'http://127.0.0.1:9901'");
        let command = format!("[drainit, exec, {options}]");
        found("", &with(&manifest, "[drainit, run]", &command))
    };
    // The binary's test of `check --pod` compares more options with what `exec` refuses.
    let rows = [
        ("-v, --grace-period=$(TERMINATION_GRACE_PERIOD_SECONDS), {A}, envoy", ""),
        ("{A}, --, envoy", "7:38 W grace period of `drainit exec` is 30s"),
        ("--grace-period, 60s, {A}, --, envoy", "7:38 E deadline is 58s"),
        ("--grace-period, 45s, {A}", "11:30 E would not start, <CMD>"),
        (
            "--grace-period, 45s, --readiness, 5s, envoy",
            "11:57 E would not start: --readiness needs --drain-envoy",
        ),
        ("-e, '$(UNSET)', {A}, envoy", "11:40 E would not start: invalid value"),
        (
            "{A}, --, -c, /etc/envoy.yaml",
            "7:38 W of `drainit exec` is 30s; 11:80 E the program is missing before `-c`",
        ),
        // The value of a variable is not known here.
        ("--grace-period=$(UNKNOWN), {A}, --drain-time=$(UNKNOWN), --drain-min, 20s, envoy", ""),
    ];
    each(rows, exec);
    let rows = [
        ("--, app, --grace-period, 1s", ""),
        (
            "--, envoy, --drain-time-s, '9', --drain-time=9s",
            "11:129 E `--drain-time` stands behind the program",
        ),
        ("--drain-time, soon, envoy", "11:97 E would not start: `--drain-time` is `soon`"),
        ("--drain-tiem, 5s, --, envoy", "11:97 E unexpected argument '--drain-tiem'"),
        ("--stop-signal=USR1, --stop-signal, INT, envoy", "9:17 W SIGTERM does not stop drainit"),
        ("--stop-signal=HUP, --stop-signal, $(UNKNOWN), envoy", ""),
        (
            "-ve256, --rewrite, 'TERM:', envoy",
            "11:97 E would not start: invalid value '256', not an exit code",
        ),
        ("--drain-min, $(UNKNOWN), --drain-time, soon, envoy", "11:122 E `--drain-time` is `soon`"),
    ];
    each(rows, |rest| exec(&format!("--grace-period, 45s, {{A}}, {rest}")));
}

// holds: C883
#[test]
fn variables_of_exec_are_checked_like_options() {
    let manifest = "\
apiVersion: v1
kind: Pod
metadata: {name: envoy}
spec:
  terminationGracePeriodSeconds: 60
  initContainers:
    - {name: drainit, image: drainit, args: [install, /d/], volumeMounts: [{name: d, mountPath: /d}]}
  containers:
    - name: envoy
      image: envoy
      command: [/drainit/drainit, exec, --]
      args: [envoy, -c, /etc/envoy.yaml]
      env:
        - {name: DRAINIT_DRAIN_ENVOY, value: 'http://127.0.0.1:9901'}
        - {name: DRAINIT_GRACE_PERIOD, value: '60'}
        - {name: DRAINIT_DRAIN_IGNORE_LISTENERS, value: 'prometheus,health'}
        - {name: DRAINIT_READINESS, value: '30s'}
      readinessProbe: {exec: {command: [/drainit/drainit, health]}, periodSeconds: 1, failureThreshold: 1}
      livenessProbe: {exec: {command: [/drainit/drainit, health, --live]}}
      ports: [{containerPort: 8080}]
      volumeMounts: [{name: d, mountPath: /drainit}]
  volumes: [{name: d, emptyDir: {}}]
";
    let rows = [
        ("kind", "kind", ""),
        ("value: '60'", "value: '90'", "5:34 E deadline is 1m 28s"),
        ("value: '60'", "value: '40'", "5:34 W grace period of `drainit exec` is 40s"),
        (", health, --live]", ", health]", "19:22 E asks `/readyz`"),
        // A value that is not known here counts as correct.
        ("value: '60'", UNKNOWN, ""),
        ("value: 'http://127.0.0.1:9901'", UNKNOWN, ""),
        (
            "value: 'prometheus,health'}\n        - {name: DRAINIT_READINESS, value: '30s'}",
            "valueFrom: {configMapKeyRef: {name: a, key: b}}}\n        - {name: DRAINIT_READINESS, value: '0'}",
            "17:44 E would not start: `DRAINIT_READINESS` is `0`: must be longer than 0",
        ),
        // Without an admin, `exec` still refuses wrong values.
        (
            "DRAIN_ENVOY, value: 'http://127.0.0.1:9901'}\n        - {name: DRAINIT_GRACE_PERIOD, value: '60'",
            "DRAIN_TIME, value: soon}\n        - {name: DRAINIT_GRACE_PERIOD, value: x",
            "14:45 E would not start: `DRAINIT_DRAIN_TIME` is `soon`",
        ),
        (
            "{name: DRAINIT_READINESS",
            "{name: DRAINIT_DRAIN_TIME, value: 0s}\n        - {name: DRAINIT_READINESS",
            "17:45 W `DRAINIT_DRAIN_TIME` is 0, which turns the drain off",
        ),
        ("DRAINIT_READINESS", "DRAINIT_REDINESS", "17:43 W reads no variable `DRAINIT_REDINESS`"),
    ];
    each_change("", manifest, &rows);
}

/// An Envoy behind `drainit exec`, and its Service.
const ENVOY: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: envoy, labels: {app: envoy}}
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: envoy
      image: envoy
      command: [drainit, exec, --drain-envoy, 'http://127.0.0.1:9901', --grace-period, '60s', OPTIONS, envoy]
      env: [{name: DRAINIT_UNREADY_DELAY, VALUE}]
      readinessProbe: {exec: {command: [drainit, health]}, periodSeconds: 1, failureThreshold: 1}
      ports: [{containerPort: 8080}]
---
kind: Service
metadata: {name: x}
spec: {externalTrafficPolicy: Local, selector: {app: envoy}}
";

// holds: C883, C975
#[test]
fn a_service_with_policy_local_needs_the_unready_delay_of_exec() {
    let pod =
        |options: &str, value: &str| ENVOY.replace("OPTIONS", options).replace("VALUE", value);
    let rows = [
        ("--verbose", "value: ''", "16:31 W with `Local` the load balancer sends"),
        ("--unready-delay=10s", "value: ''", "16:31 W as soon as drainit turns unready"),
        (
            "--unready-delay, 58s",
            "value: ''",
            "9:95 E would not start: --unready-delay (DRAINIT_UNREADY_DELAY) (58s) leaves nothing of the 58s",
        ),
        ("--drain-min=12s", "value: '10'", ""),
        ("--drain-min=12s, --unready-delay=10s", "value: ''", ""),
        ("--drain-min=12s, --unready-delay=10s", "value: soon", ""),
        // A value that is not known here counts as correct.
        ("--verbose", UNKNOWN, ""),
        ("--drain-min=$(DRAINIT_UNREADY_DELAY), --unready-delay=10s", UNKNOWN, ""),
    ];
    let rows = rows.map(|(options, value, expected)| ((options, value), expected));
    each(rows, |(options, value)| found("", &pod(options, value)));
    let found = check("", &pod("--verbose", "value: ''")).diagnostics;
    let help = found[0].help.as_deref().unwrap_or_default();
    assert!(help.contains("DRAINIT_UNREADY_DELAY") && help.contains("--drain-min"));
}

// holds: C768
#[test]
fn an_exec_without_a_drain_is_reported() {
    let exec = "\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: app
      image: app
      command: [drainit, exec, --]
      args: [/app]
      ports: [{containerPort: 8080}]
      readinessProbe: {httpGet: {path: /, port: 8080}}
";
    let undrained = "10:14 W does not drain this Envoy";
    let rows = [
        ("", undrained),
        ("envFrom: [{configMapRef: {name: a}}]", ""),
        ("envFrom: [{prefix: A_, configMapRef: {name: a}}]", undrained),
        ("env: [{name: DRAINIT_DRAIN_TIME, value: '20'}]", "11:47 W no effect"),
        ("env: [{name: DRAINIT_DRAIN_TIME, value: '20'}]\n      envFrom: [{}]", ""),
        (
            "env: [{name: DRAINIT_DRAIN_ENVOY, value: 'unix:/a'}]\n      envFrom: [{}]",
            "14:23 W fails only after 30s",
        ),
    ];
    let envoy = |keys: &str| format!("args: [/usr/bin/envoy]\n      {keys}");
    each(rows, |keys| found("", &with(exec, "args: [/app]", &envoy(keys))));
    let ready = "{httpGet: {path: /, port: 8080}}";
    let asks = "{exec: {command: [drainit, health, --url=http://localhost:8080/]}}";
    let drains = "{exec: {command: [sh, -c, 'exec drainit drain; sleep 1']}}";
    let drains = format!("{ready}\n      lifecycle: {{preStop: {drains}}}");
    let rows = [
        ("exec, --]", "exec, --]", ""),
        (ready, "{exec: {command: [/bin/drainit, health]}}", "12:41 E gets no answer"),
        (ready, asks, ""),
        (ready, &drains, "13:54 E `drainit drain` gets no answer"),
        ("[/app]", "[-c, /etc/envoy.yaml]", "10:14 E the program is missing before `-c`"),
        ("exec, --]", "exec, --grace-period, 60s, --]", ""),
        ("exec, --]", "exec, --grace-period, 90s, --]", ""),
    ];
    each_change("", exec, &rows);
}

#[test]
fn only_a_pod_that_gets_requests_needs_a_readiness_probe() {
    let worker = "shutdown: {grace_period: 45s}\nprocesses: {app: {command: [app], drain: {notify: {signal: USR1}}}}\n";
    let server =
        "shutdown: {grace_period: 45s}\nprocesses: {app: {command: [app], drain: connections}}\n";
    let pod = |kind: &str, more: &str| {
        format!(
            "kind: {kind}\nspec:\n  template:\n    metadata: {{labels: {{app: a}}}}\n    spec:\n      \
             terminationGracePeriodSeconds: 45\n      containers: [{{name: app, command: [drainit, run]{more}}}]\n"
        )
    };
    let deployment = pod("Deployment", "");
    let service = "---\nkind: Service\nspec: {selector: {app: a}, ports: [{port: 80}]}\n";
    for (config, manifest, is_needed) in [
        (worker, deployment.clone(), false),
        (worker, format!("{deployment}{service}"), true),
        (worker, pod("Deployment", ", ports: [{containerPort: 80}]"), true),
        (server, deployment, true),
        (server, pod("Job", ""), false),
    ] {
        let is_said = says(config, &manifest, "has no readiness probe");
        assert_eq!(is_said, is_needed, "{config}{manifest}");
    }
}

#[test]
fn drainits_that_share_a_pid_namespace_need_own_sockets() {
    let containers = "      containers:\n";
    let other = "        - {name: other, command: [drainit, OTHER]}\n";
    let shared = format!("      shareProcessNamespace: true\n{containers}{other}");
    let shared = with(&ready("[drainit, health]"), containers, &shared);
    let run = shared.replace("OTHER", "run");
    let config = with(CONFIG, ", socket: /run/drainit.sock", "");
    let closed = with(&config, "control: {listen: '0.0.0.0:9902'}", "control: {}");
    let drains = with_hook(&run, "{exec: {command: [drainit, drain]}}");
    for (config, manifest, is_wrong) in [
        (&closed, &run, true),
        (&closed, &run.replace("drainit, health]", "drainit, health, --socket=@a]"), false),
        (&closed, &run.replace("Namespace: true", "Namespace: false"), false),
        (&closed, &shared.replace("OTHER", "exec, app"), false),
        (&closed, &shared.replace("OTHER", "exec, --drain-envoy=unix:/a, envoy"), true),
        // `health` uses the port.
        (&config, &run, false),
        (&config, &drains, true),
        (&CONFIG.to_owned(), &drains, false),
    ] {
        let found = lines(&check_with(config, manifest, Some("gateway"), &[], &[]));
        let is_named = |line: &String| line.contains("does not know whom to ask");
        assert_eq!(found.iter().any(is_named), is_wrong, "{config}{manifest}\n{found:#?}");
    }
}

#[test]
fn a_startup_probe_waits_as_long_as_drainit() {
    let readiness = "command: [engine], readiness: {exec: [a], timeout: 20s}";
    let config = with(CONFIG, "command: [engine]", readiness);
    let ready = "httpGet: {path: /readyz, port: control}, periodSeconds: 1, failureThreshold";
    let admin = ready.replace("readyz, port: control", "ready, port: 9901");
    let health = "exec: {command: [drainit, health]}, periodSeconds: 2, failureThreshold";
    for (probe, is_short) in [
        (format!("{ready}: 19"), true),
        (format!("{ready}: 20"), false),
        (format!("{ready}: 15, initialDelaySeconds: 5"), false),
        (format!("{health}: 9"), true),
        (format!("{health}: 10"), false),
        (format!("{admin}: 19"), true),
        (ready.replace("/readyz", "/livez") + ": 1", false),
    ] {
        let probe = format!("startupProbe: {{{probe}}}");
        let expected = if is_short { "10:25 W not ready after, is 20s" } else { "" };
        each([(&*probe, expected)], |probe| found(&config, &with_key(MANIFEST, probe)));
    }
}

#[test]
fn env_from_may_bring_the_grace_period() {
    let manifest = with(MANIFEST, GRACE, "            - {name: A, value: a}\n");
    let manifest = with_key(&manifest, "envFrom: [{configMapRef: {name: a}}]");
    let found = found(CONFIG, &manifest);
    assert!(are_these(&found, "9:17 W `envFrom` may bring"), "{found:#?}");
    let given = [("TERMINATION_GRACE_PERIOD_SECONDS", "45")];
    assert_eq!(lines(&check_with(CONFIG, &manifest, None, &[], &given)), [""; 0]);
}

// holds: C768, C883
#[test]
fn exec_takes_short_grace_periods() {
    let rows = [
        (("1", "1s"), ""),
        (("1", "500ms"), ""),
        (("2", "2"), ""),
        (("12", "12s"), ""),
        (("1", "2s"), "5:34 E deadline is 1.8s"),
        (("0", "2s"), "5:34 E deadline is 1.8s, kills after 0ms"),
    ];
    each(rows, |(seconds, grace)| {
        let pod = ENVOY.replace("OPTIONS", "-v").replace("VALUE", "value: ''");
        let pod = with(&with(&pod, "60s", grace), "Seconds: 60", &format!("Seconds: {seconds}"));
        let mut found = found("", &pod);
        // In these rows the drain may be cut short, which is only a warning.
        found.retain(|line| line.contains(" E "));
        found
    });
}

// holds: C769
#[test]
fn a_program_that_is_not_in_the_image_is_reported() {
    let rows = [
        (hook("[drainit, drain]"), ""),
        (
            hook("[/bin/deregister]"),
            "10:50 E this hook cannot run: `/bin/deregister` does not exist",
        ),
        (ready("[drainit, health]"), ""),
        (
            ready("[curl, 'http://localhost:9902/readyz']"),
            "18:45 E this probe cannot run: `curl` is in none of the directories",
        ),
        (hook("[sh, -c, 'drainit drain && curl x; [ -x /a ] && /a']"), ""),
        (
            hook("[sh, -c, 'drainit drain; exec curl -f localhost']"),
            "10:58 E this hook cannot run: `curl` is in none of the directories",
        ),
        (
            hook("[dash, -c, curl]"),
            "10:50 E this hook cannot run: `dash` is in none of the directories",
        ),
    ];
    let rows = rows.iter().map(|(manifest, expected)| (&**manifest, *expected));
    let dir = TempDir::new();
    // The image has `drainit` and a shell, and nothing else.
    for name in ["drainit", "sh"] {
        dir.file(name, 0o755, "#!/bin/sh\n");
    }
    let path = dir.root().to_str().unwrap();
    each(rows, |manifest| {
        let mut found = lines(&check_with(CONFIG, manifest, None, &[], &[("PATH", path)]));
        found.retain(|line| line.contains("cannot run"));
        found
    });
}
