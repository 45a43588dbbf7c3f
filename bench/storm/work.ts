import { serialize } from "pg-protocol";
import { Lost } from "./client.ts";
import type { Session } from "./session.ts";
import { ACCOUNTS, CANARY, emailOf, type Kind, nameOf, PEOPLE, ROW_LIMIT, regionOf } from "./world.ts";

/** A kind of work; its name stands in its statements as an alias, so that the audit log can be asked for it. */
export interface Work {
  readonly name: string;
  /** How often, beside the others. */
  readonly weight: number;
  run(session: Session): Promise<void>;
}

const COLUMNS = "id, name, email, region";

export function worksOf(kind: Kind): readonly Work[] {
  switch (kind) {
    case "agent":
      return AGENT;
    case "thrifty":
    case "lenient":
      return SMALL;
    case "app":
      return APPLICATION;
  }
}

/** A statement of the extended protocol, with as many portals as there are lists of parameters. */
function extended(text: string, lists: readonly (readonly string[])[], name = ""): Buffer {
  return Buffer.concat([
    // One of that name may be left over from where an error has skipped its end.
    ...(name === "" ? [] : [serialize.close({ type: "S", name })]),
    serialize.parse({ name, text }),
    ...lists.flatMap((values) => [
      serialize.bind({ statement: name, values: [...values] }),
      serialize.execute({}),
    ]),
    serialize.sync(),
  ]);
}

const POINT: Work = {
  name: "point",
  weight: 20,
  run(session) {
    const id = anybody();
    return session.people("point", select(`people AS point WHERE id = ${id}`), [id]);
  },
};

const PREPARED: Work = {
  name: "prepared",
  weight: 20,
  run(session) {
    const id = anybody();
    const text = `SELECT ${COLUMNS} FROM people AS prepared WHERE id = $1`;
    return session.people("prepared", extended(text, [[String(id)]], "one"), [id]);
  },
};

const LOOKUP: Work = {
  name: "lookup",
  weight: 10,
  run(session) {
    const id = anybody();
    return session.people("lookup", select(`people AS lookup WHERE email = '${emailOf(id)}'`), [id]);
  },
};

/** Three executions before one Sync. */
const PIPELINE: Work = {
  name: "pipeline",
  weight: 6,
  async run(session) {
    const ids = [anybody(), anybody(), anybody()];
    const text = `SELECT ${COLUMNS} FROM people AS pipeline WHERE id = $1`;
    const lists = ids.map((id) => [String(id)]);
    await session.people("pipeline", extended(text, lists), ids);
    // Each of them has an event of its own.
    for (let more = 1; more < ids.length; more++) session.answered("pipeline");
  },
};

const CURSOR: Work = {
  name: "cursor",
  weight: 6,
  async run(session) {
    const first = anybody(10);
    await session.run("BEGIN");
    await session.run(
      `DECLARE c CURSOR FOR SELECT ${COLUMNS} FROM people AS cursor WHERE id BETWEEN ${first} AND ${first + 9} ORDER BY id`,
    );
    await session.people("fetch", serialize.query("FETCH 6 FROM c"), range(first, 6));
    await session.people("fetch", serialize.query("FETCH 6 FROM c"), range(first + 6, 4));
    await session.run("COMMIT");
  },
};

/** One portal that is read in two pieces. */
const PORTAL: Work = {
  name: "portal",
  weight: 6,
  run(session) {
    const first = anybody(8);
    const text = `SELECT ${COLUMNS} FROM people AS portal WHERE id BETWEEN $1 AND $2 ORDER BY id`;
    const messages = Buffer.concat([
      serialize.parse({ text }),
      serialize.bind({ values: [String(first), String(first + 7)] }),
      serialize.execute({ rows: 5 }),
      serialize.execute({ rows: 5 }),
      serialize.sync(),
    ]);
    return session.people("portal", messages, range(first, 8));
  },
};

const COPY_OUT: Work = {
  name: "copied",
  weight: 4,
  async run(session) {
    const first = anybody(10);
    const answer = await session.run(
      `COPY (SELECT ${COLUMNS} FROM people AS copied WHERE id BETWEEN ${first} AND ${first + 9} ORDER BY id) TO STDOUT`,
    );
    session.answered("copied");
    const rows = answer.copied
      .trimEnd()
      .split("\n")
      .map((line) => line.split("\t"));
    const ids = rows.map(([id]) => Number(id));
    session.copied(ids);
    for (const row of rows) session.checkMasked("copied", row);
    session.expect("copied", ids, range(first, 10));
  },
};

const WRITE: Work = {
  name: "write",
  weight: 10,
  async run(session) {
    const marker = session.marker();
    const commits = Math.random() < 0.7;
    await session.run("BEGIN");
    await session.run(`INSERT INTO notes (marker, body) VALUES ('${marker}', 'a note')`);
    const { rows } = await session.run(`SELECT marker FROM notes WHERE marker = '${marker}'`);
    session.expect("write", rows, [[marker]]);
    const { tags } = await session.run(commits ? "COMMIT" : "ROLLBACK");
    session.expect("write", tags, [commits ? "COMMIT" : "ROLLBACK"]);
    if (commits) session.committed(marker);
    else session.rolledBack(marker);
  },
};

