import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { forget } from "../../proxy/audit/forgotten.ts";
import { auditForget } from "../../proxy/commands/audit-forget.ts";
import { auditSubject } from "../../proxy/commands/audit-subject.ts";
import { auditVerify } from "../../proxy/commands/audit-verify.ts";
import { auditWhoRead } from "../../proxy/commands/audit-who-read.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { entriesOf, makeFolder, NOON, openLog, reading } from "./support.ts";

const SECRET = Buffer.alloc(32, 5);

let base: string;
let folder: string;
let keyFile: string;
let list: string;
let anchors: string;

/** The thief reads 200 people, anna 40, of whom one is on the list. */
beforeEach(async () => {
  base = await makeFolder();
  folder = join(base, "audit");
  keyFile = join(base, "key");
  list = join(base, "leaked.csv");
  anchors = join(base, "anchors.log");
  await writeFile(keyFile, SECRET.toString("hex"), { mode: 0o600 });
  await writeFile(list, `id\n${Array.from({ length: 30 }, (_, i) => 100 + i).join("\n")}\n`);
  const opened = await openLog(folder, { key: deriveKeys(SECRET).audit });
  opened.log.write({
    ...{ kind: "policy loaded", time: NOON, policy: "p1", problems: 0, classes: ["email", "phone"] },
    namespaces: [{ name: "public.customers.id", tables: ["public.customers"] }],
  });
  const read = (user: string, person: number) => {
    const subjects = [opened.log.hashSubject("public.customers.id", String(person))];
    opened.log.write(reading({ user, subjects, people: 1, application: "x\u001b[31mred" }));
  };
  for (let i = 0; i < 200; i++) read("thief", 100 + i);
  for (let i = 0; i < 400; i++) read(`agent${i % 10}`, 1000 + i);
  read("anna", 105);
  for (let i = 0; i < 40; i++) read("anna", 2000 + i);
  await opened.log.close();
  // As pino writes it.
  await writeFile(
    anchors,
    opened.anchors.map((anchor) => `${JSON.stringify({ level: "info", anchor })}\n`).join(""),
  );
});

type Command = (args: readonly string[], streams: { output: Sink; errors: Sink }) => Promise<number>;
interface Sink {
  write(text: string): unknown;
}

async function run(command: Command, ...args: string[]) {
  let [output, errors] = ["", ""];
  const status = await command(args, {
    output: { write: (text) => (output += text) },
    errors: { write: (text) => (errors += text) },
  });
  return { status, output, errors };
}

