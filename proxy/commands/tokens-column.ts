import { parseArgs } from "node:util";
import pg from "pg";
import { controlConnection } from "../app/control.ts";
import { obstacles, standInWayOfRestore } from "../app/token-checks.ts";
import {
  isMarked,
  rowsLeft,
  type TokenPlace,
  type Turn,
  turnColumn,
  verifyColumn,
} from "../app/token-column.ts";
import { readCatalog } from "../catalog/snapshot.ts";
import { quoteQualified } from "../pg/quote.ts";
import type { Policy } from "../policy/policy.ts";
import { describeProblem } from "../policy/problems.ts";
import { loadPolicies } from "../policy-files/load.ts";
import { indexStatements, uniqueStatement } from "../sql/tokens/blind-definitions.ts";
import { tokenColumnsOf } from "../sql/tokens/token-columns.ts";
import { carriedBy } from "../tokens/blind-index.ts";
import { canaryProblem } from "../tokens/canary.ts";
import { Sealer } from "../tokens/sealed.ts";
import { parseUpstream } from "../wire/upstream.ts";
import { KEY_OPTIONS, type KeyOptions, KMS_USAGE, keysBy } from "./kms-options.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

type Order = Turn | "verify";

const USAGE = `usage: sluice tokens migrate|restore|rotate|verify SCHEMA.TABLE.COLUMN [options]

migrate turns the values that a column holds into tokens, restore turns them back, rotate makes tokens of older keys
into those of the active one, and verify counts what the column holds (exit status 1 if there is something other than
tokens). Rows are changed in batches by primary key, each only if it still holds what was read: applications may go on
writing through the proxy, and a run that was stopped at any point is begun again. Columns of "stored: digits" and
"phone" are changed in one transaction with the table locked, before the policy is in force (--offline).

  --policy PATH                the policy that says how the column is stored (default: SLUICE_POLICY, or policies/)
  --upstream URI               the database, as the owner of the table (or SLUICE_UPSTREAM)
${KMS_USAGE}  --batch ROWS                 rows of a batch; 500 if left out
  --rate ROWS                  rows a second at most
  --dry-run                    say what stands in the way and how many rows are left, and change nothing
  --offline                    for digits and phone: nobody writes the column through the proxy
`;

const orderOf = (order: Order) => async (args: readonly string[]) =>
  await tokensColumn(order, args, process.env);
export const tokensMigrate = orderOf("migrate");
export const tokensRestore = orderOf("restore");
export const tokensRotate = orderOf("rotate");
export const tokensVerify = orderOf("verify");

interface Asked {
  readonly schema: string;
  readonly table: string;
  readonly column: string;
  readonly policy: string;
  readonly upstream: string;
  readonly keys: KeyOptions;
  readonly batch: number;
  readonly rate: number | undefined;
  readonly dryRun: boolean;
  readonly offline: boolean;
}

/** `sluice tokens migrate` and its like; returns the exit status. */
export async function tokensColumn(
  order: Order,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  streams: Streams = STANDARD,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(USAGE);
    return 0;
  }
  const asked = readArguments(args, env);
  if (isWrong(asked)) {
    if (asked.status === 2) streams.errors.write(USAGE);
    return complain(`tokens ${order}`, asked, streams);
  }
  const done = await work(order, asked, env, streams);
  return isWrong(done) ? complain(`tokens ${order}`, done, streams) : done;
}

