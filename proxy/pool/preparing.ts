import type { Ledger } from "../protocol/ledger.ts";
import { refuseWeight } from "../protocol/most-named.ts";
import type { Change } from "../protocol/object-names.ts";
import type { Request } from "../protocol/requests.ts";
import { type Residue, residueOfPreparing } from "../sql/session-residue.ts";
import { textKey } from "../sql/text-key.ts";
import { emptyMessage } from "../wire/backend-messages.ts";
import type { Frame } from "../wire/frames.ts";
import {
  closeMessage,
  declaredTypes,
  decodeBindNames,
  decodeClose,
  decodeDescribe,
  decodeExecute,
  decodeParse,
  describeMessage,
} from "../wire/frontend-messages.ts";
import { Backend, cstring, Frontend, message, nameKey } from "../wire/messages.ts";
import { poisonedBind, poisonedDescribe, poisonedExecute, poisonedParse } from "../wire/poison.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { Deallocations } from "./deallocations.ts";
import { HiddenClose, HiddenParse, Passed, Preparation } from "./pool-requests.ts";
import type { PoolSession } from "./pool-session.ts";
import type { ServerConnection } from "./server-connection.ts";
import { type ClientStatement, nextParse } from "./server-statements.ts";

const closeComplete = emptyMessage(Backend.CloseComplete);
/** Of a name that no client can have. */
const poisonedNamed = poisonedParse("sluice_refused");

/** An empty text without parameters: the replacement of DEALLOCATE. */
const NOTHING = Buffer.alloc(3);

/** What has the name that is taken, whatever the client has prepared: its text may be wrong by now. */
const TAKEN: ClientStatement = { key: "taken", body: NOTHING, since: 0 };

/** Of those who prepare. */
let lastId = 0;

/**
 * The messages that name prepared statements. The names become those of the connection that is held, and what
 * is not prepared there yet is prepared first.
 */
export class Preparing {
  readonly #server: PoolSession;
  readonly #id = lastId++;
  readonly #deallocations = new Deallocations();
  #serial = 0;

  constructor(server: PoolSession) {
    this.#server = server;
  }

  /** Whether what the message names is known by now, and cannot fail without the message. */
  isSettled(frame: Frame, { statements: prepared }: ServerConnection): boolean {
    const { statements, ledger } = this.#server;
    if (!statements.arePending && !prepared.arePending) return true;
    const name = this.#nameIn(frame);
    if (name === undefined) return true;
    const statement = statements.find(name, ledger.pipeline);
    if (typeof statement === "string") return statement === "absent";
    return !prepared.isUnsure(frame.type === Frontend.Parse ? TAKEN : statement, ledger.pipeline);
  }

