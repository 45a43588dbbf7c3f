import { LRUCache } from "lru-cache";
import type { Policy } from "../../policy/policy.ts";
import type { Ledger } from "../../protocol/ledger.ts";
import { type Change, Names } from "../../protocol/names.ts";
import type { Request } from "../../protocol/requests.ts";
import type { LegUser, ServerLeg } from "../../protocol/server-leg.ts";
import type { Scope } from "../../sql/scope.ts";
import { type TokenColumns, tokenColumnsOf } from "../../sql/tokens/columns.ts";
import {
  namesIn,
  type Sender,
  type TokenStatement,
  type TokenText,
  tokenText,
  UNTOUCHED,
} from "../../sql/tokens/text.ts";
import type { Sealer } from "../../tokens/sealed.ts";
import { errorResponse } from "../../wire/errors.ts";
import { type Frame, FrameReader, frameOf } from "../../wire/frames.ts";
import {
  copyFailMessage,
  declaredTypes,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  decodeQuery,
  queryMessage,
  withSql,
} from "../../wire/frontend-messages.ts";
import { Backend, Frontend, isRow, message } from "../../wire/messages.ts";
import { poisonedBind, poisonedParse, poisonedQuery } from "../../wire/poison.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Reported } from "../context/reported.ts";
import { CopyIn, CopyOut } from "./copy.ts";
import { sealBind, wrongType } from "./parameters.ts";
import { describedColumns, type FieldColumns, hasTokens, type Reader, turnRow } from "./rows.ts";

/** By what a session's statements are judged at the moment. */
export interface Standing {
  readonly treatment: "transparent" | "watched" | "guarded";
  scope(): Scope | undefined;
}

export interface TokenParts {
  readonly sealer: Sealer;
  readonly policy: () => Policy;
  readonly parameters: Reported;
}

/** A text that was sent, and the fields of its rows as the server has described them. */
interface Sent {
  readonly text: TokenText;
  described: FieldColumns | undefined;
}

/** What is known of a message whose answer is outstanding. */
interface Note {
  readonly sent?: Sent | undefined;
  readonly change?: Change<Sent>;
  pipeline?: number;
  /** It was sent poisoned, and this is told in place of the server's error. */
  refusal?: Refusal;
}

/**
 * The way to a server that holds tokens: what the relays send and get holds values, what the server gets and sends holds
 * tokens (docs/decisions/038-tokens-at-rest.md). Texts and parameters are turned on their way in, rows on their way out.
 */
export class TokenLeg implements ServerLeg {
  readonly #inner: ServerLeg;
  readonly #standing: Standing;
  readonly #parts: TokenParts;
  readonly #notes = new WeakMap<Request, Note>();
  readonly #statements = new Names<Sent>();
  readonly #portals = new Map<string, Sent>();
  /** What SQL's PREPARE and DECLARE have named. Only rows on their way out depend on it. */
  readonly #named = new Map<string, Sent>();
  #changes: Change<Sent>[] = [];
  #ledger: Ledger | undefined;
  /** The server's message as it was turned. */
  #turned: FrameReader | undefined;
  #rows: FieldColumns = [];
  #copyIn: CopyIn | undefined;
  #copyOut: CopyOut | undefined;

  constructor(inner: ServerLeg, standing: Standing, parts: TokenParts) {
    this.#inner = inner;
    this.#standing = standing;
    this.#parts = parts;
  }

