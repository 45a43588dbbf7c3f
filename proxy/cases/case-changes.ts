import { z } from "zod";
import { parseJson } from "../orders/json-text.ts";

/** What an operator does to a case. */
export const OPERATOR_CHANGES = ["owner", "answer", "comment", "closed"] as const;
export type OperatorChange = (typeof OPERATOR_CHANGES)[number];

/** How a case ended. */
export const OUTCOMES = ["false alarm", "justified", "misuse", "breach"] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const SEVERITIES = ["info", "low", "medium", "high", "critical"] as const;

const names = { id: z.string().min(1).max(100), time: z.number() };

const alertChange = z.object({
  ...names,
  kind: z.literal("alert"),
  /** Whom the alert was about; "" of the guard itself. */
  about: z.string(),
  database: z.string(),
  rule: z.string(),
  severity: z.enum(SEVERITIES),
  text: z.string(),
  session: z.string().exactOptional(),
});

const operatorChange = z.object({
  ...names,
  kind: z.enum(OPERATOR_CHANGES),
  by: z.string(),
  /** An alert of the case. */
  case: z.string(),
  /** The new owner, the words, or what a closed case was. */
  text: z.string(),
  outcome: z.enum(OUTCOMES).exactOptional(),
});

const changeSchema = z.discriminatedUnion("kind", [alertChange, operatorChange]);

/** One thing that happened to a case. It has an id of its own and is never changed: places that know the same changes know the same cases. */
export type Change = z.infer<typeof changeSchema>;
export type AlertChange = z.infer<typeof alertChange>;
export type MadeChange = z.infer<typeof operatorChange>;

/** Undefined if the text is no change. */
export function parseChange(text: string): Change | undefined {
  return parseJson(changeSchema, text);
}
