import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { uriFor } from "../../proxy/demo/demo-schema.ts";
import { type Desk, startDesk } from "../../proxy/demo/desk.ts";
import { DATABASE, fill, uriOf } from "../../proxy/demo/fill.ts";
import { customerAt } from "../../proxy/demo/made-up-people.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { entriesOf } from "../audit/support.ts";
import { openBrowser } from "../harness/browser.ts";
import { startPostgres } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = fileURLToPath(new URL("../../policies/support.yaml", import.meta.url));

let browser: Browser | undefined;
let lacking = "";
let server: RunningPostgres;
let sluice: TestSluice;
let desk: Desk;

beforeAll(async () => {
  browser = await openBrowser().catch((error: Error) => {
    lacking = `no Chromium here: ${error.message.split("\n")[0]}`;
    return undefined;
  });
  if (browser === undefined) return;
  server = await startPostgres();
  await fill(server.uri, { customers: 400, tickets: 400, messages: 100, payments: 10 }, () => {});
  sluice = await startSluice({
    policy: await readFile(POLICY, "utf8"),
    upstream: uriOf(server.uri, DATABASE),
  });
  desk = await startDesk({
    connectionString: uriFor("helpdesk_web", "127.0.0.1", sluice.port, DATABASE),
    port: 0,
  });
});
afterAll(async () => {
  await browser?.close();
  await desk?.close();
  await sluice?.close();
  await server?.stop();
});
beforeEach(({ skip }) => {
  if (browser === undefined) skip(lacking);
});

/** An agent in front of a browser of their own. */
async function logIn(agent: string): Promise<Page> {
  if (browser === undefined) throw new Error(lacking);
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("console", (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) complaints.push(message.text());
  });
  onTestFinished(async () => {
    await context.close();
    expect(complaints).toEqual([]);
  });
  await page.goto(desk.url);
  await page.getByLabel("Agent").selectOption(agent);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Customer 7" }).waitFor();
  return page;
}

test("two agents work by one account: the one who steals is stopped and named, the other one goes on", async () => {
  const [dora, emil] = [await logIn("dora"), await logIn("emil")];
  const { name, email } = customerAt(7);
  await dora.getByLabel("E-mail").fill(email);
  await dora.getByRole("button", { name: "Find" }).click();
  await dora.getByRole("row", { name: `name ${name}` }).waitFor();
  // What agents do not see is masked in the application as well.
  expect(await dora.content()).not.toContain(email);
  await expect.poll(() => dora.getByRole("row", { name: "email" }).textContent()).toContain("***@");

  let shown = 1;
  // Most of them without a browser that draws each.
  for (let id = 101; id <= 125; id++) {
    const response = await emil.context().request.get(`${desk.url}/customer?id=${id}`);
    if (response.ok()) shown += 1;
  }
  await emil.goto(`${desk.url}/customer?id=126`);
  while (shown < 100 && (await emil.getByRole("alert").count()) === 0) {
    shown += 1;
    await emil.getByRole("link", { name: "Next customer" }).click();
  }
  expect(shown).toBe(30);
  expect(await emil.getByRole("alert").textContent()).toMatch(/53400/);

  await dora.goto(`${desk.url}/customer?id=300`);
  await dora.getByRole("row", { name: `name ${customerAt(300).name}` }).waitFor();
  await expect
    .poll(async () => {
      const entries = await entriesOf(sluice.auditFolder);
      const stopped = entries.filter(({ unmapped }) => /refuse|cut/.test(String(unmapped.decision)));
      return JSON.stringify(stopped.map(({ actor }) => actor?.user));
    })
    .toMatch(/"name":"emil","account":\{"name":"helpdesk_web"\}/);
});
