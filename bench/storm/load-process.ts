/** One process of clients: gets its options as the first message, and answers a second one with its ledger. */
import { type LoadOptions, runLoad } from "./load.ts";

const stop = new AbortController();
// Its clients have nothing to do without the one who asked for them.
process.once("disconnect", () => process.exit());
process.once("message", (options: LoadOptions) => {
  process.once("message", () => stop.abort());
  runLoad(options, stop.signal).then(
    (ledger) => process.send?.(ledger, () => process.disconnect()),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
