#!/usr/bin/env bash
# Tomcat: gracefulStopAwaitMillis also works with the default bindOnInit, and then new requests are served until the end.
#
# tomcat.apache.org/tomcat-10.1-doc/config/service.html: "The wait only applies to Connectors configured with a bindOnInit
# value of false which is not the default." Expected with the default: SIGTERM cuts the request in flight, as without the
# key. Who trusts the page turns bindOnInit off, and then refuses the clients that still come while a load balancer learns
# of the stop.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian libtomcat10-java=10.1.60-1~deb12u1
jars=$(find "$place/root/usr/share/java" -name '*-10.1.60.jar' | paste -sd:)
unset LD_LIBRARY_PATH
cat >"$place/Main.java" <<'END'
import jakarta.servlet.http.*;
import org.apache.catalina.core.StandardService;
import org.apache.catalina.startup.Tomcat;

public class Main {
    public static void main(String[] words) throws Exception {
        var tomcat = new Tomcat();
        tomcat.setBaseDir(words[1]);
        tomcat.setPort(Integer.parseInt(words[0]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        ((StandardService) tomcat.getService()).setGracefulStopAwaitMillis(Long.parseLong(words[2]));
        var context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "wait", new HttpServlet() {
            protected void doGet(HttpServletRequest request, HttpServletResponse response) throws java.io.IOException {
                try {
                    Thread.sleep(Long.parseLong(request.getQueryString()));
                } catch (InterruptedException e) {
                    return;
                }
                response.setHeader("Connection", "close");
                response.getWriter().print("ok");
            }
        });
        context.addServletMappingDecoded("/", "wait");
        tomcat.start();
        // What catalina.sh does at SIGTERM.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                tomcat.stop();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        System.out.println(org.apache.catalina.util.ServerInfo.getServerInfo());
        tomcat.getServer().await();
    }
}
END
javac -cp "$jars" -d "$place" "$place/Main.java"

# What happens to a request in flight and to a new one, with this gracefulStopAwaitMillis.
stop_with() {
    local port
    port=$(free_port)
    start "tomcat-$1" java -cp "$jars:$place" Main "$port" "$place" "$1"
    until_ok curl -sf "http://127.0.0.1:$port/?0"
    curl -sf --max-time 30 "http://127.0.0.1:$port/?4000" >"$place/slow-$1" &
    local slow=$!
    sleep 1
    kill -TERM "$(program)"
    sleep 1
    local new=refused
    curl -sf --max-time 10 "http://127.0.0.1:$port/?0" >/dev/null && new=answered
    local old=cut
    wait $slow && [ "$(cat "$place/slow-$1")" = ok ] && old=answered
    echo "the request in flight is $old, a new one is $new"
}
without=$(stop_with 0)
with=$(stop_with 20000)
grep -h "Apache Tomcat" "$place/tomcat-0.log" | tail -n 1
echo "without gracefulStopAwaitMillis: $without"
seen "the request in flight is answered, a new one is answered" "$with"
