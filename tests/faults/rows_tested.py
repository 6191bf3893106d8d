"""Lists faults that only tests of the project try, with drainit alone: most are in features that no peer has."""

from matrix import DRAIN, OURS, group

_, tested = group(DRAIN)

# agentgateway#3334
tested("`min` and the wait after it are longer than the grace period", "the drain leaves the stop its time",
       "simulation::cases::the_reason_why_a_drain_is_over_is_noted")
tested("no traffic at all", "the drain is over after `min`", "simulation::cases::an_idle_gateway_is_drained_for_min_and_stopped_in_order")
# consul-dataplane#1072
tested("the admin refuses connections", "`min` is held, because requests still arrive",
       "drain::admin_faults::an_admin_that_never_existed_is_bounded_and_reported")
tested("the admin hangs, answers garbage or resets, from the start", "bounded, and reported",
       "drain::admin_faults::an_admin_that_fails_is_bounded_and_reported")
tested("the admin hangs, answers garbage or resets, during the drain", "bounded, and reported",
       "drain::admin_faults::an_admin_that_fails_is_bounded_and_reported")
tested("the statistics or the last count hang or are garbage", "bounded, and reported",
       "simulation::dialogue::every_promise_of_the_dialogue_holds_with_any_admin")
tested("there is no admin", "bounded, and reported",
       "drain::admin_faults::an_admin_that_never_existed_is_bounded_and_reported")
# The fake admin of these tests is as strict as Envoy's admin.
tested("a GET in place of a POST to the admin (405)", "the calls are POSTs, in their order",
       "drain::admin_faults::envoy_is_drained_then_polled_then_closed_and_only_then_stopped")
tested("the admin refuses once", "tried again", "simulation::dialogue::every_promise_of_the_dialogue_holds_with_any_admin")
# mongodb-kubernetes#1278
tested("the admin answers 403", "reported before the drain",
       "envoy::preflight::preflight_tries_paths_with_their_queries_and_changes_nothing")
tested("the drain closes nothing", "reported", "envoy::preflight::a_listener_that_ignores_the_drain_is_reported_during_the_drain")
tested("a statistic is missing", "unknown, not zero",
       "simulation::dialogue::every_promise_of_the_dialogue_holds_with_any_admin")
# istio#60728, envoyproxy/gateway#7985
tested("a scraper keeps a connection of an internal listener", "it holds no drain",
       "envoy::direction::a_scraper_does_not_hold_a_drain")
# istio#44690, #36534
tested("a client of a real Envoy never lets go", "waited for until `time` is over",
       "envoy::drain_end::idle_connections_hold_a_drain_unless_only_requests_count")
# If a port closes at once, endpoints still point to it for a second in a cluster, or 15 s behind a load balancer.
tested("endpoints still point to a container that is to end", "unready at once, nothing stopped for `readiness_delay`",
       "operate::control::readyz_follows_readiness_and_turns_at_t0_before_anything_is_stopped")
tested("a load balancer sends on until its own health check has failed", "no request fails, with `unready_delay`",
       "envoy::unready_delay::a_load_balancer_that_looks_only_at_the_health_check_loses_nothing")
tested("Envoy's `--drain-time-s` is shorter than `min`", "no connection is refused within `min`",
       "envoy::new_connections::a_short_drain_time_of_envoy_refuses_no_connection_within_min")
tested("SIGINT during the drain", "the wait is cut, the order kept",
       "drain::drain_kinds::a_second_signal_kills_the_command")
tested("a real Envoy is killed during the drain", "not waited for",
       "envoy::crash_paths::an_envoy_that_dies_during_the_drain_is_not_waited_for")
tested("a real Envoy is stopped (SIGSTOP) when it is to drain", "`min`, then the stop",
       "envoy::crash_paths::an_envoy_that_hangs_before_the_drain_is_stopped_after_time")
tested("a real Envoy is stopped (SIGSTOP) during the drain", "the wait is over after `time`",
       "envoy::crash_paths::an_envoy_that_hangs_during_the_drain_is_stopped_after_time")
tested("SIGTERM to Envoy too (`kill -TERM -1`)", "the cut requests are reported",
       "envoy::crash_paths::an_envoy_that_ended_before_the_drain_is_reported")
tested("the drain time is `abc`", "refused before anything starts",
       "config::errors::every_problem_is_reported_at_once_with_a_place")
tested("a drain command hangs", "killed when its time is over", "drain::drain_kinds::a_command_that_takes_too_long_is_killed")
tested("a drain request is never answered", "given up when its time is over",
       "drain::drain_kinds::drains_run_together_each_within_the_time_of_that_drain")

_, tested = group("Unasked ends and failed starts")

tested("a socket never appears", "the start has failed, 1, and the log says why",
       "start::readiness::a_timeout_says_why_the_last_attempt_failed")
