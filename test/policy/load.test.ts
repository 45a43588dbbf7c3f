import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { policyCheck } from "../../proxy/commands/policy-check.ts";
import { policySchema } from "../../proxy/commands/policy-schema.ts";
import { compilePolicies, type PolicySet, type PolicyText } from "../../proxy/policy/compile.ts";
import { policyJsonSchema } from "../../proxy/policy/format.ts";
import { loadPolicies } from "../../proxy/policy-files/load.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-policy-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function problemsAt(path: string): Promise<readonly string[]> {
  const loaded = await loadPolicies(path);
  return loaded.ok ? [] : loaded.problems.map(({ place, message }) => `${place.file}: ${message}`);
}

function compiled(...files: readonly PolicyText[]): PolicySet {
  const result = compilePolicies(files);
  if (!result.ok) throw new Error(result.problems.map(({ message }) => message).join("\n"));
  return result.policies;
}

test("a folder that is empty, missing, or holds only tests is a problem and not a crash", async () => {
  expect(await problemsAt(folder)).toEqual([`${folder}: no policy in this folder`]);
  await writeFile(join(folder, "support_test.yaml"), "- as: anna\n");
  await writeFile(join(folder, "README.md"), "policies\n");
  expect(await problemsAt(folder)).toEqual([`${folder}: no policy in this folder`]);
  const away = join(folder, "away");
  expect(await problemsAt(away)).toEqual([`${away}: there is no such file or folder`]);
});

test("a file that cannot be read as text is a problem that names it, along with those of the other files", async () => {
  await writeFile(join(folder, "a.yaml"), Buffer.from([0x76, 0xff, 0xfe]));
  await mkdir(join(folder, "b.yaml"));
  await writeFile(join(folder, "c.yml"), "version: 1\nmode: wrong\n");
  expect(await problemsAt(folder)).toEqual([
    `${join(folder, "a.yaml")}: is not UTF-8`,
    `${join(folder, "b.yaml")}: cannot be read (EISDIR)`,
    `${join(folder, "c.yml")}: "mode" cannot be "wrong"`,
  ]);
});

test.skipIf(process.getuid?.() === 0)("a file without the right to read it is a problem", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, "version: 1\n");
  await chmod(file, 0);
  expect(await problemsAt(folder)).toEqual([`${file}: may not be read`]);
});

test("a single file can be a policy, whatever its name", async () => {
  const file = join(folder, "policy.txt");
  await writeFile(file, "version: 1\nmode: observe\n");
  const loaded = await loadPolicies(file);
  expect(loaded.ok && loaded.policies.forDatabase("any").mode).toBe("observe");
});

test("several files form one policy", () => {
  const policies = compiled(
    {
      name: "roles.yaml",
      text: "version: 1\nroles: { agent: { sees: [email], reads: [public.c] } }\nunknown_users: agent\n",
    },
    { name: "classes.yaml", text: "version: 1\nclasses: { email: { mask: email } }\n" },
    {
      name: "tables.yaml",
      text: "version: 1\ntables: { public.c: { columns: { email: email } } }\nmode: observe\n",
    },
  );
  const policy = policies.forDatabase("any");
  expect([...policy.classes.keys(), ...policy.tables.keys(), ...policy.roles.keys()]).toEqual([
    "email",
    "public.c",
    "agent",
  ]);
  expect(policy.unknownUsers?.name).toBe("agent");
  expect(policies.files).toEqual(["classes.yaml", "roles.yaml", "tables.yaml"]);
});

test("a file for one database adds to the general ones there, and does not apply to other databases", () => {
  const policies = compiled(
    {
      name: "all.yaml",
      text: "version: 1\nclasses: { email: { mask: email } }\nroles: { app: { users: [app] } }\n",
    },
    {
      name: "support.yaml",
      text: "version: 1\ndatabase: support\nroles: { agent: { sees: [email] } }\nmode: observe\n",
    },
    { name: "shop.yaml", text: "version: 1\ndatabase: shop\nroles: { agent: { users: [anna] } }\n" },
  );
  expect([...policies.forDatabase("support").roles.keys()]).toEqual(["app", "agent"]);
  expect(policies.forDatabase("support").mode).toBe("observe");
  expect(policies.forDatabase("shop").roles.get("agent")?.users).toHaveLength(1);
  expect(policies.forDatabase("shop").mode).toBe("enforce");
  expect([...policies.forDatabase("other").roles.keys()]).toEqual(["app"]);
  expect(policies.databases).toEqual(["shop", "support"]);
});

test("a database without a file lets no one in", () => {
  const policies = compiled({
    name: "a.yaml",
    text: "version: 1\ndatabase: support\nroles: { agent: { users: [anna] } }\nunknown_users: agent\n",
  });
  expect(policies.forDatabase("other").roles.size).toBe(0);
  expect(policies.forDatabase("other").unknownUsers).toBeUndefined();
});

test("the version changes with any content and with nothing else", () => {
  const a = { name: "a.yaml", text: "version: 1\n" };
  const b = { name: "b.yaml", text: "version: 1\nmode: observe\n" };
  const version = compiled(a, b).version;
  expect(version).toMatch(/^[0-9a-f]{12}$/);
  expect(compiled(b, a).version).toBe(version);
  expect(compiled(a, { ...b, text: `${b.text}# seen\n` }).version).not.toBe(version);
  expect(compiled(a).version).not.toBe(version);
});

