import type { Measure } from "../orders/measures.ts";
import type { Suspension, Suspensions } from "../orders/suspensions.ts";
import type { PolicySet } from "../policy/compile.ts";
import { policiesIn } from "../policy/namespaces.ts";

/** Orders for users, whichever of their names an operator has given. */
export interface OrdersByName extends Pick<Suspensions, "isSuspended" | "onSuspended"> {
  granted(user: string): Measure | undefined;
}

/**
 * Commands give orders by name and read no policy: an operator may only know how an application calls somebody. Such an
 * order is one for the user who is the same person (`people:` of the policy).
 */
export function ordersByName(
  orders: Pick<Suspensions, "isSuspended" | "onSuspended" | "granted">,
  policies: () => PolicySet,
): OrdersByName {
  const known = new WeakMap<PolicySet, Names>();
  const names = () => {
    const policy = policies();
    const own = known.get(policy) ?? namesIn(policy);
    known.set(policy, own);
    return own;
  };
  const byAnyName = <T>(user: string, find: (name: string) => T | undefined) =>
    find(user) ?? firstOf(names().others.get(user), find);
  return {
    isSuspended: (user) => byAnyName(user, (name) => orders.isSuspended(name)),
    granted: (user) => byAnyName(user, (name) => orders.granted(name)),
    onSuspended: (callback) =>
      orders.onSuspended((suspension: Suspension) => {
        callback(suspension);
        for (const user of names().users.get(suspension.user) ?? []) callback({ ...suspension, user });
      }),
  };
}

interface Names {
  readonly others: ReadonlyMap<string, ReadonlySet<string>>;
  /** Of several databases one name may be that of several users. */
  readonly users: ReadonlyMap<string, ReadonlySet<string>>;
}

function namesIn(policies: PolicySet): Names {
  const others = new Map<string, Set<string>>();
  const users = new Map<string, Set<string>>();
  for (const { people } of policiesIn(policies))
    for (const [name, user] of people) {
      if (name === user) continue;
      others.set(user, (others.get(user) ?? new Set()).add(name));
      users.set(name, (users.get(name) ?? new Set()).add(user));
    }
  return { others, users };
}

function firstOf<T>(
  names: Iterable<string> | undefined,
  find: (name: string) => T | undefined,
): T | undefined {
  for (const name of names ?? []) {
    const found = find(name);
    if (found !== undefined) return found;
  }
  return undefined;
}
