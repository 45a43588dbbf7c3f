import { openSuspensions } from "../guard/suspensions.ts";
import { complain, isWrong, placesOf, readControl, STANDARD, type Streams } from "./control-arguments.ts";

const USAGE = `usage: sluice resume USER [--by NAME] [--redis URI] [--key-file FILE] [--audit FOLDER]

Lets a suspended user in again, and gives him back his whole budgets if a rule has tightened them.
`;

/** `sluice resume`; resolves to the exit status. */
export async function resume(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(USAGE);
    return 0;
  }
  const control = readControl(args, env, { user: true, why: false });
  if (isWrong(control)) return complain("resume", control, streams);
  const places = await placesOf(control);
  if (isWrong(places)) return complain("resume", places, streams);
  const suspensions = await openSuspensions(places);
  try {
    const { user, by } = control;
    const [suspension, tightening] = [suspensions.isSuspended(user), suspensions.tightened(user)];
    if (suspension === undefined && tightening === undefined) {
      return complain("resume", { problem: `"${user}" is not suspended`, status: 1 }, streams);
    }
    if (tightening !== undefined) await suspensions.relax(user, by);
    const reached = await suspensions.resume(user, by);
    if (!reached.file && !reached.redis) {
      const problem = `"${user}" is NOT resumed: neither Redis nor the folder could be written`;
      return complain("resume", { problem, status: 1 }, streams);
    }
    streams.output.write(`"${user}" may log in again.\n`);
    return 0;
  } finally {
    await suspensions.close();
  }
}
