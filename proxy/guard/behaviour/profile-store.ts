import { LRUCache } from "lru-cache";
import { peersOf, type Summary, summaryOf } from "./peers.ts";
import { newProfile, type Profile } from "./profile.ts";
import type { Peers } from "./rules.ts";

/** Where profiles are kept. */
export interface ProfileStore {
  /** Changes one user's profile; `change` may be called again when another proxy was faster. */
  update<T>(database: string, user: string, role: string, change: (profile: Profile) => T): Promise<T>;
  /** What the users of a role do; it may be up to an hour old. */
  peers(database: string, role: string, today: number, hour: number): Promise<Peers>;
}

/** At about 200 kB for the busiest of users this is the bound of the memory. */
const USERS_KEPT = 5_000;

/** Profiles of this process: they begin anew with it, and see only what passes through it. */
export class MemoryProfiles implements ProfileStore {
  readonly #profiles = new LRUCache<string, Profile>({ max: USERS_KEPT });
  /** By role: who came from where is known at once, or a move of the office would be told of by everybody. */
  readonly #networks = new Map<string, Map<string, number>>();
  readonly #peers = new Map<string, { readonly when: string; readonly peers: Peers }>();

  async update<T>(database: string, user: string, role: string, change: (profile: Profile) => T): Promise<T> {
    const key = `${database}\0${role}\0${user}`;
    let profile = this.#profiles.get(key);
    if (profile === undefined) {
      profile = newProfile();
      this.#profiles.set(key, profile);
    }
    const before = profile.networks.size;
    const result = change(profile);
    const newest = [...profile.networks.keys()].at(-1);
    if (newest !== undefined && profile.networks.size > before)
      this.#cameFrom(`${database}\0${role}\0`, newest);
    return result;
  }

  async peers(database: string, role: string, today: number, hour: number): Promise<Peers> {
    const prefix = `${database}\0${role}\0`;
    const when = `${today} ${hour}`;
    const known = this.#peers.get(prefix);
    if (known?.when === when) return known.peers;
    const summaries: Summary[] = [];
    for (const [key, profile] of this.#profiles.entries()) {
      if (key.startsWith(prefix)) summaries.push(summaryOf(profile, today));
    }
    const peers = peersOf(summaries, this.#networksOf(prefix));
    this.#peers.set(prefix, { when, peers });
    return peers;
  }

  #networksOf(prefix: string): Map<string, number> {
    let networks = this.#networks.get(prefix);
    if (networks === undefined) {
      networks = new Map();
      this.#networks.set(prefix, networks);
    }
    return networks;
  }

  #cameFrom(prefix: string, network: string): void {
    const networks = this.#networksOf(prefix);
    networks.set(network, (networks.get(network) ?? 0) + 1);
  }
}
