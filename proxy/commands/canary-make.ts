import { randomInt, randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import pg from "pg";
import { stringify } from "yaml";
import { controlConnection } from "../app/control.ts";
import { parseUpstream } from "../wire/upstream-uri.ts";
import { type Decoy, type DecoyColumn, makeDecoys, type Row } from "./canary-decoys.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice canary make --table SCHEMA.TABLE --upstream URI [FLAGS]

Makes up people who look like the others of a table and do not exist, and prints the policy lines that raise an
alert when a user reads one. Without --insert it prints the statements and changes nothing.

  --table NAME        the table whose "subject" people are, as in public.customers
  --subject COLUMN    the column of the ids (the primary key)
  --count NUMBER      how many (20)
  --spread COLUMN     decoys for each value of this column (a region, a team), so that a leaked decoy identifies the
                      group it was given to: for roles whose "only:" shows the rows of one value
  --domain NAME       the mail domain of decoys (example.com); with a domain of your own you see when someone writes
  --insert            insert them, in one transaction
  --upstream URI      the database, as a user who may read the table, and insert with --insert (or SLUICE_UPSTREAM)
`;

interface CanaryArguments {
  readonly schema: string;
  readonly table: string;
  readonly subject: string | undefined;
  readonly count: number;
  readonly spread: string | undefined;
  readonly domain: string;
  readonly insert: boolean;
  readonly upstream: string;
}

/** Rows that are looked at for what values look like. */
const SAMPLES = 200;
const MOST_GROUPS = 50;

/** `sluice canary make`: 0 when they are made. */
export async function canaryMake(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(HELP);
    return 0;
  }
  const question = readQuestion(args, env);
  if (isWrong(question)) return complain("canary make", question, streams);
  const target = parseUpstream(question.upstream, env);
  if (!target.ok) return complain("canary make", misused(`--upstream: ${target.problem}`), streams);
  const { database } = target.upstream;
  const client = new pg.Client({
    ...controlConnection(target.upstream),
    ...(database === undefined ? {} : { database }),
  });
  client.on("error", () => {});
  try {
    await client.connect();
    streams.output.write(await make(client, question));
    return 0;
  } catch (error) {
    const problem = error instanceof Error ? error.message : "unknown error";
    return complain("canary make", { problem, status: 1 }, streams);
  } finally {
    await client.end().catch(() => {});
  }
}

async function make(client: pg.Client, question: CanaryArguments): Promise<string> {
  const { schema, table, count, domain, insert } = question;
  const name = `${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(table)}`;
  const known = await columnsOf(client, schema, table);
  const columns = known.filter(({ generated }) => !generated);
  const subject = question.subject ?? onlyKey(known, table);
  const own = columns.find((column) => column.name === subject);
  if (own === undefined) throw new Error(`${schema}.${table} has no column "${subject}" that can be written`);
  const samples = await samplesOf(client, name, columns);
  if (samples.length === 0) throw new Error(`${schema}.${table} has no rows to look like`);
  const spread = question.spread === undefined ? undefined : await spreadOf(client, name, question.spread);
  const ids = await idsFor(client, { schema, table, name, subject, type: own.type }, count);
  const decoys = makeDecoys({
    columns,
    samples,
    ids,
    subject,
    domain,
    spread,
    below: (limit) => randomInt(limit),
  });
  const statements = decoys.map(({ row }) => insertOf(name, columns, row, own.alwaysIdentity));
  const policy = policyLines(`${schema}.${table}`, subject, decoys);
  if (!insert) return `${statements.join("\n")}\n\n${policy.replaceAll(/^(?=.)/gm, "-- ")}`;
  await client.query("BEGIN");
  for (const statement of statements) await client.query(statement);
  await client.query("COMMIT");
  return policy;
}

interface KnownColumn extends DecoyColumn {
  readonly generated: boolean;
  readonly alwaysIdentity: boolean;
  readonly key: boolean;
}

async function columnsOf(client: pg.Client, schema: string, table: string): Promise<readonly KnownColumn[]> {
  const { rows } = await client.query<KnownColumn>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated <> '' AS generated,
       a.attidentity = 'a' AS "alwaysIdentity",
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey)) AS unique,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)) AS key
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum`,
    [schema, table],
  );
  if (rows.length === 0) throw new Error(`there is no table ${schema}.${table}`);
  return rows;
}

function onlyKey(columns: readonly KnownColumn[], table: string): string {
  const [key, ...more] = columns.filter((column) => column.key);
  if (key === undefined || more.length > 0)
    throw new Error(`--subject: name the column of ${table} that has the ids`);
  return key.name;
}

