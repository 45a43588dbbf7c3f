import { once } from "node:events";
import { mkdtemp, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { expect, onTestFinished, test, vi } from "vitest";
import { ClaimKeys } from "../../proxy/keys/claim-keys.ts";
import type { SignedBy } from "../../proxy/policy/policy.ts";
import { Claims } from "../../proxy/session/person/claims.ts";

async function folder(): Promise<string> {
  return mkdtemp(join(tmpdir(), "sluice-claims-"));
}

const sourceIn = (path: string, kind: "jwks" | "secret", at: string) => ({
  kind,
  at,
  place: { file: join(path, "p.yaml") },
});

test("keys are read as seen from the policy's own file, and the last good ones stay", async () => {
  const path = await folder();
  const { publicKey } = await generateKeyPair("ES256", { extractable: true });
  await writeFile(join(path, "keys.json"), JSON.stringify({ keys: [await exportJWK(publicKey)] }));
  const keys = new ClaimKeys();
  const source = sourceIn(path, "jwks", "keys.json");
  expect(await keys.read([source])).toEqual(new Map());
  const known = keys.of(source);
  expect(known).toBeTypeOf("function");
  await writeFile(join(path, "keys.json"), "{");
  expect([...(await keys.read([source])).values()]).toEqual([
    expect.stringMatching(/keys\.json" is no JSON$/),
  ]);
  expect(keys.of(source)).toBe(known);
});

test.each([
  ["a file that is not there", undefined, /ENOENT/],
  ["no keys", '{"keys":[]}', /no keys are in it/],
  ["a shared key among public ones", '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', /not public/],
  ["a private key", '{"keys":[{"kty":"EC","crv":"P-256","d":"c2VjcmV0"}]}', /not public/],
])("%s is a problem that shows nothing of the file", async (_, text, problem) => {
  const path = await folder();
  if (text !== undefined) await writeFile(join(path, "keys.json"), text);
  const keys = new ClaimKeys();
  const source = sourceIn(path, "jwks", "keys.json");
  const [said = ""] = (await keys.read([source])).values();
  expect(said).toMatch(problem);
  expect(said).not.toContain("c2VjcmV0");
  expect(keys.of(source)).toBeUndefined();
});

test("a secret that others may read, or that is short, is a problem", async () => {
  const path = await folder();
  const keys = new ClaimKeys();
  const source = sourceIn(path, "secret", "claims.key");
  await writeFile(join(path, "claims.key"), "short", { mode: 0o600 });
  expect((await keys.read([source])).size).toBe(1);
  await writeFile(join(path, "other.key"), Buffer.alloc(32, 7).toString("hex"), { mode: 0o644 });
  expect((await keys.read([sourceIn(path, "secret", "other.key")])).size).toBe(1);
});

/** An endpoint of keys, and whom tokens name that are verified by it. */
async function keysBehindUrl() {
  const pairs = { one: await generateKeyPair("ES256"), two: await generateKeyPair("ES256") };
  const endpoint = { keys: ["one"] as readonly (keyof typeof pairs)[], status: 200, asked: 0 };
  const server = createServer(async (_, response) => {
    endpoint.asked += 1;
    const keys = endpoint.keys.map(async (kid) => ({ ...(await exportJWK(pairs[kid].publicKey)), kid }));
    response.writeHead(endpoint.status, { "content-type": "application/json" });
    response.end(JSON.stringify({ keys: await Promise.all(keys) }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  onTestFinished(stop);
  const { port } = server.address() as AddressInfo;
  const place = { file: "/p.yaml" };
  const signedBy = { kind: "jwks", at: `http://127.0.0.1:${port}/keys`, claim: "sub", place } as SignedBy;
  const keys = new ClaimKeys();
  expect(await keys.read([signedBy])).toEqual(new Map());
  const rejected: string[] = [];
  const claims = new Claims({
    ...{ keyOf: (source) => keys.of(source), now: Date.now },
    onRejected: (reason) => rejected.push(reason),
  });
  const check = (token: string) =>
    new Promise<void>((resolve) => {
      if (claims.isChecked(token, signedBy, resolve)) resolve();
    });
  return {
    ...{ endpoint, rejected, stop, claims, signedBy },
    async named(payload: JWTPayload, kid: keyof typeof pairs = "one"): Promise<string | undefined> {
      const exp = Math.floor(Date.now() / 1000) + 3_600;
      const token = await new SignJWT({ exp, ...payload })
        .setProtectedHeader({ alg: "ES256", kid })
        .sign(pairs[kid].privateKey);
      await check(token);
      return claims.named(token, signedBy)?.person;
    },
    async namedBy(token: string): Promise<string | undefined> {
      await check(token);
      return claims.named(token, signedBy)?.person;
    },
  };
}

test("keys behind a URL: those that were rotated out name nobody, new ones do, an unknown one does not ask again and again, and without the endpoint the known ones hold for ten minutes", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const { named, endpoint, rejected, stop } = await keysBehindUrl();
  expect(await named({ sub: "anna" })).toBe("anna");
  for (let i = 0; i < 20; i++) expect(await named({ sub: `made-up-${i}` }, "two")).toBeUndefined();
  expect(endpoint.asked).toBe(1);
  expect(new Set(rejected)).toEqual(new Set(["signature"]));
  endpoint.keys = ["two"];
  vi.setSystemTime(Date.now() + 40_000);
  expect(await named({ sub: "ben" }, "two")).toBe("ben");
  expect(await named({ sub: "anna again" })).toBeUndefined();
  stop();
  vi.setSystemTime(Date.now() + 300_000);
  expect(await named({ sub: "carl" }, "two")).toBe("carl");
  vi.setSystemTime(Date.now() + 601_000);
  expect(await named({ sub: "dora" }, "two")).toBeUndefined();
  expect(rejected.at(-1)).toBe("keys");
});

test("tokens of any length are looked at once and push out no others; numbers that are no exact ones name nobody", async () => {
  const { named, namedBy, rejected, claims, signedBy } = await keysBehindUrl();
  expect(await named({ sub: "anna" })).toBe("anna");
  for (const length of [5_000, 1_000_000, 9_000_000, 9_000_001])
    expect(await namedBy("e".repeat(length))).toBeUndefined();
  expect(rejected).toEqual(["long", "long", "long", "long"]);
  // Known now: nothing is waited for.
  expect(claims.isChecked("e".repeat(9_000_000), signedBy, () => {})).toBe(true);
  expect(rejected).toHaveLength(4);
  expect(await named({ sub: 17 as unknown as string })).toBe("17");
  for (const sub of [2 ** 53, 1.5, 1e300])
    expect(await named({ sub: sub as unknown as string })).toBeUndefined();
});
