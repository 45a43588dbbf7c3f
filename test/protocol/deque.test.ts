import fc from "fast-check";
import { expect, test } from "vitest";
import { Deque } from "../../proxy/protocol/deque.ts";

const operations = fc.oneof(
  fc.integer().map((value) => ({ kind: "push" as const, value })),
  fc.integer().map((value) => ({ kind: "unshift" as const, value })),
  fc.constant({ kind: "shift" as const }),
);

test("a deque gives what an array gives", () => {
  const property = fc.property(fc.array(operations, { maxLength: 200 }), (all) => {
    const [deque, array]: [Deque<number>, number[]] = [new Deque(), []];
    for (const operation of all) {
      if (operation.kind === "shift") expect(deque.shift()).toBe(array.shift());
      else {
        deque[operation.kind](operation.value);
        array[operation.kind](operation.value);
      }
      expect(deque.length).toBe(array.length);
      expect(Array.from({ length: array.length + 1 }, (_, i) => deque.at(i))).toEqual([...array, undefined]);
    }
  });
  fc.assert(property, { numRuns: 100, seed: 5 });
});

test("a long deque keeps its order, and can be used again once it is empty", () => {
  const deque = new Deque<number>();
  const order = Array.from({ length: 100_000 }, (_, i) => i);
  for (let round = 0; round < 2; round++) {
    for (const value of order) deque.push(value);
    expect(order.map(() => deque.shift())).toEqual(order);
    expect(deque.first).toBeUndefined();
  }
});
