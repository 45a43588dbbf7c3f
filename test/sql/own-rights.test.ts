import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { checkWritableConditions } from "../../proxy/sql/writable-conditions.ts";
import { type Judged, openJudged } from "./judged.ts";

const SETUP = `
  CREATE TABLE public.grants (usr text, customer_id bigint, note text, scope_id bigint);
  CREATE TABLE public.blocks (usr text, customer_id bigint, note text);
  CREATE TABLE public.teams (id bigint PRIMARY KEY, label text);
  CREATE TABLE public.members (usr text, team_id bigint REFERENCES public.teams ON UPDATE CASCADE ON DELETE SET NULL);
  CREATE VIEW public.my_tickets AS SELECT id, assignee AS owner, status FROM public.tickets;
  CREATE VIEW public.their_tickets AS SELECT id, owner, status FROM public.my_tickets;
  CREATE VIEW public.grants_view AS SELECT usr, customer_id FROM public.grants;
  CREATE VIEW public.granted AS SELECT DISTINCT customer_id, usr FROM public.grants WHERE note IS NULL;
  CREATE TABLE public.old_tickets () INHERITS (public.tickets);
  CREATE TABLE public.jobs (id bigint PRIMARY KEY, worker text, boss text GENERATED ALWAYS AS (lower(worker)) STORED, secret text);
  CREATE TABLE public.parted (id bigint, owner text, secret text) PARTITION BY RANGE (id);
  CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (1) TO (100);
  CREATE TABLE public.loose (id bigint PRIMARY KEY, ticket_id bigint REFERENCES public.tickets DEFERRABLE, body text);
  CREATE TABLE public.unchecked (id bigint PRIMARY KEY, ticket_id bigint, body text);
  ALTER TABLE public.unchecked ADD FOREIGN KEY (ticket_id) REFERENCES public.tickets NOT VALID;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO anna, ben, cleo;
`;

const BASE = `
version: 1
classes: { text: { mask: redact }, message: { mask: redact }, name: { mask: initials }, job: { mask: redact }, part: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { name: name } }
  public.tickets: { columns: { body: text } }
  public.ticket_messages: { columns: { body: message } }
  public.jobs: { columns: { secret: job } }
  public.parted: { columns: { secret: part } }
roles:
  agent:
    users: [anna]
    reads: all
    writes: all
`;

const MINE = `- text: { when: "assignee = :user" }`;
const MESSAGES = `- message: { when: "ticket_id IN (SELECT t.id FROM public.tickets t WHERE t.assignee = :user)" }`;

let judged: Judged;
const open: Judged[] = [];
beforeAll(async () => {
  judged = await openJudged({ policy: policyOf(`sees: [${MINE.slice(2)}]`), setup: SETUP });
  open.push(judged);
});
afterAll(async () => {
  for (const one of open) await one.close();
});

function policyOf(lines: string): string {
  return `${BASE}    ${lines.replaceAll("\n", "\n    ")}\n`;
}

/** The rule that refuses the statement, or the other outcome. */
function ruleOf(lines: string, sql: string): string {
  const verdict = judged.withPolicy(policyOf(lines)).judge("anna", sql);
  if (verdict.kind !== "refuse") return "runs";
  return `${verdict.refusal.sqlstate} ${verdict.refusal.rule ?? verdict.refusal.message}`;
}

