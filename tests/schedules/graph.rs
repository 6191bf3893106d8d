//! Random graphs of processes that misbehave, and random schedules of requests and faults.

use drainit_config::testing::random::Random;

/// The `stop_grace_period` of every process, in milliseconds.
pub(crate) const PATIENT: u64 = 1000;

/// A schedule changes a definition fewer times than this.
const MOST_CHANGES: usize = 10;

/// A process of a config, named `pN`. The process may start `pN-rest`, in its process group, and
/// `pN-daemon`. `pN-main` may become its main process, and may have a process group of its own, with
/// `pN-kin`. Its hooks are `pN-pre_start`, `pN-pre_stop` and `pN-post_stop`.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// The indices of the processes on which this process depends.
    pub(crate) needs: Vec<usize>,
    /// The number of changes of the definition so far.
    pub(crate) generation: u64,
    steps: Vec<String>,
    keys: String,
    pub(crate) is_watched: bool,
    /// Whether `pN-main` becomes the main process.
    pub(crate) hands_over: bool,
    /// How many events a process records at least before drainit finds it ready.
    pub(crate) before_ready: usize,
}

#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) processes: Vec<Process>,
    /// Whether the grace period is too short for all steps of the shutdown.
    pub(crate) is_hasty: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// `drainit start`, `stop` or `restart` of a process. The schedule does not wait for the
    /// command's end.
    Request(&'static str, usize),
    /// Runs `drainit drain`. The schedule does not wait for the command's end.
    Drain,
    /// Runs `drainit kill`.
    Kill(usize),
    /// Changes some definitions, and runs `drainit reload`.
    Reload(Vec<usize>),
    /// Writes the watched file of a process.
    Write(usize, char),
}

#[derive(Debug)]
pub(crate) struct Schedule {
    /// How many processes have started when the schedule begins.
    pub(crate) starts: usize,
    /// The acts of the schedule, each after a pause in milliseconds.
    pub(crate) acts: Vec<(u64, Act)>,
    /// Whether the schedule then waits until everything has settled.
    pub(crate) settles: bool,
    /// The pause before SIGTERM, in milliseconds.
    pub(crate) pause: u64,
    /// The pause between SIGTERM and a second stop signal.
    pub(crate) hurry: Option<u64>,
}

/// A peculiarity of a process. A graph has only some traits, and many of its processes have these
/// traits, so that rare combinations occur.
#[derive(Clone, Copy)]
enum Trait {
    Slow,
    Rest,
    Daemon,
    Serves,
    Overlaps,
    Hook,
    IsStopped,
    Ends,
    Watched,
    Lingers,
    Ignores,
    OtherSignal,
    HandsOver,
}

const REPLACED: u64 =
    1 << Trait::Rest as u8 | 1 << Trait::Overlaps as u8 | 1 << Trait::Lingers as u8;

/// Chooses the traits of processes.
struct Traits<'a> {
    random: &'a mut Random,
    of_graph: u64,
}

