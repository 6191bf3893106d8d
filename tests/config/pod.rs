//! Tests `drainit check --pod`: the manifests of the examples pass, and the problems of a manifest
//! determine the exit code.

use crate::support::*;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes")
}

/// Runs `check --pod POD OPTIONS…` in an empty directory, with a manifest on standard input, and with
/// 6 s of processor time. A debug build needs 1.2 s for 500 workloads, and more while other tests use
/// the same caches.
fn run(pod: &Path, manifest: &str, options: &[&str]) -> Said {
    let dir = TempDir::for_everybody();
    dir.write("stdin", manifest);
    let stdin = fs::File::open(dir.path("stdin")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -t 6; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_drainit")]);
    let command = command.args(["check", "--pod"]).arg(pod).args(options);
    Said::of(command.current_dir(dir.root()).env_clear().stdin(stdin).output().unwrap())
}

/// Like [`run`], but with a config, by default one of the examples.
fn check(config: &str, pod: &Path, manifest: &str, options: &[&str]) -> Said {
    let config = examples().join(config);
    run(pod, manifest, &[&["-c", config.to_str().unwrap()], options].concat())
}

/// Renders the chart as `helm template` does, with only the features that the chart needs.
pub(crate) fn rendered() -> String {
    let chart = examples().join("chart");
    let mut text = fs::read_to_string(chart.join("templates/deployment.yaml")).unwrap();
    let values = fs::read_to_string(chart.join("values.yaml")).unwrap();
    for line in values.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(": ").unwrap();
        text = text.replace(&format!("{{{{ .Values.{name} }}}}"), value);
        text = text.replace(&format!("{{{{ .Values.{name} | quote }}}}"), &format!("{value:?}"));
    }
    assert!(!text.contains("{{"), "{text}");
    text
}

/// Runs `check --pod - OPTIONS…` without a config.
fn audit(list: &str, options: &[&str]) -> (Option<i32>, String) {
    let said = run(Path::new("-"), list, &[&["--image=false"], options].concat());
    (Some(said.code), said.stdout + &said.stderr)
}

/// Tests the exit code of an audit, and that it says this.
#[track_caller]
fn says(list: &str, code: i32, says: &str) {
    let (found, said) = audit(list, &[]);
    assert!(found == Some(code) && said.contains(says), "{found:?} {list} {said}");
}

fn workload(kind: &str, name: &str, pod: &str) -> String {
    let metadata = format!("{{namespace: shop, name: {name}}}");
    format!("- {{kind: {kind}, metadata: {metadata}, spec: {{template: {{spec: {{{pod}}}}}}}}}\n")
}

/// A Deployment whose server finishes what is in flight, with this `preStop`, and with these keys in
/// its `spec`.
fn finishing(pre_stop: &str, spec: &str) -> String {
    let ready = "readinessProbe: {httpGet: {path: /, port: 80}}";
    let container =
        format!("{{name: a, command: [gunicorn, a], {ready}, lifecycle: {{preStop: {pre_stop}}}}}");
    let template = format!("template: {{spec: {{containers: [{container}]}}}}");
    format!("kind: Deployment\nmetadata: {{name: web}}\nspec: {{{spec}{template}}}\n")
}

// holds: S981
#[test]
fn requests_are_kept_only_by_a_hook_that_certainly_waits() {
    for (command, verdict) in [
        ("[sleep, '5']", "keeps requests"),
        ("[sh, -c, 'sleep 5']", "keeps requests"),
        ("[sh, -c, 'echo bye; sleep 5']", "keeps requests"),
        ("[sh, -c, 'sleep 5 && sleep 5; exit 0']", "if it ends within 20s"),
        ("[sh, -c, 'echo sleep 5']", "its preStop ends before every node knows"),
        ("[sh, -c, 'exit 0; sleep 5']", "its preStop ends before every node knows"),
        ("[sh, -c, 'sleep 5 &']", "its preStop ends before every node knows"),
        ("[sh, -c, 'sleep 0.5']", "its preStop ends before every node knows"),
        // No program has this name.
        ("['sleep 5']", "its preStop ends before every node knows"),
        ("[sh, -c, 'true || sleep 5']", "unknown: how long its preStop waits"),
        ("[sh, -c, 'sleep 5 | sleep 5']", "unknown: how long its preStop waits"),
        ("[sh, -c, 'if true; then sleep 5; fi']", "unknown: the effect of its preStop"),
        ("[/drain]", "unknown: the effect of its preStop"),
    ] {
        says(&finishing(&format!("{{exec: {{command: {command}}}}}"), ""), 0, verdict);
    }
    says(&finishing("{sleep: {seconds: 5}}", ""), 0, "keeps requests");
    // The kubelet calls a container ready once its startup probe has succeeded.
    let started = finishing("{sleep: {seconds: 5}}", "").replace("readinessProbe", "startupProbe");
    says(&started, 0, "keeps requests");
    says(&finishing("{sleep: {seconds: 0}}", ""), 0, "loses requests");
}

