import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect, onTestFinished, test, vi } from "vitest";
import { auditBreach } from "../../../proxy/commands/audit-breach.ts";
import { auditExport } from "../../../proxy/commands/audit-export.ts";
import { auditVerify } from "../../../proxy/commands/audit-verify.ts";
import { freshDatabase, PASSWORDS, supportSchema } from "../../harness/postgres.ts";
import { startSluice } from "../../harness/sluice.ts";
import { logIn, TOKEN, words } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email }, name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name } }
roles:
  agent: { users: [anna, ben], reads: [public.customers], sees: [name], budget: { 1h: 60, 1d: 300 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

/** What a receiver of alerts is sent. */
interface Told {
  readonly rule: string;
  readonly user: string;
  readonly console: string;
  readonly next: { readonly command: string };
}

/** docs/officers-day.md, step by step: the page says what is done here, and this holds it to that. */
test("the officer's day: from the alert over the case to the notification, its list and its evidence", async () => {
  const database = await freshDatabase("officers_day");
  onTestFinished(() => database.drop());
  await supportSchema(database.uri);
  const folder = await mkdtemp(join(tmpdir(), "sluice-day-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const [keyFile, webhookKey] = [join(folder, "key"), join(folder, "webhook.key")];
  const secret = randomBytes(32).toString("hex");
  await writeFile(keyFile, secret, { mode: 0o600 });
  await writeFile(webhookKey, randomBytes(32).toString("hex"), { mode: 0o600 });
  const received: Told[] = [];
  const receiver = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    received.push(JSON.parse(body) as Told);
    response.writeHead(204).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  onTestFinished(() => {
    receiver.closeAllConnections();
    receiver.close();
  });
  const sluice = await startSluice({
    ...{ policy: POLICY, upstream: database.uri },
    variables: { SLUICE_CONSOLE_TOKEN: `olga:${TOKEN}`, SLUICE_KEY: secret },
    flags: [
      ...["--alert-webhook", `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`],
      ...["--alert-key-file", webhookKey, "--console-url", "http://127.0.0.1:9432"],
    ],
  });
  onTestFinished(() => sluice.close());
  const connect = async (user: keyof typeof PASSWORDS) => {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    client.on("error", () => {});
    await client.connect();
    onTestFinished(() => client.end().catch(() => {}));
    return client;
  };
  const ben = await connect("ben");
  for (const id of [17, 3_301, 905]) await ben.query("SELECT name FROM customers WHERE id = $1", [id]);
  const anna = await connect("anna");
  for (let i = 0; i < 3; i++)
    await anna.query(`SELECT name FROM customers WHERE id BETWEEN ${i * 20 + 1} AND ${i * 20 + 20}`);
  await expect(anna.query("SELECT name FROM customers WHERE id = 5000")).rejects.toThrow(/budget|people/);
  const began = performance.now();

  // 1. The alert says who, what next, and where to look.
  const alert = await vi.waitFor(() => {
    const found = received.find(({ user }) => user === "anna");
    if (found === undefined) throw new Error("nothing was told yet");
    return found;
  });
  expect(alert.console).toBe("http://127.0.0.1:9432/console/user?name=anna");
  expect(alert.next.command).toContain("anna");
  const officer = await logIn(sluice);
  expect(words(await officer.see(new URL(alert.console).pathname + new URL(alert.console).search))).toContain(
    "Cases about this user",
  );

  // 2. The case has an owner.
  const cases = await officer.see("/console/cases");
  const [, id = ""] = /href="\/console\/case\?id=([0-9a-f-]{36})"/.exec(cases) ?? [];
  const say = (change: string, fields: Readonly<Record<string, string>>) =>
    officer.send("/console/case", { case: id, change, ...fields }).then(words);
  expect(await say("owner", { text: "console (olga)" })).toContain("About anna");

  // 3. Cut off.
  const gone = new Promise((resolve) => anna.once("end", resolve));
  expect(
    words(await officer.send("/console/suspend", { user: "anna", why: "reads customers in a row" })),
  ).toContain("anna is suspended");
  await gone;

  // 4. What they did, beside their peers.
  const history = words(await officer.see("/console/history?name=anna"));
  expect(history).toMatch(/Today 60 people .*Budget of a day 300 people Peers 1 user of the same role/);
  expect(history).toMatch(/suspension reads customers in a row/);
  expect(words(await officer.send("/console/log", { kinds: "statements", user: "anna" }))).toMatch(
    /in the clear: name .*WHERE id BETWEEN/,
  );

  // 5. The figures and the list.
  const told: string[] = [];
  const streams = {
    output: { write: (text: string) => told.push(text) > 0 },
    errors: { write: (text: string) => told.push(text) > 0 },
  };
  const log = ["--audit", sluice.auditFolder, "--key-file", keyFile];
  const out = join(folder, "case");
  const asked = [
    ...["--user", "anna", "--out", out, "--upstream", database.uri, "--group", "country"],
    ...log,
  ];
  expect(await auditBreach([...asked, "--by", "olga"], streams), told.join("")).toBe(0);
  const sheet = await readFile(join(out, "breach.md"), "utf8");
  expect(sheet).toMatch(/\b60\b/);
  expect(sheet).toContain("anna");
  const people = (await readFile(join(out, "people.csv"), "utf8")).trim().split("\r\n");
  expect(people).toHaveLength(61);

  // 6. The evidence, which proves itself.
  expect(await auditExport(["--case", out, ...log, "--by", "olga"], streams), told.join("")).toBe(0);
  const proof = spawnSync(process.execPath, [join(out, "evidence/verify.mjs")], { encoding: "utf8" });
  expect(proof.status, proof.stdout + proof.stderr).toBe(0);
  expect(await auditVerify([sluice.auditFolder], streams), told.join("")).toBe(0);

  // 7. The case is answered and closed, and all of it is in the log.
  expect(
    await say("answer", { text: "cut off; 60 customers, names in the clear; notification sent" }),
  ).toContain("answered");
  expect(await say("closed", { outcome: "breach", text: "notified under reference 2026-17" })).toContain(
    "closed: breach",
  );
  const orders = words(await officer.send("/console/log", { kinds: "orders", user: "anna" }));
  expect(orders).toMatch(/closed: breach: notified .*owner.* suspension|case .*suspension/);
  expect(performance.now() - began).toBeLessThan(600_000);
});
