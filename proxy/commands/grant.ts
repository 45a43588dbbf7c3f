import { parseArgs } from "node:util";
import type { Addition } from "../orders/measures.ts";
import type { Reached, Suspensions } from "../orders/suspensions.ts";
import { durationSeconds } from "../policy/units.ts";
import { type Control, readControl } from "./control-arguments.ts";
import { actOnFleet, begin } from "./control-order.ts";
import { isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";
import { minute, printable, table } from "./text-table.ts";

const USAGE = `usage: sluice grant USER --budget 1d=+300 --for 4h --why TEXT [--by NAME] [FLAGS]
       sluice grant USER --revoke --why TEXT [--by NAME] [FLAGS]
       sluice grant --list [FLAGS]

Lets a user read more people for a while: 300 more within each of their windows of one day, for four hours, on
every proxy of the fleet within a second. It replaces an earlier grant of the same user, and ends by itself.
Redis, key and audit folder (--redis, --key-file, --audit) are found as "sluice serve" finds them.
`;

const COMMAND = { name: "grant", usage: USAGE };

interface Wanted {
  readonly rest: readonly string[];
  readonly does: "list" | "revoke" | { readonly more: Addition; readonly seconds: number };
}

/** `sluice grant`; resolves to the exit status. */
export async function grant(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const control = begin(COMMAND, args, streams, () => readGrant(args, env));
  if (typeof control === "number") return control;
  const { does, user, why, by } = control;
  return actOnFleet(COMMAND.name, control, streams, async (suspensions) => {
    if (does === "list") return listText(suspensions);
    const reached = await give(suspensions, does, { user, why, by });
    const done = does === "revoke" ? `"${user}" has the role's own budgets.\n` : listText(suspensions);
    return { reached, done, undone: `nothing is changed for "${user}"` };
  });
}

interface Who {
  readonly user: string;
  readonly why: string;
  readonly by: string;
}

function give(
  suspensions: Suspensions,
  does: Exclude<Wanted["does"], "list">,
  { user, why, by }: Who,
): Promise<Reached> {
  if (does === "revoke") return suspensions.revoke(user, why, by);
  return suspensions.grant(user, does.more, why, by, Date.now() + does.seconds * 1000);
}

function readGrant(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): (Control & Pick<Wanted, "does">) | Wrong {
  const wanted = readWanted(args);
  if (isWrong(wanted)) return wanted;
  const isOrder = wanted.does !== "list";
  const control = readControl(wanted.rest, env, { user: isOrder, why: isOrder });
  return isWrong(control) ? control : { ...control, does: wanted.does };
}

function readWanted(args: readonly string[]): Wanted | Wrong {
  const options = {
    budget: { type: "string" },
    for: { type: "string" },
    revoke: { type: "boolean" },
    list: { type: "boolean" },
  } as const;
  const { values, tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const own = new Set<number>();
  for (const token of tokens) {
    if (token.kind !== "option" || !Object.hasOwn(options, token.name)) continue;
    own.add(token.index);
    if (token.value !== undefined && !token.inlineValue) own.add(token.index + 1);
  }
  const rest = args.filter((_, i) => !own.has(i));
  if (values.list === true) return { rest, does: "list" };
  if (values.revoke === true) return { rest, does: "revoke" };
  const [, window = "", people = ""] =
    /^(\d+[smhdw])=\+?([1-9]\d{0,6})$/.exec(String(values.budget ?? "")) ?? [];
  const length = durationSeconds(window);
  if (!length)
    return misused("--budget: missing; how many more people, as in 1d=+300 (in windows of one day)");
  const seconds = /^\d+[smhdw]$/.test(String(values.for ?? "")) ? durationSeconds(String(values.for)) : 0;
  if (!seconds) return misused("--for: missing; how long, as in 4h");
  return { rest, does: { more: { people: Number(people), seconds: length }, seconds } };
}

function listText(suspensions: Suspensions): string {
  const rows = suspensions
    .grants()
    .map(({ user, more, until = 0, by, why }) => [
      printable(user),
      more === undefined ? "" : `+${more.people} people in ${more.seconds} s`,
      minute(until),
      printable(by),
      printable(why),
    ]);
  return rows.length === 0
    ? "Nothing is granted.\n"
    : table([["user", "more", "until", "by", "why"], ...rows]);
}
