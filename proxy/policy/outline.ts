import { isMap, parseDocument, stringify } from "yaml";
import type { PolicyText } from "./compile.ts";

/** The longest record of a policy: what is beyond it is counted. */
const MOST_LINES = 5_000;
const LONGEST_LINE = 300;

/**
 * What policy files say, a line each after the file's name, without comments and layout: two outlines differ where policies
 * do. Decoys are left out, because whoever knows them avoids them.
 */
export function outlineOf(texts: readonly PolicyText[]): readonly string[] {
  const lines = texts.flatMap(({ name, text }) =>
    linesOf(text).map((line) => shortened(`${fileOf(name)}: ${line}`)),
  );
  if (lines.length <= MOST_LINES) return lines;
  return [...lines.slice(0, MOST_LINES), `… and ${lines.length - MOST_LINES} more lines`];
}

/** The folder is of the machine, and no part of the policy. */
function fileOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function linesOf(text: string): readonly string[] {
  const document = parseDocument(text);
  // A policy in force is a mapping; nothing else is written down.
  if (!isMap(document.contents)) return [];
  const plain = document.toJS() as Record<string, unknown>;
  const shown = "canaries" in plain ? { ...plain, canaries: "(not shown)" } : plain;
  return stringify(shown, { lineWidth: 0, aliasDuplicateObjects: false }).trimEnd().split("\n");
}

function shortened(line: string): string {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)}…` : line;
}
