import { createHmac, randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { deriveKeys } from "../../../proxy/keys/secret.ts";
import { entriesOf } from "../../audit/support.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../../harness/postgres.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { logIn, type Officer, TOKEN, words } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email }, phone: { mask: { token: tel_ } } }
tables:
  public.customers: { subject: id, columns: { email: email, phone: phone } }
roles:
  agent: { users: [anna], reads: [public.customers], finds: [email], budget: { 1h: 20, 1d: 100 } }
  lead: { users: [cleo], reads: [public.customers], sees: [email], budget: { 1d: { people: 200, bytes: 2MB } } }
  app: { users: [helpdesk_app, metabase], reads: all, writes: all, sees: all }
  desk:
    users: [ben]
    reads: [public.customers]
    people_behind: [{ setting: app.token }]
    signed_by: { jwks: "https://login.example.com/jwks" }
    acts_as: { claim: groups, roles: { leads: lead, support: agent } }
    unnamed: refuse
`;

const SECRET = randomBytes(32);
const [VIEWER, DBA] = [randomBytes(24).toString("hex"), randomBytes(24).toString("hex")];

let database: TestDatabase;
let sluice: TestSluice;
let officer: Officer;

beforeAll(async () => {
  database = await freshDatabase("console_pages");
  await supportSchema(database.uri);
  const tokens = `olga:${TOKEN} viewer/vera:${VIEWER} dba/dora:${DBA}`;
  const variables = { SLUICE_CONSOLE_TOKEN: tokens, SLUICE_KEY: SECRET.toString("hex") };
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, variables });
  officer = await logIn(sluice);
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

async function connect(user: keyof typeof PASSWORDS, application = "test"): Promise<pg.Client> {
  const connectionString = sluice.uriFor(user, PASSWORDS[user]);
  const client = new pg.Client({ connectionString, application_name: application });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

test("an officer sees who is connected, how many people each has read, and what was refused", async () => {
  const anna = await connect("anna", "help desk");
  await anna.query("SELECT id, email FROM customers WHERE id <= 5");
  await expect(anna.query("SELECT 'secret-literal' FROM payments")).rejects.toThrow(/payments/);
  expect(words(await officer.see("/console/sessions"))).toMatch(
    /anna agent console_pages\S* 127.0.0.1 help desk/,
  );
  expect(words(await officer.see("/console/readers"))).toMatch(
    /5 of 20 people in 1h 25 % .*5 of 100 people in 1d 5 %/,
  );
  const alerts = await officer.see("/console/alerts");
  expect(words(alerts)).toMatch(/refused 42501 anna agent SELECT \$1 FROM payments/);
  expect(alerts).not.toContain("secret-literal");
});

test("what somebody runs again and again is one row, with the least and the most of each run", async () => {
  const anna = await connect("anna", "again");
  for (const id of [1, 2, 2]) await anna.query("SELECT id, email FROM customers WHERE id = $1", [id]);
  for (const last of [1, 5]) await anna.query("SELECT email FROM customers WHERE id <= $1", [last]);
  const page = words(await officer.see("/console/user?name=anna"));
  expect(page).toMatch(/×2 email SELECT email FROM customers WHERE id <= \$1 1 to 5 1 to 5 /);
  expect(page).toMatch(/×3 email SELECT id, email FROM customers WHERE id = \$1 1 each 1 each /);
});

test("a session's statements are shown without literals, each with its verdict", async () => {
  const anna = await connect("anna");
  await anna.query("SELECT email FROM customers WHERE id = 77");
  await expect(anna.query("SELECT 'hidden-text' FROM payments")).rejects.toThrow();
  const list = await officer.see("/console/sessions");
  const [, id = ""] = list.match(/.*href="\/console\/session\?id=([0-9a-f-]{36})"/s) ?? [];
  const page = await officer.see(`/console/session?id=${id}`);
  expect(words(page)).toMatch(/✓ masked email SELECT email FROM customers WHERE id = \$1 1 1/);
  expect(words(page)).toMatch(/✕ refused 42501/);
  expect(page).not.toContain("hidden-text");
  expect(page).not.toContain("= 77");
});

test("what clients call themselves and what they ask is text, and never markup", async () => {
  const evil = `"onload="x' <script>alert(1)</script>`;
  const anna = await connect("anna", evil);
  const alias = `SELECT id AS "<img src=x onerror=alert(1)>" FROM customers WHERE id = 1`;
  await anna.query(alias);
  const stranger = sluice.uriFor(`<b>\u202eevil"onload="`, "x");
  const login = new pg.Client({ connectionString: stranger });
  await expect(login.connect()).rejects.toThrow();
  for (const path of [
    "",
    "/sessions",
    "/alerts",
    "/readers",
    "/user?name=anna",
    "/user?name=%3Cscript%3E%22'",
  ]) {
    const page = await officer.see(`/console${path}`);
    expect(page).not.toMatch(/<script>|<img|<b>evil|"onload=|\u202e/);
  }
  expect(words(await officer.see("/console/sessions"))).toContain(evil);
  expect(words(await officer.see("/console/alerts"))).toContain(`<b>\ufffdevil"onload="`);
  expect(words(await officer.see("/console/user?name=anna"))).toContain("<img src=x onerror=alert(1)>");
});

