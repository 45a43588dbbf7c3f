import { openSuspensions } from "../guard/suspensions.ts";
import { complain, isWrong, placesOf, readControl, STANDARD, type Streams } from "./control-arguments.ts";

const USAGE = `usage: sluice suspend USER --why TEXT [--by NAME] [--redis URI] [--key-file FILE] [--audit FOLDER]

Cuts a user off: within a second every proxy of the fleet ends his sessions, cancels what they run, and lets
him in no more, until "sluice resume". It holds through restarts. Redis, key and audit folder are found as
"sluice serve" finds them; without Redis the order reaches the proxies that keep their audit log in this folder.
`;

/** `sluice suspend`; resolves to the exit status. */
export async function suspend(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(USAGE);
    return 0;
  }
  const control = readControl(args, env, { user: true, why: true });
  if (isWrong(control)) return complain("suspend", control, streams);
  const places = await placesOf(control);
  if (isWrong(places)) return complain("suspend", places, streams);
  const suspensions = await openSuspensions(places);
  try {
    const { user, why, by } = control;
    const reached = await suspensions.suspend(user, why, by);
    if (!reached.file && !reached.redis) {
      const problem = `"${user}" is NOT suspended: neither Redis nor the folder could be written`;
      return complain("suspend", { problem, status: 1 }, streams);
    }
    streams.output.write(`"${user}" is suspended.\n`);
    if (places.redis === undefined || reached.redis) return 0;
    const problem =
      "Redis cannot be reached: only proxies of this machine know; they tell the others when it is back";
    return complain("suspend", { problem, status: 1 }, streams);
  } finally {
    await suspensions.close();
  }
}
