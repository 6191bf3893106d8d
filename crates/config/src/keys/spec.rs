//! Makes two things from a config for drainit-core: the graph of dependencies, and the [`Spec`]
//! with all facts by which drainit-core decides.

use crate::core::spec::{DrainSpec, HANDOVER_MARGIN, HookWait, HookWaits, ProcessSpec, Spec};
use crate::graph::{Graph, GraphError, GraphNode};
use crate::keys::{
    Config, Drain, DrainMethod, Hook, Hooks, Leftovers, Liveness, Process, ProcessKind, Restart,
};
use crate::types::{Signal, Update};

impl Config {
    /// Makes the graph of dependencies.
    ///
    /// # Errors
    /// If there are too many processes, returns only this error. Otherwise returns an error for
    /// each dependency that is not a process, for each process that depends on itself, and for at
    /// most 20 cycles.
    pub fn graph(&self) -> Result<Graph, Vec<GraphError>> {
        let nodes: Vec<GraphNode<'_>> =
            self.processes.iter().map(|process| node(process)).collect();
        Graph::build(&nodes)
    }

    /// Makes the part of the config that drainit-core needs.
    pub fn spec(&self, graph: &Graph) -> Spec {
        let processes = self
            .processes
            .iter()
            .zip(&graph.dependencies)
            .map(|(process, dependencies)| ProcessSpec {
                dependencies: dependencies.clone(),
                follows: (dependencies.iter().zip(&process.depends_on))
                    .filter(|(_, written)| written.restart)
                    .map(|((on, _), _)| *on)
                    .collect(),
                dependents: Vec::new(),
                left_out: false,
                autostart: process.autostart,
                oneshot: process.kind == ProcessKind::Oneshot,
                success_codes: process.success_codes.clone(),
                timeout: process.timeout,
                conditional: process.only_if.is_some(),
                readiness_timeout: process.readiness.as_ref().map(|readiness| readiness.timeout),
                liveness_retries: process.liveness.as_ref().map(Liveness::retries),
                update: process.update,
                handover: process.hot_restart().map(|of| of.parent_shutdown + HANDOVER_MARGIN),
                base_id: process.hot_restart().and_then(|flags| flags.base_id),
                restart: Restart {
                    policy: process.restart,
                    delay: process.restart_delay,
                    max: process.restart_max,
                },
                on_exit: process.on_exit,
                required: process.required && process.autostart,
                stop_signal: process.stop_signal,
                stop: process.stop_grace_period,
                to_end: None,
                is_store: process.is_store,
                shows_listener: process.shows_listener(),
                // A leftover of an Envoy with hot restart may be an older Envoy that drains.
                ends_leftovers: process.leftovers == Leftovers::End
                    && process.update != Update::HotRestart,
                hooks: HookWaits {
                    pre_start: (process.is_validated().then_some(HookWait::DEFAULT))
                        .or(waits(&process.hooks).pre_start),
                    ..waits(&process.hooks)
                },
                drain: process.drain.as_ref().map(drain),
                drain_off: process.drain_off,
                listens: !process.listen.is_empty() && !process.is_left_out(),
                forward_signals: process.forward_signals.clone(),
                watch: process.watch.iter().map(|watch| watch.action).collect(),
            })
            .collect();
        let mut spec = Spec {
            window: self.shutdown.window(),
            reserve: self.shutdown.reserve,
            readiness_delay: self.shutdown.readiness_delay,
            unready_delay: self.shutdown.unready_delay,
            // `drainit plan` does not count the connections that the stops cut. The supervisor
            // counts them, and sets this field to true.
            counts_stops: false,
            stop_signals: self.shutdown.signals.clone(),
            hooks: waits(&self.hooks),
            processes,
            order: graph.order.clone(),
            ranks: Vec::new(),
        };
        spec.link();
        for (process, written) in spec.processes.iter_mut().zip(&self.processes) {
            if written.is_left_out() {
                process.leave_out();
            }
        }
        spec
    }
}

fn node(process: &Process) -> GraphNode<'_> {
    let needs = process.depends_on.iter().map(|on| (on.process.as_str(), on.condition));
    GraphNode { name: &process.name, needs: needs.collect() }
}

fn waits(hooks: &Hooks) -> HookWaits {
    let wait = |hook: &Option<Hook>| hook.as_ref().map(|hook| HookWait::new(hook.timeout));
    HookWaits {
        pre_start: wait(&hooks.pre_start),
        pre_stop: wait(&hooks.pre_stop),
        post_stop: wait(&hooks.post_stop),
    }
}

fn drain(drain: &Drain) -> DrainSpec {
    let exit_at = match (&drain.method, drain.method.counting()) {
        (DrainMethod::Envoy(envoy), _) => Some(envoy.exit_at),
        (_, counting) => counting.map(|counting| counting.exit_at),
    };
    let (closes, exit_at) = (exit_at.is_some(), exit_at.unwrap_or_default().into());
    let by_kernel = drain.method.counting().is_some();
    let signal = match &drain.method {
        DrainMethod::Signal(it) | DrainMethod::Notify(it) => Some(it.signal),
        // A command such as `nginx -s quit`, or a request, can make a server end after its last
        // answer, as SIGTERM does. Both therefore count as SIGTERM.
        DrainMethod::Exec(_) | DrainMethod::Http(_) if by_kernel => Some(Signal::TERM),
        _ => None,
    };
    DrainSpec { time: drain.time, min: drain.min, closes, by_kernel, exit_at, signal }
}
