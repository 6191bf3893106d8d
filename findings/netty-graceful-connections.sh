#!/usr/bin/env bash
# Netty: shutdownGracefully closes all connections at once, also those that wait for an answer. Only tasks get the time.
#
# netty.io/4.1/api, EventExecutorGroup.shutdownGracefully: "graceful shutdown ensures that no tasks are submitted for
# 'the quiet period' (usually a couple seconds) before it shuts itself down". Expected: during the quiet period a
# connection with a request in flight stays open, and its answer, which restarts the period, arrives.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

debian libnetty-java=1:4.1.48-7+deb12u2
jars=$(find "$place/root/usr/share/java" -name 'netty-*-4.1.48.Final.jar' | paste -sd:)
unset LD_LIBRARY_PATH
cat >"$place/Main.java" <<'END'
import io.netty.bootstrap.ServerBootstrap;
import io.netty.channel.*;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.*;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

public class Main {
    public static void main(String[] words) throws Exception {
        var acceptor = new NioEventLoopGroup(1);
        var workers = new NioEventLoopGroup(1);
        var listener = new ServerBootstrap().group(acceptor, workers).channel(NioServerSocketChannel.class)
            .childHandler(new ChannelInitializer<Channel>() {
                protected void initChannel(Channel channel) {
                    channel.pipeline().addLast(new HttpServerCodec(), new HttpObjectAggregator(1 << 16), new Answer());
                }
            }).bind("127.0.0.1", Integer.parseInt(words[0])).sync().channel();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            listener.close().syncUninterruptibly();
            // The answer is due after 3 s, the quiet period is 5 s, and the limit 20 s.
            workers.shutdownGracefully(5, 20, TimeUnit.SECONDS).syncUninterruptibly();
            System.out.println("shut down");
        }));
        System.out.println("ready");
    }

    static class Answer extends SimpleChannelInboundHandler<FullHttpRequest> {
        protected void channelRead0(ChannelHandlerContext context, FullHttpRequest request) {
            System.out.println("begun");
            context.channel().closeFuture().addListener(future -> System.out.println("closed"));
            context.executor().schedule(() -> {
                System.out.println("answers");
                var response = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK);
                response.content().writeCharSequence("ok", StandardCharsets.US_ASCII);
                response.headers().set("content-length", 2).set("connection", "close");
                context.writeAndFlush(response);
            }, 3, TimeUnit.SECONDS);
        }
    }
}
END
javac -cp "$jars" -d "$place" "$place/Main.java"
port=$(free_port)
start netty java -cp "$jars:$place" Main "$port"
until_ok grep -q ready "$place/netty.log"
curl -sf --max-time 30 "http://127.0.0.1:$port/" >"$place/body" 2>/dev/null &
client=$!
until_ok grep -q begun "$place/netty.log"
kill -TERM "$(program)"
code=0
wait $client || code=$?
until_ok grep -q "shut down" "$place/netty.log"
# 52: the server closed the connection without an answer.
seen "curl's code: 52; the server: begun closed shut down" \
    "curl's code: $code; the server: $(grep -x 'begun\|closed\|answers\|shut down' "$place/netty.log" | paste -sd' ')"
