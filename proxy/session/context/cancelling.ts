import type { Log } from "../../log.ts";
import type { Barrier } from "../../protocol/barrier.ts";
import type { Established } from "./established.ts";

/**
 * Asks the server to cancel what runs. Nothing of the client's passes the barrier until the request has been heard: it
 * could hit what is sent next. `wake`: tries again what had to wait.
 */
export function cancelBehind(
  barrier: Barrier,
  established: Pick<Established, "cancelUpstream">,
  log: Log,
  wake: () => void,
): void {
  barrier.cancelSent();
  const done = () => {
    barrier.cancelHeard();
    wake();
  };
  established.cancelUpstream().then(done, (error: unknown) => {
    const reason = error instanceof Error ? error.message : "unknown";
    log.warn({ reason }, "a statement past its limit could not be cancelled");
    done();
  });
}
