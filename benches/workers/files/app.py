from celery_app import app, job  # noqa: F401


def application(environ, start_response):
    """Accepts a job: the path is /NUMBER/SECONDS."""
    _, number, seconds = environ["PATH_INFO"].split("/")
    job.delay(int(number), float(seconds))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
