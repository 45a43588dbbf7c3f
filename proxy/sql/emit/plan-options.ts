import type { ExplainStmt } from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import { optionNames, optionText } from "../parse/options.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { closingParenthesis, statementStart, word } from "./source-tokens.ts";

const FORMATS: ReadonlySet<string> = new Set(["text", "json", "xml", "yaml"]);

/** Replaces the client's options with ones that make EXPLAIN show no figures; the client's output format is kept. */
export function planOptions({ source, raw, index }: Rewriting): MadeEdit {
  const { options } = nodeOf(raw.node)[1] as ExplainStmt;
  let token = statementStart(source, raw) + 1;
  const start = source.token(token)?.start;
  // Without parentheses each option is one word: EXPLAIN ANALYZE VERBOSE.
  if (options !== undefined)
    token = word(source, token) === "(" ? closingParenthesis(source, token) + 1 : token + options.length;
  const end = source.token(token)?.start;
  if (start === undefined || end === undefined) throw new Error("EXPLAIN of nothing");
  const format = optionText(options, "format")?.toLowerCase();
  const kept = [
    ...(optionNames(options).includes("verbose") ? [", VERBOSE"] : []),
    ...(format !== undefined && FORMATS.has(format) ? [`, FORMAT ${format}`] : []),
  ];
  const change = { kind: "explain options", statement: index } as const;
  return { at: start, end, text: `(COSTS OFF${kept.join("")}) `, change };
}
