import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Anchor } from "../../proxy/audit/anchor.ts";
import { auditKeys, type TrustedKeys } from "../../proxy/audit/audit-keys.ts";
import type { AuditLog, SessionEvent, StatementEvent } from "../../proxy/audit/event.ts";
import { type FileLogOptions, openFileLog } from "../../proxy/audit/file-log.ts";
import { linesOf, listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { createLog } from "../../proxy/log.ts";

export const KEY = Buffer.alloc(32, 3);
export const SILENT = createLog({ level: "silent" });
export const NOON = Date.UTC(2026, 4, 6, 12);
export const DAY = 86_400_000;

export const TRUSTED: TrustedKeys = new Map([[auditKeys(KEY).id, auditKeys(KEY).publicKey]]);

/** A folder of its own for a test, gone after it. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-audit-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A log that is closed at the end of the test, and what it told about losses and anchors. */
export interface Opened {
  readonly log: AuditLog;
  readonly anchors: Anchor[];
  lost: number;
}

export async function openLog(folder: string, options: Partial<FileLogOptions> = {}): Promise<Opened> {
  const told: { anchors: Anchor[]; lost: number } = { anchors: [], lost: 0 };
  const log = await openFileLog({
    folder,
    key: KEY,
    log: SILENT,
    onLost: (events) => {
      told.lost += events;
    },
    now: () => NOON,
    anchor: (anchor) => {
      told.anchors.push(anchor);
    },
    ...options,
  });
  onTestFinished(() => log.close());
  return Object.assign(told, { log });
}

export function login(session: string, fields: Partial<SessionEvent> = {}): SessionEvent {
  return {
    kind: "login",
    time: NOON,
    session,
    user: "anna",
    role: "agent",
    database: "support",
    client: "10.0.0.1",
    application: 'a "quoted"\nname',
    ...fields,
  };
}

export function reading(fields: Partial<StatementEvent> = {}): StatementEvent {
  return {
    kind: "statement",
    time: NOON,
    session: "s1",
    user: "anna",
    role: "agent",
    database: "support",
    client: "10.0.0.1",
    application: "helpdesk",
    command: "SELECT",
    statement: "SELECT name FROM customers WHERE id = $1",
    relations: ["public.customers"],
    masked: ["name"],
    lookups: 0,
    decision: "mask",
    policy: "p1",
    rows: 1,
    bytes: 20,
    subjects: [],
    people: 0,
    duration: 1.25,
    ...fields,
  };
}

/** What stands in a line, as far as the tests ask. */
export interface Entry {
  readonly time: number;
  readonly actor?: { readonly session?: { readonly uid: string }; readonly user?: { readonly name: string } };
  readonly unmapped: Readonly<Record<string, unknown>> & { readonly kind: string };
  readonly metadata: { readonly sequence: number; readonly log_name: string };
  readonly [field: string]: unknown;
}

/** All lines of all writers, parsed; fails on one that is torn. */
export async function entriesOf(folder: string): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  for (const file of await listSegments(folder)) {
    for (const line of linesOf(await readSegment(file))) {
      if (line.torn) throw new Error(`${file.name} ends in half a line`);
      entries.push(JSON.parse(line.bytes.toString("utf8")) as Entry);
    }
  }
  return entries;
}

/** The sessions of all events, in the order of the log. */
export async function sessionsOf(folder: string): Promise<readonly string[]> {
  return (await entriesOf(folder)).flatMap(({ actor }) => actor?.session?.uid ?? []);
}

export async function kindsOf(folder: string): Promise<readonly string[]> {
  return (await entriesOf(folder)).map(({ unmapped }) => unmapped.kind);
}