// holds: S981
#[test]
fn requests_are_kept_only_if_a_pod_serves_between_the_old_and_the_new() {
    let hook = "{sleep: {seconds: 5}}";
    for (spec, verdict) in [
        ("strategy: {type: Recreate}, ", "loses requests: with the strategy `Recreate`"),
        ("replicas: 2, strategy: {rollingUpdate: {maxUnavailable: 1}}, ", "keeps requests"),
        ("replicas: 2, strategy: {rollingUpdate: {maxUnavailable: 2}}, ", "loses requests: `maxUn"),
        ("replicas: 2, strategy: {rollingUpdate: {maxUnavailable: 100%}}, ", "loses requests"),
        ("replicas: 1, strategy: {rollingUpdate: {maxUnavailable: 99%}}, ", "keeps requests"),
        // The controller then ends one pod at a time.
        ("replicas: 1, strategy: {rollingUpdate: {maxSurge: 0}}, ", "loses requests"),
        ("replicas: 2, strategy: {rollingUpdate: {maxSurge: 0}}, ", "keeps requests"),
        ("strategy: {rollingUpdate: {maxSurge: 0}}, ", "unknown: the number of its pods"),
        ("strategy: {rollingUpdate: {maxUnavailable: 1}}, ", "unknown: the number of its pods"),
        ("strategy: {rollingUpdate: {maxUnavailable: some}}, ", "unknown: its strategy"),
        ("replicas: 0, ", "unknown: the number of its pods"),
        ("replicas: some, ", "unknown: the number of its pods"),
        ("strategy: {rollingUpdate: {maxSurge: [1]}}, ", "unknown: its strategy"),
        ("replicas: 18446744073709551615, ", "keeps requests"),
        (
            "replicas: 9, strategy: {rollingUpdate: {maxUnavailable: 99999999999%}}, ",
            "unknown: its",
        ),
    ] {
        says(&finishing(hook, spec), 0, verdict);
    }
    for (kind, spec, verdict) in [
        ("StatefulSet", "replicas: 1, ", "loses requests: its only pod ends before"),
        ("StatefulSet", "", "unknown: the number of its pods"),
        ("StatefulSet", "replicas: 2, ", "keeps requests"),
        // Here the controller rounds up.
        (
            "StatefulSet",
            "replicas: 2, updateStrategy: {rollingUpdate: {maxUnavailable: 51%}}, ",
            "loses requests: `maxUnavailable`",
        ),
        (
            "StatefulSet",
            "replicas: 2, updateStrategy: {rollingUpdate: {maxUnavailable: 2}}, ",
            "loses requests: `maxUnavailable`",
        ),
        ("DaemonSet", "", "unknown: whether other nodes serve"),
        ("DaemonSet", "updateStrategy: {rollingUpdate: {maxSurge: 0}}, ", "unknown: whether"),
        ("DaemonSet", "updateStrategy: {rollingUpdate: {maxSurge: 1}}, ", "keeps requests"),
        ("DeploymentConfig", "strategy: {type: Recreate}, ", "loses requests"),
        ("DeploymentConfig", "replicas: 3, ", "keeps requests"),
        ("ReplicaSet", "replicas: 3, ", "unknown: what replaces its pods"),
        ("Rollout", "replicas: 3, ", "unknown: its strategy"),
    ] {
        says(&finishing(hook, spec).replace("Deployment\n", &format!("{kind}\n")), 0, verdict);
    }
    // The worst container counts, whichever comes first.
    let ready = finishing(hook, "");
    for place in ["containers: [", "}}]}}}"] {
        let other =
            "{name: b, command: [hypercorn, a], lifecycle: {preStop: {sleep: {seconds: 5}}}}";
        let with = match place.ends_with('[') {
            true => ready.replace(place, &format!("{place}{other}, ")),
            false => ready.replace("}}}]}}}", &format!("}}}}}}, {other}]}}}}}}")),
        };
        assert_ne!(with, ready);
        says(&with, 0, "loses requests: hypercorn");
    }
}

