import type { Account, Batch, CounterStore } from "../../proxy/meter/meter.ts";
import type { BudgetWindow } from "../../proxy/policy/policy.ts";

/** `people("1d", 300)`: one window of a budget. */
export function people(name: string, limit: number): BudgetWindow {
  return budget(name, "people", limit);
}

export function rows(name: string, limit: number): BudgetWindow {
  return budget(name, "rows", limit);
}

export function bytes(name: string, limit: number): BudgetWindow {
  return budget(name, "bytes", limit);
}

export function lookups(name: string, limit: number): BudgetWindow {
  return budget(name, "lookups", limit);
}

/** A window of reveals of a class. */
export function reveals(name: string, of: string, limit: number): BudgetWindow {
  return { ...budget(name, "reveals", limit), of, rule: `roles.agent.reveals.${of}.${name}` };
}

export function ofRole(window: BudgetWindow): BudgetWindow {
  return { ...window, scope: "role", rule: window.rule.replace("budget", "role_budget") };
}

export function ofAddress(window: BudgetWindow): BudgetWindow {
  return { ...window, scope: "address", rule: window.rule.replace("budget", "address_budget") };
}

/** Three users of one role behind one address, none of which another test uses. */
export function colleagues(windows: readonly BudgetWindow[]): readonly [Account, Account, Account] {
  const [anna, ben, cleo] = [account(), account(), account()];
  const shared = { role: `role of ${anna.user}`, address: `address of ${anna.user}`, windows };
  return [
    { ...anna, ...shared },
    { ...ben, ...shared },
    { ...cleo, ...shared },
  ];
}

function budget(name: string, what: BudgetWindow["what"], limit: number): BudgetWindow {
  const [, count, unit] = /^(\d+)([smhd])$/.exec(name) ?? [];
  const seconds = Number(count) * { s: 1, m: 60, h: 3600, d: 86400 }[unit as "s" | "m" | "h" | "d"];
  return { name, seconds, what, limit, rule: `roles.agent.budget.${name}` };
}

let users = 0;

/** An account that no other test uses. */
export function account(...windows: BudgetWindow[]): Account {
  users += 1;
  return { database: "support", user: `agent ${process.pid} ${users}`, windows };
}

/** One row for each person, all of one name space. */
export function rowsOf(...identities: readonly string[]): Batch {
  return { rows: identities.length, people: identities, namespaces: ["customers"], unknownPerRow: 0 };
}

/** Rows of people whose values of these classes are turned back. "?": of someone unknown. */
export function revealing(classes: readonly string[], ...identities: readonly string[]): Batch {
  const reveals = identities.flatMap((identity, row) =>
    classes.map((of) => ({
      row,
      of,
      namespace: "customers",
      identity: identity === "?" ? undefined : identity,
    })),
  );
  return { ...plainRows(identities.length), reveals };
}

/** Rows that speak of no person, or of some unknown ones. */
export function plainRows(count: number, unknownPerRow = 0): Batch {
  return { rows: count, people: [], namespaces: [], unknownPerRow };
}

/** `count` people nobody else names, as `c0`, `c1` … */
export function range(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `c${from + i}`);
}

/** A store whose time tests can move. */
export interface Bench {
  readonly store: CounterStore;
  now(): Promise<number>;
  /** Lets time pass for this account. */
  advance(account: Account, milliseconds: number): Promise<void>;
}

/** How many of the batch's rows may leave. */
export async function released(store: CounterStore, account: Account, batch: Batch): Promise<number> {
  const grant = await store.charge(account, batch);
  if (grant.kind === "unreachable") throw new Error("the store cannot be reached");
  return grant.kind === "all" ? batch.rows : grant.rows;
}
