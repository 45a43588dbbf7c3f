import { z } from "zod";
import { checkClass } from "../references.ts";
import { name as className, none } from "../schema.ts";
import { roleRule } from "./rule.ts";

// A value that is not masked does not need a lookup, so the key guards nothing.
export const finds = roleRule("finds", {
  keys: {
    finds: {
      schema: z.union([z.literal("all"), none, z.array(className, { error: "A list of class names." })], {
        error: "all, none, or a list of class names.",
      }),
      about:
        "Masked classes that may be searched by exact value: where email = 'alice@example.com'. None if left out.",
      example: ["email", "phone"],
      reason: "column",
    },
  },
  compile({ name, entry, document }, base, { documents, classes, problems }) {
    const said = entry.finds;
    if (said === undefined) return base ?? new Set();
    if (said === "all") return "all";
    if (said === "none") return new Set();
    said.forEach((each, i) => {
      checkClass(documents, classes, each, document.placeOf(["roles", name, "finds", i]), problems);
    });
    return new Set(said);
  },
  idle: [
    {
      key: "finds",
      isIdle: ({ finds: found, sees }) => sees === "all" && (found === "all" || found.size > 0),
      why: "the role sees all classes, and what is seen can be searched",
      hint: "Take it out.",
    },
  ],
  fact: {
    label: "Finds by exact value",
    lines: (found) => (found === "all" ? [["all"]] : [...found].map((each) => [each])),
  },
});