async function samplesOf(
  client: pg.Client,
  name: string,
  columns: readonly DecoyColumn[],
): Promise<readonly Row[]> {
  const fields = columns.map((column) => `${pg.escapeIdentifier(column.name)}::text`).join(", ");
  // Of a large table a share of the pages is enough, and the whole of a small one is needed.
  const size = await client.query<{ pages: number }>(
    "SELECT relpages AS pages FROM pg_class WHERE oid = $1::regclass",
    [name],
  );
  const share = (size.rows[0]?.pages ?? 0) > 1_000 ? " TABLESAMPLE SYSTEM (1)" : "";
  const { rows } = await client.query<Row>(
    `SELECT ${fields} FROM ${name}${share} ORDER BY random() LIMIT ${SAMPLES}`,
  );
  return rows;
}

async function spreadOf(client: pg.Client, name: string, column: string) {
  const field = pg.escapeIdentifier(column);
  const { rows } = await client.query<{ value: string }>(
    `SELECT ${field}::text AS value FROM ${name} WHERE ${field} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT ${MOST_GROUPS + 1}`,
  );
  if (rows.length === 0 || rows.length > MOST_GROUPS) {
    throw new Error(`--spread: "${column}" must have 1 to ${MOST_GROUPS} different values`);
  }
  return { column, values: rows.map(({ value }) => value) };
}

interface CanaryColumn {
  readonly schema: string;
  readonly table: string;
  readonly name: string;
  readonly subject: string;
  readonly type: string;
}

/** As the next rows would get them: from the column's sequence, so that they stand among the others. */
async function idsFor(client: pg.Client, place: CanaryColumn, count: number): Promise<readonly string[]> {
  const { name, subject, type } = place;
  if (type === "uuid") return Array.from({ length: count }, () => randomUUID());
  if (!/^(smallint|integer|bigint|numeric)/.test(type)) {
    throw new Error(`ids of type ${type} cannot be made up; only numbers and UUIDs`);
  }
  const sequence = await client.query<{ name: string | null }>(
    "SELECT pg_get_serial_sequence($1, $2) AS name",
    [name, subject],
  );
  const field = pg.escapeIdentifier(subject);
  const { rows } =
    sequence.rows[0]?.name == null
      ? await client.query<{ id: string }>(
          `SELECT ((SELECT coalesce(max(${field}), 0) FROM ${name}) + n)::text AS id FROM generate_series(1, $1::int) n`,
          [count],
        )
      : await client.query<{ id: string }>(
          "SELECT nextval($1::regclass)::text AS id FROM generate_series(1, $2::int)",
          [sequence.rows[0].name, count],
        );
  return rows.map(({ id }) => id);
}

function insertOf(name: string, columns: readonly DecoyColumn[], row: Row, overriding: boolean): string {
  const fields = columns.map((column) => pg.escapeIdentifier(column.name)).join(", ");
  const values = columns.map((column) => {
    const value = row[column.name] ?? null;
    return value === null ? "NULL" : pg.escapeLiteral(value);
  });
  const over = overriding ? " OVERRIDING SYSTEM VALUE" : "";
  return `INSERT INTO ${name} (${fields})${over} VALUES (${values.join(", ")});`;
}

function policyLines(table: string, subject: string, decoys: readonly Decoy[]): string {
  const idOf = ({ row }: Decoy) => {
    const id = row[subject] ?? "";
    return /^\d{1,15}$/.test(id) ? Number(id) : id;
  };
  const groups = [...new Set(decoys.map(({ group }) => group))];
  const ids =
    groups.length === 1 && groups[0] === ""
      ? decoys.map(idOf)
      : Object.fromEntries(
          groups.map((group) => [group, decoys.filter((one) => one.group === group).map(idOf)]),
        );
  const yaml = stringify({ canaries: { [table]: ids } }, { collectionStyle: "any", lineWidth: 0 });
  return `# For the policy, out of sight of who reads the table:\n${yaml}on_canary: alert # or suspend\n`;
}

function readQuestion(args: readonly string[], env: NodeJS.ProcessEnv): CanaryArguments | Wrong {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        table: { type: "string" },
        subject: { type: "string" },
        count: { type: "string", default: "20" },
        spread: { type: "string" },
        domain: { type: "string", default: "example.com" },
        insert: { type: "boolean", default: false },
        upstream: { type: "string" },
      },
    });
    const [, schema, table] = /^([^.]+)\.([^.]+)$/.exec(values.table ?? "") ?? [];
    if (schema === undefined || table === undefined)
      return misused("--table: name it as in public.customers");
    if (!/^[1-9]\d{0,3}$/.test(values.count)) return misused("--count: a number from 1 to 9999");
    const upstream = values.upstream ?? env.SLUICE_UPSTREAM;
    if (upstream === undefined) return misused("--upstream: missing; name the database");
    const { subject, spread, domain, insert } = values;
    return { schema, table, subject, count: Number(values.count), spread, domain, insert, upstream };
  } catch (error) {
    return misused((error as Error).message);
  }
}
