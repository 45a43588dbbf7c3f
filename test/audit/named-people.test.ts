import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect, onTestFinished, test, vi } from "vitest";
import { auditSubject } from "../../proxy/commands/audit-subject.ts";
import { freshDatabase, PASSWORDS, supportSchema } from "../harness/postgres.ts";
import { startSluice } from "../harness/sluice.ts";
import { entriesOf } from "./support.ts";

/** Tickets belong to customers by a foreign key of the database; the policy names the column alone. */
const POLICY = `version: 1
classes: { name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { name: name } }
  public.tickets: { subject: customer_id }
  public.notes: { subject: customer_id }
roles:
  agent: { users: [anna], reads: all, sees: [name], budget: { 1d: 100 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

test("where people are named follows the database's foreign keys, also those that come later, and answers say who may have read them there", async () => {
  const database = await freshDatabase("named_people");
  onTestFinished(() => database.drop());
  await supportSchema(database.uri);
  const admin = new pg.Client({ connectionString: database.uri });
  await admin.connect();
  onTestFinished(() => admin.end());
  await admin.query(`CREATE TABLE notes (id bigint PRIMARY KEY, customer_id bigint NOT NULL, note text);
    INSERT INTO notes VALUES (1, 7, 'x'); GRANT SELECT ON notes TO anna, helpdesk_app`);
  const folder = await mkdtemp(join(tmpdir(), "sluice-named-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const secret = "7".repeat(64);
  await writeFile(join(folder, "key"), secret, { mode: 0o600 });
  const sluice = await startSluice({
    ...{ policy: POLICY, upstream: database.uri, variables: { SLUICE_KEY: secret } },
  });
  onTestFinished(() => sluice.close());
  const connect = async (user: "anna" | "helpdesk_app") => {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    await client.connect();
    onTestFinished(() => client.end());
    return client;
  };
  const told = async () =>
    (await entriesOf(sluice.auditFolder))
      .filter(({ unmapped }) => unmapped.namespaces !== undefined)
      .map(({ unmapped }) => [unmapped.kind, unmapped.namespaces]);
  const customers = (...more: string[]) => ({
    name: "public.customers.id",
    tables: ["public.customers", "public.tickets", ...more],
  });
  const apart = { name: "public.notes.customer_id", tables: ["public.notes"] };
  await vi.waitFor(async () => expect(await told()).toEqual([["policy loaded", [customers(), apart]]]));

  const [anna, app] = [await connect("anna"), await connect("helpdesk_app")];
  await anna.query("SELECT name FROM customers WHERE id = 7");
  await app.query("SELECT subject FROM tickets WHERE customer_id = 7");
  const ask = async (...args: string[]) => {
    const said: string[] = [];
    const stream = { write: (text: string) => said.push(text) };
    const log = ["--audit", sluice.auditFolder, "--key-file", join(folder, "key")];
    const status = await auditSubject(["7", ...args, ...log], { output: stream, errors: stream });
    return `${status}: ${said.join("")}`;
  };
  await vi.waitFor(async () =>
    expect(await ask()).toMatch(/^0: [\s\S]*anna[\s\S]*Not covered:[\s\S]*helpdesk_app/),
  );
  expect(await ask("--table", "public.tickets.customer_id")).toMatch(/^2: .*knows no people of/);

  await admin.query("ALTER TABLE notes ADD FOREIGN KEY (customer_id) REFERENCES customers");
  // A statement that the new key concerns has the catalog read again.
  await vi.waitFor(
    async () => {
      await anna.query("SELECT id FROM notes WHERE customer_id = 7");
      expect(await told()).toContainEqual(["catalog read", [customers("public.notes")]]);
    },
    { timeout: 20_000, interval: 200 },
  );
});
