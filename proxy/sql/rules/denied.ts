import type { Role } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";

/** 42501, with the role's policy key that would allow it: "sees", "aggregates_only". */
export function denied(role: Role, message: string, key: string, hint: string): Refusal {
  return refuse("42501", message, { rule: `roles.${role.name}.${key}`, hint });
}

/** The line of the role that a DBA would edit. */
export function placeOfRole({ name, place }: Role): string {
  return `role "${name}" (${place.file}:${place.line})`;
}
