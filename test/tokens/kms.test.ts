import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { tokens } from "../../proxy/commands/tokens.ts";
import type { KmsAccess } from "../../proxy/keys/kms/access.ts";
import { signed } from "../../proxy/keys/kms/aws-signature.ts";
import { kmsNamed, unwrapRing, wrappedKey } from "../../proxy/keys/kms/kms.ts";
import { parseTokenRing } from "../../proxy/keys/token-keys.ts";
import { makeCertificates } from "../harness/certificates.ts";
import {
  AWS_KEY,
  AWS_SECRET,
  GCP_KEY,
  GCP_TOKEN,
  type StandIn,
  startAws,
  startGcp,
  startVault,
  VAULT_TOKEN,
} from "../harness/kms.ts";

/** As in AWS's test suite of Signature Version 4, whose requests have neither a path nor a query here. */
const SUITE = { id: "AKIDEXAMPLE", secret: AWS_SECRET, region: "us-east-1", service: "service" };
const SESSION =
  "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

test.each([
  [
    "get-vanilla",
    "GET",
    {},
    "",
    undefined,
    "host;x-amz-date",
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "post-vanilla",
    "POST",
    {},
    "",
    undefined,
    "host;x-amz-date",
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  ],
  [
    "post-x-www-form-urlencoded",
    "POST",
    { "content-type": "application/x-www-form-urlencoded" },
    "Param1=value1",
    undefined,
    "content-type;host;x-amz-date",
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  ],
  [
    "post-sts-header-before",
    "POST",
    {},
    "",
    SESSION,
    "host;x-amz-date;x-amz-security-token",
    "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
  ],
] as const)("the signature of AWS's vector %s", (_, method, headers, body, session, names, signature) => {
  const made = signed(
    { method, host: "example.amazonaws.com", headers, body },
    { ...SUITE, ...(session !== undefined && { session }) },
    Date.UTC(2015, 7, 30, 12, 36),
  );
  expect(made.authorization).toBe(
    `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${names}, Signature=${signature}`,
  );
});

let vault: StandIn;
let aws: StandIn;
let gcp: StandIn;

beforeAll(async () => {
  [vault, aws, gcp] = await Promise.all([startVault(), startAws(), startGcp()]);
});
afterAll(async () => {
  await Promise.all([vault, aws, gcp].map((each) => each?.close()));
});
beforeEach(() => {
  for (const each of [vault, aws, gcp]) each.answers = undefined;
});

const NOWHERE: KmsAccess = {
  credentials: undefined,
  ca: undefined,
  endpoint: undefined,
  env: {},
  now: Date.now,
};
const AWS_FILE = `[other]\naws_access_key_id = X\n[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key=${AWS_SECRET}\n`;
const vaultKey = () => `vault:${vault.url}/engines/transit/sluice?namespace=team/data`;

/** Each service, with the ways in which a proxy can have its credentials. */
const WAYS: readonly [string, () => readonly [name: string, access: KmsAccess]][] = [
  ["Vault, by a file", () => [vaultKey(), { ...NOWHERE, credentials: VAULT_TOKEN }]],
  ["Vault, by VAULT_TOKEN", () => [vaultKey(), { ...NOWHERE, env: { VAULT_TOKEN } }]],
  ["AWS, by a file", () => [`aws:${AWS_KEY}`, { ...NOWHERE, endpoint: aws.url, credentials: AWS_FILE }]],
  [
    "AWS, by variables",
    () => [
      `aws:${AWS_KEY}`,
      {
        ...NOWHERE,
        endpoint: aws.url,
        env: { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: AWS_SECRET },
      },
    ],
  ],
  ["GCP, by a file", () => [`gcp:${GCP_KEY}`, { ...NOWHERE, endpoint: gcp.url, credentials: GCP_TOKEN }]],
  [
    "GCP, by the metadata server",
    () => [
      `gcp:${GCP_KEY}`,
      { ...NOWHERE, endpoint: gcp.url, env: { GCE_METADATA_HOST: new URL(gcp.url).host } },
    ],
  ],
];

const secret = Buffer.alloc(32, 5);
const ringOf = (text: string) => {
  const read = parseTokenRing(text);
  if (!read.ok) throw new Error(read.problem);
  return read.ring;
};

