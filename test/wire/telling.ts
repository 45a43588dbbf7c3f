import type { Telling } from "../../proxy/wire/errors.ts";

/** Maps positions as given; everything else stays as it is. */
export function plainly(position: Telling["position"]): Telling {
  return { position, message: (text) => text, tells: () => true, tellsSource: true };
}
