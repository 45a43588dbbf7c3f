import { EMPTY_QUERY, type SessionEvent, type StatementEvent } from "../../audit/event.ts";
import { placeOf } from "../../behaviour/alert-desk.ts";
import type { Catalog } from "../../catalog/catalog.ts";
import { namesWritten } from "../../policy/namespaces.ts";
import { canaryKey, type Role } from "../../policy/policy.ts";
import { beneath } from "../../sql/reads-more.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Refusal, SessionEndReason } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import { referenceOf } from "../context/reference.ts";
import { recordedText } from "../decide/recorded-text.ts";
import { leavesTrace } from "../decide/recording.ts";
import type { Judged } from "../statement/decision.ts";
import { NAMED, type Reveals, type Run } from "../statement/run.ts";
import type { Repeated } from "./coalescing.ts";
import { traceparentOf } from "./trace-context.ts";

type Decision = Pick<StatementEvent, "decision" | "sqlstate" | "rule" | "reference">;

/** What a statement reads and writes. */
type Read = Pick<StatementEvent, "relations" | "beneath" | "readsMore">;

const known = new WeakMap<Statement, Read>();

/** What a session leaves in the audit log and in the metrics: one event for each statement that was decided. */
export class Trace {
  readonly #established: Established;
  readonly #parts: SessionParts;
  #isDue = false;
  /** How many errors of ours the client has been told. */
  #errors = 0;
  /** Decoys that this session has raised an alert for: once each. */
  #canaries: Set<string> | undefined;

  constructor(established: Established, parts: SessionParts) {
    this.#established = established;
    this.#parts = parts;
  }

  /** The error that the client is about to get, with a reference to its event. */
  refer(refusal: Refusal): Refusal {
    if (refusal.reference !== undefined) return refusal;
    this.#errors += 1;
    return { ...refusal, reference: referenceOf(this.#established.id, this.#errors) };
  }

  /** A statement has been answered; `sqlstate` when the answer was an error, `reference` when the words were ours. */
  answered(run: Run, sqlstate?: string, reference?: string): void {
    this.lookForCanaries(run);
    this.#expect(run);
    this.#write(run, {
      ...decisionOf(run),
      ...(sqlstate !== undefined && { sqlstate }),
      ...(reference !== undefined && { reference }),
    });
  }

