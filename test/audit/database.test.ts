import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { auditBreach } from "../../proxy/commands/audit-breach.ts";
import { auditReadBy } from "../../proxy/commands/audit-read-by.ts";
import { auditWhoRead } from "../../proxy/commands/audit-who-read.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { freshDatabase, type TestDatabase } from "../harness/postgres.ts";
import { entriesOf, login, makeFolder, NOON, openLog, reading } from "./support.ts";

const SECRET = Buffer.alloc(32, 5);
const NAMESPACE = "public.customers.id";
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
  await database.query(
    `CREATE TABLE customers (id bigint PRIMARY KEY, email text, phone text, region text, plan text);
     INSERT INTO customers SELECT i, 'c' || i || '@example.com', '+49 30 ' || lpad(i::text, 7, '0'),
       CASE WHEN i <= 4000 THEN 'eu' ELSE 'us' END, NULL FROM generate_series(1, 12000) i;
     UPDATE customers SET phone = (SELECT phone FROM customers WHERE id = 11) WHERE id = 12`,
  );
});
afterAll(() => database?.drop());

interface Case {
  readonly folder: string;
  readonly keyFile: string;
  readonly base: string;
}

/** Twenty agents read 60 people of the region eu each; the thief takes 200 of it beside. */
async function makeCase(): Promise<Case> {
  const base = await makeFolder();
  const [folder, keyFile] = [join(base, "audit"), join(base, "key")];
  await writeFile(keyFile, SECRET.toString("hex"), { mode: 0o600 });
  const { log } = await openLog(folder, { key: deriveKeys(SECRET).audit });
  log.write({
    ...{ kind: "policy loaded", time: NOON, policy: "p", problems: 0, classes: ["email", "phone"] },
    namespaces: [{ name: NAMESPACE, tables: ["public.customers"] }],
  });
  const read = (
    user: string,
    people: readonly number[],
    shown: readonly string[],
    unexplained: string,
    time = NOON,
  ) =>
    log.write(
      reading({
        ...{ user, time, people: people.length, unexplained, namespaces: [NAMESPACE] },
        masked: shown.includes("phone") ? [] : ["phone"],
        revealed: { shown, shownWhere: [], found: [] },
        subjects: people.map((person) => log.hashSubject(NAMESPACE, String(person))),
      }),
    );
  for (const agent of range(0, 20))
    for (const i of range(0, 60)) read(`agent${agent}`, [1 + ((agent * 61 + i * 37) % 4000)], ["email"], "0");
  for (const i of range(0, 20))
    read("thief", range(101 + 10 * i, 111 + 10 * i), ["phone"], "1111111110", NOON + i * 60_000);
  // Gone from the database since.
  read("thief", [99_999], ["phone"], "1");
  read("thief", [7], [], "0");
  const about = { user: "thief", time: NOON + 30 * 60_000 };
  log.write({
    ...{ kind: "alert", id: "a", rule: "dump", action: "alert", role: "agent", text: "too much", ...about },
    ...{ database: "support", client: "10.0.0.1" },
  });
  // Each of two processes learns of it.
  for (const time of [31, 31.2])
    log.write({
      ...{ kind: "suspension", ...about, time: NOON + time * 60_000, by: "officer", why: "stole" },
      ordered: NOON,
    });
  log.write(login("s9", { user: "idle" }));
  await log.close();
  return { base, folder, keyFile };
}

async function run(command: typeof auditReadBy, { folder, keyFile }: Case, ...args: string[]) {
  let [output, errors] = ["", ""];
  const status = await command([...args, "--audit", folder, "--key-file", keyFile], {
    output: { write: (text) => (output += text) },
    errors: { write: (text) => (errors += text) },
  });
  return { status, output, errors };
}

