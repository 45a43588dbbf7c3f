import { z } from "zod";
import { parseJson } from "./json-text.ts";

/** A measure for a user, in force or ended. */
export interface Measure {
  readonly user: string;
  /** Access cut off everywhere, smaller budgets, or larger budgets. */
  readonly kind: "suspended" | "tightened" | "granted";
  readonly inForce: boolean;
  readonly why: string;
  /** Who ordered it: the name of an operator or of a rule. */
  readonly by: string;
  /** Unix time in milliseconds. */
  readonly at: number;
  /** For "tightened" and "granted": when it ends automatically. */
  readonly until?: number;
  /** For "granted": how many more people, and in windows of how many seconds. */
  readonly more?: Addition;
  /**
   * Of two measures of one kind for one user, the one with the higher order applies. It counts up, so that a wrong
   * clock cannot undo anything; of two measures given at the same time, the one in force has the higher order.
   */
  readonly order: number;
}

export interface Addition {
  readonly people: number;
  readonly seconds: number;
}

const schema = z.object({
  user: z.string(),
  kind: z.enum(["suspended", "tightened", "granted"]),
  inForce: z.boolean(),
  why: z.string(),
  by: z.string(),
  at: z.number(),
  until: z.number().optional(),
  more: z.object({ people: z.number().int().min(1), seconds: z.number().min(1) }).optional(),
  order: z.number().int().min(2),
});

/** Undefined if the text is not a measure. */
export function parseMeasure(text: string): Measure | undefined {
  const data = parseJson(schema, text);
  if (data === undefined) return undefined;
  const { until, more, ...rest } = data;
  return { ...rest, ...(until !== undefined && { until }), ...(more !== undefined && { more }) };
}

/** The order of the measure that follows `last`. */
export function nextOrder(last: Measure | undefined, inForce: boolean): number {
  return 2 * (Math.floor((last?.order ?? 0) / 2) + 1) + (inForce ? 1 : 0);
}

/**
 * The measures known in one place (a process, a file, Redis): for each kind and user the one with the highest order.
 */
export class Measures {
  readonly #byKey = new Map<string, Measure>();

  get(kind: Measure["kind"], user: string): Measure | undefined {
    return this.#byKey.get(keyOf(kind, user));
  }

  /** Adds a measure; true if it was new. */
  learn(measure: Measure): boolean {
    const known = this.get(measure.kind, measure.user);
    if (known !== undefined && known.order >= measure.order) return false;
    this.#byKey.set(keyOf(measure.kind, measure.user), measure);
    return true;
  }

  /** The measures that this place knows and the other does not. */
  *newerThan(other: Measures): Iterable<Measure> {
    for (const measure of this.#byKey.values()) {
      const there = other.get(measure.kind, measure.user);
      if (there === undefined || there.order < measure.order) yield measure;
    }
  }

  all(): readonly Measure[] {
    return [...this.#byKey.values()];
  }
}

function keyOf(kind: Measure["kind"], user: string): string {
  return `${kind}\0${user}`;
}
