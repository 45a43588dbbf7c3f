import type { FuncCall } from "libpg-query";
import { makesTable, statementsWith, WRITES } from "../pg/statements.ts";
import type { Role } from "../policy/policy.ts";
import { unrestricted } from "../policy/rules/all.ts";
import { applyEdits, applyInOrder } from "./emit/rewrite.ts";
import { functionsNamed, isHarmlessFunction } from "./functions.ts";
import { pinned } from "./judge-text.ts";
import { namesBeyond } from "./ordinals.ts";
import { nodeOf } from "./parse/grammar.ts";
import { type NamedRelation, someNamedRelation } from "./parse/named-relations.ts";
import { type Parsed, type ParsedText, parseText, type RawStatement } from "./parse/parse-text.ts";
import type { Source } from "./parse/source.ts";
import { someObject } from "./parse/tree.ts";
import { isKnownCall } from "./reads-more.ts";
import type { Copied } from "./rules/copied-values.ts";
import { runsText } from "./rules/kept-by-calls.ts";
import { mostLost } from "./rules/person-paths.ts";
import type { PinnedConstant } from "./rules/pinned-people.ts";
import { ANY_ROWS } from "./rules/row-names.ts";
import type { Scope } from "./scope.ts";
import { sightsOf } from "./sight.ts";
import { relationNamed, survey, surveyParsed } from "./survey.ts";
import { RUNS_CODE, touchOf } from "./touch.ts";
import { copiesUnread } from "./unread-copies.ts";
import type { Effect, MadeEdit, Metering, SessionTouch, Statement, Verdict } from "./verdict.ts";
import { strayEdit } from "./verify/same-tree.ts";

/*
 * Statements of a watched role: the server gets the client's text, perhaps with appended columns that identify the
 * people of each row. Nothing is refused. If the analysis refuses, or an added column could change the effect, the text
 * passes unchanged, and what it shows is charged by its size.
 */

const counting = new WeakMap<Scope, Scope>();

/**
 * The same scope for the analysis: the role may do everything, and no budget makes the analysis refuse or price
 * anything.
 */
export function countingScope(scope: Scope): Scope {
  let known = counting.get(scope);
  if (known === undefined) {
    known = { ...scope, role: countingRole(scope.role) };
    counting.set(scope, known);
  }
  return known;
}

/** A role that sees, reads and writes all, and is watched. */
export function countingRole(role: Role): Role {
  return { ...unrestricted(role), finds: "all", watch: true };
}

/** The verdict on a text that the analysis has refused. */
export function uncounted(text: string, scope: Scope, parsed: Parsed): Verdict {
  if (!parsed.ok) return unanalysed(text, scope);
  const said = surveyParsed(parsed.statements, scope);
  const statements = parsed.statements.flatMap((raw, index) => {
    const statement = said[index];
    return statement === undefined ? [] : [surveyed(statement, raw, scope)];
  });
  return { kind: "pass", statements };
}

/** The verdict on a text that was not analysed because of a lack of time or capacity, not because of its contents. */
export function unanalysed(text: string, scope: Scope): Verdict {
  const statements = survey(text, scope).map(unread);
  return unreadWith({ kind: "pass", statements }, Buffer.from(text), scope);
}

/** Any of its statements may store what any of its words says. */
function unreadWith(verdict: Verdict, text: Buffer, { policy, catalog }: Scope): Verdict {
  const copied = copiesUnread(text, mostLost(policy, catalog));
  return withCopies(
    verdict,
    verdict.statements.map(() => copied),
  );
}

/** For a text that this parser must not read: its bytes or strings mean something else to the server. */
export function unreadable(text: Buffer, scope: Scope): Verdict {
  const verdict = unreadWith(UNREAD, text, scope);
  unreadables.add(verdict);
  return verdict;
}

