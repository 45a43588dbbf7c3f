import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import type { Alert } from "../../proxy/guard/behaviour/watch.ts";
import { signatureOf } from "../../proxy/guard/behaviour/webhook.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice } from "../harness/sluice.ts";

const POLICY = `version: 1
tables:
  public.customers: { subject: id }
roles:
  prober: { users: [anna], reads: [public.customers], budget: { 1d: 500 } }
  agent: { users: [ben], reads: [public.customers], budget: { 1d: 500 } }
`;

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase("alerts");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());

async function receiver() {
  const received: { readonly body: string; readonly signature: string }[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    received.push({ body, signature: String(request.headers["x-sluice-signature"]) });
    response.writeHead(204).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const folder = await mkdtemp(join(tmpdir(), "sluice-alerts-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const secret = randomBytes(32);
  await writeFile(join(folder, "key"), secret.toString("hex"), { mode: 0o600 });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return { received, secret, flags: ["--alert-webhook", url, "--alert-key-file", join(folder, "key")] };
}

test("who probes and who walks through ids is told of by log, metric and webhook", async () => {
  const { received, secret, flags } = await receiver();
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri, flags });
  onTestFinished(() => sluice.close());
  const connect = async (user: "anna" | "ben") => {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    client.on("error", () => {});
    await client.connect();
    onTestFinished(() => client.end().catch(() => {}));
    return client;
  };
  const anna = await connect("anna");
  for (let i = 0; i < 10; i++) {
    await expect(anna.query("select * from public.payments")).rejects.toMatchObject({ code: "42501" });
  }
  await vi.waitUntil(() => received.length === 1);
  const [first] = received;
  const alert = JSON.parse(first?.body ?? "") as Alert;
  expect(alert).toMatchObject({
    kind: "alert",
    rule: "refusals",
    action: "alert",
    user: "anna",
    role: "prober",
  });
  const seconds = Number(/^t=(\d+),/.exec(first?.signature ?? "")?.[1]);
  expect(first?.signature).toBe(signatureOf(first?.body ?? "", secret, seconds * 1000));
  expect(await sluice.metric("sluice_behaviour_alerts_total", 'rule="refusals"')).toBe(1);
  expect(sluice.log.some(({ msg }) => msg.startsWith("alert:"))).toBe(true);

  const ben = await connect("ben");
  for (let id = 1; id <= 60; id++) await ben.query("select name from public.customers where id = $1", [id]);
  await vi.waitUntil(() => received.length === 2);
  expect(JSON.parse(received[1]?.body ?? "")).toMatchObject({ rule: "sequence", user: "ben" });
});