// holds: S982
#[test]
fn an_audit_judges_every_workload_whatever_the_form_of_the_manifest() {
    let deployment = |name: &str, container: &str| {
        let template = format!("template: {{spec: {{containers: [{{name: c, {container}}}]}}}}");
        format!("kind: Deployment\nmetadata: {{name: {name}}}\nspec: {{{template}}}\n")
    };
    let unknown = deployment("a", "image: a");
    let of_config = deployment("b", "command: [drainit, run]");
    let of_options = deployment("c", "command: [drainit, exec, --drain-tim, 5s, --, envoy]");
    let audited = |documents: &[&String], options: &[&str]| {
        let documents: Vec<_> = documents.iter().map(|it| it.as_str()).collect();
        audit(&documents.join("---\n"), options)
    };
    let (code, said) = audited(&[&unknown], &[]);
    assert!(code == Some(0) && said.contains("unknown: its program"), "{said}");
    for all in [[&unknown, &of_config, &of_options], [&of_options, &of_config, &unknown]] {
        let (code, said) = audited(&all, &[]);
        assert_eq!(code, Some(78), "{said}");
        for part in [
            "Deployment a: ",
            "Deployment b: grace period 30s by default; no preStop; `drainit`; has drainit: check it with its config",
            "Deployment c: grace period 30s by default; no preStop; `drainit`; has drainit: its options are checked, too",
            "3 workloads: loses requests 0, unknown 1, has drainit 2, keeps requests 0",
            "unexpected argument '--drain-tim'",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let fine = of_options.replace("--drain-tim, 5s", "--drain-envoy, 'http://127.0.0.1:9901'");
    let code = |options: &[&str]| audited(&[&unknown, &fine], options);
    assert_eq!(code(&[]).0, Some(0), "{}", code(&[]).1);
    // A warning counts with `--strict`.
    assert_eq!(code(&["--strict"]).0, Some(78), "{}", code(&["--strict"]).1);
}

// holds: S795, S796, S797
#[test]
fn a_list_without_a_config_gets_a_line_for_each_workload() {
    const SLEEP: &str = "lifecycle: {preStop: {sleep: {seconds: 5}}}";
    const HOOKS: &str = "command: [flask, run], lifecycle: {preStop: {exec: {command: [/drain]}}}}, {lifecycle: {preStop: {httpGet: {path: /}}}";
    let of =
        |image: &str, more: &str| format!("containers: [{{name: a, image: '{image}', {more}}}]");
    let helper = "containers: [{name: a, command: [gunicorn, a], LIFE}, {name: b, image: logs}]";
    let [mut items, mut lines] = [String::new(), String::new()];
    let mut expected = Vec::new();
    for (pod, line) in [
        (
            of("nginx:1.27", ""),
            "Deployment shop/web: grace period 30s by default; no preStop; `nginx`; loses requests: without a preStop, it stops before every node knows that the pod leaves",
        ),
        (
            of("a.io/b/nginx:1@sha256:0", SLEEP),
            "Deployment shop/web: grace period 30s by default; preStop of 5s; `nginx`; unknown: nginx cuts requests at SIGTERM, unless its image has another STOPSIGNAL",
        ),
        (
            of(
                "a",
                "command: [nginx], lifecycle: {stopSignal: SIGINT, preStop: {sleep: {seconds: 5}}}",
            ),
            "Deployment shop/web: grace period 30s by default; preStop of 5s; `nginx`; loses requests: nginx stops best at SIGQUIT, and not at SIGINT",
        ),
        (
            helper.replace("LIFE", SLEEP),
            "StatefulSet shop/web: grace period 30s by default; preStop of 5s; `gunicorn`; loses requests: without a readinessProbe, a new pod gets requests before it listens",
        ),
        (
            helper
                .replace("LIFE", &format!("{SLEEP}, readinessProbe: {{tcpSocket: {{port: 80}}}}")),
            "Deployment shop/web: grace period 30s by default; preStop of 5s; `gunicorn`; keeps requests: gunicorn finishes what is in flight at SIGTERM, if it ends within 25s",
        ),
        (
            of("envoyproxy/envoy:v1.40", SLEEP),
            "DaemonSet shop/web: grace period 30s by default; preStop of 5s; `envoy`; loses requests: envoy closes every connection at SIGTERM",
        ),
        (
            of("a", "command: [drainit, run]"),
            "Deployment shop/web: grace period 30s by default; no preStop; `drainit`; has drainit: check it with its config",
        ),
        (
            // A script may have the name.
            of("a", "command: [/app/nginx]"),
            "Deployment shop/web: grace period 30s by default; no preStop; `nginx`; unknown: nginx cuts requests at SIGTERM",
        ),
        (
            of("a", HOOKS),
            "Deployment shop/web: grace period 30s by default; a preStop of unknown effect; `flask`; unknown: the effect of its preStop",
        ),
        (
            format!("terminationGracePeriodSeconds: 5, {}", of("a", SLEEP)),
            "Deployment shop/web: grace period 5s; preStop of 5s; the image's own entrypoint (a); loses requests: SIGKILL follows 2s after its stop signal",
        ),
        (
            of("calico/node:v3", ""),
            "Deployment shop/web: grace period 30s by default; no preStop; the image's own entrypoint (calico/node:v3); unknown: its program, the image's own entrypoint (calico/node:v3)",
        ),
        (
            format!("terminationGracePeriodSeconds: 0, {}", of("a", "")),
            "Deployment shop/web: grace period 0ms; no preStop; the image's own entrypoint (a); loses requests: SIGKILL follows 2s after its stop signal",
        ),
        (
            of("a", "command: [/bin/contour], args: [envoy, shutdown-manager]"),
            "DaemonSet shop/web: grace period 30s by default; no preStop; an unknown program (/bin/contour); unknown: its program, an unknown program (/bin/contour)",
        ),
        (
            of("a", "command: [/entrypoint.sh], args: [/usr/bin/envoy, -c, a.yaml]"),
            "DaemonSet shop/web: grace period 30s by default; no preStop; `envoy`; loses requests: without a preStop, it stops before every node knows that the pod leaves",
        ),
        (
            of("a", ""),
            "Job shop/web: grace period 30s by default; no preStop; the image's own entrypoint (a); keeps requests: nobody sends requests to it",
        ),
    ] {
        items += &workload(line.split(' ').next().unwrap(), "web", &pod);
        expected.push(line);
    }
    // First what loses requests.
    let verdicts = ["; loses requests: ", "; unknown: ", "; has drainit: ", "; keeps requests: "];
    for verdict in verdicts {
        lines.extend(expected.iter().filter(|it| it.contains(verdict)).map(|it| format!("{it}\n")));
    }
    lines += "15 workloads: loses requests 7, unknown 5, has drainit 1, keeps requests 2\n";
    items += "- {kind: Service}\n- {kind: ConfigMap}\n- {kind: Service}\n";
    items += "- {kind: Rollout, spec: {workloadRef: {name: web}}}\n";
    // Another kind of the same name.
    items += "- {apiVersion: batch.volcano.sh/v1alpha1, kind: Job}\n";
    lines += "not looked at: `ConfigMap`, `Job`, `Rollout` and `Service`\n";
    let list = format!("kind: List\nitems:\n{items}");
    let (code, said) = audit(&list, &[]);
    let without: String =
        said.split_inclusive('\n').filter(|it| !it.starts_with("  remedy: ")).collect();
    assert_eq!((code, without), (Some(0), lines));
    // Each that loses or perhaps loses requests has a remedy.
    assert_eq!(said.matches("\n  remedy: ").count(), 12, "{said}");
    assert_eq!(audit(&list, &["--strict"]).0, Some(78));
    let drained = workload("Deployment", "a", &of("a", "command: [drainit, run]"));
    assert_eq!(audit(&format!("kind: List\nitems:\n{drained}"), &["--strict"]).0, Some(0));
    // The documents of a rendered chart, of which none has drainit, are judged like a list.
    let [a, b] = ["a", "b"].map(|name| workload("Deployment", name, &of("nginx", "")));
    let documents = format!("{a}{b}").replace("- {", "---\n{");
    says(&documents, 0, "2 workloads: ");
    // A single workload is judged, too, if its program is known.
    says(a.trim_start_matches("- "), 0, "; loses requests: without a preStop");
    // Only documents with an error are lost, and the items of a list until the error.
    let (code, said) = audit(&format!("a: [\n{documents}---\nb: \"\n---\n{{kind: Depl"), &[]);
    assert!(code == Some(78) && said.contains("2 workloads: "), "{code:?} {said}");
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    let whole = format!("items:\n{a}");
    for (bad, error) in [
        ("WHOLE- {kind: Depl", "\n1 workload: loses requests 1"),
        ("WHOLE- kind", "\na list is cut: no kind\na list is cut: no kind\n1 workload: "),
        ("WHOLE-", "\na list is cut: no kind\na list is cut: no kind\n1 workload: "),
        ("WHOLE- kind: Pod\nkind: List", "\nPod is cut: no spec.containers\n1 workload: "),
        ("{kind: Pod, spec: {containers: []}}", "Pod is cut: no spec.containers"),
        ("{kind: Job, metadata: {name: a}}", "Job a is cut: no spec.template.spec.containers"),
        ("kind: List\nitems: {a: 1}\n", "a list is cut: its items are no list\n"),
        ("kind: List\n", "a list is cut: its items are no list\n"),
        ("items: []\n", "a list is cut: no kind\n"),
        ("items:\n- {kind: Depl", "error: not valid YAML"),
        ("", "this file has no workload"),
        ("{{- if .Values.a }}\n", "note: with its `{{`, this file may be a template"),
    ] {
        says(&bad.replace("WHOLE", &whole), 78, error);
    }
    // A single workload is judged as one of many is.
    says("{kind: Pod, spec: {containers: [{image: a}]}}", 0, "unknown: its program");
    says("{kind: Job, spec: {template: {spec: {containers: [{}]}}}}", 0, "keeps requests: nobody");
    // Each whole item of a broken list is judged, and the broken one is named.
    let bad = "- {kind: Deployment, metadata: {name: c}, spec: {a: [1\n";
    let env = vec![json!({"valueFrom": {"fieldRef": {"apiVersion": "v1"}}}); 10];
    let pod = json!({"template": {"spec": {"containers": [{"env": env, "image": "nginx"}]}}});
    let item = |name: &str| json!({"apiVersion": "v1", "kind": "Deployment", "metadata": {"labels": {"name": "app"}, "name": name}, "spec": pod});
    let list = json!({"apiVersion": "v1", "items": Vec::from(["a", "b", "c"].map(item))});
    let half = |text: String| text.rsplit_once("\"image\"").unwrap().0.to_owned();
    let middle = format!("items:\n{a}{bad}{b}kind: List\n");
    let behind = format!("kind: Service\nspec: {{}}\n---\n{middle}");
    for text in [middle, behind, half(format!("{list:#}"))] {
        says(&text, 78, "\nDeployment c is cut: no spec.template.spec.containers\n2 workloads: ");
    }
    // One whole item is enough, also with drainit, and if the kind of the broken one is lost.
    let pod = json!({"kind": "Pod", "spec": {"containers": [{"command": ["drainit", "run"]}]}});
    let text = format!("{:#}", json!({"items": [pod, {"spec": 1}]}));
    says(text.rsplit_once('1').unwrap().0, 78, "has drainit 1,");
    says(&half(list.to_string()), 78, "\na list is cut: no kind\n2 workloads: ");
    // With a config, nothing is looked at but a whole manifest.
    let of_config = |manifest: &str| check("drainit.yaml", Path::new("-"), manifest, &[]);
    of_config(&format!("{whole}- {{kind: Depl")).assert(78, "\n1 error, 0 warnings");
    of_config("{kind: Job, metadata: {name: a}}").assert(78, "workload, only `Job a is cut: no");
}

// holds: C1251
#[test]
fn each_workload_that_perhaps_loses_requests_has_a_remedy() {
    let hook = "{sleep: {seconds: 5}}";
    let without = |key: &str| finishing(hook, "").replace(key, "other");
    let nginx = |more: &str| {
        workload("Deployment", "web", &format!("containers: [{{name: a, {more}}}]"))
            .replacen("- ", "", 1)
    };
    let many = |kind: &str, spec: &str| {
        finishing(hook, spec).replace("Deployment\n", &format!("{kind}\n"))
    };
    let sleep = "lifecycle: {preStop: {sleep: {seconds: 5}}}";
    for (manifest, remedy) in [
        (without("lifecycle"), "write `lifecycle: {preStop: {sleep: {seconds: 5}}}`"),
        (
            nginx("image: nginx"),
            "write `lifecycle: {preStop: {sleep: {seconds: 5}}}`; then write `STOPSIGNAL SIGQUIT` into its image, or `lifecycle: {stopSignal: SIGQUIT}` where Kubernetes has this key",
        ),
        (
            nginx(&format!("image: nginx, {sleep}")),
            "write `STOPSIGNAL SIGQUIT` into its image, or `lifecycle: {stopSignal: SIGQUIT}` where Kubernetes has this key",
        ),
        (nginx(&format!("image: envoy, {sleep}")), "let drainit drain it (docs/kubernetes.md)"),
        (
            nginx(&format!("command: [redis-server], {sleep}")),
            "count the failed requests of a rollout under load",
        ),
        (
            nginx("image: 'b/a:1'"),
            "write the entrypoint of the image `b/a:1` as `command`, so that it can be judged",
        ),
        (
            nginx("image: 'b/a:1'}, {name: b, image: c}, {name: d, command: [/d], image: e"),
            "write the entrypoints of the images `b/a:1` and `c` as `command`, so that they can be judged",
        ),
        (nginx("args: [a]"), "name its image, and its entrypoint as `command`"),
        (
            nginx("command: [/a], image: b"),
            "name the server itself as `command`, or count the failed requests of a rollout under load",
        ),
        (without("readinessProbe"), "write a `readinessProbe` that asks the server"),
        (
            finishing("{sleep: {seconds: 0}}", ""),
            "write `lifecycle: {preStop: {sleep: {seconds: 5}}}`",
        ),
        (
            finishing("{exec: {command: [/drain]}}", ""),
            "write `lifecycle: {preStop: {sleep: {seconds: 5}}}`, or count the failed requests of a rollout under load",
        ),
        (
            finishing("{sleep: {seconds: 30}}", ""),
            "raise `terminationGracePeriodSeconds` to 40s or more",
        ),
        (
            finishing(hook, "strategy: {type: Recreate}, "),
            "write `strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}`, so that a new pod serves before an old one ends",
        ),
        (finishing(hook, "replicas: 0, "), "write `replicas`"),
        (
            many("StatefulSet", "replicas: 1, "),
            "write `replicas: 2` or more, and let one pod end at a time",
        ),
        (
            many("DaemonSet", ""),
            "write `updateStrategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}`, if two pods can run on a node",
        ),
        (many("ReplicaSet", "replicas: 2, "), "count the failed requests of a rollout under load"),
    ] {
        let (_, said) = audit(&manifest, &[]);
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines.len() == 3 && lines[1] == format!("  remedy: {remedy}"),
            "{manifest}\n{said}"
        );
    }
    // Neither a workload that keeps requests nor drainit needs a remedy.
    for fine in [
        finishing(hook, ""),
        nginx("command: [drainit, run]") + "---\n" + &nginx("command: [drainit, run]"),
    ] {
        assert!(!audit(&fine, &[]).1.contains("remedy: "), "{fine}");
    }
}

// holds: C1252, C1253
#[test]
fn an_audit_is_an_object_and_comments_silence_verdicts() {
    let lost = |name: &str| {
        format!(
            "kind: Deployment\nmetadata: {{name: {name}}}\nspec: {{template: {{spec: {{containers: [{{image: {name}, command: [hypercorn, a]}}]}}}}}}\n"
        )
    };
    let job =
        "kind: Job\nmetadata: {name: c}\nspec: {template: {spec: {containers: [{image: c}]}}}\n";
    let unknown = "kind: Pod\nmetadata: {name: d}\nspec: {containers: [{image: d}]}\n";
    let comment = "# drainit: allow loses-requests: nobody minds\n";
    let manifest = [job, unknown, &lost("a"), &format!("{comment}{}", lost("b"))].join("---\n");
    let (code, said) = audit(&manifest, &["--strict"]);
    let text: Vec<_> = said.lines().map(|it| it.split(": ").next().unwrap()).collect();
    let order = [
        "Deployment a",
        "  remedy",
        "Deployment b",
        "  allowed",
        "Pod d",
        "  remedy",
        "Job c",
        "4 workloads",
    ];
    assert_eq!((code, &*text), (Some(78), &order[..]), "{said}");
    assert!(said.ends_with("keeps requests 1; 1 finding allowed\n"), "{said}");
    let (code, said) = audit(&manifest, &["--format", "json"]);
    let object: serde_json::Value = serde_json::from_str(&said).unwrap();
    let workload = |name: &str, kind: &str, line: u32, verdict: &str, allowed: Option<&str>| {
        let all = object["workloads"].as_array().unwrap();
        let found = all.iter().find(|it| it["name"] == name).unwrap();
        json!({
            "kind": kind, "name": name, "line": line, "verdict": verdict, "allowed": allowed,
            "grace_period": 30.0, "pre_stop": "no preStop", "programs": found["programs"],
            "reason": found["reason"], "remedy": found["remedy"],
        })
    };
    let expected = json!([
        workload("a", "Deployment", 9, "loses requests", None),
        workload("b", "Deployment", 14, "loses requests", Some("nobody minds")),
        workload("d", "Pod", 5, "unknown", None),
        workload("c", "Job", 1, "keeps requests", None),
    ]);
    assert_eq!((code, &object["workloads"]), (Some(0), &expected), "{said}");
    assert_eq!(object["workloads"][2]["programs"], "the image's own entrypoint (d)");
    let ids = |list: &str| -> Vec<_> {
        object[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["id"].clone(), it["line"].clone()))
            .collect()
    };
    assert_eq!(
        ids("findings"),
        [(json!("unknown-loss"), json!(5)), (json!("loses-requests"), json!(9))]
    );
    assert_eq!(ids("allowed"), [(json!("loses-requests"), json!(14))]);
    let silent = manifest.replace(
        "---\nkind: Deployment\nmetadata: {name: a}",
        &format!("---\n{comment}kind: Deployment\nmetadata: {{name: a}}"),
    );
    assert_eq!(audit(&silent, &["--strict"]).0, Some(0), "{silent}");
    // A comment that silences no verdict is a warning.
    let unused = manifest.replace("kind: Job", &format!("{comment}kind: Job"));
    says(&unused, 0, "this comment allows `loses-requests`, which is not found here");
    // Each of many workloads is a finding.
    let all = vec![lost("a"); 60].join("---\n");
    let object: serde_json::Value = serde_json::from_str(&audit(&all, &["-o", "json"]).1).unwrap();
    assert_eq!(object["warnings"], 60);
    let sarif: serde_json::Value = serde_json::from_str(&audit(&all, &["-o", "sarif"]).1).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 60);
}

