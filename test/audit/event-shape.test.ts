import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import type { AuditEvent } from "../../proxy/audit/event.ts";
import { entriesOf, login, makeFolder, NOON, openLog, reading } from "./support.ts";

const texts = z.array(z.string());
const count = z.int().nonnegative();

/** What stands under `unmapped`, by kind: what a reader of the log may rely on. A field more is a change of docs/audit.md. */
const statement = z.strictObject({
  kind: z.enum(["statement", "rows"]),
  subjects: z.array(z.string().regex(/^[\w-]{22}$/)),
  people_of: texts.optional(),
  unexplained: z
    .string()
    .regex(/^[01]*$/)
    .optional(),
  decision: z.enum(["allow", "mask", "refuse", "cut", "observe"]),
  relations: texts,
  beneath: z.array(z.string()).optional(),
  reads_more: z.literal(true).optional(),
  masked: texts,
  shown: texts.optional(),
  shown_where: texts.optional(),
  found: texts.optional(),
  lookups: count,
  rows: count,
  people: count,
  uncounted: z.literal(true).optional(),
  rows_written: count.optional(),
  reference: z.string().optional(),
  traceparent: z.string().length(55).optional(),
});
const session = z.strictObject({
  kind: z.enum(["login", "logout", "login refused"]),
  reference: z.string().optional(),
});
const ordered = z.strictObject({
  kind: z.enum(["suspension", "resumption", "tightening", "relaxation", "grant", "revocation"]),
  user: z.string(),
  why: z.string(),
  ordered: count,
  until: count.optional(),
});
const held = z.strictObject({
  kind: z.enum(["hold placed", "hold lifted"]),
  id: z.string(),
  why: z.string(),
  since: count.optional(),
  until: count.optional(),
});
const UNMAPPED: Readonly<Record<AuditEvent["kind"], z.ZodType>> = {
  statement,
  rows: statement,
  login: session,
  logout: session,
  "login refused": session,
  "policy loaded": z.strictObject({
    kind: z.literal("policy loaded"),
    problems: count,
    namespaces: z.array(z.strictObject({ name: z.string(), tables: texts })),
    classes: texts,
    says: texts,
  }),
  "policy rejected": z.strictObject({ kind: z.literal("policy rejected"), problems: count }),
  "catalog read": z.strictObject({
    kind: z.literal("catalog read"),
    namespaces: z.array(z.strictObject({ name: z.string(), tables: texts })),
  }),
  suspension: ordered,
  resumption: ordered,
  tightening: ordered,
  relaxation: ordered,
  grant: ordered,
  revocation: ordered,
  alert: z.strictObject({
    kind: z.literal("alert"),
    id: z.string(),
    action: z.string(),
    canary: z.strictObject({ subject: z.string(), group: z.string() }).optional(),
  }),
  "people forgotten": z.strictObject({ kind: z.literal("people forgotten"), people: count }),
  question: z.strictObject({
    kind: z.literal("question"),
    question: z.string(),
    people: count.optional(),
    user: z.string().optional(),
    since: count.optional(),
    until: count.optional(),
  }),
  "hold placed": held,
  "hold lifted": held,
  "session killed": z.strictObject({ kind: z.literal("session killed"), session: z.string() }),
  reload: z.strictObject({ kind: z.literal("reload") }),
  case: z.strictObject({
    kind: z.literal("case"),
    case: z.string(),
    change: z.enum(["opened", "owner", "answer", "comment", "closed"]),
    user: z.string(),
    why: z.string(),
  }),
};

const LONG = "x".repeat(50_000);
const order = { time: NOON, user: LONG, by: LONG, why: LONG, ordered: NOON, until: NOON + 1 };
const full = reading({
  ...{
    user: LONG,
    application: LONG,
    database: LONG,
    rowsWritten: 1,
    reference: "r",
    traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    people: 1,
    uncounted: true,
  },
  account: LONG,
  ...{ subjects: ["h".repeat(22)], namespaces: ["public.customers.id"], unexplained: "1", purposeless: 1 },
  relations: Array.from({ length: 5_000 }, (_, i) => `public.table_${i}`),
  revealed: { shown: ["name"], shownWhere: ["text"], found: ["email"] },
});

/** One of each kind, with all that it can have, and names as long as nobody's. */
const EVENTS: readonly AuditEvent[] = [
  full,
  { ...full, kind: "rows" },
  ...(["login", "logout", "login refused"] as const).map((kind) =>
    login("s", { kind, user: LONG, application: LONG, database: LONG, reference: "r" }),
  ),
  {
    ...{ kind: "policy loaded", time: NOON, policy: "p", problems: 0, classes: ["name"] },
    namespaces: [{ name: "public.customers.id", tables: ["public.customers"] }],
    says: ["support.yaml: version: 1"],
  },
  { kind: "policy rejected", time: NOON, policy: "p", problems: 2 },
  {
    ...{ kind: "catalog read", time: NOON, policy: "p" },
    namespaces: [{ name: "public.customers.id", tables: ["public.customers"] }],
  },
  ...(["suspension", "resumption", "tightening", "relaxation", "grant", "revocation"] as const).map(
    (kind) => ({
      ...order,
      kind,
    }),
  ),
  {
    ...{ kind: "alert", time: NOON, id: "a", rule: "canary", action: "suspend", user: LONG, role: "agent" },
    ...{ database: "support", client: "local", text: LONG, canary: { subject: "h", group: "eu" } },
  },
  { kind: "people forgotten", time: NOON, by: LONG, people: 1 },
  {
    kind: "question",
    time: NOON,
    by: LONG,
    question: "who-read",
    people: 1,
    about: LONG,
    since: 1,
    until: 2,
  },
  ...(["hold placed", "hold lifted"] as const).map((kind) => ({
    ...{ kind, time: NOON, by: LONG, why: LONG, id: "h", since: 1, until: 2 },
  })),
  { kind: "session killed", time: NOON, by: LONG, session: "s" },
  { kind: "reload", time: NOON, by: LONG },
  { kind: "case", time: NOON, by: LONG, id: "c", change: "answer", about: LONG, text: LONG },
];

async function written() {
  const folder = await makeFolder();
  const { log } = await openLog(folder);
  for (const event of EVENTS) log.write(event);
  await log.flush();
  return (await entriesOf(folder)).slice(1);
}

test("each kind of event has the shape that is documented, and no field more", async () => {
  const entries = await written();
  expect(new Set(entries.map(({ unmapped }) => unmapped.kind))).toEqual(new Set(Object.keys(UNMAPPED)));
  for (const { unmapped } of entries) {
    const schema = UNMAPPED[unmapped.kind as AuditEvent["kind"]];
    expect(schema.safeParse(unmapped).error?.message, unmapped.kind).toBeUndefined();
  }
});

test("docs/audit.md names each field", async () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/audit.md"), "utf8");
  const fields = new Set((await written()).flatMap(({ unmapped }) => Object.keys(unmapped)));
  expect([...fields].filter((field) => !new RegExp(`[\`.]${field}\\b`).test(page))).toEqual([]);
});

test("no event is long, whatever a client or an operator calls itself", async () => {
  for (const entry of await written()) {
    const { unmapped, ...rest } = entry;
    const { relations, ...others } = unmapped;
    expect(JSON.stringify({ ...rest, ...others }).length, unmapped.kind).toBeLessThan(4_000);
    if (relations !== undefined) expect(relations).toHaveLength(200);
  }
});
