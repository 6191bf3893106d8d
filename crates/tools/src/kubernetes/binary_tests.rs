//! Tests that `check --pod` reports each command that runs drainit where it is not installed.

use crate::kubernetes::tests::{CONFIG, are_these, check, lines, with};

/// A pod whose init container installs drainit, and that has no problem.
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  initContainers:
    - name: drainit
      image: drainit:1
      args: [install, /i/drainit]
      volumeMounts: [{name: bin, mountPath: /i}]
    - name: prepare
      image: app
      command: [/opt/drainit/drainit, exec, prepare]
      volumeMounts: [{name: bin, mountPath: /opt/drainit, readOnly: true}]
  containers:
    - name: app
      image: app
      command: [/opt/drainit/drainit, exec, app]
      livenessProbe: {exec: {command: [/opt/drainit/drainit, health, --live]}}
      readinessProbe: {exec: {command: [/opt/drainit/drainit, health]}}
      lifecycle: {preStop: {exec: {command: [/opt/drainit/drainit, drain]}}}
      volumeMounts: [{name: bin, mountPath: /opt/drainit, subPath: ''}]
    - name: other
      image: other
      command: [/usr/local/bin/drainit, exec, other]
      readinessProbe: {exec: {command: [drainit, health]}}
  volumes: [{name: bin, emptyDir: {}}, {name: other, emptyDir: {}}]
";

fn found(pod: &str) -> Vec<String> {
    lines(&check(CONFIG, pod, None, &[]))
}

