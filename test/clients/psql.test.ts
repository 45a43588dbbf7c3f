import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PASSWORDS, psql } from "../harness/postgres.ts";
import { type Helpdesk, openHelpdesk } from "./helpdesk.ts";
import { atTerminal, noTerminal, type Terminal } from "./terminal.ts";

const major = Number(/\d+/.exec((await psql(["--version"], {})).stdout)?.[0]);

let helpdesk: Helpdesk;
beforeAll(async () => {
  helpdesk = await openHelpdesk("clients psql");
});
afterAll(() => helpdesk.close());

/** What the whole cluster has, of one name each: other tests make roles and databases meanwhile. */
const ofTheCluster = (role: string) => {
  const { database } = helpdesk.database;
  return [`\\du ${role}`, `\\l ${database}`, `\\drds ${role} ${database}`];
};

const typed = (uri: string, ...lines: readonly string[]) => psql([], { uri, input: `${lines.join("\n")}\n` });

describe("psql of a role that sees everything says what it says without Sluice:", () => {
  test("what there is in the database", async () => {
    const commands =
      "\\d,\\d+ customers,\\d+ customer_upper,\\d contact_log,\\d+ vip_customers,\\dt+,\\di+,\\dv+,\\dm,\\dn+";
    const more = "\\df,\\dp,\\dT,\\dC,\\dx,\\dconfig server_version,\\sv customer_upper,\\z tickets,\\dO";
    const lines = [...`${commands},${more}`.split(","), ...ofTheCluster("helpdesk_app")];
    const { stdout } = await helpdesk.sameBothWays((uri) => typed(uri, ...lines));
    expect(stdout).toContain('Table "public.customers"');
    expect(stdout).toContain('"customers_pkey" PRIMARY KEY, btree (id)');
  });

  test("results in every shape that it knows", async () => {
    const { stdout } = await helpdesk.sameBothWays((uri) =>
      typed(
        uri,
        "select id, name, birth_date from only customers order by id limit 3 \\gx",
        "select country, birth_date < '1970-01-01' as old, count(*) from customers group by 1, 2 order by 1, 2 \\crosstabview",
        "select id, email, created_at from customers \\gdesc",
        "select 'select ' || n from generate_series(1, 3) n \\gexec",
        "select count(*) as people from customers \\gset",
        "\\echo :people",
        "select 1 \\; select 2 \\; select 3;",
        "select n, repeat('x', 100) from generate_series(1, 20000) n;",
        "prepare one(bigint) as select name from customers where id = $1;",
        "execute one(7);",
        "deallocate one;",
        "explain (costs off) select * from customers where id = 7;",
        ";",
      ),
    );
    expect(stdout).toContain("Alice Ng 7");
  });

  test("a large result a hundred rows at a time (FETCH_COUNT)", async () => {
    const { stdout } = await helpdesk.sameBothWays((uri) =>
      typed(
        uri,
        "\\set FETCH_COUNT 100",
        "select * from only customers order by id;",
        "select 1/(id-150) from customers;",
      ),
    );
    expect(stdout).toContain("alice.ng.7@example.com");
  });

  test("rows copied out and in, in text, CSV and binary", async () => {
    const { stdout, stderr } = await helpdesk.sameBothWays((uri) =>
      typed(
        uri,
        "\\copy (select * from payments order by id limit 5) to stdout csv header",
        "\\copy payments to '/dev/null'",
        "copy (select id from payments) to stdout (format binary) \\g /dev/null",
        "begin;",
        "\\copy payments (id, customer_id, amount_cents, currency, paid_at) from stdin",
        "900001\t7\t100\tEUR\t2024-02-01",
        "900002\t8\t200\tEUR\t2024-02-01",
        "\\.",
        "select count(*) from payments where id > 900000;",
        "copy payments from stdin;",
        "not a number",
        "\\.",
        "rollback;",
        "copy (select 1/(id-3) from payments order by id) to stdout;",
      ),
    );
    expect(stderr).toContain('invalid input syntax for type bigint: "not a number"');
    expect(stdout).toContain("COPY 2");
  });

  test("errors, verbose too, and a failed block", async () => {
    const { stderr } = await helpdesk.sameBothWays((uri) =>
      typed(
        uri,
        "selec 1;",
        "\\errverbose",
        "select nothing from customers;",
        "\\errverbose",
        "begin;",
        "insert into customers select * from customers where id = 7;",
        "\\errverbose",
        "select 1;",
        "rollback;",
        "do $$ begin raise notice 'so it is'; end $$;",
        "select 1; select 1/0; select 2;",
      ),
    );
    expect(stderr).toContain("ERROR:  23505: duplicate key value");
  });

  test("notifications", async () => {
    const run = async (uri: string) => {
      const { stdout } = await typed(
        uri,
        "listen news;",
        "notify news, 'it rains';",
        "select 1;",
        "unlisten *;",
      );
      return stdout.replace(/PID \d+/, "PID");
    };
    expect(await helpdesk.sameBothWays(run)).toContain('"news" with payload "it rains"');
  });

  // \bind came with psql 16.
  test.skipIf(major < 16)("statements with parameters (\\bind)", async () => {
    const { stdout } = await helpdesk.sameBothWays((uri) =>
      typed(uri, "select name from customers where id = $1 \\bind 7 \\g", "select 1 / $1::int \\bind 0 \\g"),
    );
    expect(stdout).toContain("Alice Ng 7");
  });

  test.skipIf(noTerminal)("a statement again and again (\\watch), until Ctrl-C", async () => {
    const count = async (uri: string) => {
      const seen = await atTerminal(uri, watched);
      return seen.split("watched").length;
    };
    expect(await count(helpdesk.uriFor("helpdesk_app"))).toBeGreaterThan(3);
    expect(await count(helpdesk.uriFor("anna"))).toBeGreaterThan(3);
  });

  // What readline draws depends on when the keys come; the messages do not.
  test.skipIf(noTerminal)("what completes names at the tabulator", () =>
    helpdesk.sameBothWays(async (uri) => void (await atTerminal(uri, tabulator))),
  );

  test.skipIf(noTerminal)("Ctrl-C stops a statement, and the session goes on", () =>
    helpdesk.sameBothWays(async (uri) => void (await atTerminal(uri, interrupted))),
  );
});

