import { expect, test } from "vitest";
import { Crowd, type Pace } from "../../proxy/behaviour/crowd.ts";

const TODAY = 30;

/** A user who reads 40 people on each working day, but on some. */
function user(n: number, others: Readonly<Record<number, number>> = {}): Pace {
  const days = Array.from({ length: 21 }, (_, i) => TODAY - 20 + i).filter((day) => day % 7 < 5);
  return { ordinary: 40, recent: days.map((day) => [day, others[day] ?? 36 + ((n * 7 + day) % 9)]) };
}

function role(size: number, rushed: number, others: Readonly<Record<number, number>>): Crowd {
  return new Crowd(Array.from({ length: size }, (_, n) => user(n, n < rushed ? others : {})));
}

const THEFT = { 29: 120, 30: 120 };

test("ten of a hundred who read three times what they do, for two days, are more than there ever are", () => {
  const crowd = role(100, 10, THEFT);
  expect(crowd.rushing(TODAY)).toBe(10);
  expect(crowd.ordinarilyRushing(TODAY)).toBeLessThan(10);
  expect(crowd.isRushing(user(0, THEFT), TODAY)).toBe(true);
  expect(crowd.isRushing(user(50), TODAY)).toBe(false);
});

test("four who are busy at once are no crowd", () => {
  const crowd = role(100, 4, THEFT);
  expect(crowd.rushing(TODAY)).toBeLessThanOrEqual(crowd.ordinarilyRushing(TODAY) ?? 0);
});

test("on days on which everybody calls nobody is far above what they usually read", () => {
  expect(role(100, 100, { 29: 100, 30: 100 }).rushing(TODAY)).toBe(0);
});

test("colluders who have a day to themselves are no measure of it", () => {
  const others = Array.from({ length: 90 }, (_, n) => user(n)).map(
    (pace): Pace => ({ ...pace, recent: pace.recent.filter(([day]) => day < 29) }),
  );
  const colluders = Array.from({ length: 12 }, (_, n) => user(n, THEFT));
  expect(new Crowd([...others, ...colluders]).rushing(TODAY)).toBe(12);
});

test("a role without a past says nothing, nor does one busy day", () => {
  const today = Array.from({ length: 20 }, (): Pace => ({ ordinary: 40, recent: [[TODAY, 400]] }));
  const crowd = new Crowd(today);
  expect(crowd.ordinarilyRushing(TODAY)).toBeUndefined();
  expect(crowd.rushing(TODAY)).toBe(0);
});
