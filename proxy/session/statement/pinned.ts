import { isDeepStrictEqual } from "node:util";
import type { PinnedPerson, Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Bind, boundParameter, declaredType } from "../../wire/frontend-messages.ts";
import type { Judged } from "./decision.ts";

/** People who are named by constants and parameters, as the database would write their subjects. */
export interface PinnedPeople {
  readonly namespaces: readonly string[];
  readonly identities: readonly string[];
}

/** Of one of them, undefined where it cannot be told what the server will make of it. */
type ValueOf = (pin: PinnedPerson) => string | undefined;

/** The people that the constants of a text name; undefined if one of them is not a plain constant. */
export function pinnedByText(
  pins: readonly PinnedPerson[],
  text: Buffer,
  places: readonly number[],
): PinnedPeople | undefined {
  return peopleOf(pins, ({ type, from }) => {
    const place = "place" in from ? places[from.place] : undefined;
    const literal = place === undefined ? undefined : literalAt(text, place);
    return literal === undefined ? undefined : asText(type, literal);
  });
}

/** The people that the constants of one of a text's statements name. */
export function pinnedIn({ text, verdict }: JudgedText, { metering }: Statement): PinnedPeople | undefined {
  const pins = metering?.price?.pins;
  if (pins === undefined || verdict.kind === "refuse") return undefined;
  return pinnedByText(pins, text, verdict.places ?? []);
}

type JudgedText = Pick<Judged, "text" | "verdict">;

/** Whether the price covers exactly the people that an answer reveals. */
export function isPaidFor(paid: PinnedPeople | undefined, told: PinnedPeople | undefined): boolean {
  return paid === told || isDeepStrictEqual(paid, told);
}

/** The people that a Bind's parameters and its statement's text name. `parse` is the client's own Parse message. */
export function pinnedByBind(
  pins: readonly PinnedPerson[],
  source: { readonly text: Buffer; readonly places: readonly number[]; readonly parse: Buffer | undefined },
  frame: Frame,
  bind: Bind,
): PinnedPeople | undefined {
  return peopleOf(pins, (pin) => {
    const { type, from } = pin;
    if ("place" in from) return pinnedByText([pin], source.text, source.places)?.identities[0];
    const value = boundParameter(frame, bind, from.parameter);
    if (value === undefined) return undefined;
    // Another type's value is another one: float8 rounds large numbers, bpchar leaves blanks out, "char" all but one byte.
    const declared = source.parse === undefined ? 0 : declaredType(source.parse, from.parameter);
    if (declared === 0 ? !from.isAlone : !TYPES[type].includes(declared)) return undefined;
    return value.isBinary ? ofBinary(type, value.bytes) : asText(type, value.bytes.toString("utf8"));
  });
}

function peopleOf(pins: readonly PinnedPerson[], textOf: ValueOf): PinnedPeople | undefined {
  const identities: string[] = [];
  for (const pin of pins) {
    const value = textOf(pin);
    if (value === undefined || value === "") return undefined;
    identities.push(value);
  }
  return { namespaces: pins.map(({ namespace }) => namespace), identities };
}

/** Object ids of types (pg_type.dat): int8, int2, int4; text, varchar; uuid. */
const TYPES: Readonly<Record<PinnedPerson["type"], readonly number[]>> = {
  integer: [20, 21, 23],
  text: [25, 1043],
  uuid: [2950],
};

const [QUOTE, DASH, ZERO, NINE] = [0x27, 0x2d, 0x30, 0x39];

/** A plain number or a plain string that begins there. */
function literalAt(text: Buffer, place: number): string | undefined {
  const first = text[place] ?? 0;
  let end = place + 1;
  if (first === QUOTE) {
    end = text.indexOf(QUOTE, end);
    // A doubled quotation mark, or a string that goes on in the next line, is not plain.
    if (end < 0 || goesOn(text, end + 1)) return undefined;
    return text.toString("utf8", place + 1, end);
  }
  if (first < ZERO || first > NINE) return undefined;
  while (isPartOfNumber(text[end] ?? 0)) end++;
  return text.toString("latin1", place, end);
}

/** Whether a string goes on behind white space and comments, however long (scan.l, "quotecontinue"). */
function goesOn(text: Buffer, from: number): boolean {
  let at = from;
  for (;;) {
    while (isSpace(text[at])) at++;
    if (text[at] !== DASH || text[at + 1] !== DASH) return text[at] === QUOTE;
    while (at < text.length && text[at] !== NEWLINE && text[at] !== RETURN) at++;
  }
}

const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20];

/** As scan.l has it: tab, newline, vertical tab, form feed, carriage return, blank. */
function isSpace(byte = 0): boolean {
  return byte === SPACE || (byte >= TAB && byte <= RETURN);
}

/** Also of what is no integer: whoever reads it sees that. */
function isPartOfNumber(byte: number): boolean {
  return /[\w.]/.test(String.fromCharCode(byte));
}

/** As the server would write it. */
function asText(type: PinnedPerson["type"], value: string): string | undefined {
  switch (type) {
    case "integer":
      if (WRITTEN.test(value)) return value;
      return /^0\d{1,17}$/.test(value) ? BigInt(value).toString() : undefined;
    case "uuid":
      return UUID.test(value) ? value.toLowerCase() : undefined;
    case "text":
      return value.includes("\0") ? undefined : value;
  }
}

/** An integer as the server writes it. */
const WRITTEN = /^(?:0|[1-9]\d{0,17})$/;
const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;

function ofBinary(type: PinnedPerson["type"], bytes: Buffer): string | undefined {
  switch (type) {
    case "integer":
      if (bytes.length === 8) return bytes.readBigInt64BE().toString();
      return [2, 4].includes(bytes.length) ? bytes.readIntBE(0, bytes.length).toString() : undefined;
    case "uuid": {
      const hex = bytes.toString("hex");
      return hex.length === 32
        ? hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
        : undefined;
    }
    case "text":
      return bytes.toString("utf8");
  }
}
