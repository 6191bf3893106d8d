Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  async fetch(request) {
    await Bun.sleep(1000 * Number(new URL(request.url).pathname.slice(1)));
    return new Response("ok");
  },
});
