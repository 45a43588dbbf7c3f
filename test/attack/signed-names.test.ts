import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { createLocalJWKSet, exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { Claims } from "../../proxy/session/person/claims.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "../session/world.ts";

/*
 * Whoever can inject SQL into an application whose people are named by signed claims: they may take a name away, and must
 * never have somebody else charged, or be shown people for whom nobody pays.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 100000 }
    people_behind: [{ setting: app.token }, { comment: token }]
    signed_by: { jwks: keys.json, issuer: desk }
    unnamed: refuse
  named:
    users: [ben]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 100000 }
    role_budget: { 1h: 30 }
    people_behind: [{ setting: app.agent }]
    unnamed: refuse
`;

let world: World;
let sluice: TestProxy;
let client: pg.Client;
let now = Date.now();
let pair: Awaited<ReturnType<typeof keyPair>>;
let second: Awaited<ReturnType<typeof keyPair>>;
let foreign: Awaited<ReturnType<typeof keyPair>>;

const keyPair = (alg: string) => generateKeyPair(alg, { extractable: true });

beforeAll(async () => {
  [pair, second, foreign] = [await keyPair("RS256"), await keyPair("RS256"), await keyPair("RS256")];
  const keys = createLocalJWKSet({
    keys: [
      { ...(await exportJWK(pair.publicKey)), kid: "one", alg: "RS256" },
      { ...(await exportJWK(second.publicKey)), kid: "two", alg: "RS256" },
    ],
  });
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, ben;
    CREATE FUNCTION public.takes(token text) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.token', token, false); END $$;
  `);
  const claims = new Claims({ keyOf: () => keys, now: () => now, onRejected: () => {} });
  sluice = await startProxy(world.database, { policy: POLICY, claims });
  client = await sluice.connect("helpdesk_app");
});
afterAll(async () => {
  await client?.end();
  await sluice?.close();
  await world?.close();
});

const seconds = () => Math.floor(now / 1000);

function signed(payload: JWTPayload, header: object = {}, key = pair.privateKey): Promise<string> {
  const { exp = seconds() + 60, iss = "desk", sub = "anna", ...rest } = payload;
  return new SignJWT({ exp, iss, sub, ...rest })
    .setProtectedHeader({ alg: "RS256", kid: "one", ...header })
    .sign(key);
}

/** A token of parts that no library would write. */
function raw(header: unknown, payload: unknown, signature = ""): string {
  const part = (value: unknown) =>
    Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
  return `${part(header)}.${part(payload)}.${signature}`;
}

const claim = () => ({ sub: "victim", iss: "desk", exp: seconds() + 60 });

/** Whether anybody is named for whom this is read. */
async function isShown(on: pg.Client, sql: string): Promise<boolean> {
  try {
    await on.query(sql);
    return true;
  } catch (error) {
    if ((error as pg.DatabaseError).constraint === "roles.app.unnamed") return false;
    throw error;
  }
}

async function readerOf(on: pg.Client, sql: string): Promise<string> {
  const before = sluice.events.length;
  if (!(await isShown(on, sql))) return "nobody";
  const isReading = (event: object): event is StatementEvent =>
    "statement" in event && String(event.statement).includes("email");
  await expect.poll(() => sluice.events.slice(before).filter(isReading).length).toBeGreaterThan(0);
  return sluice.events.slice(before).filter(isReading)[0]?.user ?? "nobody";
}

const READ = "select email from customers where id = 1";

/** Whether anybody is named once anna's own token has been replaced by this. */
async function isNamedBy(token: string): Promise<boolean> {
  await client.query("select set_config('app.token', $1, false)", [await signed({})]);
  expect(await isShown(client, READ)).toBe(true);
  await client.query("select set_config('app.token', $1, false)", [token]);
  return isShown(client, READ);
}

test("no algorithm, no key and no header of the attacker's choice verifies anything", async () => {
  const spki = await exportSPKI(pair.publicKey);
  const jwk = await exportJWK(pair.publicKey);
  const own = await exportJWK(foreign.publicKey);
  const hmac = (secret: string) => {
    const text = raw({ alg: "HS256", kid: "one" }, claim()).slice(0, -1);
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  const good = await signed(claim());
  const [head = "", body = "", signature = ""] = good.split(".");
  const attacks: readonly string[] = [
    ...["none", "None", "NONE", ""].map((alg) => raw({ alg, kid: "one" }, claim())),
    raw({ kid: "one" }, claim(), signature),
    raw("{", claim(), signature),
    ...[spki, spki.trim(), JSON.stringify(jwk), String(jwk.n), ""].map(hmac),
    // The attacker's own key, named in every way that a header has for it.
    await signed(claim(), { jwk: own }, foreign.privateKey),
    await signed(claim(), { jku: "https://evil.example/keys" }, foreign.privateKey),
    await signed(claim(), { x5u: "https://evil.example/cert", x5t: "x" }, foreign.privateKey),
    ...["one", "two", "", "../keys", "/dev/null", "one' or '1'='1", "__proto__"].map((kid) =>
      raw({ alg: "RS256", kid }, claim(), signature),
    ),
    raw({ alg: "RS256", kid: ["one"] }, claim(), signature),
    await signed(claim(), { kid: "two" }),
    await signed(claim(), { kid: "three" }),
    raw({ alg: "RS256", kid: "one", crit: ["exp"], exp: 1 }, claim(), signature),
    raw({ alg: "RS256", kid: "one", b64: false, crit: ["b64"] }, claim(), signature),
    // The same signature under other words, and other forms of a token.
    `${head}.${Buffer.from(JSON.stringify(claim())).toString("base64url")}.${signature.slice(0, -4)}AAAA`,
    `${good}.${good}`,
    `${good} ${good}`,
    `${good}=`,
    ` ${body}.${head}.${signature}`,
    JSON.stringify({ payload: body, signatures: [{ protected: head, signature }] }),
    `${head}..${body}.${signature}.`,
    randomBytes(100_000).toString("base64url"),
    `${good}${"A".repeat(20_000)}`,
    "{}",
    "..",
    "victim",
  ];
  for (const attack of attacks)
    expect([attack.slice(0, 200), await isNamedBy(attack)]).toEqual([attack.slice(0, 200), false]);
});

test("a claim that is signed and says too little, too much or nothing sure names nobody", async () => {
  const bad: readonly JWTPayload[] = [
    { exp: seconds() - 60 },
    { exp: -1 },
    { exp: 1e308 },
    { exp: "9999999999" as unknown as number },
    { nbf: seconds() + 90 },
    { iss: "elsewhere" },
    ...[{}, ["anna"], true, "", " ", "anna\n", "a".repeat(200), "anna\u0000"].map((sub) => ({
      sub: sub as string,
    })),
  ];
  for (const payload of bad)
    expect([payload, await isNamedBy(await signed(payload))]).toEqual([payload, false]);
});

test("a claim holds as long as its setting and its time, in a transaction and out of a function as well", async () => {
  const [anna, ben] = [await signed({}), await signed({ sub: "ben" })];
  await client.query("select set_config('app.token', '', false)");
  await client.query("begin");
  await client.query(`set local app.token = '${anna}'`);
  expect(await readerOf(client, READ)).toBe("anna");
  await client.query("savepoint s");
  await client.query(`select public.takes('${ben}')`);
  expect(await readerOf(client, READ)).toBe("ben");
  await client.query("do $$ begin perform set_config('app.token', 'victim', true); end $$");
  expect(await readerOf(client, READ)).toBe("nobody");
  await client.query("rollback to s");
  expect(await readerOf(client, READ)).toBe("anna");
  now += 121_000;
  expect(await readerOf(client, READ)).toBe("nobody");
  await client.query("rollback");
  // By the startup packet, as whoever has the password would.
  const connectionString = sluice.uri("helpdesk_app");
  for (const [token, reader] of [
    [await signed({}), "anna"],
    ["victim", "nobody"],
  ] as const) {
    const other = new pg.Client({ connectionString, options: `-c app.token=${token}` });
    await other.connect();
    expect(await readerOf(other, READ)).toBe(reader);
    await other.end();
  }
});

test("a token in a comment counts where the server sees a comment, once, and beside no other", async () => {
  await client.query("select set_config('app.token', '', false)");
  const [anna, ben] = [await signed({}), await signed({ sub: "ben" })];
  const comment = (token: string) => `/*token='${token}'*/`;
  for (const [sql, reader] of [
    [`${READ} ${comment(anna)}`, "anna"],
    [`${READ} ${comment(anna)} ${comment(ben)}`, "nobody"],
    [`${READ} ${comment(anna)} ${comment("victim")}`, "nobody"],
    [`select email, '${comment(anna).replaceAll("'", "''")}' from customers where id = 1`, "nobody"],
    [`select email, $x$${comment(anna)}$x$ from customers where id = 1`, "nobody"],
    [`select email as "${comment(anna)}" from customers where id = 1`, "nobody"],
    [`select email, e'\\'${comment(anna).replaceAll("'", "''")}' from customers where id = 1`, "nobody"],
  ] as const)
    expect([sql, await readerOf(client, sql)]).toEqual([sql, reader]);
});

test("names that are made up have one budget together, where the policy says role_budget", async () => {
  const thief = await sluice.connect("ben");
  let read = 0;
  let refusal = "";
  for (let i = 1; i <= 200 && refusal === ""; i++) {
    await thief.query(`set app.agent = 'made up ${i}'`);
    await thief
      .query(`select email from customers where id = ${i}`)
      .then(() => read++)
      .catch((error) => {
        refusal = error.constraint;
      });
  }
  expect(refusal).toBe("roles.named.role_budget.1h");
  expect(read).toBeLessThan(60);
  await thief.end();
});

test("secrets of other keys are of no use", async () => {
  const secret = createSecretKey(Buffer.alloc(32, 1));
  const forged = await new SignJWT({ sub: "victim", iss: "desk", exp: seconds() + 60 })
    .setProtectedHeader({ alg: "HS256", kid: "one" })
    .sign(secret);
  expect(await isNamedBy(forged)).toBe(false);
  await client.query("select set_config('app.token', $1, false)", [
    await signed({ sub: "cleo" }, { kid: "two" }, second.privateKey),
  ]);
  expect(await readerOf(client, READ)).toBe("cleo");
});
