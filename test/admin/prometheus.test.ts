import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";
import {
  freshDatabase,
  PASSWORDS,
  type SupportUser,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { type RunningProgram, runSluice } from "../harness/program.ts";
import { type PrometheusServer, type Series, startPrometheus } from "../harness/prometheus.ts";
import { redisUrl } from "../harness/redis.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";
import {
  DASHBOARDS,
  familyOf,
  metricsOf,
  type Question,
  questionsOf,
  readBoards,
  readRules,
  selectorsOf,
} from "./boards.ts";

const KEYS = keyLine(1, 7);

const POLICY = `version: 1
token_canary: ${canaryToken(sealerOf(KEYS))}
classes: { email: { mask: email }, tel: { mask: redact, stored: token } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.calls: { subject: id, columns: { tel: tel } }
roles:
  caller: { users: [metabase], reads: [public.calls], writes: [public.calls], sees: [tel], reveals: { tel: { 1d: 90 } } }
  agent: { users: [anna], reads: [public.customers], finds: [email], budget: { 1d: 900 } }
  trainee: { users: [ben], reads: [public.customers], budget: { 1d: 3 } }
  prober: { users: [cleo], reads: [public.customers], rows: 5, budget: { 1d: 500 } }
`;

let program: Program;
let database: TestDatabase;
/** One process, and two behind one port. */
let fleet: readonly RunningProgram[] = [];
let prometheus: PrometheusServer;

beforeAll(async () => {
  [program, database] = await Promise.all([compileSluice(), freshDatabase("prometheus")]);
  await supportSchema(database.uri);
  await database.query("create table calls (id int, tel text); grant all on calls to public");
  const start = async (...flags: readonly string[]) =>
    runSluice(program.main, {
      policy: POLICY,
      upstream: database.uri,
      redis: await redisUrl(),
      key: randomBytes(32).toString("hex"),
      variables: { SLUICE_TOKEN_KEYS: KEYS },
      flags: ["--metrics-users", "5", ...flags],
    });
  fleet = await Promise.all([start(), start("--workers", "2")]);
  prometheus = await startPrometheus({
    targets: instances(),
    rules: [`${DASHBOARDS}rules.yml`],
  });
});
afterAll(async () => {
  await prometheus?.stop();
  await Promise.all(fleet.map((sluice) => sluice.close()));
  await database?.drop();
});

/** As Prometheus labels them. */
function instances(): readonly string[] {
  return fleet.map(({ adminUrl }) => new URL(adminUrl).host);
}

/** A session that does these statements; what is refused is as welcome as the rest. */
async function session(
  sluice: RunningProgram,
  user: SupportUser,
  statements: readonly string[],
): Promise<void> {
  const login = { host: "127.0.0.1", port: sluice.port, user, database: database.database };
  const client = new pg.Client({ ...login, password: PASSWORDS[user] });
  client.on("error", () => {});
  await client.connect();
  for (const statement of statements) await client.query(statement).catch(() => {});
  await client.end();
}

/** A little of all that Sluice counts: masks, lookups, tokens turned back, refusals, a used budget, odd behaviour, bad logins and policies. */
async function load(sluice: RunningProgram, round: number): Promise<void> {
  // A shape of its own in each round: not all verdicts come from the cache.
  const customer = (n: number) =>
    `SELECT name, email AS email_${round} FROM public.customers WHERE id = ${n}`;
  const stranger = new pg.Client({ host: "127.0.0.1", port: sluice.port, user: "anna", password: "wrong" });
  await Promise.all([
    session(sluice, "anna", [
      ...Array.from({ length: 5 }, (_, i) => customer(1 + ((round * 7 + i * 31) % 800))),
      "SELECT id FROM public.customers WHERE email = 'alice.ng.7@example.com'",
    ]),
    session(sluice, "ben", [1, 2, 3, 4, 5].map(customer)),
    session(sluice, "cleo", [
      ...Array(10).fill("SELECT * FROM public.payments"),
      "SELECT id FROM public.customers",
    ]),
    session(sluice, "metabase", [
      `INSERT INTO public.calls (id, tel) VALUES (${round}, '+4930123456${round}')`,
      "SELECT id, tel FROM public.calls",
    ]),
    stranger.connect().catch(() => {}),
  ]);
}

async function readPolicies(sluice: RunningProgram): Promise<void> {
  for (const text of ["version: none", POLICY]) {
    const before = await sluice.metric("sluice_policy_reloads_total");
    await writeFile(sluice.policyFile, text);
    sluice.signal("SIGHUP");
    await vi.waitUntil(async () => (await sluice.metric("sluice_policy_reloads_total")) > before);
  }
}

/** What is wrong with an answer; nothing, if it has numbers and all that its legend names. */
function wanting(answer: readonly Series[], labels: readonly string[]): string | undefined {
  if (answer.length === 0) return "no data";
  const numbers = answer.filter(({ value }) => Number.isFinite(value));
  if (numbers.length === 0) return "no number";
  const unnamed = labels.find((label) => numbers.some((series) => !series.labels[label]));
  return unnamed === undefined ? undefined : `no label ${unnamed}`;
}

/** What the boards ask of each instance, and the rules of all. */
async function questions(): Promise<readonly Question[]> {
  const boards = await readBoards();
  const [alone, ...others] = instances();
  const asked = boards.flatMap((board) => [
    // Only several processes have workers.
    ...questionsOf(board, alone ?? "").filter(({ expr }) => !expr.includes("sluice_worker")),
    ...others.flatMap((instance) => questionsOf(board, instance)),
  ]);
  const ruled = (await readRules()).flatMap(({ record, alert, expr }) =>
    alert === undefined
      ? [{ where: `rules.yml, ${record}`, expr, labels: [] }]
      : // It has an answer only while it fires: so what it looks at is asked for.
        selectorsOf(expr).map((selector) => ({ where: `rules.yml, ${alert}`, expr: selector, labels: [] })),
  );
  return [...asked, ...ruled];
}

test("each panel, variable and rule has an answer from one process and from two", {
  timeout: 120_000,
}, async () => {
  const all = await questions();
  expect(all.length).toBeGreaterThan(60);
  await Promise.all(fleet.map(readPolicies));
  let round = 0;
  let open = all;
  await vi.waitFor(
    async () => {
      round += 1;
      await Promise.all(fleet.map((sluice) => load(sluice, round)));
      const answers = await Promise.all(
        open.map(async (question) => {
          const lack = wanting(await prometheus.query(question.expr), question.labels);
          return { question, lack };
        }),
      );
      const lacking = answers.filter(({ lack }) => lack !== undefined);
      open = lacking.map(({ question }) => question);
      expect(lacking.map(({ question: { where, expr }, lack }) => `${where}: ${lack}: ${expr}`)).toEqual([]);
    },
    { timeout: 90_000, interval: 100 },
  );
});

test("each metric that Sluice shows is on a dashboard or in a rule, and explained in docs/metrics.md", async () => {
  const series = await prometheus.query('group by (__name__) ({__name__=~"sluice_.+"})');
  const shown = [...new Set(series.map(({ labels }) => familyOf(labels.__name__ ?? "")))];
  const used = new Set((await questions()).flatMap(({ expr }) => metricsOf(expr)));
  const page = await readFile(new URL("../../docs/metrics.md", import.meta.url), "utf8");
  expect(shown.length).toBeGreaterThan(20);
  expect(shown.filter((name) => !page.includes(`| \`${name}\``))).toEqual([]);
  expect(shown.filter((name) => !used.has(name))).toEqual([]);
});
