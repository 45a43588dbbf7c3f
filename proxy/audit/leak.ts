import type { AuditKeys } from "./audit-keys.ts";
import { forgottenHashes } from "./forgotten.ts";
import { checkWords } from "./question-words.ts";
import type { Period } from "./readings.ts";
import { type Victims, type VictimsQuestion, victimsOf } from "./victims.ts";
import { type Counted, type WhoRead, whoRead } from "./who-read.ts";

/** Whose data leaked, and which log is asked who read them. */
export interface LeakAsked {
  readonly folder: string;
  readonly keys: readonly AuditKeys[];
  /** Where the people are named: `public.customers.id`. Undefined: the only such place of the log. */
  readonly namespace: string | undefined;
  readonly period: Period;
  readonly victims: VictimsQuestion;
  readonly counted: Counted;
  /** A proxy asks beside its clients, and takes so many milliseconds at most; left out: a command asks. */
  readonly patience?: number;
}

export interface LeakFound {
  readonly found: WhoRead;
  readonly namespace: string;
  /** What became of the list on its way to people of the log. */
  readonly notes: readonly string[];
}

/** Who read the people of a list. Throws `WrongQuestion` where the log cannot be asked so. */
export async function askLeak(asked: LeakAsked, tell: (line: string) => void): Promise<LeakFound> {
  const { folder, keys, counted } = asked;
  let namespace = "";
  let victims: Victims | undefined;
  const found = await whoRead(asked, async (readings) => {
    const { words, ...rest } = await checkWords(readings, asked, counted.needs);
    namespace = rest.namespace;
    const forgotten = await forgottenHashes(folder, keys, tell);
    victims = await victimsOf(asked.victims, namespace, keys, forgotten);
    return { ...victims, tables: words.tables.get(namespace) ?? [] };
  });
  return { found, namespace, notes: victims?.notes ?? [] };
}

/** A list as it is given to the console, and how it is to be read: the flags of `sluice audit who-read`. */
export interface LeakList {
  /** CSV. Kept nowhere. */
  readonly text: string;
  /** The column that has the values; undefined: the first. */
  readonly column: string | undefined;
  /** The column with the day on which the data was used. */
  readonly called: string | undefined;
  /** The column of the table that has these values, which are no ids then. */
  readonly match: string | undefined;
  /** People alike in these columns are compared; undefined: people whom somebody read. */
  readonly like: readonly string[] | undefined;
}

export type LeakAnswer =
  | ({
      readonly ok: true;
      /** The first line, when it was taken for names of columns. */
      readonly header: string | undefined;
      /** On the list. */
      readonly people: number;
    } & LeakFound)
  /** "Nobody" would be a false answer. */
  | {
      readonly ok: false;
      readonly problem: string;
      readonly people?: number;
      /** For the log alone. */
      readonly why?: string;
    };

/** So many people are drawn for the comparison. */
export const CONTROLS = 200_000;
