//! The fuzz targets: each function passes bytes to code that reads input from outside. This code
//! must neither panic nor hang.
//!
//! `tests/fuzz` runs the targets under libFuzzer. The tests in `tests.rs` replay the corpus of
//! `tests/fuzz`, and then mutate this corpus with a generator of their own, which works with any
//! toolchain.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStringExt as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::Method;
use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, SimplexStream, WriteHalf, copy, sink,
};
use tokio::io::{Join, join, simplex};
use tokio::runtime::Builder;
use tokio::select;
use tokio::time::timeout;

use crate::control::connections::Caller;
use crate::control::testing::{CountingSupervisor, converse};
use crate::envoy::listeners::{ListenerList, Uncounted};
use crate::envoy::ready::XdsStats;
use crate::keys::Accounts;
use crate::keys::{Account, Address, User};
use crate::language::diagnostics::problems::Problems;
use crate::language::environment::Variables;
use crate::language::mask::masked;
use crate::language::source::Source;
use crate::load::{Diagnostic, Environment, Loaded, testing};
use crate::logging::split::{LONGEST_LINE, LineForm, Splitter};
use crate::os::Peer;
use crate::os::descendants::Stat;
use crate::os::notify_socket::NotifyMessage;
use crate::plan::Plan;
use drainit_advise::image::Image;
use drainit_advise::import::input::InputFile;
use drainit_advise::kubernetes::{Asked, check_manifest};
use drainit_config::testing::temp_dir::TempDir;

/// A fuzz target: it reads the bytes, and panics if drainit does something wrong.
pub type Target = fn(&[u8]);

/// The targets, by the name of their corpus.
pub const TARGETS: [(&str, Target); 16] = [
    ("accounts", accounts),
    ("args", args),
    ("compat", compat),
    ("config", config),
    ("control", control),
    ("env_file", env_file),
    ("envoy", envoy),
    ("exec", exec),
    ("expand", expand),
    ("http", http),
    ("import", import),
    ("logs", logs),
    ("notify", notify),
    ("overlay", overlay),
    ("pod", pod),
    ("proc", proc),
];

/// Separates the files of one input. No UTF-8 text contains this byte.
const NEXT: u8 = 0xFF;
/// A value that no message may show.
const SECRET: &str = "hunter2-hunter2";

/// Loads a config with every check, and shows its plan in every form.
fn config(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    shown(&testing::checked(&text, &[("HOST", "h")]));
    plan(testing::load(&[&text], &[("HOST", "h"), ("N", "3")]));
}

/// Loads up to three configs, each of which overlays the previous configs.
fn overlay(bytes: &[u8]) {
    let texts = bytes.splitn(3, |byte| *byte == NEXT).map(text).collect::<Option<Vec<_>>>();
    let texts = texts.unwrap_or_default();
    plan(testing::load(&texts.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
}

/// Shows the plan of a config in every form, or shows its problems.
fn plan(loaded: Result<Loaded, Vec<Diagnostic>>) {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(problems.iter().any(Diagnostic::is_error), "failed without an error");
            return shown(&problems);
        }
    };
    shown(&loaded.warnings);
    let plan = Plan::new(&loaded.config, &loaded.graph);
    let _ = crate::plan::text::text(&plan);
    let _ = crate::plan::mermaid::mermaid(&plan, "fuzz.yaml");
    serde_json::from_str::<serde_json::Value>(&crate::plan::json::json(&plan)).expect("JSON");
}

/// Checks that diagnostics do not contain control characters, because they are printed to
/// terminals.
fn shown(problems: &[Diagnostic]) {
    for problem in problems {
        assert!(!problem.message.contains('\n'), "{:?}", problem.message);
        let text = problem.to_string();
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(steers), "{text:?}");
    }
}

/// Expands `${…}` in a value and in a template.
fn expand(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let environment = environment(SECRET);
    let mut variables = Variables::new(&environment);
    variables.set_default("D", "${A}");
    variables.set_number(Some("7".to_owned()));
    let expanded = crate::language::expand::expand(&text, &variables);
    if let Ok(expanded) = &expanded {
        assert!(expanded.text.len() <= crate::language::expand::LONGEST.max(text.len()));
        assert!(expanded.unset.iter().all(|(_, at)| text[*at..].starts_with('$')));
    }
    let _ = crate::language::expand::check_syntax(&text);
    crate::language::expand::names(&text);
}

