import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { auditWhoRead } from "../../../proxy/commands/audit-who-read.ts";
import { entriesOf } from "../../audit/support.ts";
import { compileSluice, type Program } from "../../harness/compiled-program.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { ask, form, logIn, type Officer, TOKEN, words } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna, ben], reads: [public.customers], budget: { 1h: 500, 1d: 900 } }
  app: { users: [helpdesk_app, metabase], reads: all, writes: all, sees: all }
canaries: { public.customers: [9000001] }
`;
const VIEWER = randomBytes(24).toString("hex");
const SECRET = randomBytes(32).toString("hex");

let database: TestDatabase;
let program: Program;
let sluice: TestSluice;
let officer: Officer;

beforeAll(async () => {
  [database, program] = await Promise.all([freshDatabase("console_log"), compileSluice()]);
  await supportSchema(database.uri);
  const variables = {
    SLUICE_CONSOLE_TOKEN: `olga:${TOKEN} viewer/vera:${VIEWER}`,
    SLUICE_KEY: SECRET,
    SLUICE_CONSOLE_UPSTREAM: database.uri,
  };
  const { threads } = program;
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, variables, threads });
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

/** A form with a file, as a browser sends it. */
function upload(
  fields: Readonly<Record<string, string>>,
  file: string | Buffer,
  { cookie, formToken }: Officer = officer,
  headers: Readonly<Record<string, string>> = {},
) {
  const boundary = `----boundary${randomBytes(8).toString("hex")}`;
  const parts = Object.entries({ form_token: formToken, ...fields }).map(
    ([name, value]) => `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="leak.csv"\r\nContent-Type: text/csv\r\n\r\n`;
  const body = Buffer.concat([
    Buffer.from(`${parts.join("")}${head}`),
    Buffer.from(file),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
  return ask(sluice, "/console/leak", {
    method: "POST",
    body,
    headers: {
      "content-type": `multipart/form-data; boundary=${boundary}`,
      origin: sluice.adminUrl,
      cookie,
      ...headers,
    },
  });
}

/** What the command says of the same list, without its table. */
async function commandSays(list: string, flags: readonly string[]): Promise<readonly string[]> {
  const [listFile, keyFile] = [join(sluice.auditFolder, "../leak.csv"), join(sluice.auditFolder, "../key")];
  await writeFile(listFile, list);
  await writeFile(keyFile, SECRET, { mode: 0o600 });
  const said: string[] = [];
  const streams = {
    output: { write: (text: string) => said.push(text) > 0 },
    errors: { write: (text: string) => said.push(text) > 0 },
  };
  const where = ["--audit", sluice.auditFolder, "--key-file", keyFile, "--upstream", database.uri];
  await auditWhoRead(["--subjects", listFile, ...where, ...flags], streams);
  return said.join("").split("\n");
}

test("who read a leaked list of email addresses: the command's words and what they do not cover, on a case, and no address anywhere", async () => {
  const anna = await connect("anna");
  const stolen = Array.from({ length: 40 }, (_, i) => 7 + 23 * i);
  await anna.query(`SELECT email FROM customers WHERE id IN (${stolen.join(", ")})`);
  await anna.query("SELECT email FROM customers WHERE id = 9000001").catch(() => {});
  const app = new pg.Client({ connectionString: database.uri });
  await app.connect();
  onTestFinished(() => app.end());
  const { rows } = await app.query<{ email: string }>("SELECT email FROM customers WHERE id = ANY ($1)", [
    stolen.slice(0, 30),
  ]);
  const list = `Mail;Name\r\n${rows.map(({ email }) => `${email.toUpperCase()};x`).join("\r\n")}\r\n`;
  const fields = { table: "public.customers.id", match: "email", like: "none", since: "", until: "" };
  // Masks alone are no reading that counts.
  const masked = words((await upload(fields, list)).text);
  expect(masked).toContain("No user in this log read any of them");
  await sluice.setPolicy(
    POLICY.replace("reads: [public.customers]", "reads: [public.customers], sees: [email]"),
  );
  onTestFinished(() => sluice.setPolicy(POLICY));
  const again = await connect("anna");
  await again.query(`SELECT email FROM customers WHERE id IN (${stolen.join(", ")})`);
  // Another's work, of which nothing leaked.
  const ben = await connect("ben");
  await ben.query("SELECT email FROM customers WHERE id BETWEEN 700 AND 850");
  const cases = await officer.see("/console/leak");
  const [, id = ""] = /<option value="([0-9a-f-]{36})">[0-9a-f]{8}, anna/.exec(cases) ?? [];
  const { status, text } = await upload({ ...fields, needs: "email", case: id }, list);
  expect(status, words(text)).toBe(200);
  const said = words(text);
  expect(said).toMatch(
    /Answer anna read 30 of the 30 leaked people, which chance gives to no innocent user but/,
  );
  const command = (
    await commandSays(list, ["--match", "email", "--like", "none", "--needs", "email"])
  ).filter((line) => /^(\d|anna|compared|only)/.test(line) && !/^anna +\d/.test(line));
  expect(command.length).toBeGreaterThan(4);
  for (const line of command) expect(said).toContain(line);
  expect(said).toMatch(/Not covered whatever was read before/);
  expect(words(await officer.see(`/console/case?id=${id}`))).toMatch(
    /comment Who read a leaked list\? 30 leaked people .* anna read 30 of the 30 leaked people/,
  );
  const asked = await questions();
  expect(asked).toContainEqual(expect.objectContaining({ question: "who-read", people: 30 }));
  const kept = JSON.stringify([await entriesOf(sluice.auditFolder), sluice.lines, text]).toLowerCase();
  for (const { email } of rows) expect(kept).not.toContain(email.toLowerCase());
});

test("a leaked list that cannot be asked about is refused in the command's words, and no answer says nobody", async () => {
  const send = async (list: string | Buffer, fields: Readonly<Record<string, string>> = {}) =>
    words((await upload({ table: "public.customers.id", ...fields }, list)).text);
  expect(await send("a@example.com\nb@example.com\n")).toContain(
    "List: these are email addresses, not ids of public.customers.id",
  );
  expect(await send("1\n2\n", { table: "public.staff.id" })).toContain(
    'People of: this log knows no people of "public.staff.id"',
  );
  expect(await send("1\n", { column: "<b>=1+1" })).toContain('the list has no column "<b>=1+1"; it has 1');
  expect(await send("\n \n")).toContain("Give a list: choose a file, or paste it");
  expect(await send("1\n", { list: "2" })).toContain("Give the list once");
  expect(await send(Buffer.from([0xff, 0x00, 0x31]))).toContain("no text in UTF-8");
  expect(await send("1\n", { case: "none of ours" })).toContain("There is no such case");
  expect(await send("1\n", { since: "soon" })).toContain("A day has the form 2026-05-31");
  const many = Array.from({ length: 50_001 }, (_, i) => `${i}`).join("\n");
  expect(await send(many)).toContain("more than 50,000 people");
  const asked = (await questions()).filter(({ question }) => question === "who-read");
  expect(asked).toContainEqual(expect.objectContaining({ people: 50_001 }));
  // Markup in a header or a value is text.
  const page = (await upload({ table: "public.customers.id" }, "<img src=x onerror=alert()>\n77777771\n"))
    .text;
  expect(page).toContain("&lt;img src=x onerror=alert()&gt;");
  expect(page).not.toContain("<img");
});

test("only an officer's own form uploads a list, of a size that is bounded", async () => {
  const list = "1\n2\n";
  const viewer = await logIn(sluice, VIEWER);
  expect(words(await viewer.see("/console/leak"))).toContain("Only officers ask about people");
  expect((await upload({}, list, viewer)).status).toBe(415);
  const plainForm = form(sluice, { form_token: viewer.formToken, list }, { cookie: viewer.cookie });
  expect((await ask(sluice, "/console/leak", plainForm)).status).toBe(403);
  expect((await upload({ form_token: "another's" }, list)).status).toBe(403);
  expect((await upload({}, list, officer, { origin: "http://evil.example" })).status).toBe(403);
  expect((await upload({}, list, officer, { "sec-fetch-site": "cross-site" })).status).toBe(403);
  expect((await upload({}, list, { ...officer, cookie: "sluice_console=x" })).status).toBe(415);
  const wrong = { "content-type": "multipart/form-data; boundary=another" };
  expect((await upload({}, list, officer, wrong)).status).toBe(400);
  // Thousands of fields, or heads as long as the list may be, would keep the proxy's clients waiting for seconds.
  const fields = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`field ${i}`, "x"]));
  expect((await upload(fields(250), list)).status).toBe(200);
  expect((await upload(fields(300), list)).status).toBe(400);
  expect((await upload({ [`field ${"x".repeat(2_000)}`]: "x" }, list)).status).toBe(400);
  // Not read to its end: the answer may be lost with the connection.
  const long = await upload({}, Buffer.alloc(4 * 1024 * 1024, "1\n")).then(
    ({ status }) => status,
    ({ code }: NodeJS.ErrnoException) => code,
  );
  expect([413, "ECONNRESET", "EPIPE"]).toContain(long);
  const before = await questions();
  expect(before.filter(({ question }) => question === "who-read").length).toBeGreaterThan(0);
  expect(words(await officer.see("/console/leak"))).toContain("Ask the log");
});
