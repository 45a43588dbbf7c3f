import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import type { Alert } from "../../proxy/behaviour/alert.ts";
import { signatureOf } from "../../proxy/behaviour/webhook.ts";
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
  // The rule sees people as they leave; whose statement that was is said by its event.
  expect(JSON.parse(received[1]?.body ?? "")).toMatchObject({
    ...{ rule: "sequence", user: "ben", application: expect.any(String), tables: ["public.customers"] },
    session: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
});

test("what happens to the guard, and orders, are told of with what to do", async () => {
  const { received, flags } = await receiver();
  const observing = `mode: observe\n${POLICY}`;
  const sluice = await startSluice({
    ...{ policy: observing, upstream: database.uri },
    flags: [...flags, "--console-url", "https://sluice.internal/"],
  });
  onTestFinished(() => sluice.close());
  const alerts = () => received.map(({ body }) => JSON.parse(body) as Alert);
  const told = (rule: string) => alerts().filter((alert) => alert.rule === rule);
  await vi.waitUntil(() => told("observe").length === 1);
  expect(told("observe")[0]).toMatchObject({
    ...{
      severity: "medium",
      next: { command: "sluice policy report" },
      console: "https://sluice.internal/console",
    },
    text: expect.stringContaining("only observes"),
  });
  await sluice.setPolicy(POLICY.replace("1d: 500", "1d: 3"));
  await vi.waitUntil(() => told("policy").length === 1);
  expect(told("policy")[0]).toMatchObject({ severity: "info" });

  const anna = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  anna.on("error", () => {});
  await anna.connect();
  onTestFinished(() => anna.end().catch(() => {}));
  for (let i = 0; i < 10; i++)
    await anna.query("select name from public.customers where id < 10").catch(() => {});
  await vi.waitUntil(() => told("budget").length === 2);
  expect(told("budget")).toMatchObject([
    {
      ...{ severity: "low", user: "anna", role: "prober", tables: ["public.customers"] },
      ...{
        text: "roles.prober.budget.1d is used up",
        console: "https://sluice.internal/console/user?name=anna",
      },
      session: expect.stringMatching(/./),
      next: { command: expect.stringMatching(/^sluice audit read-by anna --since /) },
    },
    { severity: "medium", figure: 10, today: { people: 3, newPeople: 3, budget: 3 } },
  ]);

  await sluice.setPolicy("version: 2");
  await vi.waitUntil(() => told("policy").length === 2);
  expect(told("policy")[1]).toMatchObject({ severity: "medium", text: expect.stringContaining("stays") });
});
