import { readFileSync } from "node:fs";

/** A refusal as its words stand in the source: what is put into them is "…". */
export interface RefusalText {
  readonly sqlstate: string;
  readonly message: string;
  readonly hint: string;
  /** File and line, for who reads a failing test. */
  readonly place: string;
}

const CALL = /\b(?:deny|denied|refuse)\(/g;

/** The refusals that a file's text makes; those whose message is made elsewhere have none. */
export function refusalsIn(path: string, constants: Constants): readonly RefusalText[] {
  const source = readFileSync(path, "utf8");
  const found: RefusalText[] = [];
  for (const { 0: call, index } of source.matchAll(CALL)) {
    if (isWithinComment(source, index) || /function $|^\s*$/.test(source.slice(index - 9, index))) continue;
    const args = argumentsFrom(source, index + call.length)
      .map((argument) => argument.trim())
      // Behind a last comma there is none.
      .filter((argument) => argument !== "");
    const made = wordsOf(call, args, constants);
    if (made === undefined) continue;
    const line = source.slice(0, index).split("\n").length;
    found.push({ ...made, place: `${path}:${line}` });
  }
  return found;
}

/** Texts by the names that they have in the source. */
export type Constants = ReadonlyMap<string, string>;

/** `const HINT = "…";` */
export function constantsIn(path: string): Constants {
  const source = readFileSync(path, "utf8");
  const texts = new Map<string, string>();
  for (const { 0: start, 1: name = "", index } of source.matchAll(
    /\bconst ([A-Z_]+)(?:: string)? =\s*(?=["'`])/g,
  )) {
    const from = index + start.length;
    const text = literal(source.slice(from, source.indexOf(";\n", from)));
    if (text !== undefined) texts.set(name, text);
  }
  return texts;
}

function wordsOf(
  call: string,
  args: readonly string[],
  constants: Constants,
): Omit<RefusalText, "place"> | undefined {
  const text = (argument = "") => constants.get(argument) ?? literal(argument);
  const [first, second, third, fourth] = args.map(text);
  // A rule's: of the role, or by a helper that puts the role before the words.
  if (call.startsWith("denied") && args.length === 2)
    return first === undefined
      ? undefined
      : { sqlstate: "42501", message: `role "…" ${first}`, hint: second ?? made(args[1]) };
  if (call.startsWith("denied"))
    return second === undefined
      ? undefined
      : { sqlstate: "42501", message: second, hint: fourth ?? made(args[3]) };
  if (call.startsWith("deny"))
    return first === undefined
      ? undefined
      : { sqlstate: "42501", message: first, hint: third ?? made(args[2]) };
  if (first === undefined || !/^[0-9A-Z]{5}$/.test(first) || second === undefined) return undefined;
  return { sqlstate: first, message: second, hint: hintIn(args[2] ?? "", constants) ?? "" };
}

/** A hint that is made elsewhere. */
function made(argument = ""): string {
  return argument === "" ? "" : "…";
}

function isWithinComment(source: string, index: number): boolean {
  const line = source.slice(source.lastIndexOf("\n", index) + 1, index);
  return /^\s*(?:\*|\/\/|\/\*)/.test(line);
}

/** The texts of a call's arguments, up to its closing parenthesis. */
function argumentsFrom(source: string, start: number): readonly string[] {
  const args: string[] = [];
  let [depth, from] = [0, start];
  for (let at = start; at < source.length; at++) {
    const char = source[at] ?? "";
    if (char === '"' || char === "'" || char === "`") at = stringEnd(source, at);
    else if ("([{".includes(char)) depth++;
    else if (")]}".includes(char) && --depth < 0) return [...args, source.slice(from, at)];
    else if (char === "," && depth === 0) {
      args.push(source.slice(from, at));
      from = at + 1;
    }
  }
  throw new Error("a call without an end");
}

/** Index of the mark that ends the string or template that begins at `start`. */
function stringEnd(source: string, start: number): number {
  const quote = source[start];
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source[at] === quote) return at;
    else if (quote === "`" && source.startsWith("${", at)) at = interpolationEnd(source, at + 2);
  }
  throw new Error("a string without an end");
}

function interpolationEnd(source: string, start: number): number {
  let depth = 0;
  for (let at = start; at < source.length; at++) {
    const char = source[at] ?? "";
    if (char === '"' || char === "'" || char === "`") at = stringEnd(source, at);
    else if (char === "{") depth++;
    else if (char === "}" && depth-- === 0) return at;
  }
  throw new Error("a template without an end");
}

/** Of strings and templates, joined by `+`; undefined for what is none. */
function literal(argument: string): string | undefined {
  let text = "";
  for (let rest = argument.trim(); rest !== ""; ) {
    if (!/^["'`]/.test(rest)) return text === "" ? undefined : `${text}…`;
    const end = stringEnd(rest, 0);
    text += plain(rest.slice(1, end));
    rest = rest.slice(end + 1).replace(/^[\s,]*\+?\s*/, "");
  }
  return text;
}

function plain(body: string): string {
  let text = "";
  for (let at = 0; at < body.length; at++) {
    if (body.startsWith("${", at)) {
      at = interpolationEnd(body, at + 2);
      text += "…";
    } else if (body[at] === "\\") text += body[++at] ?? "";
    else text += body[at];
  }
  return text;
}

function hintIn(fields: string, constants: Constants): string | undefined {
  if (/\bhint,/.test(fields)) return "…";
  const at = /\bhint:\s*/.exec(fields);
  if (at === null) return undefined;
  const [hint = ""] = argumentsFrom(`${fields.slice(at.index + at[0].length)})`, 0);
  return constants.get(hint.replace(/[\s}]+$/, "")) ?? literal(hint.replace(/\s*\}$/, ""));
}
