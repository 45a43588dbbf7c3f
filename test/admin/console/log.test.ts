import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { entriesOf } from "../../audit/support.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { ask, form, logIn, type Officer, TOKEN, words } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1h: 500, 1d: 900 } }
  app: { users: [helpdesk_app, metabase], reads: all, writes: all, sees: all }
canaries: { public.customers: [9000001] }
`;
const VIEWER = randomBytes(24).toString("hex");

let database: TestDatabase;
let sluice: TestSluice;
let officer: Officer;

beforeAll(async () => {
  database = await freshDatabase("console_log");
  await supportSchema(database.uri);
  const variables = {
    SLUICE_CONSOLE_TOKEN: `olga:${TOKEN} viewer/vera:${VIEWER}`,
    SLUICE_KEY: randomBytes(32).toString("hex"),
  };
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, variables });
  officer = await logIn(sluice);
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

async function connect(user: keyof typeof PASSWORDS): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

/** Who asked what of the log so far. */
async function questions() {
  const entries = await entriesOf(sluice.auditFolder);
  return entries.filter(({ unmapped }) => unmapped.kind === "question").map(({ unmapped }) => unmapped);
}

test("an officer searches the log on disk by user, statement, reference and person; each search is on record, the id nowhere", async () => {
  const anna = await connect("anna");
  await anna.query("SELECT email FROM customers WHERE id = 4711");
  const refusal = await anna.query("SELECT 'secret-literal' FROM payments").then(
    () => undefined,
    (error: pg.DatabaseError) => error,
  );
  const [, reference = ""] = /([0-9a-f]{8}-\d+)$/.exec(refusal?.where ?? "") ?? [];
  expect(reference).not.toBe("");
  const search = (fields: Readonly<Record<string, string>>) =>
    officer.send("/console/log", { kinds: "all", ...fields }).then(words);
  expect(await search({ user: "anna", statement: "from CUSTOMERS where" })).toMatch(
    /masked .*anna agent .*SELECT email FROM customers WHERE id = \$1/,
  );
  const byReference = words(await officer.see(`/console/log?reference=${reference}`));
  expect(byReference).toMatch(/✕ refused 42501 .*SELECT \$1 FROM payments .*reference/);
  expect(byReference).not.toContain("WHERE id");
  const person = { id: "4711", table: "public.customers.id" };
  expect(await search(person)).toContain("SELECT email FROM customers WHERE id = $1");
  expect(await search({ ...person, id: "4712" })).toContain("Nothing in this log matches");
  expect(await search({ ...person, table: "public.staff.id" })).toContain('no people of "public.staff.id"');
  expect(await search({ since: "yesterday" })).toContain("A time has the form 2026-05-31T14:00");
  expect(await search({ since: "2026-05-31T14:00", until: "2026-05-01T00:00" })).toContain(
    "The end lies before",
  );
  const asked = await questions();
  expect(asked).toContainEqual(expect.objectContaining({ question: "search", user: "anna" }));
  expect(asked).toContainEqual(expect.objectContaining({ question: "search", people: 1 }));
  expect(JSON.stringify(asked)).not.toContain("4711");
  // An id in an address is not looked at: it would stay in the browser's history.
  expect(words(await officer.see("/console/log?user=anna&id=4712&table=public.customers.id"))).toContain(
    "WHERE id",
  );
});

test("pages follow each other, and equal refusals in a row are one row with their number", async () => {
  const anna = await connect("anna");
  for (let i = 0; i < 42; i++)
    await expect(anna.query(`SELECT ${i} AS invoices FROM payments`)).rejects.toThrow();
  const alerts = words(await officer.see("/console/alerts?kind=refusal"));
  expect(alerts).toMatch(/refused ×42 42501 anna agent SELECT \$1 AS invoices FROM payments/);
  expect(alerts.match(/AS invoices/g)).toHaveLength(1);
  const found = words(await officer.send("/console/log", { kinds: "refusals", statement: "invoices" }));
  expect(found).toMatch(/refused ×42/);
  expect(found.match(/AS invoices/g)).toHaveLength(1);
  for (let i = 0; i < 101; i++) await anna.query(`SELECT id AS page_${i} FROM customers WHERE id = 1`);
  const first = await officer.send("/console/log", { kinds: "statements", statement: "as page_" });
  expect(words(first)).toContain("AS page_100 ");
  expect(words(first)).not.toContain("AS page_0 ");
  const [, after = ""] = /name="after" value="([^"]+)"/.exec(first) ?? [];
  const second = words(
    await officer.send("/console/log", { kinds: "statements", statement: "as page_", after }),
  );
  expect(second).toContain("AS page_0 ");
  expect(second).not.toContain("AS page_1 ");
  expect(second).not.toContain("Older");
});

test("an export is a file with the place of each line in the log, and no formula in it", async () => {
  const anna = await connect("anna");
  await anna.query(`SELECT id AS "=1+cmd" FROM customers WHERE id = 2`);
  const send = (as: string, cookie = officer.cookie, formToken = officer.formToken) =>
    ask(
      sluice,
      "/console/log-export",
      form(sluice, { form_token: formToken, kinds: "statements", statement: "=1+cmd", as }, { cookie }),
    );
  const csv = await send("csv");
  expect(csv.headers["content-disposition"]).toMatch(/^attachment; filename="sluice-log-\d{8}T\d{4}\.csv"$/);
  const [head = "", line = "", rest] = csv.text.split("\r\n");
  expect(head).toMatch(/^time,kind,user,.*,writer,sequence$/);
  expect(line).toMatch(/,statement,anna,.*"SELECT id AS ""=1\+cmd"" FROM customers WHERE id = \$1",.*,\d+$/);
  expect(rest).toBe("");
  const json = JSON.parse((await send("json")).text) as { events: readonly { user: string }[] };
  expect(json.events).toMatchObject([{ user: "anna", kind: "statement", people: 1 }]);
  expect(await questions()).toContainEqual(expect.objectContaining({ question: "export" }));
  const viewer = await logIn(sluice, VIEWER);
  expect((await send("csv", viewer.cookie, viewer.formToken)).status).toBe(403);
});

test("a viewer searches without people, and may not ask about one by a field of their own", async () => {
  const viewer = await logIn(sluice, VIEWER);
  expect(await viewer.see("/console/log")).not.toContain('name="id"');
  expect(words(await viewer.send("/console/log", { kinds: "all", user: "anna" }))).toContain("anna");
  const asked = { kinds: "all", id: "4711", table: "public.customers.id" };
  expect(words(await viewer.send("/console/log", asked))).toContain("Only officers ask about a person");
});

test("30 days of a user: days beside budget and peers, and a timeline of sessions and orders", async () => {
  const anna = await connect("anna");
  await anna.query("SELECT email FROM customers WHERE id BETWEEN 100 AND 129");
  await officer.send("/console/suspend", { user: "anna", why: "asked by the board" });
  await officer.send("/console/resume", { user: "anna", why: "cleared" });
  const page = await officer.see("/console/history?name=anna");
  const text = words(page);
  expect(text).toMatch(/Today \d+ people .*Usual day none yet .*Budget of a day 900 people/);
  expect(text).toMatch(/People read per day budget .*People read per hour budget/);
  expect(text).toMatch(/session [0-9a-f]{8} 30 1 30 rows · nothing in the clear · 127\.0\.0\.1/);
  expect(text).toMatch(/suspension asked by the board by console \(olga\)/);
  expect(page.match(/<rect class="bar-of/g)?.length).toBeGreaterThanOrEqual(2);
  expect(words(await officer.see("/console/history?name=nobody"))).toContain("Nothing within these days");
});

test("the statement that runs now is shown while it runs, without its literals", async () => {
  const [anna, blocker, app] = await Promise.all([
    connect("anna"),
    connect("helpdesk_app"),
    connect("metabase"),
  ]);
  await blocker.query("BEGIN");
  await blocker.query("LOCK customers IN ACCESS EXCLUSIVE MODE");
  const waiting = anna.query("SELECT email FROM customers WHERE id = $1 AND email <> 'hidden-text'", [77]);
  const transparent = app.query("SELECT count(*) FROM customers WHERE id < 4242");
  const page = await vi.waitFor(async () => {
    const seen = await officer.see("/console/sessions");
    expect(words(seen)).toMatch(/s anna agent SELECT email FROM customers WHERE id = \$1 AND email <> \$2/);
    expect(words(seen)).toMatch(/s metabase app SELECT count\(\*\) FROM customers WHERE id < \$1/);
    return seen;
  });
  expect(page).not.toMatch(/hidden-text|4242/);
  await blocker.query("COMMIT");
  await Promise.all([waiting, transparent]);
  expect(words(await officer.see("/console/sessions"))).toContain("No statement runs at this moment");
});

test("each load of the policy is shown with what changed, also of loads before the last, and no decoy", async () => {
  await sluice.setPolicy(POLICY.replace("1h: 500", "1h: 501").replace("9000001", "9000002"));
  onTestFinished(() => sluice.setPolicy(POLICY));
  await sluice.setPolicy(POLICY.replace("1h: 500", "1h: 502"));
  const page = await vi.waitFor(async () => {
    const seen = await officer.see("/console/policy-changes");
    expect(seen).toMatch(/<del>- policy\.yaml: {7}1h: 501\n<\/del><ins>\+ policy\.yaml: {7}1h: 502/);
    return seen;
  });
  expect(page).toMatch(/<del>- policy\.yaml: {7}1h: 500\n<\/del><ins>\+ policy\.yaml: {7}1h: 501/);
  expect(page).not.toMatch(/900000[12]/);
  expect(words(page)).toContain("there is nothing to compare it with");
});
