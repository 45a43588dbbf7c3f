import { type Limits, measureText, type Role, windowsOf } from "../policy/policy.ts";
import { PERSON } from "../policy/price-units.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Scope } from "./scope.ts";
import type { StageName } from "./stages.ts";
import { type CountsNobody, countsNobody, countsNobodyText } from "./uncounted.ts";
import type { Groups, Statement, StatementPrice, Verdict } from "./verdict.ts";
import { watchedTexts } from "./watched-explanation.ts";

/** What `policy explain` reports about a verdict; `--json` prints it unchanged. */
export interface Explanation {
  readonly user: string;
  /** The application's user, where the user is a person behind it. */
  readonly account?: string;
  readonly role: string;
  readonly database: string;
  readonly policy: string;
  readonly mode: string;
  readonly verdict:
    | "passes unchanged"
    | "passes, with columns added that say whose rows they are"
    | "is rewritten"
    | "is refused";
  readonly refusal?: Refusal;
  /** The stage of the analysis that refused it. */
  readonly stage?: StageName;
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  readonly masked: readonly string[];
  readonly lookups: number;
  /** Classes of its rows that are stored as tokens, and turned back for the role. */
  readonly reveals: readonly string[];
  /** Name spaces of the people that it counts, and "unknown" for rows whose people cannot be distinguished. */
  readonly counts: readonly string[];
  /** Tables with protected columns that it reads although no one is counted for it. */
  readonly countsNobody?: CountsNobody;
  /** The number of rows after which it ends. */
  readonly rows?: number;
  /** Notices that the client gets in addition to the result. */
  readonly notices: readonly Refusal[];
  readonly limits: readonly string[];
  readonly metering: readonly string[];
  /** The text that the server gets instead of the client's. */
  readonly sent?: string;
}

const SAYS = { pass: "passes unchanged", rewrite: "is rewritten", refuse: "is refused" } as const;

/** The stage that refuses, in words: see stages.ts. */
const STAGE_SAYS: Readonly<Record<StageName, string>> = {
  parse: "Postgres's grammar (parse)",
  bind: "what its names mean (bind)",
  rules: "the policy and Sluice's rules (rules)",
  emit: "a fault in rewriting it (emit)",
  verify: "a fault of the rewritten text (verify)",
};

const WATCHED_SAYS = { ...SAYS, rewrite: "passes, with columns added that say whose rows they are" } as const;

/** Gathers what the verdict, the role and the policy say about one statement text. */
export function explain(verdict: Verdict, scope: Scope, user: string, account?: string): Explanation {
  const { policy, role, catalog } = scope;
  const { statements } = verdict;
  const nobody = countsNobody(verdict, scope);
  const limited = statements.some((statement) => statement.limited);
  return {
    user,
    ...(account !== undefined && { account }),
    role: role.name,
    database: catalog.database,
    policy: policy.version,
    mode: policy.mode,
    verdict: role.watch === true ? WATCHED_SAYS[verdict.kind] : SAYS[verdict.kind],
    ...(verdict.kind === "refuse" ? { refusal: verdict.refusal } : {}),
    ...(verdict.kind === "refuse" && verdict.stage !== undefined ? { stage: verdict.stage } : {}),
    reads: distinct(statements, (statement) => statement.reads),
    writes: distinct(statements, (statement) => statement.writes),
    masked: distinct(statements, (statement) => statement.masked),
    lookups: statements.reduce((sum, statement) => sum + statement.lookups, 0),
    reveals: distinct(statements, (statement) => statement.reveals ?? []),
    counts: distinct(statements, counted),
    ...(nobody === undefined ? {} : { countsNobody: nobody }),
    ...(limited && role.limits.rows !== undefined ? { rows: role.limits.rows } : {}),
    notices: statements.flatMap(({ notices = [] }) => notices),
    limits: [
      ...(limited ? limitTexts(role.limits) : []),
      ...(statements.some(({ changes }) => changes !== undefined) ? changeTexts(role.limits) : []),
    ],
    metering:
      role.watch === true
        ? [...watchedTexts(statements, role), ...budgetTexts(role)]
        : meteringTexts(statements, role),
    ...(verdict.kind === "rewrite" ? { sent: verdict.sql.toString("utf8") } : {}),
  };
}

/** The explanation as text. */
export function explanationText(explanation: Explanation): string {
  const { user, account, role, database, policy, mode, refusal, stage, sent } = explanation;
  const rows: (readonly [string, string])[] = [
    [
      "who",
      `${user}${account === undefined ? "" : ` behind ${account}`}, role ${role}, database ${database}`,
    ],
    ["policy", mode === "observe" ? `${policy}, only observed: the statement goes through as it is` : policy],
    [
      "verdict",
      stage === undefined ? explanation.verdict : `${explanation.verdict}, by ${STAGE_SAYS[stage]}`,
    ],
  ];
  if (refusal) {
    rows.push(["reason", `${refusal.sqlstate}: ${refusal.message}`]);
    for (const field of ["detail", "hint", "rule"] as const) {
      const text = refusal[field];
      if (text !== undefined) rows.push([field, text]);
    }
  }
  for (const field of ["reads", "writes", "masked", "reveals", "limits", "metering"] as const) {
    const texts = explanation[field];
    // Prices are phrases that contain commas: one per line.
    const separator = field === "metering" ? `\n${" ".repeat(10)}` : ", ";
    if (texts.length > 0) rows.push([field, texts.join(separator)]);
  }
  const { countsNobody: nobody, counts } = explanation;
  if (nobody !== undefined) rows.push(["counted", countsNobodyText(nobody, counts.length > 0)]);
  if (explanation.lookups > 0) rows.push(["lookups", String(explanation.lookups)]);
  for (const { message, hint } of explanation.notices) rows.push(["notice", message], ["hint", hint ?? ""]);
  const lines = rows.map(([name, text]) => `${name.padEnd(10)}${text}`);
  if (sent !== undefined) lines.push("", "sent to the server:", "", sent);
  return `${lines.join("\n")}\n`;
}

