import type { LiveCatalog } from "../../catalog/live.ts";
import { type Standing, standing } from "../../policy/acting.ts";
import type { Policy, Role } from "../../policy/policy.ts";
import { analyse } from "../../sql/analyse.ts";
import { type Explanation, explain } from "../../sql/explanation.ts";
import type { Scope } from "../../sql/scope.ts";
import { storedText } from "../../sql/stored-text.ts";
import type { Verdict } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { calledIn } from "../person/person.ts";
import { fenceRefusal, fenceSight } from "./fencing.ts";
import { firstScope } from "./first-scope.ts";
import { sightedAs } from "./judging.ts";
import { nobodyNamed } from "./naming.ts";
import { anybody, touchesData } from "./touching.ts";

/** Whose statement it would be. */
export interface Asker {
  readonly policy: Policy;
  /** Of the user who logs in. */
  readonly account: Role;
  readonly user: string;
  /** The database user that the user's sessions run as. */
  readonly databaseUser: string;
  readonly maskKey: Scope["maskKey"];
  /** Whom the application names. */
  readonly person?: AskedPerson | undefined;
}

export interface AskedPerson {
  readonly name: string;
  /** What the claim holds that gives roles. */
  readonly claims: readonly string[];
}

/** Why no person with this name can be behind the user; undefined if there may be one. */
export function personProblem({
  policy,
  account,
  user,
  person,
}: Pick<Asker, "policy" | "account" | "user" | "person">) {
  if (person === undefined) return undefined;
  const { name, peopleBehind, actsAs } = account;
  if (peopleBehind === undefined) return `role "${name}" has no people_behind: nobody is behind its users`;
  if (calledIn(policy, account, user, person.name) === undefined)
    return "nobody behind an application can be called so";
  if (person.claims.length > 0 && actsAs?.kind !== "claim")
    return `role "${name}" gives no roles by a claim: acts_as: { claim: …, roles: … }`;
  return undefined;
}

/**
 * What would happen to a statement in a new session. `reach` may change the scope it is judged by: in a database made
 * for a test, for example, users have no rights.
 */
export async function explained(
  live: LiveCatalog,
  statement: string,
  asker: Asker,
  reach: (scope: Scope) => Scope = (scope) => scope,
): Promise<Explanation> {
  const { policy, account, user, databaseUser, maskKey } = asker;
  const now = standing(policy, account, personOf(asker));
  const shape = storedText(statement);
  const made = await firstScope(live, { policy, role: now.role, user, databaseUser, maskKey });
  const scope = reach({ ...made, user: now.person?.name ?? user });
  const plain = analyse(statement, { ...scope, role: anybody(account) });
  const fence = policy.mode === "observe" ? undefined : policy.fences.get(user);
  const sight = account.actsAs && fence ? fenceSight(fence, plain, shape) : "own";
  const sighted = { ...scope, role: sightedAs(now, sight).role };
  const refusal = (fence && fenceRefusal(user, fence, plain, shape)) ?? unnamedRefusal(account, now, plain);
  const verdict: Verdict =
    refusal === undefined
      ? analyse(statement, sighted)
      : { kind: "refuse", statements: plain.statements, refusal };
  const who = now.person?.name ?? user;
  return explain(verdict, sighted, who, who === user ? undefined : user);
}

function personOf({ policy, account, user, person }: Asker) {
  const name = person && calledIn(policy, account, user, person.name);
  return person === undefined || name === undefined ? undefined : { name, values: person.claims };
}

function unnamedRefusal(account: Role, now: Standing, { statements }: Verdict): Refusal | undefined {
  const isOpen = account.peopleBehind === undefined || account.unnamed !== "refuse";
  if (isOpen || now.person !== undefined) return undefined;
  const isTold = account.actsAs === undefined ? (each: Told) => each.metering !== undefined : touchesData;
  return statements.some(isTold) ? nobodyNamed(account) : undefined;
}

type Told = Verdict["statements"][number];
