//! Follows the advice for the grace periods of random pods.

use std::time::Duration;

use drainit_config::testing::random::Random;
use regex_lite::Regex;

use crate::kubernetes::tests::{CONFIG, GRACE, MANIFEST, check, with, with_hook};
use crate::load::testing::load_of_pod;
use crate::load::{Diagnostic, Environment};
use crate::plan::Plan;

/// The times of a pod and of its config.
#[derive(Clone, Debug)]
struct Pod {
    /// `terminationGracePeriodSeconds`
    given: Option<u64>,
    /// The seconds of a `preStop` hook.
    sleep: Option<String>,
    /// The value of the variable, if the manifest sets it.
    variable: Option<String>,
    /// The config's `grace_period`.
    grace: String,
    drain: String,
    stop: String,
}

impl Pod {
    fn random(random: &mut Random) -> Self {
        let millis = |random: &mut Random, most| format!("{}ms", random.below(most));
        let is_even = random.one_in(2);
        let time = |random: &mut Random, most: u64| match is_even {
            true => format!("{}s", 3 + random.below(most)),
            false => format!("{}ms", 3000 + random.below(most * 1000)),
        };
        let variable = "${TERMINATION_GRACE_PERIOD_SECONDS:-30}";
        Self {
            given: random.one_in(2).then(|| random.below(80)),
            sleep: random.one_in(3).then(|| format!("{}.{}", random.below(20), random.below(10))),
            variable: random.one_in(2).then(|| time(random, 60)),
            grace: if random.one_in(2) { variable.to_owned() } else { time(random, 60) },
            // Half of the pods have no drain. No advice then says to remove the hook, so the other
            // advice is tried with the hook.
            drain: if random.one_in(2) { "0".to_owned() } else { millis(random, 20_000) },
            stop: millis(random, 8000),
        }
    }

    fn config(&self) -> String {
        let config = with(CONFIG, "${TERMINATION_GRACE_PERIOD_SECONDS:-30}", &self.grace);
        let config = with(&config, "time: 15s, min: 5s", &format!("time: {}", self.drain));
        with(&config, "stop_grace_period: 5s", &format!("stop_grace_period: {}", self.stop))
    }

    /// Whether the hook and then the whole shutdown end before the kubelet kills the pod.
    fn fits(&self) -> bool {
        let variable =
            self.variable.iter().map(|value| ("TERMINATION_GRACE_PERIOD_SECONDS", &**value));
        let environment: Environment = variable.collect();
        let Ok(loaded) = load_of_pod(&self.config(), &environment, self.sleep.is_some()) else {
            return true;
        };
        let sleep = self.sleep.as_ref().map_or(0.0, |sleep| sleep.parse().unwrap());
        let plan = Plan::new(&loaded.config, &loaded.graph);
        let needed = plan.window().max(plan.needed() + Duration::from_secs_f64(sleep));
        needed <= Duration::from_secs(self.given.unwrap_or(30))
    }

    /// The findings about the grace period.
    fn findings(&self) -> Vec<Diagnostic> {
        let given = self.given.map_or_else(String::new, |given| {
            format!("      terminationGracePeriodSeconds: {given}\n")
        });
        let manifest = with(MANIFEST, "      terminationGracePeriodSeconds: 45\n", &given);
        let variable =
            self.variable.as_ref().map_or_else(String::new, |value| GRACE.replace("45", value));
        let manifest = with(&manifest, GRACE, &variable);
        let manifest = match &self.sleep {
            Some(sleep) => {
                with_hook(&manifest, &format!("{{exec: {{command: [sleep, '{sleep}']}}}}"))
            }
            None => manifest,
        };
        let found = check(&self.config(), &manifest).diagnostics.into_iter();
        let words = ["terminationGracePeriodSeconds", "the kubelet kills"];
        found.filter(|it| words.iter().any(|word| it.message.contains(word))).collect()
    }

    /// The pod after this advice was followed.
    fn follow(&self, advice: &str) -> Self {
        let number = |pattern: &str| -> Option<u64> {
            let found = Regex::new(pattern).unwrap().captures(advice)?;
            found[1].parse().ok()
        };
        let mut pod = self.clone();
        pod.given = number("terminationGracePeriodSeconds: ([0-9]+)").or(self.given);
        let value = number("value: \"([0-9]+)\"");
        if advice.contains("remove the hook") {
            pod.sleep = None;
        }
        if advice.contains("write `grace_period: ") {
            pod.grace = "${TERMINATION_GRACE_PERIOD_SECONDS:-30}".to_owned();
        }
        let is_passed =
            advice.contains("pass that variable") || advice.contains("pass the same value");
        let value = value.or(is_passed.then(|| pod.given.unwrap_or(30)));
        pod.variable = value.map(|value| value.to_string()).or(pod.variable);
        pod
    }
}

/// Follows each advice of each finding. Fails if the pod then has another finding. After the advice
/// to remove a hook, one more finding is allowed, because only a pod without the hook shows its
/// other faults.
fn follow_all(pod: &Pod, before: &[String]) -> usize {
    let mut followed = 0;
    for finding in pod.findings() {
        let help = finding.help.unwrap();
        let so_far = [before, &[format!("{pod:?}\n{}: {help}", finding.message)]].concat();
        let is_of_hook = so_far.iter().any(|advice| advice.contains(": remove the hook"));
        assert!(so_far.len() <= 1 + usize::from(is_of_hook), "{}", so_far.join("\n"));
        let alternatives = help.replace(", or write", "|write");
        let alternatives = alternatives.replace(" if the pod needs that long, else", "|");
        for advice in alternatives.split('|') {
            followed += 1 + follow_all(&pod.follow(advice), &so_far);
        }
    }
    followed
}

#[test]
fn the_advice_for_a_grace_period_ends_the_finding() {
    let mut random = Random(1);
    let mut followed = 0;
    for _ in 0..300 {
        let pod = Pod::random(&mut random);
        let found = pod.findings();
        assert!(pod.fits() || found.iter().any(Diagnostic::is_error), "{pod:?}\n{found:#?}");
        followed += follow_all(&pod, &[]);
    }
    assert!(followed > 200, "{followed}");
}
