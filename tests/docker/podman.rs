//! The Pod manifests of the examples, run by `podman kube play`.

use std::thread::sleep;

use testkit::docker::{Container, LABEL, docker, succeed};

use super::GREETING;
use crate::config::pod::rendered;
use crate::support::docker_gateway::{examples, gateway_images};
use crate::support::*;

#[test]
fn podman_drains_the_pods_of_the_manifests() {
    // slirp4netns gives Podman a network without a bridge.
    if !["podman", "slirp4netns"].into_iter().all(is_installed)
        || !is_root_for("the network of a pod")
    {
        return;
    }
    let Some(image) = Image::new() else { return };
    let manifest =
        |name: &str| fs::read_to_string(checkout().join("examples/kubernetes").join(name)).unwrap();
    let cases = [
        ("deployment", manifest("deployment.yaml")),
        ("prestop", manifest("deployment-prestop.yaml")),
        ("chart", rendered()),
    ];
    in_parallel(cases, |(name, manifest)| {
        let pod = Pod::play(&image, name, &manifest);
        let mut client = Client::new(pod.outside);
        assert_eq!(client.get(), (GREETING.to_owned(), false));
        let began = Instant::now();
        let took = thread::scope(|scope| {
            let stopping = scope.spawn(|| {
                // Before version 5.5, `podman pod stop` takes the network away first, so the test
                // stops the container.
                succeed("podman", &["stop", "--time", "45", pod.container.id()]);
                began.elapsed()
            });
            // The test waits for an answer that closes the connection, and not for a line of the
            // log: `podman logs --follow` ends at once while Podman stops the container.
            while !client.get().1 {
                sleep(ms(20));
            }
            let other = Client::new(pod.outside).get();
            assert_eq!(other.0, GREETING, "nobody is served during the drain");
            stopping.join().unwrap()
        });
        let report = ["exit code 0: SIGTERM received", "drain router: ", " completed, 0 cut"];
        let logs = pod.container.assert_ended(&report);
        assert!(took >= Duration::from_secs(5), "{name} did not wait for `min`: {took:?}\n{logs}");
        assert!(!logs.contains("killed"), "{name}:\n{logs}");
    });
}

/// A pod, removed on drop.
struct Pod {
    name: String,
    container: Container,
    /// The address at which the host reaches the pod's listener.
    outside: SocketAddr,
    _config: TempDir,
}

impl Pod {
    /// Starts a pod of this manifest, and waits until it is ready.
    #[track_caller]
    fn play(image: &Image, name: &str, manifest: &str) -> Self {
        let name = format!("drainit-test-{}-{name}", std::process::id());
        let outside = free_address();
        let manifest = adapt(manifest, &name, &image.0, outside);
        let dir = TempDir::for_everybody();
        dir.write("pod.yaml", manifest);
        // Podman would raise the limits of a container, which not every machine permits.
        let limits = r#"default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]"#;
        dir.write("containers.conf", format!("[containers]\n{limits}\nlog_driver = 'k8s-file'\n"));
        let mut play = Command::new("podman");
        play.args(["kube", "play", "--network=slirp4netns"]).arg(dir.path("pod.yaml"));
        let play = play.env("CONTAINERS_CONF", dir.path("containers.conf")).output().unwrap();
        let pod = Self {
            container: Container::of_podman(format!("{name}-pod-0-gateway")),
            name: format!("{name}-pod-0"),
            outside,
            _config: dir,
        };
        assert!(play.status.success(), "{}", String::from_utf8_lossy(&play.stderr));
        pod.container.await_line(said::ALL_READY);
        pod
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let remove = ["pod", "rm", "--force", "--time=0", &self.name];
        let _ = Command::new("podman").args(remove).output();
        let _ = Command::new("podman").args(["volume", "rm", "--force", &self.name]).output();
    }
}

/// Makes the changes for Podman that docs/platforms.md names, and sets names and ports that nothing
/// else uses.
fn adapt(manifest: &str, name: &str, image: &str, outside: SocketAddr) -> String {
    let port = format!("containerPort: 8080, hostIP: 127.0.0.1, hostPort: {}", outside.port());
    let mut adapted = String::new();
    let mut lines = manifest.lines();
    while let Some(line) = lines.next() {
        match line.trim() {
            "livenessProbe:" => drop(lines.next()),
            _ if line.starts_with("  name: ") => adapted += &format!("  name: {name}\n"),
            _ => adapted += &format!("{line}\n"),
        }
    }
    for (from, to) in [
        ("gateway:1", image),
        ("replicas: 2", "replicas: 1"),
        ("{name: run, ", &format!("{{name: {name}-pod-0, ")),
        ("- name: run\n", &format!("- name: {name}-pod-0\n")),
        ("{name: http, containerPort: 8080}", &format!("{{name: http, {port}}}")),
        // Removed, because Podman would publish every port of the container.
        ("            - {name: control, containerPort: 9902}\n", ""),
    ] {
        assert!(adapted.contains(from), "no {from:?} in:\n{manifest}");
        adapted = adapted.replace(from, to);
    }
    adapted
}

/// An image of Podman, removed on drop.
struct Image(String);

impl Image {
    /// Adds the config of the manifests to the image of the gateway, with the Policy Engine of the
    /// examples.
    fn new() -> Option<Self> {
        let gateway = gateway_images()?;
        let dir = TempDir::for_everybody();
        fs::copy(examples().join("policy-engine"), dir.path("policy-engine")).unwrap();
        fs::copy(checkout().join("examples/kubernetes/drainit.yaml"), dir.path("drainit.yaml"))
            .unwrap();
        let envoy = include_str!("../fixtures/docker-envoy.yaml").replace("10000", "8080").replace(
            "socket_address: {address: 0.0.0.0, port_value: 9901}",
            "pipe: {path: /run/gateway/admin.sock, mode: 384}",
        );
        dir.write("envoy.yaml", envoy);
        fs::create_dir(dir.path("run")).unwrap();
        // Podman gives an `emptyDir` the owner that the directory has in the image.
        dir.write(
            "Dockerfile",
            format!(
                "FROM {}\nCOPY policy-engine /app/\nCOPY drainit.yaml /etc/\n\
                COPY envoy.yaml /etc/envoy/\nCOPY --chown=10001:10001 run /run/gateway\n",
                gateway.production
            ),
        );
        let built = docker(&["build", "--quiet", "--label", LABEL, dir.root().to_str().unwrap()]);
        // Importing a single layer takes a tenth of the time of `podman load`, which loads all
        // layers.
        let container = Container::of(docker(&["create", "--label", LABEL, &built]));
        let mut export = Command::new("docker");
        let mut export =
            export.args(["export", container.id()]).stdout(Stdio::piped()).spawn().unwrap();
        let name = format!("localhost/drainit-test-pod:{}", std::process::id());
        let mut import = Command::new("podman");
        import.args(["import", "--change=USER 10001:10001", "-", &name]);
        let import = import.stdin(export.stdout.take().unwrap()).output().unwrap();
        let exported = export.wait().unwrap().success();
        assert!(exported && import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        Some(Self(name))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("podman").args(["rmi", "--force", &self.0]).output();
    }
}
