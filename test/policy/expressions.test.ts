import fc from "fast-check";
import { loadModule, parseSync } from "libpg-query";
import { beforeAll, expect, test } from "vitest";
import { bindUser } from "../../proxy/policy/bind-user.ts";
import { ownExpression } from "../../proxy/policy/masks/own.ts";
import { parseCondition, parseMaskExpression } from "../../proxy/policy/policy-sql.ts";

// The library's own parser, which the proxy does not use.
beforeAll(() => loadModule());

const PLACE = { file: "p.yaml", line: 1, column: 1 };

function condition(text: string): string {
  const parsed = parseCondition(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.sql;
}

const bound = (sql: string, user: string) => bindUser({ sql, place: PLACE }, user);

test("conditions that support teams write are accepted", () => {
  for (const text of [
    "assignee = :user",
    "region = 'eu' AND NOT archived",
    "region IN ('eu', 'uk') OR region IS NULL",
    "created_at > now() - interval '90 days'",
    "lower(assignee) = lower(:user)",
    "assignee IS NOT DISTINCT FROM :user",
    "CASE WHEN urgent THEN true ELSE assignee = :user END",
    "team_id IN (SELECT m.team_id FROM crm.members m WHERE m.login = :user)",
    "EXISTS (SELECT 1 FROM crm.members m JOIN crm.teams t ON t.id = m.team WHERE m.login = :user)",
    "(SELECT count(*) FROM crm.members m WHERE m.login = :user) > 0",
    "tags && ARRAY['open', :user]",
    "extract(year FROM created_at) = 2024",
    "'größe' = size AND owner = :user",
    "created_at::date = current_date",
    "created_at AT TIME ZONE 'UTC' BETWEEN '2020-01-01' AND '2021-01-01'",
    "details ->> 'owner' = :user",
    "(owner, region) = (:user, 'eu')",
  ]) {
    expect.soft(parseCondition(text), text).toMatchObject({ ok: true });
  }
});

test("text that could break out of the condition is refused", () => {
  const refused: readonly [string, string][] = [
    ["", "not one SQL expression"],
    ["true) OR (true", "not valid SQL"],
    ["true); DROP TABLE t; --", "a comment"],
    ["true; SELECT 1", "not valid SQL"],
    ["true;", "not valid SQL"],
    ["1, 2", "not one SQL expression"],
    ["true FROM public.t", "not valid SQL"],
    ["true AS x", "not valid SQL"],
    ["SELECT true", "not valid SQL"],
    ["true -- always", "a comment"],
    ["true /* always */", "a comment"],
    ["id = $1", "a parameter"],
    ["true\0) evil", "zero byte"],
    ["'unfinished", "not valid SQL"],
    ["id IN (SELECT id FROM tickets)", 'the table "tickets" has no schema'],
    ["id IN (WITH x AS (SELECT 1) SELECT * FROM x)", "no place"],
    ["id IN (SELECT 1 FROM public.t FOR UPDATE)", "no place"],
    ["id IN (SELECT 1 FROM pg_catalog.generate_series(1, 3))", "no place"],
    ["row_number() OVER () = 1", "no place"],
    ["count(*) FILTER (WHERE true) > 1", "no place"],
    ["f(VARIADIC a)", "no place"],
    ["f(a => 1)", "no place"],
    ["public.tickets.assignee = :user", "not a plain column name"],
    ["t.assignee = :user", "not a plain column name"],
    ["assignee = current_user", "database's own user"],
    ["assignee = user", "database's own user"],
    ["assignee = : user", "not valid SQL"],
    ["assignee = :USER", "not valid SQL"],
    ["assignee = :name", "not valid SQL"],
    ["E:user = 'x'", "not valid SQL"],
    ["f:user", "not valid SQL"],
    ["'a'\n:user = 'ab'", "not valid SQL"],
    ["date :user = d", "not valid SQL"],
    [`${"(".repeat(20_000)}1${")".repeat(20_000)}`, "not valid SQL"],
  ];
  for (const [text, problem] of refused) {
    const parsed = parseCondition(text);
    expect.soft(parsed.ok ? "accepted" : parsed.problem, text.slice(0, 60)).toContain(problem);
  }
});

test("the user's name becomes a literal and nothing else, whatever it contains", () => {
  const sql = condition("assignee = :user AND region = 'eu'");
  const clean = shape(sql.replace(":user", "'x'"));
  const names = fc.oneof(
    fc.string({ unit: "binary" }).map((name) => name.replaceAll("\0", "")),
    fc.stringMatching(/^['"\\;:$\-/*()a-zE]{0,12}$/),
  );
  fc.assert(
    fc.property(
      names.filter((name) => Buffer.from(name).toString() === name),
      (name) => {
        const { tree, literals } = shape(bound(sql, name));
        expect(tree).toEqual(clean.tree);
        expect(literals).toEqual([name, "eu"]);
      },
    ),
  );
});

test("a user name that is a placeholder is not replaced again, and one with a zero byte is refused", () => {
  expect(bound("a = :user AND b = :user", ":user")).toBe("a = (':user') AND b = (':user')");
  expect(() => bound("a = :user", "an\0na")).toThrow("zero byte");
});

test("only the token :user is a placeholder: not in literals, names, casts", () => {
  expect(bound("a = ':user' AND b = :user", "anna")).toBe("a = ':user' AND b = ('anna')");
  expect(bound("a = $$:user$$ AND b = E'\\':user'", "anna")).toBe("a = $$:user$$ AND b = E'\\':user'");
  expect(bound('":user" = :user', "anna")).toBe("\":user\" = ('anna')");
  expect(bound("'é' = a AND b = :user", "anna")).toBe("'é' = a AND b = ('anna')");
  expect(bound("a = 'x'::user_name", "anna")).toBe("a = 'x'::user_name");
  expect(bound("a = :user::pg_catalog.text", "anna")).toBe("a = ('anna')::pg_catalog.text");
});

test("functions and types without a schema are Postgres's own, whatever the search path", () => {
  expect(condition("lower(a) = 'é' AND b::text = left(c::citext::int::text, 2)")).toBe(
    "pg_catalog.lower(a) = 'é' AND b::pg_catalog.text = pg_catalog.left(c::pg_catalog.citext::int::pg_catalog.text, 2)",
  );
  expect(condition("crm.mine(a, x::crm.region)")).toBe("crm.mine(a, x::crm.region)");
  expect(condition("substring(a from 2) = coalesce(b, trim(c))")).toBe(
    "substring(a from 2) = coalesce(b, trim(c))",
  );
});

test("names in a condition can be checked against the catalog", () => {
  const parsed = parseCondition(
    "owner = :user AND team IN (SELECT m.team FROM crm.members m) AND lower(b) ~ 'x'",
  );
  expect(parsed).toMatchObject({
    ok: true,
    use: {
      relations: ["crm.members"],
      columns: ["owner", "team", "b"],
      functions: ["pg_catalog.lower"],
      operators: ["=", "~"],
    },
  });
});

test("in a mask only the column named value is replaced, and no other column can be read", () => {
  const substitute = (text: string, column = 'c."e mail"') => {
    const parsed = parseMaskExpression(text);
    return parsed.ok ? ownExpression(parsed.sql, column) : parsed.problem;
  };
  expect(substitute("left(value, 3)")).toBe('pg_catalog.left((c."e mail"), 3)');
  expect(substitute("'é value ' || \"value\" || value::text")).toBe(
    '\'é value \' || (c."e mail") || (c."e mail")::pg_catalog.text',
  );
  expect(substitute("value[1]")).toBe('(c."e mail")[1]');
  expect(substitute("left(email, 3)")).toContain('cannot read the column "email"');
  expect(substitute("t.value")).toContain('cannot read "t.value"');
  expect(substitute("(SELECT value)")).toContain("no place");
  expect(substitute("value || :user")).toContain("no meaning in a mask");
});

/** A tree without positions and constants, and its text constants. */
function shape(sql: string): { tree: unknown; literals: readonly string[] } {
  const literals: string[] = [];
  const tree = JSON.parse(JSON.stringify(parseSync(`SELECT (${sql})`)), (key, value) => {
    if (key === "location") return undefined;
    if (key === "A_Const") {
      literals.push(value.sval?.sval ?? "");
      return "constant";
    }
    return value;
  });
  return { tree, literals };
}
