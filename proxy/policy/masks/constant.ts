import { z } from "zod";
import { text } from "../sql-pieces.ts";
import { maskKind } from "./mask.ts";
import { onText } from "./mask-text.ts";

export const constant = maskKind("constant", {
  words: { redact: { kind: "constant", value: "[redacted]" } },
  mapping: {
    key: "constant",
    value: z.string({ error: "A text." }),
    compile: (value) => ({ kind: "constant", value }),
  },
  examples: ["redact", { constant: "hidden" }],
  about: "redact: [redacted]. { constant: text }: that text.",
  fits: "text",
  sql: ({ value }, masked) => onText(masked, () => text(value)),
  shown: ({ value }) => value,
  text: ({ value }) => `always "${value}"`,
});
