/** What of the database is asked of; pg's own client is one. */
export interface Database {
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: readonly Row[] }>;
}

/** The table that a name space names its people in, quoted for SQL. */
export interface PeopleTable {
  readonly name: string;
  readonly id: string;
  /** The type of the ids, as Postgres writes it. */
  readonly type: string;
}

/** The people asked about are not there, or not in this form. Says nothing of them. */
export class NotInTable extends Error {}

/** Finds `public.customers.id` in the database. */
export async function peopleTable(database: Database, namespace: string): Promise<PeopleTable> {
  const [, schema, table, column] = /^([^.]+)\.(.+)\.([^.]+)$/.exec(namespace) ?? [];
  const { rows } = await database.query<PeopleTable>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name, format('%I', a.attname) AS id,
       format_type(a.atttypid, a.atttypmod) AS type
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped`,
    [schema, table, column],
  );
  const [found] = rows;
  if (found === undefined) throw new NotInTable(`the database has no column ${namespace}`);
  return found;
}

/** Columns of the table, quoted; throws for one that it does not have. */
async function columnsOf(
  database: Database,
  { name }: PeopleTable,
  columns: readonly string[],
): Promise<readonly string[]> {
  const { rows } = await database.query<{ name: string; quoted: string }>(
    `SELECT a.attname AS name, format('t.%I', a.attname) AS quoted FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped`,
    [name],
  );
  return columns.map((column) => {
    const found = rows.find((row) => row.name === column);
    if (found === undefined) throw new NotInTable(`${name} has no column "${column}"`);
    return found.quoted;
  });
}

/** Whose email addresses or telephone numbers these are. */
export interface Matched {
  /** By value: the one person who has it. */
  readonly ids: ReadonlyMap<string, string>;
  /** How many values are several people's, and how many nobody's. */
  readonly ambiguous: number;
  readonly unknown: number;
}

/**
 * Finds people by the values of a column: first as they are written, which an index serves; what is left without regard
 * to case, and telephone numbers by their digits.
 */
export async function matchPeople(
  database: Database,
  table: PeopleTable,
  column: string,
  values: readonly string[],
): Promise<Matched> {
  const [quoted = ""] = await columnsOf(database, table, [column]);
  const found = new Map<string, Set<string>>();
  const enter = (value: string, id: string) => found.set(value, (found.get(value) ?? new Set()).add(id));
  const select = (expression: string) =>
    `SELECT ${expression} AS value, t.${table.id}::text AS id FROM ${table.name} t WHERE ${expression} = ANY ($1::text[])`;
  for (const { value, id } of await idsBy(database, select(`${quoted}::text`), values)) enter(value, id);
  for (const { form, expression } of FORMS) {
    const byForm = new Map<string, string[]>();
    for (const value of values) {
      const formed = found.has(value) ? undefined : form(value);
      if (formed !== undefined) byForm.set(formed, [...(byForm.get(formed) ?? []), value]);
    }
    if (byForm.size === 0) continue;
    const rows = await idsBy(database, select(expression(`${quoted}::text`)), [...byForm.keys()]);
    for (const { value, id } of rows) for (const original of byForm.get(value) ?? []) enter(original, id);
  }
  const ids = new Map<string, string>();
  for (const [value, people] of found) {
    const [id = "", ...others] = people;
    if (others.length === 0) ids.set(value, id);
  }
  return { ids, ambiguous: found.size - ids.size, unknown: values.length - found.size };
}

/** Fewer digits are no telephone number. */
const FEWEST_DIGITS = 6;

const FORMS: readonly {
  readonly form: (value: string) => string | undefined;
  readonly expression: (column: string) => string;
}[] = [
  { form: (value) => value.toLowerCase(), expression: (column) => `pg_catalog.lower(${column})` },
  {
    form(value) {
      const digits = value.replaceAll(/\D/g, "");
      return value.includes("@") || digits.length < FEWEST_DIGITS ? undefined : digits;
    },
    expression: (column) => `pg_catalog.regexp_replace(${column}, '\\D', '', 'g')`,
  },
];

async function idsBy(
  database: Database,
  sql: string,
  values: readonly string[],
): Promise<readonly { readonly value: string; readonly id: string }[]> {
  const { rows } = await database.query<{ value: string; id: string | null }>(sql, [values]);
  return rows.flatMap(({ value, id }) => (id === null ? [] : [{ value, id }]));
}

/** People who are like the leaked ones in these columns, and which of the leaked are like which. */
export interface Alike {
  /** By id of a leaked person: what they are like; who is not in the table any more is left out. */
  readonly leaked: ReadonlyMap<string, string>;
  readonly controls: readonly { readonly id: string; readonly kind: string }[];
}

/** Draws `count` people at random, of each kind so many as its share of the leaked. */
export async function drawAlike(
  database: Database,
  table: PeopleTable,
  like: readonly string[],
  ids: readonly string[],
  count: number,
): Promise<Alike> {
  const columns = await columnsOf(database, table, like);
  const kind = `ROW(${columns.join(", ")})::text`;
  const asked = `$1::text[]::${table.type}[]`;
  const leaked = await database.query<{ id: string; kind: string }>(
    `SELECT t.${table.id}::text AS id, ${kind} AS kind FROM ${table.name} t WHERE t.${table.id} = ANY (${asked})`,
    [ids],
  );
  const kinds = new Map<string, number>();
  for (const row of leaked.rows) kinds.set(row.kind, (kinds.get(row.kind) ?? 0) + 1);
  const wanted = [...kinds.values()].map((people) => Math.ceil((count * people) / leaked.rows.length));
  const controls = await database.query<{ id: string; kind: string }>(
    `SELECT id, drawn.kind FROM (
       SELECT t.${table.id}::text AS id, ${kind} AS kind,
         pg_catalog.row_number() OVER (PARTITION BY ${kind} ORDER BY pg_catalog.random()) AS place
       FROM ${table.name} t WHERE t.${table.id} <> ALL (${asked}) AND ${kind} = ANY ($2::text[])
     ) drawn JOIN (SELECT unnest($2::text[]) AS kind, unnest($3::integer[]) AS wanted) kinds USING (kind)
     WHERE place <= wanted`,
    [ids, [...kinds.keys()], wanted],
  );
  return { leaked: new Map(leaked.rows.map((row) => [row.id, row.kind])), controls: controls.rows };
}

/** As many rows come at once as make a trip worth it. */
const FETCHED = 20_000;

/** All ids of the table, in no order: one reading of the table, whatever its size. */
export async function* allIds(
  database: Database,
  { name, id }: PeopleTable,
): AsyncGenerator<readonly string[]> {
  await database.query(
    `DECLARE "sluice people" NO SCROLL CURSOR FOR SELECT ${id}::text AS id FROM ${name} WHERE ${id} IS NOT NULL`,
  );
  const fetch = () => {
    const rows = database.query<{ id: string }>(`FETCH ${FETCHED} FROM "sluice people"`);
    // It is awaited later, or not at all when the caller gives up.
    rows.catch(() => {});
    return rows;
  };
  // The next ones are on their way while the caller works on these.
  for (let ahead = fetch(); ; ) {
    const { rows } = await ahead;
    if (rows.length === 0) return;
    ahead = fetch();
    yield rows.map((row) => row.id);
  }
}

/** By id: the value of a column (a country, a tenant) as text; who is not in the table is left out. */
export async function valuesOf(
  database: Database,
  table: PeopleTable,
  column: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const [quoted = ""] = await columnsOf(database, table, [column]);
  const { rows } = await database.query<{ id: string; value: string | null }>(
    `SELECT t.${table.id}::text AS id, ${quoted}::text AS value FROM ${table.name} t WHERE t.${table.id} = ANY ($1::text[]::${table.type}[])`,
    [ids],
  );
  return new Map(rows.map(({ id, value }) => [id, value ?? ""]));
}

/** Ids that cannot be ids of this table: a list of something else. Asked of the database, which knows its types. */
export async function refuseStrangeIds(
  database: Database,
  table: PeopleTable,
  ids: readonly string[],
): Promise<void> {
  try {
    await database.query(`SELECT pg_catalog.cardinality($1::text[]::${table.type}[])`, [ids]);
  } catch (error) {
    // Its words repeat the value.
    if (!/^22/.test((error as { code?: string }).code ?? "")) throw error;
    throw new NotInTable(`the list holds what cannot be an id: ${table.name}.${table.id} is ${table.type}`);
  }
}
