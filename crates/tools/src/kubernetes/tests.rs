//! Tests `check --pod`: a correct manifest has no problems, and each mistake is reported at its
//! place.

use crate::check::image::{FindProgram, ImageLookup};
use crate::kubernetes::{PodCheck, check_manifest};
use crate::language::diagnostics::problems::Problems;
use crate::language::source::Source;
use crate::load::{Diagnostic, Environment, testing};
use drainit_config::testing::temp_dir::TempDir;
use std::path::PathBuf;

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

pub(super) fn check(
    config: &str,
    manifest: &str,
    name: Option<&str>,
    here: &[(&str, &str)],
) -> PodCheck {
    check_with(config, manifest, name, here, &[])
}

/// Like [`check`], but also with variables of the image.
fn check_with(
    config: &str,
    manifest: &str,
    name: Option<&str>,
    here: &[(&str, &str)],
    image: &[(&str, &str)],
) -> PodCheck {
    let mut problems = Problems::default();
    let file = problems.add_source(Source::new("pod.yaml", manifest.to_owned()));
    let load = |environment: &Environment, _: &[PathBuf], is_held_back| {
        testing::load_of_pod(config, environment, is_held_back)
    };
    let control =
        |environment: &Environment| testing::find_control(&[config], environment).control.ok();
    let [here, image] = [here, image].map(|variables| variables.iter().copied().collect());
    // The image has `drainit` and a shell, and nothing else.
    let find_program = |program: &str, environment: &Environment, _: &[PathBuf]| {
        let is_image = environment.get("IS_IMAGE").is_some();
        let is_there = ["drainit", "sh"].contains(&program);
        (is_image && !is_there).then(|| format!("`{program}` is nowhere"))
    };
    let read = (load, control, &find_program as FindProgram<'_>);
    check_manifest((problems, file), name, (&here, &image), read, &[config])
}

/// The problems, each as `line:column severity message`.
pub(super) fn lines(checked: &PodCheck) -> Vec<String> {
    let line = |d: &Diagnostic| {
        format!("{}:{} {} {}", d.line, d.column, if d.is_error() { "E" } else { "W" }, d.message)
    };
    checked.diagnostics.iter().map(line).collect()
}

#[track_caller]
fn silent(config: &str, manifest: &str) {
    let checked = check(config, manifest, None, &[]);
    assert_eq!(lines(&checked), [""; 0], "{manifest}");
    assert_eq!(checked.containers.len(), 1, "{manifest}");
}

/// Whether these problems were found. An expected problem begins with its place and its severity.
/// After that come parts of the message, with commas between them.
pub(super) fn are_these(found: &[String], expected: &[&str]) -> bool {
    let is_it = |(found, expected): (&String, &&str)| {
        let (place, words) = expected.split_at(expected.find(['E', 'W']).unwrap() + 2);
        found.starts_with(place) && words.split(", ").all(|words| found.contains(words))
    };
    found.len() == expected.len() && found.iter().zip(expected).all(is_it)
}

/// Replaces a part of a text. Fails if the text does not have this part.
#[track_caller]
pub(super) fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

// holds: S169
#[test]
fn each_fault_of_a_manifest_is_reported_with_place_and_help() {
    let live = "{path: /livez, port: control}";
    let ready = "{path: /readyz, port: 9902}";
    let ready_probe =
        "{httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}";
    let image = "          image: gateway\n";
    let hook = |hook: &str| format!("          lifecycle: {{preStop: {hook}}}\n{image}");
    let closed = |mount: &str| {
        format!(
            "          securityContext: {{readOnlyRootFilesystem: true}}\n          volumeMounts: [{mount}]\n{image}"
        )
    };
    let health = |command: &str| {
        format!("{{exec: {{command: {command}}}, periodSeconds: 1, failureThreshold: 1}}")
    };
    let rows: &[(&str, &str, &[&str])] = &[
        // The rows up to the next comment concern the grace period and its variable.
        (
            "Seconds: 45",
            "Seconds: 20",
            &["14:63 E is 45s, and terminationGracePeriodSeconds is 20s"],
        ),
        (
            "Seconds: 45",
            "Seconds: 90",
            &["14:63 W is 45s, and terminationGracePeriodSeconds is 1m 30s"],
        ),
        (
            "            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}\n",
            "",
            &["9:17 W has no `TERMINATION_GRACE_PERIOD_SECONDS`"],
        ),
        (
            "value: \"45\"",
            "valueFrom: {configMapKeyRef: {name: a, key: b}}",
            &["14:56 W value is not known here"],
        ),
        // The following rows concern `preStop` hooks.
        (
            image,
            &hook("{sleep: {seconds: 15}}"),
            &["7:38 E after a preStop hook of 15s", "10:50 W this sleep of 15s"],
        ),
        ("Seconds: 45", "Seconds: 0", &["7:38 E kills the pod after 0ms"]),
        (
            image,
            &hook("{exec: {command: [sh, -c, \"echo bye; sleep 20\"]}}"),
            &["7:38 E after a preStop hook of 20s", "10:50 W this sleep of 20s"],
        ),
        (image, &hook("{exec: {command: [/app/deregister]}}"), &["10:50 W not known here"]),
        (image, &hook("{httpGet: {path: /bye, port: 80}}"), &["10:32 W not known here"]),
        (
            image,
            &hook("{exec: {command: [drainit, drain, --socket, /tmp/x.sock]}}"),
            &["10:50 E `drainit drain`, /tmp/x.sock"],
        ),
        (image, &hook("{exec: {command: [drainit, drain]}}"), &[]),
        (
            ready_probe,
            "{exec: {command: [drainit, health, --socket, /wrong.sock]}, periodSeconds: 1, failureThreshold: 1}",
            &["18:45 E `drainit health`, /wrong.sock"],
        ),
        (
            image,
            &format!("          lifecycle: {{stopSignal: SIGUSR1}}\n{image}"),
            &["10:35 E `SIGUSR1` does not stop drainit"],
        ),
        (image, &format!("          lifecycle: {{stopSignal: SIGQUIT}}\n{image}"), &[]),
        // The following rows concern `command` and `args`.
        ("[drainit, run]", "[sh, -c, drainit run]", &["11:29 E the shell gets the signals"]),
        ("[drainit, run]", "[sh, -c, 'prepare && exec drainit run -- \"$@\"', x]", &[]),
        (image, &hook("{exec: {command: [sh, -c, 'exec drainit drain']}}"), &[]),
        ("[drainit, run]", "[sh, -c, 'exec env A=1 drainit run']", &[]),
        ("[drainit, run]", "[sh, -c, \"exec env \\\\\\n A=1 drainit run\"]", &[]),
        (
            "[drainit, run]",
            "[sh, -c, 'exec 2>/dev/null; drainit run']",
            &["11:29 E the shell gets the signals"],
        ),
        (
            "[drainit, run]",
            "[sh, -c, 'exec drainit run 2>&1 | tee /log']",
            &["11:29 E the shell gets the signals"],
        ),
        ("[drainit, run]", "[sh, -c, 'a | exec drainit run']", &["11:29 E the shell gets"]),
        ("[drainit, run]", "[sh, -c, 'exec drainit run & wait']", &["11:29 E the shell gets"]),
        ("[drainit, run]", "[sh, -c, 'a || exec drainit run $(b | c) \"d|e\" 2>&1']", &[]),
        (
            "[drainit, run]",
            "[sh, -c, \"cat >/a <<A\\nb drainit run |\\nA\\nexec drainit run\"]",
            &[],
        ),
        ("[drainit, run]", "[sh, -c, 'case $1 in a|b) exec drainit run ;; *) c ;; esac']", &[]),
        ("[drainit, run]", "[sh, -c, 'exec env $(a | b) drainit run >|/c']", &[]),
        ("[drainit, run]", "[sh, -c, 'exec env A=${B:-x|y} drainit run > >(a | b)']", &[]),
        ("[drainit, run]", "[sh, -c, 'A=$(a); exec drainit run | b']", &["11:29 E the shell gets"]),
        (
            "[drainit, run]",
            "[sh, -c, 'a && exec b; A=$(c); drainit run']",
            &["11:29 E the shell gets"],
        ),
        (
            "[drainit, run]\n          args: [--rtr.concurrency, \"2\"]",
            "[sh, -c]\n          args: [drainit run]",
            &["12:18 E the shell gets the signals"],
        ),
        ("[drainit, run]", "[/entrypoint.sh]", &["11:21 W does not run drainit"]),
        (
            "[drainit, run]",
            "[drainit, exec]",
            &["12:18 E `drainit exec` has no option `--rtr.concurrency`"],
        ),
        (
            "[drainit, run]",
            "[drainit]",
            &["12:18 E `drainit --rtr.concurrency` does not run a config"],
        ),
        ("--rtr.concurrency", "--rt.concurrency", &["12:18 E claimed by no process"]),
        ("--rtr.concurrency, ", "--rtr.config-path, ", &["12:18 E is refused"]),
        (
            "--rtr.concurrency, ",
            "-c, /etc/drainit.yaml, --, stray, ",
            &["12:45 E argument `stray` is claimed"],
        ),
        ("--rtr.concurrency, \"2\"", "--rtr.concurrency, $(UNSET)", &[]),
        // The following rows concern probes.
        (
            live,
            "{path: /readyz, port: control}, failureThreshold: 1",
            &["17:26 E `/readyz` is 503, 33.5s, after 10s"],
        ),
        (
            "livenessProbe: {httpGet: {path: /livez",
            "startupProbe: {httpGet: {path: /readyz, port: control}}\n          livenessProbe: {periodSeconds: 30, httpGet: {path: /readyz",
            &["18:26 W until the processes are ready, 1m 30s"],
        ),
        (
            live,
            "{path: /ready, port: 9901}, periodSeconds: 30",
            &["17:26 E Envoy's `/ready`, until the processes are ready"],
        ),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [cat, /tmp/healthy]}}",
            &["17:44 W only looks at a file"],
        ),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "exec: {command: [sh, -c, 'test -f /tmp/ready']}",
            &["18:45 W only looks at a file"],
        ),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "exec: {command: [sh, -c, 'test -f /tmp/ready && curl localhost']}",
            &[],
        ),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "exec: {command: [sh, -c, 'test \"$(curl localhost)\" = ok']}",
            &[],
        ),
        (
            live,
            "{path: /, port: 8080}, periodSeconds: 4",
            &["17:26 W a listener of the drained Envoy, 15s, after 12s"],
        ),
        (live, "{path: /livez, port: 9903}", &["17:57 W does not answer `/livez`"]),
        (ready, "{path: /readyz, port: 9901}", &["18:59 W does not answer `/readyz`"]),
        (live, "{path: /livez, port: contrl}", &["17:57 E has no port `contrl`"]),
        (
            "{name: control, containerPort: 9902}\n          livenessProbe: {httpGet: {path: /livez, port: control}}",
            "{containerPort: 9902}\n          livenessProbe: {tcpSocket: {port: control}}",
            &["17:45 E has no port `control`"],
        ),
        (live, "{path: /livez, port: control, scheme: HTTPS}", &["17:74 E does not speak TLS"]),
        (live, "{path: /livez, port: control, scheme: HTTP, host: 10.0.0.1}", &[]),
        (
            ready,
            "{path: /readyz, port: 9902, host: 127.0.0.1}",
            &["18:71 E `127.0.0.1` of its node"],
        ),
        (ready, "{path: /readyz, port: 9902, host: '::1'}", &["18:71 E `::1` of its node"]),
        (
            ready,
            "{path: /readyz, port: 9902, host: localhost}",
            &["18:71 E `localhost` of its node"],
        ),
        (ready, "{path: /readyz/, port: 9902}", &["18:60 E `/readyz/` with 404"]),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [curl, 'localhost:9902/readyz']}, failureThreshold: 1}",
            &["17:26 E `/readyz` is 503, 33.5s, after 10s"],
        ),
        (
            "          readinessProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}\n",
            "",
            &["9:17 W no readiness probe"],
        ),
        (ready, "{path: /livez, port: 9902}", &["18:44 W `/livez` stays 200"]),
        (ready, "{path: /metrics, port: 9902}", &["18:44 W `/metrics` stays 200"]),
        (ready, "{path: /server_info, port: 9901}", &["18:44 W only `/ready` does"]),
        (
            ", periodSeconds: 1, failureThreshold: 1",
            ", periodSeconds: 2",
            &["18:27 W fails only after 6s"],
        ),
        (ready, "{path: /ready, port: 9901}", &[]),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "tcpSocket: {port: 8080}",
            &["18:27 W does not show the drain"],
        ),
        ("httpGet: {path: /readyz, port: 9902}", "grpc: {port: 8080}", &[]),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "grpc: {port: 9902}",
            &["18:41 E `grpc` probe gets no answer"],
        ),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [drainit, health]}, periodSeconds: 5}",
            &["17:26 E `/readyz` is 503, 33.5s, after 15s"],
        ),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [drainit, health, --live]}, periodSeconds: 5}",
            &[],
        ),
        (
            "httpGet: {path: /readyz, port: 9902}",
            "exec: {command: [drainit, health, --live]}",
            &["18:27 W `/livez` stays 200"],
        ),
        (
            ready_probe,
            &health("[drainit, health, --url, 'http://127.0.0.1:9902/livez']"),
            &["18:27 W `/livez` stays 200"],
        ),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [drainit, health, '--url=http://[::1]:9902/readyz']}}",
            &["17:26 E `/readyz` is 503"],
        ),
        (ready_probe, &health("[drainit, health, --url, 'http://127.0.0.1:80/livez']"), &[]),
        (
            "livenessProbe: {httpGet: {path: /livez, port: control}}",
            "livenessProbe: {exec: {command: [curl, 'localhost:3000/readyz']}}",
            &[],
        ),
        // The following rows concern the commands of drainit in probes and hooks.
        (ready_probe, &health("[drainit, status]"), &["18:45 W no command for a probe"]),
        (ready_probe, &health("[drainit, exec, --, curl, localhost]"), &[]),
        (
            image,
            &hook("{exec: {command: [drainit, run]}}"),
            &["10:50 W no command for a hook", "10:50 W not known here"],
        ),
        (ready_probe, &health("[drainit, healthz]"), &["18:54 E no subcommand `healthz`"]),
        (ready_probe, &health("[drainit]"), &["18:45 E drainit has no subcommand"]),
        (ready_probe, &health("[drainit, health, --foo]"), &["18:62 E no option `--foo`"]),
        (ready_probe, &health("[drainit, health, now]"), &["18:62 E takes no further word `now`"]),
        (ready_probe, &health("[drainit, health, --timeout, 2s, --wait=3s]"), &[]),
        (ready_probe, &health("[drainit, health, -c, /a.yaml, --timeout=$(A)]"), &[]),
        (ready_probe, &health("[drainit, drain]"), &["18:45 E drains the pod when it first runs"]),
        (ready_probe, &health("[sh, -c, 'drainit health >/dev/null 2>&1 || exit 1']"), &[]),
        (
            ready_probe,
            &health("[sh, -c, 'exec drainit health --foo']"),
            &["18:53 E no option `--foo`"],
        ),
        (
            image,
            "          lifecycle: {postStart: {exec: {command: [drainit, drain]}}}\n          image: gateway\n",
            &["10:52 E this hook drains the pod when it first runs"],
        ),
        (ready_probe, &health("[drainit health]"), &["18:45 E `drainit health` is one word"]),
        (
            image,
            &hook("{exec: {command: [/bin/drainit drain]}}"),
            &["10:50 E `/bin/drainit drain` is one word"],
        ),
        ("[drainit, run]", "[drainit run]", &["11:21 E `drainit run` is one word"]),
        (image, &hook("{exec: {command: [drainit, drian]}}"), &["10:59 E subcommand `drian`"]),
        (image, &hook("{exec: {command: [drainit, drain, --foo]}}"), &["10:66 E option `--foo`"]),
        (image, &hook("{exec: {command: [drainit, drain, --no-wait]}}"), &[]),
        // The following rows concern the place of a socket.
        (image, &closed(""), &["9:17 E `/run/drainit.sock` cannot be made"]),
        (image, &closed("{name: a, mountPath: /run}"), &[]),
        (image, &closed("{name: a, mountPath: /var/run}"), &[]),
        (
            image,
            &closed("{name: a, mountPath: /run/, readOnly: true}"),
            &["9:17 E `/run/drainit.sock` cannot be made"],
        ),
        // The following rows concern the manifest itself.
        ("kind: Deployment", "kind: Service", &["0:0 E only `Service`"]),
        ("kind: Deployment\n", "", &["0:0 E no workload"]),
        (
            "- name: gateway\n          image: gateway",
            "- {name: router, image: x}\n        - name: gateway",
            &["10:17 E `gateway` has no image"],
        ),
        ("- name: gateway", "- name: other\n          image: x\n        - name: gateway", &[]),
        ("command: [drainit, run]", "x: y\n        - name: other", &["0:0 E which container"]),
    ];
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let checked = check(CONFIG, &with(MANIFEST, from, to), None, &[]);
        for problem in &checked.diagnostics {
            assert!(problem.help.is_some(), "no help: {problem}");
        }
        let found = lines(&checked);
        if !are_these(&found, expected) {
            wrong += &format!("{to:?}\n    {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let mut found = check(CONFIG, &with(MANIFEST, live, "{port: a}"), None, &[]).diagnostics;
    assert_eq!(found.pop().unwrap().help.unwrap(), "write one of the container's ports: `control`");
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
    let found = lines(&check("processes: {}", &manifest, None, &[]));
    assert!(found.iter().any(|line| line.contains("no option `--foo`")), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("claimed")), "{found:#?}");
}

