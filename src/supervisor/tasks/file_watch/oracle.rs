//! Plays a process whose watched file changes at any time, also while a start or a reload reads the
//! file, and back. The core and the task of the file are real. The thread that looks at the file,
//! the process and the config are models.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::yield_now;

use super::*;
use crate::core::action::Action;
use crate::core::event::{Event, Request};
use crate::core::machine::Machine;
use crate::core::note::Note;
use crate::load::testing::load;
use crate::local_task;
use crate::logging::Output;
use crate::logging::subscriber::OwnLines;
use crate::os::fingerprint::Asked;
use crate::testing::block_on;
use crate::testing::random::Random;
use crate::types::{End, ProcessId, Time};

/// A second, in ticks. The thread looks once a second, and reads a file that has been quiet for a
/// second.
const SECOND: u64 = 10;
/// From now on, nobody writes.
const QUIET: u64 = 150;
const END: u64 = 300;
/// If somebody has written to the file so shortly before a start, or until the start is over,
/// drainit may not know what the start has read.
const UNSURE: u64 = 3 * SECOND;
/// The longest time from the read until a look has shown that nobody has written during the start.
const READY: u64 = 6;
const WEB: ProcessId = ProcessId(0);

/// The thread of [`fingerprint::follow`]. The metadata is a version.
struct Thread {
    began: std::time::Instant,
    seen: fingerprint::Seen<u64>,
    next: u64,
    looks: UnboundedSender<WatchReport>,
    asks: Receiver<Asked>,
}

#[derive(Default)]
struct File {
    content: u64,
    version: u64,
    written: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Due {
    Event(Event),
    /// A start or a reload begins.
    Begins,
    /// The process or the reload reads the file.
    Reads,
}

struct Play {
    now: u64,
    random: Random,
    file: File,
    thread: Thread,
    watches: FileWatches,
    action: WatchAction,
    machine: Machine,
    due: Vec<(u64, Due)>,
    /// The content that the process or the last reload has read; `None` while it is about to read.
    has_read: Option<u64>,
    /// The times at which the last start or reload has begun, and has read the file.
    began: u64,
    read_at: u64,
    /// Whether the thread has seen other content since.
    is_other: bool,
    /// The reload that waits for a look, if there is such a reload.
    looking: Option<Rc<Cell<bool>>>,
    is_wanted: bool,
    story: String,
}

fn content(number: u64) -> Content {
    Content { fingerprint: Some(Fingerprint(number)), unreadable: None }
}

impl File {
    fn write(&mut self, now: u64, content: u64) {
        self.content = content;
        self.version += 1;
        self.written.push(now);
    }
}

impl Play {
    fn write(&mut self) {
        let content = self.random.below(3);
        self.file.write(self.now, content);
        self.tell(&format!("content {content}"));
    }

    fn tell(&mut self, what: &str) {
        self.story += &format!("{}: {what}\n", self.now);
    }

    fn after(&mut self, most: u64, due: Due) {
        let at = self.now + self.random.below(most);
        self.due.push((at, due));
    }

    /// The body of the loop of the thread.
    fn look(&mut self) {
        let asked = self.thread.asks.try_recv().ok();
        if asked.is_none() && self.now < self.thread.next {
            return;
        }
        let at = self.thread.began + Duration::from_millis(100 * self.now);
        if self.thread.seen.is_changed(at, self.file.version) {
            let _ = self.thread.looks.send(WatchReport::Changed);
            self.tell("the thread sees a change");
        }
        if let Some(answer) = asked {
            let _ = self.thread.looks.send(WatchReport::Answer(answer));
        }
        // The file may change between the look and the read, and after the read.
        let file = RefCell::new(&mut self.file);
        let changes = [(); 2].map(|()| self.now < QUIET && self.random.one_in(4));
        let other = self.random.below(3);
        let mut read = 0;
        let content = || {
            let mut file = file.borrow_mut();
            if changes[0] {
                file.write(self.now, other);
            }
            read = file.content;
            if changes[1] {
                file.write(self.now, 2 - other);
            }
            content(read)
        };
        let quiet = self.thread.seen.quiet(at, content, || file.borrow().version);
        if let Some(content) = quiet {
            self.is_other |= self.has_read != Some(read);
            self.tell(&format!("the thread reads {read}"));
            let _ = self.thread.looks.send(WatchReport::Quiet(content));
        }
        self.thread.next = self.now + SECOND;
    }

