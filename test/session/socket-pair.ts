import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** Two ends of one connection over loopback; `near` is the one that was accepted. */
export async function socketPair(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  const accepted = once(server, "connection");
  const far = connect(address.port, "127.0.0.1");
  const [near] = await accepted;
  server.close();
  return { near, far };
}
