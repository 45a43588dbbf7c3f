/** How often a turn comes if nothing delays it (ms). */
const TURN = 10;

let turned = 0;
setInterval(() => {
  turned += TURN;
}, TURN).unref();

/**
 * Time (ms) as experienced by this process, which runs the proxy and the test: while it gets no turns, or late ones,
 * the time nearly stops. Waiting for a timer takes as long as usual; a delay for want of a processor does not count.
 */
export function turns(): { elapsed(): number } {
  const since = turned;
  return { elapsed: () => turned - since };
}
