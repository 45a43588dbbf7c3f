import { type Refusal, refuse } from "../wire/refusal.ts";
import { UnknownSyntax } from "./parse/grammar.ts";
import { characterAt } from "./position.ts";

/** Ends the analysis of a text: thrown only inside proxy/sql, and caught by `analyse`. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** The error for the client, whatever ended the analysis. */
export function refusalOf(error: unknown, text: string): Refusal {
  if (error instanceof Refused) return error.refusal;
  if (error instanceof UnknownSyntax) {
    const { place } = error;
    return refuse("42501", "this statement uses syntax that Sluice does not know", {
      hint: 'Only a role with "reads: all", "writes: all" and "sees: all" may use it.',
      ...(place !== undefined && { position: characterAt(Buffer.from(text), place) }),
    });
  }
  if (error instanceof RangeError) return refuse("54001", "the statement is nested too deeply");
  // A bug in the analysis must refuse one statement, not end the process. The message contains no text from the client.
  return refuse("42501", `this statement could not be analysed (${wordsOf(error)})`, {
    hint: "This is a fault of Sluice, not of the statement: please report it.",
  });
}

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown";
}

/** Whether the refusal is an intended one, and not a bug of ours. */
export function isExpected(error: unknown): boolean {
  return error instanceof Refused || error instanceof UnknownSyntax;
}