test("suspending takes a reason, ends the user's sessions, and shows who and why; resuming lets the user in", async () => {
  const cleo = await connect("cleo");
  const gone = new Promise((resolve) => cleo.once("end", resolve));
  expect(words(await officer.send("/console/suspend", { user: "cleo", why: "  " }))).toMatch(
    /needs a user and a reason/,
  );
  expect(words(await officer.send("/console/suspend", { user: "cleo", why: "reads <all> of it" }))).toMatch(
    /cleo is suspended: open sessions end.* by console \(olga\): reads <all> of it/,
  );
  await gone;
  await expect(connect("cleo")).rejects.toThrow(/suspended/);
  expect(words(await officer.see("/console"))).toMatch(/cleo \S+ console \(olga\) reads <all> of it/);
  expect(await officer.send("/console/resume", { user: "cleo", why: "a false alarm" })).toContain(
    "cleo may log in again",
  );
  await connect("cleo");
  expect(words(await officer.see("/console/alerts?kind=order"))).toContain(
    "by console (olga): a false alarm",
  );
});

test("one session can be ended alone", async () => {
  const app = await connect("metabase");
  const gone = new Promise((resolve) => app.once("end", resolve));
  const list = await officer.see("/console/user?name=metabase");
  const [, session = ""] = /session\?id=([0-9a-f-]{36})/.exec(list) ?? [];
  expect(await officer.send("/console/end", { session })).toContain("The session is ended");
  await gone;
  expect(await officer.send("/console/end", { session })).toContain("No process has such a session");
});

test("the explain box says what a user or a role would see, and runs nothing", async () => {
  const asked = { user: "anna", role: "", address: "127.0.0.1", database: database.database };
  const explain = (fields: Readonly<Record<string, string>>) =>
    officer.send("/console/explain", { ...asked, ...fields }).then(words);
  const rewritten = await explain({ statement: "select email from customers where id = 7" });
  expect(rewritten).toMatch(
    /The statement is rewritten .*Masked email .*What the server would get .*SELECT/i,
  );
  expect(await explain({ user: "", role: "lead", statement: "select email from customers" })).toMatch(
    /The statement .* Who cleo , role lead/,
  );
  expect(await explain({ statement: "delete from customers" })).toMatch(/is refused Reason 42501 .* Hint /);
  expect(await explain({ user: "nobody", statement: "select 1" })).toMatch(/no role/);
  expect(await explain({ role: "nonsense", statement: "select 1" })).toContain('has no role "nonsense"');
  expect(await explain({ database: "elsewhere", statement: "select 1" })).toContain("no such database");
});

test("the explain box says what a person behind an application would see, by the role that their claim gives", async () => {
  const asked = { user: "ben", database: database.database, statement: "select email from customers" };
  const explain = (fields: Readonly<Record<string, string>>) =>
    officer.send("/console/explain", { ...asked, ...fields }).then(words);
  expect(await explain({ person: "dora", claims: "support, others" })).toMatch(
    /dora , role agent .* Masked /,
  );
  const lead = await explain({ person: "dora", claims: "support,leads" });
  expect(lead).toMatch(/dora , role lead /);
  expect(lead).not.toContain(" Masked ");
  expect(await explain({ person: "dora" })).toContain("no person is named");
  expect(await explain({ claims: "leads" })).toContain("Name the person behind the application");
  expect(await explain({ user: "anna", person: "dora" })).toContain("nobody is behind its users");
});