describe("audit who-read", () => {
  const ask = (...more: string[]) =>
    run(auditWhoRead, "--subjects", list, "--audit", folder, "--key-file", keyFile, ...more);

  test("names the thief first, and how sure that is", async () => {
    const { status, output, errors } = await ask();
    expect(status).toBe(0);
    const lines = output.split("\n");
    expect(lines[0]).toBe("30 leaked people of public.customers.id, 30 of them read by a user in this log");
    expect(lines[4]).toMatch(/^user +leaked +by chance +people read +chance +first +last$/);
    expect(lines[5]).toMatch(/^thief +30 +9\.4 +200 /);
    expect(lines[6]).toMatch(/^anna +1 /);
    // Nobody has been compared with people alike.
    expect(output).toMatch(
      /If one of your users is the source .*\nthief read 30 of the 30 leaked people, which chance gives to no innocent user but with .*e-\d+ %/,
    );
    expect(output).toContain("thief: from 10.0.0.1");
    expect(output).toMatch(/^Not covered:\n {2}- whatever was read before 2026-05-06 12:00Z/m);
    expect(errors).toContain('the first line names the column "id"');
  });

  test("takes its folder with --audit or without, as audit verify does", async () => {
    const asked = ["--subjects", list, "--key-file", keyFile] as const;
    const told = (await ask()).output;
    expect((await run(auditWhoRead, ...asked, folder)).output).toBe(told);
    expect((await run(auditWhoRead, folder, ...asked)).output).toBe(told);
    expect(await run(auditWhoRead, ...asked, "--audit", folder, folder)).toMatchObject({ status: 2 });
    expect(await run(auditWhoRead, ...asked, join(base, "nowhere"))).toMatchObject({ status: 1 });
    const verified = await run(auditVerify, folder, "--key-file", keyFile);
    expect(await run(auditVerify, "--audit", folder, "--key-file", keyFile)).toEqual(verified);
    expect(await run(auditVerify, "--key-file", keyFile)).toMatchObject({ status: 2 });
  });

  test("lists the single events of one user", async () => {
    const { output } = await ask("--user", "anna");
    expect(output.split("\n\n")[0]?.split("\n")).toHaveLength(2);
    expect(output).toMatch(/2026-05-06 12:00Z +anna +10\.0\.0\.1/);
    const mistyped = await ask("--user", "nobody");
    expect(mistyped).toMatchObject({ status: 2, output: "" });
    expect(mistyped.errors).toContain('no reading of a user "nobody"');
  });

  test("no client's text reaches the terminal as it is", async () => {
    expect((await ask()).output).not.toContain("\u001b");
    expect((await ask("--user", "anna")).output).not.toContain("\u001b");
  });

  test("programs get JSON", async () => {
    const { output } = await ask("--json");
    expect(JSON.parse(output)).toMatchObject({
      leaked: 30,
      suspects: [{ user: "thief", leaked: 30 }, { user: "anna" }],
    });
  });

  test("a stretch of time without readings names nobody", async () => {
    expect((await ask("--until", "2026-05-05")).output).toContain("No user in this log read any of them");
    expect((await ask("--since", "2026-05-06", "--until", "2026-05-06")).output).toMatch(/^thief/m);
  });

  test.each([
    [["--since", "yesterday"], 2, '"yesterday" is no time'],
    [["--since", "2026-05-07", "--until", "2026-05-06"], 2, "--since is not before --until"],
    [["--top", "0"], 2, "--top"],
    [["--nonsense"], 2, "--nonsense"],
    [["--subjects", "/nowhere"], 1, '--subjects: "/nowhere" cannot be read: ENOENT'],
    [["--column", "uid"], 1, 'no column "uid"'],
    [["--key-file", "/nowhere"], 1, "cannot be read"],
    [["--audit", "again"], 2, "--audit: more than one folder"],
    [["--table", "public.customer.id"], 2, 'no people of "public.customer.id"; it knows public.customers.id'],
    [["--needs", "fone"], 2, 'no class "fone"; it knows email, phone'],
    [["--like", "region"], 2, "--like: needs --upstream"],
    [["--match", "email"], 2, "--match: needs --upstream"],
  ])("%j is told apart from an answer", async (more, status, message) => {
    const result = await ask(...more);
    expect(result).toMatchObject({ status, output: "" });
    expect(result.errors).toContain(message);
  });
});