/** Nothing is known about a text that does not parse here. */
function unread(statement: Statement): Statement {
  const defines = statement.effect?.kind === "definition";
  const touch = { session: true, defines, bareNames: [], keys: [ANY_ROWS] };
  return { ...statement, ...BY_SIZE, touch, unread: true, readsMore: true };
}

function surveyed(statement: Statement, raw: RawStatement, scope: Scope): Statement {
  const isDefinition = statement.effect?.kind === "definition";
  const touch = touchOf(raw, isDefinition, scope);
  return { ...statement, ...(mayShow(raw, isDefinition, scope) && BY_SIZE), touch };
}

/** For what may show people but cannot identify them. */
export const BY_SIZE = {
  uncounted: true,
  metering: { subjects: [], unknown: 0, price: { execution: 0, pinned: 0, bySize: true } },
} as const satisfies Partial<Statement>;

/** The results of the analysis of a text. */
interface Found {
  readonly source: Source;
  readonly parsed: ParsedText;
  readonly statements: readonly Statement[];
  /** In order of position. */
  readonly edits: readonly MadeEdit[];
}

/** The verdict on a text that the analysis understands: only columns after the client's own are added to it. */
export function watched(scope: Scope, { source, parsed, statements, edits }: Found): Verdict {
  const survived = surveyParsed(parsed.statements, scope).map((statement, index) => {
    const raw = parsed.statements[index];
    return { ...statement, touch: raw && touchOf(raw, statement.effect?.kind === "definition", scope) };
  });
  const kept = mayAdd(parsed, scope) && edits.every(isHarmless) ? edits.filter(adds) : [];
  const wanted = kept.filter(({ at }) => takesColumns(statements[statementAt(parsed, at)]));
  const isSafe = wanted.length === 0 || isVerified(source, parsed, wanted);
  const made = isSafe ? wanted : [];
  const told = statements.map((statement, index): Statement => {
    const { touch, ownValues, effect: surveyedEffect } = survived[index] ?? {};
    const isAdded = made.some(({ at }) => statementAt(parsed, at) === index);
    const metering = meteringOf(statement, isAdded);
    const inner = statement.effect;
    const effect =
      inner?.kind === "declare"
        ? { ...inner, inner: touching(withMetering(inner.inner, meteringOf(inner.inner, isAdded)), touch) }
        : inner?.kind === "prepare"
          ? { ...inner, inner: withMetering(inner.inner, meteringOf(inner.inner, false)) }
          : (inner ?? surveyedEffect);
    const { effect: _, ...rest } = withMetering(statement, metering);
    return { ...rest, ...(effect && { effect }), ...(touch && { touch }), ...(ownValues && { ownValues }) };
  });
  if (made.length === 0) return { kind: "pass", statements: told };
  return { kind: "rewrite", statements: told, ...applyEdits(source, made) };
}

/** Changes that a cursor's query may make happen when rows are fetched. */
function touching(statement: Statement, touch: SessionTouch | undefined): Statement {
  return touch === undefined ? statement : { ...statement, touch };
}

function withMetering(statement: Statement, metering: Metering | undefined): Statement {
  const { metering: _, lookups: __, asks: ___, uncounted: ____, ...rest } = statement;
  const isUncounted = metering !== undefined && (metering.unknown > 0 || metering.price?.bySize === true);
  return { ...rest, lookups: 0, ...(metering && { metering }), ...(isUncounted && { uncounted: true }) };
}

/**
 * What rows report, depending on whether the columns are there. The price for any answer at all is only for users who
 * may not see everything.
 */
function meteringOf({ metering }: Statement, isAdded: boolean): Metering | undefined {
  if (metering === undefined) return undefined;
  const { subjects, unknown, groups, cost, price, purpose } = metering;
  const bySize = price?.bySize === true;
  const kept = { ...(cost !== undefined && { cost }), price: { execution: 0, pinned: 0, bySize } };
  if (isAdded) return { subjects, unknown, ...(purpose && { purpose }), ...(groups && { groups }), ...kept };
  if (groups !== undefined)
    return groups.isPlain ? undefined : { subjects: [], unknown: 1, gathers: true, ...kept };
  const people = subjects.length + unknown;
  return people === 0 && !bySize ? undefined : { subjects: [], unknown: people, ...kept };
}