const PROMPT = /=> $/;

async function tabulator({ press, see }: Terminal): Promise<void> {
  await see(PROMPT);
  press("\\d pay\t");
  await see(/payments/);
  press("\n");
  await see(/payments_pkey[\s\S]*=> $/);
  press("\\d tick\t");
  await see(/\\d ticket/);
  press("s\n");
  await see(/tickets_pkey[\s\S]*=> $/);
}

async function watched({ press, see }: Terminal): Promise<void> {
  await see(PROMPT);
  press("select 'watch' || 'ed' as it \\watch 0.1\n");
  await see(/(watched[\s\S]*){3}/);
  press("\u0003");
  await see(/=> $/);
  press("select 'still ' || 'here';\n");
  await see(/still here[\s\S]*=> $/);
}

/** For hours, and nothing that an agent may not do. */
const SLOW = "select count(*) from generate_series(1, 1000000000) a, generate_series(1, 1000000000) b;";

async function interrupted({ press, see }: Terminal): Promise<void> {
  await see(PROMPT);
  press(`${SLOW}\n`);
  const active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $1";
  await expect.poll(async () => (await helpdesk.database.query(active, [SLOW])).rowCount).toBe(1);
  press("\u0003");
  await see(/canceling statement due to user request[\s\S]*=> $/);
  press("select 'still ' || 'here';\n");
  await see(/still here[\s\S]*=> $/);
}