function distinct(statements: readonly Statement[], of: (statement: Statement) => readonly string[]) {
  return [...new Set(statements.flatMap(of))];
}

function counted({ metering }: Statement): readonly string[] {
  const spaces = [
    ...(metering?.subjects.map(({ namespace }) => namespace) ?? []),
    ...(metering?.groups?.namespaces ?? []),
  ];
  return metering !== undefined && metering.unknown > 0 ? [...spaces, "unknown"] : spaces;
}

function limitTexts({ rows, bytes, onExcess, pushed }: Limits): string[] {
  const texts: string[] = [];
  if (rows !== undefined) texts.push(`${rows} rows`);
  if (bytes !== undefined) texts.push(`${bytes} bytes`);
  if (texts.length > 0) texts.push(onExcess === "error" ? "an error past them" : "cut with a warning");
  if (rows !== undefined && pushed) texts.push("sent to the server");
  return texts;
}

function changeTexts({ changes }: Limits): string[] {
  return changes === undefined ? [] : [`${changes} rows written, taken back past them`];
}

function meteringTexts(statements: readonly Statement[], role: Role): string[] {
  const metered = statements.flatMap((statement) => statement.metering ?? []);
  const writes = statements.some(({ changes }) => changes === "people");
  if (metered.length === 0 && !writes) return [];
  const spaces = new Set(metered.flatMap((one) => one.subjects.map((subject) => subject.namespace)));
  const unknown = Math.max(0, ...metered.map((one) => one.unknown));
  const cost = Math.max(1, ...metered.map((one) => one.cost ?? 1));
  return [
    ...[...spaces].map((space) => `each person of ${space} that a row names`),
    ...(unknown > 0 ? [`${unknown} unknown ${unknown === 1 ? "person" : "people"} a row`] : []),
    ...metered.flatMap(({ groups }) => (groups === undefined ? [] : [groupText(groups)])),
    ...(metered.some(({ purpose }) => purpose === true) ? ["whether the user has to do with them"] : []),
    ...metered.flatMap(({ price }) => (price === undefined ? [] : priceTexts(price))),
    ...(writes && role.budget.some(({ what }) => what === "changes")
      ? ["each row that it writes as a change"]
      : []),
    ...revealTexts(statements, role),
    ...(cost > 1 ? [`each counts for ${cost} people`] : []),
    ...budgetTexts(role),
  ];
}

/** Of classes whose reveals have a limit. */
function revealTexts(statements: readonly Statement[], { reveals }: Role): string[] {
  const limited = new Set(reveals.map(({ of }) => of));
  return distinct(statements, (statement) => statement.reveals ?? [])
    .filter((each) => limited.has(each))
    .map((each) => `each person whose ${each} is turned back as a reveal of ${each}`);
}

function budgetTexts(role: Role): string[] {
  const windows = windowsOf(role).map((window) => `${window.limit} ${measureText(window)} in ${window.name}`);
  return windows.length === 0 ? [] : [`budgets: ${windows.join(", ")}`];
}

function groupText({ namespaces, tell, isPlain, most }: Groups): string {
  const spaces = [...new Set(namespaces)].join(", ");
  if (most !== undefined)
    return `${most} unknown ${most === 1 ? "person" : "people"} of ${spaces} a row; one with at least ten people behind it costs nothing`;
  const how =
    tell === "people" ? "" : " as unknown people, or one for each 4 bytes of the row if that is less";
  const free = isPlain ? "; a row with at least ten people behind it costs nothing" : "";
  return `the people of ${spaces} behind each row${how}${free}`;
}

/** In the terms of docs/metering.md, "What a statement costs". */
function priceTexts({ execution, pins, pinned, prepaid = 0, bySize }: StatementPrice): string[] {
  const first = prepaid > 0 ? `, ${shareOfPerson(prepaid)} of it for the first rows` : "";
  const each = execution > 0 ? `${shareOfPerson(execution)} for each execution${first}` : undefined;
  const more = pinned === 0 ? "nothing" : shareOfPerson(pinned);
  // The values of parameters arrive later, possibly in a form that cannot be read.
  const named =
    pins === undefined ? undefined : `${more} besides the people whose ids it names, if these can be read`;
  const whole = [named, each].filter((text) => text !== undefined).join("; otherwise ");
  return [
    ...(whole === "" ? [] : [whole]),
    ...(bySize ? ["rows by their size, one person for each 4 bytes"] : []),
  ];
}

/** `1/16 of a person` */
function shareOfPerson(units: number): string {
  if (units % PERSON === 0) return `${units / PERSON} ${units === PERSON ? "person" : "people"}`;
  let [count, parts] = [units, PERSON];
  while (count % 2 === 0) [count, parts] = [count / 2, parts / 2];
  return `${count}/${parts} of a person`;
}