  /** The client's name of a prepared statement; undefined: the message depends on none. */
  #nameIn(frame: Frame): string | undefined {
    switch (frame.type) {
      case Frontend.Parse:
        return decodeParse(frame).statement || undefined;
      case Frontend.Bind:
        return decodeBindNames(frame).statement;
      case Frontend.Describe: {
        const { target, name } = decodeDescribe(frame);
        return target === "statement" ? name : undefined;
      }
      case Frontend.Execute: {
        const name = this.#deallocations.of(decodeExecute(frame).portal);
        return name === undefined ? undefined : nameKey(name);
      }
      default:
        return undefined;
    }
  }

  parse(frame: Frame, request: Request, connection: ServerConnection): void {
    const server = this.#server;
    const { statement: name, sqlStart, sqlEnd, typesStart } = decodeParse(frame);
    const declared = declaredTypes(frame.buffer, typesStart);
    const residue = server.residueOf(frame.buffer.subarray(sqlStart, sqlEnd), declared);
    const { deallocates } = residue;
    const refusal = residue.refusal ?? (name === "" ? undefined : refuseWeight(server.statements.weight));
    if (refusal !== undefined && deallocates === undefined) {
      const poisoned = name === "" ? poisonedParse("") : poisonedNamed;
      const change = name === "" ? this.unnamedGoes(connection) : undefined;
      this.#send(connection, poisoned, request, new Passed(server.statements, { refusal, change }));
      return;
    }
    server.note(residueOfPreparing(residue), connection);
    const isReplaced = deallocates !== undefined && !refusesAll(server.ledger);
    const body = isReplaced ? NOTHING : Buffer.from(frame.buffer.subarray(sqlStart, frame.end));
    const known = name === "" ? "absent" : server.statements.find(name, server.ledger.pipeline);
    if (typeof known === "object") {
      // A name that is taken is the last thing that the server finds fault with: it has to say so itself.
      const again = message(Frontend.Parse, cstring(this.#nameOn(connection, name, TAKEN)), body);
      this.#send(connection, again, request, new Passed(server.statements, { taken: alreadyThere(name) }));
      return;
    }
    const statement: ClientStatement = {
      key: this.#keyOf(body),
      body,
      since: nextParse(),
      ...(deallocates !== undefined && { deallocates }),
    };
    const change = server.statements.propose(name, statement, server.ledger.pipeline);
    // Also where the server knows the text: what it names may be something else since then.
    const { ours, prepares } =
      name === "" ? this.#asUnnamed(connection, statement) : this.#asNamed(connection, statement);
    const parse = message(Frontend.Parse, cstring(ours), body);
    this.#send(connection, parse, request, new Passed(server.statements, { change, prepares }));
  }

  #residueOf({ body }: ClientStatement): Residue {
    const end = body.indexOf(0);
    return this.#server.residueOf(body.subarray(0, end), declaredTypes(body, end + 1));
  }

  /** Names are looked up again under another search_path, but the types of parameters are found out once. */
  #keyOf(body: Buffer): string {
    const path = this.#server.parameterSync.path ?? `?${this.#id}.${this.#serial++}`;
    return `${path}\0${textKey(body)}`;
  }

  bind(frame: Frame, request: Request, connection: ServerConnection): void {
    const server = this.#server;
    const { portal, statement: name, parametersStart } = decodeBindNames(frame);
    const statement = this.#known(name);
    if (statement === undefined) {
      this.#refuse(connection, poisonedBind(portal), request, missing(name));
      return;
    }
    // The catalog may be another by now.
    const residue = this.#residueOf(statement);
    if (residue.refusal !== undefined) {
      this.#refuse(connection, poisonedBind(portal), request, residue.refusal);
      return;
    }
    server.note(residue, connection);
    server.barriers.bound(residue);
    this.#deallocations.bound(portal, statement);
    const ours = this.#nameOn(connection, name, statement);
    const sent = name === "" ? frame : renamed(frame, parametersStart, portal, ours);
    this.#send(connection, sent, request, new Passed(server.statements, { of: { name, statement } }));
    if (frame.piece === "first") server.passRest();
  }

  describe(frame: Frame, request: Request, connection: ServerConnection): void {
    const { target, name } = decodeDescribe(frame);
    if (target === "portal") {
      this.#send(connection, frame, request);
      return;
    }
    const { statements } = this.#server;
    const statement = this.#known(name);
    if (statement === undefined) {
      this.#refuse(connection, poisonedDescribe(target), request, missing(name));
      return;
    }
    this.#server.note(residueOfPreparing(this.#residueOf(statement)), connection);
    const ours = this.#nameOn(connection, name, statement);
    const sent = describeMessage({ target, name: ours });
    this.#send(connection, sent, request, new Passed(statements, { of: { name, statement } }));
  }

  execute(frame: Frame, request: Request, connection: ServerConnection): void {
    const { statements, ledger, barriers } = this.#server;
    const { portal } = decodeExecute(frame);
    const name = this.#deallocations.of(portal);
    if (name === undefined) {
      this.#send(connection, frame, request);
      barriers.executed();
      return;
    }
    const key = nameKey(name);
    if (this.#known(key) === undefined) {
      this.#refuse(connection, poisonedExecute, request, missing(key));
      return;
    }
    const change = statements.propose(key, undefined, ledger.pipeline);
    this.#send(connection, frame, request, new Passed(statements, { forgets: true, change }));
  }

  close(frame: Frame, request: Request, connection: ServerConnection): void {
    const { statements, ledger } = this.#server;
    const { target, name } = decodeClose(frame);
    if (target === "portal") {
      this.#send(connection, frame, request);
      return;
    }
    const change = statements.propose(name, undefined, ledger.pipeline);
    // The connection keeps it: it will be needed again.
    ledger.sent(request, new Passed(statements, { local: closeComplete, change }));
  }

  /** A message of the extended protocol fails before the server looks at what it is about. */
  refuse(connection: ServerConnection, request: Request, refusal: Refusal): void {
    this.#refuse(connection, poisonedExecute, request, refusal);
  }

  #refuse(connection: ServerConnection, poisoned: Buffer, request: Request, refusal: Refusal): void {
    this.#send(connection, poisoned, request, new Passed(this.#server.statements, { refusal }));
  }

  /** What a message waits for has been answered by now (`isSettled`). */
  #known(name: string): ClientStatement | undefined {
    const { statements, ledger } = this.#server;
    const found = statements.find(name, ledger.pipeline);
    return typeof found === "object" ? found : undefined;
  }

  #asNamed(connection: ServerConnection, statement: ClientStatement): Named {
    const { statements } = connection;
    const { name, closes } = statements.add(statement, this.#server.ledger.pipeline);
    for (const unwanted of closes) {
      connection.toServer.send(closeMessage({ target: "statement", name: unwanted }));
      this.#server.ledger.asked(new HiddenClose(statements, unwanted));
    }
    return { ours: name, prepares: new Preparation(statements, statement, name) };
  }

  #asUnnamed(connection: ServerConnection, statement: ClientStatement): Named {
    connection.statements.setUnnamed(statement, this.#server.ledger.pipeline);
    return { ours: "", prepares: new Preparation(connection.statements, statement, "") };
  }

  /** The name under which this connection has the statement; it is prepared there if it is not yet. */
  #nameOn(connection: ServerConnection, name: string, statement: ClientStatement): string {
    const { statements } = connection;
    const found =
      name === "" ? (statements.isUnnamed(statement) ? "" : undefined) : statements.find(statement);
    if (found !== undefined) return found;
    const { ours, prepares } =
      name === "" ? this.#asUnnamed(connection, statement) : this.#asNamed(connection, statement);
    connection.toServer.send(message(Frontend.Parse, cstring(ours), statement.body));
    this.#server.ledger.asked(new HiddenParse(prepares));
    return ours;
  }

  /** exec_simple_query of tcop/postgres.c drops the unnamed statement before it looks at the text. */
  unnamedGoes(connection: ServerConnection): Change<ClientStatement> {
    connection.statements.dropUnnamed();
    return this.#server.statements.propose("", undefined, this.#server.ledger.pipeline);
  }

  #send(connection: ServerConnection, message: Buffer | Frame, request: Request, note?: Passed): void {
    if (Buffer.isBuffer(message)) connection.toServer.send(message);
    else connection.toServer.forward(message);
    this.#server.ledger.sent(request, note);
  }
}