// holds: S798
#[test]
fn five_hundred_workloads_are_judged_within_seconds() {
    let variables = "{name: A, value: b}, ".repeat(100);
    let pod = format!("containers: [{{name: a, image: nginx, env: [{variables}]}}]");
    let items: String =
        (0..500).map(|at| workload("Deployment", &format!("w{at}"), &pod)).collect();
    says(&format!("kind: List\nitems:\n{items}"), 0, "500 workloads: loses requests 500");
}

// holds: C900
#[test]
fn manifests_of_the_examples_pass_the_check() {
    let mut seen = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // tests/docs/recipes.rs checks the workload that a patch makes.
        let is_other = ["drainit.yaml", "patch.yaml"].iter().any(|end| name.ends_with(end));
        if is_other || !name.ends_with(".yaml") {
            continue;
        }
        let config = match name {
            "sidecar.yaml" => "sidecar.drainit.yaml",
            "image-volume.yaml" => "envoy.drainit.yaml",
            // `drainit exec` needs no config.
            "init-container.yaml" => "none.yaml",
            _ => "drainit.yaml",
        };
        check(config, &path, "", &["--strict"]).assert(0, "ok: Deployment ");
        seen += 1;
    }
    assert_eq!(seen, 5);
    let output = check("drainit.yaml", Path::new("-"), &rendered(), &["--strict"]);
    output.assert(0, "ok: Deployment gateway, container gateway");
    for (folder, pod, says) in [
        ("walkthrough", "gateway.yaml", "ok: Deployment gateway, container gateway"),
        // This pod drains for minutes.
        ("streams", "deployment.yaml", "container streams, stops within 14m 22s"),
    ] {
        let folder = examples().with_file_name(folder);
        let config = folder.join("drainit.yaml");
        check(config.to_str().unwrap(), &folder.join(pod), "", &["--strict"]).assert(0, says);
    }
}