describe("a column that a role's own condition names", () => {
  test.each([
    "UPDATE tickets SET assignee = 'anna' WHERE id = 1",
    "UPDATE tickets SET status = 'x', assignee = status",
    "UPDATE ONLY tickets SET (status, assignee) = ('x', 'anna')",
    "INSERT INTO tickets (id, customer_id) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET assignee = 'anna'",
    "WITH w AS (UPDATE tickets SET assignee = 'anna' RETURNING id) SELECT count(*) FROM w",
    "UPDATE my_tickets SET owner = 'anna'",
    "UPDATE their_tickets SET owner = 'anna'",
    "UPDATE old_tickets SET assignee = 'anna'",
    "PREPARE p AS UPDATE tickets SET assignee = $1",
    "EXPLAIN UPDATE tickets SET assignee = 'anna'",
  ])("is not changed by %s", (sql) => {
    expect(ruleOf(`sees:\n  ${MINE}`, sql)).toBe("42501 roles.agent.sees");
  });

  test.each([
    "UPDATE tickets SET status = 'closed' WHERE id = 1",
    "UPDATE my_tickets SET status = 'closed' WHERE id = 1",
    "INSERT INTO tickets (id, customer_id, assignee) VALUES (1, 1, 'anna')",
    "DELETE FROM tickets WHERE id = 1",
    "UPDATE grants SET usr = 'anna'",
  ])("does not stand in the way of %s", (sql) => {
    expect(ruleOf(`sees:\n  ${MINE}`, sql)).toBe("runs");
  });

  test("is not changed by MERGE, where that is known at all", () => {
    const only = `sees: all\nonly: { public.grants: "usr = :user" }`;
    const merge = "MERGE INTO grants USING (VALUES (1)) v(i) ON customer_id = v.i WHEN MATCHED THEN";
    expect(ruleOf(only, `${merge} UPDATE SET usr = 'anna'`)).toMatch(/^42501 roles\.agent\./);
    const through = `sees:\n  - name: { when: "id IN (SELECT g.customer_id FROM public.grants g WHERE g.usr = :user)" }`;
    expect(ruleOf(through, `${merge} UPDATE SET usr = 'anna'`)).toBe("42501 roles.agent.sees");
    expect(ruleOf(through, `${merge} UPDATE SET note = 'anna'`)).toBe("runs");
    expect(ruleOf(through, `${merge} DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES ('anna', 1)`)).toBe(
      "42501 roles.agent.sees",
    );
  });

  test("is not changed by way of what a generated column is made from", () => {
    const sees = `sees:\n  - job: { when: "boss = :user" }`;
    expect(ruleOf(sees, "UPDATE jobs SET worker = 'ANNA'")).toBe("42501 roles.agent.sees");
    expect(ruleOf(sees, "UPDATE jobs SET id = 7")).toBe("runs");
  });

  test("is not changed in a partition, nor by its parent", () => {
    const sees = `sees:\n  - part: { when: "owner = :user" }`;
    expect(ruleOf(sees, "UPDATE parted SET owner = 'anna'")).toBe("42501 roles.agent.sees");
    expect(ruleOf(sees, "UPDATE parted_1 SET owner = 'anna'")).toBe("42501 roles.agent.sees");
  });

  test("of a row filter: the refusal names the filter's line", () => {
    const only = `sees: all\nonly: { public.tickets: "region = 'eu'" }`;
    expect(ruleOf(only, "UPDATE tickets SET region = 'eu'")).toBe("42501 roles.agent.only");
    expect(ruleOf(only, "UPDATE tickets SET status = 'x'")).toBe("runs");
  });

  test("of a purpose: the refusal names the purpose's line", () => {
    const purpose = `sees: []\nbudget: { 1d: 5 }\npurpose: { public.customers: "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }`;
    for (const sql of [
      "UPDATE tickets SET assignee = 'anna' WHERE id = 1",
      "UPDATE tickets SET customer_id = 7 WHERE id = 1",
      "INSERT INTO tickets (customer_id, assignee) VALUES (7, 'anna')",
    ])
      expect(ruleOf(purpose, sql), sql).toBe("42501 roles.agent.purpose");
    expect(ruleOf(purpose, "UPDATE tickets SET status = 'x' WHERE id = 1")).toBe("runs");
  });

  test("is not changed by the cascade of a foreign key", () => {
    const sees = `sees:\n  - name: { when: "exists (select from public.members m where m.team_id = 7 and m.usr = :user)" }`;
    expect(ruleOf(sees, "UPDATE teams SET id = 7 WHERE id = 8")).toBe("42501 roles.agent.sees");
    expect(ruleOf(sees, "UPDATE teams SET label = 'x'")).toBe("runs");
    expect(ruleOf(sees, "DELETE FROM teams WHERE id = 8")).toBe("42501 roles.agent.sees");
  });

  test("may be the whole row, or any column of that name", () => {
    for (const condition of [
      "exists (select from public.grants g where g = row(:user, customers.id))",
      "id in (select customer_id from (select * from public.grants) g where usr = :user)",
      "id in (select c from public.grants g(u, c) where u = :user)",
      "exists (select from (public.grants a natural join public.blocks b) as j(x, y, z) where x = :user)",
    ]) {
      const sees = `sees:\n  - name: { when: "${condition}" }`;
      expect(ruleOf(sees, "UPDATE grants SET note = 'x'"), condition).toBe("42501 roles.agent.sees");
    }
  });
});