test("what counts nobody is red, on the explain page and on the policy's", async () => {
  const open = "public.tickets: { columns: { body: email } }";
  await sluice.setPolicy(
    POLICY.replace("tables:\n", `tables:\n  ${open}\n`).replace(
      "reads: [public.customers",
      "reads: [public.tickets, public.customers",
    ),
  );
  onTestFinished(() => sluice.setPolicy(POLICY));
  const policy = await officer.see("/console/policy");
  const red = (text: string) => new RegExp(`class="badge bad"><span aria-hidden="true">.</span> ${text}`);
  expect(policy).toMatch(red("no one"));
  expect(policy).toMatch(red("public\\.tickets"));
  const asked = { user: "anna", role: "", address: "127.0.0.1", database: database.database };
  const page = await officer.send("/console/explain", { ...asked, statement: "select body from tickets" });
  expect(page).toMatch(red("no one: it reads public\\.tickets, which has no subject"));
});

test("the explain box shows token masks, and nothing from which their key could be made", async () => {
  const asked = { user: "anna", role: "", address: "127.0.0.1", database: database.database };
  const statement = "select phone from customers where id = 7";
  const page = words(await officer.send("/console/explain", { ...asked, statement }));
  // HMAC (RFC 2104) begins with a block of the key, which stands in the mask's SQL.
  const block = (secret: Buffer) => {
    const key = createHmac("sha256", deriveKeys(secret).masks).update("sluice token mask\0tel_").digest();
    const padded = Buffer.concat([key, Buffer.alloc(32)]);
    return Buffer.from(padded.map((byte) => byte ^ 0x36)).toString("hex");
  };
  expect(page).toMatch(/[0-9a-f]{64}(36){32}/);
  expect(page).not.toContain(block(SECRET));
});

test("the policy page shows what is in force, and follows when it changes", async () => {
  expect(words(await officer.see("/console/policy"))).toMatch(
    /agent Users anna Reads public\.customers .*20 people in 1h/,
  );
  await sluice.setPolicy(POLICY.replace("1h: 20", "1h: 21").concat("mode: observe\n"));
  onTestFinished(() => sluice.setPolicy(POLICY));
  await vi.waitFor(async () => {
    const page = words(await officer.see("/console/policy"));
    expect(page).toMatch(/21 people in 1h/);
    expect(page).toMatch(/Only observed: in console_pages\S* nothing is refused/);
  });
});

test("an officer asks who read a customer: the whole log answers, and the question is recorded without the id", async () => {
  const anna = await connect("anna", "help desk");
  await anna.query("SELECT name, email FROM customers WHERE id = 4711");
  const asked = (fields: Readonly<Record<string, string>>) =>
    officer.send("/console/person", { table: "public.customers.id", days: "30", ...fields }).then(words);
  expect(words(await officer.see("/console/person"))).toContain("Who read this person?");
  const answer = await asked({ id: " 4711 " });
  expect(answer).toMatch(/1 statement of 1 user read this person/);
  expect(answer).toMatch(/anna 127\.0\.0\.1 help desk .*SELECT name, email FROM customers WHERE id = \$1/);
  expect(answer).toMatch(/Not covered whatever was read before/);
  expect(await asked({ id: "999999" })).toContain(
    "No statement that this log names people for has read them",
  );
  // Nothing here would be a true "nobody".
  expect(await asked({ id: "a@example.com" })).toContain("email addresses, not an id");
  expect(await asked({ id: "4711", table: "public.staff.id" })).toContain('no people of "public.staff.id"');
  expect(await asked({ id: " " })).toContain("Enter the id of a person");
  const entries = await entriesOf(sluice.auditFolder);
  const questions = entries.filter(({ unmapped }) => unmapped.kind === "question");
  expect(questions.length).toBeGreaterThan(1);
  expect(questions[0]).toMatchObject({
    actor: { user: { name: "console (olga)" } },
    unmapped: { question: "subject", people: 1 },
  });
  expect(JSON.stringify(questions)).not.toContain("4711");
});

