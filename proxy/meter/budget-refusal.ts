import { type BudgetWindow, measureText } from "../policy/policy.ts";
import { notice, type Refusal, refuse } from "../wire/refusal.ts";
import { scopeOf } from "./budget-windows.ts";
import type { Account, Grant, WindowUse } from "./meter.ts";

/** What a budget has no room for: an effect of a statement, or with "error" the server's error about it. */
export type Charged = "read" | "write" | "error";

interface RefusalDetails {
  readonly isSized?: boolean;
  readonly charged?: Charged;
  /** Whom the budget does not show now: those who are not counted yet, or everybody, as in a watched role. */
  readonly stops?: "new" | "all";
}

/**
 * The error for a client whose remaining rows may not leave, or whose statement may not run. `isSized`: the price of
 * the next row depends on its size or on the number of people behind it. Saying when it fits would reveal that about a
 * row that has not been paid for.
 */
export function refusalOf(
  grant: Exclude<Grant, { kind: "all" }>,
  account: Account,
  { isSized = false, charged = "read", stops = "new" }: RefusalDetails = {},
): Refusal {
  switch (grant.kind) {
    case "unreachable":
      return refuse("58000", "the counters of the budgets cannot be reached", {
        detail: `User "${account.user}" has a budget, and what cannot be counted is not released.`,
        hint: "Try again in a moment. The proxy's log has the reason why its counter store is unavailable.",
      });
    case "part":
      if (grant.isLent) return lentOut(grant, account);
      return charged === "error"
        ? untold(grant, account)
        : usedUp(grant, account, { isSized, charged, stops });
  }
}

/** The error for a client whose write of `rows` rows is rolled back. */
export function refusalOfWrite(
  grant: Exclude<Grant, { kind: "all" }>,
  account: Account,
  rows: number,
): Refusal {
  const told =
    grant.kind === "part" && !grant.isLent ? noRoom(grant, account, rows) : refusalOf(grant, account);
  const undone = `It would have written ${rows} ${rows === 1 ? "row" : "rows"}; nothing of it was written.`;
  return { ...told, detail: `${told.detail} ${undone}` };
}

function noRoom(grant: Extract<Grant, { kind: "part" }>, account: Account, rows: number): Refusal {
  const { window, used, freesAt } = grant;
  // It does not fit in an empty window either, so waiting would not help.
  const fits = rows > window.limit ? "" : ` It fits at ${new Date(freesAt).toISOString()}.`;
  return refuse("53400", `${nameOf(window)} has no room for this write of ${rows}`, {
    detail: `${whoReads(window, account)}: ${used} of ${amount(window)} used within ${window.name}.${fits}`,
    hint: `Write fewer rows, or wait until earlier writes have left the window. ${source(window)}`,
    rule: window.rule,
  });
}

/** Not 53400: the user did nothing that they could not do an hour ago. */
function lentOut({ window, used }: Extract<Grant, { kind: "part" }>, account: Account): Refusal {
  return refuse(
    "58000",
    "the counters of the budgets cannot be reached, and what may be read meanwhile is used up",
    {
      detail: `${whoReads(window, account)}: ${used} of ${amount(window)} used within ${window.name}, which is this proxy's share.`,
      hint: `Try again in a moment. The proxy's log has the reason why its counter store is unavailable. ${source(window)}`,
      rule: window.rule,
    },
  );
}

/** The notice for a client near the end of a budget, sent while they still get everything they asked for. */
export function nearlyUsedUp({ window, used }: WindowUse, account: Account): Refusal {
  const share = Math.floor((100 * used) / window.limit);
  const earlier = window.what === "changes" ? "writes" : "reads";
  return notice(`${share} % of the ${nameOf(window)} is used up`, {
    detail: `${whoReads(window, account)}: ${used} of ${amount(window)} used within ${window.name}.`,
    hint: `Past it ${whatStops(window)} ${earlier} have left the window. ${source(window)}`,
    rule: window.rule,
  });
}

/** The statement itself has failed, and the reason could reveal something about people. */
function untold(grant: Extract<Grant, { kind: "part" }>, account: Account): Refusal {
  const { window, used } = grant;
  return refuse("53400", `the statement failed, and the ${nameOf(window)} has no room for its error`, {
    detail:
      `${whoReads(window, account)}: ${used} of ${amount(window)} used within ${window.name}. ` +
      `Nothing of the statement was done. ${frees(grant, "error", false)}`,
    hint: `Errors of statements about people count as well: run it again then to see why it fails. ${source(window)}`,
    rule: window.rule,
  });
}

function usedUp(
  grant: Extract<Grant, { kind: "part" }>,
  account: Account,
  { isSized, charged, stops }: Required<RefusalDetails>,
): Refusal {
  const { window, used } = grant;
  const what = charged === "write" && window.what === "people" ? "write" : nextOf(window);
  const end = used < window.limit ? `has no room for the next ${what}` : "is used up";
  return refuse("53400", `${nameOf(window)} ${end}`, {
    detail: `${whoReads(window, account)}: ${used} of ${amount(window)} used within ${window.name}. ${frees(grant, what, isSized)}`,
    hint: `${stops === "all" ? NO_ONE : meanwhile(window)}${source(window)}`,
    rule: window.rule,
  });
}

/** A budget of people stops statements before they run, and writes, as well as rows. */
function nextOf({ what }: BudgetWindow): string {
  if (what === "lookups") return "lookup";
  if (what === "reveals") return "value";
  return what === "people" ? "read" : "row";
}

function nameOf(window: BudgetWindow): string {
  return `budget of ${amount(window)} in ${window.name}`;
}

function amount(window: BudgetWindow): string {
  return `${window.limit} ${measureText(window)}`;
}

/** Does not name other people: a role is enough to know who to ask. */
function whoReads(window: BudgetWindow, { user, role, address }: Account): string {
  switch (scopeOf(window)) {
    case "user":
      return `User "${user}"`;
    case "role":
      return `All users of role "${role ?? ""}" together`;
    case "address":
      return `All that address ${address ?? ""} reads`;
  }
}

function frees(
  { window, used, freesAt }: Extract<Grant, { kind: "part" }>,
  what: string,
  isSized: boolean,
): string {
  // An empty window that stops a row always does, so waiting would not help.
  if (used === 0) return `The next ${what} needs more than ${window.limit}.`;
  if (isSized || window.what === "bytes")
    return `When the next ${what} fits is not known: it depends on what it holds.`;
  return `The next ${what} fits at ${new Date(freesAt).toISOString()}.`;
}

/** For a nearly used-up budget: what will have to wait. */
function whatStops({ what, of }: BudgetWindow): string {
  if (what === "reveals") return `no one else's ${of} is turned back until earlier`;
  if (what === "people") return "no one new can be read until earlier";
  return `nothing more is ${what === "changes" ? "written" : "released"} until earlier`;
}

const NO_ONE = "No one is shown until the budget has room again; what shows no one goes on. ";

function meanwhile({ what, of }: BudgetWindow): string {
  if (what === "reveals")
    return `Leave columns of the class "${of}" out, or wait: what was turned back for you lately can be read again. `;
  // A search has a price even if it finds only such people: docs/metering.md, "What a statement costs".
  if (what === "people") return "People who are counted already stay readable by their id, not by a search. ";
  const less = what === "lookups" ? "Make fewer lookups" : "Ask for fewer rows";
  return `${less}, or wait until earlier ones have left the window. `;
}

function source({ rule }: BudgetWindow): string {
  return `The policy sets this budget at ${rule}.`;
}
