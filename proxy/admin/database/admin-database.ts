import type { AdminRight, PolicySet } from "../../policy/compile.ts";
import { Ledger } from "../../protocol/ledger.ts";
import { endsReady, type Request, type RequestKind } from "../../protocol/requests.ts";
import type { AdminDatabase, AdminUser } from "../../session/login/admin-login.ts";
import type { Conversation } from "../../session/login/conversation.ts";
import { checkClientType } from "../../session/relay/side.ts";
import { explanationText } from "../../sql/explanation.ts";
import {
  backendKey,
  commandComplete,
  emptyMessage,
  parameterStatus,
  readyForQuery,
} from "../../wire/backend-messages.ts";
import { errorResponse, noticeResponse } from "../../wire/errors.ts";
import { type Frame, MalformedMessage } from "../../wire/frames.ts";
import { decodeQuery } from "../../wire/frontend-messages.ts";
import { Backend, cstring, Frontend, int32, message, uint16 } from "../../wire/messages.ts";
import { notice, type Refusal, refuse, warn } from "../../wire/refusal.ts";
import type { Operations } from "../operations.ts";
import { type Command, readCommand } from "./read-command.ts";
import { HELP, SHOWN } from "./show.ts";
import { type Table, table } from "./show-table.ts";

/** The name that pgbouncer's exporters and scripts ask for. */
const ALIAS = "pgbouncer";

/** The admin database under its name and pgbouncer's; names of real databases are left to these. */
export function createAdminDatabase(
  name: string,
  isReal: (database: string) => boolean,
  policies: () => PolicySet,
  operations: Operations,
): AdminDatabase {
  const names = new Set(name === "none" ? [] : [name, ALIAS]);
  // Whoever is cut off has no rights either, nor keeps those of a session that is open.
  const right = (user: string) =>
    operations.suspended().some((one) => one.user === user) ? undefined : policies().adminRight(user);
  return {
    // Without admins in the policy these are names like any other; a policy that is read later may name a real one.
    serves: (database) => names.has(database) && policies().hasAdmins && !isReal(database),
    provenAt: operations.databases()[0] ?? "postgres",
    right,
    run: (client, user) => serve(client, user, right, operations),
  };
}

async function serve(
  client: Conversation,
  user: AdminUser,
  right: AdminDatabase["right"],
  operations: Operations,
): Promise<void> {
  client.send(greeting(operations.version));
  const ledger = new Ledger<Request>();
  while (await client.receive()) {
    const { reader } = client;
    if (reader.type === Frontend.Terminate) return;
    checkClientType(reader.type);
    const kind = ASKS.get(reader.type);
    if (kind === undefined) continue;
    ledger.sent({ kind });
    // What follows an error of the extended protocol is dropped up to Sync.
    if (ledger.isSettled) continue;
    // They may have lost the right since.
    const replies =
      kind === "query"
        ? await answer(commandOf(reader), user, right(user.user), operations)
        : kind === "sync"
          ? []
          : [errorResponse(SIMPLE_ONLY)];
    if (endsReady({ kind })) ledger.ready("I");
    else ledger.failed();
    client.send(Buffer.concat([...replies, ...(endsReady({ kind }) ? [readyForQuery("I")] : [])]));
  }
}

/** What is answered. Flush has nothing to bring out, and what belongs to a COPY a server drops outside of one. */
const ASKS: ReadonlyMap<number, RequestKind> = new Map([
  [Frontend.Query, "query"],
  [Frontend.FunctionCall, "functionCall"],
  [Frontend.Parse, "parse"],
  [Frontend.Bind, "bind"],
  [Frontend.Describe, "describe"],
  [Frontend.Execute, "execute"],
  [Frontend.Close, "close"],
  [Frontend.Sync, "sync"],
]);

function commandOf(frame: Frame): Command {
  try {
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    return readCommand(frame.buffer.toString("utf8", sqlStart, sqlEnd));
  } catch (error) {
    if (!(error instanceof MalformedMessage)) throw error;
    return { kind: "wrong", problem: error.error.message, hint: "SHOW HELP lists what can be asked." };
  }
}

const SIMPLE_ONLY = refuse("42601", "the admin database speaks the simple query protocol only", {
  hint: "psql does; drivers have a setting for it, such as preferQueryMode=simple (JDBC) or prepare=False.",
});