#[test]
fn a_wrong_type_does_not_end_the_check_of_other_workloads() {
    let wrong = with(MANIFEST, "value: \"45\"", "value: 45");
    let wrong = with(&wrong, "args: [--rtr.concurrency, \"2\"]", "args: --rtr");
    let other = with(MANIFEST, "/livez", "/readyz");
    let found = lines(&check(CONFIG, &format!("{wrong}---\n{other}"), None, &[]));
    assert!(found.iter().any(|line| line.contains("list")), "{found:#?}");
    assert!(found.iter().any(|line| line.contains("liveness probe")), "{found:#?}");
    // A number in place of text hides nothing.
    let number = with(&with(&other, "[drainit, run]", "[]"), "value: \"45\"", "value: 45");
    let found = lines(&check(CONFIG, &number, None, &[]));
    assert!(found.iter().any(|line| line.contains("liveness probe")), "{found:#?}");
    // The workload that is left need not run drainit.
    let redis = with(MANIFEST, "[drainit, run]", "[redis]");
    let found = lines(&check(CONFIG, &format!("{wrong}---\n{redis}"), None, &[]));
    assert!(!found.iter().any(|line| line.contains("drainit")), "{found:#?}");
}

#[test]
fn the_variable_that_is_set_counts() {
    let nested = with(
        CONFIG,
        "${TERMINATION_GRACE_PERIOD_SECONDS:-30}",
        "${GRACE:-${TERMINATION_GRACE_PERIOD_SECONDS:-30}}",
    );
    silent(&nested, MANIFEST);
}

