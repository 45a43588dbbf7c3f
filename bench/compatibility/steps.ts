import { isShownAs } from "./desk.ts";

/** What came of one thing that a client's program did. */
export type Step =
  | { readonly step: string; readonly value: unknown }
  | { readonly step: string; readonly error: string };

/** A step that did not come out through Sluice as it did directly. */
export interface Difference {
  readonly step: string;
  /** What was seen, in a line. */
  readonly what: string;
}

/** The lines that a program printed; a program that printed none, or stopped early, has `ended` as its last step. */
export function readSteps(stdout: string, ended: string | undefined): readonly Step[] {
  const steps = stdout
    .split("\n")
    .filter((line) => line.startsWith('{"step"'))
    .map((line) => JSON.parse(line) as Step);
  return ended === undefined ? steps : [...steps, { step: "the program", error: ended }];
}

/** Steps that failed directly are the client's own matter, and count nowhere. */
export function working(direct: readonly Step[]): readonly Step[] {
  return direct.filter((step) => "value" in step);
}

/** Each working step that failed, or gave something else; `isGuarded`: masks may stand in place of protected texts. */
export function differences(
  direct: readonly Step[],
  through: readonly Step[],
  isGuarded: boolean,
): readonly Difference[] {
  const same = isGuarded ? isMasked : isEqual;
  return working(direct).flatMap((wanted) => {
    const got = through.find(({ step }) => step === wanted.step);
    if (got === undefined) return [{ step: wanted.step, what: "was not reached" }];
    if ("error" in got) return [{ step: wanted.step, what: got.error }];
    const expected = "value" in wanted ? wanted.value : undefined;
    if (same(expected, got.value)) return [];
    return [{ step: wanted.step, what: `${excerpt(got.value)} in place of ${excerpt(expected)}` }];
  });
}

function isEqual(wanted: unknown, got: unknown): boolean {
  return JSON.stringify(wanted) === JSON.stringify(got);
}

/** Same shape, same values, but for texts that the policy masks. */
function isMasked(wanted: unknown, got: unknown): boolean {
  if (typeof wanted === "string" && typeof got === "string") return isShownAs(wanted, got);
  if (Array.isArray(wanted) && Array.isArray(got))
    return wanted.length === got.length && wanted.every((value, at) => isMasked(value, got[at]));
  if (isRecord(wanted) && isRecord(got)) {
    const keys = Object.keys(wanted);
    return keys.length === Object.keys(got).length && keys.every((key) => isMasked(wanted[key], got[key]));
  }
  return wanted === got;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