describe("psql of an agent notices nothing but masks:", () => {
  const anna = (...lines: readonly string[]) => typed(helpdesk.uriFor("anna"), ...lines);

  test("what there is in the database", async () => {
    const commands = [
      "\\d",
      "\\d+ customers",
      "\\d tickets",
      "\\dt+",
      "\\dn",
      "\\df",
      "\\dv",
      "\\di",
      "\\dp",
      "\\dT",
      "\\dx",
      ...ofTheCluster("anna"),
    ];
    const guarded = await anna(...commands);
    const direct = await typed(helpdesk.database.uriFor("anna", PASSWORDS.anna), ...commands);
    expect(direct.stdout).toContain('"customers_pkey" PRIMARY KEY, btree (id)');
    expect(guarded).toEqual(direct);
  });

  test("a customer is found by their address, and shown masked, without a column more", async () => {
    const { stdout, stderr } = await anna(
      "\\pset format csv",
      "select id, name, email, phone from customers where email = 'alice.ng.7@example.com';",
      "select * from customers where id = 7 \\gx",
      "select id, email from customers \\gdesc",
    );
    expect(stderr).toBe("");
    expect(stdout).toContain("id,name,email,phone\n7,Alice Ng 7,a***@example.com,");
    expect(stdout).not.toContain("alice.ng.7@example.com");
    expect(stdout).toContain("Column,Type\nid,bigint\nemail,text\n");
  });

  test("rows copied out are masked and have the columns that were asked for", async () => {
    const { stdout, stderr } = await anna(
      "\\copy (select id, email from customers where id = 7) to stdout csv",
      "copy (select id, email, name from customers where id = 8) to stdout;",
    );
    expect({ stdout, stderr }).toEqual({
      stdout: "7,a***@example.com\n8\th***@example.com\tHana Ash 8\n",
      stderr: "",
    });
  });

  test("a result read in parts (FETCH_COUNT) stops at the limit of one statement", async () => {
    const few = await anna(
      "\\set FETCH_COUNT 10",
      "\\pset format csv",
      "select id from customers where id <= 25 order by id;",
    );
    expect(few).toMatchObject({ stderr: "" });
    expect(few.stdout.trim().split("\n").slice(-25)).toEqual(
      Array.from({ length: 25 }, (_, i) => String(i + 1)),
    );
    const many = await anna("\\set FETCH_COUNT 10", "\\set VERBOSITY verbose", "select id from customers;");
    expect(many.stderr).toContain("ERROR:  54000");
    expect(many.stdout.split("\n").length).toBeLessThan(130);
  });

  test("a dump stops, and \\errverbose names the policy line", async () => {
    const { stdout, stderr } = await anna(
      "\\copy customers to stdout",
      "select * from customers;",
      "\\errverbose",
      "select 'goes on';",
    );
    expect(stderr).toContain("54000");
    expect(stderr).toContain("CONSTRAINT NAME:  roles.agent.rows");
    expect(stdout).toContain("goes on");
  });

  test("a used-up budget says which one, and those read before stay readable", async () => {
    const { stdout, stderr } = await typed(
      helpdesk.uriFor("ben"),
      "\\pset format csv",
      "select id from customers where id between 1 and 5 order by id;",
      "select id from customers where id = 6;",
      "\\errverbose",
      "select name from customers where id = 3;",
    );
    expect(stderr).toContain("53400");
    expect(stderr).toContain("CONSTRAINT NAME:  roles.trainee.budget.1d");
    expect(stdout).toContain("id\n1\n2\n3\n4\n5\n");
    expect(stdout).toContain("Dora Cole 3");
  });

  test.skipIf(noTerminal)("names are completed at the tabulator", async () => {
    expect(await atTerminal(helpdesk.uriFor("anna"), tabulator)).not.toContain("ERROR");
  });

  test.skipIf(noTerminal)("Ctrl-C stops a statement, and the session goes on", () =>
    atTerminal(helpdesk.uriFor("anna"), interrupted),
  );
});
