import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import type { Draw } from "../harness/draw.ts";
import type { TestProxy } from "../harness/proxy.ts";
import { query, type Raw } from "../harness/raw-client.ts";

/* Generated statements of a watched role, each few of them by a reader who has a budget of their own. */

const steps = (sql: string, rowsAtOnce = 0) => [
  parseMessage("", Buffer.from(sql)),
  bindMessage("", ""),
  executeMessage("", rowsAtOnce),
];

/** Messages, and how many times the server says that it is ready. */
interface Transcript {
  readonly told: string;
  readonly messages: readonly Buffer[];
  readonly ends: number;
}

/** The same statements by one of the ways in which clients send them. */
function transcript(draw: Draw, statements: readonly string[]): Transcript {
  const told = statements.join(";\n");
  switch (draw.below(7)) {
    case 0:
      return { told, messages: [...statements.flatMap((sql) => steps(sql)), syncMessage], ends: 1 };
    case 1:
      return {
        told,
        messages: statements.flatMap((sql) => [...steps(sql, draw.below(3)), syncMessage]),
        ends: statements.length,
      };
    case 2: {
      const end = draw.of(["COMMIT", "COMMIT", "ROLLBACK"]);
      const all = ["BEGIN", ...statements, end];
      return { told: all.join(";\n"), messages: all.map(query), ends: all.length };
    }
    case 3: {
      const all = [
        "BEGIN",
        ...statements.flatMap((sql) => ["SAVEPOINT s", sql, "ROLLBACK TO s", sql]),
        "COMMIT",
      ];
      return { told: all.join(";\n"), messages: all.map(query), ends: all.length };
    }
    case 4: {
      const all = statements.flatMap((sql, index) =>
        /^(?:INSERT|UPDATE|MERGE|WITH)/.test(sql)
          ? [`PREPARE q${index} AS ${sql}`, `EXECUTE q${index}`, `DEALLOCATE q${index}`]
          : [sql],
      );
      return { told: all.join(";\n"), messages: all.map(query), ends: all.length };
    }
    case 5:
      return { told, messages: [query(told)], ends: 1 };
    default:
      return { told, messages: statements.map(query), ends: statements.length };
  }
}

export interface Transcribed {
  readonly told: string;
  /** People that the reader was charged for. */
  readonly charged: () => number;
}

/** Sends statements one after the other, for a new reader each time. What is left open is rolled back. */
export function transcriptsThrough(
  sluice: TestProxy,
): (draw: Draw, statements: readonly string[]) => Promise<Transcribed> {
  let raw: Raw | undefined;
  let readers = 0;
  return async (draw, statements) => {
    const { told, messages, ends } = transcript(draw, statements);
    const reader = `reader-${readers++}`;
    if (raw === undefined || readers % 50 === 0) {
      raw?.socket.destroy();
      raw = await sluice.raw("helpdesk_app");
    }
    raw.send(query(`SET app.agent = '${reader}'`), ...messages, query("ROLLBACK"));
    try {
      for (let i = 0; i < ends + 2; i++) await raw.until("Z");
    } catch (error) {
      raw = undefined;
      // A write that is past the budget, and at its end already, ends its connection (docs/applications.md).
      if (!/FATAL .*C53400/.test(String(error))) throw new Error(told, { cause: error });
    }
    return { told, charged: () => sluice.chargedTo(reader) };
  };
}
