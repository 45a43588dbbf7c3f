import { expect, test } from "vitest";
import { COMMITTING } from "../../proxy/session/judged/committing.ts";
import { Uncommitted } from "../../proxy/session/judged/uncommitted.ts";
import { UNKNOWN_STATEMENT } from "../../proxy/session/statement/run.ts";

const WRITING = { ...UNKNOWN_STATEMENT, command: "INSERT", kind: "write" } as const;
const LEDGER = { isSettled: true, transaction: "T", intake: "ready", pipeline: 1 } as const;

test("of so many people that not all can be remembered nothing is committed", () => {
  const uncommitted = new Uncommitted(() => undefined, LEDGER);
  for (let i = 0; i < 10_000; i++) uncommitted.ran(`agent ${i}`, WRITING, WRITING);
  expect(uncommitted.refusalOf([COMMITTING])).toBeUndefined();
  uncommitted.ran("agent 10000", WRITING, WRITING);
  expect(uncommitted.refusalOf([COMMITTING])).toMatchObject({
    sqlstate: "54000",
    hint: "Commit more often.",
  });
  uncommitted.ready("I");
  expect(uncommitted.refusalOf([COMMITTING])).toBeUndefined();
});
