import type { Frame } from "../wire/frames.ts";
import { GuardedBackend } from "./backend.ts";
import type { Established } from "./established.ts";
import { Exchange } from "./exchange.ts";
import { GuardedFrontend } from "./frontend.ts";
import type { Judging } from "./judging.ts";
import type { SessionParts } from "./parts.ts";
import type { Relay } from "./relay.ts";
import type { Trace } from "./trace.ts";

/** The session of a role that does not see all. */
export function guardedRelay(
  established: Established,
  parts: SessionParts,
  judging: Judging,
  trace: Trace,
  wake: () => void,
): Relay {
  const exchange = new Exchange(established, parts, judging, trace, wake);
  const frontend = new GuardedFrontend(exchange);
  const backend = new GuardedBackend(exchange);
  return {
    toClient: exchange.toClient,
    toServer: exchange.toServer,
    frontend: (frame: Frame) => frontend.handle(frame),
    backend: (frame: Frame) => backend.handle(frame),
    settle: () => backend.settle(),
    record: () => {
      const { head } = exchange.replies;
      const run = head?.kind === "query" || head?.kind === "execute" ? head.run : undefined;
      if (run !== undefined) trace.underway(run);
    },
    mayStream: (type) => backend.mayStream(type),
    // Rows wait for the meter, texts for their events.
    keepsBytes: true,
    get isRunning() {
      return !exchange.replies.isEmpty;
    },
    get copyIn() {
      return exchange.copyIn;
    },
    get isIdle() {
      return (
        exchange.replies.isEmpty && exchange.status === "I" && !exchange.skipping && !exchange.inPipeline
      );
    },
    get terminated() {
      return exchange.terminated;
    },
    get fatal() {
      return exchange.fatal;
    },
    cancelStatement() {
      exchange.overrun = true;
      // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
      exchange.flush();
      exchange.cancel();
    },
    abandon: () => backend.abandon(),
  };
}
