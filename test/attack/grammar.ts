import fc from "fast-check";
import { Draw } from "../harness/draw.ts";

/**
 * Statements over the support database, from a grammar that likes what goes wrong: aliases that are names of
 * tables and columns, names of outer levels, names with their schema, whole rows. Not all of them are valid.
 */

type Kind = "number" | "text";

interface Column {
  readonly name: string;
  readonly kind: Kind;
}

interface Named {
  readonly alias: string;
  /** The relation's own name when there is no alias. */
  readonly own: boolean;
  readonly columns: readonly Column[];
}

interface Around {
  /** References of this level and those around it, innermost first. */
  readonly levels: readonly (readonly Named[])[];
  readonly ctes: readonly Named[];
  readonly depth: number;
}

const number = (name: string): Column => ({ name, kind: "number" });
const text = (name: string): Column => ({ name, kind: "text" });

export const TABLES: Readonly<Record<string, readonly Column[]>> = {
  customers: [number("id"), text("name"), text("email"), text("phone"), text("address"), text("country")],
  tickets: [
    number("id"),
    number("customer_id"),
    text("subject"),
    text("body"),
    text("status"),
    text("region"),
  ],
  payments: [number("id"), number("customer_id"), number("amount_cents"), text("card_number")],
  customer_directory: [number("id"), text("name"), text("email"), text("phone"), text("country")],
  contact_log: [number("id"), number("customer_id"), text("email"), text("note")],
};

/** Of the first the reader lacks all texts but the last; the second may have lost them (lacking.ts). */
export const LACKING: Readonly<Record<string, readonly Column[]>> = {
  contacts: [
    number("id"),
    number("customer_id"),
    text("email"),
    text("phone"),
    text("name"),
    text("t"),
    text("note"),
  ],
  places: [number("id"), text("email"), text("phone"), text("name"), text("t"), text("note")],
};

const ALIASES = ["c", "t", "customers", "tickets", "email", "name", "id", "x"];

export const entropy = fc.array(fc.nat(99_999), { minLength: 40, maxLength: 160, size: "max" });

/** SELECTs of which the order of rows does not matter, and which read few rows. */
export const selects = entropy.map((choices) => {
  const draw = new Draw(choices);
  return query(draw, { levels: [], ctes: [], depth: 0 }, undefined).sql;
});

/** UPDATE, DELETE and INSERT, alone or in a WITH. */
export const writes = entropy.map((choices) => {
  const draw = new Draw(choices);
  const made = write(draw);
  return draw.chance(20) ? `WITH w AS (${made}) SELECT * FROM w` : made;
});

