//! Compares what `check` says of random configs with their plans.

use crate::load::testing::load;
use crate::plan::Plan;
use crate::plan::timeline::StepKind;

/// Random numbers that are the same on every machine (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// In one of two cases, a key with a time in milliseconds.
    fn key(&mut self, key: &str, bound: u64) -> String {
        match self.below(2) {
            0 => String::new(),
            _ => format!(", {key}: {}ms", self.below(bound) + 1),
        }
    }

    fn config(&mut self) -> String {
        let grace = 4 + self.below(26);
        let delay = self.key("readiness_delay", 3000);
        let mut text = format!("shutdown: {{grace_period: {grace}s{delay}}}\nhooks: {{x-a: b");
        for hook in ["pre_stop", "post_stop"] {
            if self.below(3) == 0 {
                text += &format!(", {hook}: {{command: [x]{}}}", self.key("timeout", 4000));
            }
        }
        text += "}\nprocesses:\n";
        for id in 0..1 + self.below(4) {
            let needs: Vec<_> = (0..id).filter(|_| self.below(2) == 0).collect();
            let needs: Vec<_> = needs.iter().map(|id| format!("p{id}")).collect();
            text += &format!("  p{id}: {{command: [x], depends_on: [{}]", needs.join(", "));
            text += &self.key("stop_grace_period", 6000);
            let drain = ["exec: {command: [x]", "envoy: {admin: 'unix:/a'"];
            if let Some(drain) = drain.get(self.below(3) as usize) {
                let times = self.key("time", 9000) + &self.key("min", 9000);
                text += &format!(", drain: {{{drain}{times}}}}}");
            }
            if self.below(4) == 0 {
                let timeout = self.key("timeout", 2000);
                text += &format!(", hooks: {{post_stop: {{command: [x]{timeout}}}}}");
            }
            text += "}\n";
        }
        text
    }
}

// holds: S75, S79, S89, C373
#[test]
fn check_accepts_exactly_the_configs_whose_plan_cuts_nothing() {
    let random = &mut Random(0x5EED);
    let (mut accepted, mut warned, mut refused) = (0, 0, 0);
    for _ in 0..600 {
        let text = random.config();
        let loaded = match load(&[&text], &[]) {
            Ok(loaded) => loaded,
            Err(problems) => {
                let is_min =
                    |it: &crate::load::Diagnostic| it.message.starts_with("`min` does not");
                assert!(problems.iter().any(is_min), "{problems:?}\n{text}");
                refused += 1;
                continue;
            }
        };
        let is_warned =
            loaded.warnings.iter().any(|it| it.message.starts_with("the declared waits do not"));
        let plan = Plan::new(&loaded.config, &loaded.graph);
        let mut cuts = 0;
        for (timeline, asked) in plan.timelines() {
            cuts += plan.cuts(timeline, asked).count();
            for step in timeline.steps.iter().filter(|step| step.kind == StepKind::Drain) {
                let drain = loaded.config.processes[step.process.unwrap().index()].drain.as_ref();
                let min = drain.and_then(|drain| drain.method.times().min.map(|_| drain.min));
                assert!(min.is_none_or(|min| step.takes() >= min), "{step:?}\n{text}");
            }
        }
        assert_eq!(is_warned, cuts > 0, "{}\n{text}", crate::plan::text::text(&plan));
        *(if is_warned { &mut warned } else { &mut accepted }) += 1;
    }
    assert!(accepted.min(warned).min(refused) > 20, "{accepted}, {warned}, {refused}");
}
