import type { Node, ScanToken } from "libpg-query";
import { scan } from "../parser/parser.ts";
import {
  CONDITION_NODES,
  emptyWalk,
  type Fault,
  fault,
  MASK_NODES,
  type NodeList,
  singleTarget,
  visit,
  type Walk,
} from "./expression-tree.ts";

/*
 * SQL expressions of a policy: conditions and masks. Postgres's own parser reads them once, when the policy is loaded,
 * and only the forms on the lists below are accepted. An expression is spliced into the statements of every session, so
 * it must not be able to break out of its place.
 */

/** The names that an expression uses and the catalog can check. */
export interface ExpressionUse {
  /** `schema.table` of subqueries. */
  readonly relations: readonly string[];
  /** Plain column names outside of subqueries: they can only be columns of the expression's own table. */
  readonly columns: readonly string[];
  /** `schema.name`. */
  readonly functions: readonly string[];
  readonly operators: readonly string[];
}

export type ParsedExpression =
  | {
      readonly ok: true;
      /** The text with `pg_catalog.` before each function and type that has no schema. */
      readonly sql: string;
      readonly use: ExpressionUse;
    }
  | Fault;

/** A part of a text, in UTF-8 bytes. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Has the length of `:user`, so that offsets stay valid. The spaces separate it from its neighbours. */
const AS_PARAMETER = " $1  ";
/** The form in which the user's name is finally spliced in (conditions.ts). It has the same length. */
const AS_LITERAL = "('') ";

/** Parses and checks the condition of `when:` or `only:`. */
export function parseCondition(text: string): ParsedExpression {
  return parseExpression(text, CONDITION_NODES);
}

/** The syntax tree of a condition that `parseCondition` accepts; undefined for any other text. */
export function conditionTree(text: string): Node | undefined {
  if (!parseCondition(text).ok) return undefined;
  return singleTarget(`SELECT (${standIn(text, placeholders(text), AS_PARAMETER)})`) as Node | undefined;
}

/** Parses and checks the expression of an `{ sql: … }` mask; `value` is its only column. */
export function parseMaskExpression(text: string): ParsedExpression {
  const parsed = parseExpression(text, MASK_NODES);
  if (!parsed.ok) return parsed;
  const stranger = parsed.use.columns.find((column) => column !== "value");
  if (stranger !== undefined) {
    return fault(
      `a mask cannot read the column "${stranger}"`,
      "The column is called value in it: left(value, 3).",
    );
  }
  return parsed;
}

/** Byte ranges of the placeholder `:user` as a token of its own: not in literals, names or casts (`::user`). */
export function placeholders(text: string): readonly ByteRange[] {
  const { tokens } = scan(text);
  const found: ByteRange[] = [];
  tokens.forEach((token, i) => {
    const next = tokens[i + 1];
    if (token.text === ":" && next?.text === "user" && next.start === token.end) {
      found.push({ start: token.start, end: next.end });
    }
  });
  return found;
}

/** Byte ranges of the column references named `value` in a checked mask expression. */
export function valueReferences(expression: string): readonly ByteRange[] {
  const starts: number[] = [];
  const walk: Walk = { ...emptyWalk(), nodes: MASK_NODES, onColumn: (_, location) => starts.push(location) };
  const target = singleTarget(`SELECT (${expression})`);
  if (target !== undefined) visit(target, walk, 0);
  const tokens = new Map(scan(expression).tokens.map((token) => [token.start, token]));
  return starts.flatMap((location) => {
    const token = tokens.get(location - PREFIX);
    return token === undefined ? [] : [{ start: token.start, end: token.end }];
  });
}

const PREFIX = "SELECT (".length;

function parseExpression(text: string, nodes: NodeList): ParsedExpression {
  // The parser reads a C string: text after a zero byte would be spliced without being read.
  if (text.includes("\0")) return fault("a zero byte in an SQL expression", "Take it out.");
  if (text.trim() === "") return fault("this is not one SQL expression", "One expression, as after WHERE.");
  let tokens: readonly ScanToken[];
  try {
    tokens = scan(text).tokens;
  } catch (error) {
    return fault(`not valid SQL: ${messageOf(error)}`, "One SQL expression, as after WHERE.");
  }
  if (tokens.some((token) => token.tokenName === "SQL_COMMENT" || token.tokenName === "C_COMMENT")) {
    // A comment at the end would swallow the text that the rewrite puts after the expression.
    return fault("a comment inside an SQL expression", "Write it as a YAML comment, after #.");
  }
  if (tokens.some((token) => token.tokenName === "PARAM")) {
    return fault(
      "a parameter in an SQL expression",
      ":user is the session's user; there are no other parameters.",
    );
  }

  const users = placeholders(text);
  if (users.length > 0 && nodes === MASK_NODES) {
    return fault(":user has no meaning in a mask", "Use :user in when: or only:.");
  }
  const walk: Walk = { ...emptyWalk(), nodes };
  try {
    const substituted = standIn(text, users, AS_PARAMETER);
    // Parsed with and without parentheses: `true) OR (true` passes only the first, `1 FROM t` only the second, and one
    // expression passes both.
    const target = singleTarget(`SELECT (${substituted})`);
    if (target === undefined || singleTarget(`SELECT ${substituted}`) === undefined) {
      return fault(
        "this is not one SQL expression",
        "One expression, as after WHERE; put a subquery in parentheses.",
      );
    }
    const literal = singleTarget(`SELECT (${standIn(text, users, AS_LITERAL)})`);
    if (shapeOf(target, users) !== shapeOf(literal, users)) {
      return fault("not valid SQL: :user is not possible here", "It is a value, as in assignee = :user.");
    }
    const refused = visit(target, walk, 0);
    if (refused !== undefined) return refused;
  } catch (error) {
    return fault(`not valid SQL: ${messageOf(error)}`, "One SQL expression, as after WHERE.");
  }
  const qualified = walk.unqualified.map((location) => ({
    start: location - PREFIX,
    end: location - PREFIX,
    text: "pg_catalog.",
  }));
  return {
    ok: true,
    sql: splice(text, qualified),
    use: {
      relations: [...new Set(walk.relations)],
      columns: [...new Set(walk.columns)],
      functions: [...new Set(walk.functions)],
      operators: [...new Set(walk.operators)],
    },
  };
}

function standIn(text: string, users: readonly ByteRange[], form: string): string {
  return splice(
    text,
    users.map(({ start, end }) => ({ start, end, text: form })),
  );
}

/**
 * The tree as text, the same for both forms of `:user`. This parser accepts a parameter where Postgres itself does not
 * (`date $1`, a cast to it) and where a literal in parentheses means something else (a call).
 */
function shapeOf(tree: unknown, users: readonly ByteRange[]): string {
  const starts = new Set(users.map(({ start }) => start + PREFIX + 1));
  return JSON.stringify(tree, (key, value) =>
    (key === "ParamRef" || key === "A_Const") && starts.has(value.location) ? ":user" : value,
  ).replaceAll(/"(ParamRef|A_Const)":":user"/g, '":user":0');
}

/** Replaces byte ranges of a text. */
export function splice(
  text: string,
  edits: readonly { readonly start: number; readonly end: number; readonly text: string }[],
): string {
  const bytes = Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  let at = 0;
  for (const edit of [...edits].sort((a, b) => a.start - b.start)) {
    parts.push(bytes.subarray(at, edit.start), Buffer.from(edit.text, "utf8"));
    at = edit.end;
  }
  parts.push(bytes.subarray(at));
  return Buffer.concat(parts).toString("utf8");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unreadable";
}
