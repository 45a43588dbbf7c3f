import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import pg from "pg";
import { expect, test } from "vitest";
import { scram } from "../../proxy/commands/scram.ts";
import { ProtocolViolation } from "../../proxy/wire/frames.ts";
import {
  formatVerifier,
  makeVerifier,
  md5Password,
  mockVerifier,
  parseVerifier,
  ScramClient,
  ScramServer,
  type Verifier,
} from "../../proxy/wire/scram.ts";
import { formatUser, parseUsers, readUsersFile } from "../../proxy/wire/users-file.ts";
import { freshDatabase } from "../harness/postgres.ts";

const nonce = () => randomBytes(18).toString("base64");

/** node-postgres's own client, as a second reference. */
interface DriverSession {
  readonly mechanism: string;
  readonly response: string;
}
const driver = createRequire(import.meta.url)(
  join(import.meta.dirname, "../../node_modules/pg/lib/crypto/sasl.js"),
) as {
  startSession(mechanisms: readonly string[]): DriverSession;
  continueSession(session: DriverSession, password: string, serverFirst: string): Promise<void>;
  finalizeSession(session: DriverSession, serverFinal: string): void;
};

// RFC 7677, section 3.
const RFC = {
  clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
  serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  clientFinal:
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};
const pencil = await makeVerifier("pencil", 4096, Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"));

test("the server's side produces the messages of RFC 7677", () => {
  const server = new ScramServer(pencil, RFC.serverNonce, undefined);
  expect(server.first("SCRAM-SHA-256", Buffer.from(RFC.clientFirst))).toBe(RFC.serverFirst);
  expect(server.final(Buffer.from(RFC.clientFinal))).toBe(RFC.serverFinal);
});

async function logIn(password: string, verifier: Verifier): Promise<boolean> {
  const client = new ScramClient(password, nonce());
  const server = new ScramServer(verifier, nonce(), undefined);
  const challenge = server.first("SCRAM-SHA-256", Buffer.from(client.first()));
  const signature = server.final(Buffer.from(await client.final(Buffer.from(challenge))));
  return signature !== undefined && client.verify(Buffer.from(signature));
}

test.each(["pencil", "pässwörd", "\u00aa\u2168", "\u0000\u0001", "a\u0221b"])(
  "the right password logs in and another does not: %j",
  async (password) => {
    const verifier = await makeVerifier(password, 4096, randomBytes(16));
    expect(await logIn(password, verifier)).toBe(true);
    expect(await logIn(`${password} `, verifier)).toBe(false);
  },
);

test("node-postgres logs in to our server's side, and accepts it", async () => {
  const session = driver.startSession(["SCRAM-SHA-256"]);
  const server = new ScramServer(pencil, nonce(), undefined);
  await driver.continueSession(
    session,
    "pencil",
    server.first("SCRAM-SHA-256", Buffer.from(session.response)),
  );
  const signature = server.final(Buffer.from(session.response));
  driver.finalizeSession(session, signature ?? "");
});

test("the client rejects a server that does not know the password", async () => {
  const client = new ScramClient("pencil", nonce());
  const server = new ScramServer(pencil, nonce(), undefined);
  await client.final(Buffer.from(server.first("SCRAM-SHA-256", Buffer.from(client.first()))));
  expect(client.verify(Buffer.from(`v=${randomBytes(32).toString("base64")}`))).toBe(false);
  expect(client.verify(Buffer.from("e=other-error"))).toBe(false);
  expect(new ScramClient("pencil", nonce()).verify(Buffer.from(RFC.serverFinal))).toBe(false);
});

test("the client rejects a nonce that does not extend its own, and excessive work", async () => {
  const client = () => new ScramClient("pencil", "mine");
  for (const challenge of [
    "r=other,s=QUJD,i=4096",
    "r=mine,s=QUJD,i=4096",
    "r=minex,s=QUJD,i=999999999",
    "r=minex,s=,i=1",
    "e=no",
    "",
  ]) {
    await expect(client().final(Buffer.from(challenge))).rejects.toThrow(ProtocolViolation);
  }
});

test.each([
  "",
  "p=tls-server-end-point,,n=,r=abc",
  "n,a=root,n=,r=abc",
  "n,,m=ext,n=,r=abc",
  "n,,n=,r=",
  "n,,n=,r=a b",
  "n,n=,r=abc",
])("an invalid client-first-message is refused: %j", (first) => {
  expect(() =>
    new ScramServer(pencil, nonce(), undefined).first("SCRAM-SHA-256", Buffer.from(first)),
  ).toThrow(ProtocolViolation);
});

test("a man in the middle of two TLS connections is detected, whichever way the client was misled", () => {
  const endPoint = randomBytes(32);
  const bound = "p=tls-server-end-point,,n=,r=abc";
  const begin = (mechanism: string, first: string) => {
    const server = new ScramServer(pencil, "n", endPoint);
    server.first(mechanism, Buffer.from(first));
    return server;
  };
  const last = (binding: Buffer) =>
    Buffer.from(`c=${binding.toString("base64")},r=abcn,p=${randomBytes(32).toString("base64")}`);
  const header = Buffer.from("p=tls-server-end-point,,");
  // The password is wrong, but the binding is right.
  expect(begin("SCRAM-SHA-256-PLUS", bound).final(last(Buffer.concat([header, endPoint])))).toBeUndefined();
  for (const other of [randomBytes(32), Buffer.alloc(0), endPoint.subarray(1)]) {
    const server = begin("SCRAM-SHA-256-PLUS", bound);
    expect(() => server.final(last(Buffer.concat([header, other])))).toThrow("channel binding check failed");
  }
  expect(() => begin("SCRAM-SHA-256", "y,,n=,r=abc")).toThrow("thinks the server does not");
  for (const [mechanism, first] of [
    ["SCRAM-SHA-256", bound],
    ["SCRAM-SHA-256-PLUS", "n,,n=,r=abc"],
    ["SCRAM-SHA-256-PLUS", "y,,n=,r=abc"],
    ["SCRAM-SHA-256-PLUS", "p=tls-unique,,n=,r=abc"],
  ] as const) {
    expect(() => begin(mechanism, first)).toThrow(ProtocolViolation);
  }
});

test("a final message for another challenge, binding or exchange is refused", async () => {
  const replayed = new ScramServer(pencil, nonce(), undefined);
  replayed.first("SCRAM-SHA-256", Buffer.from(RFC.clientFirst));
  expect(() => replayed.final(Buffer.from(RFC.clientFinal))).toThrow("nonce");
  const bound = new ScramServer(pencil, RFC.serverNonce, undefined);
  bound.first("SCRAM-SHA-256", Buffer.from(RFC.clientFirst.replace("n,,", "y,,")));
  expect(() => bound.final(Buffer.from(RFC.clientFinal))).toThrow("channel binding");
  expect(() => new ScramServer(pencil, "", undefined).final(Buffer.from(RFC.clientFinal))).toThrow(
    ProtocolViolation,
  );
  const twice = new ScramServer(pencil, RFC.serverNonce, undefined);
  twice.first("SCRAM-SHA-256", Buffer.from(RFC.clientFirst));
  expect(twice.final(Buffer.from(RFC.clientFinal))).toBe(RFC.serverFinal);
  expect(() => twice.final(Buffer.from(RFC.clientFinal))).toThrow(ProtocolViolation);
});

test("a user who does not exist is asked for a password all the same", async () => {
  const secret = randomBytes(32);
  const challenge = (user: string) =>
    new ScramServer(mockVerifier(user, secret, 4096), "n", undefined).first(
      "SCRAM-SHA-256",
      Buffer.from("n,,n=,r=abc"),
    );
  expect(challenge("nobody")).toMatch(/^r=abcn,s=[A-Za-z0-9+/]{22}==,i=4096$/);
  expect(challenge("nobody")).toBe(challenge("nobody"));
  expect(challenge("nobody")).not.toBe(challenge("somebody"));
  expect(await logIn("", mockVerifier("nobody", secret, 4096))).toBe(false);
});

test("a verifier equals Postgres' own for the same password, salt and iterations", async () => {
  const database = await freshDatabase("verifier");
  const role = `scram_${randomBytes(4).toString("hex")}`;
  try {
    await database.query(
      `SET password_encryption = 'scram-sha-256'; CREATE ROLE ${role} LOGIN PASSWORD 'pässwörd Ⅸ'`,
    );
    const stored = async () =>
      (await database.query("SELECT rolpassword FROM pg_authid WHERE rolname = $1", [role])).rows[0]
        ?.rolpassword;
    const theirs = parseVerifier(await stored());
    if (theirs === undefined) throw new Error("a verifier that we cannot read");
    expect(formatVerifier(await makeVerifier("pässwörd Ⅸ", theirs.iterations, theirs.salt))).toBe(
      await stored(),
    );

    const ours = formatVerifier(await makeVerifier("other", 5000, randomBytes(16)));
    await database.query(`ALTER ROLE ${role} PASSWORD '${ours}'`);
    const client = new pg.Client({ connectionString: database.uriFor(role, "other") });
    await client.connect();
    await client.end();
  } finally {
    await database.query(`DROP ROLE IF EXISTS ${role}`);
    await database.drop();
  }
});

test.each(["", "md5abc", "secret", "SCRAM-SHA-256$0:QQ==$QQ==:QQ==", "SCRAM-SHA-256$4096:QQ==$QQ==:QQ=="])(
  "text that is not a verifier is not accepted as one: %j",
  (written) => {
    expect(parseVerifier(written)).toBeUndefined();
  },
);

test("the md5 answer is the digest of the digest", () => {
  const md5 = (bytes: string | Buffer) => createHash("md5").update(bytes).digest("hex");
  const salt = Buffer.from([0, 255, 1, 128]);
  const expected = `md5${md5(Buffer.concat([Buffer.from(md5("secretanna")), salt]))}`;
  expect(md5Password("anna", "secret", salt)).toBe(expected);
});

test("a users file is read with its quotes and comments", () => {
  const verifier = formatVerifier(pencil);
  const file = `; helpdesk\n${formatUser('an"na', verifier)}\r\n\n  "ben"\t"${verifier}"\n`;
  const result = parseUsers(file, "users.txt");
  expect(result.ok && [...result.users.keys()]).toEqual(['an"na', "ben"]);
  expect(result.ok && result.users.get("ben")).toEqual(pencil);
});

test("a users file with a plain password, stray line or duplicate is refused by line, without its secrets", () => {
  const verifier = formatVerifier(pencil);
  const file = `"anna" "hunter2"\nben ${verifier}\n"cleo" "${verifier}"\n"cleo" "${verifier}"\n"dan" "md5d41d8cd98f00b204e9800998ecf8427e"`;
  const result = parseUsers(file, "users.txt");
  if (result.ok) throw new Error("taken");
  expect(result.problems.map((problem) => problem.split(" ")[0])).toEqual([
    "users.txt:1:",
    "users.txt:2:",
    "users.txt:4:",
    "users.txt:5:",
  ]);
  expect(result.problems.join()).not.toMatch(/hunter2|W22Z|d41d8/);
  expect(parseUsers("\n", "users.txt")).toMatchObject({ ok: false });
});

test("a users file that others may read is refused with advice", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-users-"));
  const path = join(folder, "users.txt");
  try {
    await writeFile(path, formatUser("anna", formatVerifier(pencil)), { mode: 0o644 });
    expect(await readUsersFile(path)).toMatchObject({
      ok: false,
      problems: [expect.stringContaining("chmod 640")],
    });
    await rm(path);
    await writeFile(path, formatUser("anna", formatVerifier(pencil)), { mode: 0o640 });
    expect(await readUsersFile(path)).toMatchObject({ ok: true });
    expect(await readUsersFile(join(folder, "none"))).toMatchObject({
      ok: false,
      problems: [expect.stringContaining("ENOENT")],
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

async function runScram(args: readonly string[], typed: string) {
  const input = new PassThrough();
  const output = new PassThrough();
  const errors = new PassThrough();
  input.end(typed);
  const status = await scram(args, { input, output, errors });
  output.end();
  errors.end();
  return { status, output: await text(output), errors: await text(errors) };
}

test("sluice scram prints a line that lets the user in", async () => {
  const { status, output } = await runScram(["anna"], "hunter2\n");
  expect(status).toBe(0);
  const result = parseUsers(output, "-");
  const verifier = result.ok ? result.users.get("anna") : undefined;
  expect(verifier && (await logIn("hunter2", verifier))).toBe(true);
  expect(output).not.toContain("hunter2");
});

test("sluice scram accepts no password as an argument, and no empty one", async () => {
  expect(await runScram(["anna", "hunter2"], "")).toMatchObject({ status: 2, output: "" });
  expect(await runScram([], "hunter2\n")).toMatchObject({ status: 2, output: "" });
  expect(await runScram(["anna", "--iterations", "10"], "hunter2\n")).toMatchObject({ status: 2 });
  expect(await runScram(["anna"], "\n")).toMatchObject({
    status: 1,
    output: "",
    errors: expect.stringMatching(/empty/),
  });
});