  begin(ledger: Ledger, user: LegUser): void {
    this.#ledger = ledger;
    this.#inner.begin(ledger, {
      arrived: () => user.arrived(),
      wake: () => user.wake(),
      mayStream: (type, length) =>
        !(isRow(type) && this.#isActive && this.#turnsRows()) && user.mayStream(type, length),
    });
  }

  /** Whether a long message of the client's must be seen as a whole. */
  wantsWhole(type: number): boolean {
    if (!this.#isActive) return false;
    return WHOLE.has(type) || (type === Frontend.CopyData && this.#copyIn !== undefined);
  }

  get #isActive(): boolean {
    return this.#parts.policy().tokenCanary !== undefined;
  }

  isReady(): boolean {
    return this.#inner.isReady();
  }

  admits(frame: Frame): boolean {
    if (frame.type === Frontend.Bind && this.#isActive && frame.piece === "whole") {
      const { statement } = decodeBind(frame);
      // Which of its parameters are values depends on a Parse that has not been answered.
      if (this.#statements.find(statement, this.#ledger?.pipeline ?? 0) === "unsettled") return false;
    }
    return this.#inner.admits(frame);
  }

  send(given: Buffer | Frame, request: Request): void {
    const frame = this.#isActive ? asFrame(given) : undefined;
    if (frame === undefined || frame.piece !== "whole") {
      this.#inner.send(given, request);
      return;
    }
    switch (frame.type) {
      case Frontend.Query:
        this.#query(given, frame, request);
        break;
      case Frontend.Parse:
        this.#parse(given, frame, request);
        break;
      case Frontend.Bind:
        this.#bind(given, frame, request);
        break;
      case Frontend.Describe: {
        const { target, name } = decodeDescribe(frame);
        const sent = target === "statement" ? this.#statements.expected(name) : this.#portals.get(name);
        this.#put(given, request, { sent });
        break;
      }
      case Frontend.Execute:
        this.#put(given, request, { sent: this.#portals.get(decodeExecute(frame).portal) });
        break;
      case Frontend.Close: {
        const { target, name } = decodeClose(frame);
        if (target === "portal") this.#portals.delete(name);
        this.#put(given, request, target === "statement" ? this.#rename(name, undefined) : {});
        break;
      }
      default:
        this.#inner.send(given, request);
    }
  }

  #put(sent: Buffer | Frame, request: Request, note: Note): void {
    note.pipeline = this.#ledger?.pipeline ?? 0;
    this.#notes.set(request, note);
    this.#inner.send(sent, request);
  }

  #query(given: Buffer | Frame, frame: Frame, request: Request): void {
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const bytes = frame.buffer.subarray(sqlStart, sqlEnd);
    const text = this.#textOf(bytes);
    if (text === UNTOUCHED) {
      const named = this.#named.size === 0 ? undefined : this.#namedIn(bytes);
      if (named === undefined) this.#inner.send(given, request);
      else this.#put(given, request, { sent: { text: named, described: undefined } });
      return;
    }
    const sent = { text, described: undefined };
    this.#name(sent);
    const { refusal } = text;
    if (refusal !== undefined) this.#put(poisonedQuery, request, { refusal });
    else this.#put(text.sql === undefined ? given : queryMessage(text.sql), request, { sent });
  }

  #parse(given: Buffer | Frame, frame: Frame, request: Request): void {
    const parse = decodeParse(frame);
    const text = this.#textOf(frame.buffer.subarray(parse.sqlStart, parse.sqlEnd));
    const sent = { text, described: undefined };
    const note = this.#rename(parse.statement, text === UNTOUCHED ? { text, described: undefined } : sent);
    const refusal = text.refusal ?? wrongType(declaredTypes(frame.buffer, parse.typesStart), text.parameters);
    if (refusal !== undefined) {
      this.#put(poisonedParse(parse.statement), request, { ...note, refusal });
      return;
    }
    this.#name(sent);
    this.#put(text.sql === undefined ? given : withSql(frame, parse, text.sql), request, { ...note, sent });
  }

  #bind(given: Buffer | Frame, frame: Frame, request: Request): void {
    const bind = decodeBind(frame);
    const sent = this.#statements.expected(bind.statement);
    if (sent === undefined) this.#portals.delete(bind.portal);
    else this.#portals.set(bind.portal, sent);
    const parameters = sent?.text.parameters;
    if (parameters === undefined || parameters.size === 0) {
      this.#put(given, request, { sent });
      return;
    }
    const sealed = sealBind(frame, bind, parameters, this.#parts.sealer);
    if ("sqlstate" in sealed) this.#put(poisonedBind(bind.portal), request, { refusal: sealed });
    else this.#put(sealed, request, { sent });
  }

  #rename(name: string, value: Sent | undefined): Note {
    // The server drops it.
    if (this.#ledger?.intake === "skipping") return {};
    const change = this.#statements.propose(name, value, this.#ledger?.pipeline ?? 0);
    this.#changes.push(change);
    return { change };
  }

  /** Remembers what names of SQL stand for. */
  #name(sent: Sent): void {
    for (const { names, outputs } of sent.text.statements)
      if (names !== undefined)
        this.#named.set(names, { text: { ...sent.text, statements: [{ outputs }] }, described: undefined });
  }

  /** FETCH and EXECUTE of what earlier statements have named. */
  #namedIn(bytes: Buffer): TokenText | undefined {
    const parsed = namesIn(bytes.toString("utf8"));
    const statements = parsed.map((name) => ({
      outputs: this.#named.get(name ?? "")?.text.statements[0]?.outputs ?? [],
    }));
    return parsed.some((name) => name !== undefined) ? { ...UNTOUCHED, statements } : undefined;
  }

  #textOf(bytes: Buffer): TokenText {
    const scope = this.#standing.scope();
    if (scope === undefined) return { ...UNTOUCHED, refusal: AGAIN };
    const columns = tokenColumnsOf(scope);
    if (columns === undefined) return UNTOUCHED;
    const text = bytes.toString("utf8");
    const sender: Sender = this.#standing.treatment === "guarded" ? "judged" : "open";
    const known = cacheOf(scope).get(`${sender} ${text}`);
    if (known !== undefined) return known;
    const seal = (value: string, associated: string) => this.#parts.sealer.seal(value, associated);
    const found = tokenText(text, scope, sender, seal);
    if (found === UNTOUCHED) return found;
    const made = this.#isReadable ? found : { ...UNTOUCHED, refusal: UNREADABLE };
    if (text.length <= LONGEST_KEPT) cacheOf(scope).set(`${sender} ${text}`, made);
    return made;
  }

  /** Texts mean to the server what they mean here. */
  get #isReadable(): boolean {
    const { clientEncoding, standardStrings } = this.#parts.parameters;
    return standardStrings !== "off" && (clientEncoding === undefined || clientEncoding === "UTF8");
  }

  pass(given: Buffer | Frame): void {
    const copy = this.#copyIn;
    const frame = asFrame(given);
    if (copy === undefined || frame === undefined || frame.type !== Frontend.CopyData) {
      this.#inner.pass(given);
      return;
    }
    const made = copy.take(frame.buffer.subarray(frame.start + 5, frame.end));
    if (made.length > 0) this.#inner.pass(made);
  }

  endCopy(given: Buffer | Frame): void {
    const copy = this.#copyIn;
    this.#copyIn = undefined;
    const frame = asFrame(given);
    if (copy === undefined || frame?.type !== Frontend.CopyDone) {
      this.#inner.endCopy(given);
      return;
    }
    const rest = copy.finish();
    if (copy.refusal === undefined) {
      if (rest.length > 0) this.#inner.pass(rest);
      this.#inner.endCopy(given);
      return;
    }
    const note = this.#note;
    if (note !== undefined) note.refusal = copy.refusal;
    this.#inner.endCopy(copyFailMessage("a value begins like a token"));
  }

  next(): boolean {
    this.#turned = undefined;
    if (!this.#inner.next()) return false;
    if (this.#isActive) this.#answered(this.#inner.frame);
    return true;
  }

  get frame(): FrameReader {
    return this.#turned ?? this.#inner.frame;
  }

  #answered(frame: FrameReader): void {
    switch (frame.type) {
      case Backend.DataRow:
        if (frame.piece === "whole") this.#row(frame);
        break;
      case Backend.CopyData:
        if (frame.piece === "whole") this.#copied(frame);
        break;
      case Backend.RowDescription:
        this.#described(frame);
        break;
      case Backend.ParseComplete:
      case Backend.CloseComplete:
        this.#confirm();
        break;
      case Backend.CopyInResponse:
      case Backend.CopyOutResponse:
        this.#copies(frame.type);
        break;
      case Backend.CommandComplete:
      case Backend.PortalSuspended:
        this.#rows = [];
        this.#copyOut = undefined;
        break;
      case Backend.ErrorResponse:
        this.#failed();
        break;
    }
  }

  get #note(): Note | undefined {
    const head = this.#ledger?.head;
    return head && this.#notes.get(head);
  }

  /** The statement that is being answered. */
  get #statement(): TokenStatement | undefined {
    const index = this.#ledger?.head?.kind === "query" ? this.#ledger.statementIndex : 0;
    return this.#note?.sent?.text.statements[index];
  }

  /** Whether rows of what is being answered may hold tokens. */
  #turnsRows(): boolean {
    return this.#copyOut !== undefined || hasTokens(this.#fieldsNow());
  }

  /** The fields of the rows that come now: of an Execute as they were described before, or as the analysis has them. */
  #fieldsNow(): FieldColumns {
    if (this.#ledger?.head?.kind !== "execute") return this.#rows;
    const sent = this.#note?.sent;
    return sent?.described ?? this.#statement?.outputs ?? [];
  }

  #row(frame: FrameReader): void {
    const fields = this.#fieldsNow();
    const reader = hasTokens(fields) ? this.#reader() : undefined;
    if (reader !== undefined) this.#give(turnRow(frame, fields, reader));
  }

  #copied(frame: FrameReader): void {
    const reader = this.#copyOut && this.#reader();
    if (this.#copyOut === undefined || reader === undefined) return;
    const line = this.#copyOut.turn(frame.buffer.subarray(frame.start + 5, frame.end), reader);
    this.#give(message(Backend.CopyData, line));
  }

  /** Undefined where the client reads another encoding: tokens are ASCII, and stay. */
  #reader(): Reader | undefined {
    const scope = this.#isReadable ? this.#standing.scope() : undefined;
    return scope && { scope, isGuarded: this.#standing.treatment === "guarded", sealer: this.#parts.sealer };
  }

  #described(frame: FrameReader): void {
    const scope = this.#standing.scope();
    const columns: TokenColumns | undefined = scope && tokenColumnsOf(scope);
    const head = this.#ledger?.head;
    if (columns === undefined || head === undefined) return;
    const fields = describedColumns(frame, columns, this.#statement?.outputs ?? []);
    const sent = this.#note?.sent;
    if (head.kind === "query") this.#rows = fields;
    else if (sent !== undefined) sent.described = fields;
  }

  #copies(type: number): void {
    const copy = this.#statement?.copy;
    if (copy === undefined) return;
    if (type === Backend.CopyInResponse) this.#copyIn = new CopyIn(copy, this.#parts.sealer);
    else this.#copyOut = new CopyOut(copy);
  }

  #confirm(): void {
    const change = this.#note?.change;
    if (change === undefined) return;
    this.#changes = this.#changes.filter((each) => each !== change);
    this.#statements.confirm(change);
  }

  #failed(): void {
    this.#rows = [];
    this.#copyIn = undefined;
    this.#copyOut = undefined;
    const note = this.#note;
    const head = this.#ledger?.head;
    if (note?.refusal !== undefined) this.#give(errorResponse(note.refusal));
    if (head === undefined || head.kind === "query" || head.kind === "sync") return;
    // The server drops the rest of the pipeline.
    const isDropped = ({ pipeline }: Change<Sent>) => pipeline === note?.pipeline;
    for (const change of this.#changes.filter(isDropped)) this.#statements.withdraw(change);
    this.#changes = this.#changes.filter((change) => !isDropped(change));
  }

  #give(bytes: Buffer): void {
    const reader = new FrameReader(bytes.length, NEVER);
    reader.push(bytes);
    reader.next();
    this.#turned = reader;
  }

  askAboutCopy(): void {
    this.#inner.askAboutCopy();
  }

  flush(frame?: Frame): void {
    this.#inner.flush(frame);
  }

  terminate(): void {
    this.#inner.terminate();
  }

  passesText(type: number): boolean {
    return !this.#isActive && this.#inner.passesText(type);
  }

  hangUp(): void {
    this.#inner.hangUp();
  }

  flow(wanted: boolean): void {
    this.#inner.flow(wanted);
  }

  get hasEnded(): boolean {
    return this.#inner.hasEnded;
  }

  get isRunning(): boolean {
    return this.#inner.isRunning;
  }

  get isIdle(): boolean {
    return this.#inner.isIdle;
  }

  write(): void {
    this.#inner.write();
  }

  get isFull(): boolean {
    return this.#inner.isFull;
  }

  get holds(): boolean {
    return this.#inner.holds;
  }

  leave(): void {
    this.#inner.leave();
  }

  destroy(): void {
    this.#inner.destroy();
  }
}

const NEVER = () => false;
const WHOLE: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse, Frontend.Bind]);

/** Undefined for several messages of the proxy's own in one buffer. */
function asFrame(given: Buffer | Frame): Frame | undefined {
  if (!Buffer.isBuffer(given)) return given;
  const isOne = given.length >= 5 && given.readInt32BE(1) === given.length - 1;
  return isOne ? frameOf(given) : undefined;
}

const KEPT_TEXTS = 500;
const LONGEST_KEPT = 10_000;
const caches = new WeakMap<Scope, LRUCache<string, TokenText>>();

function cacheOf(scope: Scope): LRUCache<string, TokenText> {
  let known = caches.get(scope);
  if (known === undefined) {
    known = new LRUCache({ max: KEPT_TEXTS });
    caches.set(scope, known);
  }
  return known;
}

const AGAIN = refuse("58000", "the catalog of the database is being read again", { hint: "Send it again." });

const UNREADABLE = refuse(
  "42501",
  "columns with tokens are read and written in UTF-8 with standard strings",
  {
    hint: "SET client_encoding = 'UTF8', and standard_conforming_strings = on.",
  },
);
