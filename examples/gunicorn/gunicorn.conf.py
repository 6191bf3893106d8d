import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import app  # noqa: E402

address, port, run_dir = (os.environ["GUNICORN_" + name] for name in ("ADDRESS", "PORT", "RUN_DIR"))

bind = [f"{address}:{port}", f"unix:{run_dir}/gunicorn-control.sock"]
worker_class = "gthread"
workers = 2
threads = 32
keepalive = 75  # the default of 2 s cuts off clients that pause between requests
preload_app = True  # create the shared memory before the workers are forked
pre_request = app.before_request