    fn handle(&mut self, event: Event) {
        for action in self.machine.handle(Time(Duration::from_millis(100 * self.now)), event) {
            match action {
                Action::EndLeftovers { process, .. } => {
                    self.after(1, Due::Event(Event::Leftovers { process, any: false }));
                }
                Action::Spawn(_) => self.after(2, Due::Begins),
                Action::Stop { .. } => {
                    let (end, remains) = (End::Code(0), false);
                    self.after(4, Due::Event(Event::Exited { process: WEB, end, remains }));
                }
                Action::Serves(_) => self.watches.on_read(|_| true),
                Action::Note(Note::FileChanged { .. }) => self.check_reason(),
                _ => {}
            }
        }
    }

    /// No start and no reload is needless.
    fn check_reason(&mut self) {
        self.tell("drainit acts");
        let unsure = self.began.saturating_sub(UNSURE)..=self.read_at + READY;
        let is_unsure = self.file.written.iter().any(|at| unsure.contains(at));
        assert!(self.is_other || is_unsure, "needless:\n{}", self.story);
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Event(event) => self.handle(event),
            Due::Begins => {
                self.tell("a start or a reload begins");
                self.watches.mark_read(|_| true);
                (self.began, self.has_read, self.is_other) = (self.now, None, false);
                self.after(4, Due::Reads);
            }
            Due::Reads => {
                self.tell(&format!("content {} is read", self.file.content));
                (self.has_read, self.read_at) = (Some(self.file.content), self.now);
                if self.action == WatchAction::Reload {
                    self.looking = None;
                    self.watches.on_read(|_| true);
                } else {
                    self.due.push((self.now + 1, Due::Event(Event::Spawned(WEB))));
                    self.due.push((self.now + 2, Due::Event(Event::Ready(WEB))));
                }
            }
        }
    }

    /// As [`Step::on_file`](crate::supervisor::event_loop::Step).
    fn message(&mut self, FileNews { seen, .. }: FileNews) {
        if seen == Seen::Changed {
            drop(self.watches.look(&|_| true));
        }
        match (self.action, seen) {
            (WatchAction::Reload, Seen::Quiet { is_new: true }) => {
                self.check_reason();
                self.is_wanted = true;
            }
            (WatchAction::Reload, _) => {}
            (_, Seen::Changed) => self.handle(Event::FileSeen { process: WEB, watch: 0 }),
            (_, Seen::Quiet { is_new }) => {
                self.handle(Event::FileQuiet { process: WEB, watch: 0, is_new });
            }
        }
    }

    /// Begins a wanted reload, after a look at the file.
    fn reload(&mut self) {
        match &self.looking {
            None if self.is_wanted => {
                self.is_wanted = false;
                let is_over = Rc::new(Cell::new(false));
                self.looking = Some(Rc::clone(&is_over));
                let look = self.watches.look(&|_| true);
                local_task::spawn(async move {
                    look.await;
                    is_over.set(true);
                });
            }
            Some(is_over) if is_over.replace(false) => self.happens(Due::Begins),
            _ => {}
        }
    }

    async fn tick(&mut self, inbox: &mut UnboundedReceiver<FileNews>) {
        while self.now < QUIET && self.random.one_in(8) {
            self.write();
        }
        self.look();
        // An operator restarts the process, or reloads the config.
        if self.now < QUIET && self.random.one_in(40) {
            match self.action {
                WatchAction::Reload => self.is_wanted = true,
                _ => self.handle(Event::Requested { process: WEB, request: Request::Restart }),
            }
        }
        for _ in 0..4 {
            yield_now().await;
        }
        while self.random.below(3) > 0
            && let Ok(message) = inbox.try_recv()
        {
            self.message(message);
        }
        // The beginning of a reload is a message, too.
        if inbox.is_empty() {
            self.reload();
        }
        let now = self.now;
        let due: Vec<_> = self.due.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, due)| self.happens(due));
        self.handle(Event::Tick);
        self.now += 1;
    }
}