/// The longest shutdown may begin while a oneshot still runs. That shutdown must fit, too.
#[test]
fn the_stop_of_a_running_oneshot_must_fit_beside_a_hook() {
    let config = CONFIG.replace(
        "processes:\n",
        "processes:\n  index: {type: oneshot, command: [index], stop_grace_period: 43s}\n",
    );
    let hook = "          lifecycle: {preStop: {sleep: {seconds: 5}}}\n          image: gateway\n";
    let manifest = with(MANIFEST, "          image: gateway\n", hook);
    let lines = lines(&check(&config, &manifest, None, &[]));
    let message = "after a preStop hook of 5s the shutdown takes up to 43s";
    assert!(lines.iter().any(|line| line.contains(message)), "{lines:?}");
}

#[test]
fn each_mismatch_of_config_and_pod_is_reported() {
    let grace = "grace_period: '${TERMINATION_GRACE_PERIOD_SECONDS:-30}'";
    let control = "control: {listen: '0.0.0.0:9902', socket: /run/drainit.sock}";
    let sleep = "          lifecycle: {preStop: {sleep: {seconds: 5}}}\n          image: gateway\n";
    let drain = "          lifecycle: {preStop: {exec: {command: [drainit, drain]}}}\n          image: gateway\n";
    let image = "          image: gateway\n";
    let signals = format!("signals: [INT, QUIT], {grace}");
    let rows: &[(&str, &str, &str, &str, &[&str])] = &[
        (grace, "grace_period: 45s", "", "", &[]),
        (grace, "grace_period: 30s", "", "", &["7:38 W `grace_period` is 30s"]),
        (grace, "grace_period: 60s", "", "", &["7:38 E deadline is 58s"]),
        (
            grace,
            "grace_period: 60s, reserve: 50s",
            "",
            "",
            &["10:59 W drain router gets 5s of 15s, is 10s", "7:38 W `grace_period` is 1m"],
        ),
        (
            grace,
            "grace_period: 40s",
            image,
            sleep,
            &["7:38 W `grace_period` is 40s", "10:50 W this sleep of 5s"],
        ),
        (", time: 15s, min: 5s", ", time: 0", image, sleep, &[]),
        (
            "0.0.0.0",
            "127.0.0.1",
            "",
            "",
            &["17:57 E cannot reach, 127.0.0.1:9902", "18:59 E cannot reach, 127.0.0.1:9902"],
        ),
        (
            "'0.0.0.0:9902'",
            "'[::1]:9902'",
            "      containers:",
            "      hostNetwork: true\n      containers:",
            &["18:57 E cannot reach, [::1]:9902", "19:59 E cannot reach, [::1]:9902"],
        ),
        (
            control,
            "",
            "",
            "",
            &["17:57 W does not answer `/livez`", "18:59 W does not answer `/readyz`"],
        ),
        (
            control,
            "control: {socket: off}",
            image,
            drain,
            &[
                "10:50 E `drainit drain`, socket: off",
                "18:57 W does not answer `/livez`",
                "19:59 W does not answer `/readyz`",
            ],
        ),
        (
            control,
            "control: {socket: off}",
            "httpGet: {path: /readyz, port: 9902}",
            "exec: {command: [drainit, health]}",
            &["17:57 W does not answer `/livez`", "18:45 E `drainit health`, socket: off"],
        ),
        (
            "time: 15s, ",
            "time: 15s, fail_healthcheck: false, ",
            "{path: /readyz, port: 9902}",
            "{path: /ready, port: 9901}",
            &["18:44 W `/ready` stays 200"],
        ),
        (grace, &signals, "", "", &["9:17 W SIGTERM does not stop drainit"]),
        (
            grace,
            &signals,
            image,
            "          lifecycle: {stopSignal: SIGINT}\n          image: gateway\n",
            &[],
        ),
        ("time: 15s", "tiem: 15s", "", "", &["10:53 E `tiem`"]),
        // An error of the config does not hide the mistakes of the manifest.
        (
            "time: 15s",
            "tiem: 15s",
            "livenessProbe: {httpGet: {path: /livez",
            "lifecycle: {preStop: {httpGet: {path: /drain, port: 9902}}}\n          livenessProbe: {httpGet: {path: /readyz",
            &["10:53 E `tiem`", "17:49 E over TCP", "18:26 E `/readyz`"],
        ),
    ];
    let mut wrong = String::new();
    for (from, to, in_manifest, instead, expected) in rows {
        let found = lines(&check(
            &with(CONFIG, from, to),
            &with(MANIFEST, in_manifest, instead),
            None,
            &[],
        ));
        if !are_these(&found, expected) {
            wrong += &format!("{to:?} {instead:?}\n    {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_kind_of_workload_is_found() {
    let nested = |from: &str, to: &str| with(MANIFEST, from, to);
    for kind in ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout", "DeploymentConfig"] {
        silent(CONFIG, &nested("Deployment", kind));
    }
    let indented = |text: &str, by: &str| text.replace('\n', &format!("\n{by}"));
    let spec = &MANIFEST[MANIFEST.find("  template").unwrap()..];
    silent(
        CONFIG,
        &format!("kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n    {}", indented(spec, "    ")),
    );
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
    let two = with(
        &quiet,
        "        - name: gateway",
        "        - {name: other, image: x}\n        - name: gateway",
    );
    assert_eq!(
        lines(&check(CONFIG, &two, None, &[])),
        ["0:0 E the manifest does not show which container runs drainit"]
    );
    assert_eq!(lines(&check(CONFIG, &two, Some("gateway"), &[])), [""; 0]);
    assert_eq!(
        lines(&check(CONFIG, &two, Some("gatway"), &[])),
        ["0:0 E no container is named `gatway`"]
    );
    // Every workload that runs drainit is checked. If several workloads have the same problem, it
    // is reported once.
    let both = format!("{MANIFEST}---\n{}", with(MANIFEST, "gateway", "second"));
    let config = with(CONFIG, "time: 15s", "time: 99s");
    let checked = check(&config, &both, None, &[]);
    let of = |name| format!("Deployment {name}, container gateway, stops within 43s");
    assert_eq!(checked.containers, [of("gateway"), of("second")]);
    assert_eq!(checked.diagnostics.len(), 1, "{:?}", lines(&checked));
}

/// drainit as a native sidecar that drains with the pod, in front of an application that waits.
const SIDECAR: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 45
      containers:
        - {name: app, image: app, readinessProbe: {tcpSocket: {port: 80}}, lifecycle: {preStop: {sleep: {seconds: 15}}}}
      initContainers:
        - {name: prepare, image: x, command: [drainit, exec, x]}
        - name: gateway
          restartPolicy: Always
          lifecycle: {preStop: {exec: {command: [drainit, drain]}}}
          image: gateway
          command: [drainit, run]
          env:
            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}
          ports:
            - {name: control, containerPort: 9902}
          startupProbe: {httpGet: {path: /readyz, port: control}, periodSeconds: 1, failureThreshold: 60}
          livenessProbe: {httpGet: {path: /livez, port: control}}
          readinessProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}
