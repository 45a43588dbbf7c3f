import type { Profile } from "./profile.ts";
import type { Peers } from "./rules.ts";

/** Stores profiles. */
export interface ProfileStore {
  /** Changes one user's profile; `change` is called again if another proxy wrote first. */
  update<T>(database: string, user: string, role: string, change: (profile: Profile) => T): Promise<T>;
  /** Whether the user's profile as known in this process passes the test, without asking the backend. */
  knows(database: string, user: string, role: string, test: (profile: Profile) => boolean): boolean;
  /** What the users of a role do; may be a minute old. */
  peers(database: string, role: string, today: number): Promise<Peers>;
  /** Whether this proxy is the first of the fleet to report this. */
  claim(database: string, user: string, what: string): Promise<boolean>;
  close(): Promise<void>;
}