async fn play(seed: u64, action: WatchAction) {
    let random = Random::of_seed(seed);
    let text = "processes: {web: {command: [x], readiness: {file: /f}, watch: [{path: /w, action: restart}]}}";
    let loaded = load(&[text], &[]).unwrap();
    let machine = Machine::new(Arc::new(loaded.config.spec(&loaded.graph)), Time::default());
    let watch = Watch { action, ..loaded.config.processes[0].watch[0].clone() };
    let (sender, mut inbox) = unbounded_channel();
    let tell: Tell<_> = Rc::new(move |news| drop(sender.send(news)));
    let (looks_sender, looks) = unbounded_channel();
    let (asks_sender, asks) = std::sync::mpsc::sync_channel(16);
    let state = Cell::new(PathState::Quiet);
    let shared = Rc::new(SharedPath { asks: RefCell::new(asks_sender), state });
    let known = Some(Fingerprint(0));
    let (name, path_shared) = ("web".to_owned(), Rc::clone(&shared));
    let task = FileWatch {
        name: name.clone(),
        watch: watch.clone(),
        looks,
        shared,
        known,
        error: None,
        is_asked: false,
        hangs: false,
        silence: SILENCE,
    };
    let task = LocalTask::begin(task.run(Rc::clone(&tell)));
    let tasks = vec![((name, watch), Task { _task: task, shared: path_shared })];
    let began = std::time::Instant::now();
    let mut seen = fingerprint::Seen::new(0, began);
    assert!(seen.quiet(began, || content(0), || 0).is_some());
    let thread = Thread { began, seen, next: SECOND, looks: looks_sender, asks };
    let mut play = Play {
        now: 0,
        random,
        file: File::default(),
        thread,
        watches: FileWatches { tasks, tell },
        action,
        machine,
        due: Vec::new(),
        has_read: Some(0),
        began: 0,
        read_at: 0,
        is_other: false,
        looking: None,
        is_wanted: false,
        story: format!("seed {seed}, {action:?}\n"),
    };
    play.handle(Event::Start);
    while play.now < END {
        play.tick(&mut inbox).await;
    }
    assert_eq!(play.has_read, Some(play.file.content), "an update is lost:\n{}", play.story);
}

#[test]
fn the_last_content_is_read_and_no_start_or_reload_is_needless() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        for seed in 0..500 {
            for action in [WatchAction::Restart, WatchAction::Reload] {
                play(seed, action).await;
            }
        }
    });
}

/// Watches a file that never changes, for at least 20 times the silence after which drainit asks the
/// thread whether it still looks. Returns drainit's lines. `answers` says whether the thread answers
/// the request with this number.
fn quiet(answers: impl Fn(u32) -> bool) -> String {
    let (mut lines, end) = std::io::pipe().unwrap();
    let (_out, out_end) = std::io::pipe().unwrap();
    let own = OwnLines::new(Output::new(out_end, end), tracing::Level::INFO);
    let watching = async {
        let silence = Duration::from_millis(20);
        let (looks_sender, looks) = unbounded_channel();
        let (asks_sender, asks) = std::sync::mpsc::sync_channel(16);
        let state = Cell::new(PathState::Quiet);
        let shared = Rc::new(SharedPath { asks: RefCell::new(asks_sender), state });
        let watch = Watch { path: "/w".into(), action: WatchAction::Restart };
        let (name, known) = ("web".to_owned(), Some(Fingerprint(0)));
        let (error, is_asked, hangs) = (None, false, false);
        let task = FileWatch { name, watch, looks, shared, known, error, is_asked, hangs, silence };
        let tell: Tell<_> = Rc::new(|_| panic!("a file that does not change is no news"));
        let _task = LocalTask::begin(task.run(tell));
        let (mut asked, began) = (0, Instant::now());
        while began.elapsed() < 20 * silence || asked < 2 {
            while let Ok(ask) = asks.try_recv() {
                asked += 1;
                if answers(asked) {
                    looks_sender.send(WatchReport::Answer(ask)).unwrap();
                }
            }
            sleep(Duration::from_millis(1)).await;
            if !answers(1) && began.elapsed() >= 20 * silence {
                break;
            }
        }
    };
    tracing::subscriber::with_default(own, || block_on(watching));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut lines, &mut text).unwrap();
    text
}

#[test]
fn a_long_quiet_gives_no_line_and_a_thread_that_hangs_gives_a_line() {
    assert_eq!(quiet(|_| true), "");
    let text = quiet(|_| false);
    let line =
        "web: /w has not been read within 20ms; drainit sees no change of it before it has been\n";
    assert!(text.ends_with(line) && text.lines().count() == 1, "{text}");
}
