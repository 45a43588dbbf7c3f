import { expect, test } from "vitest";
import { Names } from "../../proxy/protocol/object-names.ts";

const PIPELINE = 0;

test("a name means what the last message of the pipeline gave it, and that is certain in this pipeline alone", () => {
  const names = new Names<string>();
  names.propose("a", "first", PIPELINE);
  names.propose("a", "second", PIPELINE);
  expect(names.find("a", PIPELINE)).toBe("second");
  expect(names.find("a", PIPELINE + 1)).toBe("unsettled");
  expect(names.get("a")).toBeUndefined();
  expect(names.expected("a")).toBe("second");
});

test("what the server has skipped never was, and what it did before stays", () => {
  const names = new Names<string>();
  const first = names.propose("a", "first", PIPELINE);
  const second = names.propose("a", undefined, PIPELINE + 1);
  names.confirm(first);
  expect(names.find("a", PIPELINE + 2)).toBe("unsettled");
  names.withdraw(second);
  expect(names.find("a", PIPELINE + 2)).toBe("first");
});

test("a name that is given 100,000 times in one pipeline costs no more than as many names", () => {
  const names = new Names<number>();
  const changes = Array.from({ length: 100_000 }, (_, i) => names.propose("", i, PIPELINE));
  for (const change of changes) names.confirm(change);
  expect(names.get("")).toBe(99_999);
  expect(names.find("", PIPELINE + 1)).toBe(99_999);
});