/**
 * A plan would show the columns. `count(DISTINCT subject)` beside a summary would identify no one and cost more than
 * the summary itself.
 */
function takesColumns(statement: Statement | undefined): boolean {
  return statement?.kind !== "explain" && statement?.metering?.groups?.tell !== "number";
}

function adds({ change }: MadeEdit): boolean {
  return change?.kind === "items" && change.names.every((name) => name.startsWith(OURS));
}

const OURS = "sluice ";

/** Edits that can be left out without affecting the others: they only add schemas to names. */
function isHarmless(edit: MadeEdit): boolean {
  const { change, list, text } = edit;
  if (adds(edit)) return true;
  switch (change?.kind) {
    case "relation":
      return list === undefined && !text.includes("(");
    case "call":
    case "explain options":
      return true;
    default:
      return false;
  }
}

/**
 * A text that SQL keeps under a name may be run where its columns matter: by CREATE TABLE AS EXECUTE. A result has at
 * most 1,664 columns (MaxTupleAttributeNumber of access/htup_details.h).
 */
function mayAdd({ statements, tree }: ParsedText, scope: Scope): boolean {
  if (tree.includes('"current_query"') || tree.split('"ResTarget"').length > MANY_COLUMNS) return false;
  return !statements.some((raw) => nodeOf(raw.node)[0] === "PrepareStmt" || namesBeyond(raw, scope));
}

const MANY_COLUMNS = 1_000;

function statementAt({ statements }: ParsedText, place: number): number {
  return statements.findIndex(({ start, end }) => place >= start && place <= end);
}

/** The new text must be the client's own, except for the added columns. */
function isVerified(source: Source, { tree }: ParsedText, edits: readonly MadeEdit[]): boolean {
  const made = parseText(applyInOrder(source.bytes, edits).toString("utf8"));
  return made.ok && strayEdit(tree, made.tree, edits) === undefined;
}

/** Whether a statement's output may be about a person: it reads people, or something unknown. */
function mayShow({ node }: RawStatement, isDefinition: boolean, scope: Scope): boolean {
  const [type, body] = nodeOf(node);
  if (SHOWS_NOTHING.has(type) || (isDefinition && !RUNS_CODE.has(type))) return false;
  const ctes = new Set<string>();
  if (RUNS_CODE.has(type) || type === "FetchStmt") return true;
  const calls = someObject(body, (field, object) => {
    if (field === "CommonTableExpr" && "ctename" in object) ctes.add(String(object.ctename));
    return field === "FuncCall" && !isKnownCall(object as FuncCall, scope);
  });
  return calls || someNamedRelation(body, (named) => mayHavePeople(named, ctes, scope));
}

/**
 * The same for what a statement stores elsewhere, where its names could not be resolved: nothing says then how many people are
 * in a row of it.
 */
export function mayCopy(statements: readonly RawStatement[], scope: Scope): readonly (Copied | undefined)[] {
  return statements.map(({ node }) => {
    const [type, body] = nodeOf(node);
    if (DEFINES_ONLY.has(type)) return undefined;
    const stores = STORES.has(type) || makesTable(body) || someObject(body, (field) => STORES.has(field));
    const calls = someObject(
      body,
      (field, object) => field === "FuncCall" && !isHarmlessCall(object as FuncCall, scope),
    );
    if (!stores && !calls) return undefined;
    const isOwn = (named: NamedRelation) =>
      type === "InsertStmt" && "relation" in body && named === body.relation;
    const copies = someNamedRelation(body, (named) => !isOwn(named) && mayHavePeople(named, NO_NAMES, scope));
    return copies || (calls && runsText(body))
      ? { people: Number.POSITIVE_INFINITY, isForGood: calls }
      : undefined;
  });
}

