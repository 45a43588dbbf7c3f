/** How often a turn comes when nothing holds it up (ms). */
const TURN = 10;

let turned = 0;
setInterval(() => {
  turned += TURN;
}, TURN).unref();

/**
 * Time (ms) as this process, in which proxy and test run, had it: while it gets no turn, or late ones, time stands
 * nearly still. Who waits for a timer takes as long as ever; who is late for want of a processor does not.
 */
export function turns(): { elapsed(): number } {
  const since = turned;
  return { elapsed: () => turned - since };
}