// holds: S530
#[test]
fn each_command_that_does_not_find_the_installed_binary_is_reported() {
    let args = "args: [install, /i/drainit]";
    let init = "volumeMounts: [{name: bin, mountPath: /i}]";
    let prepare = "command: [/opt/drainit/drainit, exec, prepare]\n      volumeMounts: [{name: bin, mountPath: /opt/drainit, readOnly: true}]";
    let app = "[/opt/drainit/drainit, exec, app]";
    let mount = "{name: bin, mountPath: /opt/drainit, subPath: ''}";
    let volumes = "{name: bin, emptyDir: {}}, ";
    let ends = |words: &str| with(prepare, "exec, prepare]", words);
    let twice = |what: &str| with(args, "/i", what);
    let rows: &[(&str, &str, &[&str])] = &[
        (args, args, &[]),
        ("image: drainit:1", "image: own:1", &[]),
        (
            "image: drainit:1\n      args: [install, /i/drainit]",
            "image: a/cni\n      args: [install, /i/bin]",
            &[],
        ),
        (
            "    - name: drainit\n",
            "    - {name: cni, image: a/cni, args: [install]}\n    - name: drainit\n",
            &[],
        ),
        // The following rows concern the init container that installs.
        (args, "args: [install, --force, /i/]", &[]),
        (args, "args: [install, /i]", &[]),
        (
            &format!("image: drainit:1\n      {args}"),
            "image: a/tools\n      command: [sh, -c, '/drainit install /i/drainit && echo done']",
            &[],
        ),
        (args, "args: [install, /i/other]", &["12:17 E installs `/i/other` into the volume `bin`"]),
        (args, &twice("/j"), &["8:23 E mounts no volume at `/j/drainit`"]),
        (
            args,
            "args: [install, /i/bin/]",
            &["8:23 E makes no directory, the volume `bin` has no `bin`"],
        ),
        (args, "args: [install, /i/a/drainit]", &["8:23 E makes no directory, has no `a`"]),
        (
            &format!("{args}\n      {init}"),
            "args: [install, /i/b/]\n      volumeMounts: [{name: bin, mountPath: /i}, {name: bin, mountPath: /i/b, subPath: a}]",
            &["12:17 E installs `/i/b/` into the volume `bin`"],
        ),
        (init, "volumeMounts: [{name: bin, mountPath: /drainit}]", &["9:45 E at `/drainit`"]),
        (args, "command: [/usr/local/bin/drainit, install, /i/]", &["8:17 E has only `/drainit`"]),
        (args, "command: [sh, -c, '/drainit install /i/']", &["8:17 E `sh` is not there"]),
        (args, "command: [cp, /drainit, /i/]", &["8:17 E `cp` is not there"]),
        (args, "command: [/drainit, install, /i/]", &[]),
        (args, "args: [install, --forse, /i/]", &["8:23 E has no option `--forse`"]),
        (args, "args: [install, /i/, /j]", &["8:28 E takes no further word `/j`"]),
        (args, "args: [--force, install, /i/]", &["8:14 E before the subcommand"]),
        (args, "args: [--version]", &[]),
        (
            args,
            "args: [install, /i/]\n      restartPolicy: Always",
            &["9:7 E for ever: `install` ends"],
        ),
        (
            args,
            "args: [install, /i/]\n      securityContext: {runAsNonRoot: true}",
            &["9:39 E drainit's image has no user"],
        ),
        (
            args,
            "args: [install, /i/]\n      securityContext: {runAsNonRoot: true, runAsUser: 1}",
            &[],
        ),
        ("spec:", "spec:\n  securityContext: {runAsNonRoot: true, runAsUser: 1}", &[]),
        ("spec:", "spec:\n  securityContext: {runAsNonRoot: true}", &["5:35 E no user"]),
        (init, "volumeMounts: [{name: bin, mountPath: /j}]", &["8:23 E mounts no volume at"]),
        (init, "volumeMounts: []", &["8:23 E mounts no volume at `/i/drainit`"]),
        (init, "volumeMounts: [{name: bin, mountPath: /i, readOnly: true}]", &["8:23 E read-only"]),
        (volumes, "{name: bin, configMap: {name: a}}, ", &["8:23 E the volume `bin` is read-only"]),
        (volumes, "", &["9:29 E the pod has no volume `bin`"]),
        (args, "args: []", &["6:13 E drainit has no subcommand, and"]),
        (args, "args: [instal, /i/drainit]", &["8:14 E has no subcommand `instal`"]),
        (args, "command: [/drainit, /i/drainit]", &["8:27 E has no subcommand `/i/drainit`"]),
        (args, "args: [install]", &["8:14 E `drainit install` has no path"]),
        // The following rows concern an init container that uses the binary.
        (
            prepare,
            "restartPolicy: Always\n      command: [/opt/drainit/drainit, exec, prepare]",
            &["13:17 E does not mount the volume"],
        ),
        (
            prepare,
            "command: [sh, -c, 'exec /opt/drainit/drainit exec prepare']",
            &["12:25 E does not mount the volume"],
        ),
        (prepare, "command: [cp, /usr/bin/drainit, /opt/drainit/drainit]", &[]),
        // The following rows concern an init container that serves.
        (prepare, &ends("exec, envoy]"), &["10:13 E `prepare` never ends"]),
        (prepare, &ends("exec, envoy, --mode, validate]"), &[]),
        (prepare, &ends("exec, --, /app/wait-for, -o, /etc/envoy]"), &[]),
        (prepare, &ends("exec, --, envoy, -h]"), &[]),
        (prepare, &ends("exec, --drain-envoy=unix:/a, app]"), &["10:13 E `prepare` never ends"]),
        (prepare, "command: [cp, /usr/bin/drainit, /opt/envoy]", &[]),
        (prepare, &ends("exec, -g, envoy]"), &["10:13 E `prepare` never ends"]),
        (prepare, &ends("exec, -g, wait-for, envoy]"), &[]),
        (prepare, &ends("exec, --, sh, -c, 'a; exec envoy']"), &["10:13 E `prepare` never ends"]),
        (prepare, &ends("exec, sh, -c, 'envoy & sleep 5; kill %1']"), &[]),
        (
            prepare,
            &with(
                &ends("exec -g envoy']"),
                "[/opt/drainit/drainit,",
                "[sh, -c, 'exec /opt/drainit/drainit",
            ),
            &["10:13 E `prepare` never ends"],
        ),
        (prepare, &ends("run]"), &[]),
        (
            prepare,
            &ends("run]\n      ports: [{containerPort: 80}]"),
            &["10:13 E `prepare` never ends"],
        ),
        (prepare, &ends("exec, envoy]\n      restartPolicy: Always"), &[]),
        (
            "    - name: drainit\n",
            "    - name: first\n      image: app\n      command: [/opt/drainit/drainit, exec, first]\n      \
             volumeMounts: [{name: bin, mountPath: /opt/drainit}]\n    - name: drainit\n",
            &["8:17 E nothing installs drainit into the volume `bin` before this container starts"],
        ),
        // The following rows concern a main container.
        (
            app,
            "[/opt/drainit/drainit2, exec, app]",
            &[
                "17:17 E `/opt/drainit/drainit2` is not there: the init container installs `/i/drainit`",
            ],
        ),
        (app, "[/opt/drainit, exec, app]", &["17:17 E `/opt/drainit` is not there"]),
        (app, "[/drainit/drainit, exec, app]", &["17:17 E mounts the volume `bin`, elsewhere"]),
        (
            app,
            "[/usr/local/bin/drainit, exec, app]",
            &["17:17 E mounts the volume `bin`, elsewhere"],
        ),
        (
            app,
            "[drainit, exec, app]",
            &["17:17 E `drainit` is not there: it is only in the volume `bin`"],
        ),
        (app, "[env, A=1, drainit, exec, app]", &["17:27 E `drainit` is not there"]),
        (app, "[env, 'PATH=/opt/drainit', drainit, exec, app]", &[]),
        (app, "[drainit, exec, app]\n      env: [{name: PATH, value: '/bin:/opt/drainit'}]", &[]),
        (
            app,
            "['$(DIR)/drainit', exec, app]\n      env: [{name: DIR, value: /opt}]",
            &["17:17 E `/opt/drainit` is not there"],
        ),
        (app, "['$(DIR)/drainit', exec, app]\n      env: [{name: DIR, value: /opt/drainit}]", &[]),
        (
            mount,
            "{name: other, mountPath: /opt/drainit}",
            &["17:17 E nothing installs drainit into the volume `other`"],
        ),
        (mount, "{name: bni, mountPath: /opt/drainit}", &["21:29 E the pod has no volume `bni`"]),
        (mount, "{name: bin, mountPath: /opt/drainit/drainit, subPath: drainit}", &[]),
        // The following rows concern probes and hooks.
        (
            "[/opt/drainit/drainit, health, --live]",
            "[/opt/draint/drainit, health, --live]",
            &["18:40 E `/opt/draint/drainit` is not there"],
        ),
        (
            "[/opt/drainit/drainit, health]",
            "[/opt/drainit/bin/drainit, health]",
            &["19:41 E is not there"],
        ),
        ("[/opt/drainit/drainit, drain]", "[/drainit/drainit, drain]", &["20:46 E is not there"]),
        ("[/opt/drainit/drainit, drain]", "[drainit, drain]", &["20:46 E `drainit` is not there"]),
        (
            "[/opt/drainit/drainit, drain]",
            "[sh, -c, '/opt/drainit/bin/drainit drain; sleep 1']",
            &["20:54 E is not there"],
        ),
    ];
    let is_of_binary = |line: &String| {
        [
            "is not there",
            "has no volume",
            "drainit has no subcommand",
            "install",
            "mounts no volume",
            "at `/drainit`",
            "drainit's image",
            "before the subcommand",
            "never ends",
        ]
        .iter()
        .any(|words| line.contains(words))
    };
    let mut wrong = String::new();
    for (from, to, expected) in rows {
        let mut found = found(&with(POD, from, to));
        found.retain(is_of_binary);
        if !are_these(&found, expected) {
            wrong += &format!("{to}\n{found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

// holds: S530
#[test]
fn the_volume_of_an_image_has_drainit_at_the_root() {
    let pod = "\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers:
    - name: app
      image: app
      command: [/opt/drainit/drainit, exec, app]
      volumeMounts: [{name: bin, mountPath: /opt/drainit}]
  volumes: [{name: bin, image: {reference: 'ghcr.io/a/drainit:0.1.0@sha256:0'}}]
";
    let exec = "exec, app]\n      volumeMounts: [";
    let rest = "{name: bin, mountPath: /opt/drainit}]\n  volumes: [{name: bin, image: {reference: 'ghcr.io/a/drainit:0.1.0@sha256:0'}}";
    let run = |volume: &str| {
        format!(
            "run, --config=/c/a.yaml, --, -c, /b]\n      volumeMounts: [{{name: {volume}, mountPath: /c}}, "
        )
    };
    let rows: &[(&str, &str, &[&str])] = &[
        ("/opt", "/opt", &[]),
        ("mountPath: /opt/drainit", "mountPath: /drainit", &["8:17 E mounts the volume `bin`"]),
        ("[/opt/drainit", "[/opt/drainit/bin", &["8:17 E has drainit at its root"]),
        ("[/opt/drainit/drainit, ", "[drainit, ", &["8:17 E only in the volume `bin`"]),
        (
            "image: app\n      command: [/opt/drainit/drainit, ",
            "image: a/my-drainit-app:1\n      command: [drainit, ",
            &[],
        ),
        // The files of another image are not known.
        ("a/drainit:0.1.0@sha256:0", "a/tools:1", &[]),
        ("a/drainit:0.1.0@sha256:0", "a/tools-drainit", &[]),
        // The following rows concern the config of `drainit run`.
        (exec, "run]\n      volumeMounts: [", &["6:13 W no volume at `/etc/drainit.yaml`"]),
        (exec, "run, -c, /c/a.yaml]\n      volumeMounts: [", &["6:13 W no volume at `/c/a.yaml`"]),
        (
            exec,
            "run]\n      env: [{name: DRAINIT_CONFIG, value: /c}]\n      volumeMounts: [",
            &["6:13 W no volume at `/c`"],
        ),
        (
            exec,
            "run, -c, /c/a.yaml, --config=/opt/drainit/b]\n      volumeMounts: [",
            &["6:13 W no volume at `/c/a.yaml`"],
        ),
        (
            "[/opt/drainit/drainit, exec, app]",
            "[sh, -c, 'exec /opt/drainit/drainit run -c /c']",
            &["6:13 W no volume at `/c`"],
        ),
        (
            "[/opt/drainit/drainit, exec, app]",
            "[sh, -c, 'exec /opt/drainit/drainit run -c \"$C\" $D']",
            &[],
        ),
        (exec, &run("a"), &["9:29 E the pod has no volume `a`"]),
        (exec, &run("bin"), &[]),
        (
            &format!("{exec}{rest}"),
            &format!(
                "{}{rest}, {{name: a, configMap: {{items: [{{key: k, path: b}}]}}}}",
                run("a")
            ),
            &["9:29 E the volume `a` has no `a.yaml`"],
        ),
        (
            &format!("{exec}{rest}"),
            &format!(
                "{}{rest}, {{name: a, secret: {{items: [{{key: k, path: a.yaml}}]}}}}",
                run("a")
            ),
            &[],
        ),
    ];
    for (from, to, expected) in rows {
        let mut found = found(&with(pod, from, to));
        found.retain(|line| line.contains("is not there") || line.contains(" volume"));
        assert!(are_these(&found, expected), "{to}\n{found:#?}");
    }
}

// holds: S530
#[test]
fn a_config_must_be_among_the_files_of_the_volume() {
    let pod = |volume: &str, mount: &str, other: &str| {
        format!(
            "kind: Pod\nmetadata: {{namespace: a}}\nspec:\n  containers:\n    - name: app\n      image: app\n      \
             command: [/bin/drainit, run, -c, /c/a.yaml]\n      volumeMounts: [{{name: c, mountPath: /c{mount}}}]\n  \
             volumes: [{{name: c, {volume}}}]\n---\nmetadata: {{name: m{other}\n"
        )
    };
    let map = "configMap: {name: m}";
    let secret = "secret: {secretName: m}";
    let items = |source: &str, key: &str, path: &str| {
        source.replace('}', &format!(", items: [{{key: {key}, path: {path}}}]}}"))
    };
    let projected = |sources: &str| format!("projected: {{sources: [{{{sources}}}]}}");
    let none = "}";
    let has = |kind: &str, data: &str| format!("}}\nkind: {kind}\n{data}");
    let has_a = &has("ConfigMap", "data: {a.yaml: a}");
    let has_b = &has("ConfigMap", "data: {b.yaml: b}");
    let rows: &[(&str, &str, &str, bool)] = &[
        (map, "", none, true),
        (map, "", has_a, true),
        (map, "", has_b, false),
        (map, "", &has("ConfigMap", "data: {}"), true),
        (map, "", &has("ConfigMap", "binaryData: {b: b}"), false),
        (map, "", &has_b.replacen('}', ", namespace: b}", 1), true),
        (map, "", &has_b.replacen('}', ", namespace: a}", 1), false),
        (map, "", &has("Secret", "data: {b: b}"), true),
        (secret, "", &has("Secret", "data: {b: b}"), false),
        (secret, "", &has("Secret", "stringData: {a.yaml: a}"), true),
        (map, "/a.yaml, subPath: b.yaml", has_b, true),
        (map, "/a.yaml, subPath: a.yaml", has_b, false),
        (&items(map, "k", "a.yaml"), "", none, true),
        (&items(map, "k", "a.yaml"), "", has_b, false),
        (&items(map, "k", "a.yaml.old"), "", none, false),
        (&items(map, "k", "a.yaml/b.yaml"), "", none, true),
        (&projected(&items(map, "k", "b")), "", none, false),
        (&projected(&items(map, "k", "a.yaml")), "", none, true),
        (&projected(&format!("{}}}, {{{map}", items(secret, "k", "b"))), "", none, true),
        (&projected(&format!("{}}}, {{{map}", items(secret, "k", "b"))), "", has_b, false),
        (&projected(&format!("{}}}, {{{map}", items(secret, "k", "b"))), "", has_a, true),
        ("hostPath: {path: /c}", "", has_b, true),
    ];
    let mut wrong = String::new();
    for (volume, mount, other, is_there) in rows {
        let pod = pod(volume, mount, other);
        let mut found = found(&pod);
        found.retain(|line| line.contains("the volume `c` has no"));
        let expected: &[&str] = if *is_there { &[] } else { &["8:29 E has no `"] };
        if !are_these(&found, expected) {
            wrong += &format!("{pod}\n{found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