/** Postgres's own functions of this name read, and leave nothing behind. */
function isHarmlessCall(call: FuncCall, { catalog }: Scope): boolean {
  const known = functionsNamed(catalog, call);
  return known.length > 0 && known.every((fn) => fn.schema !== "pg_catalog" || isHarmlessFunction(fn));
}

const STORES: ReadonlySet<string> = new Set([...WRITES, "CreateTableAsStmt", "TruncateStmt"]);
/** What it says is run by other statements. */
const DEFINES_ONLY: ReadonlySet<string> = new Set(["ViewStmt", "RuleStmt", "CreateFunctionStmt"]);
const NO_NAMES: ReadonlySet<string> = new Set();

/** The verdict, with how many people each of its statements copies for each row that it stores. */
export function withCopies(verdict: Verdict, copies: readonly (Copied | undefined)[]): Verdict {
  if (copies.every((each) => each === undefined)) return verdict;
  const places = placesOf(verdict);
  const statements = verdict.statements.map((statement, index): Statement => {
    const each = copies[index];
    if (each === undefined) return statement;
    const { people, isForGood, isOfOne, cost, row } = each;
    const more = {
      copies: people,
      ...(people > 0 && { uncounted: true as const }),
      ...(isForGood && { isForGood: true as const }),
      ...(isOfOne && { copiesOne: true as const }),
      ...(cost && { copiesCost: cost }),
    };
    const { effect } = statement;
    // What it runs is looked up by its name.
    if (effect?.kind === "execute") return { ...statement, copies: people };
    if (effect?.kind !== "prepare")
      return { ...statement, ...more, ...(row && { row: pinned(places, row) }) };
    return { ...statement, effect: { ...effect, inner: { ...effect.inner, ...more } } };
  });
  return withPlaces({ ...verdict, statements }, places);
}

/** The verdict, with the one row that each of its statements shows together with its person. */
export function withRows(verdict: Verdict, rows: readonly (PinnedConstant | undefined)[]): Verdict {
  if (rows.every((row) => row === undefined)) return verdict;
  const places = placesOf(verdict);
  const statements = verdict.statements.map((statement, index): Statement => {
    const row = rows[index];
    return row !== undefined && namesPeople(statement)
      ? { ...statement, row: pinned(places, row) }
      : statement;
  });
  return withPlaces({ ...verdict, statements }, places);
}

function placesOf(verdict: Verdict): number[] {
  return verdict.kind === "refuse" ? [] : [...(verdict.places ?? [])];
}

function withPlaces(verdict: Verdict, places: readonly number[]): Verdict {
  return verdict.kind === "refuse" || places.length === 0 ? verdict : { ...verdict, places };
}

/** Each row that leaves tells all of its people. */
function namesPeople({ kind, metering }: Statement): boolean {
  if (kind !== "read" || metering === undefined) return false;
  const { subjects, unknown, groups, price } = metering;
  return subjects.length > 0 && unknown === 0 && groups === undefined && price?.bySize !== true;
}

/** The verdict, with plans that tell of people counted by their size. */
export function withPlans(verdict: Verdict, tells: readonly boolean[]): Verdict {
  if (!tells.includes(true)) return verdict;
  const statements = verdict.statements.map((statement, index) =>
    tells[index] === true ? { ...statement, ...BY_SIZE } : statement,
  );
  return { ...verdict, statements };
}

const SHOWS_NOTHING = statementsWith("showsNothing");

function mayHavePeople(named: NamedRelation, ctes: ReadonlySet<string>, scope: Scope): boolean {
  const { schemaname, relname } = named;
  if (schemaname === undefined && ctes.has(relname)) return false;
  const relation = relationNamed(named, scope);
  // A relation that the catalog does not have may be a temporary copy. System relations are about no one, except for
  // statistics.
  if (relation === undefined) return !relname.startsWith("pg_") || /stat/.test(relname);
  const sight = sightsOf(countingScope(scope)).of(relation);
  return !sight.ok || sight.sight.people !== undefined || sight.sight.gathers;
}

