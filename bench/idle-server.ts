/**
 * A server that lets everybody in and then says nothing: thousands of real ones would need more memory than
 * the machine has, and an idle connection's price in the proxy is the same. `node idle-server.js <port>`
 */
import { createServer } from "node:net";
import {
  authenticationOk,
  backendKey,
  parameterStatus,
  readyForQuery,
} from "../proxy/wire/backend-messages.ts";

const PARAMETERS = {
  server_version: "16.0",
  server_encoding: "UTF8",
  client_encoding: "UTF8",
  DateStyle: "ISO, MDY",
  TimeZone: "UTC",
  integer_datetimes: "on",
  standard_conforming_strings: "on",
  search_path: '"$user", public',
};

const greeting = Buffer.concat([
  authenticationOk,
  ...Object.entries(PARAMETERS).map(([name, value]) => parameterStatus(name, value)),
  backendKey({ processId: 1, key: Buffer.alloc(4) }),
  readyForQuery("I"),
]);

/** SSLRequest and GSSENCRequest are as long as this, and no startup packet is (Postgres docs, "SSLRequest"). */
const ENCRYPTION_REQUEST = 8;

createServer((socket) => {
  let isGreeted = false;
  socket.on("data", (chunk: Buffer) => {
    if (isGreeted) return;
    isGreeted = chunk.length !== ENCRYPTION_REQUEST;
    socket.write(isGreeted ? greeting : "N");
  });
  socket.on("error", () => {});
}).listen(Number(process.argv[2]), "127.0.0.1");
