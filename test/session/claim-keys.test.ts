import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exportJWK, generateKeyPair } from "jose";
import { expect, test } from "vitest";
import { ClaimKeys } from "../../proxy/keys/claim-keys.ts";

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
