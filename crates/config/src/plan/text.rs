//! The plan as text for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use crate::keys::{ProcessKind, Readiness, StartCondition};
use crate::plan::timeline::{ShutdownStep, StepKind, Timeline};
use crate::plan::{InOneshot, Plan, PlannedStart};
use crate::types::human;

/// The width of the text if the width of the terminal is not known.
pub const COLUMNS: usize = 100;
/// On a narrower terminal, the text is made for this width.
const NARROWEST: usize = 60;
/// The labels in front of the bars are at most this wide.
const LABEL: usize = 36;
/// The width of the times in front of the bars, such as `12.75s of 15s`.
pub(crate) const TIMES: usize = 16;

pub fn text(plan: &Plan<'_>) -> String {
    text_within(plan, COLUMNS)
}

/// The text for a terminal with this number of columns.
pub fn text_within(plan: &Plan<'_>, columns: usize) -> String {
    let columns = columns.max(NARROWEST);
    let mut out = String::from("Start\n\n");
    start(&mut out, plan, columns);
    let (window, grace) = (human(plan.window()), human(plan.grace_period));
    let reserve = human(plan.reserve);
    for (asked, what, timeline, in_oneshot) in [
        (true, "Shutdown after a stop signal", &plan.after_signal, &plan.signal_in_oneshot),
        (
            false,
            "Shutdown after a process ends unexpectedly, where a drain waits at most `min`",
            &plan.after_end,
            &plan.end_in_oneshot,
        ),
    ] {
        let longest = in_oneshot.as_ref().map_or(timeline, |it| &it.timeline);
        let total = human(longest.total);
        let unused = match plan.window().saturating_sub(longest.total) {
            Duration::ZERO => String::new(),
            unused => format!(" Nobody uses {}.", human(unused)),
        };
        let _ = writeln!(
            out,
            "\n{what}\n\n  At most {total}; the deadline is at {window}: grace_period {grace} less reserve {reserve}.{unused}"
        );
        if in_oneshot.is_some() {
            let total = human(timeline.total);
            let _ =
                writeln!(out, "  Once every oneshot is complete, as drawn here, at most {total}.");
        }
        out.push('\n');
        bars(&mut out, plan, timeline, asked, columns);
        below(&mut out, plan, timeline, asked, columns);
        if let Some(InOneshot { name, timeline }) = in_oneshot {
            let title = format!("While {name} runs, up to {}:", human(timeline.total));
            paragraph(&mut out, &title, " +", path(plan, timeline), columns);
        }
    }
    out
}

fn start(out: &mut String, plan: &Plan<'_>, columns: usize) {
    let mut rows = Vec::with_capacity(plan.start.len() + 1);
    if let Some(limit) = plan.pre_start {
        let within = format!("within {}", human(limit));
        rows.push(("pre_start of the container", "at once".into(), within.into()));
    }
    rows.extend(
        plan.start.iter().map(|start| (&*start.process.name, begins(plan, start), ready(start))),
    );
    // A column is as wide as its longest entry of at most `most` characters. A line that is then
    // too long is split.
    let widest = |widths: &mut dyn Iterator<Item = usize>, most: usize| {
        widths.filter(|width| *width <= most).max().unwrap_or_default()
    };
    let first =
        widest(&mut rows.iter().map(|(name, ..)| name.chars().count()), LABEL.min(columns / 3));
    let second = widest(&mut rows.iter().map(|(_, begins, _)| begins.chars().count()), columns / 2);
    let mut line = String::new();
    for (name, begins, ready) in rows {
        line.clear();
        let _ = write!(line, "  {name:first$}  {begins:second$}  {ready}");
        let shown = line.trim_end();
        if shown.chars().count() <= columns {
            out.extend([shown, "\n"]);
            continue;
        }
        let parts = begins.split_inclusive(", ").map(str::trim_end);
        let mut name = name;
        for part in parts.chain([&*ready]).filter(|part| !part.is_empty()) {
            let _ = writeln!(out, "  {name:first$}  {part}");
            name = "";
        }
    }
    let _ = match plan.ready_by() {
        Some(by) if by.is_zero() => writeln!(out, "\n  Everything is ready at once."),
        Some(by) => writeln!(out, "\n  Everything is ready after {} at the latest.", human(by)),
        None => writeln!(out, "\n  No latest time: a oneshot may take any time."),
    };
}

fn begins(plan: &Plan<'_>, start: &PlannedStart<'_>) -> Cow<'static, str> {
    if let Some(why) = start.stays_down {
        return why.into();
    }
    let mut words: Cow<'_, str> = match (start.process.depends_on.is_empty(), plan.pre_start) {
        (true, None) => "at once".into(),
        (true, Some(_)) => "after pre_start".into(),
        (false, _) => {
            let mut words = String::new();
            for on in &start.process.depends_on {
                let before = if words.is_empty() { "when " } else { ", " };
                let is = match on.condition {
                    StartCondition::Started => " is started",
                    StartCondition::Ready => " is ready",
                    StartCondition::Completed => " is complete",
                };
                words.extend([before, &on.process, is]);
            }
            words.into()
        }
    };
    if let Some(path) = start.only_if() {
        words.to_mut().extend([", if ", &path, " exists"]);
    }
    words
}

