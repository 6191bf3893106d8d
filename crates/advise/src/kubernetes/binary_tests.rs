//! Tests that `check --pod` reports each command that runs drainit where it is not installed.

use crate::kubernetes::tests::{CONFIG, each, found, with};

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

/// Tests the problems of the pod in which each row replaces `from`: the errors, and all problems of
/// a volume. No container has a drain, so nothing answers its probes.
#[track_caller]
fn each_in(pod: &str, from: &str, rows: &[(&str, &str)]) {
    each(rows.iter().copied(), |to| {
        let mut found = found(CONFIG, &with(pod, from, to));
        found.retain(|line| line.contains(" E ") || line.contains(" volume"));
        found.retain(|line| !line.contains("gets no answer"));
        found
    });
}

// holds: C780
#[test]
fn a_program_in_a_volume_with_noexec_is_reported() {
    let mount = "mountPath: /opt/drainit, subPath: ''";
    let noexec = format!("{mount}, bindMountOptions: [nodev, noexec]");
    let harmless = format!("{mount}, bindMountOptions: [nosuid]");
    let wrong = "21:98 E `/opt/drainit/drainit` cannot run";
    each_in(POD, mount, &[(mount, ""), (&harmless, ""), (&noexec, wrong)]);
}

// holds: S530
#[test]
fn an_install_that_no_other_container_sees_is_reported() {
    let rows = [
        ("args: [install, /i/drainit]", ""),
        ("args: [install, --force, /i/]", ""),
        ("args: [install, /i]", ""),
        ("args: [install, /i/other]", "12:17 E installs `/i/other` into the volume `bin`"),
        ("args: [install, /j/drainit]", "8:23 E mounts no volume at `/j/drainit`"),
        ("command: [/drainit, install, /i/]", ""),
        ("args: [install, --forse, /i/]", "8:23 E unexpected argument '--forse'"),
        ("args: [install, /i/, /j]", "8:28 E unexpected argument '/j'"),
        ("args: [--force, install, /i/]", "8:14 E unexpected argument '--force'"),
        ("args: [instal, /i/drainit]", "8:14 E subcommand 'instal'"),
        ("args: [--version]", ""),
        ("args: []", "6:13 E it has no subcommand"),
        ("command: [/drainit, /i/drainit]", "8:27 E subcommand '/i/drainit'"),
        ("args: [install]", "8:14 E arguments were not provided: <PATH>"),
    ];
    each_in(POD, "args: [install, /i/drainit]", &rows);
    let rows = [
        ("{name: bin, mountPath: /j}", "8:23 E mounts no volume at"),
        ("", "8:23 E mounts no volume at `/i/drainit`"),
        ("{name: bin, mountPath: /i, readOnly: true}", "8:23 E read-only"),
    ];
    each_in(POD, "{name: bin, mountPath: /i}", &rows);
    let rows = [
        ("image: own:1\n      args: [install, /i/drainit]", ""),
        ("image: a/cni\n      args: [install, /i/bin]", ""),
        ("image: a/tools\n      command: [sh, -c, '/drainit install /i/drainit && echo done']", ""),
    ];
    each_in(POD, "image: drainit:1\n      args: [install, /i/drainit]", &rows);
    let rows = [(
        "/i/b/]\n      volumeMounts: [{name: bin, mountPath: /i}, {name: bin, mountPath: /i/b, subPath: a}]",
        "12:17 E installs `/i/b/` into the volume `bin`",
    )];
    let from = "/i/drainit]\n      volumeMounts: [{name: bin, mountPath: /i}]";
    each_in(POD, from, &rows);
    let rows = [("{name: bin, configMap: {name: a}}, ", "8:23 E the volume `bin` is read-only")];
    each_in(POD, "{name: bin, emptyDir: {}}, ", &rows);
    let rows = [
        ("    - {name: cni, image: a/cni, args: [install]}\n    - name: drainit\n", ""),
        (
            "    - name: first\n      image: app\n      command: [/opt/drainit/drainit, exec, first]\n      \
             volumeMounts: [{name: bin, mountPath: /opt/drainit}]\n    - name: drainit\n",
            "8:17 E nothing has installed drainit into the volume `bin` before",
        ),
    ];
    each_in(POD, "    - name: drainit\n", &rows);
}

