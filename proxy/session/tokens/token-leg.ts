import type { Ledger } from "../../protocol/ledger.ts";
import { type Change, Names } from "../../protocol/object-names.ts";
import type { Request } from "../../protocol/requests.ts";
import type { LegUser, OpenedValue, ServerLeg } from "../../protocol/server-leg.ts";
import { type TokenColumns, tokenColumnsOf } from "../../sql/tokens/token-columns.ts";
import {
  namesIn,
  preparedNames,
  type TokenStatement,
  type TokenText,
  UNTOUCHED,
} from "../../sql/tokens/token-text.ts";
import { decodeReadyForQuery } from "../../wire/backend-messages.ts";
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
import { poisonedBind, poisonedExecute, poisonedParse, poisonedQuery } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { fieldOrigins } from "../../wire/rows.ts";
import { CopyIn, CopyOut } from "./copy-data.ts";
import { sealBind, wrongType } from "./parameters.ts";
import type { Reader } from "./shown-values.ts";
import {
  isPlain,
  mayMove,
  type Sent,
  type Standing,
  Texts,
  type TokenParts,
  UNREADABLE,
  UNSURE,
} from "./texts.ts";
import { type FieldColumns, fieldColumns, hasTokens, turnRow } from "./token-rows.ts";

/** What is known of a message whose answer is outstanding. */
interface Note {
  readonly sent?: Sent | undefined;
  readonly change?: Change<Sent>;
  pipeline?: number;
  /** It was sent poisoned, and this is told in place of the server's error. */
  refusal?: Refusal;
}

/** A statement of a text that was sent. */
interface Named {
  readonly sent: Sent;
  readonly index: number;
}

/**
 * The way to a server that holds tokens: what the relays send and get holds values, what the server gets and sends holds
 * tokens (docs/decisions/038-tokens-at-rest.md). Texts and parameters are turned on their way in, rows on their way out.
 */
export class TokenLeg implements ServerLeg {
  readonly #inner: ServerLeg;
  readonly #standing: Standing;
  readonly #parts: TokenParts;
  readonly #texts: Texts;
  readonly #notes = new WeakMap<Request, Note>();
  readonly #statements = new Names<Sent>();
  readonly #portals = new Map<string, Sent>();
  /** What SQL's PREPARE and DECLARE have named: rows on their way out depend on it, and whether it may still be executed. */
  readonly #named = new Map<string, Named>();
  #changes: Change<Sent>[] = [];
  #ledger: Ledger | undefined;
  /** The server's message as it was turned. */
  #turned: FrameReader | undefined;
  #opened: OpenedValue[] | undefined;
  #refusal: Refusal | undefined;
  #rows: FieldColumns = [];
  /** Relations that have been defined, and the catalog may not have in their new shape. */
  readonly #defined = new Set<string>();
  #isLooking = false;
  /** Messages that ReadyForQuery answers: sent, and answered so far. */
  #cycles = 0;
  #ended = 0;
  /** In which of them something was last sent that may change how texts are read, or that defines. */
  #movedIn: number | undefined;
  #definedIn = 0;
  #wake: () => void = () => {};
  #copyIn: CopyIn | undefined;
  /** The client's message, or its pieces, are rows of `#copyIn`. */
  #takesRows = false;
  #copyOut: CopyOut | undefined;

  constructor(inner: ServerLeg, standing: Standing, parts: TokenParts) {
    this.#inner = inner;
    this.#standing = standing;
    this.#parts = parts;
    this.#texts = new Texts(standing, parts);
  }

  begin(ledger: Ledger, user: LegUser): void {
    this.#ledger = ledger;
    this.#wake = () => user.wake();
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
    return WHOLE.has(type);
  }

