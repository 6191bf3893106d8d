// Answers /upstream/slow/N after N milliseconds, and every other path after 20 ms. Closes itself on SIGTERM, as many
// servers do.
const server = require("http").createServer((request, response) => {
  const time = Number(request.url.split("/").pop()) || 20;
  setTimeout(() => response.setHeader("Content-Length", 6).end("hello\n"), time);
});
server.keepAliveTimeout = 75000;
server.listen(8080, "0.0.0.0");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
