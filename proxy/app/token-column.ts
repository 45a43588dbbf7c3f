import { setTimeout as sleep } from "node:timers/promises";
import type { Relation } from "../catalog/catalog.ts";
import { quoteIdentifier, quoteLiteral, quoteQualified } from "../pg/quote.ts";
import type { ValueColumn } from "../sql/tokens/documents.ts";
import type { TokenColumn } from "../sql/tokens/token-columns.ts";
import { looksLikeToken, MARKS, type Sealer, tokenShape, tokenStart, versionOf } from "../tokens/sealed.ts";
import { turnedDocument, valuesIn } from "./token-documents.ts";

/*
 * Turns the values that a column holds already into tokens, back, or into tokens of another key, while applications go on
 * writing through the proxy: in batches by primary key, each row only if it still holds what was read. What is done is
 * seen in the value itself, so a run that was killed is simply begun again. Numbers (digits, phone) do not show it: they
 * are changed in one transaction, with the table locked, and the column's comment says that it is done.
 */

export type Turn = "migrate" | "restore" | "rotate";

export interface Asking {
  query(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: readonly Row[]; readonly rowCount: number | null }>;
}
type Row = Readonly<Record<string, unknown>>;

export interface TokenPlace {
  readonly database: Asking;
  readonly relation: Relation;
  /** The column's name in the table. */
  readonly name: string;
  readonly column: TokenColumn;
  readonly sealer: Sealer;
}

export interface Pace {
  readonly batch: number;
  /** Rows a second; undefined: as many as can be. */
  readonly rate: number | undefined;
  /** Called after each batch. */
  readonly progress: (done: number) => void;
}

export interface Turned {
  readonly rows: number;
  /** Values that are no tokens under a key of the ring, or not of the column's form; they stay as they are. */
  readonly strange: number;
  /** The primary keys of a few of these. */
  readonly examples: readonly string[];
  /** Rows whose value another row has already, in its new form, though it must be unique; they stay as they are. */
  readonly twice: number;
  readonly twiceExamples: readonly string[];
}

export interface Found {
  readonly nulls: number;
  /** By the version of the key; of numbers those that have the form. */
  readonly tokens: ReadonlyMap<number, number>;
  readonly clear: number;
  /** They look like tokens, and no key of the ring opens them. */
  readonly unreadable: number;
  /** Tokens that are not what would be written under their key: they carry other blind indexes. */
  readonly others: number;
}

const MOST_EXAMPLES = 5;
/** Others write meanwhile, and each pass finds less. */
const MOST_PASSES = 20;

/** In the comment of a column of numbers that are tokens. */
const DONE = "[sluice: tokens]";

export function isMarked({ form }: TokenColumn): boolean {
  return form === "document" || MARKS[form] !== undefined;
}

/** What a value becomes. Undefined: it stays; "strange": it should not be there. */
function turned(value: string, turn: Turn, { column, sealer }: TokenPlace): string | undefined | "strange" {
  return column.form === "document"
    ? turnedDocument(value, column, (each, of) => turnedValue(each, turn, of, sealer))
    : turnedValue(value, turn, column, sealer);
}

function turnedValue(
  value: string,
  turn: Turn,
  column: ValueColumn,
  sealer: Sealer,
): string | undefined | "strange" {
  if (!isMarked(column)) {
    return (turn === "migrate" ? sealer.seal(value, column) : sealer.open(value, column)) ?? "strange";
  }
  if (!looksLikeToken(value)) return turn === "migrate" ? sealer.seal(value, column) : undefined;
  const clear = sealer.open(value, column);
  if (clear === undefined) return "strange";
  if (turn === "migrate") return undefined;
  const other = turn === "restore" ? clear : sealer.seal(clear, column);
  return other === value ? undefined : other;
}

