import type { Outside, Theft } from "./trials.ts";

export interface LeakResults {
  readonly thefts: readonly (Theft & {
    readonly runs: number;
    /** Runs in which all accounts were named, and in which one of them was. */
    readonly all: number;
    readonly some: number;
    /** Accounts that were named, over all runs. */
    readonly members: number;
    /** Runs in which an innocent user was named. */
    readonly innocent: number;
  })[];
  /** Leaks without a source in the house: compared with people alike, and with people who are not. */
  readonly outside: readonly OutsideTally[];
  readonly unalike: readonly OutsideTally[];
}

interface OutsideTally {
  readonly kind: Outside;
  readonly leaked: number;
  readonly runs: number;
  readonly innocent: number;
}

export function leaksTables({ thefts, outside, unalike }: LeakResults): readonly string[] {
  return [
    "| theft | leaked | runs | all named | one named | accounts named | an innocent named |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...thefts.map((theft) => {
      const { name, leaked, strangers = 0, runs, accounts } = theft;
      const named = [share(theft.all, runs), share(theft.some, runs), share(theft.members, runs * accounts)];
      return `| ${name} | ${leaked + strangers} | ${runs} | ${named.join(" | ")} | ${theft.innocent} |`;
    }),
    "",
    ...outsideTable("no source in the house: the victims are", outside),
    "",
    ...outsideTable("and they are compared with people who call less", unalike),
  ];
}

function outsideTable(what: string, tallies: readonly OutsideTally[]): readonly string[] {
  const sum = (of: "runs" | "innocent") => tallies.reduce((total, tally) => total + tally[of], 0);
  const [runs, innocent] = [sum("runs"), sum("innocent")];
  return [
    `| ${what} | leaked | runs | an innocent named |`,
    "| --- | ---: | ---: | ---: |",
    ...tallies.map((tally) => `| ${tally.kind} | ${tally.leaked} | ${tally.runs} | ${tally.innocent} |`),
    `| all | | ${runs} | ${innocent} (95 % bound: ${(100 * upperBound(innocent, runs)).toFixed(3)} %) |`,
  ];
}

function share(of: number, all: number): string {
  return `${((100 * of) / all).toFixed(1)} %`;
}

/** The one-sided 95 % bound of a probability of which so many cases were seen (Clopper and Pearson, Biometrika 26, 1934). */
export function upperBound(seen: number, runs: number): number {
  let [low, high] = [seen / runs, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (atMost(seen, runs, middle) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

/** The binomial distribution function. */
function atMost(seen: number, runs: number, p: number): number {
  let [term, sum] = [runs * Math.log1p(-p), 0];
  for (let k = 0; k <= seen; k++) {
    sum += Math.exp(term);
    term += Math.log((runs - k) / (k + 1)) + Math.log(p) - Math.log1p(-p);
  }
  return sum;
}