describe("a table that a condition reads", () => {
  const messages = `sees:\n  ${MESSAGES}`;

  test.each([
    "UPDATE ticket_messages SET ticket_id = 4 WHERE id = 1",
    "UPDATE tickets SET id = 4 WHERE id = 1",
    "UPDATE tickets SET assignee = 'anna' WHERE id = 1",
    "INSERT INTO old_tickets (id, assignee) VALUES (4, 'anna')",
    "COPY old_tickets FROM STDIN",
    "WITH d AS (DELETE FROM tickets WHERE id = 4 RETURNING id) INSERT INTO tickets (id, assignee) SELECT id, 'anna' FROM d",
    "WITH i AS (INSERT INTO tickets (id, assignee) VALUES (4, 'anna')) DELETE FROM tickets WHERE id = 4",
    "MERGE INTO tickets USING (VALUES (4)) v(i) ON id = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (4)",
  ])("is guarded against %s", (sql) => {
    expect(ruleOf(messages, sql)).toBe("42501 roles.agent.sees");
  });

  test.each([
    "INSERT INTO tickets (id, customer_id, assignee) VALUES (9999, 1, 'anna')",
    "INSERT INTO ticket_messages (id, ticket_id) VALUES (9999, 4)",
    "COPY tickets FROM STDIN",
    "DELETE FROM tickets WHERE id = 4",
    "UPDATE tickets SET status = 'closed' WHERE id = 1",
    "UPDATE ticket_messages SET author = 'anna' WHERE id = 1",
  ])("by whose key a foreign key holds takes %s", (sql) => {
    expect(ruleOf(messages, sql)).toBe("runs");
  });

  test("takes no new row where the foreign key may not hold", () => {
    for (const table of ["loose", "unchecked"]) {
      const policy = policyOf(messages).replace("public.ticket_messages", `public.${table}`);
      const verdict = judged
        .withPolicy(policy)
        .judge("anna", "INSERT INTO tickets (id, assignee) VALUES (4, 'anna')");
      expect(verdict.kind === "refuse" && verdict.refusal.rule, table).toBe("roles.agent.sees");
    }
  });

  test.each([
    ["id in (select customer_id from public.grants where usr = :user)", "refused", "runs"],
    ["id = any (select customer_id from public.grants where usr = :user)", "refused", "runs"],
    [
      "exists (select from public.grants g where g.customer_id = customers.id and g.usr = :user)",
      "refused",
      "runs",
    ],
    ["country = 'DE' or exists (select from public.grants g where g.usr = :user)", "refused", "runs"],
    ["not (id not in (select customer_id from public.grants))", "refused", "runs"],
    ["id not in (select customer_id from public.grants where usr <> :user)", "runs", "refused"],
    ["not exists (select from public.grants g where g.usr <> :user)", "runs", "refused"],
    ["id <> all (select customer_id from public.grants)", "runs", "refused"],
    [
      "exists (select id from public.tickets except select customer_id from public.grants)",
      "runs",
      "refused",
    ],
    ["(select count(*) from public.grants g where g.usr = :user) > 3", "refused", "refused"],
    ["case when exists (select from public.grants) then false else true end", "refused", "refused"],
    ["id in (select customer_id from public.grants order by note limit 1)", "refused", "refused"],
    [
      "id in (select t.id from public.tickets t left join public.grants g on g.usr = t.assignee where g.usr is null)",
      "refused",
      "refused",
    ],
    ["id in (select customer_id from public.granted where usr = :user)", "refused", "refused"],
  ])("when: %s; INSERT %s, DELETE %s", (condition, insert, remove) => {
    const sees = `sees:\n  - name: { when: "${condition}" }`;
    const said = (sql: string) =>
      ruleOf(sees, sql) === "42501 roles.agent.sees" ? "refused" : ruleOf(sees, sql);
    expect(said("INSERT INTO grants VALUES ('anna', 7)")).toBe(insert);
    expect(said("INSERT INTO grants_view VALUES ('anna', 7)")).toBe(insert);
    expect(said("COPY grants FROM STDIN")).toBe(insert);
    expect(said("DELETE FROM grants WHERE note = 'x'")).toBe(remove);
    expect(said("DELETE FROM grants_view WHERE usr = 'x'")).toBe(remove);
    expect(said("UPDATE grants SET scope_id = 1")).toBe("runs");
  });

  test("the message names the column, and the hint what the DBA can do", () => {
    const verdict = judged
      .withPolicy(policyOf(messages))
      .judge("anna", "UPDATE tickets SET assignee = 'anna' WHERE id = 1");
    expect(verdict.kind === "refuse" && verdict.refusal).toMatchObject({
      message:
        'role "agent" may not change public.tickets.assignee: a condition under "sees:" of the role depends on it',
      hint: expect.stringContaining(
        'list public.tickets.assignee under "writes_own_conditions:" of role "agent" (test.yaml:',
      ),
    });
  });
});