  get #isActive(): boolean {
    return this.#parts.policy().tokenCanary !== undefined;
  }

  isReady(): boolean {
    return this.#inner.isReady();
  }

  admits(frame: Frame): boolean {
    if (!this.#isActive || frame.piece !== "whole" || !ASKING.has(frame.type))
      return this.#inner.admits(frame);
    // What has been defined decides what the text means.
    if (this.#isLooking) return false;
    if (this.#lacks(frame)) {
      const look = this.#parts.doubt();
      if (look !== undefined) {
        this.#await(look);
        return false;
      }
    }
    // The answer comes soon, and until then it is not known how the server reads this.
    if (!this.#isSure && this.#movedIn !== this.#cycles && this.#needsSettings(frame)) return false;
    if (frame.type === Frontend.Bind) {
      const { statement } = decodeBind(frame);
      // Which of its parameters are values depends on a Parse that has not been answered.
      if (this.#statements.find(statement, this.#ledger?.pipeline ?? 0) === "unsettled") return false;
    }
    return this.#inner.admits(frame);
  }

  #lacks(frame: Frame): boolean {
    if (frame.type !== Frontend.Query && frame.type !== Frontend.Parse) return false;
    const { sqlStart, sqlEnd } = frame.type === Frontend.Query ? decodeQuery(frame) : decodeParse(frame);
    return this.#texts.lacks(frame.buffer.subarray(sqlStart, sqlEnd), this.#defined);
  }

  #await(look: Promise<void>): void {
    this.#isLooking = true;
    void look.then(() => {
      this.#isLooking = false;
      this.#wake();
    });
  }

  #needsSettings(frame: Frame): boolean {
    const body = frame.buffer.subarray(frame.start + HEADER, frame.end);
    if (frame.type === Frontend.Execute)
      return copies(this.#portals.get(decodeExecute(frame).portal)?.text.statements ?? []);
    return !isPlain(body) || (frame.type !== Frontend.Bind && /copy/i.test(body.toString("latin1")));
  }

  /** What the server has told of its settings holds for what is sent next. */
  get #isSure(): boolean {
    const ledger = this.#ledger;
    // The Sync of a COPY that failed may have no answer.
    if (ledger?.isSettled === true && ledger.intake === "ready") this.#ended = this.#cycles;
    return this.#movedIn === undefined || this.#ended > this.#movedIn;
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
        this.#execute(given, frame, request);
        break;
      case Frontend.Close: {
        const { target, name } = decodeClose(frame);
        if (target === "portal") this.#portals.delete(name);
        this.#put(given, request, target === "statement" ? this.#rename(name, undefined) : {});
        break;
      }
      case Frontend.FunctionCall:
        this.#movedIn = this.#cycles++;
        this.#inner.send(given, request);
        break;
      case Frontend.Sync:
        this.#cycles++;
        this.#inner.send(given, request);
        break;
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
    const isMover = mayMove(bytes);
    if (text.refusal === undefined && isMover) this.#movedIn = this.#cycles;
    this.#cycles++;
    if (text === UNTOUCHED) {
      const named = this.#named.size === 0 ? undefined : this.#namedIn(bytes);
      if (named === undefined) this.#inner.send(given, request);
      else this.#put(given, request, { sent: { text: named, described: undefined, isMover } });
      return;
    }
    const sent = this.#texts.prepared(bytes, text);
    this.#name(sent);
    const { refusal } = text;
    if (refusal !== undefined) this.#put(poisonedQuery, request, { refusal });
    else this.#put(text.sql === undefined ? given : queryMessage(text.sql), request, { sent });
  }

  #parse(given: Buffer | Frame, frame: Frame, request: Request): void {
    const parse = decodeParse(frame);
    const bytes = frame.buffer.subarray(parse.sqlStart, parse.sqlEnd);
    const text = this.#textOf(bytes);
    const sent = this.#texts.prepared(bytes, text);
    const note = this.#rename(parse.statement, sent);
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
    const refusal = sent && (this.#texts.renew(sent, this.#defined) ?? this.#stale(sent.source));
    if (refusal !== undefined) {
      this.#put(poisonedBind(bind.portal), request, { refusal });
      return;
    }
    const parameters = sent?.text.parameters;
    if (parameters === undefined || parameters.size === 0) {
      this.#put(given, request, { sent });
      return;
    }
    const doubt = this.#isSure ? undefined : UNSURE;
    const sealed = this.#texts.isReadable
      ? sealBind(frame, bind, parameters, this.#parts.sealer, doubt)
      : UNREADABLE;
    if ("sqlstate" in sealed) this.#put(poisonedBind(bind.portal), request, { refusal: sealed });
    else this.#put(sealed, request, { sent });
  }

  #execute(given: Buffer | Frame, frame: Frame, request: Request): void {
    const sent = this.#portals.get(decodeExecute(frame).portal);
    const { statements = [], defines = [] } = sent?.text ?? {};
    // Its rows are read as the server reads them.
    const refusal = copies(statements) ? this.#doubt() : undefined;
    if (refusal !== undefined) {
      this.#put(poisonedExecute, request, { refusal });
      return;
    }
    if (sent?.isMover === true) this.#movedIn = this.#cycles;
    this.#define(defines);
    this.#put(given, request, { sent });
  }

  /** Why it is not known how the server will read something that is not plain. */
  #doubt(bytes?: Buffer): Refusal | undefined {
    if (!this.#texts.isReadable) return UNREADABLE;
    return this.#isSure || (bytes !== undefined && isPlain(bytes)) ? undefined : UNSURE;
  }

  #define(names: readonly string[]): void {
    if (names.length === 0) return;
    for (const name of names) this.#defined.add(name);
    this.#definedIn = this.#cycles;
  }

  #textOf(bytes: Buffer): TokenText {
    const text = this.#texts.analyse(bytes, this.#defined);
    const stale = text.refusal === undefined ? this.#stale(bytes) : undefined;
    if (stale !== undefined) return { ...UNTOUCHED, refusal: stale };
    if (text === UNTOUCHED || text.refusal !== undefined) return text;
    const refusal = this.#doubt(copies(text.statements) ? undefined : bytes);
    if (refusal !== undefined) return { ...UNTOUCHED, refusal };
    this.#define(text.defines ?? []);
    return text;
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
    for (const [index, { names }] of sent.text.statements.entries())
      if (names !== undefined) this.#named.set(names, { sent, index });
  }

  /** Why what a text executes by the names of SQL's PREPARE may not run as it was prepared. */
  #stale(bytes: Buffer | undefined): Refusal | undefined {
    if (this.#named.size === 0 || bytes === undefined) return undefined;
    for (const { name, isExecuted } of preparedNames(bytes.toString("utf8"))) {
      const named = this.#named.get(name);
      // The same name for something without tokens.
      if (!isExecuted) this.#named.delete(name);
      const refusal = isExecuted && named ? this.#texts.renew(named.sent, this.#defined) : undefined;
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** FETCH and EXECUTE of what earlier statements have named. */
  #namedIn(bytes: Buffer): TokenText | undefined {
    const parsed = namesIn(bytes.toString("utf8"));
    const statements = parsed.map((name) => {
      const named = this.#named.get(name ?? "");
      return { outputs: named?.sent.text.statements[named.index]?.outputs ?? [] };
    });
    return parsed.some((name) => name !== undefined) ? { ...UNTOUCHED, statements } : undefined;
  }

  pass(given: Buffer | Frame): void {
    const frame = asFrame(given);
    // A message that the client sent before the server asked for rows may come in pieces. They go the way of the first
    // one: the server has not been told that such a message began, also where the COPY has failed meanwhile.
    const isBegun = frame?.piece === "middle" || frame?.piece === "last";
    if (!isBegun) this.#takesRows = this.#copyIn !== undefined && frame?.type === Frontend.CopyData;
    if (frame === undefined || !this.#takesRows) {
      this.#inner.pass(given);
      return;
    }
    const rows = frame.buffer.subarray(isBegun ? frame.start : frame.start + HEADER, frame.end);
    const made = this.#copyIn?.take(rows);
    if (made !== undefined && made.length > 0) this.#inner.pass(made);
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
    this.#inner.endCopy(copyFailMessage("refused by the proxy"));
  }

  next(): boolean {
    this.#turned = undefined;
    this.#opened = undefined;
    this.#refusal = undefined;
    if (!this.#inner.next()) return false;
    if (this.#isActive) this.#answered(this.#inner.frame);
    return true;
  }

  get frame(): FrameReader {
    return this.#turned ?? this.#inner.frame;
  }

  get opened(): readonly OpenedValue[] | undefined {
    return this.#opened;
  }

  get refusal(): Refusal | undefined {
    return this.#refusal;
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
      case Backend.ReadyForQuery:
        this.#ready(frame);
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
    const line = this.#copyOut.turn(frame.buffer.subarray(frame.start + HEADER, frame.end), reader);
    this.#give(message(Backend.CopyData, line));
  }

  /** Undefined where the client reads another encoding: tokens are ASCII, and stay. */
  #reader(): Reader | undefined {
    const scope = this.#texts.isReadable ? this.#standing.scope() : undefined;
    if (scope === undefined) return undefined;
    const { sealer } = this.#parts;
    if (this.#standing.treatment !== "guarded") return { scope, isGuarded: false, sealer };
    this.#opened = [];
    return { scope, isGuarded: true, sealer, opened: this.#opened };
  }

  #described(frame: FrameReader): void {
    const scope = this.#standing.scope();
    const columns: TokenColumns | undefined = scope && tokenColumnsOf(scope);
    const head = this.#ledger?.head;
    if (columns === undefined || head === undefined) return;
    const origins = fieldOrigins(frame, 0);
    const fields = fieldColumns(origins, columns, this.#statement?.outputs ?? []);
    const sent = this.#note?.sent;
    if (head.kind === "query") this.#rows = fields;
    else if (sent !== undefined) {
      sent.described = fields;
      sent.origins = origins;
    }
  }

  #copies(type: number): void {
    const copy = this.#statement?.copy;
    if (copy === undefined) return;
    if (type === Backend.CopyInResponse)
      this.#copyIn = new CopyIn(copy, this.#parts.sealer, this.#parts.longestLine);
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
    this.#refusal = note?.refusal;
    if (note?.refusal !== undefined) this.#give(errorResponse(note.refusal));
    if (head === undefined || head.kind === "query" || head.kind === "sync") return;
    // The server drops the rest of the pipeline.
    const isDropped = ({ pipeline }: Change<Sent>) => pipeline === note?.pipeline;
    for (const change of this.#changes.filter(isDropped)) this.#statements.withdraw(change);
    this.#changes = this.#changes.filter((change) => !isDropped(change));
  }

  #ready(frame: Frame): void {
    this.#ended = Math.min(this.#ended + 1, this.#cycles);
    const isOver = decodeReadyForQuery(frame) === "I" && this.#ended > this.#definedIn;
    if (!isOver || this.#defined.size === 0 || this.#isLooking) return;
    this.#isLooking = true;
    void Promise.resolve(this.#parts.lookAgain()).then(() => {
      this.#isLooking = false;
      this.#defined.clear();
      this.#wake();
    });
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

/** Type byte and length word. */
const HEADER = 5;

const WHOLE: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse, Frontend.Bind]);

/** Messages that say what to do. */
const ASKING: ReadonlySet<number> = new Set([...WHOLE, Frontend.Execute]);

/** Rows come or go as COPY data. */
function copies(statements: readonly TokenStatement[]): boolean {
  return statements.some(({ copy }) => copy !== undefined);
}

/** Undefined for several messages of the proxy's own in one buffer. */
function asFrame(given: Buffer | Frame): Frame | undefined {
  if (!Buffer.isBuffer(given)) return given;
  const isOne = given.length >= 5 && given.readInt32BE(1) === given.length - 1;
  return isOne ? frameOf(given) : undefined;
}