";

#[test]
fn a_sidecar_needs_a_pre_stop_hook_that_drains() {
    let hook = "          lifecycle: {preStop: {exec: {command: [drainit, drain]}}}\n";
    assert_eq!(
        lines(&check(CONFIG, &with(SIDECAR, hook, ""), None, &[])),
        [
            "12:17 W a sidecar gets its stop signal only after the main containers have exited, and drainit counts \
             `grace_period` from then",
            "12:17 W the drain of `router` closes all of its listeners: if the application goes out through this sidecar, \
             it is cut off before it ends",
        ]
    );
    silent(&with(CONFIG, "time: 15s", "direction: all, time: 15s"), SIDECAR);
}

#[test]
fn the_application_behind_a_sidecar_waits_at_the_start_and_at_the_stop() {
    let config = with(CONFIG, "time: 15s", "direction: all, time: 15s");
    let probe = "readinessProbe: {tcpSocket: {port: 80}}, ";
    let sleep = ", lifecycle: {preStop: {sleep: {seconds: 15}}}";
    let hook = |hook: &str| with(SIDECAR, "{sleep: {seconds: 15}}", hook);
    let startup = "startupProbe: {httpGet: {path: /readyz, port: control}, periodSeconds: 1, failureThreshold: 60}";
    let bare = with(&with(&with(SIDECAR, probe, ""), sleep, ""), startup, "");
    let all: &[&str] = &[
        "9:18 W `app` gets SIGTERM at once, `gateway` may still send requests for 15s",
        "9:18 W without a `readinessProbe` of `app`",
        "12:17 W without a `startupProbe`",
    ];
    let other = "      containers:\n        - {name: log, image: log}\n";
    let own =
        "      containers:\n        - {name: own, image: own, command: [drainit, exec, own]}\n";
    let cases: &[(&str, &str, &[&str])] = &[
        (&config, &bare, all),
        (&config, &hook("{sleep: {seconds: 5}}"), &["9:76 W SIGTERM after 5s"]),
        (&config, &hook("{exec: {command: [sleep, '14']}}"), &["9:76 W SIGTERM after 14s"]),
        (&config, &hook("{exec: {command: [sleep, '15']}}"), &[]),
        (
            &config,
            &hook("{exec: {command: [sh, -c, sleep 10; sleep 4]}}"),
            &["9:76 W SIGTERM after 14s"],
        ),
        (&config, &hook("{exec: {command: [/app/wait]}}"), &[]),
        (&config, &hook("{exec: {command: [/bin/true]}}"), &["9:76 W SIGTERM at once"]),
        (&config, &hook("{exec: {command: [sleep 15]}}"), &["9:115 E `sleep 15` is one word"]),
        (
            &config,
            &with(
                SIDECAR,
                "startupProbe: {httpGet: {path: /readyz",
                "startupProbe: {httpGet: {path: /livez",
            ),
            &["12:17 W without a `startupProbe`"],
        ),
        (
            &config,
            &with(
                SIDECAR,
                "startupProbe: {httpGet: {path: /readyz, port: control}",
                "startupProbe: {exec: {command: [drainit, health, --live]}",
            ),
            &["12:17 W without a `startupProbe`"],
        ),
        // A second container that does not wait is not reported.
        (&config, &with(SIDECAR, "      containers:\n", other), &[]),
        // A `postStart` hook also delays the next container.
        (
            &config,
            &with(
                &with(SIDECAR, startup, ""),
                "{preStop: {exec: {command: [drainit, drain]}}}",
                "{preStop: {exec: {command: [drainit, drain]}}, postStart: {exec: {command: [drainit, health, --wait]}}}",
            ),
            &[],
        ),
        (&with(&config, "all, time: 15s", "all, time: 30s"), SIDECAR, &["9:76 W for 30s"]),
        (&with(&config, "all, time: 15s", "all, time: 0"), &with(SIDECAR, sleep, ""), &[]),
    ];
    for (config, manifest, expected) in cases {
        let found = lines(&check(config, manifest, None, &[]));
        assert!(are_these(&found, expected), "{manifest}\n{found:#?}");
    }
    // The application has a drainit of its own, which is checked by itself.
    let own = with(&bare, "      containers:\n", own);
    let found = lines(&check(&config, &own, Some("gateway"), &[]));
    assert!(are_these(&found, &["13:17 W without a `startupProbe`"]), "{found:#?}");
    // Nobody sends requests to a Job.
    silent(&config, &with(&bare, "kind: Deployment", "kind: Job"));
}

#[test]
fn the_config_sees_the_variables_of_the_manifest() {
    let variable = "            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}\n";
    let more = |more: &str| with(MANIFEST, variable, &format!("{variable}            - {more}\n"));
    // The config takes a delay from the variable `DELAY`, and the delays here are too long. If the
    // check reports a problem, the check has read the variable.
    let reported = |manifest: &str, here: &[(&str, &str)]| {
        lines(&check(CONFIG, manifest, None, here)).len().min(1)
    };
    assert_eq!(reported(&more("{name: DELAY, value: 50s}"), &[]), 1);
    assert_eq!(
        reported(&more("{name: DELAY, value: $(TERMINATION_GRACE_PERIOD_SECONDS)}"), &[]),
        1
    );
    assert_eq!(
        reported(MANIFEST, &[("DELAY", "50s")]),
        0,
        "the environment of this command does not count"
    );
    let secret = more("{name: DELAY, valueFrom: {secretKeyRef: {name: a, key: b}}}");
    assert_eq!(
        lines(&check(CONFIG, &secret, None, &[])),
        ["15:29 W the config uses `DELAY`, whose value is not known here: it counts as unset"]
    );
    assert_eq!(lines(&check(CONFIG, &secret, None, &[("DELAY", "1s")])), [""; 0]);
    let unused = more("{name: PASSWORD, valueFrom: {secretKeyRef: {name: a, key: b}}}");
    silent(CONFIG, &unused);
}