test("all masks of the design can be written", () => {
  const policy = compiled({
    name: "a.yaml",
    text: `version: 1
classes:
  a: { mask: "null" }
  b: { mask: null }
  c: { mask: redact }
  d: { mask: { constant: x } }
  e: { mask: initials }
  f: { mask: email }
  g: { mask: { first: 1 } }
  h: { mask: { last: 2 } }
  i: { mask: { token: cust_ } }
  j: { mask: hash }
  k: { mask: { round: 10 } }
  l: { mask: year }
  m: { mask: month }
  n: { mask: { sql: "left(value, 3)" } }
`,
  }).forDatabase("any");
  expect([...policy.classes.values()].map(({ mask }) => mask)).toEqual([
    { kind: "null" },
    { kind: "null" },
    { kind: "constant", value: "[redacted]" },
    { kind: "constant", value: "x" },
    { kind: "initials" },
    { kind: "email" },
    { kind: "first", count: 1 },
    { kind: "last", count: 2 },
    { kind: "token", prefix: "cust_" },
    { kind: "hash" },
    { kind: "round", to: 10 },
    { kind: "truncate", to: "year" },
    { kind: "truncate", to: "month" },
    { kind: "sql", expression: "pg_catalog.left(value, 3)" },
  ]);
});

test("the demo's policy is valid, and its roles are as described", async () => {
  const loaded = await loadPolicies("policies/");
  expect(loaded.ok ? [] : loaded.problems).toEqual([]);
  if (!loaded.ok) return;
  const { roles } = loaded.policies.forDatabase("support");
  expect([...roles.keys()]).toEqual(["agent", "lead", "analyst", "app", "web"]);
  const budget = (role: string) =>
    roles.get(role)?.budget.map(({ name, what, limit }) => `${name} ${what} ${limit}`);
  const hour = ["1m people 30", "1h people 120", "1h bytes 2097152", "1h lookups 60"];
  expect(budget("agent")).toEqual([
    ...hour,
    "1d people 300",
    "1d bytes 6291456",
    "1d lookups 400",
    "1d changes 500",
    "30d people 3000",
  ]);
  expect(budget("lead")).toEqual([
    "1m people 30",
    "1h people 120",
    "1h bytes 4194304",
    "1h lookups 120",
    "1d people 600",
    "1d bytes 12582912",
    "1d lookups 800",
    "1d changes 500",
    "30d people 3000",
  ]);
  expect(roles.get("lead")?.limits).toMatchObject({ rows: 100, changes: 50 });
  expect(roles.get("app")).toMatchObject({ reads: "all", writes: "all", sees: "all", budget: [] });
});

/** A command's standard output and exit status. */
async function run(command: () => Promise<number>): Promise<{ status: number; output: string }> {
  const written: string[] = [];
  const { write } = process.stdout;
  process.stdout.write = ((text: string) => written.push(text) > 0) as typeof write;
  try {
    return { status: await command(), output: written.join("") };
  } finally {
    process.stdout.write = write;
  }
}

test("policy check exits with 1 and positions that an editor can jump to, or with 0", async () => {
  const file = join(folder, "a.yaml");
  await writeFile(file, "version: 1\nmode: enforced\n");
  expect(await run(() => policyCheck([folder]))).toEqual({
    status: 1,
    output: `${file}:2:7: error: "mode" cannot be "enforced"\n  hint: Did you mean "enforce"? enforce or observe.\n1 error, 0 warnings\n`,
  });
  await writeFile(file, "version: 1\nmode: enforce\n");
  expect(await run(() => policyCheck([folder]))).toEqual({ status: 0, output: "1 file: right\n" });
});

test("policy check warns once of a role that may see what costs more than its whole budget", async () => {
  const file = join(folder, "a.yaml");
  const policy = (budget: string, rest: string) =>
    writeFile(
      file,
      `version: 1
classes: { card: { mask: "null", cost: 5 }, name: { mask: initials } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: ${budget}, ${rest} }
tables: { public.customers: { subject: id, columns: { card: card, name: name } } }
`,
    );
  await writeFile(join(folder, "b.yaml"), "version: 1\ndatabase: sales\n");
  const warning = `${file}:4:3: warning: role "agent" can never read a "card": each person counts for 5, and roles.agent.budget.1h is 4\n`;
  for (const rest of ["sees: [card]", "finds: [card]", "sees: all"]) {
    await policy("{ 1h: 4, 1d: 300 }", rest);
    const { status, output } = await run(() => policyCheck([folder]));
    expect([status, output]).toEqual([0, expect.stringContaining(warning)]);
    expect(output).toContain("2 files: right, 1 warning\n");
  }
  for (const [budget, rest] of [
    ["{ 1h: 4 }", "sees: [name]"],
    ["{ 1h: 5 }", "sees: [card]"],
    ["{ 1h: { rows: 4 } }", "sees: [card]"],
    ["{ 1h: 0 }", "sees: [card]"],
  ] as const) {
    await policy(budget, rest);
    expect((await run(() => policyCheck([folder]))).output).toBe("2 files: right\n");
  }
});

test("policy schema prints the schema", async () => {
  expect(await run(() => policySchema([]))).toEqual({ status: 0, output: policyJsonSchema() });
});
