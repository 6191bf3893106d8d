const server = require("http").createServer((request, response) => {
  setTimeout(() => response.end("ok"), 1000 * Number(request.url.slice(1)));
});
if (process.argv[3] == "close") process.on("SIGTERM", () => server.close());
server.listen(Number(process.argv[2]), "127.0.0.1");
