import type { Telling } from "../../proxy/wire/errors.ts";

/** Positions mapped as said, messages as they come. */
export function plainly(position: Telling["position"]): Telling {
  return { position, message: (text) => text };
}
