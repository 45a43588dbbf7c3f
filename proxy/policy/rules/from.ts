import { z } from "zod";
import { parseNetwork } from "../networks.ts";
import { roleRule } from "./rule.ts";

export const from = roleRule("from", {
  keys: {
    from: {
      schema: z.array(z.string({ error: "A network, as in 10.2.0.0/16." }), {
        error: "A list of networks, as in [10.2.0.0/16].",
      }),
      about: "Networks where these users may come from. All if left out.",
      example: ["10.2.0.0/16"],
    },
  },
  compile({ name, entry, document }, base, { problems }) {
    if (entry.from === undefined) return base ?? [];
    // To the code an empty list would mean "from anywhere"; to the reader, "from nowhere".
    if (entry.from.length === 0) {
      const place = document.placeOf(["roles", name, "from"]);
      problems.error(place, "an empty list of networks", "Name the networks, or 0.0.0.0/0 and ::/0 for all.");
    }
    return entry.from.flatMap((text, i) => {
      const parsed = parseNetwork(text);
      if (parsed.ok) return [parsed.network];
      problems.error(document.placeOf(["roles", name, "from", i]), parsed.problem, parsed.hint);
      return [];
    });
  },
  fact: { label: "From", lines: (networks) => networks.map(({ text }) => [text]) },
});
