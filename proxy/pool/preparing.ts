import type { Change } from "../protocol/names.ts";
import { emptyMessage } from "../wire/backend-messages.ts";
import type { Frame } from "../wire/frames.ts";
import {
  closeMessage,
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
import { EXECUTE, type Expected, type ParseSent } from "./expected.ts";
import type { PoolSession } from "./pool-session.ts";
import type { ServerConnection } from "./server-connection.ts";
import { type ClientStatement, nextParse } from "./server-statements.ts";

const closeComplete = emptyMessage(Backend.CloseComplete);
/** Of a name that no client can have. */
const poisonedNamed = poisonedParse("sluice_refused");

/** An empty text without parameters: what stands in for DEALLOCATE. */
const NOTHING = Buffer.alloc(3);

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

  /** False, here and below: the message has to wait. */
  parse(frame: Frame, connection: ServerConnection): boolean {
    const server = this.#server;
    const { statement: name, sqlStart, sqlEnd } = decodeParse(frame);
    const leavings = server.leavingsOf(frame.buffer.subarray(sqlStart, sqlEnd));
    const { refusal, deallocates } = leavings;
    const known = name === "" ? "absent" : server.statements.find(name, server.ledger.pipeline);
    if (known === "unsettled") return false;
    if (refusal !== undefined && deallocates === undefined) {
      const poisoned = name === "" ? poisonedParse("") : poisonedNamed;
      const change = name === "" ? { change: this.unnamedGoes(connection) } : {};
      this.#send(connection, poisoned, { kind: "parse", hidden: false, refusal, ...change });
      return true;
    }
    const body =
      deallocates === undefined ? Buffer.from(frame.buffer.subarray(sqlStart, frame.end)) : NOTHING;
    if (known !== "absent") {
      if (connection.statements.isPending(known)) return false;
      // A name that is taken is the last thing that the server finds fault with: it has to say so itself.
      const taken = this.#nameOn(connection, name, known);
      const again = message(Frontend.Parse, cstring(taken), body);
      this.#send(connection, again, { kind: "parse", hidden: false, taken: alreadyThere(name) });
      return true;
    }
    const since = nextParse();
    const statement = {
      key: this.#keyOf(body),
      body,
      since,
      ...(deallocates !== undefined && { deallocates }),
    };
    if (name !== "" && connection.statements.isPending(statement)) return false;
    const change = server.statements.propose(name, statement, server.ledger.pipeline);
    if (name === "") this.#parseUnnamed(connection, statement, { hidden: false, change });
    // Also where the server knows the text: what it names may be something else since then.
    else this.#parseNamed(connection, statement, { hidden: false, change });
    return true;
  }

  /** Names are looked up again under another search_path, but the types of parameters are found out once. */
  #keyOf(body: Buffer): string {
    const path = this.#server.carrying.path ?? `?${this.#id}.${this.#serial++}`;
    return `${path}\0${body.toString("latin1")}`;
  }

  bind(frame: Frame, connection: ServerConnection): boolean {
    const server = this.#server;
    const { portal, statement: name, parametersStart } = decodeBindNames(frame);
    const { pipeline } = server.ledger;
    const statement = server.statements.find(name, pipeline);
    if (statement === "unsettled") return false;
    if (statement === "absent") {
      this.#send(connection, poisonedBind(portal), { kind: "bind", refusal: missing(name) });
      return true;
    }
    if (connection.statements.isUnsure(statement, pipeline)) return false;
    // The catalog may be another by now.
    const { body } = statement;
    const leavings = server.leavingsOf(body.subarray(0, body.indexOf(0)));
    const { refusal } = leavings;
    if (refusal !== undefined) {
      this.#send(connection, poisonedBind(portal), { kind: "bind", refusal });
      return true;
    }
    server.note(leavings, connection);
    server.gate.bound(leavings);
    this.#deallocations.bound(portal, statement);
    const ours = this.#nameOn(connection, name, statement);
    const sent = name === "" ? frame : renamed(frame, parametersStart, portal, ours);
    this.#send(connection, sent, { kind: "bind", of: { name, statement } });
    if (frame.piece === "first") server.passRest();
    return true;
  }

  describe(frame: Frame, connection: ServerConnection): boolean {
    const { target, name } = decodeDescribe(frame);
    if (target === "portal") {
      this.#send(connection, frame, { kind: "describe" });
      return true;
    }
    const { statements, ledger } = this.#server;
    const statement = statements.find(name, ledger.pipeline);
    if (statement === "unsettled") return false;
    if (statement === "absent") {
      this.#send(connection, poisonedDescribe(target), { kind: "describe", refusal: missing(name) });
      return true;
    }
    if (connection.statements.isUnsure(statement, ledger.pipeline)) return false;
    const ours = this.#nameOn(connection, name, statement);
    const renamed = describeMessage({ target, name: ours });
    this.#send(connection, renamed, { kind: "describe", of: { name, statement } });
    return true;
  }

  execute(frame: Frame, connection: ServerConnection): boolean {
    const { statements, ledger, gate } = this.#server;
    const { portal } = decodeExecute(frame);
    const name = this.#deallocations.of(portal);
    if (name === undefined) {
      this.#send(connection, frame, EXECUTE);
      gate.executed();
      return true;
    }
    const key = nameKey(name);
    const known = statements.find(key, ledger.pipeline);
    if (known === "unsettled") return false;
    if (known === "absent") {
      this.#send(connection, poisonedExecute, { kind: "execute", refusal: missing(key) });
      return true;
    }
    const change = statements.propose(key, undefined, ledger.pipeline);
    this.#send(connection, frame, { kind: "execute", forgets: true, change });
    return true;
  }

  close(frame: Frame, connection: ServerConnection): boolean {
    const { statements, ledger } = this.#server;
    const { target, name } = decodeClose(frame);
    if (target === "portal") {
      this.#send(connection, frame, { kind: "close", hidden: false });
      return true;
    }
    const change = statements.propose(name, undefined, ledger.pipeline);
    // The connection keeps it: somebody will want it again.
    ledger.sent({ kind: "local", message: closeComplete, change });
    return true;
  }

  /** A message of the extended protocol fails before the server looks at what it is about. */
  refuse(connection: ServerConnection, refusal: Refusal): void {
    this.#send(connection, poisonedExecute, { kind: "close", hidden: false, refusal });
  }

  #parseNamed(connection: ServerConnection, statement: ClientStatement, asked: Asked): string {
    const { name, closes } = connection.statements.add(statement, this.#server.ledger.pipeline);
    for (const unwanted of closes) {
      const close = closeMessage({ target: "statement", name: unwanted });
      this.#send(connection, close, { kind: "close", hidden: true, unwanted });
    }
    const prepares = { statement, isUnnamed: false };
    const parse = message(Frontend.Parse, cstring(name), statement.body);
    this.#send(connection, parse, { kind: "parse", prepares, ...asked });
    return name;
  }

  #parseUnnamed(connection: ServerConnection, statement: ClientStatement, asked: Asked): void {
    connection.statements.setUnnamed(statement, this.#server.ledger.pipeline);
    const prepares = { statement, isUnnamed: true };
    const parse = message(Frontend.Parse, cstring(""), statement.body);
    this.#send(connection, parse, { kind: "parse", prepares, ...asked });
  }

  /** The name under which this connection has the statement; it is prepared there if it is not yet. */
  #nameOn(connection: ServerConnection, name: string, statement: ClientStatement): string {
    const { statements } = connection;
    if (name !== "") return statements.find(statement) ?? this.#parseNamed(connection, statement, UNASKED);
    if (!statements.isUnnamed(statement)) this.#parseUnnamed(connection, statement, UNASKED);
    return "";
  }

  /** exec_simple_query of tcop/postgres.c drops the unnamed statement before it looks at the text. */
  unnamedGoes(connection: ServerConnection): Change<ClientStatement> {
    connection.statements.dropUnnamed();
    return this.#server.statements.propose("", undefined, this.#server.ledger.pipeline);
  }

  #send(connection: ServerConnection, sent: Buffer | Frame, expected: Expected): void {
    if (Buffer.isBuffer(sent)) connection.toServer.send(sent);
    else connection.toServer.forward(sent);
    this.#server.ledger.sent(expected);
  }
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

/** Of a Parse: whether the client has asked for it, and what that makes of its names. */
type Asked = Pick<ParseSent, "hidden" | "change">;

const UNASKED: Asked = { hidden: true };

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
