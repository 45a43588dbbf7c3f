import { readControl } from "./control-arguments.ts";
import { actOnFleet, begin } from "./control-order.ts";
import { STANDARD, type Streams } from "./streams.ts";

const USAGE = `usage: sluice resume USER [--by NAME] [--redis URI] [--key-file FILE] [--audit FOLDER]

Lets a suspended user log in again, and restores their full budgets if a rule has tightened them.
`;

const COMMAND = { name: "resume", usage: USAGE };

/** `sluice resume`; resolves to the exit status. */
export async function resume(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const control = begin(COMMAND, args, streams, () => readControl(args, env, { user: true, why: false }));
  if (typeof control === "number") return control;
  const { user, by } = control;
  return actOnFleet(COMMAND.name, control, streams, async (suspensions) => {
    const tightening = suspensions.tightened(user);
    if (suspensions.isSuspended(user) === undefined && tightening === undefined) {
      return { problem: `"${user}" is not suspended`, status: 1 };
    }
    if (tightening !== undefined) await suspensions.relax(user, by);
    return {
      reached: await suspensions.resume(user, "", by),
      done: `"${user}" may log in again.\n`,
      undone: `"${user}" is NOT resumed`,
    };
  });
}
