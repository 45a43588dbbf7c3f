import { createFingerprint } from "../audit/fingerprint.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { quoteIdentifier } from "../pg/quote.ts";
import type { PolicySet } from "../policy/compile.ts";
import type { Policy, Role, TablePolicy } from "../policy/policy.ts";
import { analyse } from "../sql/analyse.ts";
import { Constants } from "../sql/parse/constants.ts";
import { isUnrestricted } from "../sql/scope.ts";
import { isShareable } from "../sql/shape.ts";
import { storedText } from "../sql/stored-text.ts";
import type { Verdict } from "../sql/verdict.ts";

/**
 * Analyses a few statements that no one has sent, before the first client is served. V8 compiles a function, and a part
 * of the parser's WebAssembly, when it is first called. For the first statements of a process that adds up to a quarter
 * of a second, during which no other session is answered. Returns the verdicts.
 */
export function warmUp(policies: PolicySet, catalogs: Iterable<Catalog>): readonly Verdict[] {
  const fingerprint = createFingerprint();
  for (const text of [...WITHOUT_TABLES, ...LONG_LISTS]) fingerprint(storedText(text));
  return [...catalogs].flatMap((catalog) => {
    const policy = policies.forDatabase(catalog.database);
    const table = [...policy.tables.values()].find(({ name, path }) => name && path === undefined);
    const texts = [...WITHOUT_TABLES, ...(table === undefined ? [] : textsOf(table))];
    return rolesOf(policy).flatMap((role) => {
      const scope = { policy, role, user: undefined, catalog, ...NO_SESSION };
      // Of a role that sees all a long text is skimmed; for others that is the work of a thread.
      const all = role.watch !== true && isUnrestricted(role) ? [...texts, ...LONG_TEXTS] : texts;
      return all.map((text) => {
        const verdict = analyse(text, scope, undefined, new Constants());
        isShareable(text);
        fingerprint(storedText(text));
        return verdict;
      });
    });
  });
}

const NO_SESSION = { searchPath: ["public"], unreadable: new Set<string>(), maskKey: undefined };

/** One role of each way in which statements are treated: the code is the same for the others. */
function rolesOf(policy: Policy): readonly Role[] {
  const roles = [...policy.roles.values()];
  return [
    roles.find((role) => role.watch === true),
    roles.find((role) => role.watch !== true && isUnrestricted(role)),
    roles.find((role) => role.watch !== true && !isUnrestricted(role)),
  ].filter((role) => role !== undefined);
}

/** The last one is not SQL: errors have a way of their own. */
const WITHOUT_TABLES = ["select 1 as one -- first", "begin", "set statement_timeout = '1s'", "no sql"];

/** Statements of the kinds that applications send, about a table whose people are counted where there is one. */
function textsOf({ name, subject, columns }: TablePolicy): readonly string[] {
  const table = name.split(".").map(quoteIdentifier).join(".");
  const [column = "id"] = [subject, ...columns.keys()].filter((each) => each !== undefined);
  const key = quoteIdentifier(column);
  return [
    `select * from ${table} where ${key} = 1 order by ${key} desc limit 1`,
    `select count(*), max(a.${key}) from ${table} a left join ${table} b on a.${key} = b.${key}
     where a.${key} in (1, 2) or b.${key} is null group by a.${key} order by 1`,
    `with x as (select ${key} from ${table}) select lower(x.${key}::text), case when true then 1 end from x`,
    `insert into ${table} (${key}) values (1) returning ${key}`,
    `update ${table} set ${key} = 1 where ${key} = $1`,
    `delete from ${table} where ${key} = 1`,
  ];
}

const LONG_TEXTS = Array.from(
  { length: 5 },
  (_, salt) => `select ${Array.from({ length: 1_200 }, (_, n) => `a + b${n + salt}`).join(", ")} from t`,
);

/** What goes over the bytes of long texts is slow until V8 has optimised it, which takes it some 300 kB. */
const LONG_LISTS = Array.from(
  { length: 20 },
  (_, salt) =>
    `insert into t values ${Array.from({ length: 700 }, (_, n) => `(${n}, ${salt}, 'a text')`).join(", ")}`,
);