/** Statements that are refused, and how: by Sluice, or by the server in words that may not tell a value. */
const WRONG: readonly (readonly [string, string])[] = [
  ["SELEC 1", "42601"],
  ["SELECT id FROM people AS broken WHERE nothing = 1", "42703"],
  ["SELECT name::int FROM people AS broken WHERE id = 7", "22P02"],
  ["SELECT balance FROM accounts", "42501"],
  ["UPDATE people SET name = 'x' WHERE id = 7", "42501"],
  ["INSERT INTO notes (marker) VALUES ('x')", "23502"],
  [`SELECT pg_read_file('/etc/passwd') FROM people AS broken`, "42501"],
];

const WRONG_SQL: Work = {
  name: "wrong SQL",
  weight: 8,
  async run(session) {
    const [sql, code] = WRONG[Math.floor(Math.random() * WRONG.length)] ?? ["SELEC 1", "42601"];
    session.expectError(sql, await session.client.query(sql), code);
  },
};

const DUMP: Work = {
  name: "dump",
  weight: 1,
  async run(session) {
    const found = await session.peopleUntil("dump", select("people AS dump ORDER BY id"), "54000");
    session.expect("dump", found, range(1, ROW_LIMIT));
  },
};

const RAW: Work = {
  name: "raw",
  weight: 20,
  async run(session) {
    const id = anybody();
    const sql = `SELECT ${COLUMNS} FROM people AS raw WHERE id = $1`;
    const { rows } = session.finish(await session.client.ask(extended(sql, [[String(id)]])));
    session.expect("raw", rows, [[String(id), nameOf(id), emailOf(id), regionOf(id)]]);
  },
};

/** Each sees the sum of all accounts as it was at one moment, whatever moves. */
const TRANSFER: Work = {
  name: "transfer",
  weight: 10,
  async run(session) {
    // In one order, so that no two wait for each other.
    const [from, to] = [account(), account()].toSorted((a, b) => a - b);
    await session.run("BEGIN");
    await session.run(`UPDATE accounts SET balance = balance - 1 WHERE id = ${from}`);
    await session.run(`UPDATE accounts SET balance = balance + 1 WHERE id = ${to}`);
    await session.run("COMMIT");
    const { rows } = await session.run("SELECT sum(balance) FROM accounts");
    session.expect("transfer", rows, [["0"]]);
  },
};

const COPY_IN: Work = {
  name: "copy in",
  weight: 3,
  async run(session) {
    const markers = Array.from({ length: 5 }, () => session.marker());
    const lines = markers.map((marker) => `${marker}\tcopied\n`).join("");
    const messages = [
      serialize.query("COPY notes (marker, body) FROM STDIN"),
      serialize.copyData(Buffer.from(lines)),
      serialize.copyDone(),
    ];
    const { tags } = session.finish(await session.client.ask(Buffer.concat(messages)));
    session.expect("copy in", tags, ["COPY 5"]);
    session.committed(...markers);
  },
};

const BULK: Work = {
  name: "bulk",
  weight: 3,
  async run(session) {
    const first = anybody(500);
    const { rows } = await session.run(
      `SELECT id, email FROM people AS bulk WHERE id BETWEEN ${first} AND ${first + 499} ORDER BY id`,
    );
    session.expect(
      "bulk",
      rows,
      range(first, 500).map((id) => [String(id), emailOf(id)]),
    );
    if (!rows.every(([, email]) => email?.includes(CANARY)))
      session.wrong("bulk: masked for the application");
  },
};

/** Asks again each second, as a user does, while a proxy on the way is away. */
const CANCEL: Work = {
  name: "cancel",
  weight: 1,
  async run(session) {
    const ended = session.client.query("SELECT pg_sleep(25)");
    const again = setInterval(() => {
      const port = session.ports[Math.floor(Math.random() * session.ports.length)];
      void session.client.cancel(port);
    }, 1_000);
    try {
      session.expectError("cancel", await ended, "57014");
    } finally {
      clearInterval(again);
    }
  },
};

/** Leaves while its answer is on the way. */
const VANISH: Work = {
  name: "vanish",
  weight: 0.5,
  async run(session) {
    const answer = session.client.query("SELECT pg_sleep(0.05), * FROM notes LIMIT 10");
    session.client.vanish();
    await answer.catch((error: unknown) => {
      if (!(error instanceof Lost)) throw error;
    });
  },
};

const LEAVE: Work = { name: "leave", weight: 0.5, run: async (session) => session.client.leave() };

const SMALL = [POINT, PREPARED, LOOKUP, PIPELINE, PORTAL, WRITE, WRONG_SQL, VANISH, LEAVE];
const AGENT = [...SMALL, CURSOR, COPY_OUT, DUMP];
const APPLICATION = [RAW, TRANSFER, COPY_IN, BULK, CANCEL, VANISH, LEAVE];

function select(from: string): Buffer {
  return serialize.query(`SELECT ${COLUMNS} FROM ${from}`);
}

/** A person, with as many after them. */
function anybody(many = 1): number {
  return 1 + Math.floor(Math.random() * (PEOPLE - many + 1));
}

function account(): number {
  return 1 + Math.floor(Math.random() * ACCOUNTS);
}

function range(first: number, many: number): readonly number[] {
  return Array.from({ length: many }, (_, n) => first + n);
}
