//! Tests `drainit check --pod`: the manifests of the examples pass, and the problems of a manifest
//! determine the exit code.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Said, TempDir};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes")
}

/// Runs `check -c CONFIG --pod POD OPTIONS…` with a manifest on standard input.
fn check(config: &str, pod: &Path, manifest: &str, options: &[&str]) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_drainit"))
        .args(["check", "-c"])
        .arg(examples().join(config))
        .arg("--pod")
        .arg(pod)
        .args(options)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // An error is ignored: drainit does not read standard input if the manifest is a file.
    let _ = child.stdin.take().unwrap().write_all(manifest.as_bytes());
    Said::of(child.wait_with_output().unwrap())
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

/// Runs `check --pod - OPTIONS…` without a config, with 6 s of processor time. A debug build needs
/// 1.2 s for 500 workloads, and more while other tests use the same caches.
fn audit(list: &str, options: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::for_everybody();
    dir.write("list.yaml", list);
    let list = fs::File::open(dir.path("list.yaml")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -t 6; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_drainit")]);
    let command = command.args(["check", "--image=false", "--pod", "-"]).args(options);
    let output = command.current_dir(dir.root()).env_clear().stdin(list).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn workload(kind: &str, name: &str, pod: &str) -> String {
    let metadata = format!("{{namespace: shop, name: {name}}}");
    format!("- {{kind: {kind}, metadata: {metadata}, spec: {{template: {{spec: {{{pod}}}}}}}}}\n")
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
    for (kind, pod, line) in [
        (
            "Deployment",
            of("nginx:1.27", ""),
            "grace period 30s by default; no preStop; `nginx`; loses requests: without a preStop, it stops before every node knows that the pod leaves",
        ),
        (
            "Deployment",
            of("a.io/b/nginx:1@sha256:0", SLEEP),
            "grace period 30s by default; preStop of 5s; `nginx`; unknown: nginx cuts requests at SIGTERM, unless its image has another STOPSIGNAL",
        ),
        (
            "Deployment",
            of(
                "a",
                "command: [nginx], lifecycle: {stopSignal: SIGINT, preStop: {sleep: {seconds: 5}}}",
            ),
            "grace period 30s by default; preStop of 5s; `nginx`; loses requests: nginx finishes requests at SIGQUIT, and not at SIGINT",
        ),
        (
            "StatefulSet",
            helper.replace("LIFE", SLEEP),
            "grace period 30s by default; preStop of 5s; `gunicorn`; keeps requests: gunicorn finishes what is in flight at SIGTERM",
        ),
        (
            "DaemonSet",
            of("envoyproxy/envoy:v1.40", SLEEP),
            "grace period 30s by default; preStop of 5s; `envoy`; loses requests: envoy closes every connection at SIGTERM",
        ),
        (
            "Deployment",
            of("a", "command: [drainit, run]"),
            "grace period 30s by default; no preStop; `drainit`; has drainit: check it with its config",
        ),
        (
            "Deployment",
            of("a", HOOKS),
            "grace period 30s by default; a preStop of unknown effect; `flask`; unknown: the effect of its preStop",
        ),
        (
            "Deployment",
            format!("terminationGracePeriodSeconds: 5, {}", of("a", SLEEP)),
            "grace period 5s; preStop of 5s; `unknown program`; loses requests: SIGKILL follows 2s after its stop signal",
        ),
        (
            "Deployment",
            of("calico/node:v3", ""),
            "grace period 30s by default; no preStop; `unknown program`; unknown: its program",
        ),
        (
            "Deployment",
            format!("terminationGracePeriodSeconds: 0, {}", of("a", "")),
            "grace period 0ms; no preStop; `unknown program`; loses requests: SIGKILL follows 2s after its stop signal",
        ),
        (
            "DaemonSet",
            of("a", "command: [/bin/contour], args: [envoy, shutdown-manager]"),
            "grace period 30s by default; no preStop; `unknown program`; unknown: its program",
        ),
        (
            "DaemonSet",
            of("a", "command: [/entrypoint.sh], args: [/usr/bin/envoy, -c, a.yaml]"),
            "grace period 30s by default; no preStop; `envoy`; loses requests: without a preStop, it stops before every node knows that the pod leaves",
        ),
        (
            "Job",
            of("a", ""),
            "grace period 30s by default; no preStop; `unknown program`; keeps requests: nobody sends requests to it",
        ),
    ] {
        items += &workload(kind, "web", &pod);
        lines += &format!("{kind} shop/web: {line}\n");
    }
    lines += "13 workloads: loses requests 6, unknown 4, has drainit 1, keeps requests 2\n";
    items += "- {kind: Service}\n- {kind: Deployment}\n- {kind: Service}\n";
    lines += "not looked at: `Deployment without spec.template.spec` and `Service`\n";
    let list = format!("kind: List\nitems:\n{items}");
    assert_eq!(audit(&list, &[]), (Some(0), lines));
    assert_eq!(audit(&list, &["--strict"]).0, Some(78));
    let drained = workload("Deployment", "a", &of("a", "command: [drainit, run]"));
    let drained = format!("kind: List\nitems:\n{drained}");
    assert_eq!(audit(&drained, &["--strict"]).0, Some(0));
    // The documents of a rendered chart, of which none has drainit, are judged like a list.
    let documents = ["a", "b"].map(|name| workload("Deployment", name, &of("nginx", "")));
    let documents = documents.concat().replace("- {", "---\n{");
    let (code, said) = audit(&documents, &[]);
    assert!(code == Some(0) && said.contains("2 workloads: "), "{code:?} {said}");
    // Only documents with an error are lost.
    let (code, said) = audit(&format!("a: [\n{documents}---\nb: \"\n---\n{{kind: Depl"), &[]);
    assert!(code == Some(78) && said.contains("2 workloads: "), "{code:?} {said}");
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    for (bad, error) in [
        ("items:\n- {kind: Depl", "error: "),
        ("items: []\n", "this file has no workload"),
        ("{{- if .Values.a }}\n", "note: with its `{{`, this file may be a template"),
    ] {
        let (code, said) = audit(bad, &[]);
        assert!(code == Some(78) && said.contains(error), "{code:?} {said}");
    }
}

// holds: S798
#[test]
fn five_hundred_workloads_are_judged_within_seconds() {
    let variables = "{name: A, value: b}, ".repeat(100);
    let pod = format!("containers: [{{name: a, image: nginx, env: [{variables}]}}]");
    let items: String =
        (0..500).map(|at| workload("Deployment", &format!("w{at}"), &pod)).collect();
    let (code, said) = audit(&format!("kind: List\nitems:\n{items}"), &[]);
    assert!(code == Some(0) && said.contains("500 workloads: loses requests 500"), "{said}");
}

// holds: C900
#[test]
fn manifests_of_the_examples_pass_the_check() {
    let mut seen = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // tests/docs/recipes.rs checks the workload that a patch makes.
        if !name.ends_with(".yaml")
            || name.ends_with("drainit.yaml")
            || name.ends_with("patch.yaml")
        {
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
        let output = check(config.to_str().unwrap(), &folder.join(pod), "", &["--strict"]);
        output.assert(0, says);
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
