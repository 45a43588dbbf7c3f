import { expect, test } from "vitest";
import type { PersonSource } from "../../proxy/policy/policy.ts";
import { commentValues } from "../../proxy/session/person/comment-values.ts";
import { personBehind } from "../../proxy/session/person/person.ts";
import { commentsOf } from "../../proxy/sql/comments.ts";

const comments = (text: string) => commentsOf(Buffer.from(text));

function named(text: string, key = "user"): string | undefined {
  return personBehind([{ kind: "comment", key }], { settings: new Map(), comments: comments(text) });
}

test.each([
  ["SELECT 1 /*user='anna'*/", "anna"],
  ["SELECT 1 /* user='anna', traceparent='00-1-2-03' */", "anna"],
  ["/*user='anna%20ng'*/ SELECT 1", "anna ng"],
  [String.raw`SELECT 1 /*user='o\'neill'*/`, "o'neill"],
  ["SELECT 1 /*action='show',controller='tickets',user='ben'*/", "ben"],
  ["SELECT 1 /*application:Desk,controller:tickets,user:anna*/", "anna"],
  ["SELECT 1 -- user='anna'", "anna"],
  // Colleagues with one family name.
  ["SELECT 1 /*application:Desk,user:Ng, Alice,line:a.rb:12*/", "Ng, Alice"],
  ["SELECT 1 /*user:Ng, Bob*/", "Ng, Bob"],
  ["SELECT 1 /*user='anna'*/ /*user='anna'*/", "anna"],
  ["SELECT 1 /* note */ /*user='anna'*/", "anna"],
  ["SELECT $$ a $$ /*user='anna'*/", "anna"],
])("a comment names a person: %s", (text, person) => {
  expect(named(text)).toBe(person);
});

test.each([
  "SELECT '/*user=''anna''*/'",
  String.raw`SELECT E'\'/*user=\'anna\'*/'`,
  "SELECT $$/*user='anna'*/$$",
  `SELECT 1 AS "/*user='anna'*/"`,
  "SELECT U&'/*user=''anna''*/'",
  "SELECT 1 /*user='anna'*/ /*user='ben'*/",
  "SELECT 1 /*user='anna',user='ben'*/",
  "SELECT 1 /*other='anna'*/",
  "SELECT 1 /*user=''*/",
  "SELECT 1 /*user='a\u0000b'*/",
  `SELECT 1 /*user='${"a".repeat(200)}'*/`,
  "SELECT 1 /* /*user='anna'*/ */",
  "SELECT 1",
])("nobody is named: %s", (text) => {
  expect(named(text)).toBeUndefined();
});

test("Metabase's remark names its user's number", () => {
  const remark = "-- Metabase:: userID: 7 queryType: native queryHash: 3f2a";
  expect(named(`${remark}\nSELECT 1`, "userID")).toBe("7");
  expect(commentValues(remark, "queryType")).toEqual(["native"]);
});

test("a long comment, or many, name nobody", () => {
  expect(named(`SELECT 1 /*user='anna'*/ /*${"x".repeat(5000)}*/`)).toBeUndefined();
  expect(named(`SELECT 1 ${"/*user='anna'*/".repeat(60)}`)).toBeUndefined();
});

test("the first source that says something names the person, and a doubt names nobody", () => {
  const sources: readonly PersonSource[] = [
    { kind: "setting", name: "app.agent" },
    { kind: "setting", name: "request.jwt.claims", path: ["user", "sub"] },
    { kind: "application_name", pattern: /^(?:helpdesk\/(.+))$/u },
    { kind: "role" },
  ];
  const from = (settings: Record<string, string>) =>
    personBehind(sources, { settings: new Map(Object.entries(settings)), comments: [] });
  expect(from({ "app.agent": "anna", role: "ben" })).toBe("anna");
  expect(from({ "request.jwt.claims": '{"user":{"sub":"ben"}}', "app.agent": "" })).toBe("ben");
  expect(from({ "request.jwt.claims": '{"user":{"sub":17}}' })).toBe("17");
  expect(from({ "request.jwt.claims": "{", role: "cleo" })).toBeUndefined();
  expect(from({ "request.jwt.claims": '{"user":{"sub":[]}}', role: "cleo" })).toBeUndefined();
  expect(from({ "request.jwt.claims": '{"user":{}}', role: "cleo" })).toBe("cleo");
  expect(from({ application_name: "helpdesk/anna" })).toBe("anna");
  expect(from({ application_name: "psql", role: "none" })).toBeUndefined();
  // Rounded, they would be one.
  for (const sub of ["9007199254740993", "1e400", "1.5"])
    expect(from({ "request.jwt.claims": `{"user":{"sub":${sub}}}`, role: "cleo" })).toBeUndefined();
  expect(from({ "app.agent": "a\nb", role: "cleo" })).toBeUndefined();
});

test("an application_name names whom it named before the server replaced and cut it", () => {
  const from = (application_name: string) =>
    personBehind([{ kind: "application_name", pattern: /^(?:helpdesk\/(.+))$/u }, { kind: "role" }], {
      settings: new Map(Object.entries({ application_name, role: "cleo" })),
      comments: [],
    });
  expect(from(String.raw`helpdesk/zo\xc3\xab`)).toBe("zoë");
  expect(from(String.raw`helpdesk/zo\xeb`)).toBe(String.raw`zo\xeb`);
  expect(from(`helpdesk/${"a".repeat(53)}`)).toBe("a".repeat(53));
  // Others may be called so as well.
  expect(from(`helpdesk/${"a".repeat(54)}`)).toBeUndefined();
  expect(from("helpdesk/zo??")).toBeUndefined();
});
