//! Tests the private socket of a drainit that is not PID 1.

use crate::support::namespace::UNSHARE;
use crate::support::*;

/// Runs a shell script as PID 1 of a new PID namespace. `$drainit` starts drainit as user 10001,
/// and `D` is drainit's program.
fn in_namespace(script: &str) -> Option<Said> {
    if !namespace::is_possible() {
        return None;
    }
    let dir = TempDir::for_everybody();
    let at = |name: &str| dir.path(name).display().to_string();
    for program in [env!("CARGO_BIN_EXE_drainit"), child().to_str()?] {
        assert!(Command::new("cp").args([program, &at("")]).status().ok()?.success());
    }
    dir.write("other.yaml", format!("processes: {{a: {{command: [{}, a]}}}}\n", at("child")));
    for path in ["", "other.yaml"] {
        assert!(Command::new("chmod").args(["755", &at(path)]).status().ok()?.success());
    }
    let mut command = Command::new(UNSHARE[0]);
    command.args(&UNSHARE[1..]).args(["sh", "-ec", script]).current_dir("/").env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("D", at("drainit")).env("CONFIG", at("other.yaml"));
    command.env("drainit", "setpriv --reuid 10001 --regid 10001 --clear-groups");
    Some(Said::of(command.output().ok()?))
}

/// Waits until the drainit that the script started last is ready.
const READY: &str =
    "$D health --wait 20s --socket @drainit/$(readlink /proc/self/ns/pid | tr -dc 0-9)/$!;";

// holds: C120, C129
#[test]
fn the_private_socket_works_without_a_config_at_a_usual_place() {
    let script = format!(
        "$D run -c $CONFIG >/dev/null 2>&1 & {READY} $D status; $D health; $D stop a; kill $!; \
         wait $!; $D status || echo code $?; $D drain || $D health || true"
    );
    let Some(said) = in_namespace(&script) else { return };
    said.assert(0, "running, ready").assert(0, "\nready\n").assert(0, "code 1");
    let nobody =
        "no drainit runs here; run this in its container, or name its socket with --socket\n";
    assert_eq!(said.stderr.matches(nobody).count(), 2, "{}", said.stderr);
    assert!(said.stdout.ends_with(nobody), "{}", said.stdout);
}

#[test]
fn drainits_that_share_a_namespace_are_listed_with_sockets_and_configs() {
    let script = format!(
        "$D run -c $CONFIG >/dev/null 2>&1 & {READY} first=$!; \
         $D run --config=$CONFIG >/dev/null 2>&1 & {READY} \
         $D status || true; echo $first $! $CONFIG; kill $first $!; wait"
    );
    let Some(said) = in_namespace(&script) else { return };
    let mut words = said.stdout.split_whitespace().filter(|word| *word != "ready");
    let [first, second, config] = [(); 3].map(|()| words.next().unwrap());
    for pid in [first, second] {
        let listed = format!("/{pid}` for pid {pid} ({config})");
        assert!(said.stderr.contains(&listed), "no {listed}: {}", said.stderr);
    }
    said.assert(0, "several drainits run here; choose one: `--socket @drainit/");
}

// holds: C1058
#[test]
fn root_in_another_container_reaches_a_drainit_of_another_user_by_a_path() {
    // The command runs in a PID namespace of its own, and so does not see drainit's pid.
    let script = "
        s=$(mktemp -d); chmod 777 $s
        { echo \"control: {socket: $s/c.sock}\"; cat $CONFIG; } > $s/c.yaml
        $drainit $D run -c $s/c.yaml >/dev/null 2>&1 &
        $D health --wait 20s --socket $s/c.sock
        elsewhere() { unshare --pid --fork --mount-proc $D \"$@\" --socket $s/c.sock; }
        elsewhere status
        chmod 755 $s; elsewhere status || echo code $?
        chown 10001 $s; elsewhere shutdown; wait; rm -r $s";
    let Some(said) = in_namespace(script) else { return };
    said.assert(0, "running, ready").assert(0, "code 1");
    let refused = "the user 10001 answers, who is neither root, nor may write to the directory of \
                   the socket";
    assert_eq!(said.stderr.matches(refused).count(), 1, "{}", said.stderr);
    assert_eq!(said.stdout.matches("running, ready").count(), 1, "{}", said.stdout);
}
