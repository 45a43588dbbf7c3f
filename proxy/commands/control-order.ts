import { openSuspensions, type Reached, type Suspensions } from "../orders/suspensions.ts";
import { type Control, placesOf } from "./control-arguments.ts";
import { complain, isWrong, type Streams, type Wrong } from "./streams.ts";

/** What became of an order. */
export interface Order {
  readonly reached: Reached;
  /** What is told when it is written down, and when it is nowhere. */
  readonly done: string;
  readonly undone: string;
}

/** What the command is to do, or the exit status where it has said already what there was to say. */
export function begin<T extends object>(
  { name, usage }: { readonly name: string; readonly usage: string },
  args: readonly string[],
  streams: Streams,
  read: () => T | Wrong,
): T | number {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(usage);
    return 0;
  }
  const wanted = read();
  return isWrong(wanted) ? complain(name, wanted, streams) : wanted;
}

/** Lets the command act where suspensions and grants are kept, and tells how far that went; the exit status. */
export async function actOnFleet(
  name: string,
  control: Control,
  streams: Streams,
  act: (suspensions: Suspensions) => Promise<Order | Wrong | string>,
): Promise<number> {
  const places = await placesOf(control);
  if (isWrong(places)) return complain(name, places, streams);
  const suspensions = await openSuspensions({ ...places, patience: PATIENCE });
  try {
    let result = await act(suspensions);
    // Without Redis' word neither a list nor "is not suspended" says anything.
    if (!isOrder(result) && !suspensions.knowsFleet && (await suspensions.insist())) {
      result = await act(suspensions);
    }
    if (typeof result === "string") {
      streams.output.write(result);
      return suspensions.knowsFleet ? 0 : complain(name, OLD_NEWS, streams);
    }
    if (isWrong(result)) return complain(name, suspensions.knowsFleet ? result : OLD_NEWS, streams);
    const { reached, done, undone } = result;
    if (!reached.file && !reached.redis) {
      const problem = `${undone}: neither Redis nor the folder could be written`;
      return complain(name, { problem, status: 1 }, streams);
    }
    streams.output.write(done);
    return places.redis === undefined || reached.redis ? 0 : complain(name, THIS_MACHINE, streams);
  } finally {
    await suspensions.close();
  }
}

function isOrder(result: Order | Wrong | string): result is Order {
  return typeof result !== "string" && !isWrong(result);
}

/** An operator in a hurry waits no longer for a Redis, or a machine, that has too much to do (ms). */
const PATIENCE = 5_000;

const OLD_NEWS: Wrong = {
  problem: "Redis cannot be reached: what is in force elsewhere is not known",
  status: 1,
};
const THIS_MACHINE: Wrong = {
  problem:
    "Redis cannot be reached: only proxies of this machine have the order; they send it to the others when Redis is back",
  status: 1,
};
