import type { Profile } from "./profile.ts";
import type { Peers } from "./rules.ts";

/** Where profiles are kept. */
export interface ProfileStore {
  /** Changes one user's profile; `change` is called again when another proxy was faster. */
  update<T>(database: string, user: string, role: string, change: (profile: Profile) => T): Promise<T>;
  /** Whether what is known of the user here and now, without asking anybody, passes the test. */
  knows(database: string, user: string, role: string, test: (profile: Profile) => boolean): boolean;
  /** What the users of a role do; it may be a minute old. */
  peers(database: string, role: string, today: number): Promise<Peers>;
  /** Whether this proxy is the first of the fleet that tells of this. */
  claim(database: string, user: string, what: string): Promise<boolean>;
  close(): Promise<void>;
}
