import type { Readiness } from "../admin/http.ts";
import type { Metrics, Numbers } from "../metrics.ts";
import type { PolicyText } from "../policy/load.ts";
import type { ForwardCancel } from "../session/cancel-desk.ts";
import type { Seats } from "../session/seats.ts";
import type { Address } from "../settings.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import { type Channel, Link } from "./link.ts";

/** What this worker is asked by the first process. */
export interface Served {
  readonly address: Address;
  /** Serves it for all. */
  serveAdmin(listen: Address): Promise<Address>;
  ready(): Readiness;
  numbers(): Promise<readonly Numbers[]>;
  cancel(request: BackendKey): Promise<boolean>;
  reload(): Promise<void>;
}

/** What a worker process shares with the others. */
export interface Crew {
  /** From 1. */
  readonly number: number;
  readonly seats: Seats;
  readonly forwardCancel: ForwardCancel;
  /** Readiness and numbers of all processes together. */
  ready(): Promise<Readiness>;
  exposition: Metrics["exposition"];
  /** Has all of them read policy, users and TLS files again. */
  reload(): Promise<void>;
  /** A policy has come into force here. */
  policyLoaded(texts: readonly PolicyText[]): void;
  /** What a worker that comes back starts with while the policy on disk is wrong; undefined: there is none. */
  policyInForce(): Promise<readonly PolicyText[] | undefined>;
  /** It takes clients now. */
  serves(served: Served): Promise<void>;
  /** Resolves when the first process tells it to end. */
  readonly ending: Promise<void>;
}

/** The first process is the parent and does little: slower than that, it hangs. */
const ANSWER_MS = 5_000;
/** A cancel request waits for a database. */
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
      // Without its first process this one ends, too.
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
      await link.ask("serving", { address: parts.address }, ANSWER_MS);
    },
    ending,
  };
}
