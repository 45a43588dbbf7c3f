import type {
  AlertEvent,
  AuditEvent,
  CaseEvent,
  CatalogEvent,
  ForgettingEvent,
  HoldEvent,
  MeasureEvent,
  OrderEvent,
  PolicyEvent,
  QuestionEvent,
  RowsEvent,
  SessionEvent,
  StatementEvent,
} from "./event.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Names statements that differ in nothing but their constants and layout; undefined where it cannot tell. */
export type Fingerprint = (statement: string) => string | undefined;

/** Activities of class 6005 (OCSF 1.3, "Datastore Activity"). */
const ACTIVITY = { read: 1, update: 2, connect: 3, query: 4, write: 5, create: 6, delete: 7, other: 99 };

/** By the first word of a command tag. What is not here (EXPLAIN, COPY both ways, SET …) is a query. */
const ACTIVITY_OF_VERB: ReadonlyMap<string, number> = new Map([
  ...["SELECT", "FETCH", "MOVE"].map((verb) => [verb, ACTIVITY.read] as const),
  ...["UPDATE", "MERGE", "REFRESH", "ALTER", "COMMENT"].map((verb) => [verb, ACTIVITY.update] as const),
  ...["DELETE", "TRUNCATE", "DROP"].map((verb) => [verb, ACTIVITY.delete] as const),
  ["INSERT", ACTIVITY.write],
  ["CREATE", ACTIVITY.create],
]);

function activityOf(command: string): number {
  if (command === "SELECT INTO") return ACTIVITY.create;
  const end = command.indexOf(" ");
  return ACTIVITY_OF_VERB.get(end < 0 ? command : command.slice(0, end)) ?? ACTIVITY.query;
}

/** OCSF's `action_id`: 1 allowed, 2 denied, 3 observed, 4 modified. */
const ACTION = { allow: 1, mask: 4, refuse: 2, cut: 4, observe: 3 } as const;

const SUCCESS = 1;
const FAILURE = 2;
const INFORMATIONAL = 1;
const MEDIUM = 3;
const HIGH = 4;
const SEVERITY_ID = { info: INFORMATIONAL, low: 2, medium: MEDIUM, high: HIGH, critical: 5 } as const;

/**
 * An event as the text of a JSON object in OCSF's form, without its closing brace; what OCSF has no field for
 * stands under `unmapped` (docs/audit.md has the table). The order of the first three fields is part of the
 * format: who-read finds the reader and the people there without parsing the rest.
 */
export function ocsfText(event: AuditEvent, fingerprint: Fingerprint): string {
  return event.kind === "statement" || event.kind === "rows"
    ? statementText(event, fingerprint)
    : openText(fieldsOf(event));
}

function fieldsOf(event: Exclude<AuditEvent, StatementEvent | RowsEvent>): Fields {
  switch (event.kind) {
    case "login":
    case "logout":
    case "login refused":
      return sessionFields(event);
    case "policy loaded":
    case "policy rejected":
      return policyFields(event);
    case "catalog read":
      return catalogFields(event);
    case "suspension":
    case "resumption":
    case "tightening":
    case "relaxation":
    case "grant":
    case "revocation":
      return measureFields(event);
    case "alert":
      return alertFields(event);
    case "people forgotten":
      return forgettingFields(event);
    case "question":
      return questionFields(event);
    case "hold placed":
    case "hold lifted":
      return holdFields(event);
    case "session killed":
    case "reload":
      return orderFields(event);
    case "case":
      return caseFields(event);
  }
}

/** Whose login it was, where the reader is a person behind an application. */
function accountText({ account }: StatementEvent | RowsEvent): string {
  return account === undefined ? "" : `"account":{"name":${quoted(bounded(account))}},`;
}

/**
 * Written out, because there is one for each statement that anybody runs: objects that are made to become text
 * at once cost more than all else that the proxy does for a small query (docs/performance.md).
 */
