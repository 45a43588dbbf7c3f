import parsers from "node-sql-parser/build/postgresql.js";

/**
 * The second witness: node-sql-parser, which has a grammar of its own. It reads only a part of Postgres's SQL, so
 * it guards nothing; but where it can read a statement, it must see the same relations as the analyser.
 */
const parser = new parsers.Parser();

/** The relations that it names, as `schema.name`; undefined where it cannot read the text. */
export function namedByWitness(sql: string): ReadonlySet<string> | undefined {
  let list: readonly string[];
  try {
    list = parser.tableList(sql, { database: "postgresql" });
  } catch {
    return undefined;
  }
  // `select::schema::name`, "null" where there is no schema.
  const names = list.map((entry) => entry.split("::").slice(1));
  return new Set(names.map(([schema, name]) => `${schema === "null" ? "public" : schema}.${name}`));
}