test.each(WAYS)("a key that is wrapped by %s is in no line, and comes back", async (_, way) => {
  const [name, access] = way();
  const wrapped = await wrappedKey(kmsNamed(name, access), secret);
  expect(wrapped).toMatch(/^\S+$/);
  expect(wrapped).not.toContain(secret.toString("base64").slice(0, 20));
  const unwrapped = await unwrapRing(ringOf(`1 ${name} ${wrapped}\n2 ${"ab".repeat(32)}\nactive 1`), access);
  expect(unwrapped).toEqual({
    ok: true,
    keys: {
      active: 1,
      retired: new Set(),
      secrets: new Map([
        [1, secret],
        [2, Buffer.alloc(32, 0xab)],
      ]),
    },
  });
});

test("AWS's temporary credentials send their session token", async () => {
  const temporary = await startAws("session-1");
  onTestFinished(() => temporary.close());
  const env = {
    AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
    AWS_SECRET_ACCESS_KEY: AWS_SECRET,
    AWS_SESSION_TOKEN: "session-1",
  };
  const kms = kmsNamed(`aws:${AWS_KEY}`, { ...NOWHERE, endpoint: temporary.url, env });
  expect(await kms.unwrap(await kms.wrap(secret))).toEqual(secret);
});

/** What `unwrapRing` says of a wrapped key. */
async function problemOf(name: string, wrapped: string, access: KmsAccess): Promise<string> {
  const unwrapped = await unwrapRing(ringOf(`1 ${name} ${wrapped}`), access);
  return unwrapped.ok ? "none" : unwrapped.problem;
}

test("what another key has wrapped is said, and so is a key or a credential that is not there", async () => {
  const others = Buffer.alloc(60).toString("base64");
  const withVault = { ...NOWHERE, credentials: VAULT_TOKEN };
  const withAws = { ...NOWHERE, endpoint: aws.url, credentials: AWS_FILE };
  const withGcp = { ...NOWHERE, endpoint: gcp.url, credentials: GCP_TOKEN };
  const cases: readonly [string, string, KmsAccess, string][] = [
    [
      vaultKey(),
      `vault:v1:${others}`,
      withVault,
      "Vault answers with status 400: cipher: message authentication failed",
    ],
    [
      vaultKey(),
      `vault:v1:${others}`,
      { ...NOWHERE, credentials: "hvs.other" },
      "status 403: permission denied",
    ],
    [vaultKey(), `vault:v1:${others}`, NOWHERE, "no token for Vault"],
    [
      vaultKey().replace("team", "other"),
      `vault:v1:${others}`,
      withVault,
      "status 404: no handler for route",
    ],
    [`aws:${AWS_KEY}`, others, withAws, "AWS answers with status 400: InvalidCiphertextException"],
    [`aws:${AWS_KEY.replace("1234", "4321")}`, others, withAws, "NotFoundException: Key"],
    [
      `aws:${AWS_KEY}`,
      others,
      { ...withAws, credentials: AWS_FILE.replace("K7", "K8") },
      "InvalidSignatureException",
    ],
    [`aws:${AWS_KEY}`, others, { ...withAws, credentials: undefined }, "no credentials for AWS"],
    [`aws:${AWS_KEY}`, others, { ...withAws, env: { AWS_PROFILE: "other" } }, "no credentials for AWS"],
    [`gcp:${GCP_KEY}`, others, withGcp, "GCP answers with status 400: Decryption failed"],
    [`gcp:${GCP_KEY}`, others, { ...withGcp, credentials: "x" }, "status 401"],
    [
      `gcp:${GCP_KEY}`,
      others,
      { ...NOWHERE, endpoint: gcp.url, env: { GCE_METADATA_HOST: new URL(vault.url).host } },
      "the metadata server gives no token (status 404)",
    ],
  ];
  for (const [name, wrapped, access, problem] of cases) {
    const said = await problemOf(name, wrapped, access);
    expect(said).toContain(problem);
    expect(said).toContain("the key of version 1 cannot be unwrapped");
  }
});

test.each([
  ["vault:http://vault.internal:8200/transit/sluice", "without TLS"],
  ["vault:https://u:p@vault.internal/transit/sluice", "with a password in it"],
  ["vault:https://vault.internal/sluice", "without a mount"],
  ["vault:https://vault.internal/transit/../sys/sluice/", "with an empty part"],
  ["vault:https://vault.internal/transit/sluice?x=1", "with other parameters"],
  ["aws:alias/sluice", "without a region"],
  ["aws:arn:aws:s3:eu-central-1:111122223333:key/x", "of another service"],
  ["gcp:projects/p/secrets/x", "of another kind"],
  ["azure:x", "of another service"],
  ["constructor:x", "of no service"],
])("%s is refused: it is %s", async (name) => {
  const said = await problemOf(name, "x", { ...NOWHERE, credentials: "x" });
  expect(said).toContain("names no key of a KMS");
  expect(said).not.toContain(name);
});