// holds: C960
#[test]
fn the_chart_with_the_snippets_passes_as_helm_renders_the_chart() {
    let rendered = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/library-chart.yaml");
    check("none.yaml", &rendered, "", &["--strict"]).assert(0, "ok: Deployment envoy");
    let dir = TempDir::for_everybody();
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(dir.path(".")).output().ok()?;
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
        Some(String::from_utf8(output.stdout).unwrap())
    };
    run("cp", &["-r", examples().to_str().unwrap(), "."]);
    // Few machines have Helm.
    if run("helm", &["dependency", "build", "kubernetes/envoy-chart"]).is_some() {
        let text = run("helm", &["template", "kubernetes/envoy-chart"]).unwrap();
        let is_kept =
            |line: &&str| !line.is_empty() && *line != "---" && !line.starts_with("# Sou");
        let lines: Vec<_> = text.lines().filter(is_kept).collect();
        assert_eq!(lines.join("\n"), fs::read_to_string(rendered).unwrap().trim_end());
    }
}

// holds: C791
#[test]
fn variables_of_the_image_come_from_files_and_options() {
    let dir = TempDir::for_everybody();
    dir.write("drainit.yaml", "processes: {a: {command: [a, '${A:?}', '${B:?}']}}");
    dir.write("image.env", "A=1\nexport B='${A}'\n");
    dir.write("bad.env", "A=1\n=geheim\n");
    let [config, file, bad] = ["drainit.yaml", "image.env", "bad.env"].map(|name| dir.path(name));
    let pod = rendered();
    let said = |options: &[&str]| check(config.to_str().unwrap(), Path::new("-"), &pod, options);
    said(&[]).assert(78, "`A` is not set");
    let [file, bad] = [&file, &bad].map(|path| path.to_str().unwrap());
    said(&["--env-file", file]).assert(0, "warning");
    said(&["--env-file", file, "--env", "A="]).assert(78, "`A` is not set");
    said(&["--env-file", "none"]).assert(78, "`--env-file` `none` does not exist");
    said(&["--env-file", bad]).assert(78, "line 2: this line of an");
}

