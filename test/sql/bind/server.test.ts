import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BoundStatement, Output } from "../../../proxy/sql/bind/bound.ts";
import { originOf } from "../../../proxy/sql/bind/questions.ts";
import { supportSchema } from "../../harness/postgres.ts";
import { groupOf, readCorpus } from "../corpus.ts";
import { EXTRAS } from "../same.ts";
import { type Bench, bindText, openBench } from "./bound.ts";
import { type Description, describeStatement, type Field } from "./describe.ts";
import { SCHEMA, TRAPS, wildStatements } from "./statements.ts";

/**
 * Asks the server what each statement's names mean: RowDescription has the name, table and column of each output, and
 * errors say which names mean nothing or several things. More by hand: SLUICE_BIND_RUNS=20000 SLUICE_BIND_SEED=5.
 */
const RUNS = Number(process.env.SLUICE_BIND_RUNS ?? 0);
const SEED = Number(process.env.SLUICE_BIND_SEED ?? 1);
const TIME = RUNS > 0 ? 3_600_000 : 60_000;

/** Uses one in this many statements of Postgres's regression tests. */
const STEP = RUNS > 0 ? 1 : 30;

let bench: Bench;
const regress = await readCorpus("regress");
const clients = await readCorpus("clients");

beforeAll(async () => {
  bench = await openBench(async ({ uri, query }) => {
    await supportSchema(uri);
    await query(EXTRAS);
    await query(SCHEMA);
    await query("CREATE FUNCTION pair(OUT first int, OUT second int) LANGUAGE sql AS 'SELECT 1, 2'");
    await query("CREATE FUNCTION label(a) RETURNS int LANGUAGE sql AS 'SELECT 1'");
  });
});
afterAll(() => bench?.close());

/** undefined_column, undefined_table, ambiguous_column, ambiguous_alias, duplicate_alias */
const OF_NAMES: ReadonlySet<string> = new Set(["42703", "42P01", "42702", "42P09", "42712"]);

/** Fields of values of composite types, and names in literals, are not names that a query exposes. */
const OF_VALUES = /could not identify column|not found in data type|relation "[^"]*" does not exist/;

interface Comparison {
  readonly difference: string | undefined;
  /** Outputs that are plain columns of a relation. */
  readonly plain: number;
  readonly refused: boolean;
}

async function compare(sql: string): Promise<Comparison> {
  const result = bindText(sql, bench.environment);
  const said = await describeStatement(bench.client, sql);
  if (result === undefined) return { difference: undefined, plain: 0, refused: false };
  if (!result.ok)
    return {
      difference: said.ok ? `not understood: ${result.message}` : undefined,
      plain: 0,
      refused: false,
    };
  const { statement } = result;
  const difference = said.ok ? differenceOf(statement, said.fields) : missed(statement, said);
  const outputs = said.ok ? (statement.top?.outputs ?? []) : [];
  return {
    difference: difference && `${difference}: ${sql}`,
    plain: outputs.filter((output) => placeOf(statement, output) !== undefined).length,
    refused: !said.ok && OF_NAMES.has(said.sqlstate),
  };
}

/** The server may find another error first; but whatever it says about names must be known. */
function missed(
  { problems }: BoundStatement,
  said: Description & { readonly ok: false },
): string | undefined {
  const { sqlstate, message } = said;
  const knows = (code: string) => problems.some((problem) => problem.sqlstate === code);
  if (!OF_NAMES.has(sqlstate) || knows(sqlstate)) return undefined;
  // Looking for a name like one that is missing, it may come upon two (searchRangeTableForCol of parser/parse_relation.c).
  const isHint = sqlstate === "42702" && knows("42703");
  const isOther = isHint || OF_VALUES.test(message) || knows("42P01");
  return isOther ? undefined : `${sqlstate} ${message} is not foreseen`;
}

function differenceOf(statement: BoundStatement, fields: readonly Field[]): string | undefined {
  const [problem] = statement.problems;
  if (problem !== undefined) return `${problem.sqlstate} ${problem.message}, which the server does not say`;
  const { top } = statement;
  if (top === undefined || top.hasUnknownOutputs) return undefined;
  const names = fields.map(({ name }) => name);
  const own = top.outputs.map(({ name }) => name);
  if (own.join() !== names.join()) return `outputs ${own} in place of ${names}`;
  return top.outputs
    .map((output, index) => otherPlace(placeOf(statement, output), fields[index]))
    .find((each) => each !== undefined);
}

/** A position that the server reports and bind does not is a cast without effect (`'a'::text`, regproc to oid). */
function otherPlace(place: readonly number[] | undefined, field: Field | undefined): string | undefined {
  if (place === undefined || field === undefined) return undefined;
  const said = [field.tableID, field.columnID];
  return place.join() === said.join() ? undefined : `${field.name} is ${said} and not ${place}`;
}

/** pg_attribute.attnum of the system columns (access/sysattr.h). */
const SYSTEM: Readonly<Record<string, number>> = {
  ctid: -1,
  xmin: -2,
  cmin: -3,
  xmax: -4,
  cmax: -5,
  tableoid: -6,
};

function placeOf(statement: BoundStatement, { column }: Output): readonly number[] | undefined {
  const origin = column && originOf(statement, column);
  if (origin?.relation.source.kind !== "table") return undefined;
  const { oid } = origin.relation.source.relation;
  return [oid, origin.source.kind === "own" ? origin.source.column.number : (SYSTEM[origin.name] ?? 0)];
}

async function compareAll(
  statements: readonly string[],
): Promise<{ readonly differences: readonly string[]; readonly plain: number; readonly refused: number }> {
  const all: Comparison[] = [];
  for (const sql of statements) all.push(await compare(sql));
  return {
    differences: all.flatMap(({ difference }) => difference ?? []),
    plain: all.reduce((sum, { plain }) => sum + plain, 0),
    refused: all.filter(({ refused }) => refused).length,
  };
}

test.skipIf(clients === undefined)(
  "what clients send means to us what it means to the server",
  async () => {
    const statements = (clients ?? []).map(({ sql }) => sql).filter((sql) => groupOf(sql) === "select");
    const { differences, plain } = await compareAll(statements);
    expect(differences).toEqual([]);
    expect(plain).toBeGreaterThan(1000);
  },
  TIME,
);

test.skipIf(regress === undefined)(
  "so does a sample of Postgres's own tests",
  async () => {
    const sample = (regress ?? []).filter(
      ({ sql }, index) => index % STEP === 0 && ["select", "write"].includes(groupOf(sql)),
    );
    const { differences, refused } = await compareAll(sample.map(({ sql }) => sql));
    expect(differences.filter((each) => !each.startsWith("not understood"))).toEqual([]);
    expect(refused).toBeGreaterThan(10);
  },
  TIME,
);

test("so does each way of looking names up", async () => {
  const { differences, plain, refused } = await compareAll(TRAPS);
  expect(differences).toEqual([]);
  expect(plain).toBeGreaterThan(TRAPS.length / 2);
  expect(refused).toBeGreaterThan(TRAPS.length / 6);
});

test(
  "so do statements with one name for several things",
  async () => {
    const statements = fc.sample(wildStatements, { numRuns: RUNS || 300, seed: SEED });
    const { differences, plain, refused } = await compareAll(statements);
    expect(differences).toEqual([]);
    expect(plain).toBeGreaterThan(statements.length / 10);
    expect(refused).toBeGreaterThan(statements.length / 20);
  },
  TIME,
);
