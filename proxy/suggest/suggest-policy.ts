import { type Document, Pair, parseDocument, Scalar, YAMLMap, YAMLSeq } from "yaml";
import { type Catalog, type Column, type Relation, relationKey } from "../catalog/catalog.ts";
import { maskedType } from "../policy/against-catalog.ts";
import { compilePolicies } from "../policy/compile.ts";
import { maskSql } from "../policy/masks/all.ts";
import type { ColumnClass } from "../policy/policy.ts";
import { isSystemSchema } from "../sql/system-relations.ts";
import type { Comments, Guess } from "./guess-column.ts";
import { guessTables, type TableGuess, tablesOf } from "./guess-tables.ts";
import { TEMPLATE } from "./template.ts";

/** A starting policy as YAML, derived from the catalog only. */
export function suggestPolicy(catalog: Catalog, comments: Comments): string {
  const tables = guessTables(catalog, comments);
  const template = compilePolicies([{ name: "template", text: TEMPLATE }]);
  if (!template.ok) throw new Error("the template of policies is not right");
  const { classes } = template.policies.forDatabase("");
  const readable = tables.filter(({ subject }) => subject !== undefined);
  const document = parseDocument(TEMPLATE);
  document.set("tables", mapping(tables.flatMap((table) => tableEntry(table, classes, catalog))));
  document.setIn(["roles", "agent", "reads"], list(readable));
  document.setIn(["roles", "agent", "require_filter"], list(readable.filter(({ subject }) => subject?.own)));
  keepUsed(document, tables, classes, catalog);
  const roles = (document.contents as YAMLMap<Scalar>).items.find(({ key }) => key.value === "roles");
  const others = leftOut(catalog, tables);
  if (roles !== undefined && others.length > 0) roles.key.commentBefore = comment(others);
  return write(document);
}

/**
 * Leaves out classes that no column has, and the agent's classes that are in no table it reads: they would have no
 * effect.
 */
function keepUsed(
  document: Document.Parsed,
  tables: readonly TableGuess[],
  classes: ReadonlyMap<string, ColumnClass>,
  catalog: Catalog,
): void {
  const classesOf = (some: readonly TableGuess[]) =>
    new Set(
      some.flatMap(({ columns }) =>
        [...columns].flatMap(([column, guess]) => classOf(column, guess, classes, catalog).className ?? []),
      ),
    );
  const used = classesOf(tables);
  const met = classesOf(tables.filter(({ subject, inherits }) => subject !== undefined || inherits));
  const idle = [...classes.keys()].filter((name) => !used.has(name));
  for (const name of idle) document.deleteIn(["classes", name]);
  const map = document.get("classes") as YAMLMap;
  if (idle.length > 0) map.comment = comment(["Not needed yet:", ...idle.map(lineOf)]);
  for (const key of ["sees", "finds"]) {
    const sequence = document.getIn(["roles", "agent", key]) as YAMLSeq<Scalar<string>>;
    sequence.items = sequence.items.filter(({ value }) => met.has(value));
  }
}

/** The line of a class in the template. */
function lineOf(name: string): string {
  return (
    TEMPLATE.split("\n")
      .find((line) => line.startsWith(`  ${name}: {`))
      ?.trim() ?? name
  );
}

interface YamlEntry {
  readonly key: string;
  readonly value: Scalar | YAMLMap;
  /** Comment lines to put above the entry. */
  readonly before?: readonly string[];
}

