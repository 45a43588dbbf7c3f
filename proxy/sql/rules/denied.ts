import type { Role } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";

/** 42501, with the role's policy key that would allow it: "sees", "aggregates_only". */
export function denied(role: Role, message: string, key: string, hint: string): Refusal {
  return refuse("42501", message, { rule: `roles.${role.name}.${key}`, hint });
}

/** The class of a column that a DBA would name: documents have several, and a column without a class none. */
export function classOf({ className }: { readonly className?: string | undefined }): string {
  return className === undefined ? "every class of this column" : `the class "${className}"`;
}

/** The line of the role that a DBA would edit. */
export function placeOfRole({ name, place }: Role): string {
  return `role "${name}" (${place.file}:${place.line})`;
}
