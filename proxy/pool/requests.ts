import { commandComplete, emptyMessage } from "../wire/backend-messages.ts";
import { type Frame, type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import {
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeParse,
  decodeQuery,
  describeMessage,
  queryMessage,
} from "../wire/frontend-messages.ts";
import { Backend, cstring, Frontend, message, nameKey } from "../wire/messages.ts";
import { poisonedBind, poisonedDescribe, poisonedParse, poisonedQuery } from "../wire/poison.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import type { Expected } from "./expected.ts";
import type { PooledServer } from "./pooled-server.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { ClientStatement } from "./server-statements.ts";

/** Of those who have sent requests. */
let lastId = 0;

const parseComplete = emptyMessage(Backend.ParseComplete);
const closeComplete = emptyMessage(Backend.CloseComplete);
/** Answered with a tag of ours: what DEALLOCATE names the server does not know. */
const nothingToRun = queryMessage(Buffer.alloc(0));
export const deallocated: Buffer = commandComplete("DEALLOCATE");

/** The client's messages on their way to the connection that it holds: names of prepared statements become ours. */
export class Requests {
  readonly #server: PooledServer;
  readonly #id = lastId++;
  #serial = 0;

  constructor(server: PooledServer) {
    this.#server = server;
  }

  handle(frame: FrameReader, connection: ServerConnection): void {
    const server = this.#server;
    if (server.copyIn) {
      this.#copy(frame, connection);
      return;
    }
    if (server.skipping && frame.type !== Frontend.Sync) return;
    switch (frame.type) {
      case Frontend.Query:
        this.#query(frame, connection);
        break;
      case Frontend.Parse:
        this.#parse(frame, connection);
        break;
      case Frontend.Bind:
        this.#bind(frame, connection);
        break;
      case Frontend.Describe:
        this.#describe(frame, connection);
        break;
      case Frontend.Execute:
        this.#step(frame, connection, { kind: "execute" });
        break;
      case Frontend.Close:
        this.#close(frame, connection);
        break;
      case Frontend.Sync:
        server.skipping = false;
        server.inPipeline = false;
        connection.toServer.forward(frame);
        server.expected.push({ kind: "sync" });
        break;
      case Frontend.Flush:
      case Frontend.CopyData:
        connection.toServer.forward(frame);
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        connection.toServer.forward(frame);
        server.expected.push({ kind: "copyEnd" });
        break;
      case Frontend.FunctionCall:
        this.#refuseQuery(connection, FUNCTION_CALL);
        break;
      default:
        throw new ProtocolViolation(`invalid frontend message type ${frame.type}`);
    }
    server.tellAll();
  }

  #copy(frame: FrameReader, connection: ServerConnection): void {
    switch (frame.type) {
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        this.#server.copyIn = false;
        connection.toServer.forward(frame);
        break;
      case Frontend.CopyData:
        connection.toServer.forward(frame);
        break;
      // The server reads over them.
      case Frontend.Sync:
      case Frontend.Flush:
        break;
      default:
        throw new ProtocolViolation(`unexpected message type ${frame.type} during COPY from stdin`);
    }
  }

  #query(frame: Frame, connection: ServerConnection): void {
    const server = this.#server;
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const leavings = server.options.leavingsOf(frame.buffer.subarray(sqlStart, sqlEnd));
    const unnamed = this.#unnamedGoes(connection);
    if (leavings.refusal !== undefined) {
      this.#refuseQuery(connection, leavings.refusal);
      return;
    }
    if (leavings.deallocates !== undefined) {
      this.#deallocate(connection, leavings.deallocates);
      return;
    }
    server.note(leavings, connection);
    connection.toServer.forward(frame);
    server.expected.push({ kind: "query", undo: unnamed });
    server.inPipeline = false;
  }

  /** exec_simple_query of tcop/postgres.c drops the unnamed statement before it looks at the text. */
  #unnamedGoes(connection: ServerConnection): () => void {
    const { statements } = this.#server;
    const unnamed = statements.get("");
    statements.delete("");
    connection.statements.unnamed = undefined;
    return () => {
      if (unnamed !== undefined) statements.set("", unnamed);
    };
  }

  #refuseQuery(connection: ServerConnection, refusal: Refusal): void {
    connection.toServer.send(poisonedQuery);
    this.#server.expected.push({ kind: "query", refusal });
    this.#server.inPipeline = false;
  }

  #deallocate(connection: ServerConnection, name: string): void {
    const { statements, expected } = this.#server;
    const key = nameKey(name);
    const statement = statements.get(key);
    if (statement === undefined) {
      this.#refuseQuery(connection, missing(name));
      return;
    }
    statements.delete(key);
    connection.toServer.send(nothingToRun);
    expected.push({ kind: "query", forgets: true, undo: () => statements.set(key, statement) });
    this.#server.inPipeline = false;
  }

  #parse(frame: Frame, connection: ServerConnection): void {
    const server = this.#server;
    const { statement: name, sqlStart, sqlEnd } = decodeParse(frame);
    const leavings = server.options.leavingsOf(frame.buffer.subarray(sqlStart, sqlEnd));
    const { refusal } = leavings;
    if (refusal !== undefined) {
      if (name === "") this.#unnamedGoes(connection);
      // Of a name that no client can have.
      this.#send(connection, poisonedParse(name === "" ? "" : "sluice_refused"), {
        kind: "parse",
        hidden: false,
        refusal,
      });
      return;
    }
    const body = Buffer.from(frame.buffer.subarray(sqlStart, frame.end));
    const before = server.statements.get(name);
    if (before !== undefined && name !== "") {
      // A name that is taken is the last thing that the server finds fault with: it has to say so itself.
      const taken = this.#nameOn(connection, name, before);
      const again = message(Frontend.Parse, cstring(taken), body);
      this.#send(connection, again, { kind: "parse", hidden: false, taken: alreadyThere(name) });
      return;
    }
    const statement = { key: this.#keyOf(body), body };
    server.statements.set(name, statement);
    const undo = () => {
      server.statements.delete(name);
    };
    if (name === "") this.#parseUnnamed(connection, statement, undo, false);
    else if (connection.statements.find(statement) === undefined) {
      this.#parseNamed(connection, statement, undo, false);
    } else {
      server.inPipeline = true;
      server.expected.push({ kind: "told", message: parseComplete, undo });
    }
  }

  /** Names are looked up again under another search_path, but the types of parameters are found out once. */
  #keyOf(body: Buffer): string {
    const { settings, touched, hasLocalPath } = this.#server;
    const isUnsure = hasLocalPath || touched.has("search_path");
    const path = isUnsure ? `?${this.#id}.${this.#serial++}` : (settings.get("search_path") ?? "");
    return `${path}\0${body.toString("latin1")}`;
  }

  #parseNamed(
    connection: ServerConnection,
    statement: ClientStatement,
    undo: () => void,
    hidden: boolean,
  ): string {
    const { name, closes } = connection.statements.add(statement);
    for (const close of closes) this.#send(connection, close, { kind: "close", hidden: true });
    this.#send(connection, message(Frontend.Parse, cstring(name), statement.body), {
      kind: "parse",
      hidden,
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
    undo: () => void,
    hidden: boolean,
  ): void {
    connection.statements.unnamed = statement;
    this.#send(connection, message(Frontend.Parse, cstring(""), statement.body), {
      kind: "parse",
      hidden,
      undo: () => {
        connection.statements.unnamed = undefined;
        undo();
      },
    });
  }

  /** The name under which this connection has the statement; it is prepared there if it is not yet. */
  #nameOn(connection: ServerConnection, name: string, statement: ClientStatement): string {
    const nothing = () => {};
    if (name !== "") {
      return connection.statements.find(statement) ?? this.#parseNamed(connection, statement, nothing, true);
    }
    if (connection.statements.unnamed !== statement) {
      this.#parseUnnamed(connection, statement, nothing, true);
    }
    return "";
  }

  #bind(frame: Frame, connection: ServerConnection): void {
    const bind = decodeBind(frame);
    const statement = this.#server.statements.get(bind.statement);
    if (statement === undefined) {
      this.#send(connection, poisonedBind(bind.portal), { kind: "bind", refusal: missing(bind.statement) });
      return;
    }
    // The catalog may be another by now.
    const { body } = statement;
    const leavings = this.#server.options.leavingsOf(body.subarray(0, body.indexOf(0)));
    if (leavings.refusal !== undefined) {
      const { refusal } = leavings;
      this.#send(connection, poisonedBind(bind.portal), { kind: "bind", refusal });
      return;
    }
    this.#server.note(leavings, connection);
    const name = this.#nameOn(connection, bind.statement, statement);
    if (name === "") {
      this.#step(frame, connection, { kind: "bind", statement });
      return;
    }
    const parameters = frame.buffer.subarray(bind.parametersStart, frame.end);
    const renamed = message(Frontend.Bind, cstring(bind.portal, "latin1"), cstring(name), parameters);
    this.#send(connection, renamed, { kind: "bind", statement });
  }

  #describe(frame: Frame, connection: ServerConnection): void {
    const { target, name } = decodeDescribe(frame);
    if (target === "portal") {
      this.#step(frame, connection, { kind: "describe" });
      return;
    }
    const statement = this.#server.statements.get(name);
    if (statement === undefined) {
      this.#send(connection, poisonedDescribe(target), { kind: "describe", refusal: missing(name) });
      return;
    }
    const renamed = this.#nameOn(connection, name, statement);
    this.#send(connection, describeMessage({ target, name: renamed }), { kind: "describe", statement });
  }

  #close(frame: Frame, connection: ServerConnection): void {
    const server = this.#server;
    const { target, name } = decodeClose(frame);
    if (target === "portal") {
      this.#step(frame, connection, { kind: "close", hidden: false });
      return;
    }
    const statement = server.statements.get(name);
    server.statements.delete(name);
    const undo = () => {
      if (statement !== undefined) server.statements.set(name, statement);
    };
    server.inPipeline = true;
    // The connection keeps it: somebody will want it again.
    server.expected.push({ kind: "told", message: closeComplete, undo });
  }

  #step(frame: Frame, connection: ServerConnection, expected: Expected): void {
    connection.toServer.forward(frame);
    this.#server.expected.push(expected);
    this.#server.inPipeline = true;
  }

  #send(connection: ServerConnection, bytes: Buffer, expected: Expected): void {
    connection.toServer.send(bytes);
    this.#server.expected.push(expected);
    this.#server.inPipeline = true;
  }
}

const FUNCTION_CALL = refuse("42501", "the function call protocol is not possible with --pool transaction", {
  hint: "Call the function in a SELECT.",
});

/** In the words of FetchPreparedStatement and exec_bind_message. */
function missing(name: string): Refusal {
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
