import { quoteLiteral } from "../pg/quote.ts";
import type { PolicySet } from "../policy/compile.ts";
import type { Policy } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { type Check, isUncounted, warning } from "./checked.ts";

/** Queries the policy's database; rejects if it cannot. */
export type Ask = (sql: string) => Promise<readonly unknown[][]>;

/**
 * Users whom a policy names and the server does not know. If the server checks passwords they cannot log in, so a user
 * who is really named otherwise has another role, or none. A warning, because they may be created later.
 */
export async function missingUsers(policy: Policy, ask: Ask): Promise<readonly PolicyProblem[]> {
  const named = [...policy.roles.values()].flatMap((role) =>
    role.users.flatMap(({ text, exact }) => (exact ? [{ role, text }] : [])),
  );
  if (named.length === 0) return [];
  const names = [...new Set(named.map(({ text }) => text))].filter((text) => !text.includes("\0"));
  const rows = await ask(
    `SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname::text IN (${names.map(quoteLiteral).join(", ")})`,
  );
  const known = new Set(rows.map(([name]) => name));
  return named
    .filter(({ text }) => !known.has(text))
    .map(({ role, text }) =>
      warning(
        policy.written.roles.get(role.name)?.keys.get(`users.${text}`) ?? role.place,
        `role "${role.name}" names the user "${text}", who does not exist in the database`,
        `No one can log in by that name: correct it, or create the role. With --auth scram, users are those of --users.`,
      ),
    );
}

/** Users whom no role names, in a role that sees all and counts no one: a misspelt agent is one of them. */
export const openToUnknown: Check = ({ policy }) => {
  const { unknownUsers: role, written } = policy;
  if (role === undefined || !isUncounted(role)) return [];
  const what = `users without a role have role "${role.name}", which sees everything and counts no one`;
  const hint = 'Name its users under "users:", and write unknown_users: refuse, or a role that is limited.';
  return [warning(written.unknownUsers ?? role.place, what, hint)];
};

/** Databases that files speak of and the server does not have: nothing of such a file is in force anywhere. */
export async function missingDatabases(policies: PolicySet, ask: Ask): Promise<readonly PolicyProblem[]> {
  if (policies.databases.length === 0) return [];
  const names = policies.databases.map(quoteLiteral).join(", ");
  const rows = await ask(
    `SELECT datname::text FROM pg_catalog.pg_database WHERE datname::text IN (${names})`,
  );
  const known = new Set(rows.map(([name]) => name));
  return policies.databases
    .filter((name) => !known.has(name))
    .flatMap((name) => {
      const place = policies.forDatabase(name).written.database;
      if (place === undefined) return [];
      const what = `the server has no database "${name}": nothing in this file is in force`;
      const hint =
        "Correct the name, or CREATE DATABASE it. With --databases it may be one of another server.";
      return [warning(place, what, hint)];
    });
}