/** A query with the given kinds of columns, or any. */
function query(
  draw: Draw,
  around: Around,
  kinds: readonly Kind[] | undefined,
): { readonly sql: string; readonly columns: readonly Column[] } {
  const deep = around.depth >= 3;
  if (!deep && draw.chance(15)) {
    const left = query(draw, deeper(around), kinds ?? ["text", "number"]);
    const right = query(
      draw,
      deeper(around),
      left.columns.map(({ kind }) => kind),
    );
    const operator = draw.of(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
    return { sql: `(${left.sql}) ${operator} (${right.sql})`, columns: left.columns };
  }
  if (!deep && draw.chance(20)) {
    const inner = query(draw, deeper(around), undefined);
    const alias = draw.of(["customers", "w", "tickets"]);
    const cte: Named = { alias, own: true, columns: inner.columns };
    const outer = query(draw, { ...deeper(around), ctes: [cte, ...around.ctes] }, kinds);
    return { sql: `WITH ${alias} AS (${inner.sql}) ${outer.sql}`, columns: outer.columns };
  }
  return plainSelect(draw, around, kinds);
}

function plainSelect(
  draw: Draw,
  around: Around,
  kinds: readonly Kind[] | undefined,
): { readonly sql: string; readonly columns: readonly Column[] } {
  const { sql: from, references, where } = fromClause(draw, around);
  const here: Around = { ...around, levels: [references, ...around.levels] };
  const conditions = [...where, ...(draw.chance(60) ? [condition(draw, here)] : [])];
  const restriction = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  if (kinds === undefined && draw.chance(20)) {
    const group = draw.many(2, () => columnOf(draw, references));
    const counted = draw.chance(50)
      ? `count(DISTINCT ${expression(draw, here, "text")})`
      : `max(${expression(draw, here, "text")})`;
    const having = draw.chance(30) ? ` HAVING min(${expression(draw, here, "text")}) > 'b'` : "";
    return {
      sql: `SELECT ${group.join(", ")}, ${counted} AS n, sum(${expression(draw, here, "number")}) FROM ${from}${restriction} GROUP BY ${draw.chance(20) ? `ROLLUP (${group.join(", ")})` : group.join(", ")}${having}`,
      columns: [text("n")],
    };
  }
  const wanted = kinds ?? draw.many(3, () => draw.of<Kind>(["text", "number"]));
  if (kinds === undefined && draw.chance(15)) {
    const [first] = references;
    const sql = `SELECT ${draw.chance(50) || first === undefined ? "*" : `${quoted(first.alias)}.*`} FROM ${from}${restriction}`;
    return { sql, columns: first?.columns ?? [] };
  }
  const columns = wanted.map((kind, index) => ({
    name: draw.chance(30) ? `email${index}` : `o${index}`,
    kind,
  }));
  const targets = columns.map(({ name, kind }) => `${expression(draw, here, kind)} AS ${name}`);
  const distinct = draw.chance(15) ? "DISTINCT " : "";
  return { sql: `SELECT ${distinct}${targets.join(", ")} FROM ${from}${restriction}`, columns };
}

function deeper(around: Around): Around {
  return { ...around, depth: around.depth + 1 };
}

interface From {
  readonly sql: string;
  readonly references: readonly Named[];
  readonly where: readonly string[];
}

function fromClause(draw: Draw, around: Around): From {
  const first = item(draw, around, []);
  const where = first.key === undefined ? [] : [`${first.key} < 12`];
  if (draw.chance(45)) return { sql: first.sql, references: [first.named], where };
  const second = item(draw, around, [first.named]);
  if (draw.chance(15)) {
    const third = item(draw, around, [first.named, second.named]);
    const three = [first.named, second.named, third.named];
    const odd = condition(draw, { ...around, levels: [three, ...around.levels] });
    return {
      sql: `${first.sql}, ${second.sql} JOIN ${third.sql} ON ${pairing(second, third)} AND ${odd}`,
      references: three,
      where: [...where, ...[second, third].flatMap(({ key }) => (key === undefined ? [] : [`${key} < 4`]))],
    };
  }
  const on = `ON ${pairing(first, second)}${draw.chance(30) ? ` AND ${condition(draw, { ...around, levels: [[first.named, second.named], ...around.levels] })}` : ""}`;
  const join = draw.of(["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
  return {
    sql: draw.chance(30)
      ? `(${first.sql} ${join} ${second.sql} ${on})`
      : `${first.sql} ${join} ${second.sql} ${on}`,
    references: [first.named, second.named],
    where: [...where, ...(second.key === undefined ? [] : [`${second.key} < 12`])],
  };
}

interface Item {
  readonly sql: string;
  readonly named: Named;
  /** A number that keeps the item small. */
  readonly key: string | undefined;
}

function pairing(left: Item, right: Item): string {
  return left.key === undefined || right.key === undefined ? "true" : `${left.key} = ${right.key}`;
}

function item(draw: Draw, around: Around, before: readonly Named[]): Item {
  const taken = before.map(({ alias }) => alias);
  const free = ALIASES.filter((alias) => !taken.includes(alias));
  if (around.depth < 3 && draw.chance(20)) {
    const alias = draw.of(free);
    const lateral = draw.chance(30);
    // Without LATERAL Postgres does not see them, and may find the same names further out.
    const inside = lateral || draw.chance(30) ? { ...around, levels: [before, ...around.levels] } : around;
    const { sql, columns } = query(draw, deeper(inside), undefined);
    return {
      sql: `${lateral ? "LATERAL " : ""}(${sql}) AS ${quoted(alias)}`,
      named: { alias, own: false, columns },
      key: undefined,
    };
  }
  const cte = around.ctes[0];
  if (cte !== undefined && draw.chance(50) && !taken.includes(cte.alias))
    return { sql: cte.alias, named: cte, key: undefined };
  const tables = draw.chance(8) ? LACKING : TABLES;
  const table = draw.of(Object.keys(tables));
  const own = (tables[table] ?? []).map((column) => column);
  if (draw.chance(30) && !taken.includes(table)) {
    const only = draw.of(["", "", "ONLY ", "ONLY ("]);
    return {
      sql:
        only === "ONLY ("
          ? `ONLY (${table})`
          : `${only}${table}${only === "" && draw.chance(20) ? " *" : ""}`,
      named: { alias: table, own: true, columns: own },
      key: `${table}.id`,
    };
  }
  const alias = draw.of(free);
  const renamed = draw.chance(10);
  const columns = renamed ? own.map((column, index) => ({ ...column, name: `r${index}` })) : own;
  // Columns that the grammar leaves out stand between the named ones in customers and tickets.
  const list =
    renamed &&
    table !== "tickets" &&
    table !== "customers" &&
    table !== "payments" &&
    table !== "contact_log";
  return {
    sql: `${table} AS ${quoted(alias)}${list ? ` (${columns.map(({ name }) => name).join(", ")})` : ""}`,
    named: { alias, own: false, columns: list ? columns : own },
    key: `${quoted(alias)}.${list ? "r0" : "id"}`,
  };
}

function columnOf(draw: Draw, references: readonly Named[]): string {
  const { alias, columns } = draw.of(references);
  return columns.length === 0 ? "1" : `${quoted(alias)}.${draw.of(columns).name}`;
}

function quoted(alias: string): string {
  return `"${alias}"`;
}

function expression(draw: Draw, around: Around, kind: Kind, nesting = 0): string {
  const leaf = nesting >= 3;
  const inner = (of: Kind): string => expression(draw, around, of, nesting + 1);
  switch (leaf ? draw.below(3) : draw.below(14)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return column(draw, around, kind);
    case 5:
      return kind === "text" ? draw.of(["'a'", "'hidden'", "E'\\x41'", "$$x$$"]) : draw.of(["7", "-1", "0"]);
    case 6:
      return kind === "text" ? `(${inner("text")} || ${inner("text")})` : `length(${inner("text")})`;
    case 7:
      return `CASE WHEN ${condition(draw, around, nesting + 1)} THEN ${inner(kind)} ELSE ${inner(kind)} END`;
    case 8:
      return `coalesce(${inner(kind)}, ${inner(kind)})`;
    case 9:
      return kind === "text" ? `(${inner("number")})::text` : `(${inner("number")} + ${inner("number")})`;
    case 10:
      return kind === "text"
        ? draw.of([`upper(${inner("text")})`, `left(${inner("text")}, 2)`, `md5(${inner("text")})`])
        : `ascii(${inner("text")})`;
    case 11:
      return around.depth < 3 && around.levels.length < 4
        ? `(SELECT ${kind === "text" ? "max" : "sum"}(q.v) FROM (${query(draw, deeper(around), [kind]).sql}) AS q(v))`
        : column(draw, around, kind);
    case 12: {
      const reference = around.levels[0]?.[0];
      return kind === "text" && reference !== undefined
        ? `(${quoted(reference.alias)})::text`
        : column(draw, around, kind);
    }
    default:
      return kind === "text" ? `concat(${inner("text")}, ${inner("number")})` : `abs(${inner("number")})`;
  }
}

function column(draw: Draw, around: Around, kind: Kind): string {
  const level = around.levels[draw.chance(25) ? draw.below(Math.max(1, around.levels.length)) : 0] ?? [];
  const choices = level.flatMap((reference) =>
    reference.columns.filter((each) => each.kind === kind).map(({ name }) => ({ reference, name })),
  );
  if (choices.length === 0) return kind === "text" ? "'none'" : "3";
  const { reference, name } = draw.of(choices);
  switch (draw.below(8)) {
    case 6:
      return name;
    case 7:
      return reference.own && reference.alias in TABLES
        ? `public.${reference.alias}.${name}`
        : `${quoted(reference.alias)}.${name}`;
    default:
      return `${quoted(reference.alias)}.${name}`;
  }
}

function condition(draw: Draw, around: Around, nesting = 0): string {
  const of = (kind: Kind): string => expression(draw, around, kind, nesting + 1);
  switch (draw.below(nesting >= 3 ? 4 : 10)) {
    case 0:
      return `${of("number")} ${draw.of(["<", ">", "=", "<>"])} ${of("number")}`;
    case 1:
      return `${of("text")} ${draw.of(["<", ">", "=", "<>"])} ${of("text")}`;
    case 2:
      return `${of("text")} LIKE '${draw.of(["a%", "%1%", "h_dden", "Z%"])}'`;
    case 3:
      return `${of("text")} IS ${draw.of(["", "NOT "])}NULL`;
    case 4:
      return `(${condition(draw, around, nesting + 1)} OR ${condition(draw, around, nesting + 1)})`;
    case 5:
      return `NOT (${condition(draw, around, nesting + 1)})`;
    case 6:
      return `(${of("text")}, ${of("number")}) ${draw.of(["=", "<", "<>"])} (${of("text")}, ${of("number")})`;
    case 7:
      return `${of("text")} IN ('hidden', ${of("text")}, '[redacted]')`;
    case 8:
      return around.depth < 3 ? `EXISTS (${query(draw, deeper(around), ["number"]).sql})` : "true";
    default:
      return around.depth < 3 ? `${of("text")} IN (${query(draw, deeper(around), ["text"]).sql})` : "true";
  }
}

function write(draw: Draw): string {
  const table = draw.of(["customers", "tickets", "customers", "notes"]);
  const own = table === "notes" ? [number("id"), text("body")] : (TABLES[table] ?? []);
  const aliased = draw.chance(40);
  const alias = aliased ? draw.of(ALIASES.filter((name) => name !== "id")) : table;
  const target: Named = { alias, own: !aliased, columns: own };
  const name = aliased ? `${table} AS ${quoted(alias)}` : table;
  const companion = draw.chance(25) ? item(draw, { levels: [], ctes: [], depth: 2 }, [target]) : undefined;
  const references = companion === undefined ? [target] : [target, companion.named];
  const around: Around = { levels: [references], ctes: [], depth: 1 };
  const where = `WHERE ${quoted(alias)}.id ${draw.of(["= 7", "< 12", "IN (7, 8)"])}${companion?.key === undefined ? "" : ` AND ${companion.key} < 3`}${draw.chance(50) ? ` AND ${condition(draw, around)}` : ""}`;
  const giving = draw.chance(60) ? ` RETURNING ${returning(draw, { ...around, levels: [[target]] })}` : "";
  const settable = draw.of(
    table === "customers"
      ? ["country", "country", "name"]
      : table === "tickets"
        ? ["status", "region", "body"]
        : ["body"],
  );
  const value = (): string => expression(draw, around, "text");
  switch (draw.below(5)) {
    case 0:
      return `DELETE FROM ${name} ${companion === undefined ? "" : `USING ${companion.sql} `}${where}${giving}`;
    case 1:
      return `INSERT INTO notes (id, body) ${query(draw, { levels: [], ctes: [], depth: 2 }, ["number", "text"]).sql} RETURNING *`;
    case 2:
      return `INSERT INTO customers${aliased ? ` AS ${quoted(alias)}` : ""} (id, country, name, email, created_at) VALUES (7, 'x', 'y', 'new@', '2024-01-01') ON CONFLICT (id) DO UPDATE SET country = ${expression(draw, { ...around, levels: [[{ ...target, alias: aliased ? alias : "customers", columns: TABLES.customers ?? [] }]] }, "text")} RETURNING ${draw.of(["country", "*"])}`;
    default:
      return `UPDATE ${name} SET ${settable} = ${value()} ${companion === undefined ? "" : `FROM ${companion.sql} `}${where}${giving}`;
  }
}

function returning(draw: Draw, around: Around): string {
  const alias = around.levels[0]?.[0]?.alias ?? "";
  return draw.of([
    "*",
    `${quoted(alias)}.*`,
    expression(draw, around, "text"),
    "email",
    `old.email, new.name`,
    `${quoted(alias)}`,
  ]);
}
