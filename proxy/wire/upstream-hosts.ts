import type { Socket } from "node:net";
import { open, UpstreamUnreachable } from "./upstream.ts";
import type { TargetSessionAttrs, Upstream } from "./upstream-uri.ts";

/** A server's description of itself. */
export interface HostState {
  /** The server replays another server's changes (pg_is_in_recovery). */
  readonly standby: boolean;
  /** New sessions can only read (default_transaction_read_only, or a standby). */
  readonly readOnly: boolean;
}

export type ProbeHost = (host: Upstream) => Promise<HostState>;

/** A connection and its host: a cancel request must go to the same host. */
export interface UpstreamLink {
  readonly socket: Socket;
  readonly at: Upstream;
}

/** How long the hosts' answers are trusted, in milliseconds. After a failover, sessions notice sooner. */
const BELIEVED_MS = 5_000;

/** How long a host that did not answer is tried last, in milliseconds. */
const AVOIDED_MS = 30_000;

/**
 * The hosts of one upstream, tried as libpq does: in order, until one is reachable and satisfies
 * `target_session_attrs`. libpq checks that after its login; a proxy that relays the client's login must know before,
 * and asks over its own connection.
 */
export class UpstreamHosts {
  readonly upstream: Upstream;
  readonly #hosts: readonly Upstream[];
  readonly #probe: ProbeHost;
  readonly #now: () => number;
  #states: Promise<readonly (HostState | undefined)[]> | undefined;
  #askedAt = 0;
  /** The time when a host did not answer. */
  readonly #failedAt = new Map<Upstream, number>();

  constructor(upstream: Upstream, probe: ProbeHost, now: () => number) {
    this.upstream = upstream;
    this.#hosts = upstream.hosts.map((host) => ({ ...upstream, ...host, hosts: [host], origin: upstream }));
    this.#probe = probe;
    this.#now = now;
  }

  /**
   * A connection on which the server has begun to answer the startup packet. Rejects only with `UpstreamUnreachable`.
   */
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
        // What was known about this host is outdated, and possibly about the others too.
        this.forget();
      }
    }
    throw new UpstreamUnreachable(problems.join("; "));
  }

  /**
   * Whether a session may stay on a server with these parameters; servers before 14 do not send them and are accepted.
   */
  accepts(parameters: ReadonlyMap<string, string>): boolean {
    const standby = parameters.get("in_hot_standby");
    const readOnly = parameters.get("default_transaction_read_only");
    if (standby === undefined || readOnly === undefined) return true;
    const isStandby = standby === "on";
    const state = { standby: isStandby, readOnly: isStandby || readOnly === "on" };
    return this.upstream.targetSessionAttrs === "prefer-standby" || this.#wants(state);
  }

  /** Marks a host that accepted connections but does not answer on them. */
  suspect(at: Upstream): void {
    this.#failedAt.set(at, this.#now());
    this.forget();
  }

  /** The next connection asks the hosts again. */
  forget(): void {
    this.#states = undefined;
  }

  /** The next connection must not wait again for a host that hangs. */
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
