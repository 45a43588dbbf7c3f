import { expect, test } from "vitest";
import { policyHandlers } from "../../proxy/app/compose-policy.ts";
import { PolicyWarnings } from "../../proxy/app/policy-warnings.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { compilePolicies, type PolicySet } from "../../proxy/policy/compile.ts";
import { outlineOf } from "../../proxy/policy/outline.ts";
import { entriesOf, makeFolder, openLog, SILENT } from "./support.ts";

function policies(text: string): PolicySet {
  const compiled = compilePolicies([{ name: "test.yaml", text }]);
  if (!compiled.ok) throw new Error("the policy is not good");
  return compiled.policies;
}

const FIRST = policies(`
version: 1
classes: { email: { mask: email }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id -> public.customers.id, columns: { body: text } }
  public.staff: { subject: login }
  public.countries: {}
roles: { agent: { users: [anna], reads: all, sees: [] } }
`);
const SECOND = policies(`
version: 1
tables: { public.contacts: { subject: id } }
roles: { agent: { users: [anna], reads: all, sees: [] } }
`);

test("a policy that is loaded says where people are named, which tables lead to them, and which classes there are", async () => {
  const folder = await makeFolder();
  const { log: audit } = await openLog(folder);
  const metrics = createMetrics({ version: "test", databases: [] });
  const warnings = new PolicyWarnings(FIRST, SILENT);
  const handlers = policyHandlers(
    FIRST,
    { metrics, audit, log: SILENT, warnings, catalogs: () => [] },
    undefined,
  );
  handlers.onLoaded(SECOND);
  handlers.onRejected([]);
  await audit.flush();
  const lines = (await entriesOf(folder)).slice(1).map(({ unmapped }) => unmapped);
  const told = lines.map(({ says: _, ...rest }) => rest);
  expect(lines[1]?.says).toEqual([
    "test.yaml: version: 1",
    "test.yaml: tables:",
    "test.yaml:   public.contacts:",
    "test.yaml:     subject: id",
    "test.yaml: roles:",
    "test.yaml:   agent:",
    "test.yaml:     users:",
    "test.yaml:       - anna",
    "test.yaml:     reads: all",
    "test.yaml:     sees: []",
  ]);
  expect(told).toEqual([
    {
      ...{ kind: "policy loaded", problems: 0, classes: ["email", "text"] },
      namespaces: [
        { name: "public.customers.id", tables: ["public.customers", "public.tickets"] },
        { name: "public.staff.login", tables: ["public.staff"] },
      ],
    },
    {
      ...{ kind: "policy loaded", problems: 0, classes: [] },
      namespaces: [{ name: "public.contacts.id", tables: ["public.contacts"] }],
    },
    { kind: "policy rejected", problems: 0 },
  ]);
});

test("decoys, comments and layout are not recorded of a policy, and a huge one is cut", () => {
  const one = outlineOf([
    { name: "a.yaml", text: "# 4711 is a decoy\nversion:   1\ncanaries: { public.customers: [4711] }\n" },
  ]);
  expect(one).toEqual(["a.yaml: version: 1", "a.yaml: canaries: (not shown)"]);
  const users = Array.from({ length: 6_000 }, (_, i) => `user${i}`).join(", ");
  const huge = outlineOf([{ name: "a.yaml", text: `users: [${users}]\nname: ${"x".repeat(1_000)}\n` }]);
  expect(huge).toHaveLength(5_001);
  expect(huge.at(-1)).toBe("… and 1002 more lines");
  expect(Math.max(...huge.map((line) => line.length))).toBeLessThan(310);
});
