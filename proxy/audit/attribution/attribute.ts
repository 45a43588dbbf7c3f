import { exactTail, expectedOf, logChoose, type Tail } from "./exact-test.ts";
import { type Basis, type Compared, Readers, type Readings } from "./who-read-whom.ts";

/** The most that chance may do, over all users together: one question in ten thousand names somebody by chance. */
export const LEVEL = 1e-4;

/** Below it, the leaked people are taken to be read more than others for a reason of their own. */
const LIVELIER = 0.05;
/** And one user, even so, must have read more of them than of people who were read, by this. */
const BESIDE_WORK = 0.02;

/** A user without whose readings the leak cannot be explained. */
export interface Source {
  readonly user: string;
  /** How many of the leaked people they read, and how many of these no other source read. */
  readonly leaked: number;
  readonly alone: number;
  /** What chance would give them of those whom no other source read. */
  readonly expected: number;
  /** How probable at most it is that any user reads so many of them by chance. */
  readonly chance: number;
  /** Users who read them as well, so that either may be the source, or both. */
  readonly or: readonly string[];
}

export interface Attribution {
  readonly sources: readonly Source[];
  /** "read": the leaked people are read more than others by those who are no source, so they were held against people who were read. */
  readonly basis: Basis;
  /** By user, with nobody taken out: the chance that any user reads so many of the leaked by chance, and what is expected. */
  readonly users: ReadonlyMap<string, { readonly chance: number; readonly expected: number }>;
}

/**
 * Names the users without whom the leak cannot be explained. The likeliest one is tested first; whom they read is explained
 * and taken out, of the leaked and of the controls alike, and the next is tested on what is left. In the end each is
 * tested again on what no other of them explains, and who is not needed is left out.
 *
 * People who call often are read by many, and other systems know them as well: a list of such people makes everybody
 * suspect who does their work. So what the named have read is first held against people who were read by anybody
 * (`isMoreThanWork`); where it does not stand that, all is tested once more among such people alone. `work` has all
 * readings, also those that do not count as `readings`.
 */
export function attribute(
  compared: Compared,
  readings: Readings,
  { work = readings, level = LEVEL }: { readonly work?: Readings; readonly level?: number } = {},
): Attribution {
  const question = { readers: new Readers(compared, readings, work), compared, readings, level };
  const named = search(question, "all");
  const stands = compared.among === "read" || named.length === 0 || isMoreThanWork(question, named);
  const basis = stands ? "all" : "read";
  const sources =
    basis === "all" ? needed(question, named) : needed(question, search(question, "read"), "read");
  const tests = testAll(question, question.readers.users, basis);
  const users = question.readers.users.map((user) => {
    const expected = expectedOf(question.readers.cellsOf([user], basis));
    return [user, { chance: tests.chanceOf(user), expected }] as const;
  });
  return { sources, basis, users: new Map(users) };
}

interface SourceSearch {
  readonly readers: Readers;
  readonly compared: Compared;
  readonly readings: Readings;
  readonly level: number;
}

/** Greedy: the likeliest first, and each in the light of those before. Leaves nobody taken out. */
function search(question: SourceSearch, basis: Basis): readonly string[] {
  const { readers } = question;
  const named: string[] = [];
  for (;;) {
    const best = testAll(question, without(readers.users, named), basis).best();
    if (best === undefined) break;
    readers.takeOut(best);
    named.push(best);
  }
  for (const user of named) readers.putBack(user);
  return named;
}

/**
 * One user's part stands where the leaked people are not read more than others by the rest of the house, and the user read
 * clearly more of them than of people whom somebody read. Several, or one among leaked people who are, must have read more of them than of people whom somebody read, whichever set of so many
 * users one might have chosen (Bonferroni over all sets, and over their sizes by halves).
 */
function isMoreThanWork({ readers, level }: SourceSearch, named: readonly string[]): boolean {
  const { p } = exactTail(readers.cellsOf(named, "read"));
  if (named.length === 1 && p <= BESIDE_WORK && !areLivelier(readers, named)) return true;
  const sets = logChoose(readers.users.length, named.length) + named.length * Math.LN2;
  return Math.log(p) + sets <= Math.log(level);
}

/** Whether users other than these read more of the leaked people than of the controls. */
function areLivelier(readers: Readers, named: readonly string[]): boolean {
  return exactTail(readers.readByOthers(named)).p <= LIVELIER;
}

/** Those whom the others do not make superfluous, each tested on what only they explain. */
function needed(question: SourceSearch, named: readonly string[], only?: Basis): readonly Source[] {
  const { readers, readings } = question;
  const basis = only ?? (areLivelier(readers, named) ? "read" : "all");
  const sources: Source[] = [];
  let left = named;
  for (const user of named) readers.takeOut(user);
  // The first to be named was tested while nothing was explained, and is the likeliest not to be needed any more.
  for (const user of named) {
    readers.putBack(user);
    const tests = testAll(question, without(readers.users, without(left, [user])), basis);
    if (!tests.isNamed(user)) {
      left = without(left, [user]);
      continue;
    }
    const cells = readers.cellsOf([user], basis);
    sources.push({
      user,
      leaked: leakedOf(question, readings.get(user) ?? []),
      alone: cells.reduce((sum, { both }) => sum + both, 0),
      expected: expectedOf(cells),
      chance: tests.chanceOf(user),
      or: tests.named().filter((other) => other !== user && !named.includes(other)),
    });
    readers.takeOut(user);
  }
  for (const user of left) readers.putBack(user);
  return sources.toSorted((a, b) => b.leaked - a.leaked || (a.user < b.user ? -1 : 1));
}

function leakedOf({ compared }: SourceSearch, people: readonly number[]): number {
  return people.filter((person) => compared.leaked[person] === true).length;
}

function without(users: readonly string[], those: readonly string[]): readonly string[] {
  return users.filter((user) => !those.includes(user));
}

interface Tests {
  chanceOf(user: string): number;
  isNamed(user: string): boolean;
  named(): readonly string[];
  /** The least likely by chance of those that chance does not explain. */
  best(): string | undefined;
}

/**
 * Tests all users at once. Bonferroni's correction for those alone whose readings are enough to be named at all (Tarone,
 * "A modified Bonferroni method for discrete data", Biometrics 46, 1990): whoever has read one person cannot be, and so
 * costs the others nothing.
 */
function testAll(question: SourceSearch, users: readonly string[], basis: Basis): Tests {
  const { readers, readings, level } = question;
  const tails = new Map(users.map((user) => [user, exactTail(readers.cellsOf([user], basis))] as const));
  const count = testedUsers([...tails.values()], level);
  const chanceOf = (user: string) => {
    const tail = tails.get(user);
    return tail === undefined || tail.least > level / count ? 1 : Math.min(1, count * tail.p);
  };
  const isNamed = (user: string) => chanceOf(user) <= level;
  const named = () => users.filter(isNamed);
  const leaked = (user: string) => leakedOf(question, readings.get(user) ?? []);
  return {
    chanceOf,
    isNamed,
    named,
    best: () =>
      named().toSorted((a, b) => chanceOf(a) - chanceOf(b) || leaked(b) - leaked(a) || (a < b ? -1 : 1))[0],
  };
}

/** The smallest number of tests among which no more than so many can reach the level. */
function testedUsers(tails: readonly Tail[], level: number): number {
  const least = tails.map((tail) => tail.least).toSorted((a, b) => a - b);
  for (let count = 1; ; count++) {
    const able = least.findIndex((value) => value > level / count);
    if ((able === -1 ? least.length : able) <= count) return count;
  }
}
