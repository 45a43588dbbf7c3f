import { isDeepStrictEqual } from "node:util";
import { NAME_BYTES, refuseWeight } from "../../protocol/most-named.ts";
import { Names } from "../../protocol/object-names.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import { nameKey } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { type Judged, Kept } from "./decision.ts";
import { Description, hasSource } from "./described.ts";
import type { PinnedPeople } from "./pinned.ts";
import type { Counts } from "./run.ts";

/** A prepared statement: by Parse, or by SQL's PREPARE. */
export interface Prepared {
  /** Judged again when the policy, the catalog or search_path is another than when it was prepared. */
  kept: Kept;
  /** Undefined for an empty text. */
  statement: Statement | undefined;
  /** Which of its text's statements it is. */
  readonly pick: (statements: readonly Statement[]) => Statement | undefined;
  /** Bytes of its texts, when it was made. */
  readonly weight: number;
  /** The client's own Parse message; undefined for SQL's PREPARE. */
  readonly parse: Buffer | undefined;
  /** Of its rows, by the verdict of now. */
  description: Description;
}

/** A portal of the extended protocol, or a cursor: in the server they are one. */
export interface Portal {
  /** By the policy in force when it was last read from. */
  judged: Judged;
  statement: Statement | undefined;
  /** A cursor WITH HOLD outlives its transaction. */
  readonly held: boolean;
  readonly counts: Counts;
  /** The people whom its parameters name: see `StatementPrice.pins`. */
  pinned: PinnedPeople | undefined;
  /** What its statement and its parameters ask: see `repeats.ts`. */
  readonly question: string | undefined;
  /** How many lookups its parameters make beside those of its text. */
  readonly lookups: number;
  readonly description: Description;
}

/** The names that a session has given; protocol and SQL share them (Postgres docs, "PREPARE" and "DECLARE"). */
export interface Named {
  readonly statements: Names<Prepared>;
  readonly portals: Names<Portal>;
}

export function noNames(): Named {
  return { statements: new Names(weightOfPrepared), portals: new Names(weightOfPortal) };
}

/** Bytes of its text, and of the one that the server got. */
function textsOf({ text, verdict }: Judged): number {
  return text.length + (verdict.kind === "rewrite" ? verdict.sql.length : 0);
}

/** Undefined: there is room for one more named statement or portal. */
export function refuseMoreNames({ statements, portals }: Named): Refusal | undefined {
  return refuseWeight(statements.weight + portals.weight);
}

/** Whether it prepares something, or opens a cursor. */
export function givesName({ effect }: Statement): boolean {
  return effect?.kind === "prepare" || effect?.kind === "declare";
}

/** It never changes while the name is given, though the verdict may. */
function weightOfPrepared({ parse, weight }: Prepared): number {
  return NAME_BYTES + weight + (parse?.length ?? 0);
}

/** Its parameters are the server's alone. */
function weightOfPortal({ judged }: Portal): number {
  return NAME_BYTES + textsOf(judged);
}

/** What the server gets for it. */
export function textOf({ verdict, text }: Pick<Judged, "text" | "verdict">): Buffer {
  return verdict.kind === "rewrite" ? verdict.sql : text;
}

/** What Parse makes. */
export function preparedBy(judged: Judged, parse: Buffer): Prepared {
  const pick = (statements: readonly Statement[]) => statements[0];
  const statement = pick(judged.verdict.statements);
  const weight = textsOf(judged);
  return { kept: new Kept(judged), statement, pick, weight, parse, description: new Description() };
}

/** What SQL's PREPARE makes, as the statement of that index. */
export function preparedBySql(judged: Judged, index: number): Prepared {
  const pick = (statements: readonly Statement[]) => {
    const effect = statements[index]?.effect;
    return effect?.kind === "prepare" ? effect.inner : undefined;
  };
  const statement = pick(judged.verdict.statements);
  const weight = textsOf(judged);
  return {
    kept: new Kept(judged),
    statement,
    pick,
    weight,
    parse: undefined,
    description: new Description(),
  };
}

/** What a portal is made with beside its statement. */
interface Bound {
  readonly pinned?: PinnedPeople | undefined;
  readonly question?: string | undefined;
  readonly lookups?: number;
  /** Of the prepared statement that it is made from. */
  readonly description?: Description;
}

export function portalOf(judged: Judged, statement: Statement | undefined, bound: Bound = {}): Portal {
  const { pinned, question, description, lookups = 0 } = bound;
  // The statement behind an EXECUTE or a FETCH may be another one each time.
  const isShared = statement !== undefined && !hasSource(statement);
  return {
    judged,
    statement,
    held: false,
    counts: { rows: 0, bytes: 0 },
    pinned,
    question,
    lookups,
    description: (isShared ? description : undefined) ?? new Description(),
  };
}

/** The same portal under another policy, by which the server would have got the same text. */
export function judgeAnew(portal: Portal, anew: Judged): void {
  const { judged, statement } = portal;
  const fresh = counterpart(statement, judged.verdict.statements, anew.verdict.statements);
  const [before, now] = [statement, fresh].map((each) => each?.metering?.price?.pins);
  // Its parameters are the server's alone: whom they name under another name is not known any more.
  if (!isDeepStrictEqual(before, now)) portal.pinned = undefined;
  portal.judged = { ...anew, ...(judged.person !== undefined && { person: judged.person }) };
  portal.statement = fresh;
}

/** A portal's statement is one of its text's, or what one of them declares a cursor for. */
function counterpart(
  statement: Statement | undefined,
  before: readonly Statement[],
  now: readonly Statement[],
): Statement | undefined {
  const index = before.findIndex((each) => each === statement || declaredBy(each) === statement);
  const other = now[index];
  return other === undefined || before[index] === statement ? other : declaredBy(other);
}