#[test]
fn a_probe_of_the_loopback_address_works_with_host_network() {
    let config = with(CONFIG, "0.0.0.0", "127.0.0.1");
    let manifest =
        with(MANIFEST, "      containers:", "      hostNetwork: true\n      containers:");
    silent(&config, &manifest.replace("httpGet: {", "httpGet: {host: 127.0.0.1, "));
}

#[test]
fn variables_in_a_directory_of_configs_are_seen() {
    let dir = TempDir::new();
    let (settings, processes) = CONFIG.split_once("processes:").unwrap();
    dir.write("10.yaml", settings.as_bytes());
    dir.write("20.yaml", format!("processes:{processes}").as_bytes());
    let from = "valueFrom: {configMapKeyRef: {name: a, key: b}}";
    let more = format!("{from}}}\n            - {{name: DEL, {from}");
    let manifest = dir.write("pod", with(MANIFEST, "value: \"45\"", &more).as_bytes());
    let lookup = ImageLookup {
        find: &|_, _, _| Vec::new(),
        find_program: &|_, _, _| None,
        is_held_back: false,
        mounts: &[],
    };
    let checked = super::check(
        &[dir.root().to_owned()],
        &manifest,
        None,
        (&Environment::default(), &Environment::default()),
        lookup,
    );
    assert_eq!(
        lines(&checked),
        [
            "14:56 W the config uses `TERMINATION_GRACE_PERIOD_SECONDS`, whose value is not known here: it counts as unset"
        ]
    );
}

#[test]
fn a_template_is_rendered_and_a_patch_applied_first() {
    for (from, to, expected) in [
        ("45", "{{ .Values.grace }}", "helm template"),
        ("Deployment", "Template", "oc process"),
        ("Deployment", "EnvoyProxy", "kubectl get"),
        ("kind: Deployment\n", "", "kubectl get"),
        ("Deployment", "Service", "name the manifest"),
    ] {
        let checked = check(CONFIG, &with(MANIFEST, from, to), None, &[]);
        let mut help = checked.diagnostics.iter().filter_map(|problem| problem.help.as_deref());
        assert!(help.any(|help| help.contains(expected)), "{to} {:?}", lines(&checked));
    }
}

#[test]
fn a_hook_that_requests_a_drain_over_tcp_is_an_error() {
    let found = |hook: &str| {
        let image = "          image: gateway\n";
        let hook = format!("          lifecycle: {{preStop: {hook}}}\n");
        lines(&check(CONFIG, &with(MANIFEST, image, &format!("{hook}{image}")), None, &[]))
    };
    let refused = "E drainit refuses this: it accepts no drain over TCP";
    for hook in [
        "{httpGet: {path: /drain, port: control}}",
        "{exec: {command: [sh, -c, \"curl -XPOST http://localhost:9902/drain\"]}}",
    ] {
        let found = found(hook);
        assert!(found.iter().any(|line| line.ends_with(refused)), "{found:?}");
    }
    let found = found("{exec: {command: [drainit, drain]}}");
    assert!(!found.iter().any(|line| line.ends_with(refused)), "{found:?}");
}

#[test]
fn a_drain_without_min_gets_a_warning() {
    let drain = "{exec: [drain]}";
    let config = |drain: &str| {
        with(CONFIG, "{envoy: {admin: 'http://127.0.0.1:9901', time: 15s, min: 5s}}", drain)
    };
    let port = "{name: control, containerPort: 9902}";
    let served = with(MANIFEST, port, &format!("{port}\n            - {{containerPort: 80}}"));
    let delayed = with(&config(drain), "'${DELAY:-0}'", "5s");
    for (config, manifest, loses) in [
        (&config(drain), &*served, true),
        (&config(drain), MANIFEST, false),
        (&config("{exec: {command: [drain], min: 5s}}"), &served, false),
        (&delayed, &served, false),
    ] {
        let found = lines(&check(config, manifest, None, &[]));
        let is_such =
            |line: &String| line.contains("W `router` is stopped as soon as it is drained");
        assert_eq!(found.iter().any(is_such), loses, "{found:?}");
    }
}