/** Under which name of the pool's own a connection prepares a statement. */
interface Named {
  readonly ours: string;
  readonly prepares: Preparation;
}

/** A Bind, or its first piece, with other names. */
function renamed(frame: Frame, parametersStart: number, portal: string, statement: string): Buffer {
  const { buffer, start, end } = frame;
  const parameters = buffer.subarray(parametersStart, end);
  const first = message(Frontend.Bind, cstring(portal, "latin1"), cstring(statement), parameters);
  // The length word is that of the whole message, whatever of it is here.
  const rest = buffer.readInt32BE(start + 1) + 1 - (end - start);
  first.writeInt32BE(first.length - 1 + rest, 1);
  return first;
}

/** The server turns DEALLOCATE away whatever it names: its transaction has failed. An empty text it would not. */
export function refusesAll({ transaction, isEmpty, intake }: Ledger): boolean {
  return transaction === "E" && isEmpty && intake === "ready";
}

/** In the words of FetchPreparedStatement and exec_bind_message. */
export function missing(name: string): Refusal {
  return refuse(
    "26000",
    name === ""
      ? "unnamed prepared statement does not exist"
      : `prepared statement "${Buffer.from(name, "latin1").toString()}" does not exist`,
  );
}

/** In the words of StorePreparedStatement. */
function alreadyThere(name: string): Refusal {
  return refuse("42P05", `prepared statement "${Buffer.from(name, "latin1").toString()}" already exists`);
}
