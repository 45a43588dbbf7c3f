import type { Catalog } from "../../catalog/catalog.ts";
import type { Role } from "../../policy/policy.ts";
import { hasUnknownCasts } from "../../sql/rules/casts.ts";
import { declaredType, type Parse } from "../../wire/frontend-messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";

/**
 * A Parse message may say a parameter's type, which then stands in no text: a domain's CHECK, a row type's fields or a
 * user's cast would run without being judged. What may be cast to may be declared (see sql/rules/types.ts).
 */
export function refuseTypes(
  message: Buffer,
  { types }: Parse,
  catalog: Catalog,
  { name }: Role,
): Refusal | undefined {
  for (let number = 1; number <= types; number++) {
    const oid = declaredType(message, number);
    const type = oid === 0 ? undefined : catalog.typesByOid.get(oid);
    if (oid === 0 || (type !== undefined && isPlain(catalog, oid, type))) continue;
    return refuse("42501", `role "${name}" may not declare parameter $${number} of this type`, {
      hint: "Leave the type to the server, or declare one of Postgres's own, an enum, or an extension's; not a domain or row type.",
    });
  }
  return undefined;
}

function isPlain(
  catalog: Catalog,
  oid: number,
  { schema, plainInput }: { readonly schema: string; readonly plainInput: boolean },
): boolean {
  return schema === "pg_catalog" || (plainInput && !hasUnknownCasts(catalog, oid));
}