describe("an answer that would be a false acquittal is an error:", () => {
  const ask = (audit: string, key: string, subjects: string) =>
    run(auditWhoRead, "--subjects", subjects, "--audit", audit, "--key-file", key);

  test("with another key", async () => {
    const other = join(base, "other");
    await writeFile(other, Buffer.alloc(32, 6).toString("hex"), { mode: 0o600 });
    for (const asked of [
      await ask(folder, other, list),
      await run(auditSubject, "105", "--audit", folder, "--key-file", other),
    ]) {
      expect(asked).toMatchObject({ status: 2, output: "" });
      expect(asked.errors).toContain("no line of this log was written with this key");
    }
  });

  test("of no folder", async () => {
    expect(await ask("/nowhere", keyFile, list)).toMatchObject({ status: 1, output: "" });
  });

  test("of a folder that holds no log, but folders that do", async () => {
    const asked = await ask(base, keyFile, list);
    expect(asked).toMatchObject({ status: 1, output: "" });
    expect(asked.errors).toContain("holds no audit log; audit in it do");
  });

  test("of a list that is no list of ids", async () => {
    const emails = join(base, "emails.csv");
    await writeFile(emails, "email\na@example.com\nb@example.com\n");
    const asked = await ask(folder, keyFile, emails);
    expect(asked).toMatchObject({ status: 2, output: "" });
    expect(asked.errors).toContain("these are email addresses, not ids of public.customers.id");
    expect(asked.errors).not.toContain("@");
  });

  test("and nobody is counted twice who is written in two ways", async () => {
    const twice = join(base, "twice.csv");
    await writeFile(twice, "id\r\n 105\r\n00105 \r\n105\r\n106\r\n");
    const { status, output } = await ask(folder, keyFile, twice);
    expect(status).toBe(0);
    expect(output).toContain("2 leaked people of public.customers.id, 2 of them read");
    expect(output).toContain("1 is on the list twice and counts once");
  });

  test("of a table that the policy names, and whose people the log names elsewhere", async () => {
    const opened = await openLog(folder, { key: deriveKeys(SECRET).audit });
    opened.log.write({
      ...{ kind: "policy loaded", time: NOON, policy: "p0", problems: 0, classes: ["email"] },
      namespaces: [{ name: "public.payments.customer_id", tables: ["public.payments"] }],
    });
    const subjects = [opened.log.hashSubject("public.customers.id", "105")];
    opened.log.write(reading({ user: "ben", subjects, people: 1, namespaces: ["public.customers.id"] }));
    await opened.log.close();
    const of = (command: Command, ...args: string[]) =>
      run(
        command,
        ...args,
        "--audit",
        folder,
        "--key-file",
        keyFile,
        "--table",
        "public.payments.customer_id",
      );
    for (const asked of [await of(auditWhoRead, "--subjects", list), await of(auditSubject, "105")]) {
      expect(asked).toMatchObject({ status: 2, output: "" });
      expect(asked.errors).toContain("whoever was read is of public.customers.id");
    }
  });

  test("where the log knows several name spaces, and none is given", async () => {
    const opened = await openLog(folder, { key: deriveKeys(SECRET).audit });
    for (const name of ["public.customers.id", "public.staff.id"])
      opened.log.write(reading({ people: 1, subjects: ["x"], namespaces: [name] }));
    await opened.log.close();
    const asked = await ask(folder, keyFile, list);
    expect(asked.status).toBe(2);
    expect(asked.errors).toContain("this log knows people of public.customers.id, public.staff.id");
  });

  test("and every answer says who read without being named", async () => {
    const opened = await openLog(folder, { key: deriveKeys(SECRET).audit });
    opened.log.write(reading({ user: "helpdesk_app", masked: [], rows: 90_000, decision: "allow" }));
    opened.log.write(reading({ user: "ben", rows: 0, sqlstate: "22P02" }));
    await opened.log.close();
    const { output } = await ask(folder, keyFile, list);
    expect(output).toContain("helpdesk_app (1 statement, 90000 rows)");
    expect(output).toContain("errors may have shown a row: ben (1 statement)");
  });
});

describe("a question to the log", () => {
  const questions = async () =>
    (await entriesOf(folder))
      .filter(({ unmapped }) => unmapped.kind === "question")
      .map(({ actor, unmapped }) => ({
        by: actor?.user?.name,
        ...unmapped,
      }));

  test("is an event of it, with who asked and about how many, never whom", async () => {
    const as = ["--audit", folder, "--key-file", keyFile, "--by", "officer"];
    await run(auditWhoRead, "--subjects", list, ...as, "--since", "2026-05-01");
    await run(auditSubject, "105", ...as, "--user", "anna");
    expect(await questions()).toEqual([
      { by: "officer", kind: "question", question: "who-read", people: 30, since: Date.UTC(2026, 4, 1) },
      { by: "officer", kind: "question", question: "subject", people: 1, user: "anna" },
    ]);
    expect((await run(auditVerify, folder, "--key-file", keyFile)).status).toBe(0);
  });

  test("is not answered where it cannot be put on record", async () => {
    const asked = await run(
      auditSubject,
      "105",
      ...["--audit", folder, "--key-file", keyFile, "--record", "/dev/null/log"],
    );
    expect(asked).toMatchObject({ status: 2, output: "" });
    expect(asked.errors).toContain("cannot be put on record");
  });
});

