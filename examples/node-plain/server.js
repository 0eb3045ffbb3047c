// A web application of Node alone: it needs no install step.
const http = require("node:http");

const port = Number(process.env.PORT);
const host = process.env.HOST || "127.0.0.1";

const server = http.createServer((request, response) => {
  response.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" });
  response.end(`Hello from Node ${process.versions.node}\n`);
});

server.listen(port, host, () => console.log(`listening on ${host}:${port}`));

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
