import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { TestDatabase } from "../harness/postgres.ts";
import { startSluice } from "./sluice.ts";
import { makeWorld, POLICY } from "./world.ts";

/* A statement past its role's limit is cancelled. Where that request gets lost, the client must not wait for ever. */

const ENDLESS = "select a.id from customers a, customers b, customers c";

/** A way to the database on which some things of the server's get lost. */
async function lossy(port: number, filter: (bytes: Buffer) => Buffer, isCancel: (first: Buffer) => boolean) {
  const open = new Set<Socket>();
  const listener = createServer((near) => {
    open.add(near);
    near.on("error", () => {});
    near.once("data", (first: Buffer) => {
      if (isCancel(first)) {
        near.destroy();
        return;
      }
      const far = connect(port, "127.0.0.1");
      far.on("error", () => {}).on("close", () => near.destroy());
      far.write(first);
      near.pipe(far);
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

test.each([
  ["the server has given no key to cancel with", withoutKey, () => false],
  [
    "the request does not arrive",
    (bytes: Buffer) => bytes,
    (first: Buffer) => first.subarray(4, 8).equals(CANCEL),
  ],
] as const)("a result past its limit ends the session where %s", async (_, filter, isCancel) => {
  const world = await makeWorld();
  const port = await lossy(world.database.port, filter, isCancel);
  const uri = new URL(world.database.uri);
  uri.port = String(port);
  const database: TestDatabase = { ...world.database, port, uri: uri.href };
  const sluice = await startSluice(database, { policy: POLICY });
  const anna = await sluice.connect("anna");
  const start = performance.now();
  await expect(anna.query(ENDLESS)).rejects.toMatchObject({ code: "54000", severity: "FATAL" });
  expect(performance.now() - start).toBeLessThan(20_000);
  // The server notices that nobody takes its rows.
  const running = async () =>
    (
      await world.database.query(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'anna' AND state = 'active'",
      )
    ).rows;
  await expect.poll(running).toEqual([]);
  await sluice.close();
  await world.close();
});