function statementText(event: StatementEvent | RowsEvent, fingerprint: Fingerprint): string {
  const { kind, decision, sqlstate, rule, reference, rowsWritten, unexplained, namespaces, traceparent } =
    event;
  const relations =
    event.relations.length > MOST_RELATIONS ? event.relations.slice(0, MOST_RELATIONS) : event.relations;
  const failed = decision === "refuse" || decision === "cut";
  const activity = activityOf(event.command);
  const uid = event.statement === "" ? undefined : fingerprint(event.statement);
  const [only] = relations.length === 1 ? relations : [];
  const { count, startTime = event.time } = event;
  return (
    `{"time":${Math.trunc(event.time)},"actor":{"user":{"name":${quoted(bounded(event.user))},${accountText(event)}` +
    `"groups":[{"name":${quoted(event.role)}}]},"session":{"uid":${quoted(event.session)}},` +
    `"app_name":${quoted(bounded(event.application))}},"unmapped":{"subjects":${list(event.subjects)},` +
    `${namespaces === undefined ? "" : `"people_of":${list(namespaces)},`}` +
    `${unexplained === undefined ? "" : `"unexplained":"${unexplained}",`}` +
    `"kind":"${kind}","decision":"${decision}","relations":${list(relations)},${beneathText(event)}"masked":${list(event.masked)},` +
    revealedText(event) +
    `"lookups":${event.lookups},${event.reveals === undefined ? "" : `"reveals":${JSON.stringify(event.reveals)},`}"rows":${event.rows},"people":${event.people}${event.uncounted ? ',"uncounted":true' : ""}${rowsWritten === undefined ? "" : `,"rows_written":${rowsWritten}`}${reference === undefined ? "" : `,"reference":${quoted(reference)}`}${traceparent === undefined ? "" : `,"traceparent":"${traceparent}"`}},` +
    `"class_uid":6005,"category_uid":6,"activity_id":${activity},"type_uid":${600500 + activity},` +
    `"severity_id":${failed ? MEDIUM : INFORMATIONAL},"status_id":${failed ? FAILURE : SUCCESS},` +
    `${sqlstate === undefined ? "" : `"status_code":${quoted(sqlstate)},`}"action_id":${ACTION[decision]},` +
    `"duration":${Math.round(event.duration)},` +
    `${count === undefined ? "" : `"count":${count},"start_time":${Math.trunc(startTime)},`}"src_endpoint":${endpointText(event.client)},` +
    `"database":{"name":${quoted(bounded(event.database))}},` +
    `${only === undefined ? "" : `"table":{"name":${quoted(only)}},`}` +
    `"query_info":{"name":${quoted(event.command)},"query_string":${quoted(event.statement)},` +
    `"bytes":${event.bytes}${uid === undefined ? "" : `,"uid":${quoted(uid)}`}},` +
    `"policy":{"uid":${quoted(event.policy)}}` +
    `${rule === undefined ? "" : `,"firewall_rule":{"name":${quoted(rule)}}`}`
  );
}

/** Left out where there is nothing to say. */
function beneathText({ relations, beneath = [], readsMore }: StatementEvent | RowsEvent): string {
  const isCut = relations.length > MOST_RELATIONS || beneath.length > MOST_RELATIONS;
  const more = readsMore === true || isCut ? '"reads_more":true,' : "";
  return beneath.length === 0 ? more : `"beneath":${list(beneath.slice(0, MOST_RELATIONS))},${more}`;
}

/** The names of classes are the policy's: few and short. */
function revealedText({ revealed }: StatementEvent | RowsEvent): string {
  if (revealed === undefined) return "";
  const { shown, shownWhere, found } = revealed;
  return (
    `"shown":${list(shown)},` +
    `${shownWhere.length === 0 ? "" : `"shown_where":${list(shownWhere)},`}` +
    `${found.length === 0 ? "" : `"found":${list(found)},`}`
  );
}

function endpointText(client: string): string {
  return client === "local" ? '{"name":"local"}' : `{"ip":${quoted(client)}}`;
}

/** A client's start-up packet has 10,000 bytes; Postgres's own names have 63 at most (NAMEDATALEN). */
const LONGEST_NAME = 256;
const LONGEST_REASON = 2_000;
/** Of one statement; the text has the others. */
const MOST_RELATIONS = 200;

/** Where a cut falls into a surrogate pair. */
const HALF_CHARACTER = /[\ud800-\udbff]$/;

/** What a client says of itself, or an operator of an order, has its limit: nobody fills the disk with it. */
function bounded(text: string, longest = LONGEST_NAME): string {
  return text.length <= longest ? text : `${text.slice(0, longest).replace(HALF_CHARACTER, "")}…`;
}

