import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Server {
    public static void main(String[] words) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(words[0])), 0);
        server.createContext("/", exchange -> {
            try {
                Thread.sleep((long) (1000 * Double.parseDouble(exchange.getRequestURI().getPath().substring(1))));
            } catch (InterruptedException e) {
                return;
            }
            exchange.sendResponseHeaders(200, 2);
            exchange.getResponseBody().write("ok".getBytes());
            exchange.close();
        });
        server.setExecutor(Executors.newCachedThreadPool());
        if (words.length > 1) {
            Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(10)));
        }
        server.start();
    }
}
