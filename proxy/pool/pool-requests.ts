import { type LegNote, OwnRequest } from "../protocol/leg-notes.ts";
import type { Change, Names } from "../protocol/object-names.ts";
import type { FrameReader } from "../wire/frames.ts";
import { BodyReader } from "../wire/messages.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { ClientStatement, ServerStatements } from "./server-statements.ts";

/** A query of the pool's own. */
export class OwnQuery extends OwnRequest {
  /** Fields of the last row, a character a byte; undefined: NULL. */
  row: readonly (string | undefined)[] = [];
  failed = false;
  readonly #ended: (query: OwnQuery) => void;

  constructor(ended: (query: OwnQuery) => void) {
    super("ownQuery");
    this.#ended = ended;
  }

  /** A DataRow has come. */
  take(frame: FrameReader): void {
    const body = new BodyReader(frame, "DataRow");
    this.row = Array.from({ length: body.uint16() }, () => {
      const length = body.int32();
      return length < 0 ? undefined : body.bytes(length).toString("latin1");
    });
  }

  done(): void {
    this.#ended(this);
  }

  undone(): void {}
}

/** What is prepared on a connection before it is named there: the client has not asked for it, or not now. */
export class HiddenParse extends OwnRequest {
  readonly #prepares: Preparation;

  constructor(prepares: Preparation) {
    super("parse");
    this.#prepares = prepares;
  }

  done(): void {
    this.#prepares.confirm();
  }

  undone(): void {
    this.#prepares.withdraw();
  }
}

/** A name of the pool's own gives way. */
export class HiddenClose extends OwnRequest {
  readonly #statements: ServerStatements;
  readonly #unwanted: string;

  constructor(statements: ServerStatements, unwanted: string) {
    super("close");
    this.#statements = statements;
    this.#unwanted = unwanted;
  }

  done(): void {}

  undone(): void {
    this.#statements.keepUnwanted(this.#unwanted);
  }
}

/** What stands around a query of the client's; nothing hangs on its answer. */
export class Around extends OwnRequest {
  done(): void {}

  undone(): void {}
}

/** What a connection has prepared once a Parse has succeeded. `name`: of the pool's own; "": the unnamed statement. */
export class Preparation {
  readonly #statements: ServerStatements;
  readonly #statement: ClientStatement;
  readonly #name: string;

  constructor(statements: ServerStatements, statement: ClientStatement, name: string) {
    this.#statements = statements;
    this.#statement = statement;
    this.#name = name;
  }

  confirm(): void {
    if (this.#name === "") this.#statements.confirmUnnamed(this.#statement);
    else this.#statements.confirm(this.#statement, this.#name);
  }

  withdraw(): void {
    if (this.#name === "") this.#statements.dropUnnamed();
    else this.#statements.forget(this.#statement, this.#name);
  }
}

interface PassedParts {
  /** What the client's name of a prepared statement means once it has succeeded. */
  readonly change?: Change<ClientStatement> | undefined;
  /** Told in place of the server's error: a message that surely fails was sent. */
  readonly refusal?: Refusal | undefined;
  /** A query: with it the unnamed statement goes. */
  readonly drops?: Change<ClientStatement>;
  /** DEALLOCATE, in whose place an empty text was sent. */
  readonly forgets?: true;
  readonly prepares?: Preparation;
  /** A query of several statements: what each of them drops. The server tells which it has come to. */
  readonly deallocates?: Map<number, Change<ClientStatement>>;
  /** Told in place of the server's own words when it says that there is a statement of this name. */
  readonly taken?: Refusal;
  /** By the client's name. */
  readonly of?: { readonly name: string; readonly statement: ClientStatement };
  /** Nothing was sent: the client gets this in its turn. */
  readonly local?: Buffer;
}

/** What the pool has made of a request that it has passed on. */
export class Passed implements LegNote {
  readonly parts: PassedParts;
  /** The replacement of the server's answer has been handed out. */
  isTold = false;
  readonly #statements: Names<ClientStatement>;

  constructor(statements: Names<ClientStatement>, parts: PassedParts) {
    this.#statements = statements;
    this.parts = parts;
  }

  /** A statement of the query has ended well. */
  statementDone(place: number): void {
    const change = this.parts.deallocates?.get(place);
    if (change === undefined) return;
    this.parts.deallocates?.delete(place);
    this.#statements.confirm(change);
  }

  done(): void {
    const { change, drops, prepares } = this.parts;
    this.#keepTheRest();
    if (drops !== undefined) this.#statements.confirm(drops);
    if (change !== undefined) this.#statements.confirm(change);
    prepares?.confirm();
  }

  undone(hasFailed: boolean): void {
    const { change, drops, prepares, refusal } = this.parts;
    this.#keepTheRest();
    if (drops !== undefined) this.#statements.withdraw(drops);
    if (change !== undefined) {
      this.#statements.withdraw(change);
      // The server drops the old unnamed statement before it looks at the new text (exec_parse_message).
      const isParse = prepares !== undefined || refusal !== undefined;
      if (hasFailed && isParse && change.name === "") this.#statements.delete("");
    }
    prepares?.withdraw();
  }

  /** The query has not come to them. */
  #keepTheRest(): void {
    for (const change of this.parts.deallocates?.values() ?? []) this.#statements.withdraw(change);
  }
}
