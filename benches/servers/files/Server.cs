using System;
using System.Globalization;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Threading.Tasks;

// The runtime's own HTTP server needs an OpenSSL that Debian no longer has.
public class Server {
    static async Task Answer(TcpClient client) {
        client.NoDelay = true;
        using (var stream = client.GetStream())
        using (var reader = new StreamReader(stream))
        using (var writer = new StreamWriter(stream)) {
            string line, first = null;
            while ((line = await reader.ReadLineAsync()) != null) {
                first = first ?? line;
                if (line == "") {
                    var path = first.Split(' ')[1].Substring(1);
                    await Task.Delay(TimeSpan.FromSeconds(double.Parse(path, CultureInfo.InvariantCulture)));
                    await writer.WriteAsync("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    await writer.FlushAsync();
                    first = null;
                }
            }
        }
    }

    public static void Main(string[] words) {
        var listener = new TcpListener(IPAddress.Loopback, int.Parse(words[0]));
        listener.Start(1000);
        while (true) {
            var _ = Answer(listener.AcceptTcpClient());
        }
    }
}
