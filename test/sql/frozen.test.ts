import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serverUri } from "../harness/postgres.ts";
import { type CorpusStatement, readCorpus } from "./corpus.ts";
import { markOf, verdictOf } from "./frozen.ts";
import { type Agent, openAgent } from "./same.ts";

/**
 * Every statement that a counted agent could run before answers had a price is still allowed, except for those listed
 * here. verdicts.txt contains the verdicts of that time, one line for each statement of the corpus: its mark, and "ok"
 * or the SQLSTATE. `SLUICE_FREEZE=1` writes it again.
 */

const FILE = new URL("verdicts.txt", import.meta.url);

/** Statements refused since then: a pattern that their texts have in common, and the reason. */
const REFUSED_ON_PURPOSE: readonly { readonly pattern: RegExp; readonly reason: string }[] = [
  {
    pattern: /\bexplain\s*(analy[sz]e\b|\([^)]*\b(analyze|verbose)\b)/i,
    reason: "over people, a plan's counts and its text tell of values that nobody pays for",
  },
  {
    pattern: /\b(?:pg_sleep|random)\s*\(/i,
    reason: "how long a call waits, and which random number comes next, tell of people whom nobody counts",
  },
  {
    pattern: /^copy\s*\(\s*(?:insert|update|delete|merge)\b/i,
    reason: "what it writes would be committed although its rows are past a limit",
  },
];

const [clients = [], application = [], regress = []] = await Promise.all(
  (["clients", "application", "regress"] as const).map(readCorpus),
);
/** Postgres's own tests are numerous and similar to each other. */
const corpus = [...clients, ...application, ...regress.filter((_, index) => index % 12 === 0)];

let agent: Agent;
beforeAll(async () => {
  agent = await openAgent(serverUri());
});
afterAll(() => agent?.close());

test.skipIf(corpus.length === 0)(
  "what a counted agent could run before is not refused now",
  { timeout: 180_000 },
  async () => {
    if (process.env.SLUICE_FREEZE !== undefined) await freeze();
    const before = await readVerdicts();
    const refused: string[] = [];
    let accepted = 0;
    for (const statement of corpus) {
      if (before.get(markOf(statement)) !== "ok") continue;
      const verdict = verdictOf(agent.scope, statement);
      if (verdict === "ok") accepted++;
      else if (!isOnPurpose(statement)) refused.push(`${verdict}: ${statement.source}: ${statement.sql}`);
    }
    expect(refused).toEqual([]);
    expect(accepted).toBeGreaterThan(2_000);
  },
);

function isOnPurpose({ sql }: CorpusStatement): boolean {
  return REFUSED_ON_PURPOSE.some(({ pattern }) => pattern.test(sql));
}

async function readVerdicts(): Promise<ReadonlyMap<string, string>> {
  const lines = (await readFile(FILE, "utf8")).trim().split("\n");
  return new Map(lines.map((line) => line.split(" ") as [string, string]));
}

async function freeze(): Promise<void> {
  const lines = new Set<string>();
  for (const statement of corpus) {
    const verdict = verdictOf(agent.scope, statement);
    if (verdict !== undefined) lines.add(`${markOf(statement)} ${verdict}`);
  }
  await writeFile(FILE, `${[...lines].sort().join("\n")}\n`);
}