function readArguments(args: readonly string[], env: NodeJS.ProcessEnv): Asked | Wrong {
  const text = { type: "string" } as const;
  const yes = { type: "boolean" } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        ...{ policy: text, upstream: text, batch: text, rate: text, ...KEY_OPTIONS },
        ...{ "dry-run": yes, offline: yes },
      },
    });
    const [schema, table, column, ...more] = (positionals[0] ?? "").split(".");
    if (!schema || !table || !column || more.length > 0 || positionals.length > 1)
      return misused("one column, as schema.table.column");
    const upstream = values.upstream ?? env.SLUICE_UPSTREAM;
    if (upstream === undefined) return misused("--upstream: missing");
    const [batch, rate] = [Number(values.batch ?? 500), Number(values.rate ?? 1)];
    if (!isCount(batch) || batch > 10_000) return misused("--batch: a number of 1 to 10000");
    if (!isCount(rate)) return misused("--rate: a number of rows");
    return {
      ...{ schema, table, column, upstream, batch },
      policy: values.policy ?? env.SLUICE_POLICY ?? "policies/",
      keys: values,
      rate: values.rate === undefined ? undefined : rate,
      dryRun: values["dry-run"] === true,
      offline: values.offline === true,
    };
  } catch (error) {
    return misused(error instanceof Error ? error.message : "these arguments are not understood");
  }
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value > 0;
}

async function work(
  order: Order,
  asked: Asked,
  env: NodeJS.ProcessEnv,
  streams: Streams,
): Promise<number | Wrong> {
  const keys = await keysBy(asked.keys, env);
  if (isWrong(keys)) return keys;
  const loaded = await loadPolicies(asked.policy);
  if (!loaded.ok) return { problem: loaded.problems.map(describeProblem).join("\n"), status: 1 };
  const target = parseUpstream(asked.upstream, env);
  if (!target.ok) return misused(`--upstream: ${target.problem}`);
  const database = target.upstream.database ?? target.upstream.user;
  if (database === undefined) return misused("--upstream: names no database");
  const policy = loaded.policies.forDatabase(database);
  const sealer = new Sealer(keys);
  const wrongRing =
    policy.tokenCanary === undefined
      ? "the policy has no token_canary"
      : canaryProblem(sealer, policy.tokenCanary);
  if (wrongRing !== undefined)
    return { problem: `the policy's tokens cannot be read: ${wrongRing}`, status: 1 };
  const client = new pg.Client({
    ...controlConnection(target.upstream),
    database,
    application_name: `sluice tokens ${order}`,
  });
  let lost: Error | undefined;
  client.on("error", (error) => {
    lost ??= error;
  });
  try {
    await client.connect();
    return await inDatabase(order, asked, { client, policy, sealer }, streams);
  } catch (error) {
    const why = lost ?? error;
    return { problem: why instanceof Error ? why.message : "unknown error", status: 1 };
  } finally {
    await client.end().catch(() => {});
  }
}

interface Connected {
  readonly client: pg.Client;
  readonly policy: Policy;
  readonly sealer: Sealer;
}

async function inDatabase(
  order: Order,
  { schema, table, column: name, batch, rate, dryRun, offline }: Asked,
  { client, policy, sealer }: Connected,
  streams: Streams,
): Promise<number | Wrong> {
  const { output } = streams;
  const catalog = await readCatalog(client);
  const relation = catalog.relations.get(`${schema}.${table}`);
  const found = relation?.columns.find((each) => each.name === name);
  if (relation === undefined || found === undefined)
    return { problem: `the database has no column ${schema}.${table}.${name}`, status: 1 };
  const column = tokenColumnsOf({ policy, catalog })?.of(relation, found);
  if (column === undefined)
    return { problem: `by the policy, ${schema}.${table}.${name} is not stored as tokens`, status: 1 };
  const place: TokenPlace = {
    ...{ relation, name, column, sealer },
    database: { query: (text, values) => client.query(text, values && [...values]) },
  };
  const { errors, warnings } = await obstacles(place, policy, catalog);
  const wrong = order === "restore" ? [...errors, ...(await standInWayOfRestore(place))] : errors;
  if (order !== "restore" || wrong.length === 0)
    for (const each of warnings) streams.errors.write(`${each}\n`);
  if (wrong.length > 0) return { problem: wrong.join("\n  "), status: 1 };
  if (order === "verify") return await verify(place, batch, output);
  const left = await rowsLeft(place, order);
  if (dryRun) {
    output.write(`${left} rows would be changed\n`);
    if (order !== "restore") for (const each of indexesFor(place)) output.write(`${each}\n`);
    return 0;
  }
  if (!isMarked(column) && !offline)
    return {
      problem: `nothing tells a token of "stored: ${column.form}" from a value: stop all writing through the proxy, and repeat this with --offline`,
      status: 2,
    };
  const began = performance.now();
  const bar = new Progress(left, streams.errors);
  const { rows, strange, examples, twice, twiceExamples } = await turnColumn(place, order, {
    batch,
    rate,
    progress: (done) => bar.show(done),
  });
  bar.end();
  const seconds = (performance.now() - began) / 1000;
  output.write(
    `${rows} rows changed in ${seconds.toFixed(1)} s (${Math.round(rows / Math.max(seconds, 0.001))} a second)\n`,
  );
  await client.query(`ANALYZE ${quoteQualified(schema, table)}`);
  if (twice > 0)
    output.write(
      `${twice} rows stay as they are: another row has their value already, which must be unique, such as that of ${twiceExamples.join("; ")}. Join or remove them, and repeat this\n`,
    );
  if (strange > 0) {
    output.write(
      `${strange} ${column.form === "document" ? "documents have values at the paths that are no strings, or that" : "values"} look like tokens that no key of the ring opens, such as those of ${examples.join("; ")}\n`,
    );
    return 1;
  }
  if (order === "migrate") output.write(LEFT_OVER);
  return twice > 0 ? 1 : 0;
}