describe("writes_own_conditions", () => {
  const grants = (said: string) =>
    `sees:\n  - name: { when: "id in (select customer_id from public.grants where usr = :user)" }\nwrites_own_conditions: [${said}]`;

  test("lets the role write the columns that it names, and no others", () => {
    const sees = `sees:\n  ${MINE}\n  ${MESSAGES}\nwrites_own_conditions: [public.tickets.assignee]`;
    expect(ruleOf(sees, "UPDATE tickets SET assignee = 'anna' WHERE id = 1")).toBe("runs");
    expect(ruleOf(sees, "UPDATE old_tickets SET assignee = 'anna' WHERE id = 1")).toBe("runs");
    expect(ruleOf(sees, "UPDATE ticket_messages SET ticket_id = 4 WHERE id = 1")).toBe(
      "42501 roles.agent.sees",
    );
  });

  test("lets it insert where it names all columns that count", () => {
    const insert = "INSERT INTO grants VALUES ('anna', 7)";
    expect(ruleOf(grants("public.grants.usr"), insert)).toBe("42501 roles.agent.sees");
    expect(ruleOf(grants("public.grants.usr, public.grants.customer_id"), insert)).toBe("runs");
    expect(ruleOf(grants("public.grants.*"), insert)).toBe("runs");
  });

  test("is inherited, and a child replaces it", () => {
    const text = (child: string) =>
      `${policyOf(`sees:\n  ${MINE}\nwrites_own_conditions: [public.tickets.assignee]`).replace("users: [anna]", "users: []")}  child: { extends: agent, users: [anna]${child} }\n`;
    const judge = (child: string) =>
      judged.withPolicy(text(child)).judge("anna", "UPDATE tickets SET assignee = 'anna' WHERE id = 1").kind;
    expect(judge("")).not.toBe("refuse");
    expect(judge(", writes_own_conditions: []")).toBe("refuse");
  });

  test("is checked for columns that do not exist, and columns that no condition depends on", () => {
    const warnings = (lines: string) => {
      const compiled = compilePolicies([{ name: "test.yaml", text: policyOf(lines) }]);
      if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
      return checkWritableConditions(compiled.policies.forDatabase("any"), judged.catalog);
    };
    const said = (entry: string) =>
      warnings(`sees:\n  ${MINE}\nwrites_own_conditions: [${entry}]`).map(({ message }) => message);
    expect(said("public.tickets.assignee")).toEqual([]);
    expect(said("public.tickets.*")).toEqual([]);
    expect(said("public.tickets.asignee")).toEqual([expect.stringContaining("which is not in")]);
    expect(said("public.ticket.assignee")).toEqual([expect.stringContaining("which is not in")]);
    expect(said("public.tickets.status")).toEqual([
      'no condition of role "agent" depends on public.tickets.status',
    ]);
    expect(warnings(`sees:\n  ${MINE}`)).toEqual([]);
  });

  test("is a list of columns", () => {
    const compiled = compilePolicies([
      { name: "test.yaml", text: policyOf("writes_own_conditions: [tickets.assignee]") },
    ]);
    expect(compiled.ok ? [] : compiled.problems.map(({ hint }) => hint)).toEqual([
      expect.stringContaining("A column with its schema and table"),
    ]);
  });
});
