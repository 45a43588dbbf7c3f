import { createSecretKey, type KeyObject, type webcrypto } from "node:crypto";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { ClaimKey } from "../../proxy/keys/claim-keys.ts";
import { Claims, type Rejection } from "../../proxy/session/person/claims.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

const policyOf = (signedBy: string, sources = "[{ setting: app.token }, { comment: token }]") => `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 40 }
    people_behind: ${sources}
    signed_by: ${signedBy}
    unnamed: { budget: { 1h: 20 } }
`;

const SECRET = createSecretKey(Buffer.alloc(32, 7));
const NOW = Date.UTC(2026, 10, 29, 12);
const MINUTE = 60_000;

let world: World;
let now = NOW;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: policyOf("{ key_file: claims.key }") });
  await world.database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app");
});
afterAll(() => world?.close());

/** What an application's login server would sign: for a minute, unless it says otherwise. */
function token(
  claims: JWTPayload,
  key: KeyObject | webcrypto.CryptoKey = SECRET,
  alg = "HS256",
): Promise<string> {
  const { exp = (NOW + MINUTE) / 1000, ...rest } = claims;
  return new SignJWT({ exp, ...rest }).setProtectedHeader({ alg }).sign(key);
}

interface Desk {
  readonly sluice: TestProxy;
  readonly rejections: Rejection[];
  /** Who is on record for a statement that this text runs after `token` was set. */
  readerAfter(token: string, sql?: string): Promise<string>;
}

async function deskOf(policy: string, key: ClaimKey | "none" = SECRET): Promise<Desk> {
  const rejections: Rejection[] = [];
  const claims = new Claims({
    keyOf: () => (key === "none" ? undefined : key),
    now: () => now,
    onRejected: (reason) => void rejections.push(reason),
  });
  const sluice = await startProxy(world.database, { policy, claims });
  return {
    sluice,
    rejections,
    async readerAfter(text, sql = "select email from customers where id = 1") {
      const client = await sluice.connect("helpdesk_app");
      await client.query("select set_config('app.token', $1, false)", [text]);
      const reader = await readerOf(sluice, client, sql);
      await client.end();
      return reader;
    },
  };
}

async function readerOf(
  sluice: TestProxy,
  client: pg.Client,
  sql: string,
  values?: unknown[],
): Promise<string> {
  const before = sluice.events.length;
  await client.query(sql, values);
  const isReading = (event: object): event is StatementEvent => "people" in event && Number(event.people) > 0;
  await expect.poll(() => sluice.events.slice(before).filter(isReading).length).toBeGreaterThan(0);
  const [event] = sluice.events.slice(before).filter(isReading);
  return event?.user ?? "nobody";
}

test("a signed claim names the person, in a setting and in a comment", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key }"));
  expect(await desk.readerAfter(await token({ sub: "anna" }))).toBe("anna");
  const signed = await token({ sub: "ben" });
  expect(await desk.readerAfter("", `select email from customers where id = 1 /*token='${signed}'*/`)).toBe(
    "ben",
  );
  expect(desk.rejections).toEqual([]);
  await desk.sluice.close();
});

test("what is unsigned, expired, foreign or too long names nobody, and never the person before", async () => {
  const desk = await deskOf(policyOf('{ key_file: claims.key, issuer: "https://login", audience: sluice }'));
  const good = { sub: "anna", iss: "https://login", aud: "sluice" };
  const none = (payload: object) =>
    `${[{ alg: "none" }, payload].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.`;
  const signed = await token(good);
  const bad: readonly (readonly [string, Rejection])[] = [
    ["anna", "malformed"],
    [none({ ...good, exp: NOW / 1000 + 60 }), "signature"],
    [await token(good, createSecretKey(Buffer.alloc(32, 8))), "signature"],
    [`${signed.slice(0, -3)}AAA`, "signature"],
    [await token({ ...good, exp: NOW / 1000 - 60 }), "expired"],
    [await token({ ...good, exp: NOW / 1000 + 90_000 }), "long"],
    [await new SignJWT(good).setProtectedHeader({ alg: "HS256" }).sign(SECRET), "claims"],
    [await token({ ...good, iss: "https://elsewhere" }), "claims"],
    [await token({ ...good, aud: "other" }), "claims"],
    [await token({ iss: "https://login", aud: "sluice" }), "claims"],
    [`${signed}${"A".repeat(5_000)}`, "long"],
  ];
  const client = await desk.sluice.connect("helpdesk_app");
  const told: string[] = [];
  for (const [text] of bad) {
    await client.query("select set_config('app.token', $1, false)", [signed]);
    expect(await readerOf(desk.sluice, client, "select email from customers where id = 1")).toBe("anna");
    await client.query("select set_config('app.token', $1, false)", [text]);
    expect([text, await readerOf(desk.sluice, client, "select email from customers where id = 1")]).toEqual([
      text,
      "helpdesk_app",
    ]);
    told.push(desk.rejections.splice(0).join());
  }
  expect(told).toEqual(bad.map(([, reason]) => reason));
  await client.end();
  await desk.sluice.close();
});

test("a clock that is a minute off signs tokens that name people, and one that is further off does not", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key }"));
  const second = NOW / 1000;
  const named = async (claims: JWTPayload) => desk.readerAfter(await token({ sub: "anna", ...claims }));
  expect(await named({ exp: second - 59 })).toBe("anna");
  expect(await named({ exp: second - 60 })).toBe("helpdesk_app");
  expect(await named({ nbf: second + 60, iat: second + 60 })).toBe("anna");
  expect(await named({ nbf: second + 61, iat: second + 60 })).toBe("helpdesk_app");
  expect(await named({ iat: second + 60, exp: second + 86_460 })).toBe("anna");
  expect(await named({ iat: second + 61, exp: second + 86_461 })).toBe("helpdesk_app");
  expect(desk.rejections).toEqual(["expired", "claims", "long"]);
  await desk.sluice.close();
});

