import type { Socket } from "node:net";
import { open, UpstreamUnreachable } from "./upstream.ts";
import type { TargetSessionAttrs, Upstream } from "./upstream-uri.ts";

/** What a server says of itself. */
export interface HostState {
  /** It replays another server's changes (pg_is_in_recovery). */
  readonly standby: boolean;
  /** New sessions may only read (default_transaction_read_only, or a standby). */
  readonly readOnly: boolean;
}

export type ProbeHost = (host: Upstream) => Promise<HostState>;

/** A connection, and to which host: what is cancelled must be cancelled there. */
export interface UpstreamLink {
  readonly socket: Socket;
  readonly at: Upstream;
}

/** How long what hosts said of themselves is believed. After a failover sessions find out sooner. */
const BELIEVED_MS = 5_000;

/** For so long a host that did not answer is tried last. */
const AVOIDED_MS = 30_000;

/**
 * The hosts of one upstream, tried as libpq does: in their order, until one can be reached and is what
 * `target_session_attrs` asks for. libpq looks after its log-in; a proxy that relays the client's log-in
 * has to know before, and asks with a connection of its own.
 */
export class UpstreamHosts {
  readonly upstream: Upstream;
  readonly #hosts: readonly Upstream[];
  readonly #probe: ProbeHost;
  readonly #now: () => number;
  #states: Promise<readonly (HostState | undefined)[]> | undefined;
  #askedAt = 0;
  /** When a host did not answer. */
  readonly #failedAt = new Map<Upstream, number>();

  constructor(upstream: Upstream, probe: ProbeHost, now: () => number) {
    this.upstream = upstream;
    this.#hosts = upstream.hosts.map((host) => ({ ...upstream, ...host, hosts: [host], origin: upstream }));
    this.#probe = probe;
    this.#now = now;
  }

  /** A connection on which the server has begun to answer the startup packet. Rejects with `UpstreamUnreachable` only. */
  async open(startup: Buffer): Promise<UpstreamLink> {
    const problems: string[] = [];
    for (const at of this.#inOrder(await this.#candidates(problems))) {
      try {
        const socket = await open(at, startup);
        this.#failedAt.delete(at);
        return { socket, at };
      } catch (error) {
        this.#failedAt.set(at, this.#now());
        problems.push(error instanceof Error ? error.message : "unknown");
        // What was believed of this host does not hold any more, nor perhaps of the others.
        this.forget();
      }
    }
    throw new UpstreamUnreachable(problems.join("; "));
  }

  /** Whether a session may stay on a server that says this of itself; what servers before 14 do not say is fine. */
  accepts(parameters: ReadonlyMap<string, string>): boolean {
    const standby = parameters.get("in_hot_standby");
    const readOnly = parameters.get("default_transaction_read_only");
    if (standby === undefined || readOnly === undefined) return true;
    const isStandby = standby === "on";
    const state = { standby: isStandby, readOnly: isStandby || readOnly === "on" };
    return this.upstream.targetSessionAttrs === "prefer-standby" || this.#wants(state);
  }

  /** It took connections, and does not answer on them. */
  suspect(at: Upstream): void {
    this.#failedAt.set(at, this.#now());
    this.forget();
  }

  /** The next one who connects asks the hosts again. */
  forget(): void {
    this.#states = undefined;
  }

  /** Whoever connects next must not wait again for a host that is frozen. */
  #inOrder(hosts: readonly Upstream[]): readonly Upstream[] {
    if (this.#failedAt.size === 0) return hosts;
    const now = this.#now();
    const isAvoided = (host: Upstream) => now - (this.#failedAt.get(host) ?? -Infinity) < AVOIDED_MS;
    return [...hosts.filter((host) => !isAvoided(host)), ...hosts.filter(isAvoided)];
  }

  async #candidates(problems: string[]): Promise<readonly Upstream[]> {
    const { targetSessionAttrs } = this.upstream;
    if (targetSessionAttrs === "any") return this.#hosts;
    const states = await this.#known();
    const suits = (i: number) => {
      const state = states[i];
      return state !== undefined && this.#wants(state);
    };
    const wanted = this.#hosts.filter((_, i) => suits(i));
    if (targetSessionAttrs === "prefer-standby")
      return [...wanted, ...this.#hosts.filter((_, i) => !suits(i))];
    if (wanted.length === 0) {
      problems.push(`none of ${this.#hosts.length} hosts is ${targetSessionAttrs}`);
      this.forget();
    }
    return wanted;
  }

  #wants(state: HostState): boolean {
    return isWanted(this.upstream.targetSessionAttrs, state);
  }

  #known(): Promise<readonly (HostState | undefined)[]> {
    const now = this.#now();
    if (this.#states === undefined || now - this.#askedAt > BELIEVED_MS) {
      this.#askedAt = now;
      this.#states = Promise.all(this.#hosts.map((host) => this.#probe(host).catch(() => undefined)));
    }
    return this.#states;
  }
}

function isWanted(attrs: TargetSessionAttrs, { standby, readOnly }: HostState): boolean {
  switch (attrs) {
    case "any":
      return true;
    case "read-write":
      return !readOnly;
    case "read-only":
      return readOnly;
    case "primary":
      return !standby;
    case "standby":
    case "prefer-standby":
      return standby;
  }
}