/// Reads an `env_file` as at the start of a process, and checks that no message shows a value.
fn env_file(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let source = Source::new("f", text);
    let messages = |token: &str| {
        let environment = environment(token);
        let mut variables = Variables::new(&environment);
        let read = crate::load::at_start::env_file(&source, &mut variables, &mut Vec::new());
        let rendered = crate::load::at_start::expand_template(&source, &variables);
        read.err().into_iter().chain(rendered.err().map(|bad| bad.message)).collect::<Vec<_>>()
    };
    for message in messages(SECRET) {
        // A message may quote the file, which may contain the text of the secret by chance. A
        // message that stays the same with another secret leaks nothing.
        let is_shown = message.contains(SECRET) && !messages("another").contains(&message);
        assert!(!is_shown, "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

/// Checks a manifest as `check --pod` does. The text behind the separator is the config.
fn pod(bytes: &[u8]) {
    const CONFIG: &str = include_str!("../examples/kubernetes/drainit.yaml");
    let mut parts = bytes.splitn(2, |byte| *byte == NEXT).map(text);
    let Some(Some(manifest)) = parts.next() else { return };
    let Some(config) = parts.next().unwrap_or_else(|| Some(CONFIG.to_owned())) else { return };
    let dir = TempDir::new();
    let (configs, image) =
        ([dir.write("0.yaml", config.as_bytes())], Image::new(Some(false), false));
    let here = &environment(SECRET);
    let (container, is_audit) = (None, false);
    let asked =
        Asked { configs: &configs, image: &image, container, is_audit, here, of_image: here };
    let checked = check_manifest(Source::new("pod.yaml", manifest), &asked);
    shown(&checked.diagnostics);
}

/// Imports a file of another program, and checks that the resulting config is YAML. The first byte
/// selects the format.
fn import(bytes: &[u8]) {
    use drainit_advise::import::Format::{Procfile, Supervisord};
    let Some((format, bytes)) = bytes.split_first() else { return };
    let Some(text) = text(bytes) else { return };
    let format = [Procfile, Supervisord][usize::from(format % 2)];
    match drainit_advise::import::convert(InputFile::new("f", &text), "f", format) {
        Ok(draft) => {
            let mut problems = Problems::default();
            let source = Source::new("draft", draft.text.clone());
            let root = crate::load::parse_source(&mut problems, source);
            assert!(root.is_some(), "{}\n{problems:?}", draft.text);
        }
        Err(problems) => shown(&problems),
    }
}

/// Splits the input into words that end with a NUL.
fn words(bytes: &[u8]) -> impl Iterator<Item = OsString> {
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()))
}

/// Parses drainit's own command line.
fn exec(bytes: &[u8]) {
    crate::cli::parse([OsString::from("drainit")].into_iter().chain(words(bytes)).collect());
}

/// Parses the command lines of tini and dumb-init.
fn compat(bytes: &[u8]) {
    let args: Vec<_> = words(bytes).collect();
    let _ = crate::compat::tini::parse("tini".as_ref(), "tini", &args);
    let _ = crate::compat::dumb_init::parse("dumb-init", &args);
}

/// Routes the arguments of the container.
fn args(bytes: &[u8]) {
    thread_local! {
        static CONFIG: crate::keys::Config = testing::config("
processes:
  a: {command: [a], args: {prefix: '--a.', refuse: [config, '-x']}}
  ab: {command: [a], args: {prefix: '--a.b.'}, scale: 2}
  none: {command: [a], args: {prefix: '--n'}, scale: 0}
");
    }
    let args: Vec<_> = words(bytes).filter_map(|word| word.into_string().ok()).collect();
    CONFIG.with(|config| match crate::load::args::route(config, &args) {
        Ok(routed) => assert_eq!(routed.len(), config.processes.len()),
        Err(refused) => drop(refused.to_string()),
    });
}

/// Serves a connection of the control server. The first two bytes select the caller and the size of
/// a read.
fn control(bytes: &[u8]) {
    let [caller, at_once, bytes @ ..] = bytes else { return };
    let caller = match caller % 4 {
        0 => Caller::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        1 => Caller::Tcp(IpAddr::V4(Ipv4Addr::BROADCAST)),
        2 => Caller::Stranger("no".to_owned()),
        _ => Caller::Socket(Peer { pid: 7, uid: 0 }),
    };
    let is_operator = matches!(caller, Caller::Socket(_));
    let supervisor = CountingSupervisor::new();
    let serve = |stream: Stream| converse(supervisor.clone(), caller, stream);
    let has_ended = poll(bytes, with_peer(bytes, *at_once, false, serve));
    let asked = supervisor.requests.borrow().len() + supervisor.signals.borrow().len();
    let asked = asked + supervisor.reloads.get() + supervisor.shutdowns.get();
    // A connection of an operator may stay open after its input, because a request can wait for an
    // operation. Every other connection must end.
    assert!(is_operator || has_ended, "never ends");
    assert!(is_operator || asked == 0, "an operation");
    assert!(is_operator || supervisor.drains.get() == 0, "a drain");
}

/// The time limit for an exchange whose answer is complete from the start. The limit is long enough
/// even on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Reads the answer of an HTTP server. The first byte selects the size of a read.
fn http(bytes: &[u8]) {
    const MOST: usize = 4096;
    let Some((at_once, bytes)) = bytes.split_first() else { return };
    let exchange = async |stream: Stream| {
        let address = Address::Unix("/x".into());
        let request = crate::http::build(&address, Method::GET, "/").expect("a valid path");
        let mut connection = crate::http::HttpConnection::over(stream).await.expect("a handshake");
        match connection.exchange(request, Some(MOST)).await {
            Ok(answer) => assert!(answer.body.len() <= MOST),
            Err(error) => drop(error.to_string()),
        }
    };
    // The task that drives the connection needs a runtime.
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let exchange = with_peer(bytes, *at_once, true, exchange);
    runtime.block_on(async { timeout(ENDS_WITHIN, exchange).await.expect("an end") });
}

/// A stream in memory.
type Stream = Join<ReadHalf<SimplexStream>, WriteHalf<SimplexStream>>;

/// Lets `talk` use a stream whose peer sends these bytes, whatever the peer receives. `at_once`
/// selects the size of a read. A server first waits for a byte of the request.
async fn with_peer<T>(
    bytes: &[u8],
    at_once: u8,
    is_server: bool,
    talk: impl AsyncFnOnce(Stream) -> T,
) -> T {
    let (reader, mut to_reader) = simplex(usize::from(at_once) * 16 + 1);
    let (mut from_writer, writer) = simplex(1 << 20);
    let sends = async {
        if is_server {
            let _ = from_writer.read_u8().await;
        }
        let _ = to_reader.write_all(bytes).await;
        let _ = to_reader.shutdown().await;
        let _ = copy(&mut from_writer, &mut sink()).await;
        pending().await
    };
    select! {
        biased;
        output = talk(join(reader, writer)) => output,
        () = sends => unreachable!("it never ends"),
    }
}

/// Polls a future that reads this input and needs no runtime. Returns whether it has ended.
fn poll(input: &[u8], future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    // The future may read a single byte in each poll, and may need another poll between two reads.
    (0..100 + 2 * input.len()).any(|_| future.as_mut().poll(&mut context).is_ready())
}

/// Reads the answers of Envoy's admin. The text behind the separator is the answer of `/listeners`.
fn envoy(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == NEXT);
    let body = parts.next().unwrap_or_default();
    let list = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let text = String::from_utf8_lossy(body);
    let uncounted = Uncounted {
        listeners: ["a".to_owned()].into(),
        managers: ["b".to_owned()].into(),
        ..Uncounted::default()
    };
    let _ = crate::envoy::stats::sample(body, &uncounted);
    let _ = XdsStats::parse(body).map(|stats| stats.missing());
    crate::envoy::stats::listener_names(&text);
    crate::envoy::preflight::of_server_info(body);
    crate::envoy::preflight::serves_clients(&list);
    if let Ok(dump) = serde_json::from_slice(body) {
        crate::envoy::listeners::parse(&dump, &ListenerList::new(&list));
    }
}

/// Parses a datagram of sd_notify(3).
fn notify(bytes: &[u8]) {
    let message = NotifyMessage::parse(bytes);
    let shown = message.status.as_ref().map(|status| masked(status).into_string());
    assert!(shown.is_none_or(|status| !status.contains(char::is_control)));
    let _ = message.to_string();
}

/// Parses `/proc/PID/stat` with a name that the process has chosen. The name must not change other
/// fields.
fn proc(bytes: &[u8]) {
    let _ = Stat::parse(bytes);
    let fields = b") R 7 8 0 0 -1 0 0 0 0 0 20 30 0 0 20 0 3 0 9000 0\n";
    let line = [b"42 (", bytes, fields].concat();
    let stat = Stat::parse(&line).expect("all fields");
    assert_eq!((stat.process.pid, stat.parent, stat.process.group), (42, 7, 8));
    assert!(!stat.process.name.contains(char::is_control));
    assert_eq!((stat.used, stat.process.started), (50, 9000));
}

/// Finds a `user` in `/etc/passwd` and `/etc/group`. The result never contains the id `u32::MAX`,
/// with which setresuid(2) changes nothing.
fn accounts(bytes: &[u8]) {
    let texts: Vec<_> =
        bytes.splitn(3, |byte| *byte == NEXT).map(String::from_utf8_lossy).collect();
    let [user, passwd, group] = &*texts else { return };
    if let Ok(Account::Found { user: User { uid, gid, groups }, .. }) =
        Accounts::of(passwd, group).find(user)
    {
        assert!(![&[uid, gid], &*groups].concat().contains(&u32::MAX), "{uid}:{gid} {groups:?}");
    }
}

/// Splits the output of a process, and checks that no byte is lost, whatever the size of the reads.
/// The first byte selects the size of a read, and [`NEXT`] stands for a long part of a line.
fn logs(bytes: &[u8]) {
    let Some((at_once, bytes)) = bytes.split_first() else { return };
    let mut output = Vec::new();
    let mut longs = 0;
    for byte in bytes {
        match *byte {
            // Two long parts in one line are enough to split the line.
            NEXT if longs < 2 => {
                longs += 1;
                output.extend_from_slice("é".repeat(LONGEST_LINE / 3).as_bytes());
            }
            other => output.push(other),
        }
    }
    let split = |at_once: usize| {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for part in output.chunks(at_once) {
            splitter.feed(part, |line| lines.push(line.to_vec()));
        }
        splitter.finish(|line| lines.push(line.to_vec()));
        lines
    };
    let lines = split(output.len().max(1));
    assert!(lines == split(usize::from(*at_once) * 97 + 1), "the cut matters");
    assert!(lines.iter().all(|line| line.len() <= LONGEST_LINE));
    assert!(lines.concat() == output.split(|byte| *byte == b'\n').collect::<Vec<_>>().concat());
    if longs == 0 {
        let unended = usize::from(output.last().is_some_and(|byte| *byte != b'\n'));
        assert_eq!(lines.len(), output.iter().filter(|byte| **byte == b'\n').count() + unended);
    }
    let form = LineForm::json("p", crate::types::Stream::Stdout);
    for line in &lines {
        let mut out = Vec::new();
        form.write("2026-11-20T07:04:12.123Z", line, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["message"].as_str(), Some(&*String::from_utf8_lossy(line)));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}

/// The text of a file, if [`Source`] accepts it.
fn text(bytes: &[u8]) -> Option<String> {
    crate::language::source::text(bytes.to_vec()).ok()
}

fn environment(token: &str) -> Environment {
    [("A", "a"), ("EMPTY", ""), ("TOKEN", token)].into_iter().collect()
}