test("a claim names nobody once it has expired, for prepared statements as well", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key }"));
  const client = await desk.sluice.connect("helpdesk_app");
  await client.query("select set_config('app.token', $1, false)", [await token({ sub: "anna" })]);
  const read = { name: "one", text: "select email from customers where id = $1" };
  const reader = () => readerOf(desk.sluice, client, read as unknown as string, ["1"]);
  expect(await reader()).toBe("anna");
  // The signer's clock may be a minute behind.
  now = NOW + 2 * MINUTE - 1;
  expect(await reader()).toBe("anna");
  now = NOW + 2 * MINUTE;
  expect(await reader()).toBe("helpdesk_app");
  now = NOW;
  expect(await reader()).toBe("anna");
  await client.end();
  await desk.sluice.close();
});

test("a claim that is bound to its connection names nobody on another", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key, bound: true }"));
  const nonces: string[] = [];
  const connect = async () => {
    const client = new pg.Client({ connectionString: desk.sluice.uri("helpdesk_app") });
    client.connection.on("parameterStatus", (message: { parameterName: string; parameterValue: string }) => {
      if (message.parameterName === "sluice.nonce") nonces.push(message.parameterValue);
    });
    await client.connect();
    return client;
  };
  const [first, second] = [await connect(), await connect()];
  expect(new Set(nonces).size).toBe(2);
  const signed = await token({ sub: "anna", nonce: nonces[0] });
  for (const [client, reader] of [
    [first, "anna"],
    [second, "helpdesk_app"],
  ] as const) {
    await client.query("select set_config('app.token', $1, false)", [signed]);
    expect(await readerOf(desk.sluice, client, "select email from customers where id = 1")).toBe(reader);
    await client.end();
  }
  await desk.sluice.close();
});

test("SQL that is injected cannot change who is charged", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key }"));
  const client = await desk.sluice.connect("helpdesk_app");
  await client.query("select set_config('app.token', $1, false)", [await token({ sub: "anna" })]);
  const injected = "select email from customers where id = 1 --";
  await client.query("select set_config('app.token', 'ben', false)");
  expect(await readerOf(desk.sluice, client, injected)).toBe("helpdesk_app");
  await client.end();
  await desk.sluice.close();
});

test("public keys: each algorithm that needs a private one, and none that does not", async () => {
  for (const alg of ["RS256", "PS256", "ES256", "EdDSA"]) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const { createLocalJWKSet } = await import("jose");
    const keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), alg }] });
    const desk = await deskOf(policyOf("{ jwks: keys.json, claim: name }"), keys);
    expect(await desk.readerAfter(await token({ name: "anna" }, privateKey, alg))).toBe("anna");
    const forged = await token({ name: "anna" }, SECRET);
    expect(await desk.readerAfter(forged)).toBe("helpdesk_app");
    await desk.sluice.close();
  }
});

test("of several public keys without a name each one names people, and no other does", async () => {
  const pairs = await Promise.all([1, 2, 3].map(() => generateKeyPair("ES256", { extractable: true })));
  const { createLocalJWKSet } = await import("jose");
  const keys = await Promise.all(pairs.slice(0, 2).map(({ publicKey }) => exportJWK(publicKey)));
  const desk = await deskOf(policyOf("{ jwks: keys.json }"), createLocalJWKSet({ keys }));
  const readers: string[] = [];
  for (const { privateKey } of pairs)
    readers.push(await desk.readerAfter(await token({ sub: "anna" }, privateKey, "ES256")));
  expect(readers).toEqual(["anna", "anna", "helpdesk_app"]);
  expect(desk.rejections).toEqual(["signature"]);
  const [first] = pairs;
  if (first === undefined) throw new Error("no keys");
  const expired = await token({ sub: "anna", exp: NOW / 1000 - 60 }, first.privateKey, "ES256");
  expect(await desk.readerAfter(expired)).toBe("helpdesk_app");
  expect(desk.rejections).toEqual(["signature", "expired"]);
  await desk.sluice.close();
});

test("without keys nobody is named, and no token stands in the log or in an event", async () => {
  const desk = await deskOf(policyOf("{ key_file: claims.key }"), "none");
  const signed = await token({ sub: "anna" });
  expect(await desk.readerAfter(signed)).toBe("helpdesk_app");
  const client = await desk.sluice.connect("helpdesk_app");
  await client.query(`set app.token = '${signed}'`);
  await client.query(`select email from customers where id = 1 /*token='${signed}'*/`);
  await client.end();
  const [, payload = ""] = signed.split(".");
  expect(JSON.stringify([desk.sluice.events, desk.sluice.log])).not.toContain(payload);
  await desk.sluice.close();
});

test("a key that was withdrawn names nobody any more, though its claim was verified before", async () => {
  let key = SECRET;
  const claims = new Claims({ keyOf: () => key, now: () => NOW, onRejected: () => {} });
  const signedBy = {
    kind: "secret",
    at: "k",
    place: { file: "p", line: 1, column: 1 },
    claim: "sub",
    bound: false,
  } as const;
  const signed = await token({ sub: "anna" });
  const named = async () => {
    await new Promise<void>((resolve) => {
      if (claims.isChecked(signed, signedBy, resolve)) resolve();
    });
    return claims.named(signed, signedBy)?.person;
  };
  expect(await named()).toBe("anna");
  key = createSecretKey(Buffer.alloc(32, 9));
  expect(claims.named(signed, signedBy)).toBeUndefined();
  expect(await named()).toBeUndefined();
});
