import { MEASURE_KINDS } from "./event.ts";
import type { Period, SegmentFile } from "./segments.ts";

export type { Period } from "./segments.ts";

/** Which lines are read, and how much of them: the text of statements only where few events are, or where it is asked for. */
export type Lines =
  | { readonly of: "all people"; readonly period: Period }
  /** Every statement with what was decided about it; and logins, which tell each account's own role. */
  | { readonly of: "decisions"; readonly period: Period }
  | { readonly of: "asked people"; readonly period: Period }
  /** Of periods that nobody asks about: which name spaces and classes there were. */
  | { readonly of: "policies" };

/** `unmapped.kind` of a segment's first and last line, and of lines that tell what the log is about or lacks. */
export const FOOTER = "segment closed";
const FACTS = [
  "segment opened",
  FOOTER,
  "policy loaded",
  "catalog read",
  "events lost",
  "segments dropped",
  "log damaged",
];

/** What was done about a user, by people and by rules. */
export const MEASURES = ["alert", ...MEASURE_KINDS, "session killed", "question"] as const;

/** What is read of a line (docs/audit.md); all else is skipped. */
const FIELDS = `{
  time: 'DOUBLE',
  actor: 'STRUCT("user" STRUCT("name" VARCHAR, account STRUCT("name" VARCHAR), groups STRUCT("name" VARCHAR)[]), session STRUCT(uid VARCHAR), app_name VARCHAR)',
  src_endpoint: 'STRUCT(ip VARCHAR, "name" VARCHAR)',
  database: 'STRUCT("name" VARCHAR)',
  query_info: 'STRUCT(query_string VARCHAR, bytes DOUBLE)',
  "count": 'DOUBLE',
  status_code: 'VARCHAR',
  message: 'VARCHAR',
  firewall_rule: 'STRUCT("name" VARCHAR)',
  unmapped: 'STRUCT(kind VARCHAR, decision VARCHAR, "rows" DOUBLE, people DOUBLE, lookups DOUBLE, rows_written DOUBLE, subjects VARCHAR[], uncounted BOOLEAN,
    unexplained VARCHAR, people_of VARCHAR[], relations VARCHAR[], beneath VARCHAR[], reads_more BOOLEAN, masked VARCHAR[],
    shown VARCHAR[], shown_where VARCHAR[], found VARCHAR[],
    signedBy VARCHAR, peopleKey VARCHAR, namespaces STRUCT("name" VARCHAR, tables VARCHAR[])[], classes VARCHAR[], events DOUBLE,
    "user" VARCHAR, why VARCHAR, question VARCHAR, session VARCHAR)',
  metadata: 'STRUCT(log_name VARCHAR, sequence DOUBLE)'
}`;

/**
 * `classes`: whose values were learned, in the clear, in some rows, or by looking up; NULL in lines of older versions.
 * `only_masks`: nothing but masks was shown of what has a class.
 */
export const TABLE = `CREATE TEMP TABLE lines (
  time DOUBLE, "user" VARCHAR, account VARCHAR, role VARCHAR, session VARCHAR, address VARCHAR, application VARCHAR, database VARCHAR,
  statement VARCHAR, kind VARCHAR, decision VARCHAR, status VARCHAR, "rows" DOUBLE, people DOUBLE, subjects VARCHAR[],
  uncounted BOOLEAN, unexplained VARCHAR, people_of VARCHAR[], relations VARCHAR[], beneath VARCHAR[], reads_more BOOLEAN, classes VARCHAR[], only_masks BOOLEAN,
  writer VARCHAR, sequence DOUBLE, key VARCHAR, namespaces STRUCT("name" VARCHAR, tables VARCHAR[])[], known_classes VARCHAR[],
  events DOUBLE, about VARCHAR, told VARCHAR, file VARCHAR,
  rule VARCHAR, is_masked BOOLEAN, times DOUBLE, bytes DOUBLE, lookups DOUBLE, written DOUBLE
);
CREATE TEMP VIEW readings AS SELECT * FROM lines WHERE people > 0 AND kind IN ('statement', 'rows');
CREATE TEMP TABLE asked (subject VARCHAR, number INTEGER, before DOUBLE)`;

