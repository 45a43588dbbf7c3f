import { emptyMessage } from "../wire/backend-messages.ts";
import type { Frame } from "../wire/frames.ts";
import {
  closeMessage,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeParse,
  describeMessage,
} from "../wire/frontend-messages.ts";
import { Backend, cstring, Frontend, message } from "../wire/messages.ts";
import { poisonedBind, poisonedDescribe, poisonedParse } from "../wire/poison.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import type { Expected } from "./expected.ts";
import type { PoolSession } from "./pool-session.ts";
import type { ServerConnection } from "./server-connection.ts";
import { type ClientStatement, nextParse } from "./server-statements.ts";

const closeComplete = emptyMessage(Backend.CloseComplete);
/** Of a name that no client can have. */
const poisonedNamed = poisonedParse("sluice_refused");

/** Of those who prepare. */
let lastId = 0;

/**
 * The messages that name prepared statements. The names become those of the connection that is held, and what
 * is not prepared there yet is prepared first.
 */
export class Preparing {
  readonly #server: PoolSession;
  readonly #id = lastId++;
  #serial = 0;

  constructor(server: PoolSession) {
    this.#server = server;
  }

  /** False, here and below: the message has to wait. */
  parse(frame: Frame, connection: ServerConnection): boolean {
    const server = this.#server;
    const { statement: name, sqlStart, sqlEnd } = decodeParse(frame);
    const leavings = server.leavingsOf(frame.buffer.subarray(sqlStart, sqlEnd));
    const { refusal } = leavings;
    if (name !== "" && server.statements.isUnsettled(name)) return false;
    if (refusal !== undefined) {
      if (name === "") this.unnamedGoes(connection);
      const poisoned = name === "" ? poisonedParse("") : poisonedNamed;
      this.#send(connection, poisoned, { kind: "parse", hidden: false, refusal });
      return true;
    }
    const body = Buffer.from(frame.buffer.subarray(sqlStart, frame.end));
    const before = name === "" ? undefined : server.statements.get(name);
    if (before !== undefined) {
      if (connection.statements.isPending(before)) return false;
      // A name that is taken is the last thing that the server finds fault with: it has to say so itself.
      const taken = this.#nameOn(connection, name, before);
      const again = message(Frontend.Parse, cstring(taken), body);
      this.#send(connection, again, { kind: "parse", hidden: false, taken: alreadyThere(name) });
      return true;
    }
    const statement = { key: this.#keyOf(body), body, since: nextParse() };
    if (name !== "" && connection.statements.isPending(statement)) return false;
    const undo = server.statements.change(name, statement);
    if (name === "") {
      // The server drops the old one before it looks at the new text.
      this.#parseUnnamed(connection, statement, false, undo, () => {
        if (server.statements.get("") === statement) server.statements.change("", undefined);
      });
    } else {
      // Also where the server knows the text: what it names may be something else since then.
      this.#parseNamed(connection, statement, false, undo);
    }
    return true;
  }

  /** Names are looked up again under another search_path, but the types of parameters are found out once. */
  #keyOf(body: Buffer): string {
    const path = this.#server.carrying.path ?? `?${this.#id}.${this.#serial++}`;
    return `${path}\0${body.toString("latin1")}`;
  }

  bind(frame: Frame, connection: ServerConnection): boolean {
    const server = this.#server;
    const { portal, statement: name, parametersStart } = decodeBind(frame);
    const statement = server.statements.get(name);
    if (statement === undefined) {
      if (server.statements.isUnsettled(name)) return false;
      this.#send(connection, poisonedBind(portal), { kind: "bind", refusal: missing(name) });
      return true;
    }
    if (connection.statements.isUnsure(statement, server.statements.pipeline)) return false;
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
    const ours = this.#nameOn(connection, name, statement);
    const parameters = frame.buffer.subarray(parametersStart, frame.end);
    const renamed = () => message(Frontend.Bind, cstring(portal, "latin1"), cstring(ours), parameters);
    this.#send(connection, name === "" ? frame : renamed(), { kind: "bind", of: { name, statement } });
    return true;
  }

  describe(frame: Frame, connection: ServerConnection): boolean {
    const { target, name } = decodeDescribe(frame);
    if (target === "portal") {
      this.#send(connection, frame, { kind: "describe" });
      return true;
    }
    const { statements } = this.#server;
    const statement = statements.get(name);
    if (statement === undefined) {
      if (statements.isUnsettled(name)) return false;
      this.#send(connection, poisonedDescribe(target), { kind: "describe", refusal: missing(name) });
      return true;
    }
    if (connection.statements.isUnsure(statement, statements.pipeline)) return false;
    const ours = this.#nameOn(connection, name, statement);
    const renamed = describeMessage({ target, name: ours });
    this.#send(connection, renamed, { kind: "describe", of: { name, statement } });
    return true;
  }

  close(frame: Frame, connection: ServerConnection): boolean {
    const server = this.#server;
    const { target, name } = decodeClose(frame);
    if (target === "portal") {
      this.#send(connection, frame, { kind: "close", hidden: false });
      return true;
    }
    const undo = server.statements.change(name, undefined);
    server.inPipeline = true;
    // The connection keeps it: somebody will want it again.
    server.expected.push({ kind: "told", message: closeComplete, undo });
    return true;
  }

  #parseNamed(
    connection: ServerConnection,
    statement: ClientStatement,
    hidden: boolean,
    undo: () => void,
  ): string {
    const { name, closes } = connection.statements.add(statement, this.#server.statements.pipeline);
    for (const unwanted of closes) {
      this.#send(connection, closeMessage({ target: "statement", name: unwanted }), {
        kind: "close",
        hidden: true,
        undo: () => connection.statements.keepUnwanted(unwanted),
      });
    }
    this.#send(connection, message(Frontend.Parse, cstring(name), statement.body), {
      kind: "parse",
      hidden,
      onDone: () => connection.statements.confirm(statement),
      undo: () => {
        connection.statements.forget(statement);
        undo();
      },
    });
    return name;
  }

  #parseUnnamed(
    connection: ServerConnection,
    statement: ClientStatement,
    hidden: boolean,
    undo: () => void,
    failed: () => void,
  ): void {
    connection.statements.setUnnamed(statement, this.#server.statements.pipeline);
    const without = (then: () => void) => () => {
      connection.statements.dropUnnamed();
      then();
    };
    this.#send(connection, message(Frontend.Parse, cstring(""), statement.body), {
      kind: "parse",
      hidden,
      onDone: () => connection.statements.confirmUnnamed(),
      undo: without(undo),
      onFailed: without(failed),
    });
  }

  /** The name under which this connection has the statement; it is prepared there if it is not yet. */
  #nameOn(connection: ServerConnection, name: string, statement: ClientStatement): string {
    const nothing = () => {};
    if (name !== "") {
      return connection.statements.find(statement) ?? this.#parseNamed(connection, statement, true, nothing);
    }
    if (!connection.statements.isUnnamed(statement)) {
      this.#parseUnnamed(connection, statement, true, nothing, nothing);
    }
    return "";
  }

  /** exec_simple_query of tcop/postgres.c drops the unnamed statement before it looks at the text. */
  unnamedGoes(connection: ServerConnection): () => void {
    connection.statements.dropUnnamed();
    return this.#server.statements.change("", undefined);
  }

  #send(connection: ServerConnection, sent: Buffer | Frame, expected: Expected): void {
    if (Buffer.isBuffer(sent)) connection.toServer.send(sent);
    else connection.toServer.forward(sent);
    this.#server.expected.push(expected);
    this.#server.inPipeline = true;
  }
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