impl Traits<'_> {
    fn has(&mut self, one: Trait) -> bool {
        self.of_graph >> (one as u8) & 1 == 1 && !self.random.one_in(4)
    }

    fn process(&mut self, number: usize) -> Process {
        let name = format!("p{number}");
        let signal = match self.has(Trait::OtherSignal) {
            true => ["INT", "USR1"][self.random.below(2) as usize],
            false => "TERM",
        };
        let path = format!("DIR/{name}.sock");
        let mut steps = Vec::new();
        // Nobody listens on the second path. It matters when drainit compares paths.
        let mut keys = format!("stop_signal: {signal}, sockets: ['{path}', '{path}.none'], ");
        let is_watched = self.has(Trait::Watched);
        if is_watched {
            // A reload that changes the process watches another file.
            steps.push(format!("show=DIR/{name}.GENERATION.watched"));
            keys +=
                &format!("watch: [{{path: 'DIR/{name}.GENERATION.watched', action: restart}}], ");
        }
        let reaction = self.reaction(signal);
        if self.has(Trait::Slow) {
            steps.push(format!("sleep={}", self.random.below(400)));
        }
        let rest_serves = !self.random.one_in(3);
        if self.has(Trait::Rest) {
            let served = if rest_serves { format!("share={path},") } else { String::new() };
            steps.push(format!("spawn={name}-rest,{served}{}", self.member(signal)));
        }
        if self.has(Trait::Daemon) {
            // A restart sends the daemon the stop signal of its process, and a shutdown SIGTERM.
            let own = self.member(signal);
            let member = own.replace(&at_once("TERM"), "on=TERM:say:word");
            let at_end = at_end(signal, &own).map_or(String::new(), |at_end| format!("{at_end},"));
            steps.push(format!("daemon={name}-daemon,{at_end}{member}"));
        }
        if !rest_serves && self.has(Trait::Serves) {
            steps.push(format!("share={path}"));
        }
        let serves = steps.iter().position(|step| step.contains("share="));
        // Before its first step, a process records two events.
        let mut before_ready = 0;
        let hands_over = self.has(Trait::HandsOver);
        match (self.random.below(3), serves) {
            _ if hands_over => {
                before_ready = steps.len() + 2;
                // If `pN-main` ends first, its `pN-kin` outlives it.
                let (group, end) = match self.random.below(3) {
                    0 => {
                        let kin = self.reaction(signal);
                        let after = self.random.below(800);
                        (format!("group,spawn={name}-kin;{kin},"), format!("sleep={after},exit=0,"))
                    }
                    1 => ("group,".to_owned(), String::new()),
                    _ => (String::new(), String::new()),
                };
                let main = format!("{group}notify=MAINPID=OWN,notify=READY=1,{end}{reaction}");
                steps.push(format!("spawn={name}-main,{main}"));
                keys += "readiness: {notify: true}, ";
            }
            (0, _) => {
                before_ready = steps.len() + 2;
                steps.push("notify=READY=1".to_owned());
                keys += "readiness: {notify: true}, ";
            }
            (1, Some(place)) => {
                before_ready = place + 2;
                keys += &format!("readiness: {{unix: '{path}'}}, ");
            }
            _ => {}
        }
        if !keys.contains("unix:") && self.has(Trait::Overlaps) {
            keys += "update: start-first, ";
        }
        if !self.random.one_in(3) {
            keys += &format!("log: {{file: 'DIR/{name}.GENERATION.log'}}, ");
        }
        if self.has(Trait::Hook) {
            let hook = ["pre_start", "pre_stop", "post_stop"][self.random.below(3) as usize];
            keys += &format!("hooks: {{{hook}: [CHILD, {name}-{hook}, 'audit=0', 'exit=0']}}, ");
        }
        steps.push("lines=3,word".to_owned());
        if self.has(Trait::Ends) {
            steps.push(format!("sleep={}", self.random.below(1200)));
            steps.push(format!("exit={}", self.random.below(3)));
            keys += ["", "restart: always, ", "restart: on-failure:1, ", "on_exit: ignore, "]
                [self.random.below(4) as usize];
        } else if reaction == at_once(signal) && self.has(Trait::IsStopped) {
            steps.push("die=STOP".to_owned());
        }
        steps.push(reaction);
        let needs = (0..number).filter(|_| self.random.one_in(3)).collect();
        Process { name, needs, generation: 0, steps, keys, is_watched, hands_over, before_ready }
    }

    /// The reaction of a process that is asked to stop.
    fn reaction(&mut self, signal: &str) -> String {
        match (self.has(Trait::Lingers), self.has(Trait::Ignores)) {
            (_, true) if self.random.one_in(2) => format!("on={signal}:ignore"),
            (true, _) if !self.random.one_in(3) => format!("on={signal}:linger:{}", PATIENT / 3),
            _ => at_once(signal),
        }
    }

    /// The steps of `pN-rest` or `pN-daemon`, which may stop itself by SIGSTOP.
    fn member(&mut self, signal: &str) -> String {
        let reaction = self.reaction(signal);
        let is_stopped = reaction == at_once(signal) && self.has(Trait::IsStopped);
        reaction + if is_stopped { ",die=STOP" } else { "" }
    }
}

fn at_once(signal: &str) -> String {
    format!("on={signal}:exit:0:0")
}

/// The reaction of a daemon to SIGTERM, if the stop signal of its process is another signal. `own` is what
/// it does at the stop signal.
fn at_end(signal: &str, own: &str) -> Option<String> {
    let reaction = own.split(',').next()?.replace(&format!("on={signal}:"), "on=TERM:");
    (signal != "TERM").then(|| reaction.replace(&at_once("TERM"), "on=TERM:say:word"))
}

impl Process {
    /// The names of the files that the process may watch, one for each change of its definition.
    pub(crate) fn watched(&self) -> impl Iterator<Item = String> {
        (0..MOST_CHANGES).map(|change| format!("{}.{change}.watched", self.name))
    }

    /// Whether the process, its `pN-rest` or its `pN-daemon` may ignore the stop signal.
    pub(crate) fn is_stubborn(&self) -> bool {
        self.steps.iter().any(|step| step.contains(":ignore"))
    }

    /// Whether a new instance starts beside the old one.
    pub(crate) fn overlaps(&self) -> bool {
        self.keys.contains("start-first")
    }

    /// Whether the process ends without being asked to.
    pub(crate) fn ends(&self) -> bool {
        self.steps.iter().any(|step| step.starts_with("exit="))
    }
}

