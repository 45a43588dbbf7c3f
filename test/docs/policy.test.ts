import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { z } from "zod";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { policyFileSchema } from "../../proxy/policy/format.ts";
import { MASK_KINDS } from "../../proxy/policy/masks/all.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";
import { ROLE_RULES } from "../../proxy/policy/rules/all.ts";
import { inline } from "../../proxy/policy/schema.ts";

const PAGE = fileURLToPath(new URL("../../docs/policy.md", import.meta.url));
const [BEGIN, END] = ['<!-- made from the source by "npm run docs:policy" -->', "<!-- end -->"];

interface Key {
  readonly description?: string;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Key>>;
  readonly additionalProperties?: Key;
}

const schema = z.toJSONSchema(policyFileSchema, { target: "draft-7", io: "input" }) as Key;
const file = schema.properties ?? {};
const within = (section: string) => file[section]?.additionalProperties?.properties ?? {};

const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("<", "\\<").replaceAll("\n", "<br>");
const code = (text: string) => `\`${text.replaceAll("|", "\\|")}\``;

function table(keys: Readonly<Record<string, Key>>): readonly string[] {
  const rows = Object.entries(keys).map(([key, { description = "", examples = [] }]) => {
    const all = key === "mask" ? MASK_KINDS.flatMap((kind) => kind.examples) : examples;
    const shown = all.map((example) => code(`${key}: ${inline(example)}`)).join("<br>");
    const [first = ""] = description.split("\n");
    const means = key === "mask" ? `${first} See below.` : description;
    return `| \`${key}\` | ${cell(means)} | ${shown} |`;
  });
  return ["| key | what it means | as in |", "| --- | --- | --- |", ...rows];
}

const masks = [
  "| mask | what it does | columns |",
  "| --- | --- | --- |",
  ...MASK_KINDS.map(({ examples, about, fits }) => {
    return `| ${examples.map((example) => code(inline(example))).join(", ")} | ${cell(about)} | ${cell(fits)} |`;
  }),
];

test("docs/policy.md has every key and every mask", async () => {
  const page = await readFile(PAGE, "utf8");
  const [before, after] = [page.split(BEGIN)[0], page.split(END)[1]];
  const made = [
    ...["## A file", "", ...table(file), ""],
    ...["## A class", "", ...table(within("classes")), ""],
    ...["## Masks", "", "NULL stays NULL, and a column keeps its type.", "", ...masks, ""],
    ...["## A table", "", ...table(within("tables")), ""],
    ...["## A role", "", ...table(within("roles")), ""],
  ];
  await expect([`${before}${BEGIN}`, "", ...made, `${END}${after}`].join("\n")).toMatchFileSnapshot(PAGE);
});

test("every key says what it means, with an example", () => {
  for (const keys of [file, within("classes"), within("tables"), within("roles")]) {
    expect(Object.keys(keys).length).toBeGreaterThan(1);
    for (const [key, { description = "", examples = [] }] of Object.entries(keys)) {
      expect(description, key).not.toBe("");
      expect(key === "mask" ? ["below"] : examples, key).not.toEqual([]);
    }
  }
});

const FRAME = `version: 1
token_canary: slt1_1_abcdefghijklmnopqrstuvwxyz012345
classes: { name: { mask: redact }, text: { mask: redact }, email: { mask: email }, phone: { mask: { last: 2 }, stored: token } }
tables: { public.customers: { subject: id } }
`;

/** Problems of a policy whose role says this. */
function problems(lines: readonly string[]): readonly string[] {
  const text = `${FRAME}roles:\n  agent: {}\n  lead: {}\n  it:\n${lines.map((line) => `    ${line}\n`).join("")}`;
  const compiled = compilePolicies([{ name: "p.yaml", text }]);
  return compiled.ok ? [] : compiled.problems.map(describeProblem);
}

test.each(
  ROLE_RULES.flatMap(({ keys, watched }) => Object.entries(keys).map((key) => [...key, watched] as const)),
)("the example of %s is right", (key, { example }, watched) => {
  const watch = watched === "only" || watched === "people" || key === "watch";
  const reach = watch
    ? ["reads: all", "writes: all", "sees: all", "watch: true"]
    : ["reads: [public.customers, public.tickets]"];
  const names = ["people_behind: [{ setting: app.token }]", "signed_by: { key_file: k }"];
  const isOfNames = watched === "only" || watched === "people";
  const behind = key === "acts_as" ? names : isOfNames && key !== "people_behind" ? names.slice(0, 1) : [];
  const others = [...reach, ...behind].filter((line) => !line.startsWith(`${key}:`));
  expect(problems([...others, `${key}: ${inline(example)}`])).toEqual([]);
});

test("the examples of masks are right", () => {
  const classes = MASK_KINDS.flatMap(({ examples }) => examples).map(
    (mask, i) => `  c${i}: { mask: ${inline(mask)} }\n`,
  );
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\nclasses:\n${classes.join("")}` }]);
  expect(compiled.ok ? [] : compiled.problems.map(describeProblem)).toEqual([]);
});