  /** Rows are about to leave, and more will follow: what is new since the last time is put on record. */
  underway(run: Run): void {
    this.lookForCanaries(run);
    run.people.prepare(this.#hash, run.recorded.known);
    if (run.rows !== run.recorded.rows && this.#expect(run)) this.#piece(run);
  }

  /** The same of rows that do not wait for the record: it has them when an event could not name more people. */
  shown(run: Run): void {
    this.lookForCanaries(run);
    run.people.prepare(this.#hash, run.recorded.known);
    if (run.people.known - run.recorded.known >= NAMED) this.#piece(run);
  }

  #piece(run: Run): void {
    const { recorded, rows, bytes, people } = run;
    const { audit } = this.#parts;
    audit.write({
      ...this.#event(run, decisionOf(run), performance.now() - run.startedAt, recorded.known),
      kind: "rows",
      lookups: 0,
      rows: rows - recorded.rows,
      bytes: bytes - recorded.bytes,
      people: people.count - recorded.people,
      ...revealsIn(run.revealsSince(recorded.reveals)),
    });
    const reveals = run.revealsSince({});
    run.recorded = { rows, bytes, known: people.known, people: people.count, reveals };
  }

  /** Whether an event was written that must be on disk before anything more leaves; asked once for each. */
  takeDue(): boolean {
    const isDue = this.#isDue;
    this.#isDue = false;
    return isDue;
  }

  /** Before the rows leave: a user who is suspended for it does not get them. */
  lookForCanaries(run: Run): void {
    const { judged, people, looked } = run;
    const { policy, catalog } = judged.scope;
    const { canaries } = policy;
    const { onCanary, audit, now } = this.#parts;
    if (canaries === undefined || onCanary === undefined || people.known === looked) return;
    const marked = this.#parts.markedCanaries?.();
    for (const [namespace, identity] of people.since(looked)) {
      let group: string | undefined;
      for (const name of namesWritten(policy, catalog, namespace)) {
        const written = canaryKey(name, identity);
        group ??= canaries.groups.get(written) ?? marked?.get(written);
      }
      if (group === undefined) continue;
      const key = canaryKey(namespace, identity);
      if (this.#canaries?.has(key)) continue;
      this.#canaries ??= new Set();
      this.#canaries.add(key);
      // What waits for the disk does not leave when the session ends meanwhile.
      if (canaries.action === "suspend") this.#isDue = true;
      const subject = audit.hashSubject(namespace, identity);
      const place = placeOf(this.#event(run, decisionOf(run), performance.now() - run.startedAt));
      onCanary({ ...place, time: now(), action: canaries.action, canary: { subject, group } });
    }
    run.looked = people.known;
  }

  #expect({ shape }: Run): boolean {
    const isDue = this.#parts.auditDurability === "before" && leavesTrace(shape);
    this.#isDue ||= isDue;
    return isDue;
  }

  /** The policy says no; nothing of the statement reached the server. */
  refused(run: Run, refusal: Refusal): void {
    this.#write(run, refusedBy(refusal));
  }

  /** Passed as it came. Of a policy that only observes: what would have become of it. */
  observed(repeated: Repeated, sqlstate?: string, reference?: string): void {
    const { count, first, last, duration } = repeated;
    const { cut, judged } = repeated;
    const role = this.#parts.policy().roles.get(judged.scope.role.name);
    const decision = cut === undefined ? observedDecision(judged, role) : cutBy(cut);
    const event: StatementEvent = {
      ...this.#event(repeated, decision, duration),
      ...observedClasses(wouldBe(repeated)),
      time: last,
      ...(count > 1 && { count, startTime: first }),
      ...(sqlstate !== undefined && { sqlstate }),
      ...(reference !== undefined && { reference }),
    };
    this.#parts.audit.write(event);
    this.#parts.metrics.statement(event);
    if (reference !== undefined) this.#logRefusal(event);
  }

  /** To be called once for each execution, in milliseconds. `waited`: for the counters. */
  took(duration: number, waited = 0): void {
    const { times } = this.#parts;
    times.took(duration / 1000);
    times.upstream((duration - waited) / 1000);
  }

  /** Keeps what events say of a text, while its bytes are there. */
  note(judged: Judged): void {
    this.#text(judged);
  }

  /** `told`: why the proxy ended the session. */
  loggedOut(role: string, reason: SessionEndReason, told?: Refusal): void {
    const { id, user, database, address, application } = this.#established;
    const event: SessionEvent = {
      kind: "logout",
      time: this.#parts.now(),
      session: id,
      user,
      role,
      database,
      client: address,
      application,
      ...(told !== undefined && { sqlstate: told.sqlstate }),
      ...(told?.reference !== undefined && { reference: told.reference }),
    };
    this.#parts.audit.write(event);
    const { sqlstate, reference } = event;
    if (told === undefined) this.#parts.log.debug({ session: id, reason }, "a session is over");
    else this.#parts.log.info({ reference, session: id, user, reason, sqlstate }, "a session was ended");
  }

  #write(run: Run, decision: Decision): void {
    const { audit, metrics } = this.#parts;
    const duration = performance.now() - run.startedAt;
    const event = this.#event(run, decision, duration);
    audit.write(event);
    metrics.statement(event);
    this.took(duration, run.waited);
    if (event.reference !== undefined) this.#logRefusal(event);
  }

  /** Nothing of the statement but its kind: the audit log has its text, without literals. */
  #logRefusal({
    reference,
    session,
    user,
    role,
    database,
    command,
    decision,
    sqlstate,
    rule,
    traceparent,
  }: StatementEvent): void {
    this.#parts.log.info(
      { reference, session, user, role, database, command, decision, sqlstate, rule, traceparent },
      "a statement was refused or cut short",
    );
  }

  /** `after`: so many of its people are named in events already. */
  #event(run: Run | Repeated, decision: Decision, duration: number, after = 0): StatementEvent {
    const { id, user, database, address } = this.#established;
    const { judged, statement, people } = run;
    const { shape } = run;
    const { masked, revealed, lookups } = wouldBe(run);
    // Several executions may belong to several traces.
    const traceparent = "count" in run && run.count > 1 ? undefined : traceparentOf(judged.text);
    return {
      kind: "statement",
      time: this.#parts.now(),
      session: id,
      user: run.person ?? user,
      ...(run.person !== undefined && { account: user }),
      role: judged.would?.role ?? judged.role ?? judged.scope.role.name,
      database,
      client: address,
      application: this.#established.parameters.applicationName ?? this.#established.application,
      command: isEmpty(judged) ? EMPTY_QUERY : statement.command,
      statement: this.#text(judged),
      ...(traceparent !== undefined && { traceparent }),
      ...readBy(shape, judged.scope.catalog),
      masked,
      ...(revealed !== undefined && { revealed }),
      lookups: "lookups" in run && judged.would === undefined ? run.lookups : lookups,
      ...decision,
      policy: judged.scope.policy.version,
      rows: run.rows,
      bytes: run.bytes,
      ...(run.written !== undefined && { rowsWritten: run.written }),
      ...("reveals" in run && revealsIn(run.revealsSince({}))),
      subjects: people?.named(this.#hash, after) ?? NOBODY,
      people: people?.count ?? 0,
      ...(shape.uncounted && { uncounted: true }),
      ...(people !== undefined && people.known > 0 && { namespaces: people.namespaces }),
      ...(people !== undefined &&
        shape.metering?.purpose === true && {
          purposeless: people.purposeless,
          unexplained: people.unexplained(after),
        }),
      duration,
    };
  }

  readonly #hash = (namespace: string, identity: string) =>
    this.#parts.audit.hashSubject(namespace, identity);

  #text(judged: Judged): string {
    return recordedText(judged, this.#parts);
  }
}

