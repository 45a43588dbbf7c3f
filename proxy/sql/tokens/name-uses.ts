import type {
  CreateTableAsStmt,
  DeclareCursorStmt,
  ExecuteStmt,
  ExplainStmt,
  FetchStmt,
  Node,
  PrepareStmt,
} from "libpg-query";
import { isHeld } from "../../pg/statements.ts";
import { nameKey } from "../../wire/messages.ts";
import { nodeOf } from "../parse/grammar.ts";
import { parseText } from "../parse/parse-text.ts";

/** What a statement does with a name that SQL, or the protocol, gives to a prepared statement or to a cursor. */
export interface NameUse {
  readonly does: "prepares" | "declares" | "executes" | "fetches";
  /** See `nameKey`. Prepared statements and cursors have names of their own each. */
  readonly key: string;
  /** Its rows are those of what it names. */
  readonly givesRows: boolean;
  /** A cursor that outlives its transaction. */
  readonly isHeld: boolean;
}

/** By the statements of a text. "unknown": it cannot be read, and may execute something. */
export function nameUses(text: string): readonly (NameUse | undefined)[] | "unknown" {
  if (!NAMING.test(text)) return [];
  const parsed = parseText(text);
  // Bytes that are no UTF-8 may be a part of a name.
  if (parsed.ok && !text.includes("\ufffd")) return parsed.statements.map(({ node }) => useOf(node));
  return EXECUTING.test(text) ? "unknown" : [];
}

const NAMING = /\b(?:fetch|execute|declare|prepare)\b/i;
const EXECUTING = /\bexecute\b/i;

function useOf(node: Node): NameUse | undefined {
  const [type, body] = nodeOf(node);
  switch (type) {
    case "PrepareStmt":
      return use("prepares", (body as PrepareStmt).name);
    case "DeclareCursorStmt": {
      const { portalname } = body as DeclareCursorStmt;
      return { ...use("declares", portalname), isHeld: isHeld(body as DeclareCursorStmt) };
    }
    case "ExecuteStmt":
      return { ...use("executes", (body as ExecuteStmt).name), givesRows: true };
    case "FetchStmt":
      return { ...use("fetches", (body as FetchStmt).portalname), givesRows: true };
    case "ExplainStmt":
    case "CreateTableAsStmt": {
      const { query } = body as ExplainStmt | CreateTableAsStmt;
      const inner = query && useOf(query);
      return inner?.does === "executes" ? { ...inner, givesRows: false } : undefined;
    }
    default:
      return undefined;
  }
}

function use(does: NameUse["does"], name = ""): NameUse {
  return { does, key: nameKey(name), givesRows: false, isHeld: false };
}