describe("audit subject", () => {
  test("says who read a person, and nothing else", async () => {
    const { status, output } = await run(auditSubject, "105", "--audit", folder, "--key-file", keyFile);
    expect(status).toBe(0);
    expect(output.match(/thief|anna|agent\d/g)).toEqual(["thief", "anna"]);
  });

  test("ends with what it does not cover, like the events of one user", async () => {
    const opened = await openLog(folder, { key: deriveKeys(SECRET).audit });
    opened.log.write(reading({ user: "helpdesk_app", rows: 3, people: 0 }));
    await opened.log.close();
    const log = ["--audit", folder, "--key-file", keyFile];
    const nobody = await run(auditSubject, "99999", ...log);
    expect(nobody.output).toMatch(
      /^No event names them as people of public\.customers\.id\.\n\nNot covered:\n/,
    );
    expect(nobody.output).toContain("helpdesk_app (1 statement, 3 rows)");
    const events = await run(auditWhoRead, "--subjects", list, "--user", "anna", ...log);
    expect(events.output).toMatch(/anna[\s\S]*\n\nNot covered:\n[\s\S]*helpdesk_app/);
    expect(JSON.parse((await run(auditSubject, "105", "--json", ...log)).output)).toMatchObject({
      events: [{ user: "thief" }, { user: "anna" }],
      notCovered: { unnamed: [{ user: "helpdesk_app" }] },
    });
  });

  test("takes an id, and no address; and nobody's name that the log does not know", async () => {
    const of = (...args: string[]) => run(auditSubject, ...args, "--audit", folder, "--key-file", keyFile);
    expect((await of("a@example.com")).errors).toContain("one of email addresses, not an id");
    expect((await of("105", "--user", "theif")).errors).toContain('no reading of a user "theif"');
    expect((await of(" 105 ")).output).toBe((await of("105")).output);
  });

  test("needs the key and an id", async () => {
    expect(await run(auditSubject, "--audit", folder, "--key-file", keyFile)).toMatchObject({ status: 2 });
    const without = await run(auditSubject, "105", "--audit", folder);
    expect(without.errors).toContain("--key-file: missing");
  });
});

describe("audit verify", () => {
  test("says that nothing is wrong, from the secret or from the key beside the log", async () => {
    const { status, output, errors } = await run(
      auditVerify,
      folder,
      "--key-file",
      keyFile,
      "--anchors",
      anchors,
    );
    expect({ status, errors }).toEqual({ status: 0, errors: "" });
    expect(output).toMatch(/: ok: 644 lines in 1 segments, all closed and signed; \d anchors agree\n$/);
    const beside = await run(auditVerify, folder);
    expect(beside.status).toBe(0);
    expect(beside.errors).toContain("no key was given; those in the folder are trusted");
    expect(beside.errors).toContain("a cut tail does not show");
  });

  test("with another key it trusts no signature", async () => {
    const other = join(base, "other");
    await writeFile(other, Buffer.alloc(32, 6).toString("hex"), { mode: 0o600 });
    const { status, output } = await run(auditVerify, folder, "--key-file", other);
    expect(status).toBe(1);
    expect(output).toContain("is of an unknown key");
  });

  test("an empty folder is no verified log", async () => {
    expect(await run(auditVerify, base)).toMatchObject({ status: 1 });
    expect(await run(auditVerify)).toMatchObject({ status: 2 });
    expect(await run(auditVerify, "/nowhere")).toMatchObject({ status: 1 });
    expect(await run(auditVerify, folder, "--redis-ca", "ca.pem")).toMatchObject({
      status: 2,
      errors: expect.stringContaining("needs a --redis that begins with rediss"),
    });
  });
});

