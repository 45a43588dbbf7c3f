import type { Policy } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { quoteLiteral } from "../sql/source.ts";
import { warning } from "./checked.ts";

/** Asks the database of a policy; rejects when it cannot. */
export type Ask = (sql: string) => Promise<readonly unknown[][]>;

/**
 * Users whom a policy names and the server does not know. Where the server checks passwords they cannot log in, so
 * one who was meant and is called otherwise has another role, or none. A warning: they may be made later.
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
        `role "${role.name}" names the user "${text}", whom the database does not know`,
        `Nobody can log in by that name; correct it, or CREATE ROLE it. With --auth scram users are those of --users.`,
      ),
    );
}
