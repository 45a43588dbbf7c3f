import { parseArgs } from "node:util";
import type { Addition } from "../guard/measures.ts";
import { openSuspensions, type Reached, type Suspensions } from "../guard/suspensions.ts";
import { durationSeconds } from "../policy/units.ts";
import { minute, misused, printable, table, type Wrong } from "./audit-arguments.ts";
import { complain, isWrong, placesOf, readControl, STANDARD, type Streams } from "./control-arguments.ts";

const USAGE = `usage: sluice grant USER --budget 1d=+300 --for 4h --why TEXT [--by NAME] [FLAGS]
       sluice grant USER --revoke --why TEXT [--by NAME] [FLAGS]
       sluice grant --list [FLAGS]

Lets a user read more people for a while: 300 more within each of his own windows of one day, for four hours, on
every proxy of the fleet within a second. It takes the place of what was granted to him before, and ends by itself.
Redis, key and audit folder (--redis, --key-file, --audit) are found as "sluice serve" finds them.
`;

interface Order {
  readonly rest: readonly string[];
  readonly does: "list" | "revoke" | { readonly more: Addition; readonly seconds: number };
}

/** `sluice grant`; resolves to the exit status. */
export async function grant(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    streams.output.write(USAGE);
    return 0;
  }
  const order = readOrder(args);
  if (isWrong(order)) return complain("grant", order, streams);
  const isOrder = order.does !== "list";
  const control = readControl(order.rest, env, { user: isOrder, why: isOrder });
  if (isWrong(control)) return complain("grant", control, streams);
  const places = await placesOf(control);
  if (isWrong(places)) return complain("grant", places, streams);
  const suspensions = await openSuspensions(places);
  try {
    if (order.does === "list") {
      streams.output.write(listText(suspensions));
      return 0;
    }
    const { user, why, by } = control;
    const reached = await give(suspensions, order.does, { user, why, by });
    if (!reached.redis && (places.redis !== undefined || !reached.file)) {
      const problem = reached.file
        ? "Redis cannot be reached: only proxies of this machine know; they tell the others when it is back"
        : `nothing is changed for "${user}": neither Redis nor the folder could be written`;
      return complain("grant", { problem, status: 1 }, streams);
    }
    streams.output.write(
      order.does === "revoke" ? `"${user}" has his own budgets.\n` : listText(suspensions),
    );
    return 0;
  } finally {
    await suspensions.close();
  }
}

interface Who {
  readonly user: string;
  readonly why: string;
  readonly by: string;
}

function give(
  suspensions: Suspensions,
  does: Exclude<Order["does"], "list">,
  { user, why, by }: Who,
): Promise<Reached> {
  if (does === "revoke") return suspensions.revoke(user, why, by);
  return suspensions.grant(user, does.more, why, by, Date.now() + does.seconds * 1000);
}

function readOrder(args: readonly string[]): Order | Wrong {
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
  if (!length) return misused("say how much more: --budget 1d=+300 (people, in windows of one day)");
  const seconds = /^\d+[smhdw]$/.test(String(values.for ?? "")) ? durationSeconds(String(values.for)) : 0;
  if (!seconds) return misused("say for how long: --for 4h");
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
