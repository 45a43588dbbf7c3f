import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import pg from "pg";
import { afterEach, expect, test } from "vitest";
import { controlConnection } from "../../proxy/app/control.ts";
import { parseUpstream } from "../../proxy/wire/upstream.ts";

/** A server that asks for a password and waits for it, and what has become of its connections. */
let server: Server | undefined;
afterEach(() => server?.close());

async function asking(
  request: Buffer,
): Promise<{ readonly port: number; readonly closed: Promise<unknown> }> {
  const made = createServer();
  server = made;
  const closed = once(made, "connection").then((connected) => {
    const socket: Socket = connected[0];
    socket.on("error", () => {});
    socket.once("data", () => socket.write(request));
    return once(socket, "close");
  });
  await once(made.listen(0, "127.0.0.1"), "listening");
  const address = made.address();
  if (address === null || typeof address === "string") throw new Error("a server without a port");
  return { port: address.port, closed };
}

function authentication(code: number, rest: Buffer): Buffer {
  const message = Buffer.concat([Buffer.from("R"), Buffer.alloc(8), rest]);
  message.writeInt32BE(message.length - 1, 1);
  message.writeInt32BE(code, 5);
  return message;
}

test.each([
  ["SCRAM", authentication(10, Buffer.from("SCRAM-SHA-256\0\0"))],
  ["MD5", authentication(5, Buffer.from("salt"))],
  ["plain text", authentication(3, Buffer.alloc(0))],
])("a missing password is named, and no login is left half open: %s", async (_, request) => {
  const { port, closed } = await asking(request);
  const target = parseUpstream(`postgresql://sluice@127.0.0.1:${port}/support?sslmode=disable`, {});
  if (!target.ok) throw new Error(target.problem);
  const client = new pg.Client({ ...controlConnection(target.upstream), database: "support" });
  client.on("error", () => {});
  await expect(client.connect()).rejects.toThrow(
    "the server asks for a password, and none is given: set PGPASSWORD",
  );
  await closed;
});