/** Changes the column, and gives what was done. Throws if the database refuses. */
export async function turnColumn(place: TokenPlace, turn: Turn, pace: Pace): Promise<Turned> {
  if (!isMarked(place.column)) return await turnNumbers(place, turn, pace);
  let rows = 0;
  for (let pass = 0; pass < MOST_PASSES; pass++) {
    const done = await onePass(place, turn, { ...pace, progress: (more) => pace.progress(rows + more) });
    rows += done.rows;
    if (done.rows === 0) return { ...done, rows };
  }
  throw new Error(
    "values are written in another form faster than they are turned: is the policy in force in every proxy?",
  );
}

async function turnNumbers(place: TokenPlace, turn: Turn, pace: Pace): Promise<Turned> {
  const { database } = place;
  if (turn === "rotate") throw new Error("tokens in the format of numbers cannot change their key");
  const table = tableOf(place);
  await database.query("BEGIN");
  try {
    await database.query(`LOCK TABLE ${table} IN SHARE ROW EXCLUSIVE MODE`);
    const comment = await commentOf(place);
    const isDone = comment.includes(DONE);
    if (isDone === (turn === "migrate"))
      throw new Error(
        isDone
          ? "the column's comment says that it holds tokens"
          : "the column's comment does not say that it holds tokens",
      );
    const done = await onePass(place, turn, pace);
    if (done.strange > 0)
      throw new Error(
        `${done.strange} values do not have the form of the column, such as those of ${done.examples.join("; ")}: nothing was changed`,
      );
    const now = isDone ? comment.replace(DONE, "").trim() : `${comment} ${DONE}`.trim();
    await database.query(
      `COMMENT ON COLUMN ${table}.${quoteIdentifier(place.name)} IS ${now === "" ? "NULL" : quoteLiteral(now)}`,
    );
    await database.query("COMMIT");
    return done;
  } catch (error) {
    await database.query("ROLLBACK");
    throw error;
  }
}

async function commentOf({ database, relation, name }: TokenPlace): Promise<string> {
  const number = relation.columns.find((column) => column.name === name)?.number;
  const { rows } = await database.query("SELECT pg_catalog.col_description($1, $2) AS comment", [
    relation.oid,
    number,
  ]);
  return String(rows[0]?.comment ?? "");
}

/** Whether the comment of a column of numbers says that they are tokens. */
export async function isNoted(place: TokenPlace): Promise<boolean> {
  return (await commentOf(place)).includes(DONE);
}

async function onePass(place: TokenPlace, turn: Turn, { batch, rate, progress }: Pace): Promise<Turned> {
  let [rows, strange, twice] = [0, 0, 0];
  const examples: string[] = [];
  const twiceExamples: string[] = [];
  for await (const read of batches(place, batch, passFilter(place, turn))) {
    const began = performance.now();
    const changes: Change[] = [];
    for (const { key, value } of read) {
      const other = turned(value, turn, place);
      if (other === "strange") {
        strange++;
        if (examples.length < MOST_EXAMPLES) examples.push(keyText(place, key));
      } else if (other !== undefined && other !== value) changes.push({ key, old: value, other });
    }
    const written = await write(place, changes);
    rows += written.rows;
    twice += written.twice.length;
    for (const { key } of written.twice)
      if (twiceExamples.length < MOST_EXAMPLES) twiceExamples.push(keyText(place, key));
    progress(rows);
    if (rate !== undefined)
      await sleep(Math.max(0, (read.length / rate) * 1000 - (performance.now() - began)));
  }
  return { rows, strange, examples, twice, twiceExamples };
}

function keyText({ relation }: TokenPlace, key: readonly string[]): string {
  return relation.primaryKey.map((name, index) => `${name} ${key[index]}`).join(", ");
}

interface Read {
  readonly key: readonly string[];
  readonly value: string;
}

/** Of those that have something left to do, as far as the database can tell: it does not know a wrong hash. */
function filterOf({ column, sealer, name }: TokenPlace, turn: Turn): string {
  if (column.form === "document") return "true";
  const mark = MARKS[column.form];
  if (mark === undefined) return "true";
  const start = (length: number) => `pg_catalog.left(${textOf(column, name)}, ${length})`;
  const isToken = `${start(mark.length)} = ${quoteLiteral(mark)}`;
  if (turn === "migrate") return `NOT (${isToken})`;
  if (turn === "restore") return isToken;
  const active = tokenStart(column.form, sealer.active);
  const isOlder = `${start(active.length)} <> ${quoteLiteral(active)}`;
  if (column.form !== "token") return `${isToken} AND ${isOlder}`;
  const shape = quoteLiteral(tokenShape(sealer.active, column.carried));
  return `${isToken} AND (${isOlder} OR ${textOf(column, name)} OPERATOR(pg_catalog.!~) ${shape})`;
}

