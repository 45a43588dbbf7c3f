import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import pg from "pg";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { PAGES as PAGES_OF_CONSOLE } from "../../../proxy/admin/console/pages.ts";
import { openBrowser } from "../../harness/browser.ts";
import { compileSluice, type Program } from "../../harness/compiled-program.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { TOKEN } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email }, name: { mask: initials }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name } }
  public.tickets: { subject: customer_id, columns: { body: text } }
roles:
  agent:
    users: [anna]
    reads: [public.customers, public.tickets]
    sees: [name, text: { when: "customer_id IN (SELECT t.customer_id FROM public.tickets t WHERE t.assignee = :user)" }]
    finds: [email]
    rows: 100
    budget: { 1h: 20, 1d: 100, 30d: 1000 }
  lead: { users: [cleo], reads: [public.customers], sees: [email, name], budget: { 1d: 200 } }
  app: { users: [helpdesk_app, metabase], reads: all, writes: all, sees: all, budget: none }
`;
/** Where to keep what the pages look like, to be judged by eye. */
const PICTURES = process.env.SLUICE_SCREENSHOTS;
const PAGES = [
  ...["", "/readers", "/sessions", "/alerts", "/person", "/policy", "/explain", "/user?name=anna"],
  ...["/leak", "/cases", "/log", "/log?user=anna", "/history?name=anna", "/policy-changes"],
];

/** Of one session and one case, which other tests open. */
const OF_ONE = new Set(["/console/session", "/console/case"]);

let browser: Browser | undefined;
let lacking = "";
let database: TestDatabase;
let program: Program | undefined;
let sluice: TestSluice;

beforeAll(async () => {
  browser = await openBrowser().catch((error: Error) => {
    lacking = `no Chromium here: ${error.message.split("\n")[0]}`;
    return undefined;
  });
  if (browser === undefined) return;
  [database, program] = await Promise.all([freshDatabase("console_browser"), compileSluice()]);
  await supportSchema(database.uri);
  const variables = { SLUICE_CONSOLE_TOKEN: `olga:${TOKEN}`, SLUICE_KEY: "5".repeat(64) };
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, variables, threads: program.threads });
});
afterAll(async () => {
  await browser?.close();
  await sluice?.close();
  await database?.drop();
});
beforeEach(({ skip }) => {
  if (browser === undefined) skip(lacking);
});

/** A browser of somebody's own. What it would complain of, a script of others or one of ours, fails the test. */
async function open(options: BrowserContextOptions = {}): Promise<Page> {
  if (browser === undefined) throw new Error(lacking);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", ({ message }) => complaints.push(message));
  page.on("dialog", (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
  page.on("console", (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) complaints.push(message.text());
  });
  onTestFinished(async () => {
    await context.close();
    expect(complaints).toEqual([]);
  });
  await page.goto(`${sluice.adminUrl}/console`);
  return page;
}

async function openLoggedIn(options?: BrowserContextOptions): Promise<Page> {
  const page = await open(options);
  await page.getByLabel("Console token").fill(TOKEN);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  return page;
}

async function connect(user: keyof typeof PASSWORDS, application = "help desk"): Promise<pg.Client> {
  const connectionString = sluice.uriFor(user, PASSWORDS[user]);
  const client = new pg.Client({ connectionString, application_name: application });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

async function picture(page: Page, name: string): Promise<void> {
  if (PICTURES !== undefined) await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
}

test("the wrong token is told so, the right one opens the page that was asked for", async () => {
  const page = await open();
  await page.goto(`${sluice.adminUrl}/console/alerts?kind=alert`);
  await page.getByLabel("Console token").fill("not it");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("This is not the token.").waitFor();
  await picture(page, "log-in");
  await page.getByLabel("Console token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Alerts" }).waitFor();
  expect(page.url()).toBe(`${sluice.adminUrl}/console/alerts?kind=alert`);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Log in to the console" }).waitFor();
});

test("a page of somebody else's cannot suspend anybody, though the browser sends the cookie with its form", async () => {
  const page = await openLoggedIn();
  // Cookies know no ports: another program on this host is of the same site, and SameSite lets its form through.
  const evil = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<form method="post" action="${sluice.adminUrl}/console/suspend"><input name="user" value="anna">
      <input name="why" value="x"><button>Win a prize</button></form>`);
  });
  await new Promise<void>((resolve) => evil.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void evil.close());
  await page.goto(`http://127.0.0.1:${(evil.address() as AddressInfo).port}/`);
  const [answer] = await Promise.all([page.waitForResponse(/suspend/), page.getByRole("button").click()]);
  expect((await answer.request().allHeaders()).cookie).toContain("sluice_console=");
  expect(answer.status()).toBe(403);
  await page.goto(`${sluice.adminUrl}/console`);
  await page.getByText("Nobody is suspended.").waitFor();
});