function tableEntry(
  table: TableGuess,
  classes: ReadonlyMap<string, ColumnClass>,
  catalog: Catalog,
): readonly YamlEntry[] {
  const { key, subject, inherits } = table;
  const columns: YamlEntry[] = [];
  const unsure: string[] = [];
  if (subject === undefined && !inherits)
    unsure.push("whose record is a row? With a subject agents could read it");
  if (subject?.unsure !== undefined) unsure.push(`subject: ${subject.unsure}`);
  for (const [column, guess] of table.columns) {
    const { className, why } = classOf(column, guess, classes, catalog);
    if (className === undefined) unsure.push(`${column.name}: ${why}`);
    else columns.push({ key: column.name, value: text(className) });
  }
  if (inherits && columns.length + unsure.length === 0) return [];
  const value = mapping([
    ...(subject === undefined ? [] : [{ key: "subject", value: text(subject.text) }]),
    ...(columns.length === 0 ? [] : [{ key: "columns", value: mapping(columns) }]),
  ]);
  return [{ key, value, before: unsure.map((each) => `unsure: ${each}`) }];
}

/** A class whose mask fits the column; if there is none, the reason. */
function classOf(
  column: Column,
  guess: Guess,
  classes: ReadonlyMap<string, ColumnClass>,
  catalog: Catalog,
): { readonly className?: string; readonly why: string } {
  // JavaScript objects treat this name as something else, and a policy with it is refused.
  if (column.name === "__proto__") return { why: "a policy cannot name it" };
  if (guess.kind !== "class") return { why: guess.kind === "unsure" ? guess.why : "whose name?" };
  const mask = classes.get(guess.name)?.mask;
  const type = maskedType(catalog, column);
  const fits = mask !== undefined && maskSql(mask, "value", type, undefined).ok;
  return { className: fits ? guess.name : "hidden", why: "" };
}

/** Relations that agents cannot read yet, so that they need not be searched for. */
function leftOut(catalog: Catalog, tables: readonly TableGuess[]): readonly string[] {
  const known = new Set(tables.map(({ relation }) => relation));
  const views = [...catalog.relations.values()].filter(
    ({ lineage, schema }) => lineage !== undefined && !isSystemSchema(schema),
  );
  return [
    ...named(
      "Agents do not read these: no name in them speaks of people, or no policy can name them or the way to them:",
      tablesOf(catalog).filter((relation) => !known.has(relation)),
    ),
    ...named("Views have the classes of what they are made from. Agents read those that you add:", views),
  ];
}

function named(what: string, relations: readonly Relation[]): readonly string[] {
  const names = relations.map(({ schema, name }) => `  ${relationKey(schema, name)}`);
  return names.length === 0 ? [] : [what, ...names.toSorted()];
}

// --- YAML in which names of any kind stay names ----------------------------------------------------------------

function text(value: string): Scalar {
  const scalar = new Scalar(value);
  if (!/^[\p{L}\p{N}_.> -]*$/u.test(value)) scalar.type = Scalar.QUOTE_DOUBLE;
  return scalar;
}

function list(tables: readonly TableGuess[]): YAMLSeq {
  const sequence = new YAMLSeq();
  sequence.items = tables.map(({ key }) => text(key));
  sequence.flow = tables.length <= 4;
  return sequence;
}

function mapping(entries: readonly YamlEntry[]): YAMLMap {
  const map = new YAMLMap<Scalar, Scalar | YAMLMap>();
  map.items = entries.map(({ key, value, before = [] }) => {
    const name = text(key);
    if (before.length > 0) name.commentBefore = comment(before);
    return new Pair(name, value);
  });
  return map;
}

/** Control characters and characters that change the order of text: none may break a line or reach a terminal. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function comment(lines: readonly string[]): string {
  return lines.map((line) => ` ${line.replaceAll(UNPRINTABLE, " ")}`).join("\n");
}

function write(document: Document.Parsed): string {
  // In JSON form a text stays on one line, however long it is.
  const written = document.toString({ lineWidth: 0, doubleQuotedAsJSON: true });
  // JSON leaves these characters unescaped. Comments have none, so they are inside quotes, where YAML reads this
  // escape.
  return written.replaceAll(UNPRINTABLE, (one) =>
    one === "\n" ? one : `\\U${(one.codePointAt(0) ?? 0).toString(16).padStart(8, "0")}`,
  );
}
