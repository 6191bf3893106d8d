//! Carries out the dialogue with the admin of an Envoy that is being drained.

use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::core::envoy::Call;
use crate::core::envoy::attempts::AskFailure;
use crate::core::envoy::dialogue::{Answer, Ask, Dialogue, DrainOutput, EnvoyTerms};
use crate::core::event::Unit;
use crate::envoy::admin;
use crate::envoy::listeners::Uncounted;
use crate::http::{Client, HttpError};
use crate::keys::{Address, Counting, Direction, DrainUntil, EnvoyDrain};
use crate::os::clock;
use crate::supervisor::tasks::drain::connections::Counter;
use crate::supervisor::tasks::drain::target::DrainTarget;
use crate::supervisor::tasks::drain::{DrainCommand, done};
use crate::supervisor::tasks::looker::{are_visible, look_at, waiting};
use crate::types::Time;

/// Drains an Envoy.
pub(super) async fn drain(
    target: Rc<DrainTarget>,
    keys: EnvoyDrain,
    mut commands: UnboundedReceiver<DrainCommand>,
) {
    let unit = match keys.until {
        DrainUntil::Connections => Unit::Connections,
        DrainUntil::Requests => Unit::Requests,
    };
    let direction = keys.direction.unwrap_or_default();
    let now = clock::now();
    let terms = EnvoyTerms {
        min_until: now + target.min,
        longest: target.longest,
        only_inbound: direction == Direction::Inbound,
        leaves_out: direction != Direction::All || !keys.ignore_listeners.is_empty(),
        fail_healthcheck: keys.fail_healthcheck,
        stays_ready: target.stays_ready,
        unit,
        exit_at: keys.exit_at.into(),
    };
    let (mut dialogue, mut outputs) = Dialogue::begin(now, terms);
    // The client for questions to the admin. Its connection stays open between two questions. A
    // question takes the client, and gives it back with the answer.
    let mut client = None;
    // Which listeners count for the drain, and which do not. Empty until the admin has listed them.
    let mut uncounted = Rc::<Uncounted>::default();
    let admin_port = match &keys.admin {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    };
    // The second counter leaves no port out, for the case that the admin is none of an Envoy.
    let [counter, whole] =
        [admin_port, None].map(|port| Counter::new(&target, &Counting::default(), Some(port)));
    let (mut asks, mut looks, mut witness) = (None, None, None);
    let mut called = CallEffects::default();
    loop {
        for output in outputs {
            match output {
                DrainOutput::Ask(question) => {
                    let client = client.take().unwrap_or_else(|| Client::new(keys.admin.clone()));
                    asks =
                        Some(Box::pin(ask(&keys, client, Rc::clone(&uncounted), question, called)));
                }
                DrainOutput::Look => {
                    looks = Some(Box::pin(look_at(uncounted.counted.clone(), called.reset)))
                }
                DrainOutput::Witness => {
                    let counter = if called.is_foreign { &whole } else { &counter };
                    witness = Some(Box::pin(counter.look()));
                }
                report => target.report(report),
            }
        }
        let pause = dialogue.wakes_at().unwrap_or(Time::NEVER).since(clock::now());
        outputs = tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(DrainCommand::Unready) => dialogue.unready(clock::now()),
                Some(DrainCommand::Close) => dialogue.close(clock::now()),
                Some(DrainCommand::End) => {
                    let outputs = dialogue.end(clock::now());
                    // If the current request belongs to the closing of listeners, it continues. Any
                    // other request ends here.
                    asks = asks.filter(|_| dialogue.is_asking());
                    outputs
                }
                None => return,
            },
            (answer, back, listed, calls) = done(&mut asks) => {
                (client, uncounted, called) = (Some(back), listed, calls);
                dialogue.answered(clock::now(), answer)
            }
            look = done(&mut looks) => dialogue.looked(clock::now(), look),
            (began, seen) = done(&mut witness) => dialogue.witnessed(began, clock::now(), seen),
            () = sleep(pause) => dialogue.tick(clock::now()),
        };
    }
}

/// The effects of the calls to the admin so far.
#[derive(Clone, Copy, Default)]
struct CallEffects {
    /// The connections that waited to be accepted when the listeners were closed. The kernel has
    /// reset them.
    reset: u64,
    /// Whether something else than an Envoy has answered. The port of the admin can then be one of
    /// this Envoy's own for traffic.
    is_foreign: bool,
}

/// Asks the admin. Returns the answer, the client, which listeners count from now on, and what the
/// calls have shown (`called` before this call). The request has no time limit, because the end of
/// the drain ends it.
async fn ask(
    keys: &EnvoyDrain,
    mut client: Client,
    mut uncounted: Rc<Uncounted>,
    ask: Ask,
    mut called: CallEffects,
) -> (Answer, Client, Rc<Uncounted>, CallEffects) {
    const LIMIT: Duration = Duration::MAX;
    let answer = match ask {
        Ask::Listeners => {
            let direction = keys.direction.unwrap_or_default();
            let ignored = &keys.ignore_listeners;
            let (listed, answered) = Uncounted::ask(&mut client, direction, ignored, LIMIT).await;
            uncounted = Rc::new(keep_visible(listed).await);
            Answer::Listeners(answered.map_err(to_failure))
        }
        Ask::Sample { is_whole } => {
            // The queues come first: a connection that Envoy accepts meanwhile counts twice, not
            // never. Envoy answers before it has closed its listeners, so the queues may still have
            // the connections that count as reset.
            let waiting = waiting(uncounted.listening.clone()).await.max(called.reset);
            let sample = admin::sample(&mut client, &uncounted, is_whole, LIMIT).await;
            Answer::Sample(sample.map(|it| it.with_waiting(waiting)).map_err(to_failure))
        }
        Ask::State => Answer::State { is_unused: admin::is_unused(&mut client, LIMIT).await },
        Ask::Call(call) => {
            let closes = matches!(call, Call::CloseListeners | Call::CloseInbound);
            let waits = if closes { waiting(uncounted.listening.clone()).await } else { 0 };
            let answered = admin::post(&keys.admin, call, LIMIT).await;
            match &answered {
                Ok(()) => called.reset = called.reset.saturating_add(waits),
                Err(error) => called.is_foreign |= is_foreign(error),
            }
            Answer::Call(answered.map_err(to_failure))
        }
    };
    (answer, client, uncounted, called)
}

/// Keeps the addresses only if the kernel shows the connections to all of them.
async fn keep_visible(uncounted: Uncounted) -> Uncounted {
    let is_visible = are_visible(uncounted.counted.clone()).await;
    let counted = if is_visible { uncounted.counted } else { Vec::new() };
    Uncounted { counted, ..uncounted }
}

/// Whether something else than an Envoy has answered a call. An Envoy refuses one only with 403.
fn is_foreign(error: &HttpError) -> bool {
    use HttpError::{Malformed, Protocol, Status};
    match error {
        Status(status) => *status != StatusCode::FORBIDDEN,
        error => matches!(error, Malformed(_) | Protocol(_)),
    }
}

fn to_failure(error: HttpError) -> AskFailure {
    AskFailure { why: error.to_string(), is_refusal: matches!(error, HttpError::Status(_)) }
}