// holds: S169, C4
#[test]
fn errors_fail_the_check_and_warnings_only_with_strict() {
    let differ = rendered().replace("value: \"45\"", "value: \"40\"");
    let warned = |options: &[&str]| check("drainit.yaml", Path::new("-"), &differ, options);
    warned(&[]).assert(0, "--> <stdin>:23:22\n");
    warned(&["--strict"]).assert(78, "1 warning");
    // If the command is wrong, a missing config is not reported: the right command may need no
    // config.
    for (command, error, help) in [
        ("[sh, -c, drainit run]", "the shell gets the signals,", "[drainit, run, --]"),
        ("[sh, -c, drainit exec -- envoy]", "the shell gets the signals,", "[drainit, exec, --]"),
        ("[drainit, --, envoy]", "`drainit --` does not run a config", "[drainit, exec, --,"),
    ] {
        let pod = rendered().replace("[/usr/local/bin/drainit, run, --]", command);
        let output = check("none.yaml", Path::new("-"), &pod, &[]);
        output.assert(78, error);
        output.assert(78, help);
        assert!(!output.stderr.contains("does not exist"), "{output:?}");
    }
    // Nobody knows whether this command needs a config.
    let unknown = rendered().replace("[/usr/local/bin/drainit, run, --]", "[sh, -c, '$A']");
    let output = check("none.yaml", Path::new("-"), &unknown, &["--strict"]);
    output.assert(0, "ok: Deployment gateway, container gateway");
    let output = check("drainit.yaml", Path::new("-"), &rendered(), &["--container", "other"]);
    output.assert(78, "error: no container is named `other`");
    check("drainit.yaml", &examples(), "", &[]).assert(78, "is a directory");
}
