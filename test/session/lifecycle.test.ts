import { describe, expect, test } from "vitest";
import {
  type AnswerSteps,
  answer,
  type Outcome,
  Refused,
  type RequestSteps,
  request,
} from "../../proxy/session/relay/lifecycle.ts";
import { refuse } from "../../proxy/wire/refusal.ts";

const STEPS = ["resolve", "decide", "reserve"] as const;
type Step = (typeof STEPS)[number];

/** Steps that note their calls, one of which ends with another outcome. */
function steps(calls: string[], at?: Step, outcome?: Refused | "unsettled") {
  const step =
    (name: Step) =>
    (before: string): Outcome<string> => {
      calls.push(`${name}(${before})`);
      return name === at && outcome !== undefined ? outcome : name;
    };
  return {
    resolve: step("resolve"),
    decide: step("decide"),
    reserve: step("reserve"),
    forward: (decided, reserved) => void calls.push(`forward(${decided}, ${reserved})`),
    refuse: (message, { refusal }) => void calls.push(`refuse(${message}, ${refusal.sqlstate})`),
  } satisfies RequestSteps<string, string, string, string>;
}

describe("on its way to the server", () => {
  test("a message is resolved, decided on, reserved for and forwarded, in this order", () => {
    const calls: string[] = [];
    expect(request(steps(calls), "Query")).toBe(true);
    expect(calls).toEqual([
      "resolve(Query)",
      "decide(resolve)",
      "reserve(decide)",
      "forward(decide, reserve)",
    ]);
  });

  test.each(STEPS)("one that is refused at %s is not forwarded", (at) => {
    const calls: string[] = [];
    const refused = new Refused(refuse("42501", "no"), undefined);
    expect(request(steps(calls, at, refused), "Query")).toBe(true);
    expect(calls.at(-1)).toBe("refuse(Query, 42501)");
    expect(calls.length).toBe(STEPS.indexOf(at) + 2);
  });

  test.each(STEPS)("one that is unsettled at %s is handed in again, and nothing of it is sent", (at) => {
    const calls: string[] = [];
    expect(request(steps(calls, at, "unsettled"), "Query")).toBe(false);
    expect(calls.length).toBe(STEPS.indexOf(at) + 1);
  });
});

describe("on its way to the client", () => {
  function ends(calls: string[], isSettled: boolean) {
    return {
      release: (message) => {
        calls.push(`release(${message})`);
        return isSettled ? { rows: 3 } : "unsettled";
      },
      record: ({ rows }) => void calls.push(`record(${rows})`),
      settle: ({ rows }) => void calls.push(`settle(${rows})`),
    } satisfies AnswerSteps<string, { readonly rows: number }>;
  }

  test("an answer is released, recorded and settled, in this order", () => {
    const calls: string[] = [];
    expect(answer(ends(calls, true), "CommandComplete")).toBe(true);
    expect(calls).toEqual(["release(CommandComplete)", "record(3)", "settle(3)"]);
  });

  test("one whose rows the meter has not counted yet is neither on record nor settled", () => {
    const calls: string[] = [];
    expect(answer(ends(calls, false), "CommandComplete")).toBe(false);
    expect(calls).toEqual(["release(CommandComplete)"]);
  });
});