test("a refusal appears by itself, and a screen reader is told", async () => {
  const page = await openLoggedIn();
  await page.getByRole("navigation").getByRole("link", { name: "Alerts" }).click();
  await page.getByRole("heading", { name: "Alerts" }).waitFor();
  const anna = await connect("anna");
  await expect(anna.query("SELECT 'one' FROM payments")).rejects.toThrow();
  await expect(anna.query("SELECT id FROM customers WHERE id < 200")).rejects.toThrow();
  const row = page.getByRole("row").filter({ hasText: "FROM payments" }).first();
  await row.getByText("refused").waitFor();
  await page
    .getByRole("status")
    .filter({ hasText: /new entr/ })
    .waitFor({ state: "attached" });
  await picture(page, "alerts");
});

test("suspending ends a session that is open, resuming lets the user in again", async () => {
  const page = await openLoggedIn();
  const cleo = await connect("cleo");
  await cleo.query("SELECT name, email FROM customers WHERE id < 190");
  const gone = new Promise((resolve) => cleo.once("end", resolve));
  await page.getByRole("navigation").getByRole("link", { name: "Readers" }).click();
  await page
    .getByRole("table", { name: "What each user has read" })
    .getByRole("link", { name: "cleo" })
    .click();
  await page.getByRole("heading", { name: "cleo", exact: true }).waitFor();
  await page.getByRole("button", { name: "Suspend cleo" }).click();
  // Without a reason the browser keeps the form.
  expect(await page.locator("#suspend-why:invalid").count()).toBe(1);
  await page.getByLabel("Reason").fill("reads the whole customer list");
  await page.getByRole("button", { name: "Suspend cleo" }).click();
  await page.getByRole("status").filter({ hasText: "cleo is suspended" }).waitFor();
  await gone;
  await expect(connect("cleo")).rejects.toThrow(/suspended/);
  await picture(page, "suspended");
  await page.getByLabel("Reason").fill("asked her: a report for the board");
  await page.getByRole("button", { name: "Resume cleo" }).click();
  await page.getByRole("status").filter({ hasText: "cleo may log in again" }).waitFor();
  await connect("cleo");
});

test("who read a customer is answered on the page, and the id stands in no address", async () => {
  const page = await openLoggedIn();
  const cleo = await connect("cleo");
  await cleo.query("SELECT name, email FROM customers WHERE id = 4711");
  await page.getByRole("navigation").getByRole("link", { name: "Person" }).click();
  await page.getByLabel("Id", { exact: true }).fill("4711");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Answer" }).waitFor();
  await page.getByText("1 statement of 1 user read this person.").waitFor();
  await page
    .getByRole("row")
    .filter({ hasText: "WHERE id = $1" })
    .getByRole("link", { name: "cleo" })
    .waitFor();
  expect(page.url()).not.toContain("4711");
  await picture(page, "person");
});

test("a leaked list is chosen as a file or pasted, answered with who read it, and attached to a case", async () => {
  const page = await openLoggedIn();
  const cleo = await connect("cleo");
  await cleo.query("SELECT name, email FROM customers WHERE id BETWEEN 301 AND 305");
  await page.getByRole("navigation").getByRole("link", { name: "Person" }).click();
  await page.getByRole("link", { name: "who read a leaked list?" }).click();
  await page.getByRole("button", { name: "Ask the log" }).click();
  await page.getByText("Give a list: choose a file, or paste it.").waitFor();
  const buffer = Buffer.from("customer;<b>name</b>\r\n301;x\r\n302;y\r\n303;z\r\n88888888;q\r\n");
  await page
    .getByLabel("List of people: a file")
    .setInputFiles({ name: "leak.csv", mimeType: "text/csv", buffer });
  await page.getByLabel("Column of the list").fill("customer");
  await page.getByLabel("email", { exact: true }).check();
  await page.getByLabel("Attach the answer to").selectOption({ index: 1 });
  await page.getByRole("button", { name: "Ask the log" }).click();
  await page.getByRole("heading", { name: "Answer" }).waitFor();
  await page
    .getByText("4 leaked people of public.customers.id, 3 of them read by a user in this log")
    .waitFor();
  await page
    .getByRole("row")
    .filter({ has: page.getByRole("link", { name: "cleo" }) })
    .getByText("3", { exact: true })
    .first()
    .waitFor();
  await page.getByRole("heading", { name: "Not covered" }).waitFor();
  expect(await page.getByLabel("or pasted, one a line").inputValue()).toBe("");
  await picture(page, "leak-answer");
  await page.getByRole("link", { name: /^case / }).click();
  await page.getByText(/Who read a leaked list\? 4 leaked people/).waitFor();
});

test("an officer goes from an alert to its case, takes and closes it", async () => {
  const page = await openLoggedIn();
  await page.getByRole("navigation").getByRole("link", { name: "Cases" }).click();
  const row = page.getByRole("row").filter({ hasText: "anna" });
  await row.getByRole("link").first().click();
  await page.getByRole("heading", { name: /^Case / }).waitFor();
  await page.getByRole("button", { name: "Take this case" }).click();
  await page.getByRole("status").filter({ hasText: "The case has an owner" }).waitFor();
  await picture(page, "case");
  await page.getByLabel("It was", { exact: true }).selectOption("false alarm");
  await page.getByLabel("Why it is closed").fill("a busy day");
  await page.getByRole("button", { name: "Close this case" }).click();
  await page.getByText("closed: false alarm").first().waitFor();
});