// holds: S530
#[test]
fn an_init_container_that_finds_no_drainit_or_never_ends_is_reported() {
    let command = "command: [/opt/drainit/drainit, exec, prepare]";
    let always = format!("restartPolicy: Always\n      {command}");
    let rows = [
        (&*always, "13:17 E does not mount the volume"),
        (
            "command: [sh, -c, 'exec /opt/drainit/drainit exec prepare']",
            "12:25 E does not mount the volume",
        ),
        ("command: [cp, /usr/bin/drainit, /opt/drainit/drainit]", ""),
        ("command: [cp, /usr/bin/drainit, /opt/envoy]", ""),
    ];
    let mount = "\n      volumeMounts: [{name: bin, mountPath: /opt/drainit, readOnly: true}]";
    each_in(POD, &format!("{command}{mount}"), &rows);
    let endless = "10:13 E `prepare` never ends";
    let rows = [
        ("exec, envoy]", endless),
        ("exec, envoy, --mode, validate]", ""),
        ("exec, --, /app/wait-for, -o, /etc/envoy]", ""),
        ("exec, --, envoy, -h]", ""),
        ("exec, --drain-envoy=unix:/a, app]", endless),
        ("exec, -g, envoy]", endless),
        ("exec, -g, wait-for, envoy]", ""),
        ("exec, --, sh, -c, 'a; exec envoy']", endless),
        ("exec, sh, -c, 'envoy & sleep 5; kill %1']", ""),
        ("run]", ""),
        ("run]\n      ports: [{containerPort: 80}]", endless),
        ("exec, --drain-envoy=unix:/a, app]\n      restartPolicy: Always", ""),
    ];
    each_in(POD, "exec, prepare]", &rows);
    let rows = [("[sh, -c, 'exec /opt/drainit/drainit exec --drain-envoy=unix:/a app']", endless)];
    each_in(POD, "[/opt/drainit/drainit, exec, prepare]", &rows);
}

// holds: S530
#[test]
fn each_command_of_a_container_that_does_not_find_drainit_is_reported() {
    let elsewhere = "17:17 E only in the volume `bin`, elsewhere";
    let rows = [
        ("[/opt/drainit/drainit2, exec, app]", "17:17 E not there, installs `/i/drainit`"),
        ("[/opt/drainit, exec, app]", "17:17 E `/opt/drainit` is not there"),
        ("[/drainit/drainit, exec, app]", elsewhere),
        ("[/usr/local/bin/drainit, exec, app]", elsewhere),
        ("[drainit, exec, app]", "17:17 E `drainit` is not there: it is only in the volume `bin`"),
        ("[env, A=1, drainit, exec, app]", "17:27 E `drainit` is not there"),
        ("[env, 'PATH=/opt/drainit', drainit, exec, app]", ""),
        ("[drainit, exec, app]\n      env: [{name: PATH, value: '/bin:/opt/drainit'}]", ""),
        (
            "['$(DIR)/drainit', exec, app]\n      env: [{name: DIR, value: /opt}]",
            "17:17 E `/opt/drainit` is not there",
        ),
        ("['$(DIR)/drainit', exec, app]\n      env: [{name: DIR, value: /opt/drainit}]", ""),
    ];
    each_in(POD, "[/opt/drainit/drainit, exec, app]", &rows);
    let rows = [
        ("{name: other, mountPath: /opt/drainit}", "17:17 E nothing has installed, volume `other`"),
        ("{name: bin, mountPath: /opt/drainit/drainit, subPath: drainit}", ""),
    ];
    each_in(POD, "{name: bin, mountPath: /opt/drainit, subPath: ''}", &rows);
    // The following rows concern probes and hooks.
    let rows = [("[/opt/draint/drainit, health", "18:40 E `/opt/draint/drainit` is not there")];
    each_in(POD, "[/opt/drainit/drainit, health", &rows);
    let rows = [
        ("[/drainit/drainit, drain]", "20:46 E is not there"),
        ("[drainit, drain]", "20:46 E `drainit` is not there"),
        ("[sh, -c, '/opt/drainit/bin/drainit drain; sleep 1']", "20:54 E is not there"),
    ];
    each_in(POD, "[/opt/drainit/drainit, drain]", &rows);
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
    let rows = [
        ("command: [/opt/drainit/drainit, ", ""),
        ("command: [/opt/drainit/bin/drainit, ", "8:17 E has drainit at its root"),
        ("command: [drainit, ", "8:17 E only in the volume `bin`"),
    ];
    each_in(pod, "command: [/opt/drainit/drainit, ", &rows);
    let rows = [("mountPath: /drainit", "8:17 E only in the volume `bin`, elsewhere")];
    each_in(pod, "mountPath: /opt/drainit", &rows);
    let rows = [("image: a/my-drainit-app:1\n      command: [drainit, ", "")];
    each_in(pod, "image: app\n      command: [/opt/drainit/drainit, ", &rows);
    // The files of another image are not known.
    let rows = [("a/tools:1", ""), ("a/tools-drainit", "")];
    each_in(pod, "a/drainit:0.1.0@sha256:0", &rows);
}
