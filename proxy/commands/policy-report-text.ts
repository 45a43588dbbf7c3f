import { AMOUNTS, type Amount, type DailyUse, type Decided, type Report } from "../audit/report.ts";
import { minute, printable, table } from "./text-table.ts";

/** Longer statements are cut: the JSON has all of them. */
const LONGEST = 90;
/** A budget that is made of fewer is a guess. */
const FEW_USER_DAYS = 20;

/** The report for people: what was decided, what users need in a day, and the lines of a policy that would hold it. */
export function reportText(report: Report, top: number): string {
  const { decided, use, statements, first = 0, last = 0 } = report;
  const observed = decided.some((one) => one.observed)
    ? "; where the policy only observes: would have been"
    : "";
  return [
    `${statements} statements, ${minute(first)} to ${minute(last)}\n\n`,
    decided.length === 0
      ? "Nothing was refused, stopped, cut, masked or filtered.\n"
      : `What was decided${observed}:\n\n`,
    decidedTable(decided.slice(0, top)),
    decided.length > top ? `and ${decided.length - top} more (--top, --json)\n` : "",
    "\nA day of a user (UTC), and budgets of half as much again as 95 of 100 such days need:\n\n",
    table([
      ["role", "users", "user-days", "", "p50", "p95", "most", "budget", "days over it"],
      ...use.flatMap(rowsOf),
    ]),
    ...use.filter(({ userDays }) => userDays < FEW_USER_DAYS).map(fewDays),
    budgetLines(use),
  ].join("");
}

function decidedTable(decided: readonly Decided[]): string {
  if (decided.length === 0) return "";
  return table([
    ["", "rule", "role", "user", "times", "people", "last", "statement"],
    ...decided.map(({ outcome, observed, rule, sqlstate, role, user, times, people, last, statement }) => [
      observed ? `would be ${outcome}` : outcome,
      printable(rule ?? sqlstate ?? ""),
      printable(role),
      printable(user),
      times,
      people,
      minute(last),
      short(printable(statement)),
    ]),
  ]);
}

function short(text: string): string {
  const characters = [...text];
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join("")}…` : text;
}

function rowsOf(use: DailyUse): readonly (readonly (string | number)[])[] {
  const { users, userDays, amounts } = use;
  return AMOUNTS.filter((amount) => amounts[amount].maximum > 0).map((amount, i) => {
    const { p50, p95, maximum, proposed, over } = amounts[amount];
    const head = i === 0 ? [called(use), String(users), String(userDays)] : ["", "", ""];
    return [...head, amount, p50, p95, maximum, proposed === undefined ? "none" : String(proposed), over];
  });
}

function called({ role, unnamed }: DailyUse): string {
  return unnamed ? `${printable(role)}, nobody named` : printable(role);
}

function fewDays(use: DailyUse): string {
  return `role ${called(use)}: only ${use.userDays} days of users; wait for ${FEW_USER_DAYS} before you trust its budget\n`;
}

/** Only roles in which anybody was counted: a budget on another counts nobody. */
function budgetLines(use: readonly DailyUse[]): string {
  const counted = use.filter(({ amounts }) => amounts.people.proposed !== undefined);
  if (counted.length === 0)
    return "\nNo one was counted: give the tables a subject:, and the roles mode: observe or watch: true.\n";
  const lines = [...new Set(counted.map(({ role }) => role))].map((name) => {
    const own = counted.filter(({ role }) => role === name);
    return `  ${JSON.stringify(name)}:\n${own.map(budgetLine).join("")}`;
  });
  return `\nAs lines of the policy:\n\nroles:\n${lines.join("")}`;
}

function budgetLine({ unnamed, amounts }: DailyUse): string {
  const parts = (of: readonly Amount[]) => of.flatMap((amount) => partOf(amount, amounts[amount].proposed));
  const budget = `budget: { 1d: { ${parts(OF_ALL_ROLES).join(", ")} } }`;
  const more = parts(OF_GUARDED_ROLES).join(", ");
  const also = more === "" ? "" : `   # unless it is watched: ${more}`;
  return `    ${unnamed ? `unnamed: { ${budget} }` : budget}${also}\n`;
}

/** A watched role has no other budgets, and the log does not say which role is one. */
const OF_ALL_ROLES: readonly Amount[] = ["people", "rows", "bytes"];
const OF_GUARDED_ROLES: readonly Amount[] = ["lookups", "changes"];

function partOf(amount: Amount, proposed: number | undefined): readonly string[] {
  return proposed === undefined ? [] : [`${amount}: ${proposed}`];
}