test("the explain box shows verdict, reason and the text that the server would get", async () => {
  const page = await openLoggedIn();
  await page.getByRole("navigation").getByRole("link", { name: "Explain" }).click();
  await page.getByLabel("User", { exact: true }).fill("anna");
  await page.getByLabel("Statement").fill("select name, email from customers where email = 'a@example.com'");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("The statement is rewritten").waitFor();
  await page.getByRole("region", { name: "What the server would get" }).getByText("FROM").waitFor();
  await picture(page, "explain-rewritten");
  await page.getByLabel("Statement").fill("select * from payments");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("The statement is refused").waitFor();
  await page.getByText("42501", { exact: true }).waitFor();
  await picture(page, "explain-refused");
  await page.getByLabel("User", { exact: true }).fill("");
  await page.getByLabel("Role").selectOption("lead");
  await page.getByLabel("Statement").fill("select email from customers where id = 7");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.getByText("cleo, role lead").waitFor();
});

test("on a phone, in the dark as in the light, each page fits, whatever clients call themselves", async () => {
  const evil = `"onload="alert(1)" <script>alert(2)</script>${"x".repeat(30)}`;
  const anna = await connect("anna", evil);
  // Her budget is used up: what says that it is about somebody whom she has read goes through.
  await anna.query(`SELECT id AS "<img src=x onerror=alert(3)>" FROM customers WHERE id = 1`);
  await anna.query(
    `SELECT name, email FROM customers WHERE id = 1 AND id IN (${Array.from({ length: 60 }, (_, i) => i % 15)})`,
  );
  const phone = await openLoggedIn({ viewport: { width: 360, height: 720 }, colorScheme: "light" });
  const desk = await openLoggedIn({ colorScheme: "dark" });
  const shown = new Set(PAGES.map((path) => `/console${path.split("?")[0]}`));
  const isShown = (path: string) => shown.has(path) || OF_ONE.has(path) || path.endsWith("/");
  expect([...PAGES_OF_CONSOLE.keys()].filter((path) => !isShown(path))).toEqual([]);
  for (const path of PAGES) {
    // What asks the log takes the longest, and is of the same pieces as the others.
    const onDesk = path.startsWith("/log?") ? [] : [[desk, "desk-dark"] as const];
    for (const [page, name] of [[phone, "phone"] as const, ...onDesk]) {
      await page.goto(`${sluice.adminUrl}/console${path}`);
      const { wide, inner } = (await page.evaluate(
        "({ wide: document.documentElement.scrollWidth, inner: innerWidth })",
      )) as { wide: number; inner: number };
      expect(wide, `${path} ${name}`).toBeLessThanOrEqual(inner);
      expect(await page.locator("main img, main script, table:not(:has(caption))").count(), path).toBe(0);
      await picture(page, `${name}${path.replace(/\W/g, "-")}`);
    }
  }
  const ground = (page: Page) => page.evaluate("getComputedStyle(document.documentElement).backgroundColor");
  expect(await ground(phone)).toBe("rgb(246, 247, 248)");
  expect(await ground(desk)).toBe("rgb(15, 19, 23)");
  await phone.goto(`${sluice.adminUrl}/console/sessions`);
  await phone.getByText(evil).waitFor();
});

test("all of it is reached by the keyboard, and every field has a name", async () => {
  const page = await openLoggedIn();
  await page.goto(`${sluice.adminUrl}/console/user?name=anna`);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("main:focus").waitFor();
  await page.keyboard.press("Tab");
  await page.locator("#suspend-why:focus-visible").waitFor();
  const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineWidth");
  expect(outline).toBe("3px");
  for (const path of PAGES) {
    await page.goto(`${sluice.adminUrl}/console${path}`);
    const nameless = await page.evaluate(
      `[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter((one) => !one.labels.length).length`,
    );
    expect(nameless, path).toBe(0);
    for (const landmark of ["banner", "navigation", "main", "contentinfo"] as const) {
      expect(await page.getByRole(landmark).count(), `${path} ${landmark}`).toBe(1);
    }
    expect(await page.getByRole("heading", { level: 1 }).count(), path).toBe(1);
  }
});

test("a browser without scripts does all but look for news by itself", async () => {
  const page = await openLoggedIn({ javaScriptEnabled: false });
  await page.getByRole("link", { name: "Readers", exact: true }).click();
  await page.getByRole("textbox", { name: "User" }).fill("metabase");
  await page.getByLabel("Reason").fill("a trial");
  await page.getByRole("button", { name: "Suspend" }).click();
  await page.getByRole("status").filter({ hasText: "metabase is suspended" }).waitFor();
  await page.getByLabel("Reason").fill("it was one");
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("status").filter({ hasText: "may log in again" }).waitFor();
});