/** Of those that a pass looks at: a hash that a token carries is known to be right by its value alone. */
function passFilter(place: TokenPlace, turn: Turn): string {
  const carried = place.column.form === "document" ? [] : (place.column.carried ?? []);
  return filterOf(place, turn === "rotate" && carried.length > 0 ? "restore" : turn);
}

/** The column as a text: of bytes in hexadecimal digits, whatever the session's bytea_output. */
function textOf({ form }: TokenColumn, name: string): string {
  const column = `t.${quoteIdentifier(name)}`;
  return form === "bytes"
    ? `(${quoteLiteral("\\x")} || pg_catalog.encode(${column}, 'hex'))`
    : `${column}::text`;
}

/** Rows of the table with a value, by primary key. */
async function* batches(place: TokenPlace, size: number, filter: string): AsyncGenerator<readonly Read[]> {
  const { database, relation, name } = place;
  const keys = relation.primaryKey.map(quoteIdentifier);
  const value = `t.${quoteIdentifier(name)}`;
  const list = keys.map((key) => `t.${key}`).join(", ");
  const select = `SELECT ${keys.map((key, index) => `t.${key}::text AS k${index}`).join(", ")}, ${textOf(place.column, name)} AS value FROM ${tableOf(place)} t WHERE ${value} IS NOT NULL AND (${filter})`;
  const behind = keyTypes(place).map((type, index) => `$${index + 1}::text::${type}`);
  let last: readonly string[] | undefined;
  for (;;) {
    const after = last === undefined ? "" : ` AND (${list}) > (${behind.join(", ")})`;
    const { rows } = await database.query(`${select}${after} ORDER BY ${list} LIMIT ${size}`, last);
    if (rows.length === 0) return;
    const read = rows.map((row) => ({
      key: keys.map((_, index) => String(row[`k${index}`])),
      value: String(row.value),
    }));
    yield read;
    last = read.at(-1)?.key;
  }
}

function keyTypes({ relation }: TokenPlace): readonly string[] {
  return relation.primaryKey.map(
    (name) => relation.columns.find((column) => column.name === name)?.type ?? "text",
  );
}

interface Change {
  readonly key: readonly string[];
  readonly old: string;
  readonly other: string;
}

/** serialization_failure, deadlock_detected: somebody else writes the same rows. */
const AGAIN: ReadonlySet<unknown> = new Set(["40001", "40P01"]);
const MOST_TRIES = 5;
const UNIQUE_VIOLATION = "23505";

interface Written {
  readonly rows: number;
  /** What another row has already. */
  readonly twice: readonly Change[];
}

/** Only where the row still holds what was read: what an application has written meanwhile is a token already. */
async function write(place: TokenPlace, changes: readonly Change[]): Promise<Written> {
  if (changes.length === 0) return { rows: 0, twice: [] };
  const { database, name } = place;
  const types = keyTypes(place);
  const column = quoteIdentifier(name);
  const names = types.map((_, index) => `k${index}`);
  const lists = [...names, "old", "other"].map((_, index) => `pg_catalog.unnest($${index + 1}::text[])`);
  const same = place.relation.primaryKey.map(
    (key, index) => `t.${quoteIdentifier(key)} = n.k${index}::${types[index]}`,
  );
  const type = typeOf(place);
  const other = type === undefined ? "n.other" : `n.other::pg_catalog.${type}`;
  const text =
    `UPDATE ${tableOf(place)} t SET ${column} = ${other} FROM ROWS FROM (${lists.join(", ")}) AS n(${[...names, "old", "other"].join(", ")}) ` +
    `WHERE ${same.join(" AND ")} AND (${textOf(place.column, name)} COLLATE "C") = n.old`;
  const values = [
    ...names.map((_, index) => changes.map(({ key }) => key[index])),
    changes.map(({ old }) => old),
    changes.map(({ other }) => other),
  ];
  for (let tries = 1; ; tries++) {
    try {
      return { rows: (await database.query(text, values)).rowCount ?? 0, twice: [] };
    } catch (error) {
      const { code } = error as { code?: string };
      if (!isMarked(place.column)) throw error;
      if (code === UNIQUE_VIOLATION) return await writeHalves(place, changes);
      if (tries === MOST_TRIES || !AGAIN.has(code)) throw error;
    }
  }
}