function declaredBy({ effect }: Statement): Statement | undefined {
  return effect?.kind === "declare" ? effect.inner : undefined;
}

/** What a name means at one moment; "unsettled" when messages on their way decide that yet. */
export interface Lookup {
  statement(key: string): Prepared | "absent" | "unsettled" | Refusal;
  portal(key: string): Portal | "absent" | "unsettled" | Refusal;
}

/** As the server has them now, after all that it has answered. */
export function asAnswered({ statements, portals }: Named): Lookup {
  return {
    statement: (key) => statements.get(key) ?? "absent",
    portal: (key) => portals.get(key) ?? "absent",
  };
}

/** The statement that gives the rows, and the counts to which they are added. */
export interface Source {
  readonly shape: Statement;
  readonly counts: Counts;
  /** By which it was judged, where it is another statement than the one that asks. */
  readonly scope: Scope | undefined;
  /** The only people that the cursor behind a FETCH can reveal anything about. */
  readonly pinned?: PinnedPeople | undefined;
}

const PLAN_HIDDEN = refuse("42501", "this role may not see the plan of what is prepared under that name", {
  hint: "Explain the statement itself: EXPLAIN SELECT …",
});

/** EXECUTE can name an EXECUTE that Parse prepared; the server ends such a ring by its stack depth. */
const DEEPEST = 8;

/** In the words of MarkPortalActive and PortalRunFetch. A portal that was bound before the one that it names gives no rows. */
const RING_OF_PORTALS = refuse("XX000", "unsupported portal strategy");

/**
 * The statement behind an EXECUTE or a FETCH; any other statement is its own source. `running`: the portal that is about to
 * run it.
 */
export function sourceOf(
  statement: Statement,
  counts: Counts,
  lookup: Lookup,
  running?: string,
): Source | "unsettled" | Refusal {
  const { effect } = statement;
  if (effect?.kind === "fetch" && nameKey(effect.portal) === running)
    return refuse("55000", `portal "${effect.portal}" cannot be run`);
  return sourceAt(statement, counts, lookup, 0, undefined);
}

function sourceAt(
  statement: Statement,
  counts: Counts,
  lookup: Lookup,
  depth: number,
  scope: Scope | undefined,
): Source | "unsettled" | Refusal {
  const { effect } = statement;
  if (depth > DEEPEST)
    return effect?.kind === "fetch"
      ? RING_OF_PORTALS
      : refuse("54001", "prepared statements name each other too deeply");
  if (effect?.kind === "execute") {
    const prepared = lookup.statement(nameKey(effect.name));
    if (prepared === "absent") return missingStatement(effect.name);
    if (prepared === "unsettled" || "sqlstate" in prepared) return prepared;
    if (prepared.statement !== undefined)
      return behind(prepared.statement, counts, lookup, depth, prepared.kept.scope);
  }
  if (effect?.kind === "explainExecute") {
    const prepared = lookup.statement(nameKey(effect.name));
    if (prepared === "absent") return missingStatement(effect.name);
    if (prepared === "unsettled" || "sqlstate" in prepared) return prepared;
    if (prepared.statement?.hidesPlan) return PLAN_HIDDEN;
  }
  if (effect?.kind === "fetch") {
    const portal = lookup.portal(nameKey(effect.portal));
    if (portal === "absent") return missingPortal(effect.portal, "cursor");
    if (portal === "unsettled" || "sqlstate" in portal) return portal;
    if (portal.statement !== undefined) {
      const source = behind(portal.statement, portal.counts, lookup, depth, portal.judged.scope);
      const isOwn = isSource(source) && source.shape === portal.statement;
      return isOwn ? { ...source, pinned: portal.pinned } : source;
    }
  }
  return { shape: statement, counts, scope };
}

/**
 * Parse can prepare any statement, and EXECUTE runs it. What does something to the session must show in the
 * text that does it, or names would mean to the server what they do not mean here.
 */
function behind(
  statement: Statement,
  counts: Counts,
  lookup: Lookup,
  depth: number,
  scope: Scope | undefined,
): Source | "unsettled" | Refusal {
  const kind = statement.effect?.kind;
  if (statement.asks !== undefined)
    return refuse(
      "42501",
      `${statement.command} with an array or a pattern to look up may not be run by EXECUTE`,
      {
        hint: "Run it by the driver's own prepared statement, or write the values out with IN.",
      },
    );
  if (kind === undefined || kind === "execute" || kind === "fetch") {
    return sourceAt(statement, counts, lookup, depth + 1, scope);
  }
  return refuse("42501", `${statement.command} may not be run by the name of a statement or cursor`, {
    hint: "Send the statement itself.",
  });
}

export function isSource(source: Source | "unsettled" | Refusal): source is Source {
  return source !== "unsettled" && "shape" in source;
}

/** In the words of FetchPreparedStatement and exec_bind_message. */
export function missingStatement(name: string): Refusal {
  return name === ""
    ? refuse("26000", "unnamed prepared statement does not exist")
    : refuse("26000", `prepared statement "${name}" does not exist`);
}

/** In the words of exec_execute_message and PerformPortalFetch. */
export function missingPortal(name: string, what: "portal" | "cursor"): Refusal {
  return refuse("34000", `${what} "${name}" does not exist`);
}

/** The name that a key encodes (see `nameKey`). */
export function nameOf(key: string): string {
  return Buffer.from(key, "latin1").toString("utf8");
}

/** Whether a lookup or a judgement ended in a refusal. */
export function isRefusal(value: object): value is Refusal {
  return "sqlstate" in value;
}