describe("audit read-by", () => {
  test("says whom a user read: who they are, when, what of them, and without which reason", async () => {
    const one = await makeCase();
    const { status, output, errors } = await run(auditReadBy, one, "thief", "--upstream", database.uri);
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output).toContain(
      `thief read 202 people of ${NAMESPACE}, from 2026-05-06 12:00Z to 2026-05-06 12:19Z`,
    );
    expect(output).toContain("in the clear, or looked up by: phone of 201");
    expect(output).toContain("of 1 nothing that has a class was shown in the clear");
    expect(output).toContain("21 with a reason");
    expect(output).toContain("181 without a reason");
    expect(output).toContain("1 of them were not found among the ids");
    expect(output).toContain("Not covered:");
  });

  test("gives exactly these people to programs and spreadsheets", async () => {
    const one = await makeCase();
    const json = await run(auditReadBy, one, "thief", "--upstream", database.uri, "--json");
    const { people } = JSON.parse(json.output) as {
      people: readonly { id: string | null; reason: string }[];
    };
    const ids = people.flatMap(({ id }) => (id === null ? [] : [Number(id)]));
    expect(ids.toSorted((a, b) => a - b)).toEqual([7, ...range(101, 301)]);
    const csv = await run(auditReadBy, one, "thief", "--upstream", database.uri, "--csv", "--unexplained");
    const lines = csv.output.trimEnd().split("\r\n");
    expect(lines[0]).toBe("id,hash,first,last,statements,in_the_clear,reason");
    expect(lines).toHaveLength(1 + 181);
    expect(lines).toContainEqual(
      expect.stringMatching(
        /^101,[\w-]{22},2026-05-06T12:00:00.000Z,2026-05-06T12:00:00.000Z,1,phone,without$/,
      ),
    );
  });

  test("can look for the ids of a list, and for those of one class", async () => {
    const one = await makeCase();
    const list = join(one.base, "ids.csv");
    await writeFile(list, "id\n7\n101\n4000\n");
    const answer = await run(auditReadBy, one, "thief", "--candidates", list, "--json", "--needs", "phone");
    const { people } = JSON.parse(answer.output) as { people: readonly { id: string | null }[] };
    expect(people.flatMap(({ id }) => id ?? [])).toEqual(["101"]);
  });

  test("of a user whom the log does not know it says so, and not that they read nobody", async () => {
    const one = await makeCase();
    const answer = await run(auditReadBy, one, "thif");
    expect(answer).toMatchObject({ status: 1, output: "" });
    expect(answer.errors).toContain('no statement of a user "thif"');
  });

  test("is on record, with the user who was asked about", async () => {
    const one = await makeCase();
    await run(auditReadBy, one, "thief", "--by", "officer");
    const [question] = (await entriesOf(one.folder)).filter(({ unmapped }) => unmapped.kind === "question");
    expect(question).toMatchObject({
      actor: { user: { name: "officer" } },
      unmapped: { question: "read-by", user: "thief" },
    });
  });
});

describe("audit breach", () => {
  const breach = (one: Case, ...more: string[]) =>
    run(auditBreach, one, "--out", join(one.base, "case"), "--upstream", database.uri, ...more);
  const fileOf = (one: Case, name: string) => readFile(join(one.base, "case", name), "utf8");

  test("writes the figures for the authority, and the list of those to tell", async () => {
    const one = await makeCase();
    const answer = await breach(one, "--user", "thief", "--group", "region", "--aware", "2026-05-07T08:00Z");
    expect(answer).toMatchObject({ status: 0, errors: "" });
    expect(answer.output).toBe(await fileOf(one, "breach.md"));
    expect(answer.output).toContain("the notification is due 2026-05-10 08:00Z (Art. 33(1))");
    expect(answer.output).toContain("**202 people** of public.customers.id and **202 readings**");
    expect(answer.output).toContain("| phone | 201 | 201 |");
    expect(answer.output).toContain("| eu | 201 | 201 |");
    expect(answer.output).toContain("- 181 people read without any reason");
    expect(answer.output).toContain("- 21 read with a reason only");
    expect(answer.output).toContain("- 2026-05-06 12:30Z alert by sluice: thief: dump: too much");
    expect(answer.output).toContain("- 2026-05-06 12:31Z suspension by officer: thief: stole");
    const people = (await fileOf(one, "people.csv")).trimEnd().split("\r\n");
    expect(people).toHaveLength(1 + 202);
    expect(people).toContainEqual(expect.stringMatching(/^101,[\w-]{22},eu,thief,.*,1,phone,without$/));
    expect((await stat(join(one.base, "case", "people.csv"))).mode & 0o077).toBe(0);
    await breach(one, "--user", "thief", "--by", "olga");
    const later = await breach(one, "--user", "thief", "--by", "ben");
    // What people looked at is one line among what was done.
    expect(later.output.match(/^- .* questions? .*$/gm)).toEqual([
      expect.stringMatching(/^- \S+ \S+Z to \S+ \S+Z \d questions to the log by (\S+, )?olga$/),
    ]);
  });

  test("says what has changed since it was last run, and keeps what was", async () => {
    const one = await makeCase();
    await breach(one, "--user", "thief");
    const again = await breach(one, "--user", "thief", "--user", "agent3");
    expect(again.output).toContain("- users: thief before, thief, agent3 now");
    expect(again.output).toMatch(/^- people: 202 before, 2\d\d now$/m);
    const kept = (await readdir(join(one.base, "case"))).filter((name) => /-\d{8}T\d{6}Z\./.test(name));
    expect(kept).toHaveLength(3);
    const same = await breach(one, "--user", "thief", "--user", "agent3");
    // The questions themselves are measures.
    expect(same.output).toMatch(
      /## Changed since [^\n]*\n\n(- measures: \d+ before, \d+ now|Nothing\.)\n\n## Nature/,
    );
  });

  test.each([
    [["--user", "thif"], 1, 'no statement of a user "thif"'],
    [["--user", "thief", "--user", "thief"], 2, "one is named twice"],
    [["--user", "thief", "--group", "country"], 1, 'has no column "country"'],
    [[], 2, "--user: missing"],
  ])("%j is told apart from a breach of nobody", async (flags, status, problem) => {
    const answer = await breach(await makeCase(), ...flags);
    expect(answer).toMatchObject({ status, output: "" });
    expect(answer.errors).toContain(problem);
  });
});