test.each([
  ["no JSON", { status: 200, body: "<html>" }, "has no plaintext"],
  ["an empty answer", { status: 200, body: "{}" }, "has no plaintext"],
  ["what is no base64", { status: 200, body: '{"data":{"plaintext":"&"}}' }, "has no plaintext"],
  ["a short key", { status: 200, body: '{"data":{"plaintext":"c2hvcnQ="}}' }, "at least 32 are needed"],
  ["a long answer", { status: 200, body: `"${"x".repeat(70_000)}"` }, "its answer is too long"],
  ["another address", { status: 307, body: "" }, "status 307"],
  [
    "a sealed Vault",
    { status: 503, body: '{"errors":["Vault is sealed\\n\\u001b[2J"]}' },
    "status 503: Vault is sealed  [2J",
  ],
] as const)("a KMS that answers with %s gives no key", async (_, answers, problem) => {
  vault.answers = answers;
  const said = await problemOf(vaultKey(), "vault:v1:AAAA", { ...NOWHERE, credentials: VAULT_TOKEN });
  expect(said).toContain(problem);
  expect(said.length).toBeLessThan(300);
});

test("a KMS that takes the question and says nothing is given up on, and one that is not there", async () => {
  vault.answers = "nothing";
  const access = { ...NOWHERE, credentials: VAULT_TOKEN };
  expect(await problemOf(vaultKey(), "vault:v1:AAAA", access)).toContain("no answer within 5 s");
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  expect(await problemOf(`vault:http://127.0.0.1:${port}/t/k`, "vault:v1:AAAA", access)).toContain(
    "ECONNREFUSED",
  );
});

test("a certificate must be signed by the authorities of --kms-ca", async () => {
  const { proxy, remove } = await makeCertificates();
  onTestFinished(remove);
  const [key, cert] = [readFileSync(proxy.key, "utf8"), readFileSync(proxy.certificate, "utf8")];
  const secure = await startVault({ key, cert });
  onTestFinished(() => secure.close());
  const name = `vault:${secure.url}/engines/transit/sluice?namespace=team/data`;
  const access = { ...NOWHERE, credentials: VAULT_TOKEN };
  const trusting = { ...access, ca: cert };
  const wrapped = await wrappedKey(kmsNamed(name, trusting), secret);
  expect(await problemOf(name, wrapped, trusting)).toBe("none");
  secure.asked.length = 0;
  expect(await problemOf(name, wrapped, access)).toMatch(/CERT|ISSUER|certificate/);
  expect(secure.asked).toEqual([]);
});

test("sluice tokens key --kms prints a wrapped key, of a ring's if it is given; canary reads it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-kms-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [output, errors]: [string[], string[]] = [[], []];
  const streams = {
    output: { write: (text: string) => output.push(text.trimEnd()) },
    errors: { write: (text: string) => errors.push(text) },
  };
  const env = { SLUICE_KMS_CREDENTIALS: VAULT_TOKEN };
  const plain = join(folder, "plain");
  writeFileSync(plain, `3 ${"cd".repeat(32)}\n`, { mode: 0o600 });
  expect(await tokens(["key", "--kms", vaultKey()], env, streams)).toBe(0);
  const ofRing = ["key", "--version", "3", "--kms", vaultKey(), "--token-keys-file", plain];
  expect(await tokens(ofRing, env, streams)).toBe(0);
  expect(output[0]).toMatch(/^1 vault:http\S+ vault:v1:\S+$/);
  expect(output[1]).toMatch(/^3 vault:http\S+ vault:v1:\S+$/);
  const wrapped = join(folder, "wrapped");
  writeFileSync(wrapped, `${output[1]}\n`, { mode: 0o600 });
  expect(await tokens(["canary", "--token-keys-file", wrapped], env, streams)).toBe(0);
  expect(await tokens(["canary", "--token-keys-file", plain], {}, streams)).toBe(0);
  expect(output[2]).toBe(output[3]);
  expect(await tokens(["canary", "--token-keys-file", wrapped], {}, streams)).toBe(1);
  expect(await tokens(["key", "--kms", "vault:x"], env, streams)).toBe(1);
  expect(await tokens(["key", "--version", "4", ...ofRing.slice(3)], env, streams)).toBe(1);
  expect(errors).toEqual([
    expect.stringContaining("no token for Vault"),
    expect.stringContaining("names no key of a KMS"),
    expect.stringContaining("the key ring has no key of version 4"),
  ]);
});
