import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { type ProxyOptions, startProxy } from "../harness/proxy.ts";
import { makeWorld, POLICY } from "./world.ts";

/* A statement past its role's limit is cancelled. Where that request gets lost, the client must not wait for ever. */

const ENDLESS = "select a.id from customers a, customers b, customers c";

/** A way to the database on which some things of the server's get lost. */
async function lossy(port: number, filter: (bytes: Buffer) => Buffer, isLost: (first: Buffer) => boolean) {
  const open = new Set<Socket>();
  const listener = createServer({ allowHalfOpen: true }, (near) => {
    open.add(near);
    near.on("error", () => {});
    near.once("data", (first: Buffer) => {
      // It was sent, and nobody hears of it again.
      if (isLost(first)) return;
      const far = connect(port, "127.0.0.1");
      far.on("error", () => {}).on("close", () => near.destroy());
      far.write(first);
      near.pipe(far);
      near.on("end", () => far.end());
      far.on("data", (bytes: Buffer) => near.write(filter(bytes)));
      near.on("close", () => far.destroy());
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
    listener.close();
  });
  return (listener.address() as AddressInfo).port;
}

/** BackendKeyData: K, its length of 12, the process and its key. */
function withoutKey(bytes: Buffer): Buffer {
  const at = bytes.indexOf(Buffer.from("4b0000000c", "hex"));
  return at < 0 ? bytes : Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 13)]);
}

/** Length, 1234 << 16 | 5678. */
const CANCEL = Buffer.from("04d2162e", "hex");

const nothing = (bytes: Buffer) => bytes;
const isCancel = (first: Buffer) => first.subarray(4, 8).equals(CANCEL);

async function lossyWorld(
  filter: (bytes: Buffer) => Buffer,
  isLost: (first: Buffer) => boolean,
  more: Partial<ProxyOptions> = {},
) {
  const world = await makeWorld();
  const port = await lossy(world.database.port, filter, isLost);
  const uri = new URL(world.database.uri);
  uri.port = String(port);
  const sluice = await startProxy({ ...world.database, port, uri: uri.href }, { policy: POLICY, ...more });
  onTestFinished(async () => {
    await sluice.close();
    await world.close();
  });
  return { database: world.database, sluice };
}

test.each([
  ["the server has given no key to cancel with", withoutKey, () => false],
  ["the request does not arrive", nothing, isCancel],
] as const)("a result past its limit ends the session where %s", async (_, filter, isLost) => {
  const { database, sluice } = await lossyWorld(filter, isLost);
  const anna = await sluice.connect("anna");
  const start = performance.now();
  await expect(anna.query(ENDLESS)).rejects.toMatchObject({ code: "54000", severity: "FATAL" });
  expect(performance.now() - start).toBeLessThan(20_000);
  // The server notices that nobody takes its rows.
  const running = async () =>
    (await database.query("SELECT pid FROM pg_stat_activity WHERE usename = 'anna' AND state = 'active'"))
      .rows;
  await expect.poll(running).toEqual([]);
});

test("a client's own request that gets lost keeps nobody waiting, and can hit nobody later", async () => {
  const { database, sluice } = await lossyWorld(nothing, isCancel, { pool: { size: 1 } });
  const [one, other] = [await sluice.connect("helpdesk_app"), await sluice.connect("helpdesk_app")];
  const pid = async (client: pg.Client) => (await client.query("SELECT pg_backend_pid() AS pid")).rows[0].pid;
  const before = await pid(one);
  const running = one.query("SELECT pg_sleep(2)");
  const isRunning = "SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(2)'";
  await expect.poll(async () => (await database.query(isRunning)).rowCount).toBe(1);
  const request = connect(sluice.port, "127.0.0.1");
  const key = one as unknown as { readonly processID: number; readonly secretKey: number };
  const packet = Buffer.alloc(16);
  packet.writeInt32BE(16, 0);
  CANCEL.copy(packet, 4);
  packet.writeInt32BE(key.processID, 8);
  packet.writeInt32BE(key.secretKey, 12);
  request.on("error", () => {}).write(packet);
  await running;
  const start = performance.now();
  expect(await pid(other)).not.toBe(before);
  expect(performance.now() - start).toBeLessThan(10_000);
  request.destroy();
  await Promise.all([one.end(), other.end()]);
});
