//! Tests `drainit install`.

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use crate::support::*;

// holds: C807, C808
#[test]
fn the_copy_is_a_whole_drainit_and_nothing_else_is_replaced() {
    let install = |args: &[&str]| Rig::not_init().run_with(&[&["install"], args].concat());
    let directory = Rig::not_init();
    let at = |name: &str| directory.path(name).display().to_string();
    let path = at("drainit");
    install(&[&at("")]).assert_code(0).assert_line("drainit .* is installed as");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    let version = Command::new(&path).arg("--version").output().unwrap();
    assert!(version.status.success() && version.stdout.starts_with(b"drainit "));
    install(&[&path]).assert_code(0).assert_line("is this drainit already");

    fs::write(&path, "another program").unwrap();
    install(&[&path]).assert_code(1).assert_line("--force replaces it");
    assert_eq!(fs::read(&path).unwrap(), b"another program");
    install(&[&path, "--force"]).assert_code(0);
    install(&[&path]).assert_code(0).assert_line("is this drainit already");

    for mode in [0o600, 0o4755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        install(&[&path]).assert_code(0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    nix::unistd::mkfifo(&directory.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("nothing", directory.path("link")).unwrap();
    for (path, says) in [
        ("pipe", "left alone"),
        ("none/", "directory does not exist"),
        ("none/drainit", "directory does not exist"),
        ("link", "link to nothing"),
    ] {
        install(&[&at(path)]).assert_code(1).assert_line(says);
    }
    install(&["/dev/null", "--force"]).assert_code(1).assert_line("left alone");
    assert_eq!(fs::read_dir(directory.path("")).unwrap().count(), 3, "no unfinished file");
}

// holds: C807
#[test]
fn files_that_a_killed_install_left_are_removed_a_minute_later() {
    let directory = Rig::not_init();
    let root = directory.path("").display().to_string();
    let left = |name: &str, age: u64| {
        let file = fs::File::create(directory.path(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    let names = || {
        let entries = fs::read_dir(directory.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    // The first time, the copy is new. The second time, the copy is there already.
    for says in ["is installed as", "is this drainit already"] {
        left(".drainit.drainit.0123456789abcdef", 62);
        left(".drainit.drainit.1123456789abcdef", 5);
        left(".other.drainit.0123456789abcdef", 62);
        Rig::not_init().run_with(&["install", &root]).assert_code(0).assert_line(says);
        let young = [".drainit.drainit.1123456789abcdef", ".other.drainit.0123456789abcdef"];
        assert_eq!(names(), [young[0], young[1], "drainit"], "{says}");
    }
}
