//! Tests `watch`: changed files that restart a process, or send it a signal.

use std::os::unix::fs::symlink;

use crate::support::*;

/// The time after which drainit has certainly acted on a change of a file. Before that, drainit
/// waits for further changes.
const SETTLED: std::time::Duration = ms(3500);

/// Swaps the content of a ConfigMap as the kubelet does.
pub(crate) fn swap(volume: &Path, version: &str, content: &str) {
    let old = fs::read_link(volume.join("..data")).ok();
    let data = volume.join(format!("..{version}"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("file"), content).unwrap();
    symlink(format!("..{version}"), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

// holds: C293, C295, C296, C298, C307
#[test]
fn every_kind_of_change_restarts_once() {
    type Change = fn(&Path);
    let cases: [(&str, Change); 6] = [
        ("in place", |volume| fs::write(volume.join("..1/file"), "new").unwrap()),
        ("atomic rename", |volume| {
            fs::write(volume.join("..1/beside"), "new").unwrap();
            fs::rename(volume.join("..1/beside"), volume.join("..1/file")).unwrap();
        }),
        ("swap", |volume| swap(volume, "2", "new")),
        ("gone and back", |volume| {
            let file = volume.join("..1/file");
            // If drainit saw the removal only in its look after the start, the process might not
            // have read the old content.
            for content in [None, Some("old"), Some("new")] {
                thread::sleep(SETTLED);
                content.map_or_else(|| fs::remove_file(&file), |it| fs::write(&file, it)).unwrap();
            }
        }),
        ("burst", |volume| {
            for number in 0..200 {
                fs::write(volume.join("..1/file"), number.to_string()).unwrap();
                thread::sleep(ms(20));
            }
        }),
        ("swap of the link", |volume| {
            symlink("..1/other", volume.join("link")).unwrap();
            fs::write(volume.join("..1/other"), "new").unwrap();
            fs::rename(volume.join("link"), volume.join("file")).unwrap();
        }),
    ];
    in_parallel(cases, |(case, change)| {
        for path in ["DIR/volume/file", "DIR/volume"] {
            // In a directory, drainit watches only the files and links that are directly there.
            if path == "DIR/volume" && !case.starts_with("swap") {
                continue;
            }
            let Some(rig) = Rig::new() else { return };
            let volume = rig.path("volume");
            fs::create_dir(&volume).unwrap();
            swap(&volume, "1", "old");
            symlink("..data/file", volume.join("file")).unwrap();
            let config = "
                processes:
                  base: {command: [CHILD, base]}
                  app:
                    command: [CHILD, app]
                    depends_on: [base]
                    watch: [{path: PATH, action: restart}]
                  top: {command: [CHILD, top], depends_on: [app]}
                ";
            let drainit = rig.start_ready(&config.replace("PATH", path));
            drainit.wait_for_start(&["base", "app", "top"]);
            change(&drainit.path("volume"));
            drainit.wait_for_line(r"\[drainit\].* app: .*/volume.* changed; restart$");
            drainit.wait_for_line(&said::restarted("app"));
            thread::sleep(SETTLED);
            let record = drainit.record();
            assert_eq!(record.count("app", "start"), 2, "{case}:\n{record}");
            let ended = drainit.stop();
            ended.assert_code(0);
            for other in ["base", "top"] {
                assert_eq!(ended.record.count(other, "start"), 1, "{}", ended.record);
            }
        }
    });
}

// holds: C294, C632, C634
#[test]
fn a_signal_goes_only_to_the_process_and_only_when_ready() {
    let config = "
        processes:
          app:
            command: [CHILD, app, 'on=HUP:print:hup', 'spawn=member,on=HUP:print:wrong', await=DIR/go, touch=DIR/up]
            readiness: {file: DIR/up, timeout: 60s}
            watch: [{path: DIR/tls, action: HUP}]
          other: {command: [CHILD, other, 'on=HUP:print:wrong']}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["app", "member", "other"]);
    let tls = drainit.path("tls");
    fs::create_dir(&tls).unwrap();
    fs::write(tls.join("cert"), "1").unwrap();
    thread::sleep(SETTLED);
    assert_eq!(
        drainit.record().lines_with("changed"),
        0,
        "the process is not ready:\n{}",
        drainit.record()
    );
    drainit.touch("go");
    drainit.wait_for_line(r"app: /.*/tls changed; SIGHUP$");
    drainit.wait_for_line("hup");
    // Changes of both files count as one change.
    fs::write(tls.join("cert"), "2").unwrap();
    fs::write(tls.join("key"), "2").unwrap();
    drainit.wait_for_lines("hup", 2);
    thread::sleep(SETTLED);
    let ended = drainit.stop();
    ended.assert_code(0).assert_no_line("wrong");
    assert_eq!(ended.record.lines_with("; SIGHUP"), 2, "{}", ended.record);
    assert_eq!(ended.record.count("app", "start"), 1, "{}", ended.record);
}

// holds: C305, C306, C648
#[test]
fn a_process_that_fails_with_new_content_starts_with_the_next() {
    let Some(rig) = Rig::new() else { return };
    rig.write("config", "0");
    let drainit = rig.start_ready(
        "
        processes:
          app:
            command: [sh, -c, 'grep -q bad DIR/config && exit 7; exec CHILD app touch=DIR/up']
            hooks: {pre_start: [rm, -f, DIR/up]}
            readiness: {file: DIR/up, timeout: 60s}
            watch: [{path: DIR/config, action: restart}]
            on_exit: ignore
          other: {command: [CHILD, other]}
        ",
    );
    let config = drainit.path("config");
    fs::write(&config, "bad").unwrap();
    drainit.wait_for_line("error: app: restart failed: app exited with code 7 before it was ready");
    assert!(drainit.exec(&["status"]).stdout.contains("failed"));
    fs::write(&config, "good").unwrap();
    drainit.wait_for_line(&said::restarted("app"));
    drainit.wait_for_events("app", "start", 2);
    drainit.exec(&["stop", "app"]).assert(0, "");
    fs::write(&config, "better").unwrap();
    thread::sleep(SETTLED);
    let ended = drainit.stop();
    ended.assert_code(0);
    assert_eq!(ended.record.count("app", "start"), 2, "stopped by hand:\n{}", ended.record);
}

// holds: C293
#[test]
fn a_reload_ends_the_watches_that_the_config_no_longer_has() {
    let watched = "watch: [{path: DIR/first, action: HUP}, {path: DIR/second, action: HUP}]";
    let config = format!("processes: {{app: {{command: [CHILD, app], {watched}}}}}");
    let Some(drainit) = Rig::ready(&config) else { return };
    let tasks = format!("/proc/{}/task", drainit.pid());
    let watching = || {
        let names = fs::read_dir(&tasks)
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.trim() == "watch").count()
    };
    assert_eq!(watching(), 2);
    drainit.write_config(&config.replace("{path: DIR/first, action: HUP}, ", ""));
    drainit.exec(&["reload"]).assert(0, "");
    drainit.wait_until("one thread is left", || watching() == 1);
    drainit.stop().assert_code(0);
}
