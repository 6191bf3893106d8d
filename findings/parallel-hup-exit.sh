#!/usr/bin/env bash
# GNU parallel: after SIGHUP, the jobs that have not begun are left out, and the exit code is 0.
#
# parallel(1), Complete running jobs but do not start new jobs: SIGHUP is to tell parallel "to not start any new jobs,
# but wait until the currently running jobs are finished before exiting". Its EXIT STATUS: "0 All jobs ran without
# error." Expected: a code that is not 0, as at SIGTERM, since most jobs did not run. A supervisor that drains a batch
# by SIGHUP, and a Job of Kubernetes, take the batch for complete.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian parallel=20221122+ds-2
unset LD_LIBRARY_PATH
export parallel="$place/root/usr/bin/parallel" place HOME="$place"
"$parallel" --version | head -n 1
cat >"$place/try.py" <<'END'
import os, signal, subprocess, time

place = os.environ["place"]


def stop(number):
    log, begun = f"{place}/jobs-{number}", f"{place}/begun-{number}"
    command = [os.environ["parallel"], "--will-cite", "-j2", "--joblog", log, f"echo >>{begun}; sleep 3; : {{}}", ":::", *"12345678"]
    batch = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while not os.path.exists(begun) or os.path.getsize(begun) < 2:
        time.sleep(0.1)
    batch.send_signal(number)
    code = batch.wait()
    return f"code {code}, {len(open(log).readlines()) - 1} of 8 jobs ended"


print(f"said: SIGHUP: {stop(signal.SIGHUP)}; SIGTERM: {stop(signal.SIGTERM)}", flush=True)
END
start try python3 "$place/try.py"
until_ok grep -q said: "$place/try.log"
seen "SIGHUP: code 0, 2 of 8 jobs ended; SIGTERM: code 255, 0 of 8 jobs ended" "$(sed -n 's/^said: //p' "$place/try.log")"