# Supervisor#1588, #1223
tested("a process holds up the start", "`status` shows what is ready and what starts",
       "operate::status::status_shows_every_process_without_a_control_section")

_, tested = group("Signals, and processes that do not obey")

# Supervisor#1073, #734
tested("a second and a third stop signal", "the second keeps the order, the third kills all, 137",
       "drain::shutdown::a_second_signal_keeps_the_order_and_a_third_kills")
# process-compose#354
tested("a process holds up the stop", "`status` shows it, and the time that is left",
       "operate::status::status_shows_the_progress_of_a_shutdown_and_watch_ends_then")
# tini#225, #104
tested("`exec`: signals that the program would take amiss (`--rewrite`)", "rewritten or dropped",
       "exec::signals::signals_are_rewritten_and_dropped")

_, tested = group("Output")

# Supervisor#1201, #1326, #553
tested("a process writes to stdout and stderr", "each line gets the prefix and stays on its stream",
       "operate::output::each_form_of_log_leads_the_lines_where_the_config_says")
# Supervisor#1624
tested("the log is read by a machine (`format: json`)", "each line is one object with the name of its process",
       "operate::output::json_has_an_object_per_line")

_, tested = group("Time")

# A test cannot put the machine to sleep, so this test checks which clock drainit reads. For a peer, no test can check
# this.
tested("the machine sleeps", "its time counts: a deadline is not put off",
       "drain::shutdown::times_include_the_sleep_of_the_machine")
# istio#34855
tested("20 s to end in a grace period of 10 s", "a warning with its line, and an error of `check --strict`",
       "config::errors::a_warning_stops_nothing_unless_check_is_strict")

_, tested = group("In a Docker container")

# kubernetes#50032
tested("a grace period of 30 s, where `docker stop` kills after 10 s", "a warning at the start",
       "docker::matrix::the_start_mentions_the_default_timeout_of_docker_stop")
# docker/cli#3909
tested("SIGHUP, SIGUSR1 and SIGUSR2 to an API gateway", "nothing ends, and Envoy gets SIGUSR1",
       "docker::api_gateway::each_process_gets_defaults_arguments_signals_and_a_prefix")

_, tested = group(OURS)

# s6-overlay#477
tested("commands that are to run before and after a process, and last of all", "each runs at its moment",
       "start::hooks::hooks_run_at_the_documented_moments")
tested("a stop hook hangs or fails", "nothing is held up beyond its time",
       "start::hooks::hooks_at_the_end_that_fail_or_hang_change_nothing")
tested("a start hook hangs", "killed with its group, the start has failed",
       "start::hooks::a_pre_start_that_fails_is_a_failed_start")
tested("a value or an `env_file` is missing", "a failed start, which names it",
       "start::values_at_start::a_missing_value_is_a_failed_start")
tested("a config that is empty, or only a comment", "refused soon, 78",
       "config::errors::content_that_is_not_a_config_is_refused_quickly")
tested("a binary for a config", "refused soon, 78",
       "config::errors::content_that_is_not_a_config_is_refused_quickly")
tested("a config of 10 MB", "refused soon in 300 MB of memory, 78",
       "config::errors::content_that_is_not_a_config_is_refused_quickly")
tested("a config of 100,000 brackets, each in the other", "refused soon, 78",
       "config::errors::content_that_is_not_a_config_is_refused_quickly")
tested("a config that never ends (a FIFO without a writer, `/dev/zero`)", "refused soon, 78",
       "config::errors::paths_that_are_not_config_files_are_refused_quickly")
tested("an alias bomb in the config", "refused at once",
       "config::errors::content_that_is_not_a_config_is_refused_quickly")
tested("no descriptor is left for the control port", "it waits and does not spin",
       "operate::control::without_a_descriptor_the_listeners_wait_and_do_not_spin")
tested("the control port is in use", "refused before anything starts",
       "operate::control::a_port_in_use_is_found_before_anything_starts")
tested("a server hangs", "found by its liveness, drained and restarted",
       "replace::liveness::a_server_that_hangs_is_drained_stopped_and_restarted")
tested("a process may not be signalled (other user, no CAP_KILL)", "reported, the stop goes on",
       "drain::shutdown::processes_that_may_not_be_signalled_are_reported")
tested("drainit itself cannot go on", "all processes are stopped, 70",
       "host::hardening::all_processes_are_stopped_if_drainit_cannot_continue")
tested("drainit itself gets no memory", "all processes are stopped, 70",
       "host::hardening::all_processes_are_stopped_if_drainit_gets_no_memory")
tested("a program is missing at a restart", "tried again as `restart` says",
       "start::supervise::a_program_that_is_missing_at_a_restart_is_tried_again")
tested("a config that cannot be used, at a reload", "nothing changes, and it says why",
       "replace::reload::a_config_that_cannot_be_used_changes_nothing_and_is_explained")
