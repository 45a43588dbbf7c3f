import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readSettings, type Settings } from "../../proxy/settings/settings.ts";
import { SETTING_NAMES } from "../../proxy/settings/table.ts";

const UPSTREAM = "postgresql://sluice:hunter2@db:5432/support";
const folder = mkdtempSync(join(tmpdir(), "sluice-settings-"));

function file(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function accepted(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Settings {
  const result = readSettings(argv, env);
  if (!result.ok) throw new Error(result.problems.join("\n"));
  return result.settings;
}

function problems(argv: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const result = readSettings(argv, env);
  return result.ok ? "" : result.problems.join("\n");
}

test("only the database has to be named", () => {
  expect(accepted(["--upstream", UPSTREAM])).toMatchObject({
    listen: [{ host: "127.0.0.1", port: 6432 }],
    admin: { host: "127.0.0.1", port: 9432 },
    policy: "policies/",
    auth: "passthrough",
    redis: undefined,
    maxMessage: undefined,
    loginTimeout: 60_000,
  });
  expect(problems([])).toMatch(/^--upstream: missing/);
});

test("a flag goes before a variable, a variable before sluice.yaml, that before the default", () => {
  const config = file("order.yaml", `upstream: ${UPSTREAM}\nlisten: h:1\nadmin: h:1\naudit: h\n`);
  const env = { SLUICE_LISTEN: "h:2", SLUICE_ADMIN: "h:2", SLUICE_CONFIG: config };
  const settings = accepted(["--listen", "h:3"], env);
  expect(settings.listen).toEqual([{ host: "h", port: 3 }]);
  expect(settings.admin.port).toBe(2);
  expect(settings.audit).toBe(join(folder, "h"));
  expect(settings.logLevel).toBe("info");
});

test("IPv6 hosts stand in brackets", () => {
  expect(accepted(["--upstream", UPSTREAM, "--listen=[::1]:6432"]).listen).toEqual([
    { host: "::1", port: 6432 },
  ]);
});

const SEVERAL = [
  { host: "127.0.0.1", port: 6432 },
  { host: "::1", port: 6433 },
  { host: "/run/sluice", port: 6432 },
];

test("several addresses: the flag again, a list with commas, a sequence in sluice.yaml", () => {
  const given = ["127.0.0.1:6432", "[::1]:6433", "/run/sluice/:6432"];
  const flags = given.flatMap((address) => ["--listen", address]);
  expect(accepted(["--upstream", UPSTREAM, ...flags]).listen).toEqual(SEVERAL);
  const env = { SLUICE_LISTEN: given.join(", ") };
  expect(accepted(["--upstream", UPSTREAM], env).listen).toEqual(SEVERAL);
  const lines = given.map((address) => `  - "${address}"`).join("\n");
  const config = file("listen.yaml", `upstream: ${UPSTREAM}\nlisten:\n${lines}\n`);
  expect(accepted([], { SLUICE_CONFIG: config }).listen).toEqual(SEVERAL);
  // A flag goes before a variable, and is not added to it.
  expect(accepted(["--upstream", UPSTREAM, "--listen", "h:1"], env).listen).toEqual([{ host: "h", port: 1 }]);
});

test("of several addresses the wrong one is named, and one that is given twice", () => {
  expect(problems(["--upstream", UPSTREAM, "--listen", "h:1,/run/sluice"])).toContain(
    '"/run/sluice" is not a host and a port',
  );
  expect(problems(["--upstream", UPSTREAM, "--listen", "h:1", "--listen", "h:1"])).toContain(
    "h:1 is given twice",
  );
  expect(problems(["--upstream", UPSTREAM, "--admin", "h:1", "--admin", "h:1,h:2"])).toContain("--admin");
});

test.each([["6432"], ["localhost"], ["::1:6432"], ["localhost:65536"], ["[::1]"], ["a b:1"], [""]])(
  "%j is not an address, and the flag is named",
  (given) => {
    expect(problems(["--upstream", UPSTREAM, `--listen=${given}`])).toBe(
      `--listen: "${given}" is not a host and a port, such as 127.0.0.1:6432 or [::1]:6432, or the folder of a Unix socket and a port, such as /run/sluice:6432`,
    );
  },
);

test("sizes and durations have units; nothing is guessed", () => {
  const settings = accepted(["--upstream", UPSTREAM, "--max-message", "1kB", "--login-timeout", "2m"]);
  expect(settings.maxMessage).toBe(1024);
  expect(settings.loginTimeout).toBe(120_000);
  for (const bad of ["60", "1 week", "-1s", "0s", "1e3s"]) {
    expect(problems(["--upstream", UPSTREAM, `--login-timeout=${bad}`])).toMatch(
      /^--login-timeout: .* is not a duration/,
    );
  }
});

test("a mistake in sluice.yaml is found by its line and column", () => {
  const config = file("bad.yaml", `upstream: ${UPSTREAM}\n\nlisten: 6432\nlistn: h:1\nredis: [a]\n`);
  expect(problems(["--config", config]).split("\n")).toEqual([
    `${config}:4:1: there is no setting "listn"; "sluice serve --help" lists them`,
    `${config}:5:1: "redis" takes one value`,
    `${config}:3:1: "6432" is not a host and a port, such as 127.0.0.1:6432 or [::1]:6432, or the folder of a Unix socket and a port, such as /run/sluice:6432`,
  ]);
});

test("a variable with a mistake is named; foreign SLUICE_ variables and empty ones are let be", () => {
  expect(problems([], { SLUICE_UPSTREAM: UPSTREAM, SLUICE_AUTH: "trust" })).toBe(
    'SLUICE_AUTH: "trust" is not one of passthrough, scram',
  );
  expect(problems([], { SLUICE_UPSTREAM: UPSTREAM, SLUICE_SERVICE_HOST: "x", SLUICE_REDIS: "" })).toBe("");
});

test("a flag that does not exist, has no value or is no flag is refused", () => {
  const found = problems(["--upstream", UPSTREAM, "--trust-me", "x", "--listen", "--admin", "h:1"]);
  expect(found).toContain("--trust-me: there is no such flag");
  expect(found).toContain("--listen: a value is missing");
});

test("a sluice.yaml that was named must be there, and one that is broken shows none of its text", () => {
  expect(problems(["--config", join(folder, "none.yaml")])).toContain("cannot be read (ENOENT)");
  const broken = file("broken.yaml", `upstream: "${UPSTREAM}\nlisten: {`);
  expect(problems(["--config", broken])).toContain("broken.yaml:");
  expect(problems(["--config", broken])).not.toContain("hunter2");
});

test("no message repeats a password or a key", () => {
  const wrong = [
    "--upstream",
    "mysql://root:hunter2@db/x",
    "--redis",
    "http://:hunter2@r",
    "--control=hunter2",
  ];
  const found = problems(wrong, { SLUICE_KEY: "hunter2" });
  expect(found.split("\n")).toHaveLength(4);
  expect(found).not.toContain("hunter2");
});

test("the key comes from a file that only its owner may read, or from a variable, and from no flag", () => {
  const key = "0123456789abcdef".repeat(4);
  const closed = file("key", `${key}\n`);
  expect(accepted(["--upstream", UPSTREAM, "--key-file", closed]).key).toEqual(Buffer.from(key, "hex"));
  expect(accepted(["--upstream", UPSTREAM], { SLUICE_KEY: key }).key).toEqual(Buffer.from(key, "hex"));
  expect(accepted(["--upstream", UPSTREAM], { SLUICE_KEY_FILE: closed }).key).toEqual(
    Buffer.from(key, "hex"),
  );
  expect(problems(["--upstream", UPSTREAM, "--key", key])).toContain("--key: there is no such flag");
  const open = file("open-key", key, 0o644);
  expect(problems(["--upstream", UPSTREAM, "--key-file", open])).toContain("has group or world access");
  expect(problems(["--upstream", UPSTREAM], { SLUICE_KEY: key, SLUICE_KEY_FILE: closed })).toBe(
    "SLUICE_KEY and SLUICE_KEY_FILE: give only one of them",
  );
});

test("a password of --upstream may stay in a file", () => {
  const secret = file("upstream", `${UPSTREAM}\n`);
  const open = file("open-upstream", UPSTREAM, 0o644);
  expect(problems(["--upstream-file", open])).toMatch(/others than its owner may read .*; chmod 600 it/);
  expect(accepted(["--upstream-file", secret]).upstream).toBe(UPSTREAM);
});

test.each([
  [["--auth", "scram"], "--users: missing"],
  [["--tls-cert", "c.pem"], "--tls-cert and --tls-key: give both or none"],
  [["--tls-client-ca", "c.pem"], "--tls-client-ca: needs --tls-cert"],
  [["--redis", "redis://r"], "--key-file: missing"],
])("%j says what else it needs", (argv, problem) => {
  expect(problems(["--upstream", UPSTREAM, ...argv])).toContain(problem);
});

test("what is wrong with a setting is told in one sentence, whoever shares its form", () => {
  // No setting takes this; those of any text need no message.
  const told = SETTING_NAMES.flatMap((name) => {
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return problems([`${flag}=\u0001 ?`])
      .split("\n")
      .filter((line) => line.startsWith(`${flag}: `) && line.includes(" is not "));
  });
  expect(told.length).toBeGreaterThan(20);
  expect(told.filter((line) => line.includes("is not not "))).toEqual([]);
});
