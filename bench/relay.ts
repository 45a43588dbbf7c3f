/**
 * A bare relay of bytes, two sockets piped into each other: what Node itself costs, and so what no proxy
 * on Node can do without. `node relay.js <port> <upstream port>`
 */
import { connect, createServer } from "node:net";

const [port, upstream] = process.argv.slice(2).map(Number);
if (port === undefined || upstream === undefined) throw new Error("relay <port> <upstream port>");

createServer({ noDelay: true }, (client) => {
  const server = connect({ host: "127.0.0.1", port: upstream, noDelay: true });
  client.pipe(server).pipe(client);
  client.on("error", () => server.destroy());
  server.on("error", () => client.destroy());
}).listen(port, "127.0.0.1");
