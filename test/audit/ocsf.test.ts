import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { segmentName } from "../../proxy/audit/segments.ts";
import { entriesOf, login, makeFolder, NOON, openLog, reading } from "./support.ts";

let folder: string;

beforeEach(async () => {
  folder = join(await makeFolder(), "audit");
});

async function entryOf(...events: Parameters<Awaited<ReturnType<typeof openLog>>["log"]["write"]>) {
  const { log } = await openLog(folder);
  for (const event of events) log.write(event);
  await log.flush();
  return (await entriesOf(folder)).at(-1);
}

test("a statement stands in OCSF's fields, and what OCSF has none for under unmapped", async () => {
  const entry = await entryOf(
    reading({
      subjects: ["h".repeat(22)],
      people: 1,
      rule: "roles.agent.rows",
      sqlstate: "54000",
      decision: "cut",
    }),
  );
  expect(entry).toMatchObject({
    class_uid: 6005,
    category_uid: 6,
    activity_id: 1,
    type_uid: 600501,
    severity_id: 3,
    time: NOON,
    status_id: 2,
    status_code: "54000",
    action_id: 4,
    duration: 1,
    actor: {
      user: { name: "anna", groups: [{ name: "agent" }] },
      session: { uid: "s1" },
      app_name: "helpdesk",
    },
    src_endpoint: { ip: "10.0.0.1" },
    database: { name: "support" },
    table: { name: "public.customers" },
    query_info: { name: "SELECT", query_string: "SELECT name FROM customers WHERE id = $1", bytes: 20 },
    policy: { uid: "p1" },
    firewall_rule: { name: "roles.agent.rows" },
    metadata: { version: "1.3.0", product: { name: "Sluice" }, sequence: 2 },
    unmapped: { kind: "statement", decision: "cut", masked: ["name"], lookups: 0, rows: 1, people: 1 },
  });
});

test("of an application the reader is the person, and the account is its own user", async () => {
  const entry = await entryOf(reading({ user: "anna", account: "helpdesk_app", uncounted: true, people: 3 }));
  expect(entry).toMatchObject({
    actor: { user: { name: "anna", account: { name: "helpdesk_app" } } },
    unmapped: { people: 3, uncounted: true },
  });
});

test.each([
  ["SELECT", 1],
  ["UPDATE", 2],
  ["INSERT", 5],
  ["DELETE", 7],
  ["CREATE TABLE", 6],
  ["SELECT INTO", 6],
  ["FETCH", 1],
  ["TRUNCATE TABLE", 7],
  ["DROP VIEW", 7],
  ["ALTER TABLE", 2],
  ["COPY", 4],
  ["SOMETHING NEW", 4],
])("a %s has activity %i", async (command, activity) => {
  expect(await entryOf(reading({ command }))).toMatchObject({
    activity_id: activity,
    type_uid: 600500 + activity,
  });
});

test("a login is a connect, one that failed a denied connect", async () => {
  expect(await entryOf(login("a"))).toMatchObject({ activity_id: 3, status_id: 1, action_id: 1 });
  const refused = login("b", { kind: "login refused", sqlstate: "28P01", client: "local" });
  const { log } = await openLog(`${folder}-2`);
  log.write(refused);
  await log.flush();
  expect((await entriesOf(`${folder}-2`)).at(-1)).toMatchObject({
    activity_id: 3,
    status_id: 2,
    action_id: 2,
    status_code: "28P01",
    src_endpoint: { name: "local" },
  });
});

test("statements that differ in layout and constants alone have one fingerprint", async () => {
  const { log } = await openLog(folder);
  for (const statement of [
    "SELECT a FROM t WHERE b = $1",
    "select a\nfrom t where b=$2",
    "SELECT c FROM t",
    "SELEC",
  ]) {
    log.write(reading({ statement }));
  }
  await log.flush();
  const uids = (await entriesOf(folder))
    .slice(1)
    .map(({ query_info }) => (query_info as { uid?: string }).uid);
  expect(uids[0]).toMatch(/^[0-9a-f]{16}$/);
  expect(uids[1]).toBe(uids[0]);
  expect(uids[2]).not.toBe(uids[0]);
  expect(uids[3]).toBeUndefined();
});

test("no client's text breaks a line or forges a field", async () => {
  const evil = '"},"actor":{"user":{"name":"root"},"unmapped":{"subjects":["\n{"time":1}\u2028\ud800';
  const entry = await entryOf(reading({ application: evil, statement: evil, user: evil }));
  expect(entry).toMatchObject({
    actor: { user: { name: evil }, app_name: evil },
    query_info: { query_string: evil },
  });
});

test("a segment's name says its day, its writer and its place", () => {
  expect(segmentName("20260506", "host.1", 7)).toBe("audit-20260506-host.1-000007.jsonl");
});

test("alerts, measures and forgetting have their own kind, severity and actor, and name no reader's people", async () => {
  const measure = { time: NOON, user: "anna", by: "dba", why: "left the firm", ordered: NOON - 5 };
  expect(await entryOf({ kind: "suspension", ...measure })).toMatchObject({
    actor: { user: { name: "dba" } },
    activity_name: "suspension",
    severity_id: 4,
    unmapped: { kind: "suspension", user: "anna", why: "left the firm", ordered: NOON - 5 },
  });
  expect(await entryOf({ kind: "grant", ...measure, until: NOON })).toMatchObject({
    severity_id: 3,
    unmapped: { kind: "grant", until: NOON },
  });
  const where = { user: "anna", role: "agent", database: "support", client: "10.0.0.1" };
  const alert = {
    kind: "alert",
    time: NOON,
    id: "a1",
    rule: "sequence",
    action: "tighten",
    text: "walks",
  } as const;
  expect(await entryOf({ ...alert, ...where })).toMatchObject({
    actor: { user: { name: "anna" } },
    message: "walks",
    firewall_rule: { name: "sequence" },
    severity_id: 4,
    unmapped: { kind: "alert", id: "a1", action: "tighten" },
  });
  expect(await entryOf({ kind: "people forgotten", time: NOON, by: "dpo", people: 2 })).toMatchObject({
    activity_id: 7,
    unmapped: { kind: "people forgotten", people: 2 },
  });
});

test("whatever characters names, statements and people are made of, the line is JSON that gives them back", async () => {
  const name = fc.string({ unit: "binary" });
  const names = fc.array(name, { maxLength: 3 });
  const texts = fc.record({
    user: name,
    role: name,
    application: name,
    statement: name,
    rule: name,
    policy: name,
  });
  const lists = fc.record({ relations: names, masked: names, subjects: names });
  const { log } = await openLog(folder);
  await fc.assert(
    fc.asyncProperty(texts, lists, async (text, list) => {
      log.write(reading({ ...text, ...list }));
      await log.flush();
      expect((await entriesOf(folder)).at(-1)).toMatchObject({
        actor: { user: { name: text.user, groups: [{ name: text.role }] }, app_name: text.application },
        query_info: { query_string: text.statement },
        firewall_rule: { name: text.rule },
        policy: { uid: text.policy },
        unmapped: list,
      });
    }),
    { numRuns: 200 },
  );
});
