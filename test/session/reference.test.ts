import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { AuditEvent } from "../../proxy/audit/event.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(async () => {
  await world?.close();
});

interface LogLine {
  readonly reference?: string;
  readonly session?: string;
  readonly sqlstate?: string;
  readonly level: string;
  readonly msg: string;
}

/** What somebody finds who got a screenshot of this error. */
function findBy(error: pg.DatabaseError): {
  readonly events: readonly AuditEvent[];
  readonly lines: readonly LogLine[];
} {
  const reference = /^Sluice reference ([0-9a-f]{8}(?:-\d+)?)$/.exec(error.where ?? "")?.[1];
  if (reference === undefined) throw new Error(`no reference in "${error.where}"`);
  const lines = world.sluice.log.map((line): LogLine => JSON.parse(line));
  return {
    events: world.sluice.events.filter((event) => "reference" in event && event.reference === reference),
    lines: lines.filter((line) => line.reference === reference),
  };
}

/** The error that a promise ends with. */
async function errorOf(failing: Promise<unknown>): Promise<pg.DatabaseError> {
  const error = await failing.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof pg.DatabaseError)) throw new Error(`no error of the database: ${String(error)}`);
  return error;
}

test.each([
  ["refused for its kind", "anna", "create table x (id int)", "CREATE TABLE", "42501", "refuse"],
  ["refused for what it reads", "anna", "select pg_read_file('x')", "SELECT", "42501", "refuse"],
  ["with a mistake in it", "anna", "selec 1", "OTHER", "42601", "refuse"],
  ["cut off at the rows of one statement", "anna", "select id from customers", "SELECT", "54000", "cut"],
  ["past a budget", "cleo", "select id from customers", "SELECT", "53400", "cut"],
])("a statement %s is found by its error's reference", async (_, user, sql, command, sqlstate, decision) => {
  for (const query of [{ text: sql }, { text: sql, values: [], name: "extended" }]) {
    const client = await world.sluice.connect(user);
    const error = await errorOf(client.query(query));
    expect(error.code).toBe(sqlstate);
    const { events, lines } = findBy(error);
    // A budget that is used up refuses the second one before it runs.
    const isUsedUp = sqlstate === "53400" && "name" in query;
    const decided = { user, command, decision: isUsedUp ? "refuse" : decision, sqlstate };
    expect(events).toMatchObject([{ kind: "statement", ...decided }]);
    expect(lines).toMatchObject([{ level: "info", ...decided }]);
    const [event] = events;
    expect(event).toHaveProperty("session", lines[0]?.session);
    await client.end();
  }
});

test("each error of a session has a reference of its own", async () => {
  const client = await world.sluice.connect("anna");
  const errors = [await errorOf(client.query("selec 1")), await errorOf(client.query("selec 1"))];
  const [first, second] = errors.map(({ where }) => where?.split("-"));
  expect(first?.[0]).toBe(second?.[0]);
  expect([first?.[1], second?.[1]]).toEqual(["1", "2"]);
  await client.end();
});

test("the server's own errors are the server's: no reference stands in them", async () => {
  const client = await world.sluice.connect("anna");
  const error = await errorOf(client.query("select 1 / 0"));
  expect(error).toMatchObject({ code: "22012", where: undefined });
  await client.end();
});

test("a login that is refused is found by its error's reference", async () => {
  const client = new pg.Client({ connectionString: world.sluice.uri(world.database.superuser) });
  const { events, lines } = findBy(await errorOf(client.connect()));
  expect(events).toMatchObject([{ kind: "login refused", sqlstate: "28000" }]);
  expect(lines).toMatchObject([{ level: "info", msg: "login failed", reason: "no_role" }]);
});

test("a session that the proxy ends is found by its last error's reference", async () => {
  const client = await world.sluice.connect("anna");
  world.sluice.setPolicy(POLICY.replace("users: [anna]", "users: [nobody]"));
  try {
    const error = await errorOf(client.query("select 1"));
    await vi.waitFor(() => expect(findBy(error).events).toHaveLength(1));
    const { events, lines } = findBy(error);
    expect(events).toMatchObject([{ kind: "logout", user: "anna", sqlstate: error.code }]);
    expect(lines).toMatchObject([{ msg: "a session was ended", reason: "policy" }]);
  } finally {
    world.sluice.setPolicy(POLICY);
  }
});

test("a session that its client ends is worth no line at the usual level", async () => {
  const client = await world.sluice.connect("anna");
  const before = world.sluice.log.length;
  await client.end();
  await vi.waitFor(() => expect(world.sluice.log.length).toBeGreaterThan(before));
  expect(JSON.parse(world.sluice.log.at(-1) ?? "")).toMatchObject({ level: "debug", reason: "client" });
});

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

test.each([
  ["sqlcommenter's", `/*controller='t',traceparent='${TRACE}'*/`, TRACE],
  ["Rails' query logs", `/*application:desk,traceparent:${TRACE}*/`, TRACE],
  ["a line", `--traceparent='${TRACE}'\n`, TRACE],
  ["one of another form", "/*traceparent='anna@example.com'*/", undefined],
  ["one that names no trace", `/*traceparent='00-${"0".repeat(32)}-b7ad6b7169203331-01'*/`, undefined],
  ["two that disagree", `/*traceparent='${TRACE}'*/ /*traceparent='${OTHER}'*/`, undefined],
  ["one in a string", `'/*traceparent=''${TRACE}''*/',`, undefined],
])("%s trace context is joined to the event and to the log line", async (_, comment, traceparent) => {
  for (const query of [{ text: "" }, { text: "", values: [] }]) {
    const client = await world.sluice.connect("anna");
    const before = world.sluice.events.length;
    const sql = comment.endsWith(",")
      ? `select ${comment} id from customers`
      : `${comment} select id from customers`;
    const { where } = await errorOf(client.query({ ...query, text: sql }));
    const reference = where?.replace("Sluice reference ", "");
    const [event] = world.sluice.events.slice(before).filter(({ kind }) => kind === "statement");
    expect(event).toMatchObject({ reference });
    expect(event && "traceparent" in event ? event.traceparent : undefined).toBe(traceparent);
    const lines = world.sluice.log.map((line): Record<string, unknown> => JSON.parse(line));
    expect(lines.find((line) => line.reference === reference)?.traceparent).toBe(traceparent);
    await client.end();
  }
});
