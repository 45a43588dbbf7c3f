import { shownText } from "../../policy/masks/all.ts";
import { seesClass } from "../../policy/policy.ts";
import type { OpenedValue } from "../../protocol/server-leg.ts";
import type { Scope } from "../../sql/scope.ts";
import type { ValueColumn } from "../../sql/tokens/documents.ts";
import { MARKS, type Sealer } from "../../tokens/sealed.ts";

/** What tokens of a class become for the session. */
export interface Reader {
  readonly scope: Scope;
  /** The session's statements are judged: a class that the role does not see is masked. */
  readonly isGuarded: boolean;
  readonly sealer: Sealer;
  /** Of a session whose reveals are counted: notes what it sees. */
  readonly opened?: OpenedValue[];
}

/** Whether the session gets the values of a column, or their masks. */
export function isSeen({ scope, isGuarded }: Reader, { className }: ValueColumn): boolean {
  return !isGuarded || seesClass(scope.role, className);
}

/** What the client gets in place of a token; undefined: the token itself. */
export function shownFor(reader: Reader, column: ValueColumn, token: string, field: number) {
  const { scope, sealer, opened } = reader;
  const value = sealer.open(token, column);
  const sees = isSeen(reader, column);
  // Without a mark it may be a value that was written beside the proxy.
  if (value === undefined) return sees || MARKS[column.form] !== undefined ? undefined : null;
  // A mask is a text.
  if (!sees && column.form === "bytes") return null;
  if (sees) {
    opened?.push({ className: column.className, column: column.name, token, field });
    return value;
  }
  const mask = scope.policy.classes.get(column.className)?.mask;
  return mask === undefined ? null : shownText(mask, value, scope.maskKey);
}