describe("audit who-read, with the database,", () => {
  const ask = async (one: Case, list: string, ...more: string[]) => {
    const file = join(one.base, "leaked.csv");
    await writeFile(file, list);
    return run(auditWhoRead, one, "--subjects", file, "--upstream", database.uri, ...more);
  };

  test("names the thief against people alike", async () => {
    const one = await makeCase();
    const { status, output } = await ask(one, range(105, 125).join("\n"), "--like", "region,plan");
    expect(status).toBe(0);
    expect(output).toContain("compared with 3980 people who are the same in region, plan");
    expect(output).toMatch(/^thief read 20 of the 20 leaked people, which chance gives to no innocent user/m);
    expect(output).not.toContain("If one of your users is the source");
  });

  test("finds victims by what was sold: email addresses, and telephone numbers however they are written", async () => {
    const one = await makeCase();
    const emails = range(105, 125).map((i) => `C${i}@Example.com`);
    const byEmail = await ask(
      one,
      ["email", ...emails, "x@example.com"].join("\n"),
      "--match",
      "email",
      "--like",
      "region",
    );
    expect(byEmail.output).toContain("1 of 21 match no one in the table");
    expect(byEmail.output).toMatch(/^thief read 20 of the 20/m);
    const phones = [...range(105, 125), 11].map((i) => `004930${String(i).padStart(7, "0")}`.slice(2));
    const byPhone = await ask(
      one,
      phones.join("\n"),
      "--match",
      "phone",
      "--like",
      "none",
      "--needs",
      "phone",
    );
    expect(byPhone.output).toContain("1 of 21 belong to several people each");
    expect(byPhone.output).toMatch(/^thief read 20 of the 20/m);
  });

  test("counts what was read before the call", async () => {
    const one = await makeCase();
    const calls = (day: string) => ["id,called", ...range(105, 125).map((i) => `${i},${day}`)].join("\n");
    const flags = ["--column", "id", "--called", "called", "--like", "region"];
    expect((await ask(one, calls("2026-05-06"), ...flags)).output).toMatch(/^thief read 20 of the 20/m);
    const before = await ask(one, calls("2026-05-05"), ...flags);
    expect(before.output).toContain("No user in this log read any of them");
  });

  test.each([
    [["--like", "country"], "a@example.com", "these are email addresses, not ids"],
    [["--like", "country"], "7", 'has no column "country"'],
    [["--like", "region"], "cust-7", "the list holds what cannot be an id: public.customers.id is bigint"],
    [["--match", "email"], "nobody@example.com", "the table has none of these"],
    [["--table", "public.clients.id"], "7", 'no people of "public.clients.id"'],
  ])("%j is told apart from an answer", async (flags, list, problem) => {
    const answer = await ask(await makeCase(), list, ...flags);
    expect(answer.status).not.toBe(0);
    expect(answer.output).toBe("");
    expect(answer.errors).toContain(problem);
    expect(answer.errors).not.toMatch(/example\.com|cust-7/);
  });
});
