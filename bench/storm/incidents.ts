import type { Checked } from "./checks.ts";
import type { Incident, Ledger } from "./ledger.ts";
import type { Trouble, TroubleKind } from "./trouble.ts";

/** What may end a session or a statement while a trouble lasts, and why (README.md, "When something is refused"). */
const EXPECTED: readonly { readonly codes: readonly string[]; readonly during: readonly TroubleKind[] }[] = [
  // A process that is killed says nothing, and nobody listens after it.
  { codes: ["none", "ECONNREFUSED", "ECONNRESET", "EPIPE"], during: ["proxy", "worker", "rolling"] },
  // Drained; the database shuts down, comes up, or had a process killed.
  { codes: ["57P01", "57P02", "57P03", "08006"], during: ["database", "crash", "rolling"] },
  // What was opened before a change of the policy is not read on after it.
  { codes: ["42501"], during: ["policy", "bad policy", "rolling"] },
  // Nobody counts.
  { codes: ["58000"], during: ["redis", "stall"] },
];

/** The same at any time: Redis was slow to answer, or the server is full. */
const ANY_TIME: ReadonlySet<string> = new Set(["58000", "53300"]);

/** News of a trouble's end takes a while to reach all. */
const SLACK = 3_000;

/** Of so many answers one may be an error that no trouble explains: on a busy machine Redis answers too late. */
const LATE = 10;

/** Errors that nothing asked for: only those that are documented, and only when something was the matter. */
export function checkIncidents(
  { incidents, done }: Ledger,
  troubles: readonly Trouble[],
): readonly Checked[] {
  const answers = Object.values(done).reduce((sum, each) => sum + each, 0);
  const unexplained = incidents.filter((incident) => !isExplained(incident, troubles));
  const late = unexplained.filter(({ code }) => ANY_TIME.has(code));
  const others = unexplained.filter(({ code }) => !ANY_TIME.has(code));
  return [
    {
      what: "errors while something was the matter",
      figure: figureOf(incidents, unexplained),
      problems: others.map(describe),
    },
    {
      what: "58000 and 53300 at other times",
      pace: true,
      figure: String(late.length),
      problems: late.length * LATE > answers ? late.slice(0, 20).map(describe) : [],
    },
  ];
}

function isExplained({ time, code }: Incident, troubles: readonly Trouble[]): boolean {
  const during = EXPECTED.filter(({ codes }) => codes.includes(code)).flatMap((each) => each.during);
  return troubles.some(({ kind, from, to }) => during.includes(kind) && time >= from && time <= to + SLACK);
}

function figureOf(incidents: readonly Incident[], less: readonly Incident[]): string {
  const unexplained = new Set(less);
  const counts = new Map<string, number>();
  for (const incident of incidents) {
    if (!unexplained.has(incident)) counts.set(incident.code, (counts.get(incident.code) ?? 0) + 1);
  }
  return [...counts].map(([code, times]) => `${code}: ${times}`).join(", ");
}

function describe({ time, code, work, text, lost }: Incident): string {
  return `${new Date(time).toISOString()} ${work}: ${code}${lost ? " (session lost)" : ""}: ${text}`;
}