impl Graph {
    pub(crate) fn random(random: &mut Random) -> Self {
        let is_crowd = random.one_in(20);
        let (of_graph, most) = match random.below(3) {
            _ if is_crowd => (0, 0),
            0 => (random.below(1 << 17) | random.below(1 << 17), 6),
            // Few processes, which drainit replaces while their `pN-rest` still serves.
            1 => (REPLACED | random.below(1 << 17) & random.below(1 << 17), 2),
            _ => (random.below(1 << 17), 4),
        };
        let count = if is_crowd { 100 + random.below(100) } else { 1 + random.below(most) };
        let mut traits = Traits { random, of_graph };
        let mut processes: Vec<_> =
            (0..count as usize).map(|number| traits.process(number)).collect();
        if is_crowd {
            // Many processes wait for the same few processes, so that more processes can start at
            // the same time than drainit starts in one step.
            processes.iter_mut().for_each(|process| process.needs.retain(|need| need % 64 == 1));
        }
        Self { processes, is_hasty: random.one_in(8) }
    }

    /// The names of a process and of everything that depends on it.
    pub(crate) fn dependents(&self, of: usize) -> Vec<&str> {
        let mut found = vec![of];
        for (number, process) in self.processes.iter().enumerate().skip(of + 1) {
            if process.needs.iter().any(|need| found.contains(need)) {
                found.push(number);
            }
        }
        found[1..].iter().map(|number| &*self.processes[*number].name).collect()
    }

    /// The grace period in milliseconds.
    pub(crate) fn grace_period(&self) -> u64 {
        if self.is_hasty { 1500 } else { 12_000 }
    }

    pub(crate) fn config(&self) -> String {
        let grace = self.grace_period();
        let mut config = format!(
            "logging: {{format: json}}\nshutdown: {{grace_period: {grace}ms, reserve: 500ms}}\nprocesses:\n"
        );
        for Process { name, needs, generation, steps, keys, .. } in &self.processes {
            let steps: String = steps.iter().map(|step| format!(", '{step}'")).collect();
            let needs: Vec<_> = needs.iter().map(|need| format!("p{need}")).collect();
            let process = format!(
                "  {name}: {{command: [CHILD, {name}, 'audit=GENERATION'{steps}], {keys}\
                 depends_on: [{}], stop_grace_period: {PATIENT}ms}}\n",
                needs.join(", ")
            );
            config += &process.replace("GENERATION", &generation.to_string());
        }
        config
    }
}

impl Schedule {
    pub(crate) fn random(random: &mut Random, graph: &Graph) -> Self {
        let count = graph.processes.len();
        let any = |random: &mut Random| random.below(count as u64) as usize;
        let mut acts = Vec::new();
        for _ in 0..random.below(5) {
            let process = any(random);
            let act = match random.below(9) {
                0 => Act::Kill(process),
                1 | 5 => Act::Reload((0..count).filter(|_| random.one_in(3)).collect()),
                2 => Act::Request("stop", process),
                3 => Act::Request("start", process),
                4 if random.one_in(4) => Act::Drain,
                _ => Act::Request("restart", process),
            };
            // These acts often find the act under way.
            let then = match &act {
                Act::Request("restart", process) => vec![Act::Request("stop", *process)],
                Act::Reload(changed) => changed.iter().map(|process| Act::Kill(*process)).collect(),
                _ => Vec::new(),
            };
            let is_disturbed = random.one_in(3);
            acts.push((random.below(500), act));
            let then = then.into_iter().filter(|_| is_disturbed);
            acts.extend(then.map(|act| (random.below(200), act)));
        }
        for (process, _) in graph.processes.iter().enumerate().filter(|(_, it)| it.is_watched) {
            // The last write brings the old content back.
            for content in [['A', 'B', 'C'][random.below(3) as usize], 'B', 'A'] {
                acts.push((random.below(700), Act::Write(process, content)));
                if random.one_in(2) {
                    acts.push((random.below(300), Act::Request("restart", process)));
                }
            }
        }
        let is_early = random.one_in(if count > 64 { 1 } else { 4 });
        if is_early {
            acts.clear();
        }
        // The shutdown often begins while a process is being replaced.
        let overlap = (0..count).filter(|process| graph.processes[*process].overlaps());
        let replaced = overlap.max_by_key(|process| graph.processes[*process].steps.len());
        let replaced = replaced.filter(|_| !is_early && !random.one_in(4));
        acts.extend(replaced.map(|process| (0, Act::Request("restart", process))));
        let most = if random.one_in(2) && replaced.is_none() { 30 } else { 300 };
        Self {
            starts: if is_early {
                1 + random.below(6).min(count as u64 - 1) as usize
            } else {
                count
            },
            settles: !is_early && replaced.is_none() && random.one_in(2),
            acts,
            pause: random.below(if is_early { 30 } else { most }),
            hurry: random.one_in(8).then(|| random.below(600)),
        }
    }
}
