import fc from "fast-check";
import { Draw } from "../../harness/draw.ts";

/**
 * Statements with typical traps for names: aliases that are names of tables and columns, columns of several references,
 * of outer levels, of the level's own FROM where it is not visible, output names, USING, renamed columns. All columns
 * are numbers, so that types do not matter. Some statements are not valid: the server says which.
 */

export const SCHEMA = `
  CREATE TABLE a (id int PRIMARY KEY, x int, y int);
  CREATE TABLE b (id int PRIMARY KEY, x int, z int);
  CREATE TABLE c (k int PRIMARY KEY, y int, w int);
  CREATE VIEW v AS SELECT a.id, a.x + b.z AS s, b.x FROM a JOIN b ON b.id = a.id WHERE a.y > 0;
  INSERT INTO a SELECT n, n % 3, n % 4 FROM generate_series(1, 6) n;
  INSERT INTO b SELECT n, n % 2, n % 5 FROM generate_series(2, 7) n;
  INSERT INTO c SELECT n, n % 4, n % 3 FROM generate_series(1, 5) n;
`;

export const TABLES: Readonly<Record<string, readonly string[]>> = {
  a: ["id", "x", "y"],
  b: ["id", "x", "z"],
  c: ["k", "y", "w"],
  v: ["id", "s", "x"],
};

/** One statement for each kind of name lookup, over `SCHEMA`. */
export const TRAPS: readonly string[] = [
  // A subquery in FROM cannot refer to the items before it, and finds the name further out.
  "SELECT (SELECT max(s.n) FROM b, (SELECT x AS n) s) FROM a",
  "SELECT (SELECT max(s.n) FROM b, LATERAL (SELECT x AS n) s) FROM a",
  "SELECT 1 FROM a, (SELECT a.id) s",
  "SELECT 1 FROM a RIGHT JOIN LATERAL (SELECT a.id) s ON true",
  "SELECT n FROM a, generate_series(1, a.x) AS n",
  // ON can refer only to its two sides.
  "SELECT 1 FROM c, a JOIN b ON a.id = c.k",
  "SELECT (SELECT 1 FROM c, b JOIN a ON w = k) FROM c",
  // A join without an alias exposes its columns, and its sides by their names.
  "SELECT id FROM a JOIN b USING (id)",
  "SELECT id FROM a JOIN b ON true",
  "SELECT a.id, b.id, * FROM a FULL JOIN b USING (id)",
  "SELECT j.id, a.id FROM (a JOIN b USING (id)) j",
  "SELECT u.id FROM a JOIN b USING (id) AS u",
  "SELECT u.x FROM a JOIN b USING (id) AS u",
  "SELECT ctid FROM a JOIN b ON true",
  "SELECT ctid, a.ctid FROM a",
  "SELECT ctid FROM v",
  "SELECT * FROM a NATURAL RIGHT JOIN b",
  // The alias of a column hides its own name.
  "SELECT id FROM a AS t(n)",
  "SELECT n, t.x FROM a AS t(n)",
  "SELECT a.id FROM a AS t",
  "SELECT public.a.id FROM a",
  "SELECT public.a.id FROM a AS a",
  "SELECT (SELECT public.a.id FROM b AS a) FROM a",
  // Output names: before columns in ORDER BY, after them in GROUP BY.
  "SELECT -id AS x FROM a ORDER BY x",
  "SELECT -id AS x, count(*) FROM a GROUP BY x",
  "SELECT -id AS g, count(*) FROM a GROUP BY g",
  "SELECT -id AS g, y AS g FROM a ORDER BY g",
  "SELECT id AS g, id AS g FROM a ORDER BY g",
  "SELECT -id AS g FROM a ORDER BY g + 1",
  "SELECT DISTINCT ON (g) -id AS g FROM a",
  "SELECT id FROM a UNION SELECT k FROM c ORDER BY id",
  "SELECT id FROM a UNION SELECT k FROM c ORDER BY k",
  // WITH queries: those before, or all; a write's target is never a WITH query.
  "WITH a AS (SELECT * FROM a) SELECT * FROM a",
  "WITH t AS (SELECT * FROM u), u AS (SELECT 1 AS n) SELECT n FROM t",
  "WITH RECURSIVE t AS (SELECT * FROM u), u AS (SELECT 1 AS n) SELECT n FROM t",
  "WITH a(n) AS (SELECT 1) UPDATE a SET x = 1 WHERE n = 1",
  "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t) SEARCH DEPTH FIRST BY n SET o SELECT * FROM t",
  // Writes.
  "UPDATE a SET x = b.z FROM b WHERE a.id = b.id RETURNING *",
  "UPDATE a SET x = id FROM b",
  "UPDATE a SET x = 1 FROM LATERAL (SELECT a.id) s",
  "INSERT INTO a SELECT x FROM c",
  "INSERT INTO a (id, x) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET x = excluded.x + x",
  "INSERT INTO a (id, x) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET x = excluded.x + a.x RETURNING old.x, new.*",
  "MERGE INTO a USING b ON a.id = b.id WHEN NOT MATCHED THEN INSERT (id, x) VALUES (b.id, a.x)",
  "MERGE INTO a USING b ON a.id = b.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET x = b.z",
  "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = z RETURNING *",
  "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET x = z RETURNING merge_action(), a.id, old.x, new.x",
  "WITH m AS (MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE RETURNING merge_action()) SELECT m.merge_action FROM m",
  // Rows, fields, functions.
  "SELECT a, (a).x, (a).*, x(a), a.label, label(a) FROM a",
  "SELECT a.nothing FROM a",
  "SELECT (a).nothing FROM a",
  "SELECT x FROM pair() AS p(x)",
  "SELECT first, p.second, p FROM pair() p",
  "SELECT t.* FROM ROWS FROM (pair(), generate_series(1, 3)) WITH ORDINALITY AS t",
  "SELECT j.* FROM a, JSON_TABLE(to_jsonb(a), '$' COLUMNS (x int, NESTED '$.y[*]' COLUMNS (y int), z int)) j",
];

