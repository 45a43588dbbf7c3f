import type { Message } from "../harness/raw-client.ts";
import { queries } from "./channels.ts";
import { EQUAL, PEOPLE } from "./planted.ts";
import type { RoleName } from "./policy.ts";
import { type Trial, tellsTooMuch, worthOf } from "./trial.ts";
import type { Reader, Sent, Step, Worlds } from "./worlds.ts";

/**
 * Many statements, each a separate step. They run first in a few worlds, which finds what is free or cheap. Statements
 * whose answers differ by more than was paid for, as far as a few worlds can show, run again in all of them.
 */

/** The number of people whom one statement asks for: it is moved to a group that no earlier statement has read. */
const GROUP = 12;
const FEW = 6;

export interface Tried {
  readonly trials: readonly Trial[];
  /** How many returned an answer that differs between worlds. */
  readonly differing: number;
  /** How many were run in all worlds. */
  readonly again: number;
}

/** Tries statements, each of which reads the people of the group whose first one is `:first`. */
export async function tryStatements(
  worlds: Worlds,
  role: RoleName,
  statements: readonly string[],
  mostAgain = 200,
): Promise<Tried> {
  const first = await tryIn(worlds, role, statements, FEW);
  const suspicious = first.filter(({ trial, seems }) => tellsTooMuch(trial) || seems > trial.paid);
  const again = suspicious.slice(0, mostAgain).map(({ trial }) => trial.name);
  const second = await tryIn(worlds, role, again, worlds.count);
  return {
    trials: [...first, ...second].map(({ trial }) => trial),
    differing: first.filter(({ trial }) => trial.distinct > 1).length,
    again: again.length,
  };
}

interface TriedOnce {
  readonly trial: Trial;
  /** Bits that the answers appear to contain. */
  readonly seems: number;
}

async function tryIn(
  worlds: Worlds,
  role: RoleName,
  statements: readonly string[],
  count: number,
): Promise<readonly TriedOnce[]> {
  const tried: TriedOnce[] = [];
  let reader: Reader | undefined;
  let next = EQUAL + 1;
  for (const sql of statements) {
    if (reader === undefined || next + GROUP > PEOPLE) {
      reader?.close();
      reader = await newReader(worlds, role, count);
      next = EQUAL + 1;
    }
    const step = await reader.step(around(movedTo(next, sql)));
    if (!timedOut(step)) tried.push(judged(sql, step));
    // A statement that also read others has counted people whom a later statement asks for.
    const others = [...step.newlyNamed].some(
      (person) => Number(person) < next || Number(person) >= next + GROUP,
    );
    next = others ? PEOPLE : next + GROUP;
  }
  reader?.close();
  return tried;
}

async function newReader(worlds: Worlds, role: RoleName, count: number): Promise<Reader> {
  const reader = await worlds.reader(role, count);
  await reader.step(queries("SET statement_timeout = '5s'"));
  return reader;
}

/** Leaves nothing behind. Parts of an attack are separated by semicolons on lines of their own. */
function around(sql: string): Sent {
  const parts = sql.split(SEPARATOR);
  if (parts.length === 1 && !LASTING.test(sql)) return queries(sql);
  const after = LASTING.test(sql) ? ["DEALLOCATE ALL", "CLOSE ALL"] : [];
  return queries("BEGIN", ...parts, "ROLLBACK", ...after);
}

/** Separates the statements of one attack. */
export const SEPARATOR = "\n;\n";
const LASTING = /^\s*(?!select|values|table|with)|insert|update|delete|set_config|lock|nextval/i;

/**
 * Statements of the suites ask for customer 7, or for customers below some number: they are changed to ask for the same
 * number of people, starting with the first of a group.
 */
function movedTo(first: number, sql: string): string {
  return sql
    .replace(/(\w*id"?|\br0) < (\d+)\b/g, (_, column: string, below: string) => {
      return `${column} BETWEEN ${first} AND ${first + Math.min(Number(below), GROUP) - 1}`;
    })
    .replace(/(\w*id"?) = (7|1)\b/g, `$1 = ${first + 6}`)
    .replace(/(\w*id"?) IN \(7, 8\)/g, `$1 IN (${first + 6}, ${first + 7})`);
}

function judged(sql: string, { told, paid, kraft, distinct, answers }: Step): TriedOnce {
  const trial = { name: sql, told: worthOf(told), paid, excess: kraft, distinct };
  return { trial, seems: distinct === 1 ? 0 : seemingBits(answers) };
}

/** Which of them takes too long depends on the machine. */
function timedOut({ answers }: Step): boolean {
  return answers.some((answer) =>
    answer.some(({ type, bytes }) => type === "E" && bytes.includes("C57014\0")),
  );
}

/** The sum over all positions of an answer of log2(different letters seen there). */
function seemingBits(answers: readonly (readonly Message[])[]): number {
  let seems = 0;
  const most = Math.max(...answers.map((answer) => answer.length));
  for (let i = 0; i < most; i++) {
    const values = answers.map((answer) => answer[i]?.bytes.toString("latin1") ?? "");
    if (values.every((value) => value === values[0])) continue;
    const longest = Math.max(...values.map((value) => value.length));
    for (let at = 0; at < longest; at++) seems += Math.log2(new Set(values.map((value) => value[at])).size);
  }
  return seems;
}
