//! A program that goes into the background: the process that drainit has started ends with success,
//! and what it has started lives on. drainit can then neither stop it in order nor see its end, so
//! the log says what happened and what to write.

use std::time::Duration;

use crate::os::descendants::{Descendant, list, living_children, members_of_group};
use crate::supervisor::executor::Executor;
use crate::types::ProcessId;

/// The unit of starts in `/proc/PID/stat`, on every architecture that drainit runs on.
const TICK: Duration = Duration::from_millis(10);

/// How well-known programs are kept in the foreground, by the names of their files.
const FOREGROUND: [(&str, &str); 9] = [
    ("nginx", "nginx -g 'daemon off;'"),
    ("httpd", "httpd -DFOREGROUND"),
    ("apache2", "apache2 -DFOREGROUND"),
    ("apachectl", "apachectl -DFOREGROUND"),
    ("php-fpm", "php-fpm --nodaemonize"),
    ("sshd", "sshd -D"),
    ("crond", "crond -f"),
    ("cron", "cron -f"),
    ("rsyslogd", "rsyslogd -n"),
];

impl Executor {
    /// What a process that has just ended with success has left running, as the end of a sentence
    /// with the mend; `None` if there is nothing.
    pub(super) fn in_background(&self, process: ProcessId) -> Option<String> {
        let group: Vec<_> = self.groups_of(process).flat_map(members_of_group).collect();
        let began = self.instances[process.index()].spawned.0.as_millis() / TICK.as_millis();
        let children = self.children.borrow();
        // Those that are older are of another process.
        let is_left =
            |one: &Descendant| u128::from(one.started) >= began && children.role(one.pid).is_none();
        let orphans = living_children().into_iter().filter(|one| is_left(one));
        let orphans: Vec<_> = orphans.filter(|one| !group.contains(one)).collect();
        let left: Vec<_> = [group, orphans].concat();
        (!left.is_empty()).then(|| advice(&left, &self.process(process).command))
    }
}

fn advice(left: &[Descendant], command: &[String]) -> String {
    // A command may be a line for a shell.
    let words = command.iter().flat_map(|word| word.split_ascii_whitespace());
    let names: Vec<_> = words.filter_map(|word| word.rsplit('/').next()).collect();
    let example = FOREGROUND.iter().find(|(name, _)| names.contains(name));
    let example = example.map(|(_, line)| format!(": `{line}`")).unwrap_or_default();
    format!(
        "what it has started lives on: {}; drainit supervises the process that it starts itself, \
         so let the program stay in the foreground{example}",
        list(left)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_known_program_has_its_option() {
        let left = [Descendant { pid: 7, name: "nginx".to_owned(), started: 0 }];
        for (command, end) in [
            (
                &["/usr/sbin/nginx", "-c", "/etc/nginx.conf"][..],
                "foreground: `nginx -g 'daemon off;'`",
            ),
            (&["sh", "-c", "cd / && php-fpm"], "foreground: `php-fpm --nodaemonize`"),
            (&["/app/serve", "nginx-like"], "foreground"),
        ] {
            let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
            let advice = advice(&left, &command);
            assert!(advice.starts_with("what it has started lives on: 7 (nginx); "), "{advice}");
            assert!(advice.ends_with(end), "{advice}");
        }
    }
}
