import type { Effect } from "../../sql/verdict.ts";
import { nameKey } from "../../wire/messages.ts";
import type { Judged } from "./decision.ts";
import { pinnedIn } from "./pinned.ts";
import { type Named, type Portal, portalOf, preparedBySql } from "./prepared.ts";

/** What a completed statement did to the session's names; `index` is its place in the text. */
export function applyEffect(names: Named, effect: Effect | undefined, judged: Judged, index: number): void {
  const { statements, portals } = names;
  switch (effect?.kind) {
    case "prepare":
      statements.set(nameKey(effect.name), preparedBySql(owned(judged), index));
      break;
    case "deallocate":
      if (effect.name !== undefined) statements.delete(nameKey(effect.name));
      else statements.clear(isUnnamed);
      break;
    case "declare": {
      const pinned = pinnedIn(judged, effect.inner);
      const portal = portalOf(owned(judged), effect.inner, { pinned });
      portals.set(nameKey(effect.name), { ...portal, held: effect.hold });
      break;
    }
    case "close":
      if (effect.portal !== undefined) portals.delete(nameKey(effect.portal));
      else portals.clear(() => false);
      break;
    case "discard":
      if (effect.target !== "all") break;
      statements.clear(isUnnamed);
      portals.clear(() => false);
      break;
    case "transaction":
      if (effect.ends) portals.clear(isHeld);
      break;
    // These name nothing, or are seen to elsewhere.
    case "execute":
    case "explainExecute":
    case "fetch":
    case "set":
    case "definition":
    case "copyIn":
    case "copyOut":
    case undefined:
      break;
  }
}

/** A name outlives the buffer in which its text came by far. */
function owned(judged: Judged): Judged {
  return { ...judged, text: Buffer.from(judged.text) };
}

/** Portals end with their transaction, but for cursors WITH HOLD. */
export function isHeld({ held }: Portal): boolean {
  return held;
}

/** DEALLOCATE ALL knows only statements with a name (DropAllPreparedStatements of commands/prepare.c). */
function isUnnamed(_value: unknown, name: string): boolean {
  return name === "";
}
