import fc from "fast-check";
import { expect, test } from "vitest";
import { diffOf } from "../../../proxy/admin/console/pages/diff.ts";
import { grouped, inARow } from "../../../proxy/admin/console/pages/grouped-rows.ts";
import { Recent } from "../../../proxy/admin/recent.ts";
import { reading } from "../../audit/support.ts";

test("a change is shown with three lines around it, and what is far from it is left out", () => {
  const lines = Array.from({ length: 20 }, (_, i) => `line ${i}`);
  const changed = lines.with(10, "another");
  expect(diffOf(lines, changed)?.map(({ kind, text }) => `${kind} ${text}`.trim())).toEqual([
    "gap",
    ...["same line 7", "same line 8", "same line 9"],
    ...["removed line 10", "added another"],
    ...["same line 11", "same line 12", "same line 13"],
    "gap",
  ]);
  expect(diffOf(lines, lines)).toEqual([]);
});

test("whatever changed, the lines removed and added lead from the one to the other", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 12 });
  fc.assert(
    fc.property(text, text, (before, after) => {
      const lines = diffOf(before, after) ?? [];
      const count = (kind: string, of: string) =>
        lines.filter((one) => one.kind === kind && one.text === of).length;
      for (const one of ["a", "b", "c", "d"])
        expect(count("added", one) - count("removed", one)).toBe(
          after.filter((line) => line === one).length - before.filter((line) => line === one).length,
        );
    }),
  );
});

test("two policies that have nothing in common are not compared for minutes", () => {
  const many = (prefix: string) => Array.from({ length: 5_000 }, (_, i) => `${prefix} ${i}`);
  expect(diffOf(many("old"), many("new"))).toBeUndefined();
});

test("equal items are one with their number; in a row only where nothing stands between", () => {
  const key = (text: string) => text;
  expect(grouped(["a", "b", "a"], key).map(({ newest, count }) => `${newest}${count}`)).toEqual(["a2", "b1"]);
  expect(inARow(["a", "a", "b", "a"], key).map(({ newest, count }) => `${newest}${count}`)).toEqual([
    "a2",
    "b1",
    "a1",
  ]);
});

test("a loop of refusals does not drive the alert before it out of a process's memory", () => {
  const recent = new Recent();
  recent.see({
    ...{ kind: "alert", time: 1, id: "a", rule: "canary", action: "suspend", user: "anna", role: "agent" },
    ...{ database: "support", client: "local", text: "a decoy" },
  });
  for (let i = 0; i < 2_000; i++) recent.see(reading({ time: 2 + i, decision: "refuse", sqlstate: "42501" }));
  const kinds = recent.notables().map(({ kind }) => kind);
  expect(kinds).toHaveLength(501);
  expect(kinds.at(-1)).toBe("alert");
});
