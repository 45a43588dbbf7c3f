import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queryMessage } from "../../proxy/wire/frontend-messages.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { RawClient } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY, CANARY_SETUP, showsCanary } from "./canary.ts";
import { ATTACK_POLICY } from "./worlds.ts";

/** What the server says beside rows: errors, notices, parameters, and what a session begins with. */

const SETUP = `
  ${CANARY_SETUP}
  CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$
  DECLARE one public.customers;
  BEGIN
    SELECT * INTO one FROM public.customers WHERE id = 7;
    IF NEW.status = 'detail' THEN
      RAISE EXCEPTION 'no' USING DETAIL = one.email;
    ELSIF NEW.status = 'notice' THEN
      RAISE NOTICE 'done with "%"', one.name USING DETAIL = one.email;
    ELSIF NEW.status = 'quoted' THEN
      RAISE EXCEPTION 'the customer "%" may not', one.email;
    ELSIF NEW.status = 'fields' THEN
      RAISE EXCEPTION 'no' USING HINT = one.email, TABLE = one.email, COLUMN = one.email, SCHEMA = one.email,
        DATATYPE = one.email, CONSTRAINT = one.email;
    ELSIF NEW.status = 'notice fields' THEN
      RAISE NOTICE 'no' USING HINT = one.email, COLUMN = one.email, CONSTRAINT = one.email;
    ELSIF NEW.status = 'bare' THEN
      RAISE EXCEPTION 'the customer % may not', one.email USING ERRCODE = '23505', TABLE = 'tickets';
    ELSIF NEW.status = 'notice bare' THEN
      RAISE NOTICE 'the customer % came', one.email;
    ELSIF NEW.status = 'cast' THEN
      PERFORM one.email::int;
    ELSIF NEW.status = 'dynamic' THEN
      EXECUTE 'SELECT nothing FROM "' || one.email || '"';
    ELSIF NEW.status = 'context' THEN
      EXECUTE format('SELECT 1/0 /* %s */', one.email);
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER tell BEFORE UPDATE ON public.tickets FOR EACH ROW EXECUTE FUNCTION public.tell();
  ALTER TABLE public.tickets ADD CONSTRAINT short CHECK (length(status) < 20);
  CREATE FUNCTION public.picky(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN IF $1 LIKE '%-s7' THEN RAISE EXCEPTION 'not "%"', $1; END IF; RETURN true; END $$;
  ALTER TABLE public.tickets ADD CONSTRAINT picky CHECK (region <> 'nowhere' OR public.picky(subject)) NOT VALID;
  GRANT UPDATE ON public.tickets TO cleo;
`;

describe.each([
  { version: "npm" as const, server: "the npm package's newest" },
  { version: "debian" as const, server: "Debian's 15" },
])("on $server server", ({ version }) => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld(version, { policy: ATTACK_POLICY });
    await world.database.query(SETUP);
  });
  afterAll(() => world?.close());

  async function begin(settings: readonly (readonly [string, string])[]) {
    const client = await RawClient.connect(world.sluice.port);
    client.send(
      startupMessage(new Map([["user", "cleo"], ["database", world.database.database], ...settings])),
    );
    return client;
  }

  async function says(sql: string): Promise<Buffer> {
    const client = await begin([]);
    await client.until("Z");
    const texts = ["BEGIN", sql, "ROLLBACK"];
    client.send(...texts.map((text) => queryMessage(Buffer.from(text))));
    const bytes: Buffer[] = [];
    for (const _ of texts) bytes.push(...(await client.until("Z")).map((message) => message.bytes));
    const answer = Buffer.concat(bytes);
    client.socket.destroy();
    return answer;
  }

  test.each([
    "UPDATE tickets SET status = 'detail' WHERE id = 7",
    "UPDATE tickets SET status = 'notice' WHERE id = 7",
    "UPDATE tickets SET status = 'quoted' WHERE id = 7",
    "UPDATE tickets SET status = 'fields' WHERE id = 7",
    "UPDATE tickets SET status = 'notice fields' WHERE id = 7",
    "UPDATE tickets SET status = 'bare' WHERE id = 7",
    "UPDATE tickets SET status = 'notice bare' WHERE id = 7",
    "UPDATE tickets SET status = 'cast' WHERE id = 7",
    "UPDATE tickets SET status = 'dynamic' WHERE id = 7",
    "UPDATE tickets SET status = 'context' WHERE id = 7",
    "UPDATE tickets SET status = 'a status that is much too long' WHERE id = 7",
    "UPDATE tickets SET region = 'nowhere' WHERE id = 7",
    "UPDATE tickets SET id = 8 WHERE id = 7",
    "UPDATE tickets SET region = NULL WHERE id = 7",
    "UPDATE tickets SET customer_id = 0 WHERE id = 7",
  ])("no error or notice carries a value: %s", async (sql) => {
    const direct = await world.database.query(`BEGIN; ${sql}`).then(
      () => "passed",
      (error: Error) => JSON.stringify({ ...error, message: error.message }),
    );
    await world.database.query("ROLLBACK");
    // That there is something to be told is seen by who is told all; of a notice node-postgres keeps none.
    if (!sql.includes("notice") && !sql.includes("customer_id") && !sql.includes("id = 8"))
      expect(direct).toContain(CANARY);
    const answer = await says(sql);
    expect(["E", "N"].some((type) => answer.includes(type))).toBe(true);
    expect(showsCanary(answer) ? answer.toString("latin1") : "nothing").toBe("nothing");
  });

  test.each(["SJIS", "GBK", "BIG5", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004", "LATIN1", "EUC_JP"])(
    "a session does not begin in %s, where the server might read another text than Sluice",
    async (encoding) => {
      const client = await begin([["client_encoding", encoding]]);
      expect((await client.farewell()).get("M")).toContain("client_encoding");
    },
  );

  test.each([
    ["options", "-c role=helpdesk_app"],
    ["options", "-c session_authorization=helpdesk_app"],
    ["options", "--session_replication_role=replica"],
    ["options", "-c standard_conforming_strings=off"],
    ["role", "helpdesk_app"],
    ["replication", "database"],
  ])("nor with %s %s", async (name, value) => {
    const client = await begin([[name, value]]);
    const messages = await client.until("Z").catch(async () => "closed" as const);
    if (messages === "closed") return;
    // Where it begins, the setting has not been taken over.
    client.send(
      queryMessage(
        Buffer.from(
          "SELECT current_user || current_setting('standard_conforming_strings') || current_setting('session_replication_role')",
        ),
      ),
    );
    const answer = (await client.until("Z")).find(({ type }) => type === "D")?.bytes.toString() ?? "";
    expect(answer).toContain("cleoonorigin");
    client.socket.destroy();
  });

  test("what the server writes into its log is not told, though a client asks for it", async () => {
    const set = (to: string) => world.database.query(`ALTER DATABASE ${world.database.database} ${to}`);
    await set("SET log_min_duration_statement = 0");
    const client = await world.sluice.connect("cleo");
    const told: string[] = [];
    client.on("notice", ({ severity, message }) => told.push(`${severity} ${message}`));
    for (const level of ["log", "debug5"]) {
      await client.query(`SET client_min_messages = ${level}`);
      await client.query("SELECT id FROM customers WHERE id = $1", [7]);
      await client.query("SELECT 1");
    }
    await client.query("ROLLBACK");
    expect(told).toEqual(["WARNING there is no transaction in progress"]);
    await client.end();
    await set("RESET log_min_duration_statement");
  });
});