describe("audit forget", () => {
  const subject = (id: string) => run(auditSubject, id, "--audit", folder, "--key-file", keyFile);

  test("nobody finds a forgotten person any more; that it was done is on record, the chain is whole", async () => {
    expect((await subject("105")).output).toContain("thief");
    const done = await run(auditForget, "105", "--audit", folder, "--key-file", keyFile, "--by", "dpo");
    expect(done).toEqual({ status: 0, output: "1 forgotten.\n", errors: "" });
    const after = await subject("105");
    expect(after.output).toMatch(/^No event names them/);
    expect(after.errors).toContain("forgotten");
    expect((await subject("106")).output).toContain("thief");
    const leak = await run(
      auditWhoRead,
      "--subjects",
      list,
      "--audit",
      folder,
      "--key-file",
      keyFile,
      "--json",
    );
    expect(JSON.parse(leak.output)).toMatchObject({ leaked: 29, suspects: [{ user: "thief", leaked: 29 }] });
    const entry = (await entriesOf(folder)).find(({ unmapped }) => unmapped.kind === "people forgotten");
    expect(entry).toMatchObject({ actor: { user: { name: "dpo" } }, unmapped: { people: 1 } });
    expect((await run(auditVerify, folder, "--key-file", keyFile)).status).toBe(0);
  });

  test("takes ids of people whom the log may know, and nothing else", async () => {
    const forget = (...args: string[]) => run(auditForget, ...args, "--audit", folder, "--key-file", keyFile);
    const mistyped = await forget("107", "--table", "public.customer.id");
    expect(mistyped).toMatchObject({ status: 2, output: "" });
    expect(mistyped.errors).toContain('knows no people of "public.customer.id"');
    expect((await forget("a@example.com")).errors).toContain("email addresses, not ids");
  });

  test("a thief who can write the folder but has no key cannot hide whose data they took", async () => {
    const other = join(base, "other");
    await writeFile(other, Buffer.alloc(32, 9).toString("hex"), { mode: 0o600 });
    const hash = auditKeys(deriveKeys(SECRET).audit).hashSubject("public.customers.id", "105");
    const forger = auditKeys(deriveKeys(Buffer.alloc(32, 9)).audit);
    await forget(folder, forger, [hash], 1);
    await appendFile(join(folder, "forgotten.jsonl"), `{"hash":"${hash}"}\nnonsense\n`);
    const asked = await subject("105");
    expect(asked.output).toContain("thief");
    expect(asked.errors).toContain("3 lines");
  });

  test("with a changed secret people are forgotten under both keys, and found under both before", async () => {
    const NEW = Buffer.alloc(32, 6);
    const newKey = join(base, "new");
    await writeFile(newKey, NEW.toString("hex"), { mode: 0o600 });
    const opened = await openLog(folder, { key: deriveKeys(NEW).audit });
    opened.log.write(
      reading({ user: "ben", subjects: [opened.log.hashSubject("public.customers.id", "105")], people: 1 }),
    );
    await opened.log.close();
    const both = ["--audit", folder, "--key-file", newKey, "--key-file", keyFile];
    expect((await run(auditSubject, "105", ...both)).output).toMatch(/thief[\s\S]*ben/);
    expect((await subject("105")).output).not.toContain("ben");
    const keys = ["--key-file", newKey, "--key-file", keyFile];
    expect((await run(auditVerify, folder, ...keys)).status).toBe(0);
    expect((await run(auditVerify, folder, "--key-file", newKey)).status).toBe(1);
    expect((await run(auditForget, "105", ...both)).status).toBe(0);
    expect((await run(auditSubject, "105", ...both)).output).toMatch(/^No event names them/);
  });
});
