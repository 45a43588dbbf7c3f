import { readControl } from "./control-arguments.ts";
import { actOnFleet, begin } from "./control-order.ts";
import { STANDARD, type Streams } from "./streams.ts";

const USAGE = `usage: sluice suspend USER --why TEXT [--by NAME] [--redis URI] [--key-file FILE] [--audit FOLDER]

Cuts a user off: within a second every proxy of the fleet ends their sessions, cancels what they run, and refuses
their logins until "sluice resume". It survives restarts. Redis, key and audit folder are found as
"sluice serve" finds them; without Redis the order reaches the proxies that keep their audit log in this folder.
`;

const COMMAND = { name: "suspend", usage: USAGE };

/** `sluice suspend`; resolves to the exit status. */
export async function suspend(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const control = begin(COMMAND, args, streams, () => readControl(args, env, { user: true, why: true }));
  if (typeof control === "number") return control;
  const { user, why, by } = control;
  return actOnFleet(COMMAND.name, control, streams, async (suspensions) => ({
    reached: await suspensions.suspend(user, why, by),
    done: `"${user}" is suspended.\n`,
    undone: `"${user}" is NOT suspended`,
  }));
}
