import { type Refusal, refuse } from "../../wire/refusal.ts";

export function notUnderstood(what: string): Refusal {
  return refuse(
    "42501",
    `this statement names a table with tokens and uses syntax that Sluice does not know (${what})`,
    {
      hint: "Sluice cannot tell which of its values have to be turned into tokens. Write it in another way.",
    },
  );
}