/** Characters that JSON takes as they are; most names have no others, and looking is cheaper than escaping. */
const PLAIN = /^[ !#-[\]-~]*$/;

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

function list(texts: readonly string[]): string {
  const [only = ""] = texts;
  if (texts.length <= 1) return texts.length === 0 ? "[]" : `[${quoted(only)}]`;
  return JSON.stringify(texts);
}

/** A JSON object to which fields can be added. */
export function openText(fields: Fields): string {
  return JSON.stringify(fields).slice(0, -1);
}

function sessionFields(event: SessionEvent): Fields {
  const refused = event.kind === "login refused";
  return {
    ...reader(event),
    unmapped: { kind: event.kind, ...(event.reference !== undefined && { reference: event.reference }) },
    ...classification(event.kind === "logout" ? ACTIVITY.other : ACTIVITY.connect),
    activity_name: event.kind,
    severity_id: refused ? MEDIUM : INFORMATIONAL,
    status_id: refused ? FAILURE : SUCCESS,
    ...(event.sqlstate !== undefined && { status_code: event.sqlstate }),
    action_id: refused ? ACTION.refuse : ACTION.allow,
    ...source(event),
  };
}

function policyFields(event: PolicyEvent): Fields {
  const rejected = event.kind === "policy rejected";
  return {
    time: Math.trunc(event.time),
    // Nobody's session: the process itself.
    actor: { app_name: "sluice" },
    unmapped: {
      kind: event.kind,
      problems: event.problems,
      ...(event.namespaces !== undefined && { namespaces: event.namespaces }),
      ...(event.classes !== undefined && { classes: event.classes }),
      ...(event.says !== undefined && { says: event.says }),
    },
    ...classification(ACTIVITY.other),
    activity_name: event.kind,
    severity_id: rejected ? MEDIUM : INFORMATIONAL,
    status_id: rejected ? FAILURE : SUCCESS,
    policy: { uid: event.policy },
  };
}

function catalogFields({ kind, time, policy, namespaces }: CatalogEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice" },
    unmapped: { kind, namespaces },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: INFORMATIONAL,
    status_id: SUCCESS,
    policy: { uid: policy },
  };
}

function measureFields({ kind, time, user, by, why, ordered, until }: MeasureEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: {
      kind,
      user: bounded(user),
      why: bounded(why, LONGEST_REASON),
      ordered: Math.trunc(ordered),
      ...(until !== undefined && { until }),
    },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: kind === "suspension" || kind === "tightening" ? HIGH : MEDIUM,
    status_id: SUCCESS,
  };
}

function alertFields(event: AlertEvent): Fields {
  const { kind, id, rule, action, text, canary } = event;
  return {
    ...reader({ ...event, session: event.session ?? "", application: event.application ?? "" }),
    unmapped: { kind, id, action, ...(canary !== undefined && { canary }) },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: SEVERITY_ID[event.severity ?? "high"],
    status_id: SUCCESS,
    message: bounded(text, LONGEST_REASON),
    ...source(event),
    firewall_rule: { name: rule },
  };
}

function forgettingFields({ kind, time, by, people }: ForgettingEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: { kind, people },
    ...classification(ACTIVITY.delete),
    activity_name: kind,
    severity_id: MEDIUM,
    status_id: SUCCESS,
  };
}

function questionFields({ kind, time, by, question, people, about, since, until }: QuestionEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: {
      kind,
      question,
      ...(people !== undefined && { people }),
      ...(about !== undefined && { user: bounded(about) }),
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
    },
    ...classification(ACTIVITY.read),
    activity_name: kind,
    severity_id: INFORMATIONAL,
    status_id: SUCCESS,
  };
}

function holdFields({ kind, time, by, why, id, since, until }: HoldEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: {
      ...{ kind, id, why: bounded(why, LONGEST_REASON) },
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
    },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: MEDIUM,
    status_id: SUCCESS,
  };
}

function orderFields({ kind, time, by, session }: OrderEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: { kind, ...(session !== undefined && { session }) },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: kind === "reload" ? INFORMATIONAL : MEDIUM,
    status_id: SUCCESS,
  };
}

function caseFields({ kind, time, by, id, change, about, text }: CaseEvent): Fields {
  return {
    time: Math.trunc(time),
    actor: { app_name: "sluice", user: { name: bounded(by) } },
    unmapped: { kind, case: id, change, user: bounded(about), why: bounded(text, LONGEST_REASON) },
    ...classification(ACTIVITY.other),
    activity_name: kind,
    severity_id: INFORMATIONAL,
    status_id: SUCCESS,
  };
}

type EventActor = Pick<StatementEvent, "time" | "user" | "account" | "role" | "session" | "application">;

function reader(event: EventActor): Fields {
  return {
    time: Math.trunc(event.time),
    actor: {
      user: {
        name: bounded(event.user),
        ...(event.account !== undefined && { account: { name: bounded(event.account) } }),
        groups: [{ name: event.role }],
      },
      session: { uid: event.session },
      app_name: bounded(event.application),
    },
  };
}

function source(event: Pick<StatementEvent, "client" | "database">): Fields {
  const local = event.client === "local";
  return {
    src_endpoint: local ? { name: "local" } : { ip: event.client },
    database: { name: bounded(event.database) },
  };
}

function classification(activity: number): Fields {
  return {
    class_uid: 6005,
    category_uid: 6,
    activity_id: activity,
    type_uid: 600500 + activity,
  };
}