interface Named {
  readonly alias: string;
  readonly columns: readonly string[];
}

interface Around {
  /** The available names, innermost level first. */
  readonly levels: readonly (readonly Named[])[];
  readonly withs: readonly Named[];
  readonly depth: number;
}

const ALIASES = ["a", "b", "t", "x", "id", "u", "k"];
const COLUMNS = ["id", "x", "y", "z", "w", "k", "s", "n", "a", "ctid"];

/** `wild`: names that may mean nothing, and rows that depend on their order. */
function statements(wild: boolean): fc.Arbitrary<string> {
  const entropy = fc.array(fc.nat(99_999), { minLength: 60, maxLength: 240, size: "max" });
  return entropy.map((choices) => new Maker(new Draw(choices), wild).statement());
}

export const queries = statements(false);
export const wildStatements = statements(true);
export const anyStatements = fc.oneof(queries, wildStatements);

class Maker {
  readonly #draw: Draw;
  readonly #wild: boolean;

  constructor(draw: Draw, wild: boolean) {
    this.#draw = draw;
    this.#wild = wild;
  }

  statement(): string {
    const around = { levels: [], withs: [], depth: 0 };
    return this.#wild && this.#draw.chance(25) ? this.#write(around) : this.#query(around).sql;
  }

  #query(around: Around): { readonly sql: string; readonly columns: readonly string[] } {
    const draw = this.#draw;
    if (around.depth < 2 && draw.chance(15)) return this.#withQuery(around);
    if (around.depth < 3 && draw.chance(10)) {
      const first = this.#query({ ...around, depth: around.depth + 1 });
      const second = this.#select({ ...around, depth: 3 }, first.columns.length);
      const all = draw.of(["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
      return { sql: `(${first.sql}) ${all} (${second.sql})`, columns: first.columns };
    }
    return this.#select(around, undefined);
  }

  #withQuery(around: Around): { readonly sql: string; readonly columns: readonly string[] } {
    const draw = this.#draw;
    const alias = draw.of(ALIASES);
    if (draw.chance(25)) {
      const columns = ["n", "x"];
      const step = this.#inner({ ...around, levels: [[{ alias, columns }], ...around.levels] });
      const body = `SELECT id, x FROM a UNION SELECT n + 1, ${step} FROM ${alias} WHERE n < 4`;
      const inner = this.#select({ ...around, withs: [{ alias, columns }, ...around.withs] }, undefined);
      return { ...inner, sql: `WITH RECURSIVE ${alias}(n, x) AS (${body}) ${inner.sql}` };
    }
    const made = this.#query({ ...around, depth: around.depth + 1 });
    const columns = draw.chance(30) ? made.columns.map((_, index) => `n${index}`) : made.columns;
    const names = columns === made.columns ? "" : `(${columns.join(", ")})`;
    const inner = this.#query({
      ...around,
      withs: [{ alias, columns }, ...around.withs],
      depth: around.depth + 1,
    });
    return { ...inner, sql: `WITH ${alias}${names} AS (${made.sql}) ${inner.sql}` };
  }

  /** A column or a number: an expression that cannot fail. */
  #inner(around: Around): string {
    return this.#draw.chance(70) ? this.#column(around) : String(this.#draw.below(4));
  }

  #column({ levels }: Around): string {
    const draw = this.#draw;
    if (this.#wild && draw.chance(12)) {
      const name = draw.of(COLUMNS);
      return draw.chance(50) ? `${draw.of(ALIASES)}.${name}` : name;
    }
    const level = draw.chance(75) ? levels[0] : draw.of(levels.length > 0 ? levels : [[]]);
    const named = (level ?? []).filter(({ columns }) => columns.length > 0);
    if (named.length === 0) return "1";
    const { alias, columns } = draw.of(named);
    const column = draw.of(columns);
    if (draw.chance(10)) return `(${alias}).${column}`;
    if (this.#wild && draw.chance(5)) return `public.${alias}.${column}`;
    return draw.chance(this.#wild ? 40 : 10) ? column : `${alias}.${column}`;
  }

  #expression(around: Around): string {
    const draw = this.#draw;
    const inner = { ...around, depth: around.depth + 1 };
    const kind = around.depth >= 3 ? draw.below(5) : draw.below(9);
    switch (kind) {
      case 5:
        return `(SELECT max(${this.#column(around)}) FROM ${this.#from(inner).sql})`;
      case 6:
        return `(SELECT count(*) FROM (${this.#query(inner).sql}) q)::int`;
      case 7:
        return `CASE WHEN ${this.#condition(around)} THEN ${this.#inner(around)} END`;
      case 8:
        return `coalesce(${this.#inner(around)}, ${this.#inner(around)})`;
      case 4:
        return `${this.#inner(around)} + ${this.#inner(around)}`;
      default:
        return this.#column(around);
    }
  }

  #condition(around: Around): string {
    const draw = this.#draw;
    const inner = { ...around, depth: around.depth + 1 };
    const kind = around.depth >= 3 ? draw.below(3) : draw.below(6);
    switch (kind) {
      case 3:
        return `EXISTS (${this.#query(inner).sql})`;
      case 4:
        return `${this.#column(around)} IN (${this.#select(inner, 1).sql})`;
      case 5:
        return `(${this.#condition(inner)} OR ${this.#condition(inner)})`;
      default:
        return `${this.#column(around)} ${draw.of(["=", "<", "<>"])} ${this.#inner(around)}`;
    }
  }

  #from(around: Around): { readonly sql: string; readonly named: readonly Named[] } {
    const draw = this.#draw;
    const first = this.#item(around, []);
    const named = [...first.named];
    let { sql } = first;
    for (let more = draw.below(3); more > 0; more--) {
      const next = this.#item(around, named);
      const kind = draw.of([
        "JOIN",
        "LEFT JOIN",
        "FULL JOIN",
        "RIGHT JOIN",
        ",",
        "CROSS JOIN",
        "NATURAL JOIN",
      ]);
      const inside = { ...around, levels: [[...named, ...next.named], ...around.levels], depth: 3 };
      const shared = named
        .flatMap(({ columns }) => columns)
        .find((name) => next.named[0]?.columns.includes(name));
      if (kind === "," || kind === "CROSS JOIN" || kind === "NATURAL JOIN")
        sql = `${sql} ${kind} ${next.sql}`;
      else if (shared !== undefined && draw.chance(50))
        sql = `${sql} ${kind} ${next.sql} USING (${shared})${draw.chance(20) ? " AS u" : ""}`;
      else if (kind === "FULL JOIN")
        sql = `${sql} FULL JOIN ${next.sql} ON ${this.#column(inside)} = ${this.#column(inside)}`;
      else sql = `${sql} ${kind} ${next.sql} ON ${this.#condition(inside)}`;
      named.push(...next.named);
    }
    return { sql, named };
  }

  #item(
    around: Around,
    before: readonly Named[],
  ): { readonly sql: string; readonly named: readonly Named[] } {
    const draw = this.#draw;
    const taken = new Set(before.map(({ alias }) => alias));
    const free = ALIASES.filter((each) => this.#wild || !taken.has(each));
    const alias = draw.of(free);
    const inner = { ...around, depth: around.depth + 1 };
    const kind = around.depth >= 3 ? 0 : draw.below(9);
    if (kind === 5 || kind === 6) {
      const isLateral = kind === 6;
      const seesBefore = isLateral || (this.#wild && draw.chance(40));
      const levels = seesBefore ? [before, ...around.levels] : around.levels;
      const { sql, columns } = this.#query({ ...inner, levels });
      return { sql: `${isLateral ? "LATERAL " : ""}(${sql}) AS ${alias}`, named: [{ alias, columns }] };
    }
    if (kind === 7)
      return { sql: `(VALUES (1, 2), (3, 4)) AS ${alias}(n, x)`, named: [{ alias, columns: ["n", "x"] }] };
    if (kind === 8) {
      const start = this.#column({ ...around, levels: [before, ...around.levels] });
      return { sql: `generate_series(1, ${start}) AS ${alias}`, named: [{ alias, columns: [alias] }] };
    }
    const known = [
      ...around.withs,
      ...Object.entries(TABLES).map(([name, columns]) => ({ alias: name, columns })),
    ];
    const { alias: name, columns } = draw.of(known);
    if (draw.chance(30) && (this.#wild || !taken.has(name)))
      return { sql: name, named: [{ alias: name, columns }] };
    if (draw.chance(20) && columns.length > 0) {
      const renamed = ["n", ...columns.slice(1)];
      return { sql: `${name} AS ${alias}(n)`, named: [{ alias, columns: renamed }] };
    }
    return { sql: `${name} AS ${alias}`, named: [{ alias, columns }] };
  }

  #select(
    around: Around,
    width: number | undefined,
  ): { readonly sql: string; readonly columns: readonly string[] } {
    const draw = this.#draw;
    const from = this.#from(around);
    const inside = { ...around, levels: [from.named, ...around.levels] };
    const where = draw.chance(50) ? ` WHERE ${this.#condition(inside)}` : "";
    if (draw.chance(20)) return this.#grouped(from.sql, where, inside, width);
    if (width === undefined && draw.chance(12)) {
      const { alias, columns } = draw.of(from.named);
      return { sql: `SELECT ${alias}.* FROM ${from.sql}${where}`, columns };
    }
    const targets = Array.from({ length: width ?? 1 + draw.below(3) }, (_, index) =>
      this.#target(inside, index),
    );
    const list = targets.map(({ sql }) => sql).join(", ");
    const distinct = draw.chance(15) ? "DISTINCT " : "";
    const order = this.#wild && draw.chance(40) ? ` ORDER BY ${this.#sortKey(inside, targets)}` : "";
    const limit = this.#wild && draw.chance(10) ? " LIMIT 3" : "";
    return {
      sql: `SELECT ${distinct}${list} FROM ${from.sql}${where}${order}${limit}`,
      columns: targets.map(({ name }) => name),
    };
  }

  #target(around: Around, index: number): { readonly sql: string; readonly name: string } {
    const expression = this.#expression(around);
    if (this.#wild && this.#draw.chance(15)) return { sql: expression, name: "x" };
    const name = this.#draw.chance(30) ? this.#draw.of(["x", "id", "n", "k"]) : `e${index}`;
    return { sql: `${expression} AS ${name}`, name };
  }

  #sortKey(around: Around, targets: readonly { readonly name: string }[]): string {
    const draw = this.#draw;
    return draw.of([draw.of(targets).name, "1", this.#column(around), `${this.#column(around)} + 1`]);
  }

  #grouped(
    from: string,
    where: string,
    around: Around,
    width: number | undefined,
  ): { readonly sql: string; readonly columns: readonly string[] } {
    const key = this.#column(around);
    const call = this.#draw.of([
      "count(*)",
      `sum(${this.#column(around)})::int`,
      `max(${this.#column(around)})`,
    ]);
    if (width === 1 || this.#draw.chance(30))
      return { sql: `SELECT ${call} AS m FROM ${from}${where}`, columns: ["m"] };
    const others = Array.from({ length: (width ?? 2) - 2 }, (_, index) => ({
      sql: `, 1 AS o${index}`,
      name: `o${index}`,
    }));
    const by = this.#draw.of([key, "g", "1"]);
    return {
      sql: `SELECT ${key} AS g, ${call} AS m${others.map(({ sql }) => sql).join("")} FROM ${from}${where} GROUP BY ${by}`,
      columns: ["g", "m", ...others.map(({ name }) => name)],
    };
  }

  #write(around: Around): string {
    const draw = this.#draw;
    const name = draw.of(["a", "b", "c"]);
    const columns = TABLES[name] ?? [];
    const target = draw.chance(40) ? { sql: `${name} AS t`, alias: "t" } : { sql: name, alias: name };
    const own = { alias: target.alias, columns };
    const assigned = columns.at(-1) ?? "x";
    const from = draw.chance(60) ? this.#from({ ...around, depth: 1 }) : undefined;
    const inside = { ...around, levels: [[own, ...(from?.named ?? [])]], depth: 2 };
    const returning = draw.chance(60)
      ? ` RETURNING ${draw.of(["*", this.#column(inside), `${target.alias}.*`, "new.id", "old"])}`
      : "";
    switch (draw.below(4)) {
      case 0:
        return `UPDATE ${target.sql} SET ${assigned} = ${this.#expression(inside)}${from ? ` FROM ${from.sql}` : ""} WHERE ${this.#condition(inside)}${returning}`;
      case 1:
        return `DELETE FROM ${target.sql}${from ? ` USING ${from.sql}` : ""} WHERE ${this.#condition(inside)}${returning}`;
      case 2:
        return `INSERT INTO ${target.sql} (${columns.join(", ")}) ${this.#select({ ...around, depth: 2 }, 3).sql} ON CONFLICT (${columns[0]}) DO UPDATE SET ${assigned} = excluded.${assigned} + ${this.#column(inside)}${returning}`;
      default:
        return `MERGE INTO ${target.sql} USING ${from === undefined ? "b AS s" : `(SELECT * FROM ${from.sql}) AS s`} ON ${this.#condition(inside)} WHEN MATCHED THEN UPDATE SET ${assigned} = ${this.#column(inside)} WHEN NOT MATCHED THEN DO NOTHING${returning}`;
    }
  }
}
