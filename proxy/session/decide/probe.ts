import { randomBytes } from "node:crypto";
import { quoteLiteral } from "../../pg/quote.ts";
import type { Frame } from "../../wire/frames.ts";
import { bindMessage, closeMessage, executeMessage, parseMessage } from "../../wire/frontend-messages.ts";
import type { Surroundings } from "./certainty.ts";

/** Under a name that no client has by chance. */
export const PROBE = `sluice ${randomBytes(8).toString("hex")}`;

/** What is longer is cut: no name, no token and no claims are. */
const LONGEST_SETTING = 16 * 1024;

/**
 * Asks for all that a statement of an application depends on, in one row of texts. Each name has its schema: it must mean the same
 * under any search_path.
 */
export function probeMessages(settings: readonly string[]): ProbeMessages {
  const fields = [
    "pg_catalog.current_setting('search_path')",
    "(current_user)::pg_catalog.text",
    `(SELECT pg_catalog.array_to_json(pg_catalog.array_agg(pg_catalog.concat(c.relkind, c.relname))) FROM pg_catalog.pg_class AS c WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())::pg_catalog.text`,
    ...settings.map(
      (name) =>
        `pg_catalog.left(pg_catalog.current_setting(${quoteLiteral(name)}, true), ${LONGEST_SETTING})`,
    ),
  ];
  return probeOf(`SELECT ${fields.join(", ")}`);
}

/** Asks for search_path alone. */
export function pathProbe(): ProbeMessages {
  return probeOf("SHOW search_path");
}

/** Ends the open transaction. */
export function rollBackMessages(): ProbeMessages {
  return probeOf("ROLLBACK");
}

function probeOf(sql: string): ProbeMessages {
  return {
    parse: parseMessage(PROBE, Buffer.from(sql)),
    bind: bindMessage(PROBE, PROBE),
    execute: executeMessage(PROBE, 0),
    closePortal: closeMessage({ target: "portal", name: PROBE }),
    closeStatement: closeMessage({ target: "statement", name: PROBE }),
  };
}

/** Messages of the extended protocol, in their order. */
export interface ProbeMessages {
  readonly parse: Buffer;
  readonly bind: Buffer;
  readonly execute: Buffer;
  readonly closePortal: Buffer;
  readonly closeStatement: Buffer;
}

/** Reads the row of a probe. */
export function surroundingsIn(frame: Frame, asked: readonly string[]): Surroundings {
  const [searchPath = "", currentUser = "", relations = "", ...values] = fieldsOf(frame);
  const settings = new Map(asked.map((name, i) => [name, values[i] ?? ""]));
  const found: unknown = relations === "" ? [] : JSON.parse(relations);
  // The kind of each comes before its name: v is a view (Postgres docs, "pg_class").
  const all = Array.isArray(found) ? found.filter((each) => typeof each === "string") : [];
  const temporary = new Set(all.map((each) => each.slice(1)));
  const temporaryViews = new Set(all.filter((each) => each.startsWith("v")).map((each) => each.slice(1)));
  return { searchPath, currentUser, temporary, temporaryViews, settings };
}

/** A DataRow's fields as texts, "" for NULL. */
function fieldsOf({ buffer, start, end }: Frame): readonly string[] {
  const fields: string[] = [];
  // Type, length word, count of fields (Postgres docs, "DataRow").
  for (let at = start + 7; at < end; ) {
    const length = buffer.readInt32BE(at);
    fields.push(length === -1 ? "" : buffer.toString("utf8", at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return fields;
}