test("an alert opens a case; an officer takes, answers and closes it, each on record, and the time to answer is a metric", async () => {
  const cleo = await connect("cleo");
  await expect(cleo.query("SELECT email FROM customers WHERE id < 500")).rejects.toThrow();
  const id = await vi.waitFor(async () => {
    const page = await officer.see("/console/cases");
    expect(words(page)).toMatch(/cleo ✕ new nobody yet 2 ✕ high sequence: 40 of their last people/);
    const [, found = ""] =
      /href="\/console\/case\?id=([0-9a-f-]{36})"[^>]*>[^<]*<\/a><\/div><\/td><td[^>]*><div><a[^>]*name=cleo/.exec(
        page,
      ) ?? [];
    expect(found).not.toBe("");
    return found;
  });
  const about = words(await officer.see("/console/user?name=cleo"));
  expect(about).toContain("Cases about this user");
  expect(about).toMatch(/(bytes|kB) of 2 MB in 1d/);
  const alerts = await officer.see("/console/alerts?kind=alert");
  expect(words(alerts)).toMatch(/✕ high alert cleo lead 40 of their last .* Its case · all of its session/);
  const [, itsCase = ""] = /40 of their last[\s\S]*?href="([^"]+)">Its case/.exec(alerts) ?? [];
  expect(words(await officer.see(itsCase))).toContain(`Case ${id.slice(0, 8)}`);
  const say = (change: string, fields: Readonly<Record<string, string>>) =>
    officer.send("/console/case", { case: id, change, ...fields }).then(words);
  const viewer = await logIn(sluice, VIEWER);
  expect(words(await viewer.see(`/console/case?id=${id}`))).toContain("Only officers answer cases");
  expect(words(await viewer.send("/console/case", { case: id, change: "owner", text: "me" }))).toContain(
    "may not do this",
  );
  expect(await say("owner", { text: "console (olga)" })).toContain("The case has an owner");
  expect(await say("answer", { text: " " })).toContain("Some words are needed");
  expect(await say("answer", { text: "asked <her>" })).toMatch(
    /Answered after less than a minute .* asked <her>/,
  );
  expect(await say("closed", { text: "a report", outcome: "nonsense" })).toContain("Some words are needed");
  expect(await say("closed", { text: "a report", outcome: "justified" })).toContain("closed: justified");
  expect(await say("answer", { text: "too late" })).toContain("this case is closed");
  expect(words(await officer.see("/console/cases"))).not.toContain("cleo");
  expect(words(await officer.see("/console/cases?show=all"))).toContain("closed: justified");
  expect(words(await officer.see("/console/case?id=nothing"))).toContain("There is no such case");
  await vi.waitFor(async () => {
    const events = (await entriesOf(sluice.auditFolder)).filter(({ unmapped }) => unmapped.case === id);
    expect(
      events.map(({ actor, unmapped }) => [actor?.user?.name, unmapped.change, unmapped.user, unmapped.why]),
    ).toEqual([
      ["sluice", "opened", "cleo", expect.stringMatching(/^(sequence: 40 of their last people|budget: )/)],
      ["console (olga)", "owner", "cleo", "console (olga)"],
      ["console (olga)", "answer", "cleo", "asked <her>"],
      ["console (olga)", "closed", "cleo", "justified: a report"],
    ]);
  });
  expect(await sluice.metric("sluice_case_answer_seconds_count")).toBe(1);
});

test("a viewer sees the pages and does nothing; a DBA ends sessions; only officers suspend and ask about people", async () => {
  const anna = await connect("anna");
  const session =
    /href="\/console\/session\?id=([0-9a-f-]{36})"/.exec(await officer.see("/console/sessions"))?.[1] ?? "";
  const orders: [path: string, fields: Readonly<Record<string, string>>][] = [
    ["/console/suspend", { user: "anna", why: "x" }],
    ["/console/resume", { user: "anna", why: "x" }],
    ["/console/person", { id: "4711", table: "public.customers.id" }],
  ];
  for (const [token, role] of [
    [VIEWER, "viewer"],
    [DBA, "dba"],
  ] as const) {
    const one = await logIn(sluice, token);
    expect(words(await one.see("/console/readers"))).toContain("anna");
    expect(words(await one.see("/console/user?name=anna"))).toContain(
      `Only officers suspend and resume; you are logged in as ${role}`,
    );
    expect(await one.see("/console/person")).not.toContain('name="id"');
    for (const [path, fields] of orders)
      expect(words(await one.send(path, fields)), path).toContain(
        `Your login (${role}) may not do this. Nothing was done.`,
      );
    const explained = {
      user: "anna",
      database: new URL(database.uri).pathname.slice(1),
      statement: "select 1",
    };
    expect(words(await one.send("/console/explain", explained))).toContain("Verdict");
  }
  const viewer = await logIn(sluice, VIEWER);
  expect(await viewer.see(`/console/session?id=${session}`)).not.toContain("End this session");
  expect(words(await viewer.send("/console/end", { session }))).toContain("may not do this");
  await anna.query("SELECT 1");
  const dba = await logIn(sluice, DBA);
  expect(await dba.see(`/console/session?id=${session}`)).toContain("End this session");
  expect(words(await dba.send("/console/end", { session }))).toContain("The session is ended");
});
