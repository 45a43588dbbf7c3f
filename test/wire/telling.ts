import type { Telling } from "../../proxy/wire/errors.ts";

/** Positions mapped as said, all else as it comes. */
export function plainly(position: Telling["position"]): Telling {
  return { position, message: (text) => text, tells: () => true, tellsSource: true };
}