function greeting(version: string): Buffer {
  return Buffer.concat([
    // pgbouncer's form: drivers look for a number in front.
    parameterStatus("server_version", `${version}/sluice`),
    parameterStatus("client_encoding", "UTF8"),
    parameterStatus("server_encoding", "UTF8"),
    parameterStatus("standard_conforming_strings", "on"),
    parameterStatus("DateStyle", "ISO"),
    // Nothing runs here long enough to be cancelled.
    backendKey({ processId: 0, key: Buffer.alloc(4) }),
    readyForQuery("I"),
  ]);
}

async function answer(
  command: Command,
  { user, address }: AdminUser,
  right: AdminRight | undefined,
  operations: Operations,
): Promise<readonly Buffer[]> {
  const changes = ["suspend", "resume", "kill", "reload"].includes(command.kind);
  if (right === undefined || (changes && right !== "control")) {
    return [errorResponse(notAllowed(user))];
  }
  try {
    return await execute(command, { user, address }, operations);
  } catch {
    const hint = "Redis may be away; the proxy's log has details.";
    return [errorResponse(refuse("58000", "the fleet's state cannot be read", { hint }))];
  }
}

async function execute(
  command: Command,
  { user, address }: AdminUser,
  operations: Operations,
): Promise<readonly Buffer[]> {
  switch (command.kind) {
    case "empty":
      return [emptyMessage(Backend.EmptyQueryResponse)];
    case "wrong":
      return [errorResponse(refuse("42601", command.problem, { hint: command.hint }))];
    case "set":
      return [commandComplete("SET")];
    case "show":
      return show(command.what, command.argument, operations);
    case "explain": {
      const [database = ""] = operations.databases();
      const { user: who, statement } = command;
      const result = await operations.explain({ user: who, address, database, statement });
      if (!result.ok) return [errorResponse(refuse("42501", result.problem, { hint: result.hint }))];
      const lines = explanationText(result.explanation).trimEnd().split("\n");
      return rows(
        table(
          "explanation",
          lines.map((line) => [line]),
        ),
        "EXPLAIN",
      );
    }
    case "suspend": {
      const { file, redis } = await operations.suspend(command.user, command.why, user);
      const kept = file || redis;
      const warning = warn(
        "the order could not be written down: it holds in this process only, until it ends",
      );
      return [...(kept ? [] : [noticeResponse(warning)]), commandComplete("SUSPEND")];
    }
    case "resume":
      await operations.resume(command.user, command.why, user);
      return [commandComplete("RESUME")];
    case "kill":
      return (await operations.kill(command.session, user))
        ? [commandComplete("KILL")]
        : [errorResponse(refuse("22023", "there is no such session", { hint: KILL_HINT }))];
    case "reload":
      await operations.reload(user);
      return [commandComplete("RELOAD")];
  }
}

const KILL_HINT =
  "SHOW SESSIONS has the ids; one of a proxy that does not answer ends there, or by SUSPEND of its user.";

async function show(
  what: string,
  argument: string | undefined,
  operations: Operations,
): Promise<readonly Buffer[]> {
  if (what === "help") {
    return [noticeResponse(notice("Console usage", { detail: `\n${HELP}` })), commandComplete("SHOW")];
  }
  const make = SHOWN.get(what);
  if (make === undefined) {
    // In pgbouncer's words.
    const problem = `invalid command 'SHOW ${what.slice(0, 60).toUpperCase()}', use SHOW HELP;`;
    return [errorResponse(refuse("42601", problem))];
  }
  return rows(await make(operations, argument), "SHOW");
}

function notAllowed(user: string): Refusal {
  return refuse("42501", `user "${user}" may look, and change nothing`, {
    hint: 'The policy names under "admins:" who may.',
    rule: "auditors",
  });
}

/** Of pg_type; -1 is a length that varies. */
const TYPES = {
  text: { oid: 25, length: 0xffff },
  int4: { oid: 23, length: 4 },
  int8: { oid: 20, length: 8 },
  numeric: { oid: 1700, length: 0xffff },
} as const;

/** Postgres docs, "Message Formats": RowDescription, DataRow. */
function rows({ columns, rows: values }: Table, tag: string): readonly Buffer[] {
  const fields = columns.map(({ name, type }) =>
    Buffer.concat([
      cstring(name),
      int32(0),
      uint16(0),
      int32(TYPES[type].oid),
      uint16(TYPES[type].length),
      int32(-1),
      uint16(0),
    ]),
  );
  const data = values.map((row) =>
    message(
      Backend.DataRow,
      uint16(row.length),
      ...row.flatMap((value) => {
        if (value === null) return [int32(-1)];
        const bytes = Buffer.from(String(value));
        return [int32(bytes.length), bytes];
      }),
    ),
  );
  return [message(Backend.RowDescription, uint16(fields.length), ...fields), ...data, commandComplete(tag)];
}