#[test]
fn a_service_with_policy_local_needs_an_unready_delay() {
    let labels = with(
        MANIFEST,
        "  template:\n",
        "  template:\n    metadata: {labels: {app: gateway, tier: edge}}\n",
    );
    let service = |policy: &str, selector: &str| {
        format!(
            "{labels}---\nkind: Service\nmetadata: {{name: x}}\nspec:\n  externalTrafficPolicy: {policy}\n  \
             selector: {selector}\n"
        )
    };
    let local = service("Local", "{app: gateway}");
    let found = lines(&check(CONFIG, &local, None, &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("24:26 W with `Local` the load balancer sends"), "{found:?}");
    let short = with(CONFIG, "readiness_delay: '${DELAY:-0}'", "unready_delay: 5s");
    let found = lines(&check(&short, &local, None, &[]));
    assert!(are_these(&found, &["24:26 W `min`, as soon as drainit turns unready"]), "{found:?}");
    let delayed = with(&short, "min: 5s", "min: 6s");
    silent(&delayed, &local);
    silent(CONFIG, &service("Cluster", "{app: gateway}"));
    silent(CONFIG, &service("Local", "{app: gateway, tier: core}"));
    silent(CONFIG, &service("Local", "{}"));
    // A Service with `Local` counts even if a Service without it also selects the pod.
    let second = local.replace("---", "---\nkind: Service\nspec: {selector: {app: gateway}}\n---");
    assert_eq!(lines(&check(CONFIG, &second, None, &[])).len(), 1);
    // With `internalTrafficPolicy` the clients on the node lose their only pods.
    let internal = local.replace("externalTraffic", "internalTraffic");
    let found = lines(&check(CONFIG, &internal, None, &[]));
    assert!(found[0].starts_with("24:26 W with `Local` the clients on a node"), "{found:?}");
    silent(&short, &internal);
    // Only documents of the kind Service count.
    silent(CONFIG, &with(&local, "kind: Service", "kind: Gateway"));
    let undrained = with(CONFIG, "time: 15s", "time: 0");
    let undrained = lines(&check(&undrained, &local, None, &[]));
    assert!(!undrained.iter().any(|line| line.contains("`Local`")), "{undrained:?}");
}

/// The help of a problem names the change after which nothing is reported. `advice.rs` does the
/// same with the advice for the grace period.
#[test]
fn a_manifest_that_follows_the_advice_has_no_problems() {
    let other = with(
        MANIFEST,
        "livenessProbe: {httpGet: {path: /livez, port: control}}",
        "livenessProbe: {httpGet: {path: /readyz, port: 9903}}",
    );
    let undrained = "control: {listen: '0.0.0.0:9902'}\nshutdown: {grace_period: 45s}\nprocesses: {app: {command: [app]}}\n";
    let delayed = undrained.replace("45s", "45s, readiness_delay: 5s");
    let served = with(
        &with(MANIFEST, "          args: [--rtr.concurrency, \"2\"]\n", ""),
        "          ports:\n",
        "          ports:\n            - {containerPort: 80}\n",
    );
    let ready = "httpGet: {path: /readyz, port: 9902}";
    let looks = with(&served, ready, "exec: {command: [cat, /tmp/ready]}");
    let live = other.replace("path: /readyz, port: 9903", "path: /livez, port: 9902");
    let delay = "`shutdown: {readiness_delay: 5s}`";
    for (config, manifest, advice, then, changed) in [
        (CONFIG, &other, &["path: /livez, port: 9902"][..], CONFIG, &live),
        (undrained, &served, &[delay], &delayed, &served),
        (undrained, &looks, &[delay, "path: /readyz, port: 9902"], &delayed, &served),
    ] {
        let found = check(config, manifest, None, &[]).diagnostics;
        let helps: Vec<_> = found.iter().filter_map(|it| it.help.as_deref()).collect();
        let is_said = |words: &&str| helps.iter().any(|help| help.contains(words));
        assert!(advice.iter().all(is_said), "{advice:?}\n{helps:#?}\n{manifest}");
        silent(then, changed);
    }
}

#[test]
fn a_hook_that_waits_is_as_good_as_a_readiness_delay() {
    let config = "shutdown: {grace_period: 40s}\ncontrol: {listen: '0.0.0.0:9902'}\nprocesses: {app: {command: [app], readiness: {tcp: '127.0.0.1:80'}}}\n";
    let manifest = with(MANIFEST, "          args: [--rtr.concurrency, \"2\"]\n", "");
    let found = lines(&check(config, &manifest, None, &[]));
    assert!(found.iter().any(|line| line.contains("W `app` is stopped at once")), "{found:?}");
    let hook = "          lifecycle: {preStop: {sleep: {seconds: 5}}}\n          image: gateway\n";
    silent(config, &with(&manifest, "          image: gateway\n", hook));
}

// holds: C767
#[test]
fn given_variables_of_the_image_are_known() {
    let config =
        CONFIG.replace("command: [engine]", "command: [engine, '${HOME_DIR}', '${HOME_DIR}/a']");
    let unset = lines(&check(&config, MANIFEST, None, &[]));
    assert_eq!(unset.len(), 1, "each is named once: {unset:?}");
    let given = |name: &str, value: &str| {
        lines(&check_with(&config, MANIFEST, None, &[], &[("HOME_DIR", "/app"), (name, value)]))
    };
    assert_eq!(given("A", ""), [""; 0]);
    // The manifest overrides the image.
    assert_eq!(given("TERMINATION_GRACE_PERIOD_SECONDS", "20"), [""; 0]);
    // Kubernetes does not put variables of the image into `$(NAME)`.
    let refers = with(MANIFEST, "value: \"45\"", "value: $(GRACE)");
    let found = check_with(CONFIG, &refers, None, &[], &[("GRACE", "45")]);
    let is_named = |line: &String| line.contains("`${TERMINATION_GRACE_PERIOD_SECONDS");
    assert!(lines(&found).iter().any(is_named), "{:?}", lines(&found));
}

// holds: C768
#[test]
fn the_options_of_exec_are_checked_like_a_config() {
    let ready = "readinessProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 1}";
    let health = "{exec: {command: [drainit, health]}, periodSeconds: 1, failureThreshold: 1}";
    let manifest = with(MANIFEST, ready, &format!("readinessProbe: {health}"));
    let manifest =
        with(&manifest, "          livenessProbe: {httpGet: {path: /livez, port: control}}\n", "");
    let manifest = with(&manifest, "          args: [--rtr.concurrency, \"2\"]\n", "");
    let variable = "            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}\n";
    let unknown =
        "            - {name: UNKNOWN, valueFrom: {configMapKeyRef: {name: a, key: b}}}\n";
    let manifest = with(&manifest, variable, &format!("{variable}{unknown}"));
    let admin = "--drain-envoy, 'http://127.0.0.1:9901'";
    const HEALTH: &str = "17:45 E `drainit health` gets no answer";
    // The binary's test of `check --pod` compares more options with what `exec` refuses.
    let rows: &[(&str, &[&str])] = &[
        ("--grace-period, 45s, {A}, --, app, --grace-period, 1s", &[]),
        (
            "--grace-period, 45s, {A}, --, envoy, --drain-time-s, '9', --drain-time=9s",
            &["11:129 E `--drain-time` stands behind the program"],
        ),
        ("-v, --grace-period=$(TERMINATION_GRACE_PERIOD_SECONDS), {A}, envoy", &[]),
        ("{A}, --, envoy", &["7:38 W grace period of `drainit exec` is 30s"]),
        ("--grace-period, 60s, {A}, --, envoy", &["7:38 E deadline is 58s"]),
        (
            "--grace-period, 45s, {A}, --drain-time, soon, envoy",
            &["11:97 E would not start: `--drain-time` is `soon`"],
        ),
        (
            "--grace-period, 45s, {A}, --drain-tiem, 5s, --, envoy",
            &["11:97 E no option `--drain-tiem`"],
        ),
        (
            "--grace-period, 45s, {A}, --stop-signal=USR1, --stop-signal, INT, envoy",
            &["9:17 W SIGTERM does not stop drainit"],
        ),
        ("--grace-period, 45s, {A}, --stop-signal=HUP, --stop-signal, $(UNKNOWN), envoy", &[]),
        ("--grace-period, 45s, {A}", &["11:30 E would not start: there is no command"]),
        (
            "--grace-period, 45s, {A}, -ve256, --rewrite, 'TERM:', envoy",
            &[
                "11:97 E would not start: `--remap-exit`: `256` is not an exit code",
                "11:105 E would not start: `--rewrite` cannot be used with a drain",
                "11:105 E would not start: `--rewrite`: `` is not a signal",
            ],
        ),
        (
            "--grace-period, 45s, --readiness, 5s, envoy",
            &["11:57 E would not start: `--readiness` needs a drain", HEALTH],
        ),
        (
            "--grace-period, 46s, app",
            &["11:36 E grace period of `drainit exec` is 46s, kills after 45s", HEALTH],
        ),
        (
            "{A}, --, -c, /etc/envoy.yaml",
            &[
                "7:38 W grace period of `drainit exec` is 30s",
                "11:80 E the program is missing before `-c`",
            ],
        ),
        // The value of a variable is not known here.
        ("--grace-period=$(UNKNOWN), {A}, --drain-time=$(UNKNOWN), --drain-min, 20s, envoy", &[]),
        (
            "--grace-period, 45s, {A}, --drain-min, $(UNKNOWN), --drain-time, soon, envoy",
            &["11:122 E would not start: `--drain-time` is `soon`"],
        ),
    ];
    for (options, expected) in rows {
        let command = format!("[drainit, exec, {}]", options.replace("{A}", admin));
        let found = lines(&check("", &with(&manifest, "[drainit, run]", &command), None, &[]));
        assert!(are_these(&found, expected), "{command}\n{found:#?}");
    }
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
    let found = |from: &str, to: &str| lines(&check("", &with(manifest, from, to), None, &[]));
    assert_eq!(found("kind", "kind"), [""; 0]);
    let cases: &[(&str, &str, &[&str])] = &[
        ("value: '60'", "value: '90'", &["5:34 E deadline is 1m 28s"]),
        ("value: '60'", "value: '40'", &["5:34 W grace period of `drainit exec` is 40s"]),
        (
            "[/drainit/drainit, health, --live]",
            "[/drainit/drainit, health]",
            &["19:22 E `/readyz` is 503"],
        ),
        (
            "      ports",
            "      lifecycle: {preStop: {sleep: {seconds: 5}}}\n      ports",
            &["20:46 W added to drainit's own drain"],
        ),
        // A value that is not known here counts as correct.
        ("value: '60'", "valueFrom: {configMapKeyRef: {name: a, key: b}}", &[]),
        ("value: 'http://127.0.0.1:9901'", "valueFrom: {configMapKeyRef: {name: a, key: b}}", &[]),
        (
            "value: 'prometheus,health'}\n        - {name: DRAINIT_READINESS, value: '30s'}",
            "valueFrom: {configMapKeyRef: {name: a, key: b}}}\n        - {name: DRAINIT_READINESS, value: '0'}",
            &["17:44 E would not start: `DRAINIT_READINESS` is `0`: must be longer than 0"],
        ),
        // Without an admin, `exec` still refuses wrong values.
        (
            "DRAIN_ENVOY, value: 'http://127.0.0.1:9901'}\n        - {name: DRAINIT_GRACE_PERIOD, value: '60'",
            "DRAIN_TIME, value: soon}\n        - {name: DRAINIT_GRACE_PERIOD, value: x",
            &[
                "14:45 E would not start: `DRAINIT_DRAIN_TIME` is `soon`",
                "15:47 E would not start: `DRAINIT_GRACE_PERIOD` is `x`",
                "17:44 W `DRAINIT_READINESS` has no effect",
                "19:40 E `drainit health` gets no answer",
            ],
        ),
        (
            "{name: DRAINIT_READINESS",
            "{name: DRAINIT_DRAIN_TIME, value: 0s}\n        - {name: DRAINIT_READINESS",
            &["17:45 W `DRAINIT_DRAIN_TIME` is 0, which turns the drain off"],
        ),
        (
            "DRAINIT_READINESS",
            "DRAINIT_REDINESS",
            &["17:43 W reads no variable `DRAINIT_REDINESS`"],
        ),
    ];
    for (from, to, expected) in cases {
        let found = found(from, to);
        assert!(are_these(&found, expected), "{from}\n{found:#?}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_reported() {
    let env = "            - {name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}\n";
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "Seconds: 45",
            "Seconds: \"45\"",
            &["7:38 E text in `terminationGracePeriodSeconds`, a whole number"],
        ),
        ("Seconds: 45", "Seconds: 45s", &["7:38 E text in `terminationGracePeriodSeconds`"]),
        ("Seconds: 45", "Seconds: 45.0", &["7:38 E a fraction in `terminationGracePeriodSeconds`"]),
        (
            "periodSeconds: 1",
            "periodSeconds: '1'",
            &["18:81 E text in `periodSeconds`, a whole number"],
        ),
        ("containerPort: 9902", "containerPort: \"9902\"", &["16:46 E text in `containerPort`"]),
        ("port: 9902", "port: \"9902\"", &["18:59 E text in `port`: write a number or a name"]),
        ("value: \"45\"", "value: 45", &["14:63 E a whole number in `value`, write text"]),
        (
            env,
            &format!("{env}            - {{name: A, value: yes}}\n"),
            &["15:32 E true or false in `value`"],
        ),
        ("\"2\"", "2", &["12:37 E a whole number in `args`, write text"]),
        // A list or a mapping in a wrong place hides what other checks need.
        ("\"2\"", "[2]", &["12:37 E a list in `args`"]),
        (
            env,
            "              TERMINATION_GRACE_PERIOD_SECONDS: \"45\"\n",
            &["14:15 E a mapping in `env`, a list"],
        ),
        ("[drainit, run]", "drainit run", &["11:20 E text in `command`, a list"]),
        (
            "{httpGet: {path: /livez, port: control}}",
            "/livez",
            &["17:26 E text in `livenessProbe`, a mapping"],
        ),
        (
            "        - name: gateway\n",
            "          name: gateway\n",
            &["9:11 E a mapping in `containers`, a list"],
        ),
        ("    spec:\n", "    spec: [a]\n    x:\n", &["6:11 E a list in `spec`, a mapping"]),
        ("    spec:\n", "    x:\n", &["0:0 E only `Deployment without spec.template.spec`"]),
        // Other keys may have any value.
        ("      containers:", "      nodeSelector: {env: a, value: 'yes'}\n      containers:", &[]),
        (
            "name: gateway",
            "name: gateway\n          resources: {limits: {cpu: 2}}\n          envFrom: ~",
            &[],
        ),
    ];
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let checked = check(
            CONFIG,
            &with(&MANIFEST.replace("{name: gateway}\n", "{}\n"), from, to),
            None,
            &[],
        );
        let found = lines(&checked);
        if !are_these(&found, expected) {
            wrong += &format!("{to:?}\n    {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let found =
        check(CONFIG, &with(MANIFEST, "[drainit, run]", "drainit run"), None, &[]).diagnostics;
    assert_eq!(found[0].help.as_deref(), Some("write `[drainit, run]`"));
}

// holds: C883, C975
#[test]
fn a_service_with_policy_local_needs_the_unready_delay_of_exec() {
    let pod = "\
apiVersion: v1
kind: Pod
metadata: {name: envoy, labels: {app: envoy}}
spec:
  terminationGracePeriodSeconds: 60
  containers:
    - name: envoy
      image: envoy
      command: [drainit, exec, --drain-envoy, 'http://127.0.0.1:9901', --grace-period, 60s, OPTIONS, envoy]
      env: [{name: DRAINIT_UNREADY_DELAY, VALUE}]
      readinessProbe: {exec: {command: [drainit, health]}, periodSeconds: 1, failureThreshold: 1}
      ports: [{containerPort: 8080}]
---
kind: Service
metadata: {name: x}
spec: {externalTrafficPolicy: Local, selector: {app: envoy}}
";
    let checked = |options: &str, value: &str| {
        let pod = pod.replace("OPTIONS", options).replace("VALUE", value);
        check("", &pod, None, &[])
    };
    let found = checked("--verbose", "value: ''");
    assert!(are_these(&lines(&found), &["16:31 W with `Local` the load balancer sends"]));
    let help = found.diagnostics[0].help.as_deref().unwrap_or_default();
    assert!(help.contains("DRAINIT_UNREADY_DELAY: 10") && help.contains("--drain-min"));
    let unknown = "valueFrom: {configMapKeyRef: {name: a, key: b}}";
    for (options, value) in [
        ("--drain-min=12s", "value: '10'"),
        ("--drain-min=12s, --unready-delay=10s", "value: ''"),
        ("--drain-min=12s, --unready-delay=10s", "value: soon"),
        // A value that is not known here counts as correct.
        ("--verbose", unknown),
        ("--drain-min=$(DRAINIT_UNREADY_DELAY), --unready-delay=10s", unknown),
    ] {
        assert_eq!(lines(&checked(options, value)), [""; 0], "{options} {value}");
    }
    let found = lines(&checked("--unready-delay=10s", "value: ''"));
    assert!(are_these(&found, &["16:31 W as soon as drainit turns unready"]), "{found:?}");
    let found = lines(&checked("--unready-delay, 58s", "value: ''"));
    let refused = "9:93 E would not start: `--unready-delay` (58s) leaves nothing of the 58s";
    assert!(are_these(&found, &[refused]), "{found:?}");
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
    let ready = "{httpGet: {path: /, port: 8080}}";
    let envoy = "args: [/usr/bin/envoy]";
    let from = |from: &str| format!("{envoy}\n      envFrom: [{from}]");
    let hook = |hook: &str| format!("{ready}\n      lifecycle: {{{hook}}}");
    let rows: &[(&str, &str, &[&str])] = &[
        (ready, ready, &[]),
        ("args: [/app]", envoy, &["10:14 W does not drain this Envoy"]),
        ("args: [/app]", &from("{configMapRef: {name: a}}"), &[]),
        (
            "args: [/app]",
            &from("{prefix: A_, configMapRef: {name: a}}"),
            &["10:14 W does not drain this Envoy"],
        ),
        (
            "args: [/app]",
            &format!("{envoy}\n      env: [{{name: DRAINIT_DRAIN_TIME, value: '20'}}]"),
            &["11:47 W no effect"],
        ),
        (
            "args: [/app]",
            &format!("{}\n      env: [{{name: DRAINIT_DRAIN_TIME, value: '20'}}]", from("{}")),
            &[],
        ),
        (
            "args: [/app]",
            &format!(
                "{}\n      env: [{{name: DRAINIT_DRAIN_ENVOY, value: 'unix:/a'}}]",
                from("{}")
            ),
            &["14:23 W fails only after 30s"],
        ),
        (
            ready,
            "{exec: {command: [/bin/drainit, health]}}",
            &["12:41 E `drainit health` gets no answer"],
        ),
        (ready, "{exec: {command: [drainit, health, --url=http://localhost:8080/]}}", &[]),
        (
            ready,
            &hook("preStop: {exec: {command: [sh, -c, 'exec drainit drain; sleep 1']}}"),
            &["13:54 E `drainit drain` gets no answer"],
        ),
        (
            "args: [/app]",
            "args: [-c, /etc/envoy.yaml]",
            &["10:14 E the program is missing before `-c`"],
        ),
        ("exec, --]", "exec, --grace-period, 60s, --]", &[]),
        (
            "exec, --]",
            "exec, --grace-period, 90s, --]",
            &["9:32 E is 1m 30s, and the kubelet kills after 1m"],
        ),
    ];
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let found = lines(&check("", &with(exec, from, to), None, &[]));
        if !are_these(&found, expected) {
            wrong += &format!("{to:?}\n    {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn only_a_pod_that_gets_requests_needs_a_readiness_probe() {
    let worker = "shutdown: {grace_period: 45s}\nprocesses: {app: {command: [app], readiness: notify, drain: {notify: {signal: USR1}}}}\n";
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
        let found = lines(&check(config, &manifest, None, &[]));
        let is_named = |line: &String| line.contains("has no readiness probe");
        assert_eq!(found.iter().any(is_named), is_needed, "{manifest}\n{found:#?}");
    }
}

#[test]
fn drainits_that_share_a_pid_namespace_need_own_sockets() {
    let port = "httpGet: {path: /readyz, port: 9902}";
    let asks = with(MANIFEST, port, "exec: {command: [drainit, health]}");
    let shared = with(
        &asks,
        "      containers:\n",
        "      shareProcessNamespace: true\n      containers:\n        - {name: other, command: [drainit, OTHER]}\n",
    );
    let run = shared.replace("OTHER", "run");
    let config = with(CONFIG, ", socket: /run/drainit.sock", "");
    let closed = with(&config, "control: {listen: '0.0.0.0:9902'}", "control: {}");
    let hook = "          lifecycle: {preStop: {exec: {command: [drainit, drain]}}}\n          image: gateway\n";
    let drains = with(&run, "          image: gateway\n", hook);
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
        let found = lines(&check(config, manifest, Some("gateway"), &[]));
        let is_named = |line: &String| line.contains("does not know whom to ask");
        assert_eq!(found.iter().any(is_named), is_wrong, "{config}{manifest}\n{found:#?}");
    }
}

#[test]
fn a_startup_probe_waits_as_long_as_drainit() {
    let image = "          image: gateway\n";
    let config = with(
        CONFIG,
        "command: [engine]",
        "command: [engine], readiness: {exec: [a], timeout: 20s}",
    );
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
        let probe = format!("          startupProbe: {{{probe}}}\n{image}");
        let found = lines(&check(&config, &with(MANIFEST, image, &probe), None, &[]));
        let expected: &[&str] = if is_short { &["10:25 W not ready after, is 20s"] } else { &[] };
        assert!(are_these(&found, expected), "{probe}\n{found:#?}");
    }
}

#[test]
fn env_from_may_bring_the_grace_period() {
    let variable = "{name: TERMINATION_GRACE_PERIOD_SECONDS, value: \"45\"}";
    let from = "          envFrom: [{configMapRef: {name: a}}]\n          ports:\n";
    let manifest = with(MANIFEST, variable, "{name: A, value: a}");
    let manifest = with(&manifest, "          ports:\n", from);
    let found = lines(&check(CONFIG, &manifest, None, &[]));
    assert!(are_these(&found, &["9:17 W `envFrom` may bring"]), "{found:#?}");
    let given = [("TERMINATION_GRACE_PERIOD_SECONDS", "45")];
    assert_eq!(lines(&check_with(CONFIG, &manifest, None, &[], &given)), [""; 0]);
}

#[test]
fn a_shutdown_manager_beside_a_drain_gets_a_warning() {
    let image = "          image: gateway\n";
    let hook = "          lifecycle: {preStop: {httpGet: {path: /shutdown/ready, port: 19002}}}\n";
    let manifest = with(MANIFEST, image, &format!("{hook}{image}"));
    let manager = "        - {name: manager, image: a, args: [envoy, shutdown-manager]}\n";
    let both = format!("{manifest}{manager}");
    let found = |config: &str, manifest: &str| {
        let mut found = lines(&check(config, manifest, None, &[]));
        found.retain(|line| line.contains("shutdown manager"));
        found
    };
    assert!(are_these(&found(CONFIG, &manifest), &["10:49 W also drains this Envoy"]));
    assert!(are_these(&found(CONFIG, &both), &["20:18 W also drains this Envoy"]));
    assert!(are_these(&found(CONFIG, &format!("{MANIFEST}{manager}")), &["19:18 W also drains"]));
    assert_eq!(found(CONFIG, MANIFEST), [""; 0]);
    assert_eq!(found(&with(CONFIG, "time: 15s, min: 5s", "time: 0"), &both), [""; 0]);
}

// holds: C768, C883
#[test]
fn exec_takes_short_grace_periods() {
    let pod = "\
apiVersion: v1
kind: Pod
metadata: {name: envoy}
spec:
  terminationGracePeriodSeconds: SECONDS
  containers:
    - name: envoy
      image: envoy
      command: [drainit, exec, --drain-envoy, 'http://127.0.0.1:9901', --grace-period, 'GRACE', envoy]
      readinessProbe: {exec: {command: [drainit, health]}, periodSeconds: 1, failureThreshold: 1}
";
    // In these rows the drain may be cut short, which is only a warning.
    let rows: &[(&str, &str, &[&str])] = &[
        ("1", "1s", &[]),
        ("1", "500ms", &[]),
        ("2", "2", &[]),
        ("12", "12s", &[]),
        ("1", "2s", &["5:34 E deadline is 1.8s"]),
        ("0", "2s", &["5:34 E kills the pod after 0ms"]),
    ];
    for (seconds, grace, expected) in rows {
        let pod = pod.replace("SECONDS", seconds).replace("GRACE", grace);
        let mut found = lines(&check("", &pod, None, &[]));
        found.retain(|line| line.contains(" E "));
        assert!(are_these(&found, expected), "{seconds} {grace}\n{found:#?}");
    }
}

// holds: C769
#[test]
fn a_program_that_is_not_in_the_image_is_reported() {
    let ready = "httpGet: {path: /readyz, port: 9902}";
    let image = "          image: gateway\n";
    let hook = |command: &str| {
        let hook =
            format!("          lifecycle: {{preStop: {{exec: {{command: {command}}}}}}}\n{image}");
        with(MANIFEST, image, &hook)
    };
    for (manifest, expected) in [
        (hook("[drainit, drain]"), None),
        (
            hook("[/bin/deregister]"),
            Some("10:50 E this hook cannot run: `/bin/deregister` is nowhere"),
        ),
        (with(MANIFEST, ready, "exec: {command: [drainit, health]}"), None),
        (
            with(MANIFEST, ready, "exec: {command: [curl, 'http://localhost:9902/readyz']}"),
            Some("18:45 E this probe cannot run: `curl` is nowhere"),
        ),
        (hook("[sh, -c, 'drainit drain && curl x; [ -x /a ] && /a']"), None),
        (
            hook("[sh, -c, 'drainit drain; exec curl -f localhost']"),
            Some("10:58 E this hook cannot run: `curl` is nowhere"),
        ),
        (hook("[dash, -c, curl]"), Some("10:50 E this hook cannot run: `dash` is nowhere")),
    ] {
        let found = lines(&check_with(CONFIG, &manifest, None, &[], &[("IS_IMAGE", "1")]));
        let found = found.iter().map(String::as_str).find(|line| line.contains("cannot run"));
        assert_eq!(found, expected, "{manifest}");
    }
}