/** A list of texts as SQL has it. */
export function textList(texts: readonly string[]): string {
  return `[${texts.map((text) => `'${text.replaceAll("'", "''")}'`).join(", ")}]::VARCHAR[]`;
}

/** The SELECT that reads these files into `lines`. */
export function scanOf(files: readonly SegmentFile[], lines: Lines): string {
  const names = textList(files.map(({ path }) => path));
  const from = `read_json(${names}, format = 'newline_delimited', columns = ${FIELDS}, ignore_errors = true, filename = true)`;
  const clear =
    "coalesce(unmapped.shown, []) || coalesce(unmapped.shown_where, []) || coalesce(unmapped.found, [])";
  return `SELECT time, actor."user"."name" AS "user", actor."user".account."name" AS account,
      actor."user".groups[1]."name" AS role,
      actor.session.uid AS session, coalesce(src_endpoint.ip, src_endpoint."name", '') AS address,
      actor.app_name AS application, database."name" AS database,
      ${lines.of === "asked people" || lines.of === "decisions" ? "query_info.query_string" : "''"} AS statement,
      unmapped.kind AS kind, unmapped.decision AS decision, status_code AS status, unmapped."rows" AS "rows",
      unmapped.people AS people, unmapped.subjects AS subjects, unmapped.uncounted AS uncounted, unmapped.unexplained AS unexplained,
      unmapped.people_of AS people_of, unmapped.relations AS relations,
      unmapped.beneath AS beneath, unmapped.reads_more AS reads_more,
      CASE WHEN unmapped.shown IS NULL THEN NULL ELSE list_distinct(${clear}) END AS classes,
      unmapped.shown IS NOT NULL AND len(unmapped.masked) > 0 AND len(${clear}) = 0 AS only_masks,
      metadata.log_name AS writer, metadata.sequence AS sequence,
      CASE WHEN unmapped.kind = 'segment opened' THEN coalesce(unmapped.peopleKey, unmapped.signedBy) END AS key, unmapped.namespaces AS namespaces, unmapped.classes AS known_classes,
      unmapped.events AS events,
      CASE WHEN unmapped.kind = 'alert' THEN actor."user"."name" ELSE unmapped."user" END AS about,
      CASE unmapped.kind WHEN 'alert' THEN concat_ws(': ', firewall_rule."name", message)
        WHEN 'question' THEN unmapped.question ELSE unmapped.why END AS told,
      filename AS file,
      firewall_rule."name" AS rule, coalesce(len(unmapped.masked), 0) > 0 AS is_masked, coalesce("count", 1) AS times,
      query_info.bytes AS bytes, unmapped.lookups AS lookups, unmapped.rows_written AS written
    FROM ${from} WHERE ${conditionOf(lines)}`;
}

const WANTED = {
  "all people": `(unmapped.people > 0 OR unmapped."rows" > 0 OR status_code IS NOT NULL)`,
  "asked people":
    "unmapped.people > 0 AND list_has_any(unmapped.subjects, (SELECT list(subject) FROM asked))",
  decisions: "true",
} as const;

function conditionOf(lines: Lines): string {
  if (lines.of === "policies") return "unmapped.kind IN ('policy loaded', 'catalog read')";
  const facts = [...FACTS, ...MEASURES].map((kind) => `'${kind}'`).join(", ");
  const until = Math.min(lines.period.until, Number.MAX_SAFE_INTEGER);
  const wanted = WANTED[lines.of];
  // A session that reads in the period may have begun before it.
  const sessions = lines.of === "decisions" ? `OR unmapped.kind IN ('login', 'logout')` : "";
  return `unmapped.kind IN (${facts}) ${sessions} OR unmapped.kind IN ('statement', 'rows')
    AND time >= ${lines.period.since} AND time < ${until} AND ${wanted}`;
}