/** For the searches that tokens of the active key carry. */
function indexesFor({ relation, name, column, sealer }: TokenPlace): readonly string[] {
  if (column.form === "document") return [];
  const statements = indexStatements(relation, name, column, sealer.active).map((each) => `${each};`);
  const isUnique = carriedBy(column.carried, sealer.active).has("case");
  return isUnique
    ? [
        ...statements,
        `${uniqueStatement(relation, name)}; -- in its place, if no two values may differ in case alone`,
      ]
    : statements;
}

/** What the server keeps of rows that were changed. */
const LEFT_OVER = `What was in the clear is still in: dead rows until VACUUM FULL or pg_repack of the table, WAL until it is recycled and
its archive until it expires, backups, replication slots and replicas that lag, and logs of statements.
`;

async function verify(place: TokenPlace, batch: number, output: Streams["output"]): Promise<number> {
  const { nulls, tokens, clear, unreadable, others } = await verifyColumn(place, batch);
  for (const [version, count] of [...tokens].sort(([one], [other]) => one - other))
    output.write(`${count} tokens of key ${version}${version === place.sealer.active ? " (active)" : ""}\n`);
  output.write(
    `${clear} values in the clear\n${unreadable} tokens that no key of the ring opens\n${nulls} NULL\n`,
  );
  if (others > 0)
    output.write(
      `${others} tokens do not carry what "searches:" of ${place.column.form === "document" ? "their class" : `class "${place.column.className}"`} says, and no search finds them: ` +
        `run "sluice tokens rotate ${place.relation.schema}.${place.relation.name}.${place.name}"\n`,
    );
  return clear + unreadable + others > 0 ? 1 : 0;
}

/** A line that is written over on a terminal, and a line now and then elsewhere. */
class Progress {
  readonly #total: number;
  readonly #errors: Streams["errors"];
  readonly #isTerminal = process.stderr.isTTY === true;
  #shownAt = 0;

  constructor(total: number, errors: Streams["errors"]) {
    this.#total = total;
    this.#errors = errors;
  }

  show(done: number): void {
    const now = performance.now();
    if (now - this.#shownAt < (this.#isTerminal ? 100 : 5_000)) return;
    this.#shownAt = now;
    const share = this.#total === 0 ? 1 : Math.min(1, done / this.#total);
    const bar = "#".repeat(Math.round(share * 30)).padEnd(30, ".");
    const line = `[${bar}] ${done} of ${this.#total} rows`;
    this.#errors.write(this.#isTerminal ? `\r${line}` : `${line}\n`);
  }

  end(): void {
    if (this.#isTerminal && this.#shownAt > 0) this.#errors.write("\n");
  }
}
