import type { Readiness } from "../admin/http-server.ts";
import type { Metrics, Numbers } from "../metrics/metrics.ts";
import type { PolicyText } from "../policy/compile.ts";
import type { Seats } from "../session/accept/connection-limits.ts";
import type { ForwardCancel } from "../session/cancel/cancel-desk.ts";
import type { Address, Addresses } from "../settings/settings.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import { type Channel, Link } from "./link.ts";

/** What the first process asks of this worker. */
export interface Served {
  readonly addresses: Addresses;
  /** Serves --admin for all processes. */
  serveAdmin(listen: Address): Promise<Address>;
  ready(): Readiness;
  numbers(): Promise<readonly Numbers[]>;
  cancel(request: BackendKey): Promise<boolean>;
  reload(): Promise<void>;
}

/** What a worker process shares with the others. */
export interface Crew {
  /** Numbered from 1. */
  readonly number: number;
  readonly seats: Seats;
  readonly forwardCancel: ForwardCancel;
  /** Readiness and metrics of all processes together. */
  ready(): Promise<Readiness>;
  exposition: Metrics["exposition"];
  /** Lets all processes read policy, users and TLS files again. */
  reload(): Promise<void>;
  /** Reports that a policy has come into force here. */
  policyLoaded(texts: readonly PolicyText[]): void;
  /** The policy that a restarted worker uses if the policy on disk is invalid; undefined if there is none. */
  policyInForce(): Promise<readonly PolicyText[] | undefined>;
  /** Reports that this worker accepts clients now. */
  serves(served: Served): Promise<void>;
  /** Resolves when the first process tells this worker to end. */
  readonly ending: Promise<void>;
}

/** In milliseconds. The first process is the parent and does little: if it is slower than this, it hangs. */
const ANSWER_MS = 5_000;
/** In milliseconds. A cancel request waits for a database. */
const CANCEL_MS = 15_000;

/** Joins the processes of one Sluice as a worker. */
export function joinCrew(number: number, channel: Channel): Crew {
  let served: Served | undefined;
  let end = () => {};
  const ending = new Promise<void>((resolve) => {
    end = resolve;
  });
  const link = new Link(channel, {
    report: async () => {
      const { ok, reasons } = served?.ready() ?? { ok: false, reasons: ["starting"] };
      return { ready: ok, reasons, numbers: (await served?.numbers()) ?? [] };
    },
    cancel: async ({ processId, key }) =>
      (await served?.cancel({ processId, key: Buffer.from(key, "hex") })) ?? false,
    admin: (listen) => served?.serveAdmin(listen) ?? Promise.reject(new Error("starting")),
    reload: async () => {
      await served?.reload();
      return null;
    },
    end: async () => {
      end();
      return null;
    },
  });
  return {
    number,
    seats: {
      enter: async () => (await link.ask("enter", null, ANSWER_MS)) ?? undefined,
      settle: async (user) => (await link.ask("settle", user, ANSWER_MS)) ?? undefined,
      // If the first process ends, so does this one.
      leave: (user) => void link.ask("leave", user ?? null, ANSWER_MS).catch(() => {}),
    },
    forwardCancel: ({ processId, key }) =>
      link.ask("cancel", { processId, key: key.toString("hex") }, CANCEL_MS).catch(() => false),
    async ready() {
      const { ready, reasons } = await link.ask("whole", null, ANSWER_MS);
      return { ok: ready, reasons };
    },
    async exposition() {
      const { contentType, text } = await link.ask("whole", null, ANSWER_MS);
      return { contentType, text };
    },
    async reload() {
      await link.ask("reload", null, ANSWER_MS);
    },
    policyLoaded: (texts) => void link.ask("policy", texts, ANSWER_MS).catch(() => {}),
    policyInForce: async () => (await link.ask("inForce", null, ANSWER_MS)) ?? undefined,
    async serves(parts) {
      served = parts;
      await link.ask("serving", { addresses: parts.addresses }, ANSWER_MS);
    },
    ending,
  };
}
