import { z } from "zod";
import type { BudgetWindow } from "../policy.ts";
import { checkClass } from "../references.ts";
import { name as className, count, none } from "../schema.ts";
import { bySeconds, duration, secondsAt } from "./budget.ts";
import { type Context, type Entry, roleRule, type Source } from "./rule.ts";

const HINT = "none, or windows by class as in { phone: { 1h: 5, 1d: 20 } }.";

const keys = {
  reveals: {
    schema: z.union(
      [
        none,
        z.record(
          className,
          z.union(
            [none, z.record(duration, z.union([none, count], { error: "A number of people, or none." }))],
            {
              error: "none, or windows as in { 1h: 5, 1d: 20 }.",
            },
          ),
        ),
      ],
      { error: HINT },
    ),
    about:
      "Of how many distinct people the proxy turns tokens of a class back for a user, within sliding windows, over all " +
      "sessions and proxies together. Only for classes with `stored` that the role sees. Past it a result ends; columns " +
      "of other classes stay readable. A role that extends another changes only the windows it names.",
    example: { phone: { "1h": 5, "1d": 20 } },
    reason: "reveals",
  },
} as const;

/** How often values that are stored as tokens may be turned back. */
export const reveals = roleRule("reveals", {
  keys,
  compile: (source, base = [], context) => windowsFor(source, base, context),
  guardedBy: (windows) => (windows.length > 0 ? ["reveals"] : []),
  unrestricted: [],
  idle: [
    {
      key: "reveals",
      isIdle: ({ reveals: windows, sees }) =>
        sees !== "all" && windows.some(({ of = "" }) => sees.get(of) !== "always"),
      why: "the role sees a class of it masked, and masks are not counted",
      hint: 'Add the class under "sees:", or take it out.',
    },
  ],
  fact: {
    label: "Turns tokens back",
    lines: (windows) =>
      windows.map(({ limit, of, name }) => [
        `${of} of ${limit.toLocaleString("en")} ${limit === 1 ? "person" : "people"} in ${name}`,
      ]),
  },
});

function windowsFor(
  { name, entry, document }: Source<Entry<typeof keys>>,
  base: readonly BudgetWindow[],
  { documents, classes, problems }: Context,
): readonly BudgetWindow[] {
  const said = entry.reveals;
  if (said === undefined) return base;
  if (said === "none") return [];
  let windows = [...base];
  for (const [of, limits] of Object.entries(said)) {
    const path = ["roles", name, "reveals", of];
    const place = document.placeOfKey(path);
    checkClass(documents, classes, of, place, problems);
    const known = classes.get(of);
    if (known !== undefined && known.stored === undefined)
      problems.error(
        place,
        `class "${of}" is not stored as tokens, so nothing of it is turned back`,
        'Add "stored:" to the class, or count its people by "cost:" and a budget.',
      );
    const own = limits === "none" ? {} : limits;
    windows = windows.filter(
      (each) => each.of !== of || (limits !== "none" && !Object.hasOwn(own, each.name)),
    );
    for (const [length, limit] of Object.entries(own)) {
      const seconds = secondsAt(document, [...path, length], length, problems);
      const rule = [...path, length].join(".");
      if (limit !== "none") windows.push({ name: length, seconds, what: "reveals", of, limit, rule });
    }
  }
  return windows.sort(bySeconds);
}