/** The type that a text becomes again; undefined for texts. */
function typeOf({ column, relation, name }: TokenPlace): string | undefined {
  if (column.form === "bytes") return "bytea";
  if (column.form !== "document") return undefined;
  return relation.columns.find((each) => each.name === name)?.type === "json" ? "json" : "jsonb";
}

/** Finds the row that cannot be changed, and changes the others. */
async function writeHalves(place: TokenPlace, changes: readonly Change[]): Promise<Written> {
  if (changes.length === 1) return { rows: 0, twice: changes };
  const middle = changes.length >> 1;
  const first = await write(place, changes.slice(0, middle));
  const second = await write(place, changes.slice(middle));
  return { rows: first.rows + second.rows, twice: [...first.twice, ...second.twice] };
}

function tableOf({ relation }: TokenPlace): string {
  return quoteQualified(relation.schema, relation.name);
}

/** Rows that a turn would change, as far as the database can tell. */
export async function rowsLeft(place: TokenPlace, turn: Turn): Promise<number> {
  if (place.column.form === "document") return await documentsLeft(place, turn);
  const { rows } = await place.database.query(
    `SELECT pg_catalog.count(*) AS left_over FROM ${tableOf(place)} t WHERE t.${quoteIdentifier(place.name)} IS NOT NULL AND (${filterOf(place, turn)})`,
  );
  return Number(rows[0]?.left_over ?? 0);
}

const DOCUMENTS_AT_ONCE = 500;

/** The database does not look into documents. */
async function documentsLeft(place: TokenPlace, turn: Turn): Promise<number> {
  let left = 0;
  for await (const read of batches(place, DOCUMENTS_AT_ONCE, "true"))
    for (const { value } of read) {
      const other = turned(value, turn, place);
      if (other !== undefined && other !== "strange") left++;
    }
  return left;
}

/** Looks at every value of the column. */
export async function verifyColumn(place: TokenPlace, batch: number): Promise<Found> {
  const { column, sealer, database, name } = place;
  const tokens = new Map<number, number>();
  let [clear, unreadable, others] = [0, 0, 0];
  const isNumber = !isMarked(column);
  const holds = isNumber && (await isNoted(place));
  const count = (value: string, of: ValueColumn): void => {
    const isToken = isNumber ? holds : looksLikeToken(value);
    if (!isToken) {
      clear++;
      return;
    }
    const version = isNumber ? of.version : (versionOf(value) ?? 0);
    const isAsWritten = isNumber
      ? sealer.open(value, of) !== undefined || undefined
      : sealer.isAsWritten(value, of);
    if (isAsWritten === undefined) unreadable++;
    else tokens.set(version, (tokens.get(version) ?? 0) + 1);
    if (isAsWritten === false) others++;
  };
  for await (const read of batches(place, batch, "true"))
    for (const { value } of read) {
      if (column.form !== "document") {
        count(value, column);
        continue;
      }
      const found = valuesIn(value, column);
      clear += found?.others ?? 1;
      for (const [each, of] of found?.strings ?? []) count(each, of);
    }
  const { rows } = await database.query(
    `SELECT pg_catalog.count(*) AS nulls FROM ${tableOf(place)} t WHERE t.${quoteIdentifier(name)} IS NULL`,
  );
  return { nulls: Number(rows[0]?.nulls ?? 0), tokens, clear, unreadable, others };
}