fn ready(start: &PlannedStart<'_>) -> Cow<'static, str> {
    if start.left_out {
        return "".into();
    }
    let ready: Cow<'_, str> = match &start.process.readiness {
        Some(Readiness { probe, timeout, .. }) => {
            let by = start.ready_by.filter(|by| by != timeout);
            let by = by.map(|by| format!(", by {}", human(by))).unwrap_or_default();
            format!("ready ({}) within {}{by}", probe.key(), human(*timeout)).into()
        }
        _ if start.process.kind == ProcessKind::Oneshot => "must complete".into(),
        _ => "ready as soon as it runs".into(),
    };
    match start.pre_start {
        Some(limit) => format!("pre_start within {}; {ready}", human(limit)).into(),
        None => ready,
    }
}

fn bars(out: &mut String, plan: &Plan<'_>, timeline: &Timeline, asked: bool, columns: usize) {
    let most = LABEL.min(columns / 3);
    let shown: Vec<_> =
        timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step)).collect();
    let reserve = "reserve".to_owned();
    let labels: Vec<_> = shown.iter().map(|(_, step)| cut_to(&plan.label(step), most)).collect();
    let label =
        labels.iter().chain([&reserve]).map(|l| l.chars().count()).max().unwrap_or_default();
    let width = columns - 2 - label - 2 - TIMES - 2;
    let whole = plan.grace_period.max(timeline.total);
    let column = |at: Duration| {
        let share = at.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
        // The value lies between 0 and `width`, so the conversion is exact enough.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let column = (share * width as f64).round() as usize;
        column.min(width)
    };
    let [blank, critical, other, free] = [" ", "#", "-", "."].map(|mark| mark.repeat(width));
    let mut row = |label_text: &str, times: &str, from: Duration, to: Duration, bar: &str| {
        let (from, to) = (column(from), column(to));
        let bar = match to - from {
            0 if from < width => "|",
            long => &bar[..long],
        };
        let _ = write!(out, "  {label_text:label$}  {times:>TIMES$}  ");
        out.extend([&blank[..from], bar, "\n"]);
    };
    for ((place, step), name) in shown.into_iter().zip(&labels) {
        let (wish, declared) = plan.wish(step, asked);
        let times = match human(step.takes()) {
            takes if declared && step.takes() < wish => format!("{takes} of {}", human(wish)),
            takes => takes,
        };
        let bar = if timeline.is_critical(place) { &critical } else { &other };
        row(name, &times, step.begins.0, (step.begins + step.takes()).0, bar);
    }
    let reserved = human(plan.reserve);
    row(&reserve, &reserved, plan.window(), plan.grace_period, &free);
}

/// Whether the plan shows a step. It always shows drains and stops, and shows other steps only if
/// they take time.
pub fn is_shown(step: &ShutdownStep) -> bool {
    !step.takes().is_zero() || matches!(step.kind, StepKind::Drain | StepKind::Stop)
}

fn below(out: &mut String, plan: &Plan<'_>, timeline: &Timeline, asked: bool, columns: usize) {
    paragraph(out, "Critical path (#):", " +", path(plan, timeline), columns);
    if asked {
        let stops = timeline.steps.iter().filter(|step| step.kind == StepKind::Stop);
        let begins = stops.map(|stop| format!("{} at {}", plan.label(stop), human(stop.begins.0)));
        paragraph(out, "At the latest, drainit begins to", ",", begins, columns);
    }
    let drains = timeline.steps.iter().filter(|step| asked && plan.has_open_end(step));
    let title = "Without a `time`, which would end it sooner, the work in flight holds the";
    paragraph(out, title, ",", drains.map(|step| plan.label(step)), columns);
    let cuts = plan.cuts(timeline, asked).map(|(step, wish)| {
        format!("{} gets {} of {}", plan.label(step), human(step.takes()), human(wish))
    });
    paragraph(out, "Cut, because the waits do not fit:", ",", cuts, columns);
}

fn path(plan: &Plan<'_>, timeline: &Timeline) -> impl Iterator<Item = String> {
    let path = timeline.critical_steps();
    path.map(|step| format!("{} {}", plan.label(step), human(step.takes())))
}

/// Writes a title and its items. A line breaks only before an item. Without items, writes nothing.
pub(crate) fn paragraph(
    out: &mut String,
    title: &str,
    separator: &str,
    items: impl Iterator<Item = String>,
    columns: usize,
) {
    let mut line = format!("\n  {title}");
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    while let Some(mut item) = items.next() {
        if items.peek().is_some() {
            item.push_str(separator);
        }
        if line.trim_start_matches('\n').chars().count() + 1 + item.chars().count() > columns {
            let _ = writeln!(out, "{line}");
            line = "   ".to_owned();
        }
        line.push(' ');
        line.push_str(&item);
    }
    let _ = writeln!(out, "{line}");
}

/// Cuts a text to at most `most` characters. A text that is cut ends with an ellipsis.
pub fn cut_to(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}
