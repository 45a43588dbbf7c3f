import { strayColumn } from "../../sql/plain-fields.ts";
import type { Scope } from "../../sql/scope.ts";
import { extraFields, type Statement } from "../../sql/verdict.ts";
import { type Frame, frameOf } from "../../wire/frames.ts";
import { bytesOf } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { fieldOrigins, trimRowDescription } from "../../wire/rows.ts";

/*
 * The server's own word on a result, held against the verdict before a row leaves: RowDescription names the table and
 * the column that each plain field is a copy of, as they are when the statement is planned. What somebody has changed
 * since the catalog was read shows there, and so does a fault of the rewrite.
 */

/** What is known of the fields that a prepared statement or a portal gives. */
export class Description {
  /** The pipeline in which the server was asked last: what runs in the same one comes behind the answer. */
  askedIn = -1;
  /** "fits": no row, or rows that may leave. */
  answer: "fits" | Refusal | undefined;
}

/** A description that fits. */
interface Fitting {
  /** As it came: the same bytes of the same verdict need no second look. */
  readonly bytes: Buffer;
  /** As the client gets it, without the fields that the rewrite appended. */
  readonly shown: Buffer;
}

const fitting = new WeakMap<Statement, Fitting>();
/** Wider ones are looked at each time: a client can make many verdicts. */
const KEPT_BYTES = 2_000;
const NOTHING = Buffer.alloc(0);
const TOO_WIDE: Fitting = { bytes: NOTHING, shown: NOTHING };

/** What is wrong with a RowDescription of this statement's rows; it has the fields yet that the rewrite appended. */
export function misfit(frame: Frame, shape: Statement, scope: Scope): string | undefined {
  if (knownAs(frame, shape) !== undefined) return undefined;
  for (const { table, column } of fieldOrigins(frame, extraFields(shape))) {
    const stray = table === 0 ? undefined : strayColumn(scope, table, column);
    if (stray !== undefined) return stray;
  }
  fitting.set(shape, frame.end - frame.start > KEPT_BYTES ? TOO_WIDE : kept(frame, shape));
  return undefined;
}

/** Takes the fields that the rewrite appended off a RowDescription that fits, in place; gives the offset of its new end. */
export function trimDescription(frame: Frame, shape: Statement): number {
  const known = knownAs(frame, shape);
  if (known === undefined) return trimRowDescription(frame, extraFields(shape));
  return frame.start + known.shown.copy(frame.buffer, frame.start);
}

function knownAs({ buffer, start, end }: Frame, shape: Statement): Fitting | undefined {
  const known = fitting.get(shape);
  if (known?.bytes.length !== end - start) return undefined;
  return buffer.compare(known.bytes, 0, known.bytes.length, start, end) === 0 ? known : undefined;
}

/** It lies about for as long as the verdict: a slice would keep the whole read buffer. */
function kept(frame: Frame, shape: Statement): Fitting {
  const bytes = Buffer.from(bytesOf(frame));
  const copy = frameOf(Buffer.from(bytes));
  return { bytes, shown: copy.buffer.subarray(0, trimRowDescription(copy, extraFields(shape))) };
}

/**
 * Whether the statement may turn out to give other rows than foreseen: the server has not described it yet, to
 * whomever. Where it has, only DDL of this very second can do that.
 */
export function isUnproven(shape: Statement): boolean {
  return mayGiveRows(shape) && !fitting.has(shape);
}

/** Whether an Execute of the statement can bring rows. */
export function mayGiveRows({ kind, command, effect, silent }: Statement): boolean {
  switch (kind) {
    case "transaction":
    case "copyIn":
    case "copyOut":
    case "definition":
      return false;
    case "session":
      return command === "SHOW";
    case "cursor":
      return effect?.kind === "fetch" && !effect.move;
    case "write":
      return silent !== true;
    case "read":
    case "explain":
    case "other":
      return true;
  }
}

/** Whether another statement is behind this one, and not always the same. */
export function hasSource({ effect }: Statement): boolean {
  return effect?.kind === "execute" || effect?.kind === "fetch";
}

const HINT =
  "A table or view may have been changed a moment ago: run the statement again. If it is refused again, please report it.";

export const MISFIT: Refusal = refuse(
  "42501",
  "the server describes the result differently than Sluice expected, so no row of it is sent",
  { hint: HINT },
);

export const UNDESCRIBED: Refusal = refuse(
  "42501",
  "the server has not described the result, so no row of it leaves",
  { hint: HINT },
);