const NOBODY: readonly string[] = [];

/** Left out where there are none. */
function revealsIn(reveals: Reveals): Pick<StatementEvent, "reveals"> {
  return Object.keys(reveals).length === 0 ? {} : { reveals };
}

/** No statement stands in the text: by such a one drivers see whether their connection lives. */
function isEmpty({ verdict }: Judged): boolean {
  return verdict.kind === "pass" && verdict.statements.length === 0;
}

function readBy(statement: Statement, catalog: Catalog): Read {
  let read = known.get(statement);
  if (read === undefined) {
    const relations = [...new Set([...statement.reads, ...statement.writes])];
    const below = beneath(relations, catalog);
    read = {
      relations,
      ...(below.relations.length > 0 && { beneath: below.relations }),
      ...((below.more || statement.readsMore === true) && { readsMore: true }),
    };
    known.set(statement, read);
  }
  return read;
}

/** What is said of the statement: where the policy only observes, by what it would say. */
function wouldBe({ judged, statement, shape }: Run | Repeated): Statement {
  if (judged.would === undefined) return shape;
  const index = judged.verdict.statements.indexOf(statement);
  return judged.would.verdict.statements[Math.max(0, index)] ?? shape;
}

/** Of a policy that only observes: what would have been masked has left as it is. */
function observedClasses({ masked, revealed }: Statement): Pick<StatementEvent, "revealed"> {
  if (revealed === undefined || masked.length === 0) return {};
  return { revealed: { ...revealed, shown: [...new Set([...revealed.shown, ...masked])] } };
}

function decisionOf({ cut, truncated, shape }: Run): Decision {
  if (cut !== undefined) return cutBy(cut);
  if (truncated) return { decision: "cut" };
  return { decision: shape.masked.length > 0 ? "mask" : "allow" };
}

function cutBy(cut: Refusal): Decision {
  return { ...refusedBy(cut), decision: "cut" };
}

/** Of what passed as it came. What is added to a watched role's statement changes nothing. */
function observedDecision({ verdict: own, scope, would }: Judged, role: Role | undefined): Decision {
  const verdict = would?.verdict ?? own;
  if (verdict.kind === "refuse") return { ...refusedBy(verdict.refusal), decision: "observe" };
  // Of a policy that only observes everybody is counted as a watched role is.
  const isWatched = would === undefined ? scope.role.watch === true : role?.watch === true;
  return { decision: verdict.kind === "rewrite" && !isWatched ? "observe" : "allow" };
}

function refusedBy({ sqlstate, rule, reference }: Refusal): Decision {
  return {
    decision: "refuse",
    sqlstate,
    ...(rule !== undefined && { rule }),
    ...(reference !== undefined && { reference }),
  };
}
