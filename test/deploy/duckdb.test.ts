import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { validate } from "dockerfile-utils";
import { expect, onTestFinished, test } from "vitest";
import { entriesOf, login, makeFolder, NOON, openLog, reading } from "../audit/support.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const PAGE = read("docs/log-at-scale.md");

async function openLogTable(folder: string) {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  onTestFinished(() => connection.closeSync());
  await connection.run(`SET VARIABLE log = '${folder}/audit-*.jsonl*'`);
  await connection.run(read("deploy/duckdb/log.sql"));
  const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRowObjectsJS();
  return { rows, run: (sql: string) => connection.run(sql) };
}

async function makeLog(): Promise<string> {
  const folder = await makeFolder();
  const { log } = await openLog(folder);
  log.write(login("s1"));
  for (let i = 0; i < 5; i++)
    log.write(
      reading({
        ...{ time: NOON + i, people: 2, rows: 2, subjects: [`a${i}`, "b"] },
        revealed: { shown: ["name"], shownWhere: [], found: ["email"] },
      }),
    );
  log.write(
    reading({ decision: "refuse", sqlstate: "42501", rule: "roles.agent.reads", reference: "r-1", rows: 0 }),
  );
  log.write({ kind: "suspension", time: NOON, user: "anna", by: "olga", why: "asked", ordered: NOON });
  await log.close();
  // One segment is compressed, the other is being written.
  const { log: open } = await openLog(folder, { now: () => NOON + 1 });
  open.write(reading({ time: NOON + 9, user: "ben", people: 1, subjects: ["c"] }));
  await open.flush();
  return folder;
}

test("the view has each line of the log, closed segments and the open one, by writer, number and hash", async () => {
  const folder = await makeLog();
  const { rows } = await openLogTable(folder);
  const found = await rows("SELECT writer, sequence, hash, kind FROM log ORDER BY writer, sequence");
  const entries = (await entriesOf(folder)).map(({ metadata, hash, unmapped }) => ({
    writer: metadata.log_name,
    sequence: BigInt(metadata.sequence),
    hash,
    kind: unmapped.kind,
  }));
  expect(found).toEqual(entries);
  expect(await rows(`SELECT shown, people, "user" FROM log WHERE people = 2 LIMIT 1`)).toEqual([
    { shown: expect.arrayContaining(["name", "email"]), people: 2n, user: "anna" },
  ]);
  expect(await rows("SELECT about, told FROM log WHERE kind = 'suspension'")).toEqual([
    { about: "anna", told: "asked" },
  ]);
});

test("each question of the page runs and answers", async () => {
  const { rows } = await openLogTable(await makeLog());
  const questions = [...PAGE.matchAll(/```sql\n(.*?)```/gs)].map(([, sql = ""]) => sql);
  expect(questions).toHaveLength(4);
  const answers = await Promise.all(questions.map(rows));
  expect(answers[0]).toMatchObject([
    { user: "anna", role: "agent", people: 6n },
    { user: "ben", people: 1n },
  ]);
  expect(answers[1]).toMatchObject([
    { user: "anna", rule: "roles.agent.reads", sqlstate: "42501", times: 1n },
  ]);
  expect(answers.slice(2)).toEqual([[], []]);
});

test("the Parquet files have the columns that the page documents, and all lines", async () => {
  const folder = await makeLog();
  const { rows, run } = await openLogTable(folder);
  const target = join(folder, "parquet");
  await run(read("deploy/duckdb/parquet.sql").replace("'parquet'", `'${target}'`));
  expect(existsSync(join(target, "day=2026-05-06"))).toBe(true);
  const files = `read_parquet('${target}/*/*.parquet', hive_partitioning = true)`;
  const columns = await rows(`DESCRIBE SELECT * FROM ${files}`);
  const documented = [...PAGE.matchAll(/^\| `(\w+)` \| ([A-Z]+(?:\[\])?) \|/gm)].map(([, name, type]) => [
    name,
    type,
  ]);
  expect(columns.map(({ column_name: name, column_type: type }) => [name, type])).toEqual(documented);
  expect(await rows(`SELECT count(*) AS lines FROM ${files}`)).toEqual(
    await rows("SELECT count(*) AS lines FROM log"),
  );
});

test("the lines for ClickHouse have the columns of its table, which are those of the page, and no array that is NULL", async () => {
  const folder = await makeLog();
  const { rows, run } = await openLogTable(folder);
  const target = join(folder, "log.ndjson");
  await run(read("deploy/clickhouse/rows.sql").replace("'log.ndjson'", `'${target}'`));
  const columns = [...read("deploy/clickhouse/log.sql").matchAll(/^ {2}`(\w+)` (\S+?)[,\n]/gm)].map(
    ([, name = "", type = ""]) => [name, type] as const,
  );
  const documented = [...PAGE.matchAll(/^\| `(\w+)` \| [A-Z]+(?:\[\])? \|/gm)].map(([, name]) => name);
  expect(columns.map(([name]) => name)).toEqual(documented);
  const lines = readFileSync(target, "utf8").trim().split("\n");
  expect([{ lines: BigInt(lines.length) }]).toEqual(await rows("SELECT count(*) AS lines FROM log"));
  for (const line of lines) {
    const row = JSON.parse(line) as Readonly<Record<string, unknown>>;
    expect(Object.keys(row)).toEqual(documented);
    for (const [name, type] of columns) {
      if (!type.startsWith("Nullable")) expect(row[name], name).not.toBeNull();
      if (type.startsWith("Array")) expect(row[name], name).toBeInstanceOf(Array);
    }
  }
});

test("the image with DuckDB starts from Sluice's own, and what it copies is there", () => {
  const dockerfile = read("deploy/duckdb/Dockerfile");
  expect(validate(dockerfile)).toEqual([]);
  const [, base] = /^FROM (node:\S+) AS build/m.exec(read("Dockerfile")) ?? [];
  expect(dockerfile).toContain(`FROM ${base} AS packages`);
  expect(dockerfile).toMatch(/^FROM \$\{SLUICE\}$/m);
  const sources = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, files = ""]) =>
    files.split(" "),
  );
  expect(sources).toContain("deploy/duckdb/log.sql");
  for (const source of sources) expect(existsSync(join(ROOT, source)), source).toBe(true);
  // All that the package needs lies in its own folder.
  const { dependencies } = JSON.parse(read("node_modules/@duckdb/node-api/package.json")) as {
    dependencies: Readonly<Record<string, string>>;
  };
  for (const name of Object.keys(dependencies)) expect(name).toMatch(/^@duckdb\//);
});
