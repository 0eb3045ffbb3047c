"use strict";

const express = require("express");

const app = express();
app.get("/", (request, response) => {
  response.type("text/plain").send(`Hello from Express on Node ${process.version}\n`);
});

const server = app.listen(Number(process.env.PORT), process.env.HOST || "127.0.0.1");
process.on("SIGTERM", () => server.close());
