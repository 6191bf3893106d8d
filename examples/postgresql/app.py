"""An app for gunicorn: each request commits a row and answers with its number.

`/5` does so in a transaction of 5 s. libpq takes its variables from the environment: PGHOST and PGUSER.
"""

import threading

import psycopg2

local = threading.local()


def app(environ, start_response):
    if not hasattr(local, "connection"):
        local.connection = psycopg2.connect("")
    with local.connection as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO visits DEFAULT VALUES RETURNING id")
        body = f"{cursor.fetchone()[0]}\n".encode()
        cursor.execute("SELECT pg_sleep(%s)", [environ["PATH_INFO"].strip("/") or 0])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
