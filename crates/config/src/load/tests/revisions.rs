//! Tests that all files of a config are of one revision of a volume.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::load::control;
use crate::load::load as load_files;

// holds: C930
#[test]
fn no_config_is_a_mixture_of_two_revisions() {
    let dir = TempDir::new();
    let command = "[c, '${V:-}', {join: [{file: part}]}]";
    for version in ["1", "2"] {
        let file =
            |name: &str, text: &str| drop(dir.file(&format!("..{version}/{name}"), 0o644, text));
        let process =
            format!("{{command: {command}, env_file: env, environment: {{A: '{version}'}}}}");
        file(
            "1.yaml",
            &format!("control: {{socket: /run/{version}}}\nprocesses: {{a: {process}}}\n"),
        );
        file("2.yaml", &format!("processes: {{a: {{environment: {{B: '{version}'}}}}}}\n"));
        file("part", version);
        file("env", &format!("E={version}\n"));
    }
    for name in ["1.yaml", "2.yaml", "part", "env"] {
        symlink(format!("..data/{name}"), dir.path(name)).unwrap();
    }
    symlink("..1", dir.path("..data")).unwrap();
    let paths = [dir.path("1.yaml"), dir.path("2.yaml")];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in ["..2", "..1"].into_iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                symlink(version, dir.path("..new")).unwrap();
                std::fs::rename(dir.path("..new"), dir.path("..data")).unwrap();
            }
        });
        let texts: Vec<_> = (0..300)
            .map(|round| {
                let paths = if round % 2 == 0 { &paths[..] } else { &[dir.root().to_owned()] };
                let found = control::find(paths, &Environment::default()).control;
                let loaded = load_files(paths, &Environment::default());
                let text = loaded.map(|loaded| {
                    let process = &loaded.config.processes[0];
                    format!("{} {:?}", process.command[2], variables(process))
                });
                (text, found.is_ok())
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for (text, is_found) in texts {
            let text = text.unwrap_or_else(|problems| panic!("{problems:?}"));
            let whole = ["1", "2"].map(|it| format!("{it} [\"E={it}\", \"A={it}\", \"B={it}\"]"));
            assert!(whole.contains(&text) && is_found, "{text}");
        }
    });
}
