import { z } from "zod";
import { parseJson } from "./json-text.ts";

/** What is in force against a user, or was. */
export interface Measure {
  readonly user: string;
  /** Cut off everywhere, or with smaller budgets, or with larger ones. */
  readonly kind: "suspended" | "tightened" | "granted";
  readonly inForce: boolean;
  readonly why: string;
  /** Who ordered it: an operator's name, or a rule's. */
  readonly by: string;
  /** Unix time in milliseconds. */
  readonly at: number;
  /** Of "tightened" and "granted": when it ends by itself. */
  readonly until?: number;
  /** Of "granted": how many people more, and in windows of how many seconds. */
  readonly more?: Addition;
  /**
   * Of two measures of one kind against one user the higher order holds. It counts up, so that no wrong clock
   * can undo anything; of two that were given at once it is higher for the one in force.
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

/** Undefined for what is no measure. */
export function parseMeasure(text: string): Measure | undefined {
  const data = parseJson(schema, text);
  if (data === undefined) return undefined;
  const { until, more, ...rest } = data;
  return { ...rest, ...(until !== undefined && { until }), ...(more !== undefined && { more }) };
}

/** The order of what comes after `last`. */
export function nextOrder(last: Measure | undefined, inForce: boolean): number {
  return 2 * (Math.floor((last?.order ?? 0) / 2) + 1) + (inForce ? 1 : 0);
}

/** What one place (a process, a file, Redis) knows: of each kind and user the measure with the highest order. */
export class Measures {
  readonly #byKey = new Map<string, Measure>();

  get(kind: Measure["kind"], user: string): Measure | undefined {
    return this.#byKey.get(keyOf(kind, user));
  }

  /** True when it was news. */
  learn(measure: Measure): boolean {
    const known = this.get(measure.kind, measure.user);
    if (known !== undefined && known.order >= measure.order) return false;
    this.#byKey.set(keyOf(measure.kind, measure.user), measure);
    return true;
  }

  /** What this place knows and the other does not. */
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