const bare = new WeakMap<Verdict, Verdict>();

/** The same verdict for a text that is sent as the client wrote it. */
export function withoutColumns(verdict: Verdict): Verdict {
  if (verdict.kind !== "rewrite") return verdict;
  let known = bare.get(verdict);
  if (known === undefined) {
    const statements = verdict.statements.map((statement): Statement => {
      const { effect } = statement;
      const stripped = withMetering(statement, meteringOf(statement, false));
      if (effect?.kind !== "declare") return stripped;
      return {
        ...stripped,
        effect: { ...effect, inner: withMetering(effect.inner, meteringOf(effect.inner, false)) },
      };
    });
    known = { kind: "pass", statements, ...(verdict.places && { places: verdict.places }) };
    bare.set(verdict, known);
  }
  return known;
}

/**
 * The same verdict where names may mean other relations than the catalog has: what such a statement shows of those counts by
 * its size, and nothing says how many people are in what it stores.
 */
export function doubted(verdict: Verdict, doubts: readonly Doubt[]): Verdict {
  if (doubts.every((doubt) => doubt === "none")) return verdict;
  const statements = verdict.statements.map((statement, index) => {
    const doubt = doubts[index] ?? "none";
    return doubt === "none" ? statement : inDoubt(statement, doubt);
  });
  return { ...verdict, statements };
}

/** "rows": what it shows is not known; "all": nor what it stores. */
export type Doubt = "none" | "rows" | "all";

function inDoubt(statement: Statement, doubt: Doubt): Statement {
  const { kind, reads, metering, silent, touch, effect } = statement;
  const inner = effect?.kind === "declare" || effect?.kind === "prepare" ? effect.inner : undefined;
  const within = inner && { ...inner, ...(inner.touch === undefined && touch && { touch }) };
  const behind = within && { effect: { ...effect, inner: inDoubt(within, doubt) } as Effect };
  // A row of another relation may be made of many people's.
  const isRead = reads.length > 0 && GIVES_ROWS.has(kind) && silent !== true;
  const shows = isRead || metering !== undefined;
  const copies = doubt === "all" ? copiesInDoubt(statement) : 0;
  const { row: _, copiesOne, ...rest } = statement;
  return {
    ...rest,
    ...(shows && BY_SIZE),
    ...(copies > 0 ? { copies, uncounted: true as const } : copiesOne && { copiesOne }),
    ...behind,
  };
}

/** The same statement, of whose rows nothing is known: unless it has been sent with columns that say whose they are. */
export function ofUnknownRows(statement: Statement): Statement {
  const { kind, reads, metering, silent } = statement;
  const shows = metering === undefined && reads.length > 0 && GIVES_ROWS.has(kind) && silent !== true;
  return shows ? { ...statement, ...BY_SIZE } : statement;
}

/** How many people each row shows that it may store, or take from its person, if its names mean other relations. */
function copiesInDoubt({ touch, copies = 0 }: Statement): number {
  if (touch?.stores === true) return Number.POSITIVE_INFINITY;
  return touch?.unsure === undefined ? 0 : Math.max(copies, touch.unsure.people);
}

const GIVES_ROWS: ReadonlySet<string> = new Set(["read", "write", "copyOut"]);

/** The same for a role whose copies nobody counts. */
export const UNREAD: Verdict = {
  kind: "pass",
  statements: [
    unread({
      command: "OTHER",
      kind: "other",
      reads: [],
      writes: [],
      masked: [],
      lookups: 0,
      limited: false,
    }),
  ],
};

const unreadables = new WeakSet<Verdict>([UNREAD]);

/** Whether it is for a text that this parser must not read, nor anybody who goes by what it says. */
export function isUnreadable(verdict: Verdict): boolean {
  return unreadables.has(verdict);
}
