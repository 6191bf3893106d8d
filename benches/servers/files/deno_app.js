Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.args[0]) }, async (request) => {
  const seconds = Number(new URL(request.url).pathname.slice(1));
  await new Promise((resume) => setTimeout(resume, 1000 * seconds));
  return new Response("ok");
});
